"""Rewards: each distinct thing scored once, one bad item costs itself only, the same from every executor."""

from __future__ import annotations

import json
import math
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqtutor.cli.tune import told_costs
from seqtutor.domain import Domain, Rule, SeqtutorError, UsageError
from seqtutor.objective import Objective
from seqtutor.plugins import load_domain
from seqtutor.rewards import Rewarder

# Numbers whose rules misbehave: at 13 one kills its process, at 77 one hangs, at 0 one raises.
DIGITS = '''
import math, os, time
from seqtutor.domain import Domain, Rule

CALLS = []

def half(batch):
    CALLS.append(list(batch))
    return [int(text) / 2 for text in batch]

def deadly(batch):
    for text in batch:
        if text == "13":
            os._exit(9)
    return deadly_thread(batch)

def deadly_thread(batch):
    for text in batch:
        if text == "13":
            raise SystemExit(9)
        while text == "77":
            time.sleep(0.01)
    return [1 / int(text) for text in batch]

def odd(batch):
    return [{"1": "1", "2": "two", "3": math.inf, "4": None}.get(text, 1.0) for text in batch]

def sweep(batch):
    raise SystemExit("enough")

class Digits(Domain):
    name = "digits"
    tokens = tuple("0123456789")
    rules = (
        Rule("half", "half the number", half),
        Rule("deadly", "one over the number", deadly),
        Rule("deadly-thread", "one over the number", deadly_thread),
        Rule("exit", "leaves at 5", lambda batch: [sweep(batch) if text == "5" else 1.0 for text in batch]),
        Rule("slow", "sleeps 20 ms a text", lambda batch: [time.sleep(0.02) or 1.0 for text in batch]),
        Rule("odd", "gives what is no number", odd),
        Rule("few", "gives too few", lambda batch: [1.0] * (len(batch) // 2)),
        Rule("digit", "the digit", lambda batch: [[float(d) for d in row] for row in batch], when="step"),
        Rule("even", "1 for an even digit", lambda batch: [[d in "02468" for d in row] for row in batch], when="step"),
        Rule("short", "one too few at 8", lambda batch: [[1.0] * (len(row) - ("8" in row)) for row in batch],
             when="step"),
        Rule("wild", "an infinity at 9", lambda batch: [[math.inf if d == "9" else 1.0 for d in row] for row in batch],
             when="step"),
        Rule("words", "texts", lambda batch: [["1"] * len(row) for row in batch], when="step"),
    )

    def split(self, text):
        return list(text)

    def canonical(self, text):
        return str(int(text)) if text.isdigit() else None

DOMAIN = Digits()
'''


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("domain") / "reward_digits.py"
    path.write_text(DIGITS)
    return str(path)


@pytest.fixture(scope="module")
def digits(spec: str) -> Domain:
    return load_domain(spec)


def rewarder(digits: Domain, line: str, **more: Any) -> Rewarder:
    return Rewarder(digits, Objective.parse(line, digits), **more)


def same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(np.asarray(a, float), np.asarray(b, float), equal_nan=True))


# -- what comes back --------------------------------------------------------------------------------------------------

def test_end_and_steps(digits: Domain) -> None:
    found = rewarder(digits, "half:2,digit:3,even:-1,half<=40", extra=["deadly", "short"])(
        [["1", "2"], ["0", "1", "2"], [], ["9", "9"], ["5"]])
    assert found.texts == ["12", "012", "", "99", "5"]
    assert found.canonical == ["12", "12", None, "99", "5"]
    assert found.end.tolist() == [6, 6, 0, 0, 2.5]  # a mean of one; 99/2 breaks the constraint
    assert found.steps is not None
    assert [row.tolist() for row in found.steps] == [[3, 5], [-1, 3, 5], [], [27, 27], [15]]
    assert found.total.tolist() == [14, 13, 0, 54, 17.5]
    assert same(found.values["half"], [6, 6, math.nan, 49.5, 2.5])
    assert same(found.values["digit"], [3, 3, math.nan, 18, 5])
    assert same(found.values["deadly"], [1 / 12, 1 / 12, math.nan, 1 / 99, 0.2])  # evaluated, not rewarded
    assert same(found.values["short"], [2, 3, math.nan, 2, 1])
    assert found.fresh.tolist() == [True, False, False, True, True]


