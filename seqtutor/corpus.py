"""A corpus made ready: standardised, deduplicated, split by hash, with a manifest that says where it came from."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import platform
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import seqtutor
from seqtutor.domain import Corpus, Domain, SeqtutorError, UsageError
from seqtutor.files import atomic, check_readable


@dataclass(frozen=True)
class Prepared:
    """``train`` and ``heldout`` texts (standard form, sorted, no text in both) and the manifest of the corpus, in which
    ``foreign`` counts the texts that were left out for a token, by token."""

    train: list[str]
    heldout: list[str]
    manifest: dict[str, Any]


def cache_folder() -> Path:
    """Where prepared corpora and downloaded wheels are kept: ``$SEQTUTOR_CACHE``, else the user's cache folder."""
    if chosen := os.environ.get("SEQTUTOR_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seqtutor"


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_fraction(text: str) -> float:
    """A number in [0, 1) that depends on ``text`` alone, the same on every machine; the split is by this."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def prepare(domain: Domain, corpus: Corpus, *, heldout: float = 0.05, use_cache: bool = True,
            progress: Callable[[int], None] | None = None) -> Prepared:
    """Reads, standardises and splits ``corpus``; families whose hash falls below ``heldout`` (0 to 1) are held out.

    The standardised texts are cached by the file's sha256 and the domain's versions. ``progress`` is told the number of
    rows read. Raises :class:`UsageError` for an unreadable or empty file.
    """
    if not 0 <= heldout < 1:
        raise UsageError(f"the held-out share must be at least 0 and below 1, not {heldout}")
    path = check_readable(corpus.path())
    sha256 = file_sha256(path)
    versions = domain.versions()
    identity = json.dumps([domain.name, corpus.name, sha256, versions, list(domain.tokens)])
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    cached = cache_folder() / "corpora" / f"{domain.name}-{key}.json.gz"
    content = _recall(cached) if use_cache else None
    if content is None:
        content = _standardise(domain, corpus, path, progress)
        if use_cache:
            _store(cached, content)
    texts = content["texts"]
    if not texts:
        raise UsageError(f"{path} holds nothing that can be learnt from ({content['rows']} rows read)")
    held = [hash_fraction(key) < heldout for key in domain.split_keys(texts)]
    train = [text for text, out in zip(texts, held, strict=True) if not out]
    kept = [text for text, out in zip(texts, held, strict=True) if out]
    if not train:
        raise UsageError(f"{path} leaves no training text beside the held-out share of {heldout}")
    manifest = {
        "corpus": corpus.name, "about": corpus.about, "licence": corpus.licence, "file": path.name, "sha256": sha256,
        "rows": content["rows"], "left_out": content["left_out"], "repeated": content["repeated"],
        "foreign": content["foreign"],
        "unique": len(texts), "train": len(train), "heldout": len(kept), "heldout_share": heldout,
        "versions": {"seqtutor": seqtutor.__version__, "python": platform.python_version(), **versions},
    }
    return Prepared(train, kept, manifest)


def _standardise(domain: Domain, corpus: Corpus, path: Path, progress: Callable[[int], None] | None) -> dict[str, Any]:
    texts: set[str] = set()
    known, foreign = set(domain.tokens), Counter[str]()
    rows = left_out = 0
    try:
        for raw in corpus.read(path):
            rows += 1
            text = domain.standardise(raw)
            strange = domain.foreign(raw) if text is None else set(domain.split(text)) - known
            foreign.update(strange)
            if text is None or strange:
                left_out += 1
            else:
                texts.add(text)
            if progress and rows % 1000 == 0:
                progress(rows)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text in UTF-8 (byte {error.object[error.start]:#04x} after row {rows:,}); "
                         "expected one text a line, or a format that the domain reads") from error
    return {"texts": sorted(texts), "rows": rows, "left_out": left_out, "repeated": rows - left_out - len(texts),
            "foreign": dict(foreign.most_common())}


def _recall(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
        return content if content.keys() >= {"texts", "rows", "left_out", "repeated", "foreign"} else None
    except (OSError, EOFError, zlib.error, ValueError, AttributeError):
        return None  # absent, or damaged: it is made again


def _store(path: Path, content: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            temporary.write_bytes(gzip.compress(json.dumps(content).encode(), compresslevel=3, mtime=0))
    except (OSError, SeqtutorError):
        pass  # a cache that cannot be written costs time, nothing else


@dataclass(frozen=True)
class Encoded:
    """Token ids of many texts in one flat array. ``ids``: uint16 [sum of lengths]; ``offsets``: int64 [texts + 1]."""

    ids: NDArray[np.uint16]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> NDArray[np.uint16]:
        return self.ids[self.offsets[i]:self.offsets[i + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens a text, int64 [texts]."""
        return np.diff(self.offsets)
