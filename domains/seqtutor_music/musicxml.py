"""Writes MusicXML 4.0 for notation programs: beams, ties, accidentals, chord symbols, marked notes."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from seqtutor_music.abc_writer import signature
from seqtutor_music.arrangement import Arrangement, Chord
from seqtutor_music.bars import Piece, pieces_by_bar
from seqtutor_music.melody import Melody

_TYPES = {1: "16th", 2: "eighth", 3: "eighth", 4: "quarter", 6: "quarter", 8: "half", 12: "half", 16: "whole",
          24: "whole"}
_ACCIDENTALS = {-2: "flat-flat", -1: "flat", 0: "natural", 1: "sharp", 2: "double-sharp"}
_MODES = {"ionian": "major", "aeolian": "minor"}
DOCTYPE = ('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 '
           'Partwise//EN" "http://www.musicxml.org/dtds/partwise.dtd">\n')


def musicxml_text(arrangement: Arrangement, colors: Mapping[int, str] | None = None, *, engraved: bool = False) -> str:
    """The score as text. ``colors``: note index → "#rrggbb" for notes to mark. Note i has the id ``n<i>``.

    ``engraved``: for pictures; the tempo in words, since the sign for a note is in few fonts, and no part name.
    """
    melody = arrangement.melody
    score = Element("score-partwise", version="4.0")
    SubElement(SubElement(score, "work"), "work-title").text = melody.title or "Melody"
    part = SubElement(SubElement(score, "part-list"), "score-part", id="P1")
    name = SubElement(part, "part-name")
    name.text = "" if engraved else "Melody"
    body = SubElement(score, "part", id="P1")
    for i, pieces in enumerate(pieces_by_bar(melody)):
        number = i if melody.upbeat else i + 1
        measure = SubElement(body, "measure", number=str(number))
        if melody.upbeat and i == 0:
            measure.set("implicit", "yes")
        if i == 0:
            _attributes(measure, melody, engraved)
        _bar(measure, pieces, arrangement, colors or {})
    last = body.findall("measure")[-1] if len(body) else SubElement(body, "measure", number="1")
    SubElement(SubElement(last, "barline", location="right"), "bar-style").text = "light-heavy"
    ElementTree.indent(score)
    return DOCTYPE + ElementTree.tostring(score, encoding="unicode") + "\n"


def _attributes(measure: Element, melody: Melody, engraved: bool) -> None:
    attributes = SubElement(measure, "attributes")
    SubElement(attributes, "divisions").text = "4"
    key = SubElement(attributes, "key")
    SubElement(key, "fifths").text = str(melody.key.fifths)
    SubElement(key, "mode").text = _MODES.get(melody.key.mode, melody.key.mode)
    time = SubElement(attributes, "time")
    SubElement(time, "beats").text = str(melody.meter.beats)
    SubElement(time, "beat-type").text = str(melody.meter.unit)
    clef = SubElement(attributes, "clef")
    low = melody.notes and sum(n.pitch for n in melody.notes) / len(melody.notes) < 57
    SubElement(clef, "sign").text, SubElement(clef, "line").text = ("F", "4") if low else ("G", "2")
    direction = SubElement(measure, "direction", placement="above")
    kind = SubElement(direction, "direction-type")
    if engraved:
        SubElement(kind, "words").text = f"{melody.key.name}, {melody.tempo:g} quarters a minute"
    else:
        metronome = SubElement(kind, "metronome")
        SubElement(metronome, "beat-unit").text = "quarter"
        SubElement(metronome, "per-minute").text = f"{melody.tempo:g}"
    SubElement(direction, "sound", tempo=f"{melody.tempo:g}")


def _bar(measure: Element, pieces: list[Piece], arrangement: Arrangement, colors: Mapping[int, str]) -> None:
    melody = arrangement.melody
    symbols = {chord.start: chord for chord in arrangement.chords}
    beams = beam_marks(melody, pieces)
    usual, carried = signature(melody.key), dict[tuple[str, int], int]()
    for piece, beam in zip(pieces, beams, strict=True):
        if piece.start in symbols:
            _harmony(measure, symbols[piece.start])
        note = SubElement(measure, "note")
        if piece.pitch is None:
            SubElement(note, "rest")
        else:
            if not piece.continues:
                note.set("id", f"n{piece.note}")
            if piece.note in colors:
                note.set("color", colors[piece.note])
            letter, alteration, octave = melody.key.spell(piece.pitch)
            pitch = SubElement(note, "pitch")
            SubElement(pitch, "step").text = letter
            if alteration:
                SubElement(pitch, "alter").text = str(alteration)
            SubElement(pitch, "octave").text = str(octave)
        SubElement(note, "duration").text = str(piece.duration)
        for kind, there in (("stop", piece.continues), ("start", piece.tied)):
            if there:
                SubElement(note, "tie", type=kind)
        SubElement(note, "voice").text = "1"
        SubElement(note, "type").text = _TYPES[piece.duration]
        if piece.duration in (3, 6, 12, 24):
            SubElement(note, "dot")
        if piece.pitch is not None and not piece.continues:
            current = carried.get((letter, octave), usual.get(letter, 0))
            if alteration != current:
                SubElement(note, "accidental").text = _ACCIDENTALS[alteration]
                carried[letter, octave] = alteration
        for number, mark in enumerate(beam, 1):
            SubElement(note, "beam", number=str(number)).text = mark
        if piece.continues or piece.tied:
            notations = SubElement(note, "notations")
            for kind, there in (("stop", piece.continues), ("start", piece.tied)):
                if there:
                    SubElement(notations, "tied", type=kind)


def beam_marks(melody: Melody, pieces: list[Piece]) -> list[list[str]]:
    """For each piece its beam marks by level ("begin", "continue", "end", "forward hook", "backward hook")."""
    marks: list[list[str]] = [[] for _ in pieces]
    groups: list[list[int]] = []
    for i, piece in enumerate(pieces):
        short = piece.pitch is not None and piece.duration <= 3
        beat = melody.position(piece.start) // melody.meter.beat_steps
        if short and groups and groups[-1] and groups[-1][-1] == i - 1 and beat == (
                melody.position(pieces[i - 1].start) // melody.meter.beat_steps):
            groups[-1].append(i)
        elif short:
            groups.append([i])
    for group in (g for g in groups if len(g) > 1):
        for k, i in enumerate(group):
            marks[i].append("begin" if k == 0 else "end" if k == len(group) - 1 else "continue")
        fast = [pieces[i].duration == 1 for i in group]
        for k, i in enumerate(group):
            if fast[k]:
                before, after = k > 0 and fast[k - 1], k + 1 < len(group) and fast[k + 1]
                marks[i].append("continue" if before and after else "end" if before else "begin" if after
                                else "backward hook" if k else "forward hook")
    return marks


def _harmony(measure: Element, chord: Chord) -> None:
    harmony = SubElement(measure, "harmony")
    root = SubElement(harmony, "root")
    SubElement(root, "root-step").text = chord.symbol[0]
    sharp, flat = chord.symbol[1:].count("#"), chord.symbol[1:].split("dim")[0].count("b")
    if sharp or flat:
        SubElement(root, "root-alter").text = str(sharp - flat)
    kind = "diminished" if chord.symbol.endswith("dim") else "minor" if chord.symbol.endswith("m") else "major"
    SubElement(harmony, "kind").text = kind
