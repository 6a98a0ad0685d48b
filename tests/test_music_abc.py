"""The ABC reader: one hand-written case for each feature, and its counts on the corpus."""

from __future__ import annotations

import hashlib
import importlib.util
import statistics
from collections import Counter
from fractions import Fraction

import pytest

from seqtutor.domain import SeqtutorError
from seqtutor_music import corpus
from seqtutor_music.abc_reader import read_length, read_tune, read_tunes
from seqtutor_music.gridding import melody_of
from seqtutor_music.keys import parse_key

HAS_MUSIC21 = importlib.util.find_spec("music21") is not None


def notes(body: str, key: str = "C", head: str = "M:4/4\nL:1/8\n",
          repeats: bool = True) -> list[tuple[int | None, float]]:
    """(pitch, length in sixteenths) of everything played."""
    tune = read_tune(f"X:1\nT:t\n{head}K:{key}\n{body}\n")
    return [(event.pitch, float(event.duration * 16)) for event in tune.events(repeats)[0]]


def pitches(body: str, key: str = "C", repeats: bool = True) -> list[int | None]:
    return [pitch for pitch, _ in notes(body, key, repeats=repeats)]


def test_octaves_and_lengths() -> None:
    assert notes("C c c' C, z") == [(60, 2), (72, 2), (84, 2), (48, 2), (None, 2)]
    assert notes("C2 C/ C/2 C// C3/2 C3/") == [(60, 4), (60, 1), (60, 1), (60, .5), (60, 3), (60, 3)]
    assert read_length("7/4") == Fraction(7, 4)


def test_accidentals_last_to_the_bar_line_in_every_octave() -> None:
    assert pitches("^F F f | F =B _B B") == [66, 66, 78, 65, 71, 70, 70]
    assert pitches("F =F F | F", "G") == [66, 65, 65, 66]
    assert pitches("^^C __D") == [62, 60]


def test_ties_join_also_over_bar_lines_and_carry_their_accidental() -> None:
    assert notes("C4-C4") == [(60, 16)]
    assert notes("^F8-|F4 F4") == [(66, 24), (65, 8)]


def test_repeats() -> None:
    assert pitches("|:C|D:|E|]") == [60, 62, 60, 62, 64]
    assert pitches("C|D:|E|") == [60, 62, 60, 62, 64]
    assert pitches("C::D:|") == [60, 60, 62, 62]
    assert pitches("C:||:D:|") == [60, 60, 62, 62]
    assert pitches("|:C|D:|E|]", repeats=False) == [60, 62, 64]


def test_endings() -> None:
    assert pitches("|:C|1D:|2E|]F|") == [60, 62, 60, 64, 65]
    assert pitches("|:C|[1 D:|[2 E||F|") == [60, 62, 60, 64, 65]
    assert pitches("|:C|1 D:|2 E:|:F|G:|") == [60, 62, 60, 64, 65, 67, 65, 67]
    assert pitches("|:C|1D:|2E|]F|", repeats=False) == [60, 64, 65]
    assert pitches("|:C|1,3 D:|2 E:|", repeats=True) == [60, 62, 60, 64, 60, 62]


def test_a_repeat_cannot_run_away() -> None:
    assert len(pitches("|:C:|" * 50)) <= 4 * 50


def test_grace_notes_decorations_and_chord_symbols_are_dropped() -> None:
    assert pitches('{ga}C !trill!D "Am"E ~F .G vA uB Tc +fermata+d') == [60, 62, 64, 65, 67, 69, 71, 72, 74]
    assert pitches("(C D) E") == [60, 62, 64]
    assert pitches("C % D E\nF") == [60, 65]


def test_chords_keep_their_top_note() -> None:
    assert notes("[CEG]2 [EC]") == [(67, 4), (64, 2)]


def test_tuplets() -> None:
    third = float(Fraction(4, 3))
    assert notes("(3CDE F") == [(60, third), (62, third), (64, third), (65, 2)]
    assert notes("(2CD E", head="M:6/8\nL:1/8\n") == [(60, 3), (62, 3), (64, 2)]
    assert notes("(3:2:2C2D E")[:2] == [(60, 2 * third), (62, third)]


def test_broken_rhythm() -> None:
    assert notes("C>D E<F G>>A") == [(60, 3), (62, 1), (64, 1), (65, 3), (67, 3.5), (69, .5)]
    assert notes('C>"Am"D') == [(60, 3), (62, 1)]


def test_key_metre_and_length_changes_inside() -> None:
    assert pitches("F [K:G] F |[K:F]B") == [65, 66, 70]
    tune = read_tune("X:1\nM:4/4\nL:1/8\nK:C\nC8|\nM:3/4\nC6|\n")
    assert tune.meter_changes == 1
    assert notes("C [L:1/4] C") == [(60, 2), (60, 4)]


def test_default_length_follows_the_metre() -> None:
    assert notes("C", head="M:2/4\n") == [(60, 1)]
    assert notes("C", head="M:6/8\n") == [(60, 2)]
    assert notes("C", head="") == [(60, 2)]


