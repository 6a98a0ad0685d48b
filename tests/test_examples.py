"""Every command in the docstring of an example runs as it is written."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
    script = tmp_path / "bin" / "seqtutor"  # the one under test, whatever else is installed
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m seqtutor "$@"\n')
    script.chmod(0o755)
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    for line in commands(example):
        done = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True,
                              check=False, timeout=300)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
    if example.stem == "peptide_domain":
        peptides = done.stdout.split()[1:]  # a header, then exactly five
        assert len(peptides) == 5
        assert (tmp_path / "peptide.safetensors").stat().st_size > 10_000


def test_the_peptide_domain_is_small() -> None:
    code = (ROOT / "examples" / "peptide_domain.py").read_text().split('"""', 2)[2]
    assert len([line for line in code.splitlines() if line]) <= 35
