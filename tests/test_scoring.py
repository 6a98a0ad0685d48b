"""Tables of scores: in order, whole, the same for any number of processes, and not at the mercy of one rule."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from seqtutor.domain import Column, Domain, Rule, RuleFamily, UsageError
from seqtutor.plugins import load_domain
from seqtutor.scoring import BATCH, column_names, score_table, split_names, values_of

# A domain of digits whose rules misbehave in every way that a plugin can.
DIGITS = '''
import os
from seqtutor.domain import Column, Domain, Rule, RuleFamily

def explosive(batch):
    return [1 / int(text) for text in batch]

class Digits(Domain):
    name = "digits"
    text_column = "digits"
    tokens = tuple("0123456789")
    describe = ("total", "length")
    rules = (
        Rule("total", "sum of the digits, one a step", when="step",
             score=lambda batch: [[float(d) for d in tokens] for tokens in batch]),
        Rule("inverse", "one over the number", explosive),
        Rule("short", "returns too few", lambda batch: [1.0] * (len(batch) - 1)),
        Rule("deadly", "kills its process at 13", lambda batch: [os._exit(9) if t == "13" else 1.0 for t in batch]),
    )
    families = (RuleFamily("times", "the number times n", "n",
                           lambda n: Rule(f"times({n})", "", lambda batch: [float(n) * int(t) for t in batch])),)
    columns = (Column("length", "number of digits in words", lambda batch: [f"{len(t)} digits" for t in batch]),)

    def split(self, text):
        return list(text)

    def canonical(self, text):
        return text.lstrip("0") or "0" if text.isdigit() else None

    def why_invalid(self, text):
        return f"{text!r} is no number"

DOMAIN = Digits()
'''


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("domain") / "digits.py"
    path.write_text(DIGITS)
    return str(path)


@pytest.fixture(scope="module")
def digits(spec: str) -> Domain:
    return load_domain(spec)


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("names", "parts"), [
    ("qed,sa", ["qed", "sa"]), (" qed , sa,", ["qed", "sa"]), ("", []), (" , ", []),
    ("match([#6,#7](C)C),sa", ["match([#6,#7](C)C)", "sa"]), 
    ("similarity(CC(=O)O),match(C{1,2})", ["similarity(CC(=O)O)", "match(C{1,2})"]),
    ("match(C)),sa", ["match(C))", "sa"]),
])
def test_split_names(names: str, parts: list[str]) -> None:
    assert split_names(names) == parts


def test_column_names(digits: Domain) -> None:
    assert column_names(digits) == ["total", "length"]
    assert column_names(digits, everything=True) == ["total", "inverse", "short", "deadly", "length"]
    assert column_names(digits, "length,times(3),length") == ["length", "times(3)"]


@pytest.mark.parametrize(("names", "words"), [
    ("totl", "unknown rule of digits 'totl'; did you mean 'total'"),
    ("lenght", "did you mean 'length'"), ("tims(3)", r"did you mean 'times\(n\)'"), ("", "no rule in ''; name some of"),
])
def test_unknown_names(digits: Domain, names: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        column_names(digits, names)
    if names:
        with pytest.raises(UsageError, match=words):
            score_table(digits, "digits", ["1"], [names])


# -- tables -----------------------------------------------------------------------------------------------------------


def test_a_table(digits: Domain, spec: str) -> None:
    table = score_table(digits, spec, ["12", "x", "007"], ["length", "total", "times(2)"])
    assert table.texts == ["12", "x", "007"]
    assert list(table.columns) == ["digits", "length", "total", "times(2)", "error"]
    assert table.columns["digits"] == ["12", "x", "007"]
    assert table.columns["length"] == ["2 digits", "", "3 digits"]
    assert table.columns["total"] == pytest.approx([3, math.nan, 7], nan_ok=True)  # a step rule is summed
    assert table.columns["times(2)"] == pytest.approx([24, math.nan, 14], nan_ok=True)
    assert table.columns["error"] == ["", "'x' is no number", ""]


def test_no_error_no_column(digits: Domain, spec: str) -> None:
    assert list(score_table(digits, spec, ["1", "2"], ["total"]).columns) == ["digits", "total"]
    assert score_table(digits, spec, [], ["total"]).columns == {"digits": [], "total": []}
    assert score_table(digits, spec, ["1"], []).columns == {"digits": ["1"]}


def test_a_rule_that_fails_costs_one_number(digits: Domain, spec: str) -> None:
    table = score_table(digits, spec, ["4", "0", "2"], ["inverse", "total"])
    assert table.columns["inverse"] == pytest.approx([0.25, math.nan, 0.5], nan_ok=True)
    assert table.columns["total"] == [4, 0, 2]
    assert table.columns["error"] == ["", "inverse: ZeroDivisionError: division by zero", ""]


def test_a_rule_that_loses_count_is_not_trusted(digits: Domain, spec: str) -> None:
    table = score_table(digits, spec, ["1", "2"], ["short"])
    assert all(map(math.isnan, table.columns["short"]))
    assert table.columns["error"] == ["short: ValueError: gave 0 values for 1 texts"] * 2


def test_a_slow_rule_computes_nothing_twice(peptides: Domain) -> None:
    calls: list[list[str]] = []

    def slow(batch: list[str]) -> list[float]:
        calls.append(list(batch))
        return [1 / (len(text) - 1) for text in batch]

    for cost, asked in (("slow", [["AC"], ["A"], ["ACD"]]), ("fast", [["AC", "A", "ACD"], ["AC"], ["A"], ["ACD"]])):
        calls.clear()
        found = values_of(peptides, Rule("r", "", slow, cost=cost), ["AC", "A", "ACD"])  # type: ignore[arg-type]
        assert found == [(1, ""), (None, "r: ZeroDivisionError: division by zero"), (0.5, "")]
        assert calls == asked


def test_progress(digits: Domain, spec: str) -> None:
    seen: list[int] = []
    score_table(digits, spec, ["1"] * (2 * BATCH + 5), ["total"], progress=seen.append)
    assert seen == [BATCH, 2 * BATCH, 2 * BATCH + 5]


def test_results_do_not_depend_on_the_number_of_processes(digits: Domain, spec: str) -> None:
    texts = [str(i) if i % 7 else f"x{i}" for i in range(5 * BATCH + 3)]
    alone = score_table(digits, spec, texts, ["total", "length", "inverse"])
    many = score_table(digits, spec, texts, ["total", "length", "inverse"], workers=3)
    assert alone.texts == many.texts
    assert list(alone.columns) == list(many.columns)
    for name, values in alone.columns.items():
        assert many.columns[name] == (pytest.approx(values, rel=0, abs=0, nan_ok=True)
                                      if isinstance(values[1], float) else values)


def test_molecules_in_two_processes() -> None:
    domain = load_domain("molecules")
    texts = ["C" * (1 + i % 9) + "OC1CC1" * (i % 2) for i in range(BATCH + 9)] + ["C1CC"]
    columns = ["qed", "match([#6,#8]C)", "scaffold", "alerts"]
    alone, two = (score_table(domain, "molecules", texts, columns, workers=workers) for workers in (1, 2))
    assert alone.columns["qed"] == pytest.approx(two.columns["qed"], rel=0, abs=0, nan_ok=True)
    assert {k: v for k, v in alone.columns.items() if k not in ("qed", "match([#6,#8]C)")} \
        == {k: v for k, v in two.columns.items() if k not in ("qed", "match([#6,#8]C)")}
    assert alone.columns["error"][-1] == "ring 1 is not closed"


def test_a_text_that_kills_its_process_costs_itself(digits: Domain, spec: str) -> None:
    texts = ["1"] * 20 + ["13"] + ["1"] * BATCH
    table = score_table(digits, spec, texts, ["deadly", "length"], workers=2)
    assert table.columns["deadly"] == pytest.approx([1.0] * 20 + [math.nan] + [1.0] * BATCH, nan_ok=True)
    assert table.columns["length"] == ["1 digits"] * 20 + [""] + ["1 digits"] * BATCH
    assert table.columns["error"] == [""] * 20 + ["scoring '13' killed its process"] + [""] * BATCH


def test_an_error_of_a_worker_comes_home(digits: Domain, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no domain file"):
        score_table(digits, str(tmp_path / "gone.py"), ["1"] * (BATCH + 1), ["total"], workers=2)


def test_the_core_knows_rules_of_any_domain(peptides: Domain) -> None:
    table = score_table(peptides, "examples/peptide_domain.py", ["ACDK", "AXX"], ["gravy", "charge"])
    assert table.columns["charge"] == pytest.approx([0, math.nan], nan_ok=True)
    assert table.columns["error"][1]


def test_a_family_beats_a_comma(peptides: Domain) -> None:
    made = RuleFamily("f", "", "x", lambda x: Rule(f"f({x})", "", lambda batch: [float(len(x))] * len(batch)))
    column = Column("c", "", lambda batch: ["v"] * len(batch))
    domain = type(peptides)()
    domain.families, domain.columns = (made,), (column,)
    table = score_table(domain, "", ["A"], column_names(domain, "f(a,b),c"))
    assert table.columns == {"peptide": ["A"], "f(a,b)": [3.0], "c": ["v"]}
