"""What `seqtutor generate music` was asked for, checked before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np

from seqtutor.domain import Option, UsageError, nearest
from seqtutor_music import chords, humanize, rules, tokens
from seqtutor_music.arrangement import Arrangement
from seqtutor_music.grammar import Form
from seqtutor_music.keys import Key, find_mode, key_of, parse_key, parse_pitch, pitch_name, white_key
from seqtutor_music.meter import Meter
from seqtutor_music.midi import find_program
from seqtutor_music.primer import Primer, as_names, read_primer

FORMATS = ("midi", "musicxml", "abc", "wav", "ogg", "png", "svg", "html")
DEFAULT_KEY, DEFAULT_BARS, CHORD_PROGRAM = "C", 16, 48
STRICTEST = 15  # samples more for each melody wanted at --strict 1
TEMPOS = (20.0, 400.0)
#: General MIDI programs that play an octave or two above or below most others → semitones: bells, flutes and whistles;
#: cello, trombone, baritone saxophone and bassoon; basses and the tuba
OCTAVES = {**dict.fromkeys((8, 9, 10, 13, 72, 73, 74, 75, 78, 79), 12), **dict.fromkeys((42, 57, 67, 70), -12),
           **dict.fromkeys((*range(32, 40), 43, 58), -24)}

OPTIONS = (
    Option("key", "tonic and mode, e.g. 'D dorian', 'E minor', Bb  [default: C, or the primer's]", metavar="KEY"),
    Option("mode", "the mode, where --key names only a tonic", metavar="MODE"),
    Option("meter", "2/4 3/4 4/4 2/2 6/8 9/8 12/8 3/8 3/2  [default: 4/4, or the primer's]", metavar="METER"),
    Option("bars", f"whole bars, 1 to {tokens.MAX_BARS}, the primer's not counted  [default: {DEFAULT_BARS}]",
           type=int),
    Option("upbeat", "sixteenths before the first bar  [default: 0]", type=int),
    Option("tempo", f"quarter notes a minute, {TEMPOS[0]:g} to {TEMPOS[1]:g}  [default: 120, or the primer's]",
           type=float),
    Option("program", "General MIDI instrument, by name or number 0 to 127, in its octave  [default: 0, piano]",
           metavar="NAME|N"),
    Option("primer", "a riff to continue: a MIDI, MusicXML or ABC file, ABC text, or notes as 'D4 F4:4 r:2 A4'",
           metavar="FILE|NOTES"),
    Option("chords", "a second track with one chord a bar that fits", type=bool, default=False),
    Option("humanize", "loudness by accent and phrase", type=bool, default=False),
    Option("strict", "0 to 1: how hard the rules choose among samples  [default: 0]", type=float),
    Option("range", "lowest and highest pitch, e.g. G3-D5", metavar="LOW-HIGH"),
    Option("format", f"comma-separated for -o FOLDER: {', '.join(FORMATS)}  [default: midi,html]", metavar="NAMES"),
)


@dataclass(frozen=True)
class MusicRequest:
    """``bars`` counts all bars of the stream, the primer's too; ``shift``: semitones from the stream to the sound."""

    key: Key
    meter: Meter
    bars: int
    upbeat: int
    tempo: float
    program: int
    shift: int
    low: int
    high: int
    seed: int
    primer: Primer | None = None
    with_chords: bool = False
    humanized: bool = False
    strict: float = 0.0
    formats: tuple[str, ...] = ("midi", "html")

    @property
    def form(self) -> Form:
        """What the grammar must promise."""
        return Form(self.meter.name, self.key.mode, self.bars, self.upbeat, self.low, self.high)

    @property
    def max_length(self) -> int:
        """Tokens of a stream, its end included."""
        return 4 + self.upbeat + self.bars * (self.meter.steps + 3) + 2

    @property
    def surplus(self) -> int:
        """Samples for each melody wanted."""
        return 1 + round(STRICTEST * self.strict)

    @property
    def prefix(self) -> str:
        return self.primer.prefix(self.bars - self.primer.bars) if self.primer else ""

    def choose(self, texts: list[str], n: int) -> list[str]:
        """The ``n`` of ``texts`` that break human habit least, in their order."""
        if len(texts) <= n:
            return list(texts)
        penalties = rules.penalties([tokens.parse(text) for text in texts])
        return [texts[i] for i in sorted(np.argsort(penalties, kind="stable")[:n].tolist())]

    def arrangement(self, text: str, number: int) -> Arrangement:
        """The ``number``-th (from 1) melody as it is performed, in its key and at its tempo."""
        melody = tokens.parse(text).transposed(self.shift, self.key)
        title = f"{self.key.name}, {self.meter.name}, no. {number}"
        melody = replace(melody, tempo=self.tempo, title=title[0].upper() + title[1:])
        rng = Random(f"{self.seed} {number}")
        velocities = humanize.velocities(melody, rng) if self.humanized else ()
        return Arrangement(melody, velocities, chords.accompany(melody) if self.with_chords else (), self.program,
                           CHORD_PROGRAM)

    def stem(self, number: int) -> str:
        """A file name without suffix that says key, metre, tempo and seed."""
        key = self.key.name.replace(" ", "-").replace("#", "sharp")
        return f"{key}_{self.meter.beats}-{self.meter.unit}_{self.tempo:g}bpm_seed{self.seed}_{number:02d}"

    def recipe(self) -> dict[str, Any]:
        """The options that repeat this request, all of them said."""
        said = {"key": self.key.name, "meter": self.meter.name, "tempo": self.tempo, "program": str(self.program),
                "bars": self.bars - (self.primer.bars if self.primer else 0), "upbeat": self.upbeat,
                "chords": self.with_chords, "humanize": self.humanized, "strict": self.strict,
                "range": f"{pitch_name(self.low + self.shift)}-{pitch_name(self.high + self.shift)}",
                "format": ",".join(self.formats)}
        return said | ({"primer": as_names(self.primer.melody)} if self.primer else {})


