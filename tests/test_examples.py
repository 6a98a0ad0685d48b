"""Every command in the docstring of an example runs as it is written."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from rdkit import Chem
from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def commands(example: Path) -> list[str]:
    """The indented lines of the docstring; a backslash joins a line with the next."""
    text = ast.get_docstring(ast.parse(example.read_text())) or ""
    indented = "\n".join(line.strip() for line in text.splitlines() if line.startswith("    "))
    return re.sub(r"\\\n", "", indented).splitlines()


def test_there_is_an_example() -> None:
    assert EXAMPLES
    assert len(commands(ROOT / "examples" / "peptide_domain.py")) == 4


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_its_commands_run_elsewhere(example: Path, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "bin").mkdir()
    for name, arguments in (("seqtutor", " -m seqtutor"), ("python", "")):  # those under test, whatever else there is
        script = tmp_path / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}"{arguments} "$@"\n')
        script.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    for line in commands(example):
        done = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True,
                              check=False, timeout=300)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
    if example.stem == "nav17":
        check_hits(tmp_path)
    if example.stem == "peptide_domain":
        peptides = done.stdout.split()[1:]  # a header, then exactly five
        assert len(peptides) == 5
        assert (tmp_path / "peptide.safetensors").stat().st_size > 10_000


def check_hits(folder: Path) -> None:
    """Fifty or more, each the scaffold grown at its two points, of many kinds, none of them known."""
    core = Chem.AdjustQueryProperties(Chem.MolFromSmiles("O=S(=O)(N*)c1ccc(O*)c(C#N)c1"))  # rings and degrees as drawn
    hits = [mol for mol in Chem.SDMolSupplier(str(folder / "hits.sdf")) if mol is not None]
    assert 50 <= len(hits) <= 120
    scaffolds = Counter(MurckoScaffoldSmiles(mol=mol) for mol in hits)
    assert len(scaffolds) >= 5
    assert max(scaffolds.values()) <= 10
    known = {Chem.CanonSmiles(line.split()[0]) for line in (folder / "nav17.smi").read_text().splitlines()}
    for mol in hits:
        assert mol.HasSubstructMatch(core)
        assert mol.GetNumConformers() == 1
        assert float(mol.GetProp("reward")) > 0.75
        assert float(mol.GetProp("model(nav17.skops)")) > 6
        assert float(mol.GetProp("mw")) <= 550
        assert Chem.MolToSmiles(mol) not in known
    assert "nearest" in (folder / "hits.html").read_text(encoding="utf-8").lower()


def test_the_peptide_domain_is_small() -> None:
    code = (ROOT / "examples" / "peptide_domain.py").read_text().split('"""', 2)[2]
    assert len([line for line in code.splitlines() if line]) <= 35
