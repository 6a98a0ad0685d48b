"""A melody as a stream of tokens, and back.

    6/8 dorian ^2 A4 - | 8+ dorian D5 - - - C5 - A4 - . . G4 - | 7+ dorian … | 1 dorian … ||

Metre and mode come first, then perhaps an upbeat (``^2``: two steps before the first bar line), then bars. Behind a
bar line stands how many bars are left, its own included: ``8`` to ``1`` in the last eight bars, before those the same
modulo eight with a plus, so that the model knows where phrases end and where the last cadence belongs, and then the
mode again, so that it does not forget the tonic; ``||`` ends the tune. Every sixteenth step is one token: a pitch
begins a note, ``-`` holds it, ``.`` is silence. All is written without sharps or flats in the signature (D dorian,
not E dorian): a key is chosen when the melody is exported. Pitches are Magenta's 36, MIDI 48 (C3) to 83 (B5).
"""

from __future__ import annotations

from functools import lru_cache

from seqtutor.domain import UnknownToken, UsageError
from seqtutor_music.keys import MODES, white_key
from seqtutor_music.melody import Melody, Note
from seqtutor_music.meter import Meter, parse_meter

LOW, HIGH = 48, 83  # MIDI numbers, both included
MIDDLE = 67  # where the mean pitch of a melody is put, to the nearest octave
MAX_BARS = 64
METERS = ("2/4", "3/4", "4/4", "2/2", "6/8", "9/8", "12/8", "3/8", "3/2")
HOLD, REST, BAR, END = "-", ".", "|", "||"
_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
PITCHES = tuple(_NAMES[p % 12] + str(p // 12 - 1) for p in range(LOW, HIGH + 1))
UPBEATS = tuple(f"^{n}" for n in range(1, 24))
LEFT = tuple(f"{n}{more}" for more in ("", "+") for n in range(1, 9))
TOKENS = (*METERS, *MODES, *UPBEATS, *LEFT, BAR, END, HOLD, REST, *PITCHES)
STEPS = frozenset((HOLD, REST, *PITCHES))  # the tokens that take a sixteenth
PITCH_OF = {name: LOW + i for i, name in enumerate(PITCHES)}
_KNOWN = frozenset(TOKENS)


def left_token(bars: int) -> str:
    """The token that says that ``bars`` (1, 2, …) are left: "3", "8", "1+" for 9, "8+" for 16."""
    return f"{(bars - 1) % 8 + 1}{'+' if bars > 8 else ''}"


def split(text: str) -> list[str]:
    """The tokens of ``text``. Raises UnknownToken with the place of the first symbol that is none."""
    tokens = text.split(" ") if text else []
    if not _KNOWN.issuperset(tokens):
        i = next(i for i, token in enumerate(tokens) if token not in _KNOWN)
        raise UnknownToken(tokens[i], sum(len(token) + 1 for token in tokens[:i]), text, TOKENS)
    return tokens


def why_not(text: str) -> str:
    """Why ``text`` is not a melody, in a few words; empty when it is one."""
    try:
        parse(text)
    except UsageError as error:
        return str(error)
    return ""


@lru_cache(maxsize=4096)
def parse(text: str) -> Melody:
    """The melody that a stream stands for, in the white key of its mode. Raises UsageError where it breaks off."""
    tokens = split(text)
    if len(tokens) < 4 or tokens[0] not in METERS or tokens[1] not in MODES:
        raise UsageError("a melody begins with a metre and a mode, for example '4/4 ionian'")
    meter, place = parse_meter(tokens[0]), 2
    upbeat = 0
    if tokens[2] in UPBEATS:
        upbeat, place = int(tokens[2][1:]), 3
        if upbeat >= meter.steps:
            raise UsageError(f"an upbeat of {upbeat} steps fills a bar of {meter.name}")
    notes, lines, step = _read_steps(tokens, place, upbeat, meter.steps)
    expected = [left_token(len(lines) - i) for i in range(len(lines))]
    if not lines or lines != expected:
        raise UsageError(f"the bars are counted {' '.join(lines) or 'not at all'}; {len(lines)} bars are "
                         f"{' '.join(expected) or 'none'}")
    return Melody(tuple(notes), step, meter, white_key(tokens[1]), upbeat)


def _read_steps(tokens: list[str], place: int, upbeat: int, bar: int) -> tuple[list[Note], list[str], int]:
    """(notes, what each bar says is left, steps) of the tokens from ``place`` on."""
    notes: list[Note] = []
    lines: list[str] = []
    step, line, sounding = 0, upbeat, False  # ``line``: the step at which the next bar line stands
    rest = iter(tokens[place:])
    for token in rest:
        if token in (BAR, END):
            if step != line or (token == END and not lines):
                raise UsageError(f"a bar line after {step} steps, where it belongs after {line}")
            if token == END:
                break
            lines.append(next(rest, ""))
            line = step + bar
            if (mode := next(rest, "")) != tokens[1]:
                raise UsageError(f"bar {len(lines)} is said to be {mode or 'nothing'} in a melody that is {tokens[1]}")
            continue
        if step >= line:
            raise UsageError(f"no bar line after {step} steps")
        if token in PITCH_OF:
            notes.append(Note(PITCH_OF[token], step, 1))
        elif token == HOLD and sounding:
            notes[-1] = Note(notes[-1].pitch, notes[-1].start, notes[-1].duration + 1)
        elif token == HOLD:
            raise UsageError(f"{token!r} after {step} steps has nothing to hold")
        elif token != REST:
            raise UsageError(f"{token!r} stands after {step} steps, where a step or a bar line belongs")
        sounding = token != REST
        step += 1
    if tokens[-1] != END or next(rest, None) is not None:
        raise UsageError(f"a melody ends with its only {END!r}")
    return notes, lines, step


def fitting_shift(melody: Melody) -> int | None:
    """Semitones that bring ``melody`` to no sharps or flats inside the 36 pitches, its mean near G4; None if none."""
    if not melody.notes:
        return melody.key.to_white
    pitches = [note.pitch for note in melody.notes]
    low, high, mean = min(pitches), max(pitches), sum(pitches) / len(pitches)
    shifts = [melody.key.to_white + 12 * octave for octave in range(-8, 9)]
    fits = [shift for shift in shifts if low + shift >= LOW and high + shift <= HIGH]
    return min(fits, key=lambda shift: (abs(mean + shift - MIDDLE), shift), default=None)


def write(melody: Melody) -> str:
    """The stream of ``melody``, moved to the white key of its mode; its last bar is filled up with silence.

    Raises UsageError when its metre, range or length has no place in the stream.
    """
    if melody.meter.name not in METERS:
        raise UsageError(f"the metre {melody.meter.name} is not one of {', '.join(METERS)}")
    shift = fitting_shift(melody)
    if shift is None:
        raise UsageError(f"the melody spans more than the {HIGH - LOW + 1} pitches of the stream")
    melody = melody.padded()
    if not 1 <= melody.bars <= MAX_BARS:
        raise UsageError(f"{melody.bars} bars; a stream holds 1 to {MAX_BARS}")
    return " ".join([melody.meter.name, melody.key.mode, *_body(melody, shift), END])


def _body(melody: Melody, shift: int) -> list[str]:
    steps = step_tokens(melody, shift)
    upbeat, length = melody.upbeat, melody.meter.steps
    tokens = [f"^{upbeat}", *steps[:upbeat]] if upbeat else []
    for bar in range(melody.bars):
        tokens += [BAR, left_token(melody.bars - bar), melody.key.mode]
        tokens.extend(steps[upbeat + bar * length:upbeat + (bar + 1) * length])
    return tokens


def step_tokens(melody: Melody, shift: int = 0) -> list[str]:
    """One token a step, bar lines left out, ``shift`` semitones higher."""
    steps = [REST] * melody.length
    for note in melody.notes:
        steps[note.start] = PITCHES[note.pitch + shift - LOW]
        steps[note.start + 1:note.end] = [HOLD] * (note.duration - 1)
    return steps[:melody.length]


def check_meter(text: str) -> Meter:
    """``text`` as a metre that the stream has. Raises UsageError naming those."""
    meter = parse_meter(text)
    if meter.name not in METERS:
        raise UsageError(f"the metre {meter.name} is not one of {', '.join(METERS)}")
    return meter
