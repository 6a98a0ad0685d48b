"""Writes ABC that others read back to the same notes."""

from __future__ import annotations

from collections.abc import Sequence

from seqtutor_music.arrangement import Arrangement
from seqtutor_music.bars import Piece, pieces_by_bar
from seqtutor_music.keys import Key
from seqtutor_music.melody import Melody

_SIGNS = {-2: "__", -1: "_", 0: "=", 1: "^", 2: "^^"}
_MODES = {"ionian": "", "aeolian": "m"}
BARS_A_LINE = 4


def signature(key: Key) -> dict[str, int]:
    """The letters that the key signature alters, with their alteration."""
    if key.fifths >= 0:
        return dict.fromkeys("FCGDAEB"[:key.fifths], 1)
    return dict.fromkeys("BEADGCF"[:-key.fifths], -1)


def abc_text(arrangements: Sequence[Arrangement]) -> str:
    """One ABC file of all ``arrangements``; chords stand above the notes as symbols."""
    return "\n".join(_tune(arrangement, i) for i, arrangement in enumerate(arrangements, 1))


def _tune(arrangement: Arrangement, number: int) -> str:
    melody = arrangement.melody
    mode = _MODES.get(melody.key.mode, melody.key.mode[:3])
    lines = [f"X:{number}", f"T:{melody.title or 'Melody'}", f"M:{melody.meter.name}", "L:1/16",
             f"Q:1/4={melody.tempo:g}", f"K:{melody.key.tonic}{mode}"]
    bars = pieces_by_bar(melody)
    symbols = {chord.start: chord.symbol for chord in arrangement.chords}
    written = [_bar(bar, melody, symbols) for bar in bars]
    head = 1 if melody.upbeat else 0
    if head and written:
        written[0:2] = [f"{written[0]} | {written[1]}"] if len(written) > 1 else written[:1]
    rows = [written[i:i + BARS_A_LINE] for i in range(0, len(written), BARS_A_LINE)]
    body = [" | ".join(row) + (" |]" if i == len(rows) - 1 else " |") for i, row in enumerate(rows)]
    return "\n".join(lines + body) + "\n"


def _bar(pieces: list[Piece], melody: Melody, symbols: dict[int, str]) -> str:
    """One bar. Accidentals are said again within it, since verovio does not carry them, and in locrian all are said,
    since music21 takes it for major."""
    carried: dict[str, int] = {}
    usual = signature(melody.key)
    all_said = melody.key.mode == "locrian"
    words: list[str] = []
    for i, piece in enumerate(pieces):
        gap = " " if i and melody.position(piece.start) % melody.meter.beat_steps == 0 else ""
        symbol = f'"{symbols[piece.start]}"' if piece.start in symbols and not piece.continues else ""
        length = "" if piece.duration == 1 else str(piece.duration)
        if piece.pitch is None:
            words.append(f"{gap}{symbol}z{length}")
            continue
        letter, alteration, octave = melody.key.spell(piece.pitch)
        signed = usual.get(letter, 0)
        said = signed != alteration or carried.get(letter, signed) != alteration
        first_of_bar = i == 0 and piece.continues  # a tied note keeps its accidental
        sign = _SIGNS[alteration] if all_said or (said and not first_of_bar) else ""
        if sign:
            carried[letter] = alteration
        name = letter.lower() + "'" * (octave - 5) if octave >= 5 else letter + "," * (4 - octave)
        words.append(f"{gap}{symbol}{sign}{name}{length}{'-' if piece.tied else ''}")
    return "".join(words)
