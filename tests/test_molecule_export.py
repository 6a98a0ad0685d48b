"""Files of molecules, read back by the programs that read them; hostile names and full disks."""

from __future__ import annotations

import csv
import io
import itertools
import logging
import re
import statistics
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from rdkit import Chem, RDConfig

from seqtutor.domain import Domain, Table
from seqtutor.tables import cell, write_table
from seqtutor_molecules import export, page, pictures
from seqtutor_molecules.standard import canonical, parse

ROOT = Path(__file__).parent.parent
NAN = float("nan")

# Salts, charges, isotopes, stereo of every kind, bridges, a macrocycle, a radical, a dummy, metals, one atom.
HARD = [
    "CC(=O)Oc1ccccc1C(=O)O", "[Na+].CC(=O)[O-]", "C[N+](C)(C)CC(=O)[O-]", "[13CH3]C[2H]", "F/C=C/Cl", "F/C=C\\Cl",
    "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "CN1CC[C@]23[C@@H]4Oc5c(O)ccc(C[C@@H]1[C@@H]2C=C[C@@H]4O)c53",
    "C1C2CC3CC1CC(C2)C3NC(=O)c1ccccc1", "CC(C)C[C@H]1C(=O)N[C@@H](Cc2ccccc2)C(=O)N[C@@H](C)C(=O)NCC(=O)N1", "[CH2]C",
    "*c1ccccc1", "C", "[Fe+2].c1cc[cH-]c1.c1cc[cH-]c1", "C[Si](C)(C)C#N", "N#Cc1c[nH]c2nccc(Br)c12", 
    "O=S(=O)(N1CCOCC1)C(F)(F)I", "C[S@](=O)c1ccccc1", "CC(C)(C)[P@](=O)(c1ccccc1)C", "C/C(=N\\O)c1ccccc1",
]
#: names no writer of a file format would wish for
EVIL = ["</td><script>alert(1)</script>", "a\tb\nc", "$$$$", "<img src=x onerror=alert(2)>", "&lt;", "{{rows}}",
        '"><svg onload=alert(3)>', "> <qed>", "naïve 名", "\ud800\x07\x1b[31m", "", "M  END"]


def make(smiles: list[str], ids: list[str] | None = None) -> Table:
    n = len(smiles)
    return Table(list(smiles), {
        "smiles": list(smiles), "id": list(ids or [f"mol-{i}" for i in range(n)]),
        "qed": [0.5501217966938848 + i / 1e4 if i % 7 != 6 else NAN for i in range(n)],
        "sa": [1.58 + i % 3 for i in range(n)],
        "logp": [i - 2.5 for i in range(n)], "mw": [180.159] * n, "rings": [float(i % 4) for i in range(n)],
        "alerts": ["" if i % 3 else "azo_A(324), <b>" for i in range(n)],
        "error": ["" if parse(text) else f"not a SMILES: {text}" for text in smiles],
    })


def wehi(n: int) -> list[str]:
    """Real molecules that come with RDKit: SMILES, id, no header."""
    with open(Path(RDConfig.RDDataDir) / "Pains/test_data/wehi_mols.csv", newline="") as file:
        return [row[0] for row in itertools.islice(csv.reader(file), n)]


class Molecules(Domain):
    name = "molecules"
    tokens = ("C",)
    exporters = export.EXPORTERS

    def split(self, text: str) -> list[str]:
        return list(text)

    def canonical(self, text: str) -> str | None:
        return canonical(text)


def write(table: Table, path: Path) -> Path:
    write_table(Molecules(), table, path)
    return path


# -- SMILES and SDF -------------------------------------------------------------------------------------------------


def test_smi_reads_back(tmp_path: Path) -> None:
    path = write(make(HARD), tmp_path / "a.smi")
    read = [mol for mol in Chem.SmilesMolSupplier(str(path), delimiter="\t", titleLine=False)]  # noqa: C416  list() drains it
    assert [mol.GetProp("_Name") for mol in read] == [f"mol-{i}" for i in range(len(HARD))]
    assert [Chem.MolToSmiles(mol) for mol in read] == [canonical(text) for text in HARD]


