"""Every rule of melody: one melody that breaks it, one that does not; batches, findings, targets."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seqtutor.domain import UsageError
from seqtutor_music import DOMAIN, rules, rules_form, tokens
from seqtutor_music.keys import parse_key
from seqtutor_music.melody import Melody, Note
from seqtutor_music.meter import parse_meter
from seqtutor_music.primer import read_primer
from seqtutor_music.rule import MelodyFinding


def tune(names: str, key: str = "C", meter: str = "4/4") -> Melody:
    """A melody from note names; lengths in sixteenths, 2 unless given."""
    return read_primer_melody(names, key, meter)


def read_primer_melody(names: str, key: str, meter: str) -> Melody:
    from seqtutor_music.primer import _from_names

    return _from_names(names, parse_key(key), parse_meter(meter))[0].padded()


BAR = "C4:4 D4:4 E4:4 F4:4 "
WALK = "C4 D4 E4 F4 G4 F4 E4 D4 "

#: rule → (breaks it, keeps it); each (names, key, metre)
CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "range": (("C4 G4 C5 F5 C5 G4 C4:4",), ("C4 E4 G4 C5 G4 E4 C4:4",)),
    "tessitura": (("C4 D4 C4 D4 C4 D4 E5:4",), ("C4 D4 E4 F4 G4 F4 E4 D4",)),
    "step-share": (("C4 E4 G4 C5 G4 E4 C4",), ("C4 D4 E4 G4 F4 E4 C4 D4",)),
    "forbidden-leap": (("C4 F4 B4 C5",), ("C4 F4 A4 C5",)),
    "leap-recovery": (("C4 G4 A4 G4",), ("C4 G4 F4 E4",)),
    "gap-fill": (("C4 G4 C5 B4",), ("C4 G4 F4 E4",)),
    "consecutive-leaps": (("C4 F4 B4 A4",), ("C4 E4 G4 F4",)),
    "tritone-outline": (("C4 F4 G4 A4 B4 A4 F4",), ("C4 F4 G4 A4 G4 F4",)),
    "seventh-outline": (("E4 C4 E4 G4 B4 A4",), ("E4 C4 E4 G4 A4 G4",)),
    "one-climax": (("C4 G4 E4 G4 C4",), ("C4 E4 G4 E4 C4",)),
    "climax-not-leading": (("G4 A4 B4 A4 G4",), ("G4 B4 C5 B4 G4",)),
    "climax-inside": (("C5 B4 A4 G4 F4 E4 D4 C4",), (WALK,)),
    "repeated-notes": (("C4 C4 C4 C4 C4 D4",), ("C4 C4 C4 C4 D4",)),
    "oscillation": (("C4 D4 C4 D4 C4 D4",), ("C4 D4 C4 D4 C4 E4",)),
    "in-key": (("C4 D#4 E4",), ("C4 D4 E4",)),
    "leading-tone": (("C4 B3 A3 C4",), ("C4 B3 C4",)),
    "raised-upward": (("A3 G#3 F3 E3", "A minor"), ("A3 G#3 A3 B3", "A minor")),
    "natural-downward": (("A3 F3 G3 A3", "A minor"), ("A3 F3 E3 A3", "A minor")),
    "augmented-second": (("A3 F3 G#3 A3", "A minor"), ("A3 F#3 G#3 A3", "A minor")),
    "chromatic-passing": (("C4 F#4 C4 D4",), ("F4 F#4 G4 A4",)),
    "accents-in-harmony": (("F4:4 C4:4 E4:4 G4:4 C4:4 E4:4 G4:4 C4:4",), ("C4:4 E4:4 G4:4 C5:4 C4:4 E4:4 G4:4 C4:4",)),
    "opening-chord": (("D4 E4 F4 G4",), ("E4 F4 G4 C4",)),
    "ends-on-tonic": (("C4 D4 E4",), ("E4 D4 C4",)),
    "ends-by-step": (("E4 G4 C4",), ("E4 D4 C4",)),
    "half-cadence": ((BAR * 3 + "D4:4 E4:4 F4:4 E4:4 " + BAR * 4,), (BAR * 3 + "F4:4 E4:4 F4:4 G4:4 " + BAR * 4,)),
    "full-cadence": (("G4 F4 C4:4",), ("E4 D4 C4:4",)),
    "final-on-beat": (("C4:4 D4:2 C4:2",), ("D4:4 C4:4",)),
    "final-long": (("D4:4 C4:1",), ("D4:4 C4:4",)),
    "downbeats": (("C4:12 D4:2 r:4 E4:2 D4:4 C4:8",), ("C4:12 D4:4 E4:4 D4:4 C4:8",)),
    "value-variety": (("C4 D4 E4 F4 G4 F4 E4 D4",), ("C4 D4 E4 F4 G4:4 E4 D4 C4:2 D4",)),
    "paired-sixteenths": (("C4:4 D4:1 E4:4 F4:4",), ("C4:3 D4:1 E4:4 F4:4",)),
    "syncopation": (("C4:2 D4:4 E4:2 F4:8",), ("C4:4 D4:2 E4:2 F4:8",)),
    "over-the-bar": (("C4:12 D4:8 E4:12",), ("C4:12 D4:4 E4:16",)),
    "silence": (("C4:4 r:12 D4:4 C4:4",), ("C4:4 r:4 D4:4 C4:4",)),
    "even-density": ((BAR * 3 + " ".join(["C4:1 D4:1 E4:1 D4:1"] * 4),), (BAR * 4,)),
    "square-phrases": ((BAR * 3,), (BAR * 4,)),
    "breath": ((BAR * 3 + "C4:4 D4:4 E4:4 F4:3 G4:1 " + BAR,), (BAR * 3 + "C4:8 D4:8 " + BAR,)),
    "answering-phrase": ((BAR * 4 + "C4:8 D4:8 C4:2 D4:6 C4:8 " + BAR * 2,), (BAR * 8,)),
    "motif-development": ((BAR * 3 + "C4:2 D4:6 E4:8 ",), (BAR * 3 + "C5:4 D4:4 E4:4 C4:4",)),
    "freshness": ((BAR * 8,), (BAR + "D4:4 E4:4 F4:4 G4:4 " + BAR + "D4:4 C4:12",)),
    "identical-bars": ((BAR * 4,), (BAR * 3 + "D4:4 E4:4 F4:4 G4:4",)),
    "sequence": ((" ".join(f"{a}4:4 {b}4:4 {c}4:4 {b}4:4" for a, b, c in ("CDE", "DEF", "EFG", "FGA")),),
                 (" ".join(f"{a}4:4 {b}4:4 {c}4:4 {b}4:4" for a, b, c in ("CDE", "DEF", "EFG")) + " F4:8 D4:8",)),
}


def test_there_are_enough_rules_and_each_has_a_case() -> None:
    assert set(CASES) | {"originality"} == set(rules.BY_NAME)
    assert len(rules.BY_NAME) >= 25


@pytest.mark.parametrize("name", sorted(CASES))
def test_rule_broken_and_kept(name: str) -> None:
    broken, kept = (tune(*case) for case in CASES[name])
    rule = rules.find(name)
    assert rule(broken) < 1
    assert rule(kept) == 1
    found = [f for f in rules.findings(broken) if f.rule == name]
    assert found
    assert not [f for f in rules.findings(kept) if f.rule == name]
    for finding in found:
        assert isinstance(finding, MelodyFinding)
        assert finding.bar >= 1
        assert finding.beat >= 1
        assert finding.notes
        assert finding.fix
        assert 0 <= finding.severity <= 100
        assert 10 < len(finding.words) < 140
        assert 0 <= finding.start < finding.end <= broken.length


def test_a_last_note_struck_again_does_not_hide_the_cadence() -> None:
    for end, kept in (("D4 C4", True), ("D4 C4 C4", True), ("B3 C4 C4 C4:4", True), ("F4 C4 C4 C4", False)):
        melody = tune("C4 E4 F4 " + end)
        assert rules.find("full-cadence")(melody) == kept
        assert rules.find("ends-by-step")(melody) == kept
    assert math.isnan(rules.find("full-cadence")(tune("C4 C4 C4")))
    (finding,) = (f for f in rules.findings(tune("C4 E4 F4 C4 C4")) if f.rule == "full-cadence")
    assert "(F4–C4)" in finding.words


def test_a_final_tonic_is_foreign_to_no_harmony() -> None:
    rule = rules.find("accents-in-harmony")
    assert rule(tune("C4:16 G4:8 D4:4 B3:4 E4:8 D4:8", "D dorian")) == 1
    assert rule(tune("C4:16 G4:8 D4:4 B3:4 E4:8 D4:8 ", "G")) < 1


def test_originality(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pitches = rng.integers(60, 72, 40).tolist()
    from seqtutor_music.families import interval_runs

    known = np.unique((interval_runs(pitches, rules_form.COPY) >> np.uint64(32)).astype(np.uint32))
    monkeypatch.setattr(rules_form, "corpus_runs", lambda: known)
    copied = Melody(tuple(Note(p + 3, 2 * i, 2) for i, p in enumerate(pitches[5:25])), 40)
    fresh = Melody(tuple(Note(int(p), 2 * i, 2) for i, p in enumerate(rng.integers(60, 72, 20))), 40)
    assert rules.find("originality")(copied) < 1
    assert rules.find("originality")(fresh) == 1
    assert "20 notes" in rules.find("originality").findings(rules.NoteTable([copied]))[0][0].words


def test_batch_equals_one_by_one() -> None:
    melodies = [tune(*case) for pair in CASES.values() for case in pair]
    together = rules.values(melodies)
    for name, rule in rules.BY_NAME.items():
        np.testing.assert_array_equal(together[name], [rule(melody) for melody in melodies], err_msg=name)


def test_no_notes_no_say() -> None:
    empty = Melody((), 16)
    assert all(math.isnan(values[0]) for values in rules.values([empty]).values())
    assert rules.findings(empty) == ()


def test_unknown_rule_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'gap-fill'"):
        rules.find("gapfill")


def test_human_rates_cover_the_rules() -> None:
    rates = rules.human_rates()
    assert set(rates) == set(rules.BY_NAME) - {"originality"}
    assert all(0 <= rate.low <= rate.high <= 1 and 0 < rate.mean <= 1 for rate in rates.values())
    assert 0.7 < rates["ends-on-tonic"].mean < 0.9  # facts: 85 % of folk tunes
    assert 0.6 < rates["leap-recovery"].mean < 0.85


def test_target_is_nearness_to_the_human_rate() -> None:
    text = tokens.write(tune("E4:4 D4:4 C4:8"))
    rate = rules.human_rates()["ends-on-tonic"].mean
    assert DOMAIN.rule("target(ends-on-tonic)")([text])[0] == pytest.approx(rate)
    assert DOMAIN.rule("ends-on-tonic")([text])[0] == 1
    with pytest.raises(UsageError, match="ends-on-tonic"):
        DOMAIN.rule("target(ends-on-tonik)")


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_rule_can_be_a_target(name: str) -> None:
    texts = [tokens.write(tune(*case)) for case in CASES[name]]
    rate, rule = rules.human_rates()[name].mean, DOMAIN.rule(name)
    for near, value in zip(DOMAIN.rule(f"target({name})")(texts), rule(texts), strict=True):
        assert near == pytest.approx(1 - abs(value - rate), nan_ok=True)


def test_a_rule_without_a_human_rate_is_no_target() -> None:
    with pytest.raises(UsageError, match="originality has no human rate"):
        DOMAIN.rule("target(originality)")


def test_findings_of_a_stream_point_at_its_tokens() -> None:
    melody = tune("C4:4 F#4:4 E4:4 D4:4 B3:8 C4:8", meter="4/4")
    text = tokens.write(melody)
    rule = DOMAIN.rule("in-key")
    assert rule.explain
    (finding,) = rule.explain(text)
    assert tokens.split(text)[finding.start] == "F#4"
    assert finding.end - finding.start == 4
    assert (finding.bar, finding.beat) == (1, 2.0)  # type: ignore[attr-defined]


def test_broken_texts_are_nan_and_hide_nobody() -> None:
    good = tokens.write(tune("E4:4 D4:4 C4:8"))
    values = DOMAIN.rule("ends-on-tonic")(["nonsense", good])
    assert math.isnan(values[0])
    assert values[1] == 1


def test_reading_note_names_is_what_the_cases_need() -> None:
    melody = read_primer("C4:4 r:4 D4", key=parse_key("C")).melody
    assert melody.notes == (Note(60, 0, 4), Note(62, 8, 2))
