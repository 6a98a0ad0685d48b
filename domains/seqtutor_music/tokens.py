"""A melody as a stream of tokens, and back.

    6/8 dorian ^2 A4 - |16 D5 - - - C5 - A4 - . . G4 - |15 … |1 … ||

Metre and mode come first, then perhaps an upbeat (``^2``: two steps before the first bar line), then bars. A bar line
says how many bars are left, itself included, so that the model knows from the first bar how long the tune is to be and
where its cadences belong; ``||`` ends the tune. Every sixteenth step is one token: a pitch begins a note, ``-`` holds
it, ``.`` is silence. All is written without sharps or flats in the signature (D dorian, not E dorian): a key is chosen
when the melody is exported. Pitches are Magenta's 36, MIDI 48 (C3) to 83 (B5).
"""

from __future__ import annotations

import re
from functools import lru_cache

from seqtutor.domain import UnknownToken, UsageError
from seqtutor_music.keys import MODES, white_key
from seqtutor_music.melody import Melody, Note
from seqtutor_music.meter import Meter, parse_meter

LOW, HIGH = 48, 83  # MIDI numbers, both included
MIDDLE = 67  # where the mean pitch of a melody is put, to the nearest octave
MAX_BARS = 64
METERS = ("2/4", "3/4", "4/4", "2/2", "6/8", "9/8", "12/8", "3/8", "3/2")
HOLD, REST, END = "-", ".", "||"
_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
PITCHES = tuple(_NAMES[p % 12] + str(p // 12 - 1) for p in range(LOW, HIGH + 1))
UPBEATS = tuple(f"^{n}" for n in range(1, 24))
BARS = tuple(f"|{n}" for n in range(1, MAX_BARS + 1))
TOKENS = (*METERS, *MODES, *UPBEATS, *BARS, END, HOLD, REST, *PITCHES)
PITCH_OF = {name: LOW + i for i, name in enumerate(PITCHES)}
_KNOWN = frozenset(TOKENS)


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
    notes: list[Note] = []
    step, left, sounding = 0, 0, False
    for token in tokens[place:]:
        full = step >= upbeat and (step - upbeat) % meter.steps == 0
        if token[0] == "|":
            wanted = END if left == 1 else f"|{left - 1}" if left else token
            if not full or token != wanted or (token == END and not left):
                raise UsageError(f"a bar line {token!r} after {step} steps, where {wanted!r} stands after full bars")
            left = 0 if token == END else int(token[1:])
            if token == END:
                break
            lined = step
        elif token in PITCH_OF:
            notes.append(Note(PITCH_OF[token], step, 1))
            sounding = True
        elif token == HOLD and sounding:
            notes[-1] = Note(notes[-1].pitch, notes[-1].start, notes[-1].duration + 1)
        elif token == REST:
            sounding = False
        else:
            raise UsageError(f"{token!r} after {step} steps has nothing to hold" if token == HOLD
                             else f"{token!r} stands after {step} steps, where a step or a bar line belongs")
        if token[0] != "|":
            if step >= upbeat and not left:
                raise UsageError(f"no bar line after {step} steps")
            if left and step - lined >= meter.steps:
                raise UsageError(f"a bar of more than {meter.steps} steps of {meter.name}")
            step += 1
    if tokens[-1] != END or tokens.count(END) != 1:
        raise UsageError(f"a melody ends with its only {END!r}")
    return Melody(tuple(notes), step, meter, white_key(tokens[1]), upbeat)


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
        tokens.append(f"|{melody.bars - bar}")
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


STEP = re.compile(r"[A-G]#?\d|-|\.")
