"""benchmarks/pmo.py: what is a call, the area under the curve, runs that go on where they were, the table."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

from seqtutor.domain import SeqtutorError, UsageError
from seqtutor_molecules import DOMAIN
from seqtutor_molecules.corpus import CORPORA
from seqtutor_molecules.pmo import TASKS

ROOT = Path(__file__).parent.parent
WEHI = list(CORPORA["wehi10k"].read(CORPORA["wehi10k"].path()))


@pytest.fixture(scope="module")
def pmo() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("pmo_benchmark", ROOT / "benchmarks" / "pmo.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["pmo_benchmark"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["pmo_benchmark"]


@dataclass(frozen=True)
class Reader:
    """A designer that scores molecules of a file, some of them twice, until there are no more."""

    molecules: int = 30

    def __call__(self, oracle: Any, seed: int) -> None:
        for text in Random(seed).sample(WEHI, self.molecules):
            oracle([text, "C1CC", text])


@pytest.fixture
def reader(pmo: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The designer ``reader`` is known; the list grows by (task, seed) at every run."""
    runs = []
    run = pmo.run

    def watched(designer: str, task: str, seed: int, calls: int) -> Any:
        runs.append((task, seed))
        return run(designer, task, seed, calls)

    monkeypatch.setattr(pmo, "DESIGNERS", {"reader": Reader(), "graph-ga": pmo.GraphGA(corpus="wehi10k")})
    monkeypatch.setattr(pmo, "run", watched)
    return runs


def slow_area(scores: Sequence[float], calls: int) -> float:
    """The sum over single calls of a curve that is drawn straight between its points."""
    def top(done: int) -> float:
        return statistics.fmean(sorted(scores[:done], reverse=True)[:10]) if done else 0.0

    ends = [*range(0, len(scores), 100), len(scores)]
    total = 0.0
    for a, b in itertools.pairwise(ends):
        for call in range(a, b):
            middle = (call + 0.5 - a) / (b - a)
            total += top(a) + (top(b) - top(a)) * middle
    return (total + top(len(scores)) * (calls - len(scores))) / calls


@pytest.mark.parametrize(("scored", "calls"), [
    (1000, 1000), (1000, 10_000), (730, 1000), (100, 100), (60, 500), (7, 50)])
def test_area_under_the_curve(pmo: ModuleType, scored: int, calls: int) -> None:
    rng = Random(scored)
    scores = [rng.random() ** 3 for _ in range(scored)]
    assert pmo.area(pmo.curve(scores), calls) == pytest.approx(slow_area(scores, calls), abs=1e-12)


def test_area_of_curves_that_are_known(pmo: ModuleType) -> None:
    assert pmo.area(pmo.curve([1.0] * 10_000), 10_000) == pytest.approx(1 - 0.5 * 100 / 10_000)
    assert pmo.area(pmo.curve([]), 100) == 0
    assert pmo.curve([math.nan, 0.5, math.nan]) == [(3, pytest.approx(0.5 / 3))]
    found_late = [0.0] * 5000 + [1.0] * 5000
    assert pmo.area(pmo.curve(found_late), 10_000) == pytest.approx(0.5 - 0.5 * 100 / 10_000)


def test_what_is_a_call(pmo: ModuleType) -> None:
    oracle = pmo.Oracle(DOMAIN, "pmo(qed)", 4)
    first, *others = oracle(["OCC", "C1CC", "CCO", "c1ccccc1"])
    assert math.isnan(others[0])
    assert first == others[1] == DOMAIN.rule("qed")(["CCO"])[0]
    assert list(oracle.scores) == ["CCO", "c1ccccc1"]
    assert not oracle.done
    scores = oracle(["C", "CCO", "CC", "CCC", "CCCC", "C"])
    assert list(oracle.scores) == ["CCO", "c1ccccc1", "C", "CC"]
    assert oracle.done
    assert [math.isnan(score) for score in scores] == [False, False, False, True, True, False]
    assert scores[1] == first


def test_diversity_is_that_of_all_pairs(pmo: ModuleType) -> None:
    from rdkit import Chem, DataStructs
    from rdkit.Chem import rdFingerprintGenerator
    texts = WEHI[:8]
    make = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    prints = [make.GetFingerprint(Chem.MolFromSmiles(text)) for text in texts]
    pairs = [DataStructs.TanimotoSimilarity(a, b) for i, a in enumerate(prints) for b in prints[:i]]
    assert pmo.diversity(texts) == pytest.approx(1 - statistics.fmean(pairs))
    assert pmo.diversity(texts[:1]) == 0


