"""The report of a run: one page, whole and safe, and its hits as files that other programs read."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import ROOT, Cli
from rdkit import Chem

from seqtutor.domain import Domain, SeqtutorError, Table
from seqtutor.model import SequenceModel
from seqtutor.plugins import load_domain
from seqtutor.tables import write_table

PEPTIDES = str(ROOT / "examples" / "peptide_domain.py")
HOSTILE = '"><script>alert(1)</script>'


class Page(HTMLParser):
    """Tags, their attributes and the text of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.said = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "data", "action")]

    def handle_data(self, data: str) -> None:
        self.said += data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on molecules."""
    from seqtutor.corpus import file_sha256
    from seqtutor.models import find_model, load_model
    from seqtutor.objective import Objective
    from seqtutor.run import Setup, tune
    from seqtutor.settings import TuneConfig
    domain = load_domain("molecules")
    objective = Objective.from_dict({"terms": ["qed", "sa:minimise"], "name": HOSTILE}, domain)
    setup = Setup("molecules", "molecules", file_sha256(find_model("molecules")), objective.to_dict(),
                  TuneConfig(steps=4, batch=12, seed=1, max_length=80), stop_when="500 hits above 0.5")
    folder = tmp_path_factory.mktemp("runs") / "mine"
    tune(folder, setup, domain, load_model("molecules", "molecules"), guard=False)
    return folder


def test_one_page_with_all_there_is_to_say(cli: Cli, run: Path, tmp_path: Path) -> None:
    (tmp_path / "known.smi").write_text("CCO\nCC(=O)Oc1ccccc1C(=O)O\n")
    done = cli("report", "molecules", str(run), "-o", "r.html", "-o", "h.xlsx", "-o", "h.sdf", "-o", "h.csv", "-n",
               "20", "--hits", "8", "--known", "known.smi")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "r.html").read_text()
    page = Page(text)
    assert "script" not in page.tags
    assert page.sources
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not re.search(r"https?://|url\(|@import", text)
    assert HOSTILE in page.said, "shown as text"
    with open(tmp_path / "h.csv", newline="") as file:
        hits = list(csv.DictReader(file))
    rewards = [float(row["reward"]) for row in hits]
    assert rewards == sorted(rewards, reverse=True)
    assert len(hits) == 8
    for row in hits:
        assert row["smiles"] in page.said
    for words in ("nearest known", "√KL", "The policy beside its prior", "What they are built on", "torch", "rdkit",
                  "seed = 1", "4 of 4", "500 hits above 0.5"):
        assert words in page.said, words
    mols = list(Chem.SDMolSupplier(str(tmp_path / "h.sdf")))
    assert [Chem.MolToSmiles(mol) for mol in mols] == [row["smiles"] for row in hits]
    assert [float(mol.GetProp("reward")) for mol in mols] == pytest.approx(rewards, abs=1e-5)
    openpyxl = pytest.importorskip("openpyxl")
    sheet = openpyxl.load_workbook(tmp_path / "h.xlsx").active
    head = [cell.value for cell in sheet[1]]
    assert head[:3] == ["picture", "smiles", "reward"]
    for i, row in enumerate(hits, start=2):
        assert sheet.cell(i, 2).value == row["smiles"]
        assert sheet.cell(i, 3).value == pytest.approx(float(row["reward"]), abs=1e-5)
    assert len(sheet._images) == 8


def test_an_unfinished_run_and_a_domain_without_pictures(cli: Cli, tiny_model: SequenceModel, tmp_path: Path) -> None:
    tiny_model.save(tmp_path / "prior.safetensors")
    done = cli("tune", PEPTIDES, "--model", "prior.safetensors", "--objective", "gravy:maximise", "--steps", "3",
               "--batch", "8", "--seed", "1", "--out", "run")
    assert done.returncode == 0, done.stderr
    (tmp_path / "run" / "model.safetensors").unlink()
    done = cli("report", PEPTIDES, "run")
    assert done.returncode == 0, done.stderr
    page = Page((tmp_path / "run" / "report.html").read_text())
    assert "The run has no model yet" in page.said
    assert "img" not in page.tags
    for name in ("metrics.csv", "best.csv"):
        (tmp_path / "run" / name).unlink()
    assert cli("report", PEPTIDES, "run").returncode == 0
    said = Page((tmp_path / "run" / "report.html").read_text()).said
    assert "No step has been made yet" in said
    assert "Nothing has been found yet" in said


def test_wrong_use(cli: Cli, run: Path, tmp_path: Path) -> None:
    for words, said in [(("molecules", "nowhere"), "there is no"), (("music", str(run)), "is a run of the domain"),
                        (("molecules", str(run), "-o", "x.docx"), "file suffix"),
                        (("molecules", str(run), "--known", "zinc251k"), "did you mean 'zinc250k'"),
                        (("molecules", str(run), "-o", "no/x.html"), "no")]:
        done = cli("report", *words)
        assert done.returncode == 2, (words, done.stderr)
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_a_workbook_holds_text_as_text(peptides: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    table = Table(["A", "C"], {"text": ["A", "C"], "note": ["=1+1", "https://example.org"], "x": [1.5, float("nan")],
                               "n": [3, None]})
    write_table(peptides, table, tmp_path / "t.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "t.xlsx").active
    rows = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert rows[0] == ["text", "note", "x", "n"]
    assert rows[1] == ["A", "=1+1", 1.5, 3]
    assert sheet["B2"].data_type == "s"
    assert rows[2][2] is None
    import builtins
    real = builtins.__import__

    def without(name: str, *args: object) -> object:
        if name == "xlsxwriter":
            raise ImportError(name=name)
        return real(name, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SeqtutorError, match=r"pip install 'seqtutor\[xlsx\]'"):
        write_table(peptides, table, tmp_path / "u.xlsx")
    assert not (tmp_path / "u.xlsx").exists()


def test_likeness_and_lineage() -> None:
    molecules = load_domain("molecules")
    known = ["CCO", "CCCO", "c1ccncc1", "not a molecule"]
    assert molecules.likeness(["CCO", "c1ccccc1"], known)[0] == ("CCO", 1.0)
    assert molecules.lineage("CC1CCNCC1=O") == ["C1CCCCC1", "O=C1CCCNC1"]
    assert molecules.lineage("CCO") == ["", ""]