def test_invalid_has_its_own_reward(digits: Domain) -> None:
    objective = Objective.from_dict({"terms": ["half"], "invalid": -3, "constraints": ["half < 2"]}, digits)
    assert Rewarder(digits, objective)([[], ["2"], ["9"]]).end.tolist() == [-3, 1, -3]
    assert Rewarder(digits, objective)([[]]).end.tolist() == [-3]
    assert Rewarder(digits, objective)([]).total.tolist() == []


def test_each_canonical_form_is_scored_once(digits: Domain) -> None:
    import sys
    calls = sys.modules[type(digits).__module__].CALLS
    calls.clear()
    scorer = rewarder(digits, "half")
    first = scorer([["7"], ["0", "7"], ["8"]])
    second = scorer([["0", "0", "8"], ["9"], ["7"]])
    assert calls == [["7", "8"], ["9"]]
    assert (first.fresh.tolist(), second.fresh.tolist()) == ([True, False, True], [False, True, False])
    assert second.end.tolist() == [4, 4.5, 3.5]
    assert scorer.calls == 3
    scorer([["0"] * i for i in range(300)])
    assert scorer.calls == 4
    many = scorer([list(str(i)) for i in range(5000)])  # the table grows
    assert many.end.tolist() == [i / 2 for i in range(5000)]
    assert max(map(len, calls)) <= 256


def test_step_rules_alone(digits: Domain) -> None:
    scorer = rewarder(digits, "digit:2")
    found = scorer([["4"], [], ["0", "4"]])
    assert found.end.tolist() == [0, 0, 0]
    assert found.total.tolist() == [8, 0, 8]
    assert found.fresh.tolist() == [True, False, False]
    assert scorer.calls == 1
    assert rewarder(digits, "half,digit=3")([["4"]]).steps is None  # a target gives no reward


# -- what goes wrong --------------------------------------------------------------------------------------------------

def test_one_item_costs_one_item(digits: Domain) -> None:
    scorer = rewarder(digits, "deadly,odd:1e-9,exit:1e-9")
    found = scorer([[d] for d in "0123456789"] * 2)
    bad = [math.isnan(x) for x in found.end]
    assert bad == [d in "012345" for d in "0123456789"] * 2  # even "1", a text
    assert [line.removesuffix("; counted as nan (this is said once)") for line in scorer.warnings] == [
        "deadly: ZeroDivisionError: division by zero", "odd: TypeError: gave the text '1' where a number belongs",
        "odd: gave an infinity", "exit: SystemExit: enough"]
    scorer([["0", "3"], ["3", "3"], ["0"]])
    assert len(scorer.warnings) == 4
    few = rewarder(digits, "half,few")
    assert math.isnan(few([["1"], ["2"]]).end[0])
    assert few.warnings == ["few: ValueError: gave 0 values for 1 texts; counted as nan (this is said once)"]


def test_bad_steps_cost_their_sequence(digits: Domain) -> None:
    for rule, bad in (("short", "8"), ("wild", "9")):
        scorer = rewarder(digits, f"half,digit,{rule}")
        found = scorer([["1", bad], ["2", "2"]])
        assert same(found.end, [math.nan, 11])
        assert found.steps is not None
        assert [row.tolist() for row in found.steps] == [[0, 0], [3, 3]]
        assert same(found.values[rule], [math.nan, 2])
        assert same(found.values["digit"], [1 + int(bad), 4])
        assert len(scorer.warnings) == 1
    scorer = rewarder(digits, "half", extra=["words", "short"])
    found = scorer([["1", "8"]])
    assert found.end.tolist() == [9]  # a held-out rule spoils nothing
    assert math.isnan(found.values["words"][0])
    assert "gave something else than numbers" in scorer.warnings[0]