def test_sdf_reads_back_with_flat_coordinates_and_every_column(tmp_path: Path) -> None:
    table = make(HARD + wehi(200))
    path = write(table, tmp_path / "a.sdf")
    read = list(Chem.SDMolSupplier(str(path)))
    assert len(read) == len(table.texts)
    for mol, row in zip(read, table.rows(), strict=True):
        assert Chem.MolToSmiles(mol) == canonical(row["smiles"])
        assert mol.GetProp("_Name") == row["id"]
        assert mol.GetPropsAsDict(includePrivate=False, autoConvertStrings=False) == {
            name: cell(value) for name, value in row.items() if cell(value)}
        xyz = mol.GetConformer().GetPositions()
        assert not mol.GetConformer().Is3D()
        assert not xyz[:, 2].any()
        if mol.GetNumBonds():
            lengths = [((xyz[b.GetBeginAtomIdx()] - xyz[b.GetEndAtomIdx()]) ** 2).sum() ** 0.5 for b in mol.GetBonds()]
            assert min(lengths) > 0.1
            assert statistics.median(lengths) == pytest.approx(1.5, abs=0.25)


def test_sdf_goes_to_v3000_where_v2000_ends(tmp_path: Path) -> None:
    path = write(make(["C" * 1001, "C[C@H](O)[C@H](F)Cl |o1:1,3|", "CCO"]), tmp_path / "a.sdf")
    assert re.findall("V[23]000", path.read_text()) == ["V2000", "V3000", "V2000", "V3000", "V2000"] or \
        re.findall(r"999 (V\d000)", path.read_text()) == ["V3000", "V3000", "V2000"]
    assert [mol.GetNumAtoms() for mol in Chem.SDMolSupplier(str(path))] == [1001, 6, 3]


@pytest.mark.parametrize("suffix", [".smi", ".sdf"])
def test_hostile_names_stay_inside_their_record(tmp_path: Path, suffix: str) -> None:
    path = write(make(["CCO"] * len(EVIL), EVIL), tmp_path / ("a" + suffix))
    supplier = (Chem.SDMolSupplier(str(path)) if suffix == ".sdf" else
                Chem.SmilesMolSupplier(str(path), delimiter="\t", titleLine=False))
    read = [mol for mol in supplier]  # noqa: C416  list() drains it
    assert len(read) == len(EVIL)
    assert all(mol is not None and mol.GetNumAtoms() == 3 for mol in read)
    names = [mol.GetProp("_Name").strip() for mol in read]
    assert names[0] == EVIL[0]
    assert names[1] == "a b c"
    assert names[8] == "naïve 名"
    assert names[10] == "11"  # an empty name becomes the row number


def test_a_field_name_cannot_break_an_sdf(tmp_path: Path) -> None:
    path = write(Table(["CC"], {"a> <b\n": ["x"], "": ["y"]}), tmp_path / "a.sdf")
    [mol] = Chem.SDMolSupplier(str(path))
    assert mol.GetPropsAsDict() == {"a___b_": "x", "column": "y"}


def test_without_a_name_rows_are_numbered(tmp_path: Path) -> None:
    assert write(Table(["C", "CC"]), tmp_path / "a.smi").read_text() == "C\t1\nCC\t2\n"


# -- pictures -------------------------------------------------------------------------------------------------------


def test_png_shows_something_in_every_cell(tmp_path: Path) -> None:
    picture = Image.open(write(make(HARD), tmp_path / "a.png")).convert("L")
    wide = pictures.columns(len(HARD))
    assert picture.size == tuple(2 * edge for edge in pictures._size(len(HARD), ""))
    assert picture.getpixel((0, 0)) == 255
    for x, y in pictures._corners(len(HARD)):
        left, right, middle = 2 * x, 2 * (x + pictures.WIDTH), 2 * (y + pictures.HEIGHT)
        structure, legend = picture.crop((left, 2 * y, right, middle)), picture.crop((left, middle, right, middle + 80))
        assert structure.getextrema()[0] < 128
        assert legend.getextrema()[0] < 128
    assert wide == 5