def test_runs_go_on_where_they_were(pmo: ModuleType, reader: list[tuple[str, int]], tmp_path: Path) -> None:
    pmo.run_all(["reader"], ["qed", "median1"], range(1), 20, tmp_path)
    pmo.run_all(["reader"], ["qed", "median1", "median2"], range(2), 20, tmp_path)
    assert reader == [("qed", 0), ("median1", 0), ("median2", 0), ("qed", 1), ("median1", 1), ("median2", 1)]
    record = json.loads((tmp_path / "reader" / "qed-1.json").read_text())
    assert record["scored"] == 20
    assert record["settings"] == {"designer": "reader", "calls": 20, "molecules": 30}
    qed = [DOMAIN.rule("qed")([text])[0] for text in Random(1).sample(WEHI, 30)[:20]]
    assert record["auc"] == pytest.approx(slow_area(qed, 20))
    assert record["top10"] == pytest.approx(statistics.fmean(sorted(qed)[-10:]))
    assert [score for _, score, _ in record["best"]] == pytest.approx(sorted(qed, reverse=True))
    assert [qed[number - 1] for _, _, number in record["best"]] == pytest.approx(sorted(qed, reverse=True))


def test_an_interrupted_run_leaves_no_file(pmo: ModuleType, reader: list[tuple[str, int]], tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(designer: str, task: str, seed: int, calls: int) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(pmo, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        pmo.run_all(["reader"], ["qed"], range(1), 20, tmp_path)
    assert list((tmp_path / "reader").iterdir()) == []


def test_the_table(pmo: ModuleType, reader: list[tuple[str, int]], tmp_path: Path) -> None:
    pmo.run_all(["reader"], ["qed", "median1"], range(2), 20, tmp_path)
    pmo.run_all(["graph-ga"], ["qed"], range(1), 20, tmp_path)
    two = [pmo.read(tmp_path / "reader" / f"qed-{seed}.json")["auc"] for seed in (0, 1)]
    ga = pmo.read(tmp_path / "graph-ga" / "qed-0.json")["auc"]

    def rows() -> dict[str, str]:
        return {line.split(" | ")[0].strip("| *"): line for line in pmo.tables(tmp_path).splitlines()
                if line.startswith("|")}

    said = f"| {statistics.fmean(two):.3f} ± {statistics.stdev(two):.3f} | {ga:.3f} |"
    assert rows()["qed"] == f"| qed {said}"
    # published columns are of 10,000 calls, and stand beside no others
    for path in tmp_path.glob("*/*.json"):
        path.write_text(path.read_text().replace('"calls": 20', '"calls": 10000'))
    assert rows()["qed"].startswith(f"| qed {said} 0.941 |")
    assert "|  | 0.356 |" in rows()["median1"]
    # sums are over what all our designers have run
    sums = f"| **sum of 1** | **{statistics.fmean(two):.2f}** | **{ga:.2f}** | **0.94** |"
    assert rows()["sum of 1"].startswith(sums)
    assert rows()["reader"].startswith("| reader | 2 × 2 | ")


def test_published_columns_add_up_to_their_published_sums(pmo: ModuleType) -> None:
    for method, column in pmo.published().items():
        assert set(column) == {*TASKS, "sum"}
        assert math.fsum(column[task] for task in TASKS) == pytest.approx(column["sum"], abs=0.006), method


def test_the_genetic_algorithm_learns(pmo: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pmo, "DESIGNERS", {"graph-ga": pmo.GraphGA(population=40, offspring=10, corpus="wehi10k")})
    record = pmo.run("graph-ga", "isomers_c7h8n2o2", 0, 400)
    again = pmo.run("graph-ga", "isomers_c7h8n2o2", 0, 400)
    assert record["scored"] == 400
    (_, first), *_, (_, last) = record["curve"]
    assert last > first + 0.2
    assert [text for text, *_ in again["best"]] == [text for text, *_ in record["best"]]


def test_wrong_use_is_said_in_one_line(pmo: ModuleType, reader: list[tuple[str, int]], tmp_path: Path,
                                       capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    out = str(tmp_path)
    with pytest.raises(SystemExit) as caught:
        pmo.main(["--tasks", "qeed", "--out", out])
    assert caught.value.code == 2
    assert "unknown PMO task 'qeed'; did you mean 'qed'?" in capsys.readouterr().err
    with pytest.raises(UsageError, match="there are no runs in"):
        pmo.tables(tmp_path)
    pmo.run_all(["reader"], ["qed"], range(1), 20, tmp_path)
    with pytest.raises(UsageError, match="was made with other settings"):
        pmo.run_all(["reader"], ["qed"], range(1), 30, tmp_path)
    pmo.run_all(["reader"], ["median1"], range(1), 10, tmp_path)
    with pytest.raises(UsageError, match=r"holds runs of \[10, 20\] calls"):
        pmo.tables(tmp_path)
    (tmp_path / "reader" / "qed-0.json").write_text("{}")
    with pytest.raises(UsageError, match=r"qed-0.json is not the record of a run \(KeyError: 'auc'\); remove it"):
        pmo.tables(tmp_path)
    monkeypatch.setitem(pmo.DESIGNERS, "reader", Reader(0))
    with pytest.raises(SeqtutorError, match="ended without one valid molecule"):
        pmo.run_all(["reader"], ["median2"], range(1), 10, tmp_path)