def test_a_hang_is_cut_short_in_this_process(digits: Domain) -> None:
    scorer = rewarder(digits, "deadly", timeout=0.2)
    start = time.monotonic()
    found = scorer([["1"], ["7", "7"], ["2"]])
    assert same(found.end, [1, math.nan, 0.5])
    assert time.monotonic() - start < 5
    assert scorer.warnings == ["deadly: TimeoutError: took over 0.2 s; counted as nan (this is said once)"]
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.parametrize("executor", ["serial", "threads:2", "processes:2", "dask:2"])
def test_eight_items_one_kills_one_hangs_one_raises(digits: Domain, spec: str, executor: str) -> None:
    """On every executor the other five are scored. (Where there is no process of its own to kill, its thread ends.)"""
    if executor.startswith("dask"):
        pytest.importorskip("distributed")
    rule = "deadly" if executor.startswith(("processes", "dask")) else "deadly-thread"
    items = ["1", "13", "2", "77", "4", "0", "5", "8"]
    scorer = rewarder(digits, f"{rule},half:1e-9", executor=executor, spec=spec, timeout=2)
    try:
        found = scorer([list(text) for text in items])
        assert same(np.isnan(found.end), [text in ("13", "77", "0") for text in items])
        assert same(found.values[rule], [1, math.nan, 0.5, math.nan, 0.25, math.nan, 0.2, 0.125])
        warned = sorted(line.split(";")[0] for line in scorer.warnings)
        assert f"{rule}: ZeroDivisionError: division by zero" in warned
        if rule == "deadly":
            assert warned[1:] == ["scoring '13' killed its process", "scoring '77' took over 2 s"]
        again = scorer([list(text) for text in items])
        assert same(again.end, found.end)
        assert not again.fresh.any()  # what hung is not tried again
    finally:
        scorer.close()


def test_one_bad_item_among_many(digits: Domain, spec: str) -> None:
    """Parts of several items: the one that dies is found alone."""
    texts = [str(i) for i in range(1, 60)]
    scorer = rewarder(digits, "deadly", executor="processes:2", spec=spec, timeout=60)
    try:
        found = scorer([list(text) for text in texts])
    finally:
        scorer.close()
    assert same(found.end, [math.nan if text == "13" else 1 / int(text) for text in texts])


# -- executors, state -------------------------------------------------------------------------------------------------

def test_results_do_not_depend_on_the_executor(digits: Domain, spec: str) -> None:
    batches = [[list(str((i * 37 + j) % 12 + 1)) for i in range(40)] for j in range(3)]
    one, two = rewarder(digits, "half:2,odd,digit"), rewarder(digits, "half:2,odd,digit", executor="processes:2",
                                                              spec=spec)
    try:
        for batch in batches:
            a, b = one(batch), two(batch)
            assert same(a.end, b.end)
            assert same(a.total, b.total)
            assert same(a.fresh, b.fresh)
        assert one.state() == two.state()
        assert sorted(one.warnings) == sorted(two.warnings)
    finally:
        two.close()


@pytest.mark.parametrize("executor", ["serial", "processes:2"])
def test_what_each_rule_costs(digits: Domain, spec: str, executor: str) -> None:
    scorer = rewarder(digits, "half:1,slow:1", executor=executor, spec=spec)
    try:
        assert scorer.costs == {"half": 0, "slow": 0}
        for _ in range(2):  # what was scored before costs nothing again
            scorer([["1"], ["2"], ["3"], ["4"]])
    finally:
        scorer.close()
    assert 0.02 <= scorer.costs["slow"] < 0.2
    assert 0 < scorer.costs["half"] < 0.02
    costs = {"half": 0.0001, "slow": 0.02, "slower": 1.5, "slowest": 60}
    assert told_costs(costs) == " · slowest 60,000 ms · slower 1,500 ms"


