"""``seqtutor score``: any file chemists have, rows in their order with their ids, one line for what is wrong."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from rdkit import Chem

from seqtutor.cli import main

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
SMI = f"CCO ethanol\nC1CC broken one\n\n{ASPIRIN}\taspirin\nC\n"
CSV = f"cid,Smiles,activity\n7,CCO,3.20\n8,,1\n9,{ASPIRIN},\"a, b\"\n10,C,1,2\n11,CN(C)(C)C\n"


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.out)))


Score = Callable[..., Outcome]


@pytest.fixture
def score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Score:
    """``score("a.smi", "--json", stdin=b"")`` runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, stdin: bytes = b"", domain: str = "molecules") -> Outcome:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as stopped:
            main(["score", domain, *words])
        captured = capfd.readouterr()
        assert isinstance(stopped.value.code, int)
        assert "Traceback" not in captured.err
        return Outcome(stopped.value.code, captured.out, captured.err)

    return run


# -- what comes in ----------------------------------------------------------------------------------------------------


def check_smi(outcome: Outcome) -> None:
    assert outcome.code == 0
    assert list(outcome.rows[0]) == ["smiles", "id", "qed", "scaffold", "error"]
    assert [(row["smiles"], row["id"]) for row in outcome.rows] == [
        ("CCO", "ethanol"), ("C1CC", "broken one"), (ASPIRIN, "aspirin"), ("C", "")]
    assert [row["qed"] for row in outcome.rows] == ["0.406808", "", "0.550122", "0.359785"]
    assert [row["error"] for row in outcome.rows] == ["", "ring 1 is not closed", "", ""]
    assert outcome.err == "scored 3 of 4; 1 could not be read\n"


@pytest.mark.parametrize("name", ["a.smi", "a.txt", "a", "a.smi.gz", "A.SMI", "-"])
def test_smiles_lists(score: Score, name: str) -> None:
    data = gzip.compress(SMI.encode()) if name.endswith(".gz") else SMI.encode()
    if name != "-":
        Path(name).write_bytes(data)
    check_smi(score(name, "--rules", "qed,scaffold", stdin=data))


def test_a_header_and_windows_line_ends(score: Score) -> None:
    Path("a.smi").write_bytes(("SMILES Name\n" + SMI).replace("\n", "\r\n").encode())
    check_smi(score("a.smi", "--rules", "qed,scaffold"))


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "-"])
def test_tables(score: Score, name: str) -> None:
    text = CSV.replace(",", "\t").replace("a\t b", "a, b") if name == "a.tsv" else CSV
    data = gzip.compress(text.encode()) if name.endswith(".gz") else b"\xef\xbb\xbf" + text.encode()
    if name != "-":
        Path(name).write_bytes(data)
    outcome = score(name, "--rules", "qed", stdin=data)
    assert outcome.code == 0
    assert list(outcome.rows[0]) == ["cid", "Smiles", "activity", "qed", "error"]
    assert [row["cid"] for row in outcome.rows] == ["7", "8", "9", "10", "11"]
    assert [row["activity"] for row in outcome.rows] == ["3.20", "1", "a, b", "1", ""]
    assert [row["qed"] for row in outcome.rows] == ["0.406808", "", "0.550122", "", ""]
    assert [row["error"] for row in outcome.rows] == [
        "", "it is empty", "", "line 5 has 4 cells, the header has 3",
        "N at position 1 has valence 4, which is too many"]
    assert outcome.err == "scored 2 of 5; 3 could not be read\n"


def test_a_named_column(score: Score) -> None:
    Path("a.csv").write_text("smiles;ligand\nC;CCO\n")
    assert score("a.csv", "--rules", "mw").rows == [{"smiles": "C", "ligand": "CCO", "mw": "16.043", "error": ""}]
    outcome = score("-", "--rules", "mw", "--column", "ligand", stdin=Path("a.csv").read_bytes())
    assert outcome.rows == [{"smiles": "C", "ligand": "CCO", "mw": "46.069", "error": ""}]