def understand(options: Mapping[str, Any], seed: int) -> MusicRequest:
    """``options`` as chosen on the command line, checked and completed. Raises UsageError in one line."""
    o = {name: options.get(name) for name in (option.name for option in OPTIONS)}
    key = _key(o["key"], o["mode"])
    meter = tokens.check_meter(o["meter"]) if o["meter"] is not None else None
    upbeat = o["upbeat"] or 0
    if upbeat and o["primer"] is not None:
        meter = meter or Meter(4, 4)
    primer = read_primer(o["primer"], key=key, meter=meter) if o["primer"] is not None else None
    if primer and upbeat and not primer.melody.upbeat:
        primer = _with_upbeat(primer, upbeat)
    if primer:
        upbeat = primer.melody.upbeat
    key = primer.melody.key if primer else key or parse_key(DEFAULT_KEY)
    meter = primer.melody.meter if primer else meter or Meter(4, 4)
    bars = DEFAULT_BARS if o["bars"] is None else o["bars"]
    if not 1 <= bars <= tokens.MAX_BARS:
        raise UsageError(f"--bars must be from 1 to {tokens.MAX_BARS}, not {bars}")
    tempo = o["tempo"] if o["tempo"] is not None else primer.melody.tempo if primer else 120.0
    if not TEMPOS[0] <= tempo <= TEMPOS[1]:
        raise UsageError(f"--tempo must be from {TEMPOS[0]:g} to {TEMPOS[1]:g} quarter notes a minute, not {tempo:g}")
    strict = o["strict"] or 0.0
    if not 0 <= strict <= 1:
        raise UsageError(f"--strict must be from 0 to 1, not {strict:g}")
    program = find_program(o["program"]) if o["program"] is not None else 0
    shift, low, high = _place(key, o["range"], primer, OCTAVES.get(program, 0))
    request = MusicRequest(key, meter, bars + (primer.bars if primer else 0), upbeat, float(tempo), program, shift, low,
                           high, seed, primer, bool(o["chords"]), bool(o["humanize"]), float(strict),
                           _formats(o["format"]))
    replace(request.form, bars=min(request.bars, tokens.MAX_BARS)).checked()
    return request


def _key(text: str | None, mode: str | None) -> Key | None:
    if text is None:
        return white_key(find_mode(mode)) if mode is not None else None
    key = parse_key(text)
    if mode is None:
        return key
    found = find_mode(mode)
    if found != key.mode and " " in text.strip():
        raise UsageError(f"--key {text!r} and --mode {mode!r} name different modes; leave one out")
    changed = Key(key.tonic, found)
    return changed if abs(changed.fifths) <= 7 else key_of(key.pitch_class, found)


def _with_upbeat(primer: Primer, upbeat: int) -> Primer:
    melody = replace(primer.melody, upbeat=min(upbeat, primer.melody.length))
    return replace(primer, melody=melody, bars=-(-(melody.length - melody.upbeat) // melody.meter.steps))


def _place(key: Key, text: str | None, primer: Primer | None, octave: int) -> tuple[int, int, int]:
    """(semitones from the stream to the sound, the stream's lowest and highest pitch). ``octave``: the instrument's,
    in semitones, unless a range or a primer says where to play."""
    home = -key.to_white
    wanted = parse_range(text) if text is not None else None
    if primer:
        shift = -primer.shift
    elif wanted:
        middle = (wanted[0] + wanted[1]) / 2
        shift = min((home + 12 * octave for octave in range(-6, 7)),
                    key=lambda s: (abs(middle - s - tokens.MIDDLE), s))
    else:
        shift = home + octave
    low, high = (wanted[0] - shift, wanted[1] - shift) if wanted else (tokens.LOW, tokens.HIGH)
    low, high = max(low, tokens.LOW), min(high, tokens.HIGH)
    if primer and wanted:
        for note in primer.melody.notes:
            if not wanted[0] <= note.pitch <= wanted[1]:
                raise UsageError(f"the primer's {pitch_name(note.pitch, key)} lies outside --range {text}")
    if high - low < 4:
        raise UsageError(f"--range {text} leaves {max(0, high - low + 1)} semitones to write in"
                         + (" beside the primer" if primer else "") + "; at least 5 are needed")
    return shift, low, high


def parse_range(text: str) -> tuple[int, int]:
    """ "G3-D5" as MIDI numbers. Raises UsageError."""
    parts = text.replace("–", "-").replace("..", "-").split("-")
    if len(parts) != 2:
        raise UsageError(f"{text!r} is not a range; write its lowest and highest pitch, for example G3-D5")
    low, high = (parse_pitch(part) for part in parts)
    if low >= high:
        raise UsageError(f"{text!r} is not a range: {parts[0]} is not below {parts[1]}")
    return low, high


def _formats(text: str | None) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(part.strip().lower() for part in (text or "midi,html").split(",") if part.strip()))
    for name in chosen:
        if name not in FORMATS:
            raise nearest(name, FORMATS, "format")
    return chosen
