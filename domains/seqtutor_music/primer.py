"""A riff to be continued: out of a file, ABC text or note names, as the beginning of a stream."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from seqtutor.domain import SeqtutorError, UsageError
from seqtutor_music import tokens
from seqtutor_music.keyfinding import find_key
from seqtutor_music.keys import Key, parse_pitch, pitch_name
from seqtutor_music.melody import Melody, Note
from seqtutor_music.meter import Meter
from seqtutor_music.reading import SUFFIXES, parse, read_melodies


@dataclass(frozen=True)
class Primer:
    """``melody`` as given; ``shift``: semitones from it to the stream; ``bars``: whole or begun bars it fills."""

    melody: Melody
    shift: int
    bars: int
    warnings: tuple[str, ...] = ()

    def prefix(self, more: int) -> str:
        """The beginning of a stream of the primer's bars and ``more`` after them."""
        melody, meter = self.melody, self.melody.meter
        steps = tokens.step_tokens(melody, self.shift)
        parts = [meter.name, melody.key.mode, *([f"^{melody.upbeat}"] if melody.upbeat else []),
                 *steps[:melody.upbeat]]
        for bar in range(self.bars):
            begin = melody.upbeat + bar * meter.steps
            parts += [tokens.BAR, tokens.left_token(self.bars + more - bar), melody.key.mode,
                      *steps[begin:begin + meter.steps]]
        return " ".join(parts)


def read_primer(text: str, *, key: Key | None = None, meter: Meter | None = None) -> Primer:
    """The primer in a file called ``text``, or written in it as ABC or as note names such as "D4 F4:4 r:2 A4".

    ``:n`` is a length in sixteenths, 2 unless given; ``r`` rests. ``key`` and ``meter`` overrule what the primer says.
    Raises UsageError when it cannot be read, is empty, or spans more than the stream's three octaves.
    """
    melody, warnings = _read(text, key, meter)
    if melody.meter.name not in tokens.METERS:
        raise UsageError(f"the primer's metre {melody.meter.name} is not one of {', '.join(tokens.METERS)}")
    length = melody.notes[-1].end
    melody = replace(melody, length=max(length, melody.upbeat))
    shift = tokens.fitting_shift(melody)
    if shift is None:
        low, high = (pitch_name(f(n.pitch for n in melody.notes)) for f in (min, max))
        raise UsageError(f"the primer runs from {low} to {high}; in {melody.key.name} only a span inside "
                         f"{tokens.PITCHES[0]} to {tokens.PITCHES[-1]} of its white key can be continued")
    bars = -(-(melody.length - melody.upbeat) // melody.meter.steps)
    if bars > tokens.MAX_BARS:
        raise UsageError(f"the primer has {bars} bars; at most {tokens.MAX_BARS} can be continued")
    return Primer(melody, shift, bars, warnings)


def _read(text: str, key: Key | None, meter: Meter | None) -> tuple[Melody, tuple[str, ...]]:
    path = Path(text) if len(text) < 1000 and "\n" not in text else None
    if path is not None and (path.suffix.lower() in SUFFIXES or path.is_file()):
        imported = read_melodies(path, key=key, meter=meter)[0]
        return imported.melody, imported.warnings
    try:
        if re.search(r"(?m)^K:", text):
            header = "" if text.lstrip().startswith("X:") else "X:1\n"
            imported = parse((header + text.lstrip()).encode(), ".abc", key=key, meter=meter)[0]
            return imported.melody, imported.warnings
        return _from_names(text, key, meter)
    except SeqtutorError as error:
        raise UsageError(f"the primer cannot be read: {error}") from error


def _from_names(text: str, key: Key | None, meter: Meter | None) -> tuple[Melody, tuple[str, ...]]:
    notes, now = [], 0
    for word in text.replace(",", " ").split():
        name, _, length = word.partition(":")
        if length and not (length.isdecimal() and 1 <= int(length) <= 256):
            raise UsageError(f"{word!r}: a length is a whole number of sixteenths from 1 to 256")
        steps = int(length or 2)
        if name.lower() != "r":
            notes.append(Note(parse_pitch(name), now, steps))
        now += steps
    if not notes:
        raise UsageError(f"{text!r} is neither a file nor notes; write note names such as 'D4 F4:4 r:2 A4'")
    found = key or find_key(notes)
    warnings = () if key else (f"took the primer's key to be {found.name}; --key names another",)
    return Melody(tuple(notes), now, meter or Meter(4, 4), found), warnings


def as_names(melody: Melody) -> str:
    """``melody`` in note names that :func:`read_primer` reads back to the same notes."""
    words, now = [], 0
    for note in melody.notes:
        if note.start > now:
            words.append(f"r:{note.start - now}")
        words.append(f"{pitch_name(note.pitch)}:{note.duration}")
        now = note.end
    return " ".join(words)
