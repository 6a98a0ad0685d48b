"""Edits of melodies for the tutor: what each does, and that none leaves the grammar, the form or the range."""

from __future__ import annotations

import time
from random import Random

import pytest
from test_music_tokens import walk

from seqtutor_music import DOMAIN, edits, grammar, rules, tokens
from seqtutor_music.edits import EDITS, Bars, Parent, _pool, _read, _write
from seqtutor_music.grammar import Form
from seqtutor_music.keys import MODES, parse_key, white_key
from seqtutor_music.meter import parse_meter
from seqtutor_music.primer import _from_names
from seqtutor_music.tokens import PITCH_OF

A = "C4:4 E4:4 G4:4 E4:4 "
B = "D4:4 F4:4 A4:4 F4:4 "
C = "E4:2 F4:2 G4:4 C5:8 "


def stream(names: str, key: str = "C", meter: str = "4/4") -> str:
    return tokens.write(_from_names(names, parse_key(key), parse_meter(meter))[0])


def results(edit: object, *texts: str, tries: int = 200) -> list[tuple[Parent, Bars]]:
    """(mother, new bars) of many goes of one edit, the first text always the mother."""
    parents = [_read(text) for text in texts]
    pool, rng = _pool(parents), Random(0)
    made = [edit(parents[0], pool, rng) for _ in range(tries)]  # type: ignore[operator]
    return [(parents[0], bars) for bars in made if bars is not None]


def changed(mother: Parent, bars: Bars) -> list[int]:
    return [i for i, (old, new) in enumerate(zip(mother.bars, bars, strict=True)) if old != new]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("meter", tokens.METERS)
def test_edits_stay_in_the_grammar_of_their_mothers(meter: str, mode: str) -> None:
    form = Form(meter, mode, 9, 3, 55, 74)
    mothers = [walk(form, seed) for seed in range(3)]
    found = edits.edits(mothers, 60, Random(0))
    assert len(found) == len(set(found)) == 60
    assert not set(found) & set(mothers)
    vocabulary = ("<pad>", "<bos>", "<eos>", *tokens.TOKENS)
    table = grammar.build(vocabulary, form).next_state
    for text in found:
        state = 0
        for token in tokens.split(text):
            state = int(table[state, vocabulary.index(token)])
            assert state >= 0, text
        assert DOMAIN.canonical(text) == text


def test_the_same_rng_gives_the_same_edits() -> None:
    mothers = [walk(Form("4/4", "ionian", 4, 0), seed) for seed in range(4)]
    assert DOMAIN.edits(mothers, 20, Random(5)) == DOMAIN.edits(mothers, 20, Random(5))
    assert DOMAIN.edits(mothers, 20, Random(5)) != DOMAIN.edits(mothers, 20, Random(6))


def test_no_parents_no_edits_and_what_is_no_melody_is_left_out() -> None:
    assert edits.edits([], 5, Random(0)) == []
    assert edits.edits(["nonsense"], 5, Random(0)) == []
    good = stream(A * 4)
    assert all(DOMAIN.valid(text) for text in edits.edits(["4/4 ionian | 1", good], 5, Random(0)))
    assert edits.edits([stream("r:15 C4:1")], 3, Random(0)) == []  # one bar whose one note nothing can change


def test_upbeats_stay() -> None:
    mothers = [walk(Form("3/4", "dorian", 4, 4), seed) for seed in range(3)]
    for text in edits.edits(mothers, 30, Random(1)):
        head = text.split(" | ")[0]
        assert head in {mother.split(" | ")[0] for mother in mothers}


def test_recombine_takes_phrases_at_the_same_place_from_the_same_form_only() -> None:
    mother, mate = stream(A * 8), stream(B * 8)
    others = (stream(C * 4), stream("C4:4 E4:4 G4:4 " * 8, meter="3/4"), stream(C * 8, "A minor"))
    sizes = set()
    for parent, bars in results(edits.recombine, mother, mate, *others):
        places = changed(parent, bars)
        sizes.add(len(places))
        if places:
            assert places == list(range(places[0], places[0] + len(places)))
            assert places[0] % len(places) == 0
            assert all(bars[i] == _read(mate).bars[i] for i in places)
    assert sizes == {0, 2, 4}  # 0: the mother herself was drawn