def test_svg_is_xml_with_legends(tmp_path: Path) -> None:
    root = ElementTree.parse(write(make(HARD), tmp_path / "a.svg")).getroot()
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[:2] == ["mol-0", "QED 0.55 · SA 1.6 · logP -2.5"]
    assert texts[12:14] == ["mol-6", "SA 1.6 · logP 3.5"]  # nan is not shown
    assert len([g for g in root.iter("{http://www.w3.org/2000/svg}g") if g.get("transform")]) == len(HARD)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_hostile_names_in_pictures(tmp_path: Path, suffix: str) -> None:
    path = write(make(["CCO"] * len(EVIL), EVIL), tmp_path / ("a" + suffix))
    if suffix == ".svg":
        root = ElementTree.parse(path).getroot()
        assert {element.tag.split("}")[1] for element in root.iter()} == {"svg", "rect", "g", "path", "text"}


def test_columns_leave_few_holes() -> None:
    assert [pictures.columns(n) for n in range(13)] == [1, 1, 2, 3, 4, 5, 3, 4, 4, 3, 5, 4, 4]
    assert pictures.columns(50) == 5


def test_a_picture_says_what_it_leaves_out(tmp_path: Path, caplog: pytest.LogCaptureFixture,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "MOST", 5)
    table = make(["CCO", "C1CC", "CCN", "", "CCC", "CCF", "CCCl", "CCBr"])
    with caplog.at_level(logging.WARNING):
        text = write(table, tmp_path / "a.svg").read_text()
    assert text.count("<path") > 5
    assert "the first 5 of 6 molecules · 2 of 8 rows left out: not molecules" in text
    assert "CCBr" not in text
    assert caplog.messages == ["SVG: left out 2 of 8 rows, not molecules: rows 2, 4",
                               "SVG: shows the first 5 of 6 molecules; an .html file shows all"]


@pytest.mark.parametrize("suffix", sorted(export.EXPORTERS))
@pytest.mark.parametrize("texts", [[], ["C1CC", "not a molecule"]])
def test_nothing_to_show(tmp_path: Path, suffix: str, texts: list[str]) -> None:
    path = write(make(texts), tmp_path / ("a" + suffix))
    if suffix == ".svg":
        assert "no molecules" in path.read_text()
    if suffix == ".png":
        assert Image.open(path).convert("L").getextrema()[0] < 200


def test_small_pictures_show_what_rdkit_draws() -> None:
    ethanol, alanine = (pictures.paths(Chem.MolFromSmiles(text), 200, 150) for text in ("CCO", "C[C@H](N)C(=O)O"))
    red, blue, black = pictures.INK[8][0], pictures.INK[7][0], pictures.INK[0][0]
    assert f'stroke="{red}"' in ethanol
    assert f'fill="{red}"' in ethanol  # the letters
    assert blue not in ethanol
    assert f'fill="{blue}"' in alanine
    assert f'fill="{black}"' in pictures.paths(Chem.MolFromSmiles("CC[C@@H](F)Cl"), 200, 150)  # the wedge
    colours = set(re.findall("#[0-9a-f]{6}", "".join(pictures.paths(parse(text), 200, 150) for text in HARD)))  # type: ignore[arg-type]
    assert colours <= {light for light, _ in pictures.INK.values()}  # so a dark page can turn every one of them


# -- the page -------------------------------------------------------------------------------------------------------


