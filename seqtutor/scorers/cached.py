"""Scores kept on disk between runs and shared by them: one SQLite file in ``$SEQTUTOR_CACHE``."""

from __future__ import annotations

import math
import os
import sqlite3
import threading
from collections.abc import Sequence
from hashlib import blake2b
from numbers import Real
from typing import Any

from seqtutor.corpus import cache_folder
from seqtutor.scorers import Score, logger


class Cached:
    """``score`` behind the cache. ``identity`` says which scorer it is: whatever changes its scores is part of it.

    Only finite scores are kept; what failed is tried again. Where the file cannot be used the scores are computed.
    """

    def __init__(self, score: Score, identity: str):
        self._score = score
        self._identity = identity.encode("utf-8", "surrogatepass")
        self._path = cache_folder() / "scores.sqlite"
        self._connections = threading.local()
        self._broken = False

    def __call__(self, texts: Sequence[str]) -> list[float]:
        keys = [blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16,
                        key=blake2b(self._identity, digest_size=32).digest()).digest() for text in texts]
        known = self._read(keys)
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if new:
            found = list(self._score(list(new.values())))
            if len(found) != len(new):
                raise ValueError(f"gave {len(found)} values for {len(new)} texts")
            fresh = dict(zip(new, found, strict=True))
            self._write({key: value for key, value in fresh.items() if _finite(value)})
            known |= fresh
        return [known[key] for key in keys]

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, float]:
        found: dict[bytes, float] = {}
        try:
            for i in range(0, len(keys), 500):  # SQLite takes so many at once
                part = keys[i:i + 500]
                found |= dict(self._open().execute(
                    f"SELECT key, score FROM scores WHERE key IN ({','.join('?' * len(part))})", part))
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)
        return found

    def _write(self, scores: dict[bytes, float]) -> None:
        if self._broken:
            return
        try:
            with self._open() as connection:
                connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?)",
                                       [(key, float(value)) for key, value in scores.items()])
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def _open(self) -> sqlite3.Connection:
        """This thread's connection in this process."""
        mine = getattr(self._connections, "mine", None)
        if mine is None or mine[0] != os.getpid():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=30)
            connection.execute("CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, score REAL) WITHOUT ROWID")
            mine = self._connections.mine = (os.getpid(), connection)
        return mine[1]

    def _give_up(self, error: Exception) -> None:
        if not self._broken:
            self._broken = True
            logger.warning("scores are not kept: %s cannot be used (%s)", self._path, error)

    def close(self) -> None:
        """Closes this thread's connection."""
        mine = getattr(self._connections, "mine", None)
        if mine is not None:
            mine[1].close()
            del self._connections.mine

    __del__ = close


def _finite(value: Any) -> bool:
    """Whether it is a finite number, one of NumPy's or another; a user's function may give anything."""
    return isinstance(value, Real) and math.isfinite(value)
