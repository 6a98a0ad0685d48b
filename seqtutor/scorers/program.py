"""A program that runs on: a JSON line ``{"id": 1, "text": "CCO"}`` in for each text, ``{"id": 1, "score": 0.5}`` out.

Answers may come in any order. What else it prints on stdout is passed over, so that lines too many shift nothing. A
program that dies, or is silent for ``timeout`` seconds, is started again, and what it had left is tried one by one.
"""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

from seqtutor.executors import kill_group
from seqtutor.scorers import Limits, Score, logger


def identity(words: Sequence[str]) -> str:
    """The command line and the contents of the files it names: another script is another scorer."""
    digest = hashlib.sha256(json.dumps(list(words)).encode())
    for word in words:
        try:
            if (path := Path(word)).is_file() and path.stat().st_size < 50_000_000:
                digest.update(path.read_bytes())
        except (OSError, ValueError):
            pass
    return digest.hexdigest()


def scorer(what: list[str], limits: Limits) -> tuple[Score, str]:
    """Raises :class:`UsageError` where there is no such program."""
    from seqtutor.scorers.command import check_command

    check_command(what[0])
    return Program(what, limits.timeout, limits.retries), identity(what)


class Program:
    """The running program; started when first asked, ended by :meth:`close`. Used by one thread at a time."""

    def __init__(self, words: Sequence[str], timeout: float, retries: int):
        self.words, self.timeout, self.retries = list(words), timeout, retries
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: Queue[bytes | None] = Queue(10_000)
        self._lock = threading.Lock()
        self._rubbish = False
        self._asked = 0  # ids are never used twice, so that no late answer is taken for another's

    def __call__(self, texts: Sequence[str]) -> list[float]:
        with self._lock:
            scores = self._ask(list(texts))
            # After a batch that broke off the others are innocent, and have a try of their own in any case.
            tries = self.retries if len(texts) == 1 else max(1, self.retries)
            for i, text in enumerate(texts):
                for _ in range(tries):
                    if scores[i] is None:
                        scores[i] = self._ask([text])[0]
                if scores[i] is None:
                    logger.warning("%s: no score for %r; counted as nan", self.words[0], text)
            return [math.nan if score is None else score for score in scores]

    def _ask(self, texts: list[str]) -> list[float | None]:
        """A score each, None where none came before the program died or fell silent."""
        ids = {self._asked + i: i for i in range(len(texts))}
        self._asked += len(texts)
        scores: list[float | None] = [None] * len(texts)
        process = self._process or self._start()
        if process is None:
            return scores
        lines = "".join(json.dumps({"id": key, "text": texts[i]}) + "\n" for key, i in ids.items())
        threading.Thread(target=_write, args=(process, lines.encode()), daemon=True).start()  # both pipes may be full
        last = time.monotonic()  # of an answer
        while ids:
            try:
                left = last + self.timeout - time.monotonic()
                line = self._lines.get(timeout=max(left, 1e-3))
                if left <= 0:  # it talks on, but does not answer
                    raise Empty
            except Empty:
                logger.warning("%s: no answer for %g s; started again", self.words[0], self.timeout)
                self.close()
                return scores
            if line is None:
                logger.warning("%s: ended; started again", self.words[0])
                self.close()
                return scores
            key, score = _answer(line)
            if key in ids:
                scores[ids.pop(key)] = score
                last = time.monotonic()
            elif not self._rubbish:
                self._rubbish = True
                logger.warning("%s: passed over %r, which is no answer (this is said once)", self.words[0], line[:60])
        return scores

    def _start(self) -> subprocess.Popen[bytes] | None:
        try:
            self._process = subprocess.Popen(self.words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                             start_new_session=True)
        except OSError as error:
            logger.warning("%s: cannot be run (%s)", self.words[0], error)
            return None
        self._lines = Queue(10_000)
        threading.Thread(target=_read, args=(self._process, self._lines), daemon=True).start()
        return self._process

    def close(self) -> None:
        """Ends the program and its children."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            kill_group(process)
            process.wait()
            with suppress(OSError):
                process.stdin.close()

    __del__ = close


def _write(process: subprocess.Popen[bytes], lines: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(lines)
        process.stdin.flush()
    except (OSError, ValueError):
        pass  # it has ended, which the reader sees


def _read(process: subprocess.Popen[bytes], lines: Queue[bytes | None]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in chain(process.stdout, [None]):
            while True:
                try:
                    lines.put(line, timeout=1)
                    break
                except Full:
                    if process.poll() is not None:  # nobody listens any more
                        return


def _answer(line: bytes) -> tuple[Any, float]:
    """(id, score) of a line, (None, nan) of one that is no answer; a score that is no finite number is nan."""
    try:
        data = json.loads(line)
        key, score = data["id"], data["score"]
    except (ValueError, TypeError, KeyError):
        return None, math.nan
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        return key if isinstance(key, int) else None, math.nan
    return key if isinstance(key, int) else None, float(score)
