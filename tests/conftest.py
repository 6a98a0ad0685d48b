"""What several test files share: one torch thread, an own cache, a small domain and model, the CLI elsewhere."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch

from seqtutor.corpus import Prepared, prepare
from seqtutor.domain import Domain
from seqtutor.model import ModelConfig, SequenceModel
from seqtutor.plugins import load_domain
from seqtutor.vocabulary import Vocabulary

ROOT = Path(__file__).parent.parent
Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One thread, an empty cache, no models of the user's, and subprocesses that see this checkout."""
    torch.set_num_threads(1)
    patch = pytest.MonkeyPatch()
    patch.setenv("SEQTUTOR_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.delenv("SEQTUTOR_MODELS", raising=False)
    patch.setenv("OMP_NUM_THREADS", "1")
    patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "domains")]))
    yield
    patch.undo()


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """``cli("models", "--json")`` runs the command in another folder and returns what came out."""
    def run(*words: str, cwd: Path = tmp_path, timeout: float = 300,
            **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "seqtutor", *map(str, words)], cwd=cwd, timeout=timeout,
                              env=os.environ | environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return run


@pytest.fixture(scope="session")
def peptides() -> Domain:
    """The domain of examples/peptide_domain.py."""
    return load_domain(str(ROOT / "examples" / "peptide_domain.py"))


@pytest.fixture(scope="session")
def peptide_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 peptides with something to learn: every letter is followed by one of three."""
    rng = random.Random(0)
    letters = "ACDEFGHIKLMNPQRSTVWY"
    lines = []
    for _ in range(400):
        text = [rng.choice("ACD")]
        while len(text) < rng.randint(4, 24):
            text.append(letters[(letters.index(text[-1]) + rng.choice((1, 2, 5))) % 20])
        lines.append("".join(text))
    path = tmp_path_factory.mktemp("peptides") / "peptides.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def prepared(peptides: Domain, peptide_file: Path) -> Prepared:
    """``peptide_file`` made ready, a tenth held out."""
    return prepare(peptides, peptides.corpus(str(peptide_file)), heldout=0.1, use_cache=False)


@pytest.fixture
def tiny_model(peptides: Domain) -> SequenceModel:
    """Seeded, untrained, two layers of 24 units; weights large enough that the state matters."""
    torch.manual_seed(0)
    model = SequenceModel(Vocabulary(peptides.tokens), peptides.name, ModelConfig(width=24, depth=2, embedding=8),
                          {"seed": 0, "figures": {"valid": 0.5}})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model.eval()


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """``with full_disk(1000):`` no file can grow beyond 1000 bytes."""
    @contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    return limited