@pytest.mark.parametrize(("field", "name"), [
    ("D", "D major"), ("Dmaj", "D major"), ("Em", "E minor"), ("Emin", "E minor"), ("Ador", "A dorian"),
    ("A dor", "A dorian"), ("Gmix", "G mixolydian"), ("F#phr", "F# phrygian"), ("Flyd", "F lydian"),
    ("Bloc", "B locrian"), ("Bb", "Bb major"), ("HP", "A mixolydian"), ("D clef=treble", "D major"),
    ("none", "C major")])
def test_keys(field: str, name: str) -> None:
    tune = read_tune(f"X:1\nK:{field}\nC\n")
    assert tune.key
    assert tune.key.name == name


def test_key_with_own_accidentals() -> None:
    assert pitches("G F", "Am ^G") == [68, 65]


def test_first_voice_only() -> None:
    assert pitches("V:1\nC\nV:2\nD\nV:1\nE") == [60, 64]


def test_upbeat_and_grid() -> None:
    gridded = melody_of(read_tune("X:1\nM:3/4\nL:1/4\nQ:1/4=90\nK:G\nD|G2B|d3|]"))
    assert gridded.exact
    assert gridded.aligned == 1
    melody = gridded.melody
    assert (melody.upbeat, melody.bars, melody.tempo, melody.key) == (4, 2, 90, parse_key("G"))
    assert [melody.bar(note.start) for note in melody.notes] == [0, 1, 1, 2]
    assert [melody.beat(note.start) for note in melody.notes] == [3, 1, 3, 1]


def test_inexact_tunes_say_so() -> None:
    assert not melody_of(read_tune("X:1\nM:4/4\nL:1/8\nK:C\n(3CDE F6|")).exact


def test_absurd_lengths_are_refused() -> None:
    with pytest.raises(SeqtutorError, match="whole notes"):
        read_tune("X:1\nK:C\nC9999\n")
    with pytest.raises(SeqtutorError, match="note length"):
        read_tune("X:1\nK:C\nC/99999\n")


def test_several_tunes() -> None:
    text = "% a book\nX:1\nT:a\nK:C\nC\n\nX:2\nT:b\nK:D\nD\n"
    assert [tune.title for tune in read_tunes(text)] == ["a", "b"]


#: facts/music.md: tunes; % exactly on sixteenths; % in 4/4 or 2/2, 2/4, 3/4, 6/8, 9/8; median steps; pitches; sha256
BOOKS = {
    "oneills1850": (2009, 65.8, (40, 11, 11, 33, 4), 212, (55, 88),
                    "c45fbfa139a40a00dd465badff3f99dc9177877d00cb7cb7b696e9cdf4fd942e"),
    "ryansMammoth": (1059, 63.8, (33, 44, 0, 19, 4), 192, (55, 93),
                     "3ea75e2db64cdbb5c57a0953097c13646ba9a670d3d1cdfc0d6a91f2fe7f50fc"),
    "airdsAirs": (1180, 89.2, (43, 20, 4, 29, 2), 192, (55, 89),
                  "bb7b8af608f400e9af30e9b27931ac8d5f48d01bd0457c65407f6f4cd03024d2"),
    "miscFolk": (185, 89.2, (24, 26, 13, 24, 9), 192, (59, 83),
                 "a1c672c52f5391f3a8d67b97e0c8c14583e81d64768a129d61982c9bcab51982"),
}


@pytest.mark.skipif(not HAS_MUSIC21, reason="music21 is not installed; pip install 'seqtutor[corpora]'")
@pytest.mark.parametrize("book", BOOKS)
def test_counts_on_the_corpus(book: str) -> None:
    tunes, exact, shares, median, pitches, sha256 = BOOKS[book]
    contents = corpus.read_book(book)
    assert hashlib.sha256(b"".join(contents)).hexdigest() == corpus.BOOKS[book] == sha256
    texts = [text for content in contents for text in corpus.abc_tunes(content)]
    assert len(texts) == tunes
    read = [read_tune(text) for text in texts]
    gridded = [melody_of(tune, repeats=False) for tune in read]
    assert 100 * sum(found.exact for found in gridded) / tunes == pytest.approx(exact, abs=.051)
    meters = Counter(found.melody.meter.name for found in gridded)
    counted = [meters["4/4"] + meters["2/2"], *(meters[name] for name in ("2/4", "3/4", "6/8", "9/8"))]
    assert [round(100 * count / tunes) for count in counted] == list(shares)
    sounding = [note.pitch for found in gridded for note in found.melody.notes]
    assert (min(sounding), max(sounding)) == pitches
    # The facts count what stands on the page, first endings too; once through with the last endings O'Neill's is 194.
    written = [16 * sum(event.duration for measure in tune.measures for event in measure.items) for tune in read]
    assert statistics.median(written) == pytest.approx(median, abs=.51)
    once = statistics.median(found.melody.length for found in gridded)
    assert once == (194 if book == "oneills1850" else 192)
