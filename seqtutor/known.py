"""Which texts a model has seen: a sorted array of 64-bit hashes beside the model, 8 bytes a text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor.domain import UsageError
from seqtutor.files import atomic
from seqtutor.models import find_model


class KnownTexts:
    """A set that answers ``text in known``; of a million texts one in 10¹³ is taken for known by mistake."""

    def __init__(self, hashes: NDArray[np.uint64]):
        self._hashes = hashes

    def __len__(self) -> int:
        return len(self._hashes)

    def __contains__(self, text: object) -> bool:
        wanted = _hash(str(text))
        at = int(np.searchsorted(self._hashes, wanted))
        return at < len(self._hashes) and bool(self._hashes[at] == wanted)

    def __or__(self, other: KnownTexts) -> KnownTexts:
        return KnownTexts(np.union1d(self._hashes, other._hashes))

    @staticmethod
    def path(model: Path) -> Path:
        """Where the known texts of ``model`` (a .safetensors file) are kept."""
        return model.with_suffix(".known.npy")

    @classmethod
    def of(cls, texts: Iterable[str]) -> KnownTexts:
        """The set of ``texts``, in canonical form."""
        return cls(np.unique(np.array([_hash(text) for text in texts], dtype=np.uint64)))

    def save(self, model: Path) -> None:
        """Writes the set beside ``model``."""
        with atomic(self.path(model)) as temporary, open(temporary, "wb") as file:
            np.save(file, self._hashes, allow_pickle=False)

    @classmethod
    def load(cls, model: Path) -> KnownTexts:
        """The set beside ``model``; raises :class:`UsageError` when there is none or it is damaged."""
        path = cls.path(model)
        if not path.exists():
            raise UsageError(f"{model} has no list of what it was trained on ({path.name}), so --novel cannot be "
                             "kept; `seqtutor pretrain` writes one")
        try:
            with open(path, "rb") as file:
                hashes = np.lib.format.read_array(file, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise UsageError(f"{path} is damaged: {error}; `seqtutor pretrain` writes it anew") from error
        if hashes.dtype != np.uint64 or hashes.ndim != 1 or not (hashes[:-1] < hashes[1:]).all():
            raise UsageError(f"{path} is not a list of known texts; `seqtutor pretrain` writes one")
        return cls(hashes)

    @classmethod
    def find(cls, model: Path, provenance: Mapping[str, Any]) -> KnownTexts:
        """The set beside ``model``; for a tuned one that has none, its prior's, by the name in its ``provenance``."""
        prior = provenance.get("prior")
        if prior and not cls.path(model).exists():
            return cls.load(find_model(str(prior)))
        return cls.load(model)


def _hash(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))