class Reader(HTMLParser):
    """Tags, attributes and the text of every table cell."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.inside = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def test_page_holds_every_row_with_its_error(tmp_path: Path) -> None:
    table = make([*HARD, "C1CC"])
    text = write(table, tmp_path / "a.html").read_text(encoding="utf-8")
    seen = Reader(text)
    assert seen.rows[0] == ["structure", *table.columns]
    assert [row[1] for row in seen.rows[1:]] == table.texts
    assert seen.rows[1][1:6] == ["CC(=O)Oc1ccccc1C(=O)O", "mol-0", "0.550", "1.58", "-2.50"]
    assert 'data-v="0.550122"' in text
    assert seen.rows[-1][0] == seen.rows[-1][-1] == "not a SMILES: C1CC"
    assert sum(tag == "svg" for tag, _ in seen.tags) == len(HARD)
    head = [attributes for tag, attributes in seen.tags if tag == "input" and attributes.get("type") == "number"]
    assert len(head) == 2 * 5  # a lower and an upper bound for qed, sa, logp, mw and rings


def test_page_needs_no_network_and_runs_one_script_only(tmp_path: Path) -> None:
    text = write(make(HARD), tmp_path / "a.html").read_text(encoding="utf-8")
    assert "://" not in text
    for tag, attributes in Reader(text).tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert not {"src", "href", "style", "action"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    policy = next(a["content"] for tag, a in Reader(text).tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")


def test_hostile_text_is_inert_on_the_page(tmp_path: Path) -> None:
    harmless = Reader(page.page(make(["CCO"] * len(EVIL))))
    smiles = ["<script>alert(0)</script>", "CC</td><script>", *["CCO"] * (len(EVIL) - 2)]
    table = make(smiles, EVIL)
    table.columns["<script>alert(4)</script>"] = list(EVIL)
    seen = Reader(write(table, tmp_path / "a.html").read_text(encoding="utf-8"))
    assert {tag for tag, _ in seen.tags} <= {tag for tag, _ in harmless.tags} | {"span"}
    assert sum(tag == "script" for tag, _ in seen.tags) == 1
    assert not any(name.startswith("on") for _, attributes in seen.tags for name in attributes)
    assert [row[1] for row in seen.rows[1:]] == smiles
    assert [row[2] for row in seen.rows[1:]][:9] == EVIL[:9]
    assert seen.rows[0][-1] == "<script>alert(4)</script>"


def test_page_finds_the_smiles_whatever_its_column_is_called() -> None:
    for columns, head in [({"structure": ["CCO"], "qed": [1]}, ["structure", "structure", "qed"]),
                          ({"qed": [0.5]}, ["structure", "smiles", "qed"]),
                          ({"smiles": ["OCC"]}, ["structure", "structure as SMILES", "smiles"])]:
        text = page.page(Table(["CCO"], columns))  # type: ignore[arg-type]
        assert Reader(text).rows[0] == head
        assert 'data-smiles="1"' in text


def test_a_page_stays_small_and_quick(tmp_path: Path) -> None:
    start = time.process_time()
    path = write(make(wehi(500)), tmp_path / "a.html")
    seconds = time.process_time() - start
    assert path.stat().st_size < 500 * 4500  # 9 MB for 2,000
    assert seconds < 10  # usually 1.5


# -- all of them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [*sorted(export.EXPORTERS), ".sdf.gz"])
def test_the_same_table_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    once, again = (write(make(HARD), tmp_path / (name + suffix)).read_bytes() for name in ("a", "b"))
    assert once == again
    code = ("import sys; sys.path[:0] = ['tests', 'domains']; from pathlib import Path; "
            "import test_molecule_export as t; "
            f"t.write(t.make(t.HARD), Path({str(tmp_path / ('c' + suffix))!r}))")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)
    assert (tmp_path / ("c" + suffix)).read_bytes() == once


FULL = """
import resource, sys
sys.path[:0] = ["tests", "domains"]
import test_molecule_export as t
from pathlib import Path
from seqtutor.domain import SeqtutorError
table = t.make(t.HARD)
resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))
for suffix in (*t.export.EXPORTERS, ".csv", ".json", ".sdf.gz"):
    try:
        t.write(table, Path(sys.argv[1]) / ("a" + suffix))
        print("written", suffix)
    except SeqtutorError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of a file as POSIX does")
def test_no_room_for_a_file_leaves_the_old_one(tmp_path: Path) -> None:
    suffixes = [*export.EXPORTERS, ".csv", ".json", ".sdf.gz"]
    for suffix in suffixes:
        (tmp_path / ("a" + suffix)).write_text("old")
    lines = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], check=True, cwd=ROOT, capture_output=True,
                           text=True).stdout.splitlines()
    assert lines == [f"cannot write {tmp_path}/a{suffix}: File too large; free some space or choose another place"
                     for suffix in suffixes]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted("a" + suffix for suffix in suffixes)
    assert all(path.read_text() == "old" for path in tmp_path.iterdir())


def test_png_grid_is_a_png() -> None:
    data = pictures.png_grid([pictures.Entry(Chem.MolFromSmiles("CCO"), "ethanol")])
    assert Image.open(io.BytesIO(data)).format == "PNG"