def test_columns_without_names_or_with_the_same(score: Score) -> None:
    Path("a.csv").write_text(",smiles,x,x\n0,CCO,1,2\n")
    assert score("a.csv", "--rules", "hbd").rows == [
        {"column 1": "0", "smiles": "CCO", "x": "1", "x (4)": "2", "hbd": "1", "error": ""}]


@pytest.mark.parametrize("name", ["a.sdf", "a.sdf.gz", "-"])
def test_sdf(score: Score, name: str) -> None:
    file = io.StringIO()
    with Chem.SDWriter(file) as writer:
        for smiles, title in (("CCO", "ethanol"), ("C[C@H](N)C(=O)O", "alanine"), ("CC", "")):
            mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
            mol.SetProp("_Name", title)
            if title:
                mol.SetProp("pIC50", "5.5" if title == "ethanol" else "two\nlines")
            writer.write(mol)
    records = file.getvalue().split("$$$$\n")
    records.insert(1, records[0].replace(" O ", " Zz", 1).replace("ethanol", "bad"))
    data = "$$$$\n".join(records).encode()
    if name.endswith(".gz"):
        data = gzip.compress(data)
    if name != "-":
        Path(name).write_bytes(data)
    outcome = score(name, "--rules", "mw", stdin=data)
    assert outcome.rows == [
        {"smiles": "CCO", "id": "ethanol", "pIC50": "5.5", "mw": "46.069", "error": ""},
        {"smiles": "", "id": "bad", "pIC50": "5.5", "mw": "",
         "error": "the SDF record cannot be read: Element 'Zz' not found"},
        {"smiles": "C[C@H](N)C(=O)O", "id": "alanine", "pIC50": "two\nlines", "mw": "89.094", "error": ""},
        {"smiles": "CC", "id": "", "pIC50": "", "mw": "30.07", "error": ""}]
    assert outcome.err == "scored 3 of 4; 1 could not be read\n"


def test_scored_again(score: Score) -> None:
    Path("a.smi").write_text(SMI)
    assert score("a.smi", "--rules", "qed,sa", "-o", "b.csv").code == 0
    outcome = score("b.csv", "--rules", "mw,qed")
    assert list(outcome.rows[0]) == ["smiles", "id", "qed", "sa", "mw", "error"]
    assert [row["error"] for row in outcome.rows] == ["", "ring 1 is not closed", "", ""]
    assert outcome.err == "replaced the file's own qed\nscored 3 of 4; 1 could not be read\n"


# -- what comes out ---------------------------------------------------------------------------------------------------


def test_columns(score: Score) -> None:
    Path("a.smi").write_text("CCO\n")
    described = ["qed", "sa", "logp", "mw", "tpsa", "hba", "hbd", "rotatable_bonds", "rings", "alerts", "scaffold"]
    assert list(score("a.smi").rows[0]) == ["smiles", *described, "error"]
    everything = list(score("a.smi", "--all").rows[0])
    assert set(described) | {"charge", "lipinski", "pains", "brenk", "largest_ring"} < set(everything)
    asked = list(score("a.smi", "--rules", "match([#6,#8](C)O),similarity(CC(=O)O), sa").rows[0])
    assert asked == ["smiles", "match([#6,#8](C)O)", "similarity(CC(=O)O)", "sa", "error"]


def test_json(score: Score) -> None:
    rows = json.loads(score("-", "--rules", "qed,alerts", "--json", stdin=SMI.encode()).out)
    assert rows[1] == {"smiles": "C1CC", "id": "broken one", "qed": None, "alerts": "", "error": "ring 1 is not closed"}
    assert rows[0]["qed"] == pytest.approx(0.40680796565539457, abs=1e-12)


