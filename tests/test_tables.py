"""Tables on a terminal, in a pipe and in files; what goes wrong there ends in one line and leaves no half file."""

from __future__ import annotations

import csv
import errno
import gzip
import io
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtutor import tables
from seqtutor.domain import Domain, SeqtutorError, Table, UsageError

ROOT = Path(__file__).parent.parent
NAN = float("nan")


def _reverse(table: Table, path: Path) -> None:
    path.write_text("\n".join(text[::-1] for text in table.texts))


def _full(table: Table, path: Path) -> None:
    path.write_text("half of it")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Words(Domain):
    name = "words"
    tokens = ("a", "b")
    exporters = {".rev": _reverse, ".full": _full}  # noqa: RUF012

    def split(self, text: str) -> list[str]:
        return list(text)

    def canonical(self, text: str) -> str | None:
        return text


WORDS = Words()


@pytest.fixture
def table() -> Table:
    texts = ["ab", "[nH]", "c1,c\"c"]
    return Table(texts, {"word": texts, "id": ["x", "y\nz", None], "qed": [0.5501217966938848, NAN, 1 / 3],
                         "mw": [331.4, 1234567.25, np.float32(0.5)], "rings": [3.0, 0.0, np.int64(2)],
                         "ok": [True, False, np.bool_(True)]})


def _csv(table: Table) -> str:
    file = io.StringIO()
    tables.to_csv(table, file)
    return file.getvalue()


@pytest.mark.parametrize(("value", "text"), [
    (0.1 + 0.2, "0.3"), (0.5501217966938848, "0.550122"), (3.0, "3"), (331.4000000001, "331.4"), (-2.5, "-2.5"),
    (1.23456789e-8, "1.23457e-08"), (1234567.25, "1234567.25"), (1e300, f"{10**300 * 1.0:.0f}"), (-0.0, "0"),
    (NAN, ""), (math.inf, ""), (None, ""), (7, "7"), (True, "true"), (np.float32(0.25), "0.25"), (np.float64(NAN), ""),
    ("a b", "a b"),
])
def test_numbers_in_files_keep_six_digits_and_missing_is_empty(value: object, text: str) -> None:
    assert tables.cell(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_rounding_keeps_six_digits_or_six_decimals(x: float) -> None:
    assert abs(float(tables.cell(x)) - x) <= (5.001e-6 * abs(x) if abs(x) < 1 else 5.001e-7 + 1e-15 * abs(x))


@pytest.mark.parametrize(("column", "shown"), [
    ([0.9234, 0.5, NAN], ["0.923", "0.500", ""]), ([3.21, -0.0004], ["3.21", "0.00"]),
    ([331.42, 46.07], ["331.4", "46.1"]),
    ([3.0, 2.0, None], ["3", "2", ""]), ([1.5e-7], ["1.5e-07"]), (["C\tC", None], ["C C", ""]),
    ([True, False], ["true", "false"]),
    ([NAN, NAN], ["", ""]), ([], []),
])
def test_people_see_the_same_decimals_down_a_column(column: list[object], shown: list[str]) -> None:
    assert tables.shown(column) == shown


def test_csv_reads_back(table: Table) -> None:
    rows = list(csv.reader(io.StringIO(_csv(table))))
    assert rows[0] == ["word", "id", "qed", "mw", "rings", "ok"]
    assert [row[0] for row in rows[1:]] == table.texts
    assert rows[1][1:] == ["x", "0.550122", "331.4", "3", "true"]
    assert rows[2][1:] == ["y\nz", "", "1234567.25", "0", "false"]
    assert rows[3][1:] == ["", "0.333333", "0.5", "2", "true"]


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2), max_size=5))
def test_csv_keeps_any_text(rows: list[list[str]]) -> None:
    table = Table([a for a, _ in rows], {"text": [a for a, _ in rows], "note": [b for _, b in rows]})
    assert list(csv.reader(io.StringIO(_csv(table), newline="")))[1:] == rows


@pytest.mark.parametrize("n", [0, 1, 3])
def test_json_reads_back_in_full_precision(table: Table, n: int) -> None:
    file = io.StringIO()
    tables.to_json(Table(table.texts[:n], {name: values[:n] for name, values in table.columns.items()}), file)
    rows = json.loads(file.getvalue())
    assert [row["word"] for row in rows] == table.texts[:n]
    if n == 3:
        assert rows[0]["qed"] == 0.5501217966938848
        assert rows[1]["qed"] is None
        assert rows[2]["rings"] == 2
        assert rows[2]["ok"] is True


def test_a_table_without_columns_shows_its_texts() -> None:
    assert _csv(Table(["a", "b"])) == "text\na\nb\n"


# -- the terminal ---------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _printed(table: Table, monkeypatch: pytest.MonkeyPatch, width: int, **how: object) -> str:
    screen = Terminal()
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stdout", screen)
    tables.emit(table, **how)  # type: ignore[arg-type]
    return screen.getvalue()


def test_a_terminal_gets_a_table_with_every_letter_of_a_smiles(monkeypatch: pytest.MonkeyPatch) -> None:
    smiles = ["[nH]1cccc1:red:", "[bold]C[/bold]", "C\x1b[31mN", "C" * 200]
    page = _printed(Table(smiles, {"smiles": smiles, "qed": [0.9, 0.81234, NAN, 0.1]}), monkeypatch, 80, title="[x]")
    assert "[x]" in page
    assert "[nH]1cccc1:red:" in page  # neither markup nor emoji
    assert "[bold]C[/bold]" in page
    assert "\x1b[31m" not in page
    assert sum(line.count("C") for line in page.splitlines()) == 202  # folded, not cut
    assert re.search(r"red:  +0\.900 *$", page, re.M)
    assert re.search(r"/bold\]  +0\.812 *$", page, re.M)
    assert max(map(len, page.splitlines())) <= 80