def test_transpose_moves_whole_phrases_along_the_scale_inside_the_span() -> None:
    mother, wide = stream(B * 8), stream("C4:8 C5:8 " * 8)
    moves = set()
    for parent, bars in results(edits.transpose, mother, wide):
        places = changed(parent, bars)
        assert len(places) in (1, 2, 4)
        for i in places:
            steps = {degree(new) - degree(old) for old, new in zip(parent.bars[i], bars[i], strict=True)
                     if old in PITCH_OF}
            assert len(steps) == 1
            moves |= steps
    assert moves == {-1, 1, 2}  # D4–A4 between C4 and C5
    chromatic = stream("C4:4 C#4:4 D4:4 E4:4")
    raised = {bars[0] for _, bars in results(edits.transpose, chromatic, wide)}
    assert ("D4", "-", "-", "-", "D#4", "-", "-", "-", "E4", "-", "-", "-", "F4", "-", "-", "-") in raised


def degree(token: str) -> int:
    pitch = PITCH_OF[token]
    return pitch // 12 * 7 + (0, 2, 4, 5, 7, 9, 11).index(pitch % 12)


@pytest.mark.parametrize(("count", "question", "reply"), [(8, (0, 1), (4, 5)), (16, (8, 9), (12, 13)), (4, (0,), (2,))])
def test_answer_repeats_the_question(count: int, question: tuple[int, ...], reply: tuple[int, ...]) -> None:
    bars = [A, B, C, "G4:16 ", "F4:8 A4:8 ", "D4:12 E4:4 ", "C4:2 D4:2 E4:12 ", "C4:16 "]
    text = stream("".join((bars * 2)[:count]))
    made = [new for mother, new in results(edits.answer, text) if changed(mother, new) == list(reply)]
    assert made
    assert all([new[i] for i in reply] == [new[i] for i in question] for new in made)
    if count == 8:
        before, after = tokens.parse(text), tokens.parse(_write(("4/4", "ionian"), made[0]))
        assert rules.find("answering-phrase")(before) == 0
        assert rules.find("answering-phrase")(after) == 1


def test_answer_needs_four_bars() -> None:
    assert results(edits.answer, stream(A * 3)) == []


def test_close_takes_the_cadence_of_one_that_ends_on_the_tonic() -> None:
    open_end, closed = stream(A * 8), stream(B * 3 + "D4:8 C4:8")
    for parent, bars in results(edits.close, open_end, closed, stream(B * 8)):
        assert changed(parent, bars) in ([6, 7], [7])
        assert bars[-1] == _read(closed).bars[-1]
        melody = tokens.parse(_write(parent.head, bars))
        assert rules.find("ends-on-tonic")(melody) == rules.find("full-cadence")(melody) == 1
    assert {bars for _, bars in results(edits.close, stream(A * 3), stream(B * 3))}  # where none does, any


def test_repeat_copies_one_bar() -> None:
    for parent, bars in results(edits.repeat, stream(A + B + C + "G4:16")):
        assert len(changed(parent, bars)) <= 1
        assert set(bars) <= set(parent.bars)


def test_vary_changes_one_bar_a_little() -> None:
    mother = stream("C4:4 E4:4 G4:4 E4:4 " + "C4:2 D4:2 E4:4 r:4 D4:4 ")
    kinds = set()
    for parent, bars in results(edits.vary, mother, stream("A3:8 A4:8 " * 2), tries=500):
        places = changed(parent, bars)
        assert len(places) <= 1
        for i in places:
            old, new = ([(k, t) for k, t in enumerate(bar) if t in PITCH_OF] for bar in (parent.bars[i], bars[i]))
            assert len(set(old) ^ set(new)) <= 2  # one note begins, ends or is elsewhere
            kinds.add(len(new) - len(old))
            assert [t == "." for t in parent.bars[i]] == [t == "." for t in bars[i]]  # silence stays
    assert kinds == {-1, 0, 1}


def test_a_held_note_is_never_cut_from_its_beginning() -> None:
    tied = stream("C4:12 E4:8 D4:12 " * 2)
    rests = stream("C4:12 r:4 " * 4)
    assert _read(tied).bars[1][0] == "-"
    for text in edits.edits([tied, rests], 100, Random(2)):
        assert tokens.why_not(text) == ""
    assert "| 1 ionian . . . . D4" in _write(("4/4", "ionian"), (_read(rests).bars[0], _read(tied).bars[1]))


def test_every_edit_is_drawn_and_two_thousand_a_second_are_made() -> None:
    assert {edit.__name__ for edit in EDITS} == {"recombine", "transpose", "answer", "close", "repeat", "vary"}
    mothers = [walk(Form("4/4", "ionian", 16, 0), seed) for seed in range(32)]
    edits.edits(mothers, 10, Random(0))
    started = time.process_time()
    found = edits.edits(mothers, 2000, Random(1))
    assert len(found) == 2000
    assert time.process_time() - started < 1
    assert {white_key("ionian")} == {tokens.parse(text).key for text in found[:50]}