def test_files(score: Score) -> None:
    Path("a.smi").write_text(SMI)
    outcome = score("a.smi", "--rules", "qed", "-o", "b.csv", "-o", "b.sdf", "-o", "b.json", "-o", "b.csv.gz")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err.endswith("scored 3 of 4; 1 could not be read; wrote b.csv, b.sdf, b.json, b.csv.gz\n")
    assert Path("b.csv").read_bytes() == gzip.decompress(Path("b.csv.gz").read_bytes())
    assert [mol.GetProp("_Name") for mol in Chem.SDMolSupplier("b.sdf")] == ["ethanol", "aspirin", "4"]
    assert [row["qed"] for row in json.loads(Path("b.json").read_text())][1] is None


def test_a_terminal_gets_a_table(score: Score, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    whole = score("-", "--rules", "qed", stdin=b"CCO ethanol\n")
    assert "0.407" in whole.out
    assert "error" not in whole.out
    assert "error" in score("-", "--rules", "qed", stdin=SMI.encode()).out


def test_workers_change_nothing(score: Score) -> None:
    Path("a.smi").write_text("".join(f"{'C' * (1 + i % 30)}O m{i}\n" for i in range(700)) + "C1CC x\n")
    one, two = (score("a.smi", "--rules", "qed,sa,scaffold", "--workers", n) for n in ("1", "2"))
    assert one == two
    assert one.code == 0


def test_quiet(score: Score) -> None:
    assert score("-", "--rules", "qed", "--quiet", stdin=SMI.encode()).err == ""


def test_another_domain(score: Score) -> None:
    peptides = str(Path(__file__).parent.parent / "examples" / "peptide_domain.py")
    Path("a.txt").write_text("ACDK\nACDX\n")
    for name in ("a.txt", "-"):
        outcome = score(name, domain=peptides, stdin=Path("a.txt").read_bytes())
        assert [row["peptide"] for row in outcome.rows] == ["ACDK", "ACDX"]
        assert [bool(row["error"]) for row in outcome.rows] == [False, True]
    Path("b.txt").write_text("\n")
    assert score("b.txt", domain=peptides).err == "seqtutor: b.txt is empty; it should hold one text a line\n"


# -- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "data", "words"), [
    ("none.smi", None, "there is no file none.smi"),
    ("empty.smi", b"", "empty.smi is empty; it should hold molecules"),
    ("empty.csv", b"", "empty.csv is empty; it should hold molecules"),
    ("header.csv", b"id,smiles\n", "header.csv is empty; it should hold molecules"),
    ("empty.smi.gz", gzip.compress(b""), "empty.smi.gz is empty; it should hold molecules"),
    ("blank.smi", b"\n \n", "blank.smi is empty; it should hold molecules"),
    ("empty.sdf", b"\n", "empty.sdf is empty; it should hold molecules"),
    ("folder", ..., "folder is a folder; name a file in it"),
    ("picture.smi", b"\x89PNG\r\n\x1a\n\0\0", "picture.smi is not a text file; it should hold SMILES, CSV or SDF "
                                             "(UTF-16: save it as UTF-8)"),
    ("latin.csv", "smiles,n\nC,é".encode("latin-1"), "latin.csv is not UTF-8 text (byte 0xe9); save it as UTF-8"),
    ("cut.smi.gz", gzip.compress(SMI.encode())[:-12], "cut.smi.gz is a damaged gzip file; it may have been cut short"),
    ("bad.smi.gz", b"\x1f\x8b\x08" + b"?" * 99, "bad.smi.gz is a damaged gzip file; it may have been cut short"),
    ("plain.smi.gz", b"CCO\n", "plain.smi.gz is not a gzip file although it is called one"),
    ("a.csv", b"id,name\n1,x\n",
     "a.csv has no column called smiles; say which one with --column (columns: id, name)"),
    ("-", b"", "stdin is empty; it should hold molecules"),
])
def test_files_that_cannot_be_read(score: Score, name: str, data: bytes | None, words: str) -> None:
    if data is ...:
        Path(name).mkdir()
    elif data is not None and name != "-":
        Path(name).write_bytes(data)
    outcome = score(name, stdin=data if isinstance(data, bytes) else b"")
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"seqtutor: {words}\n")


