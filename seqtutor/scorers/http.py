"""A web service: POST ``{"texts": [...]}`` as JSON, answered by ``{"scores": [...]}``, a number (or null) each."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from functools import partial
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from seqtutor.domain import UsageError
from seqtutor.scorers import Limits, Score, logger


def scorer(what: str, limits: Limits) -> tuple[Score, str]:
    """Raises :class:`UsageError` for anything but a http or https address. Nothing is sent before the first score."""
    parts = urlsplit(what)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"url must be an address like http://127.0.0.1:8000/score, not {what!r}")
    return partial(_score, what, limits), what


def _score(url: str, limits: Limits, texts: Sequence[str]) -> list[float]:
    """Where the service refuses a batch its texts are tried one by one; where there is no service all are nan."""
    reason, refused = "", False
    for attempt in range(1 + limits.retries):
        if attempt:
            time.sleep(min(2.0 ** attempt / 4, limits.timeout))
        try:
            return _ask(url, limits.timeout, texts)
        except (HTTPError, ValueError) as error:
            reason, refused = f"{type(error).__name__}: {error}", True
        except (OSError, HTTPException) as error:
            reason, refused = f"{type(error).__name__}: {error}", False
    if refused and len(texts) > 1:
        return [score for text in texts for score in _score(url, limits, [text])]
    logger.warning("%s: no scores for %d texts (%s); counted as nan", url, len(texts), reason)
    return [math.nan] * len(texts)


def _ask(url: str, timeout: float, texts: Sequence[str]) -> list[float]:
    request = Request(url, json.dumps({"texts": list(texts)}).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=timeout) as response:
        answer: Any = json.loads(response.read())
    scores = answer.get("scores") if isinstance(answer, dict) else None
    if not isinstance(scores, list) or len(scores) != len(texts):
        given = f"{len(scores)} scores" if isinstance(scores, list) else "no list of scores"
        raise ValueError(f"gave {given} for {len(texts)} texts")
    return [float(score) if isinstance(score, int | float) and math.isfinite(score) else math.nan for score in scores]
