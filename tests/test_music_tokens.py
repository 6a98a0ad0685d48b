"""The stream, its grammar, keys and metres."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtutor.domain import UnknownToken, UsageError
from seqtutor.vocabulary import EOS, SPECIALS
from seqtutor_music import DOMAIN, grammar, tokens
from seqtutor_music.corpus import recast
from seqtutor_music.families import families
from seqtutor_music.grammar import Form
from seqtutor_music.keys import MODES, Key, key_of, parse_key, parse_pitch, pitch_name, white_key
from seqtutor_music.melody import Melody, Note
from seqtutor_music.meter import parse_meter

VOCABULARY = (*SPECIALS, *tokens.TOKENS)


def walk(form: Form, seed: int) -> str:
    """A random text of the grammar, every allowed token as likely."""
    table = grammar.build(VOCABULARY, form).next_state
    rng = np.random.default_rng(seed)
    state, words = 0, []
    for _ in range(3000):
        allowed = np.nonzero(table[state] >= 0)[0]
        token = int(rng.choice(allowed))
        if token == EOS:
            return " ".join(words)
        words.append(VOCABULARY[token])
        state = int(table[state, token])
    raise AssertionError("the grammar did not end")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("meter", tokens.METERS)
def test_every_metre_and_mode_gives_exactly_the_bars_asked_for(meter: str, mode: str) -> None:
    text = walk(Form(meter, mode, 5, 0), 1)
    melody = tokens.parse(text)
    assert (melody.meter.name, melody.key.mode, melody.bars, melody.upbeat) == (meter, mode, 5, 0)
    assert melody.length == 5 * parse_meter(meter).steps
    assert tokens.split(text)[-1] == tokens.END


@given(st.integers(0, 10_000), st.sampled_from([None, 1, 8, 9, 17, 64]), st.sampled_from([None, 0, 3]))
@settings(max_examples=40, deadline=None)
def test_whatever_the_grammar_allows_is_a_melody(seed: int, bars: int | None, upbeat: int | None) -> None:
    text = walk(Form("3/8", None, bars, upbeat, 60, 72), seed)
    assert tokens.why_not(text) == ""
    melody = tokens.parse(text)
    assert bars is None or melody.bars == bars
    assert upbeat is None or melody.upbeat == upbeat
    assert all(60 <= note.pitch <= 72 for note in melody.notes)
    assert DOMAIN.join(DOMAIN.split(text)) == text
    assert DOMAIN.canonical(text) == text


def test_every_state_can_reach_the_end() -> None:
    for form in (Form(), Form("6/8", "dorian", 3), Form("4/4", bars=16, upbeat=2)):
        table = grammar.build(VOCABULARY, form).next_state
        reached, frontier = {0}, [0]
        while frontier:
            state = frontier.pop()
            for after in set(table[state][table[state] >= 0].tolist()) - reached:
                reached.add(after)
                frontier.append(after)
        good = {s for s in reached if table[s, EOS] >= 0}
        while more := {s for s in reached - good if set(table[s][table[s] >= 0].tolist()) & good}:
            good |= more
        assert good == reached


def test_hold_needs_a_note_and_the_end_a_bar_line() -> None:
    table = grammar.build(VOCABULARY, Form("3/8", "ionian", 1, 0)).next_state
    column = {token: i for i, token in enumerate(VOCABULARY)}
    state = 0
    for token in ("3/8", "ionian", "|", "1", "ionian"):
        assert table[state, column[token]] >= 0
        state = table[state, column[token]]
    assert table[state, column["-"]] == -1
    assert table[state, column["||"]] == -1
    assert table[table[state, column["."]], column["-"]] == -1
    assert table[table[state, column["C4"]], column["-"]] >= 0


@pytest.mark.parametrize(("text", "words"), [
    ("", "begins with a metre"), ("4/4 ionian C4 - ||", "no bar line after 0"),
    ("4/4 ionian | 1 ionian C4 ||", "belongs after 16"),
    ("3/8 ionian | 2 ionian C4 - - - - - ||", "counted"), ("3/8 ionian | 1 ionian - . . . . . ||", "nothing to hold"),
    ("3/8 ionian | 1 ionian C4 - - - - - | 1 ionian ||", "after 6 steps"),
    ("3/8 ionian | 1 ionian C4 - - - - -", "ends with"),
    ("3/8 ionian | 1 dorian C4 - - - - - ||", "said to be dorian"),
    ("3/8 ionian ^7 C4 - - - - - ||", "fills a bar"), ("3/8 ionian | 1 ionian C4 dorian - - - - ||", "stands after")])
def test_what_is_no_melody_says_why(text: str, words: str) -> None:
    assert words in tokens.why_not(text)
    assert DOMAIN.canonical(text) is None


def test_unknown_symbols_name_their_place() -> None:
    with pytest.raises(UnknownToken) as caught:
        DOMAIN.split("4/4 ionian | 1 H4")
    assert (caught.value.symbol, caught.value.position) == ("H4", 15)


@pytest.mark.parametrize("mode", MODES)
def test_round_trip_through_the_stream(mode: str) -> None:
    key = key_of(9, mode)
    notes = tuple(Note(69 + (key.scale[i % 7] - key.pitch_class) % 12, 2 * i, 2) for i in range(16))
    melody = Melody(notes, 32, parse_meter("2/4"), key)
    back = tokens.parse(tokens.write(melody))
    assert all(back.key.degree(note.pitch) for note in back.notes)
    assert [n.pitch - back.notes[0].pitch for n in back.notes] == [n.pitch - 69 for n in notes]
    assert back.key == white_key(mode)


def test_what_the_stream_cannot_hold_is_refused() -> None:
    note = Note(60, 0, 4)
    with pytest.raises(UsageError, match="5/4"):
        tokens.write(Melody((note,), 20, parse_meter("5/4")))
    with pytest.raises(UsageError, match="65 bars"):
        tokens.write(Melody((note,), 65 * 16))
    with pytest.raises(UsageError, match="36 pitches"):
        tokens.write(Melody((note, Note(100, 4, 4)), 16))


@pytest.mark.parametrize(("form", "words"), [
    (Form(bars=65), "65 bars"), (Form(bars=0), "0 bars"), (Form(meter="7/8"), "7/8"), (Form(meter="x"), "not a metre"),
    (Form(mode="blues"), "unknown mode"), (Form("3/8", upbeat=6), "upbeat of 6"), (Form(low=40), "range 40")])
def test_forms_that_no_melody_has(form: Form, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        grammar.build(VOCABULARY, form)


@pytest.mark.parametrize(("text", "name", "fifths"), [
    ("D dorian", "D dorian", 0), ("E minor", "E minor", 1), ("Bb", "Bb major", -2), ("F#m", "F# minor", 3),
    ("c lydian", "C lydian", 1), ("Eb mixolydian", "Eb mixolydian", -4), ("G♯ min", "G# minor", 5),
    ("Ador", "A dorian", 1),
    ("b-flat major", "Bb major", -2)])
def test_keys(text: str, name: str, fifths: int) -> None:
    key = parse_key(text)
    assert (key.name, key.fifths) == (name, fifths)


@pytest.mark.parametrize(("text", "words"), [
    ("H minor", "not a key"), ("D blues", "unknown mode 'blues'"), ("", "not a key"), ("G# major", "write Ab major")])
def test_what_is_no_key(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_key(text)


def test_every_key_has_a_signature_and_spells_its_scale_without_accidentals() -> None:
    for mode in MODES:
        for pitch_class in range(12):
            key = key_of(pitch_class, mode)
            assert abs(key.fifths) <= 7
            letters = {key.spell(60 + p)[0] for p in key.scale}
            assert len(letters) == 7
            assert all(abs(key.spell(60 + p)[1]) <= 1 for p in key.scale)


def test_pitch_names_round_trip() -> None:
    for pitch in range(128):
        assert parse_pitch(pitch_name(pitch)) == pitch
        assert parse_pitch(pitch_name(pitch, Key("Ab"))) == pitch


def test_accents_and_beats() -> None:
    jig = parse_meter("6/8")
    assert [jig.accent(p) for p in range(12)] == [4, 0, 1, 0, 1, 0, 3, 0, 1, 0, 1, 0]
    assert (jig.beat(0), jig.beat(6), jig.beat(8)) == (1, 2, 2.33)
    common = parse_meter("4/4")
    assert [common.accent(p) for p in range(0, 16, 4)] == [4, 2, 3, 2]
    assert parse_meter("3/4").beat(4) == 2


def test_recast_changes_the_mode_and_nothing_else() -> None:
    melody = Melody(tuple(Note(p, 2 * i, 2) for i, p in enumerate((60, 64, 65, 71))), 8)
    lydian = recast(melody, "lydian")
    assert [n.pitch for n in lydian.notes] == [60, 64, 66, 71]
    assert lydian.key.name == "C lydian"
    with pytest.raises(UsageError, match="chromatic"):
        recast(Melody((Note(61, 0, 2),), 2), "lydian")


def test_families_are_transitive_and_do_not_mind_transposition() -> None:
    rng = np.random.default_rng(0)
    a, b, c = (rng.integers(60, 80, 40).tolist() for _ in range(3))
    middle = [p + 5 for p in a[:20]] + b[:20]
    assert families([a, c, middle, b]) == [0, 1, 0, 0]
    assert DOMAIN.split_keys([]) == []
