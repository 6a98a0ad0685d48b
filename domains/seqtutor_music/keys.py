"""Keys: a tonic and one of the seven modes; signatures, scales and the spelling of pitches.

Pitches are MIDI numbers (60 = C4, middle C); a pitch class is a pitch modulo 12.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from seqtutor.domain import UsageError, nearest

#: the seven modes, with the white key that each starts on
MODES = ("ionian", "dorian", "phrygian", "lydian", "mixolydian", "aeolian", "locrian")
WHITE = (0, 2, 4, 5, 7, 9, 11)  # pitch classes of C D E F G A B
LETTERS = "CDEFGAB"
_FIFTHS_OF_LETTER = {"F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}
_FIFTHS_OF_MODE = {"lydian": 1, "ionian": 0, "mixolydian": -1, "dorian": -2, "aeolian": -3, "phrygian": -4,
                   "locrian": -5}
_ALIASES = {"major": "ionian", "maj": "ionian", "minor": "aeolian", "min": "aeolian", "m": "aeolian", "": "ionian"}
_ACCIDENTALS = {"": 0, "#": 1, "b": -1, "♯": 1, "♭": -1, "##": 2, "bb": -2, "sharp": 1, "flat": -1}


@dataclass(frozen=True)
class Key:
    """``tonic`` as it is spelt ("Bb", "F#") and one of :data:`MODES`."""

    tonic: str
    mode: str = "ionian"

    @cached_property
    def pitch_class(self) -> int:
        """The tonic's pitch class, 0…11."""
        return (WHITE[LETTERS.index(self.tonic[0])] + _ACCIDENTALS[self.tonic[1:]]) % 12

    @cached_property
    def fifths(self) -> int:
        """The key signature: sharps (positive) or flats (negative), −7…7 for keys that one can write."""
        return _FIFTHS_OF_LETTER[self.tonic[0]] + 7 * _ACCIDENTALS[self.tonic[1:]] + _FIFTHS_OF_MODE[self.mode]

    @cached_property
    def scale(self) -> tuple[int, ...]:
        """The seven pitch classes, tonic first."""
        start = MODES.index(self.mode)
        return tuple((self.pitch_class + WHITE[(start + i) % 7] - WHITE[start]) % 12 for i in range(7))

    @cached_property
    def minor(self) -> bool:
        """Whether the third is minor."""
        return (self.scale[2] - self.scale[0]) % 12 == 3

    @property
    def name(self) -> str:
        """As musicians say it: "D dorian", "G major", "E minor"."""
        return f"{self.tonic} { {'ionian': 'major', 'aeolian': 'minor'}.get(self.mode, self.mode)}"

    @property
    def to_white(self) -> int:
        """Semitones, −6…5, that move this key to no sharps or flats."""
        target = WHITE[MODES.index(self.mode)]
        return (target - self.pitch_class + 6) % 12 - 6

    def degree(self, pitch: int) -> int | None:
        """The scale degree of ``pitch``, 1…7, or None for a chromatic note."""
        pitch_class = pitch % 12
        return self.scale.index(pitch_class) + 1 if pitch_class in self.scale else None

    def spell(self, pitch: int) -> tuple[str, int, int]:
        """``(letter, alteration in semitones, octave)`` of ``pitch`` in this key; octave 4 starts at middle C.

        Scale notes follow the signature; chromatic ones are the spelling nearest on the line of fifths to the key's
        middle, which writes raised degrees in minor as sharps.
        """
        middle = self.fifths + 2 + (2 if self.minor else 0)
        place = min((f for f in range(-15, 20) if (f * 7) % 12 == pitch % 12), key=lambda f: (abs(f - middle), f))
        letter = "CGDAEBF"[place % 7]
        alteration = (place + 1) // 7
        octave = (pitch - WHITE[LETTERS.index(letter)] - alteration) // 12 - 1
        return letter, alteration, octave


def white_key(mode: str) -> Key:
    """The key of ``mode`` without sharps or flats: C ionian, D dorian, … B locrian."""
    return Key(LETTERS[MODES.index(mode)], mode)


def find_mode(text: str) -> str:
    """The mode called ``text`` ("major", "minor" and three-letter forms too). Raises UsageError with the nearest."""
    wanted = text.strip().lower()
    if wanted in _ALIASES:
        return _ALIASES[wanted]
    for mode in MODES:
        if len(wanted) >= 3 and mode.startswith(wanted[:3]) and (mode.startswith(wanted) or wanted[:3] == wanted):
            return mode
    raise nearest(text, [*MODES, "major", "minor"], "mode")


def parse_key(text: str) -> Key:
    """``"D dorian"``, ``"E minor"``, ``"Bb"``, ``"F#m"``, ``"Ador"`` … as a :class:`Key`. Raises UsageError."""
    found = re.fullmatch(r"\s*([A-Ga-g])(##|bb|#|b|♯|♭|[ -]?sharp|[ -]?flat)?[ _-]*([A-Za-z]*)\s*", text)
    if not found:
        raise UsageError(f"{text!r} is not a key; name a tonic and a mode, for example 'D dorian', 'E minor' or 'Bb'")
    accidental = (found[2] or "").strip(" -")
    mode = "aeolian" if found[3] == "m" else "ionian" if found[3] == "M" else find_mode(found[3])
    symbol = {"♯": "#", "♭": "b", "sharp": "#", "flat": "b"}.get(accidental, accidental)
    key = Key(found[1].upper() + symbol, mode)
    if abs(key.fifths) > 7:
        raise UsageError(f"{text!r} needs {abs(key.fifths)} {'sharps' if key.fifths > 0 else 'flats'}; "
                         f"write {_simpler(key).name} instead")
    return key


def key_of(pitch_class: int, mode: str) -> Key:
    """The key on ``pitch_class`` with the fewest accidentals."""
    tonics = [letter + symbol for letter in LETTERS for symbol in ("", "#", "b")]
    keys = [Key(tonic, mode) for tonic in tonics]
    return min((key for key in keys if key.pitch_class == pitch_class % 12),
               key=lambda key: (abs(key.fifths), key.fifths))


def _simpler(key: Key) -> Key:
    return key_of(key.pitch_class, key.mode)


_NOTE = re.compile(r"([A-Ga-g])(##|bb|#|b|♯|♭)?(-?\d)")


def pitch_name(pitch: int, key: Key | None = None) -> str:
    """Scientific name: 60 → "C4"; spelt as in ``key`` (default: sharps as in C major's neighbours)."""
    letter, alteration, octave = (key or Key("C")).spell(pitch)
    return letter + ("#" * alteration if alteration > 0 else "b" * -alteration) + str(octave)


def parse_pitch(text: str) -> int:
    """"C4" → 60, "Bb3" → 58, "67" → 67. Raises UsageError."""
    found = _NOTE.fullmatch(text.strip())
    if found:
        pitch = WHITE[LETTERS.index(found[1].upper())] + _ACCIDENTALS[found[2] or ""] + 12 * (int(found[3]) + 1)
    elif text.strip().isdecimal():
        pitch = int(text)
    else:
        raise UsageError(f"{text!r} is not a pitch; write a name with its octave such as C4 or Bb3, or a MIDI number")
    if not 0 <= pitch <= 127:
        raise UsageError(f"{text!r} lies outside MIDI's 0 to 127")
    return pitch
