"""The built wheel, installed into an empty environment, works from a folder that knows nothing of the checkout."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=1200, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.slow
def test_wheel_generates_from_the_root_folder(tmp_path):
    # an sdist, and the wheel from that sdist: what is missing in the one is missing in the other
    run(sys.executable, "-m", "build", "--outdir", tmp_path / "dist", ROOT)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in ("seqtutor/pretrained/molecules.safetensors", "seqtutor/pretrained/index.json",
                   "seqtutor_molecules/__init__.py"):
        assert wanted in names
    assert not [n for n in names if n.startswith(("tests/", "domains/", "benchmarks/"))]

    venv.create(tmp_path / "venv", with_pip=True)
    scripts = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    run(scripts / "python", "-m", "pip", "install", "--quiet", wheel)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "SEQTUTOR", "VIRTUAL_ENV"))}
    done = run(scripts / "seqtutor", "generate", "molecules", "-n", "5", "--seed", "1", cwd="/", env=clean)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len({row["smiles"] for row in rows}) == 5
    assert all(0 < float(row["qed"]) < 1 for row in rows)
    assert "molecules" in run(scripts / "seqtutor", "models", cwd="/", env=clean).stdout