def test_what_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"smiles": ["CCO"], **{f"descriptor_{i}": [1.5] for i in range(20)}}
    page = _printed(Table(["CCO"], columns), monkeypatch, 80)
    assert "descriptor_3" in page.splitlines()[1]
    assert "columns that do not fit:" in page
    assert "descriptor_19" in page.split("do not fit")[1]


def test_a_long_table_says_how_much_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"t{i}" for i in range(3000)]
    page = _printed(Table(texts, {"text": texts}), monkeypatch, 80, limit=10)
    assert "t9" in page
    assert "t10" not in page
    assert "… and 2,990 more rows" in page


def test_a_pipe_gets_csv_and_json_on_request(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    tables.emit(table, limit=1)
    assert capsys.readouterr().out == _csv(table)
    tables.emit(table, json=True)
    assert len(json.loads(capsys.readouterr().out)) == 3


EMIT = """
from seqtutor.domain import SeqtutorError, Table
from seqtutor.tables import emit
texts = ["x" * 50] * 20000
try:
    emit(Table(texts, {"text": texts}), json=%s)
except SeqtutorError as error:
    raise SystemExit(str(error))
"""


def _emit(shell: str, json: bool = False) -> subprocess.CompletedProcess[str]:
    command = f"set -o pipefail; \"$PYTHON\" -c '{EMIT % json}' {shell}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, timeout=60,
                          env={**os.environ, "PYTHON": sys.executable})


@pytest.mark.parametrize("json", [False, True])
def test_head_ends_it_quietly(json: bool) -> None:
    done = _emit("| head -n 1", json)
    assert done.stderr == ""
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_one_line() -> None:
    done = _emit("> /dev/full")
    assert done.stderr.strip() == ("cannot write to stdout: No space left on device; "
                                   "free some space or choose another place")
    assert done.returncode == 1


def test_importing_tables_is_light() -> None:
    code = "import sys, seqtutor.tables; print([m for m in ('torch', 'rdkit', 'rich') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True,
                          ).stdout.strip() == "[]"


# -- files ----------------------------------------------------------------------------------------------------------


def test_the_suffix_chooses(table: Table, tmp_path: Path) -> None:
    for name in ("a.csv", "a.JSON", "a.rev", "my.run.2.csv"):
        tables.check_writable(WORDS, tmp_path / name)
        tables.write_table(WORDS, table, tmp_path / name)
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "my.run.2.csv").read_text() == _csv(table)
    assert len(json.loads((tmp_path / "a.JSON").read_text())) == 3
    assert (tmp_path / "a.rev").read_text().splitlines()[0] == "ba"


@pytest.mark.parametrize("suffix", [".csv", ".json", ".rev"])
def test_gz_packs_any_of_them_and_repeats_byte_for_byte(table: Table, tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        tables.write_table(WORDS, table, tmp_path / (name + suffix + ".gz"))
    tables.write_table(WORDS, table, tmp_path / ("c" + suffix))
    one, two = ((tmp_path / (name + suffix + ".gz")).read_bytes() for name in ("a", "b"))
    assert one == two
    assert gzip.decompress(one) == (tmp_path / ("c" + suffix)).read_bytes()
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(("name", "words"), [
    ("a.cvs", "unknown file suffix '.cvs'; did you mean '.csv'? (known: .csv, .full, .json, .rev, .xlsx)"),
    ("a.jsn.gz", "unknown file suffix '.jsn'; did you mean '.json'?"),
    ("a.xls", "unknown file suffix '.xls'; did you mean '.xlsx'?"),
    ("a", "its name needs a suffix that says what to write (known: .csv, .full, .json, .rev, .xlsx; each also with "
          ".gz)"),
    ("a.gz", "its name needs a suffix"),
    ("none/a.csv", "does not exist; create it first"),
    ("folder.csv", "it is a folder; name a file in it"),
])
def test_a_wrong_name_is_refused_before_and_while_writing(table: Table, tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match="cannot write") as before:
        tables.check_writable(WORDS, tmp_path / name)
    with pytest.raises(UsageError, match="cannot write") as while_writing:
        tables.write_table(WORDS, table, tmp_path / name)
    for error in (before, while_writing):
        assert words in str(error.value)
        assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]


@pytest.mark.parametrize("name", ["a.full", "a.full.gz"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(table: Table, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("old")
    with pytest.raises(SeqtutorError, match=r"cannot write .*a\.full.*: No space left on device; free some space"):
        tables.write_table(WORDS, table, tmp_path / name)
    assert (tmp_path / name).read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_interrupt_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def stop(table: Table, path: Path) -> None:
        path.write_text("half of it")
        raise KeyboardInterrupt

    class Stopped(Words):
        exporters = {".stop": stop}  # noqa: RUF012

    (tmp_path / "a.stop").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        tables.write_table(Stopped(), Table(["a"]), tmp_path / "a.stop")
    assert (tmp_path / "a.stop").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_read_only_folder(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("tempfile.mkstemp", refuse)  # root may write anywhere, so the system is asked to say no
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(SeqtutorError, match=r"cannot write .*a\.csv: Permission denied; choose another place"):
        tables.check_writable(WORDS, tmp_path / "a.csv")
    with pytest.raises(SeqtutorError, match=r"cannot write .*a\.csv: Permission denied"):
        tables.write_table(WORDS, table, tmp_path / "a.csv")


def test_a_write_protected_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("old")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(SeqtutorError, match="the file is write-protected; choose another name"):
        tables.check_writable(WORDS, tmp_path / "a.csv")
