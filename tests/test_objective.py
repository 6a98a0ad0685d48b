"""Objectives: the same in a line, a file and Python; every mistake one line with what to do; the sums by hand."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqtutor.domain import Domain, Rule, RuleFamily, UsageError
from seqtutor.objective import Constraint, Objective, Term
from seqtutor.plugins import load_domain
from seqtutor.transforms import KINDS, Transform


class Words(Domain):
    name = "words"
    tokens = tuple("abc")
    rules = (
        Rule("good", "", lambda batch: [0.0] * len(batch), low=0, high=1, rate=0.25),
        Rule("hard", "", lambda batch: [0.0] * len(batch), low=1, high=10),
        Rule("free", "", lambda batch: [0.0] * len(batch)),
        Rule("each", "", lambda batch: [[0.0] * len(row) for row in batch], when="step"),
    )
    families = (RuleFamily("has", "", "x", lambda x: Rule(f"has({x})", "", lambda b: [0.0] * len(b), low=0, high=1)),)
    presets = {"fine": {"terms": ["good"]}}  # noqa: RUF012

    def split(self, text: str) -> list[str]:
        return list(text)

    def canonical(self, text: str) -> str | None:
        return text or None


WORDS = Words()


def parse(spec: str | Path) -> Objective:
    return Objective.parse(spec, WORDS)


# -- transforms -------------------------------------------------------------------------------------------------------

RULE = Rule("r", "", lambda batch: [], low=2, high=4, rate=0.3)


@pytest.mark.parametrize(("given", "x", "y"), [
    ("identity", 7.5, 7.5),
    ({"type": "sigmoid", "low": 2, "high": 4}, 3, 0.5),
    ({"type": "sigmoid", "low": 2, "high": 4}, 3.2, 1 / (1 + 10 ** -0.5)),  # slope 10·½/(4 − 2) decades
    ({"type": "sigmoid", "low": 2, "high": 4, "k": 1}, 2.8, 1 / (1 + 10 ** 1.0)),
    ({"type": "reverse_sigmoid", "low": 2, "high": 4}, 3.2, 1 - 1 / (1 + 10 ** -0.5)),
    ({"type": "reverse-sigmoid", "low": 2, "high": 4}, 1e9, 0),
    ({"type": "double_sigmoid", "low": 2, "high": 4}, 2, 0.5),
    ({"type": "double_sigmoid", "low": 2, "high": 4}, 4.2, 1 / (1 + 10 ** 0.3)),  # 150/100 × .2
    ({"type": "double_sigmoid", "low": 2, "high": 4, "coef_si": 300}, 1.8, 1 / (1 + 10 ** 0.6)),
    ({"type": "step", "low": 2}, 2, 1), ({"type": "step", "low": 2}, 1.99, 0), ({"type": "step", "high": 2}, 2, 1),
    ({"type": "step", "low": 2, "high": 4}, 4.01, 0),
    ({"type": "gaussian", "mean": 2, "sd": 4}, 6, math.exp(-0.5)),
    ("to-human-rate", 0.7, 0.6), ({"type": "to_human_rate", "rate": 1}, 0.7, 0.7),
    ("maximise", 2.5, 0.25), ("minimise", 2.5, 0.75), ("minimize", 99, 0), ("maximise", 99, 1),
    ({"type": "minimise", "low": 0, "high": 10}, 2.5, 0.75),
])
def test_transforms(given: Any, x: float, y: float) -> None:
    transform = Transform.of(given).filled(RULE)
    found = transform(np.array([x, math.nan]))
    assert found[0] == pytest.approx(y, abs=1e-12)
    assert math.isnan(found[1])
    assert Transform.of(transform.to_dict()) == transform


@pytest.mark.parametrize(("given", "words"), [
    ("sigmiod", "unknown transform 'sigmiod'; did you mean 'sigmoid'"),
    ({"low": 1}, "has no type; one of identity, sigmoid"),
    ({"type": "sigmoid", "low": 1, "hihg": 2}, "unknown parameter of the transform 'sigmoid' 'hihg'; did you mean 'hi"),
    ({"type": "sigmoid", "low": "1"}, "low of the transform 'sigmoid' must be a number, not '1'"),
    ({"type": "sigmoid", "low": math.inf}, "must be a number, not inf"),
    ({"type": "sigmoid", "low": True}, "must be a number, not True"),
    ({"type": "sigmoid", "low": 1}, "the transform 'sigmoid' of 'r' needs 'high'"),
    ("gaussian", "needs 'mean' and 'sd'"), ("step", "needs 'low' or 'high' or both"),
    ({"type": "gaussian", "mean": 1, "sd": 0}, "has sd = 0; it must be above 0"),
    ({"type": "sigmoid", "low": 2, "high": 2}, "has low = 2, which is not below high = 2"),
])
def test_bad_transforms(given: Any, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Transform.of(given).filled(RULE)
    assert words in str(caught.value)


def test_every_transform_is_tested() -> None:
    cases = {Transform.of(mark.args[1][i][0]).kind for mark in test_transforms.pytestmark  # type: ignore[attr-defined]
             for i in range(len(mark.args[1]))}
    assert cases == set(KINDS)


# -- one structure in three forms -------------------------------------------------------------------------------------

FILE = '''
aggregate = "geometric"
invalid = -1
beta = 0.5
gamma = 1
constraints = ["hard <= 3.5", "has(b=c)==1"]
[[terms]]
rule = "good"
weight = 2
[[terms]]
rule = "free"
transform = {type = "double_sigmoid", low = 1, high = 4}
[[terms]]
rule = "hard"
direction = "minimize"
high = 5
[[terms]]
rule = "has(a,b)"
target = 0.31
'''
PYTHON = Objective(
    "mine", aggregate="geometric", invalid=-1, beta=0.5, gamma=1,
    constraints=(Constraint("hard", "<=", 3.5), Constraint("has(b=c)", "==", 1)),
    terms=(Term("good", 2), Term("free", transform=Transform("double_sigmoid", {"low": 1, "high": 4})),
           Term("hard", direction="minimise", high=5), Term("has(a,b)", target=0.31)))


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(FILE)
    found = parse(path)
    assert found == PYTHON.checked(WORDS)
    assert found.terms[2].low == 1  # the rule's own bound
    assert found.targets == {"has(a,b)": 0.31}
    assert list(found.rules(WORDS)) == ["good", "free", "hard", "has(a,b)", "has(b=c)"]


@pytest.mark.parametrize("spec", ["fine", "good:2,hard:minimise:0.5,each:-3,has(a,b)=0.5,free<=3",
                                  "good:to-human-rate"])
def test_round_trip(spec: str) -> None:
    found = parse(spec)
    assert Objective.from_dict(found.to_dict(), WORDS) == found
    assert found.checked(WORDS) == found


def test_round_trip_of_a_file() -> None:
    data = {"name": "mine", **tomllib.loads(FILE)}
    found = Objective.from_dict(data, WORDS)
    assert Objective.from_dict(found.to_dict(), WORDS) == found
    assert found.to_dict()["constraints"] == ["hard <= 3.5", "has(b=c) == 1"]


def test_one_line() -> None:
    found = parse("good : 2, hard:minimise:0.5 , has(a=b,c<d) = 0.31, free >= -2.5,good=human, has(x)<1")
    assert found.terms == (Term("good", 2), Term("hard", 0.5, direction="minimise", low=1, high=10),
                           Term("has(a=b,c<d)", target=0.31), Term("good", target=0.25))
    assert found.constraints == (Constraint("free", ">=", -2.5), Constraint("has(x)", "<", 1))
    assert parse("good").terms == (Term("good"),)
    assert parse("good:to-human-rate").terms[0].transform == Transform("to_human_rate", {"rate": 0.25})
    assert parse("fine").name == "fine"


@pytest.mark.parametrize(("spec", "words"), [
    ("fin", "unknown objective of words 'fin'; did you mean 'fine'?"), ("", "unknown objective of words ''"),
    ("godo:1", "unknown rule of words 'godo'; did you mean 'good'"), ("hsa(a)", r"did you mean 'has(x)'"),
    ("good:1,goood<=3", "unknown rule of words 'goood'"), ("good:x", "unknown transform 'x'"),
    ("good:1x", "the weight in 'good:1x' must be a number, not '1x'"), ("good:1:2", "has two of weight"),
    ("good:0", "the term 'good' has weight 0; leave it out"), ("good:nan", "must be a number, not nan"),
    ("good<=x", "the bound in 'good<=x' must be a number, not 'x'"), ("<=3", "'<=3' is no constraint"),
    ("good=x", "the target in 'good=x' must be a number"), ("good=2", "has target = 2; the rule lies between 0 and 1"),
    ("hard=human", "the rule 'hard' has no human rate"), ("good=0.1,good=0.2", "the rule 'good' has two targets"),
    ("good:2=0.5", "unknown rule of words 'good:2'"), ("hard<=3", "needs at least one term, such as 'good'"),
    ("each:minimise", "is a step rule, rewarded token by token"),
    ("free:minimise", "the transform 'minimise' of 'free' needs 'low', and the rule itself has none; say low = NUMBER"),
    ("good:1,free:-1", "the weights 1, -1 cancel: a mean needs a sum above 0, and theirs is 0"),
    ("nowhere.toml", "there is no file nowhere.toml"),
])
def test_bad_lines(spec: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(spec)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "words"), [
    ("terms = [", "bad.toml: "),
    ("agregate = 'sum'", "unknown key of an objective 'agregate'; did you mean 'aggregate'"),
    ("terms = ['good']\naggregate = 'mean'", "unknown value of 'aggregate' 'mean'"),
    ("terms = ['good']\nmissing = 'skp'", "unknown value of 'missing' 'skp'; did you mean 'skip'"),
    ("terms = 'good'", "terms of an objective must be a list, not 'good'"), ("terms = [3]", "not 3"),
    ("terms = []", "needs at least one term"), ("terms = ['good<3']", "put it under constraints"),
    ("terms = ['good']\nconstraints = [3]", "3 is no constraint; write one like 'sa <= 3'"),
    ("terms = ['good']\nconstraints = ['good']", "'good' is no constraint"),
    ("terms = ['good']\nbeta = 0", "beta is 0; it must be above 0"), ("terms = ['good']\ngamma = 2", "gamma is 2"),
    ("terms = ['good']\nmethod = 'soft-w'", "unknown value of 'method' 'soft-w'; did you mean 'soft-q'"),
    ("terms = ['good']\ninvalid = 'x'", "invalid of an objective must be a number"),
    ("[[terms]]\nweight = 1", "names no rule"), ("[[terms]]\nrule = 'good'\nwieght = 1", "did you mean 'weight'"),
    ("[[terms]]\nrule = 'good'\nweight = '1'", "weight of the term 'good' must be a number, not '1'"),
    ("[[terms]]\nrule = 'good'\ndirection = 'down'", "unknown direction of the term 'good' 'down'"),
    ("[[terms]]\nrule = 'good'\nlow = 1", "has low or high but no direction"),
    ("[[terms]]\nrule = 'good'\ndirection = 'minimise'\ntransform = 'to-human-rate'", "a direction and a transform"),
    ("[[terms]]\nrule = 'good'\ntarget = 0.5\nweight = 2", "has a target, and therefore neither weight"),
    ("aggregate = 'product'\nterms = ['good:-1']", "the weights -1 of this objective (product, missing = nan)"),
    ("missing = 'skip'\nterms = ['good:-1', 'hard:2']", "must be above 0"),
])
def test_bad_files(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        parse(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        parse(path)


# -- sums -------------------------------------------------------------------------------------------------------------

VALUES = {"good": [0.5, 0.9, math.nan, 0.5, 0.0], "hard": [5.5, 1.0, 1.0, 1.0, 10.0]}
VALID = [True, True, True, False, True]


def by_hand(aggregate: str, missing: str, scores: list[list[float]], weights: list[float]) -> list[float]:
    """Item by item, with plain Python."""
    found = []
    for item in zip(*scores, strict=True):
        pairs = [(s, w) for s, w in zip(item, weights, strict=True) if missing == "nan" or not math.isnan(s)]
        if any(math.isnan(s) for s, _ in pairs) or not pairs:
            found.append(math.nan)
        elif aggregate == "sum":
            found.append(sum(s * w for s, w in pairs))
        elif aggregate == "arithmetic":
            found.append(sum(s * w for s, w in pairs) / sum(w for _, w in pairs))
        else:
            product = math.prod(s ** w for s, w in pairs)
            found.append(product if aggregate == "product" else product ** (1 / sum(w for _, w in pairs)))
    return found


@pytest.mark.parametrize("missing", ["nan", "skip"])
@pytest.mark.parametrize("aggregate", ["arithmetic", "geometric", "product", "sum"])
def test_sums(aggregate: str, missing: str) -> None:
    found = Objective.from_dict({"terms": ["good:2", "hard:minimise:0.5"], "aggregate": aggregate, "invalid": -7,
                                 "missing": missing}, WORDS)
    values = {name: np.array(column) for name, column in VALUES.items()}
    expected = by_hand(aggregate, missing, [VALUES["good"], [1 - (x - 1) / 9 for x in VALUES["hard"]]], [2, 0.5])
    expected[3] = -7
    assert found.end(values, np.array(VALID)) == pytest.approx(expected, nan_ok=True, abs=1e-12)


def test_a_score_below_zero_is_zero_to_a_geometric_mean() -> None:
    found = Objective.from_dict({"terms": ["free", "good"], "aggregate": "geometric"}, WORDS)
    assert found.end({"free": np.array([-4.0]), "good": np.array([1.0])}, np.array([True])).tolist() == [0]


def test_constraints_stand_apart_from_the_mean() -> None:
    found = parse("good,free>0,hard<=3,hard<2.5,has(a)==1,has(a)>=1")
    values = {"good": np.full(6, 0.5), "free": np.array([1, 0, 1, 1, math.nan, math.nan]),
              "hard": np.array([2, 2, 2.5, 2, 2, 3]), "has(a)": np.array([1, 1, 1, 0, 1.0, 1])}
    # kept; not above 0; not below 2.5; not 1; not known; not known but broken elsewhere
    assert found.end(values, np.full(6, True)) == pytest.approx([0.5, 0, 0, 0, math.nan, 0], nan_ok=True)


def test_targets_and_step_rules_take_no_part() -> None:
    found = parse("good:3,each:5,hard=2")
    values = {"good": np.array([0.5]), "each": np.array([9.0]), "hard": np.array([math.nan])}
    assert found.end(values, np.array([True]), ["each"]).tolist() == [0.5]
    assert parse("each").end({"each": np.array([9.0, 9])}, np.array([True, False]), ["each"]).tolist() == [0, 0]


# -- presets ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("domain", "preset"), [(name, preset) for name in ("molecules", "music")
                                                for preset in load_domain(name).presets])
def test_presets(domain: str, preset: str) -> None:
    plugin = load_domain(domain)
    found = Objective.parse(preset, plugin)
    assert found.name == preset
    assert found.about
    assert Objective.from_dict(found.to_dict(), plugin) == found


def test_human_rates_are_targets() -> None:
    music = load_domain("music")
    targets = Objective.parse("human", music).targets
    assert len(targets) > 10
    assert all(rate == music.rule(name).rate for name, rate in targets.items())
    assert "one-climax" in targets
    assert "silence" not in targets  # people break it twice in a hundred thousand chances
    assert Objective.parse("one-climax:to-human-rate", music).end(
        {"one-climax": np.array([1.0])}, np.array([True])) == pytest.approx(targets["one-climax"])