@pytest.mark.parametrize(("options", "words"), [
    (["--rules", "qedd"], "unknown rule of molecules 'qedd'; did you mean 'qed'? (known: "),
    (["--rules", "match(C1CC)"], "match(C1CC): not a SMARTS pattern, ring 1 is not closed"),
    (["--rules", "similarity(C)C)"], "similarity(C)C): not a SMILES, the parenthesis at position 1 closes nothing"),
    (["--rules", ","], "no rule in ','; name some of qed, sa, "),
    (["--rules", "qed", "--all"], "give either --rules or --all, not both"),
    (["--column", "x"], "a.smi has no header, so no column 'x'; --column is for .csv files"),
    (["--workers", "0"], "Invalid value for '--workers': 0 is not in the range x>=1."),
    (["-o", "b.xyz"], "cannot write b.xyz: unknown file suffix '.xyz'; did you mean '.xlsx'? (known: "),
    (["-o", "no/b.csv"], "cannot write no/b.csv: the folder no does not exist; create it first"),
])
def test_wrong_use(score: Score, options: list[str], words: str) -> None:
    Path("a.smi").write_text(SMI)
    outcome = score("a.smi", *options)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"seqtutor: {words}")
    assert outcome.err.count("\n") == 1


def test_a_column_that_is_not_there(score: Score) -> None:
    Path("a.csv").write_text(CSV)
    outcome = score("a.csv", "--column", "Smile")
    assert outcome.code == 2
    assert outcome.err == ("seqtutor: unknown column of a.csv 'Smile'; did you mean 'Smiles'? "
                           "(known: Smiles, activity, cid)\n")


def test_nothing_readable_is_a_failure_with_its_rows(score: Score) -> None:
    outcome = score("-", "--rules", "qed", stdin=b"C1CC a\nxyz b\n")
    assert outcome.code == 1
    assert [row["id"] for row in outcome.rows] == ["a", "b"]
    assert outcome.err == ("scored 0 of 2; 2 could not be read\n"
                           "seqtutor: none of the 2 rows of stdin could be read; the first: ring 1 is not closed\n")


def test_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "a.smi").write_text("CC(=O)Oc1ccccc1C(=O)O\n" * 3 + "".join(
        f"{'C' * (1 + i % 40)}N{'C' * (i // 40 % 40)}O{'C' * (i // 1600)}\n" for i in range(60_000)))
    for workers in ("1", "2"):
        process = subprocess.Popen(
            [sys.executable, "-c", "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
             "from seqtutor.cli import main; main(sys.argv[1:])",
             "score", "molecules", "a.smi", "--all", "--workers", workers, "-o", "b.csv"],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
        for _ in range(12):  # a Ctrl-C that comes while rdkit is imported is swallowed there, and pressed again
            time.sleep(5)
            process.send_signal(2)
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
                break
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err.strip()) == (130, "", "seqtutor: interrupted")
        assert os.listdir(tmp_path) == ["a.smi"]


def test_from_a_pipe_in_a_process_of_its_own(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "seqtutor", "score", "molecules", "-", "--rules", "qed"], cwd=tmp_path,
                          input=SMI, capture_output=True, text=True)
    check = Outcome(done.returncode, done.stdout, done.stderr)
    assert [row["id"] for row in check.rows] == ["ethanol", "broken one", "aspirin", ""]
    assert check.err == "scored 3 of 4; 1 could not be read\n"


def test_help_comes_without_rdkit_and_torch(cli: Cli) -> None:
    done = cli("score", "--help")
    assert done.returncode == 0
    assert done.stdout.index("Examples:") < done.stdout.index("Options:")
    code = ("import sys; from seqtutor.cli import score; "
            "print([name for name in ('torch', 'rdkit', 'numpy.random') if name in sys.modules])")
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "torch" not in imported
    assert "rdkit" not in imported