def test_molecules_in_a_process() -> None:
    domain = load_domain("molecules")
    objective = Objective.parse("qed:1,similarity(CCO):minimise,sa<=3", domain)
    batch = [list("C" * (1 + i % 9) + "O") for i in range(20)] + [["C", "("]]
    other = Rewarder(domain, objective, executor="processes:1", spec="molecules")
    try:
        assert same(Rewarder(domain, objective)(batch).end, other(batch).end)
    finally:
        other.close()


def test_state_goes_on_bit_for_bit(digits: Domain) -> None:
    batches = [[list(str((i * 7 + j) % 11)) for i in range(9)] for j in range(4)]
    whole = rewarder(digits, "deadly,half,digit")
    expected = [whole(batch) for batch in batches]
    first = rewarder(digits, "deadly,half,digit")
    for batch in batches[:2]:
        first(batch)
    second = rewarder(digits, "deadly,half,digit")
    second.load(json.loads(json.dumps(first.state(), allow_nan=False)))
    assert second.calls == first.calls
    for batch, wanted in zip(batches[2:], expected[2:], strict=True):
        found = second(batch)
        assert same(found.total, wanted.total)
        assert same(found.fresh, wanted.fresh)
    assert second.state() == whole.state()
    empty = rewarder(digits, "half")
    empty.load(rewarder(digits, "half").state())
    assert empty([[], ["4"]]).end.tolist() == [0, 2]


@pytest.mark.parametrize(("state", "words"), [
    ({}, "the saved scores cannot be read"), ({"rules": ["half"], "digests": "%", "values": ""}, "cannot be read"),
    ({"rules": ["half"], "digests": "A" * 64, "values": ""}, "do not match"),
    ({"rules": ["odd"], "digests": "", "values": ""}, "the saved scores are of the rules odd, not half"),
])
def test_a_foreign_state_is_refused(digits: Domain, state: dict[str, Any], words: str) -> None:
    with pytest.raises(SeqtutorError) as caught:
        rewarder(digits, "half").load(state)
    assert words in str(caught.value)


def test_bad_settings(digits: Domain, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"needs the domain's name or path"):
        rewarder(digits, "half", executor="processes:2")
    with pytest.raises(UsageError, match="timeout is 0; it must be above 0 seconds"):
        rewarder(digits, "half", timeout=0)
    with pytest.raises(UsageError, match="unknown rule of digits 'hlaf'; did you mean 'half'"):
        rewarder(digits, "half", extra=["hlaf"])
    gone = rewarder(digits, "half", executor="processes:1", spec=str(tmp_path / "gone.py"))
    with pytest.raises(UsageError, match="there is no domain file"):
        gone([["1"]])
    gone.close()


# -- the published reward ---------------------------------------------------------------------------------------------

def test_the_molecule_reward_of_sequence_tutor() -> None:
    """Against the formula written out, with RDKit's own numbers."""
    from rdkit import Chem
    from rdkit.Chem import QED, Crippen
    from rdkit.Contrib.SA_Score import sascorer

    domain = load_domain("molecules")
    texts = ["CCO", "CC(=O)Oc1ccccc1C(=O)O", "C1CCCCCCCC1CCCCCCCCCCCCCCCCCC", "O=C(NCCN1CCOCC1)c1ccc(Cl)cc1", "C("]
    found = Rewarder(domain, Objective.parse("sequence-tutor", domain))([domain.split(text) for text in texts])
    expected = []
    for text in texts:
        mol = Chem.MolFromSmiles(text) if text != "C(" else None
        if mol is None:
            expected.append(0.0)
            continue
        largest = max(map(len, Chem.GetSSSR(mol)), default=0)
        m = (-2 * sascorer.calculateScore(mol) + 3 * Crippen.MolLogP(mol) - 5 * max(0, largest - 6) + 50 * QED.qed(mol))
        length = len(Chem.MolToSmiles(mol))
        expected.append(600 + 10 * m + (-200 if length < 19 else -25 if length < 27.08 else 0))
    assert found.end + 600 == pytest.approx(expected, abs=1e-6)


def test_rule_has_a_rate() -> None:
    assert Rule("r", "", lambda batch: []).rate is None
    assert load_domain("music").rule("one-climax").rate == pytest.approx(0.274948)
