"""Exactly n valid, unique texts from a model, or what there is and the reason why there are not more."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from seqtutor.domain import Domain, SeqtutorError, UsageError
from seqtutor.model import SequenceModel
from seqtutor.sampling import Sampler, SamplingConfig
from seqtutor.writing import proposed

_CHUNK = 256  # samples that are checked together


@dataclass
class Generation:
    """``texts``: canonical, in the order in which they were begun. ``counts``: what became of every sample.
    ``accepted``: different valid ones that met the options, those beyond what was asked for among them."""

    texts: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(
        ("sampled", "invalid", "repeated", "known", "refused"), 0))
    accepted: int = 0
    #: why there are fewer texts than asked for; empty if there are not
    reason: str = ""
    interrupted: bool = False

    @property
    def hit_rate(self) -> float:
        """Of the samples that repeat no earlier one, the share that is valid and meets the options, 0 to 1."""
        return self.accepted / max(1, self.accepted + self.counts["refused"] + self.counts["invalid"])


def generate(domain: Domain, model: SequenceModel, n: int, *, sampling: SamplingConfig = SamplingConfig(),
             seed: int = 0, prefix: str = "", known: Container[str] = (), options: Mapping[str, Any] | None = None,
             most: int | None = None, progress: Callable[[int, str], None] | None = None) -> Generation:
    """``n`` valid texts, each once, none of them ``known``, all of them meeting the domain's ``options``.

    Samples until there are ``n``, at most ``most`` times (10,000 + 200 for each text asked for by default); then, and
    at Ctrl-C, it returns what was found with the reason. Raises :class:`UsageError` for n < 1, a prefix outside the
    vocabulary, or options that the domain refuses.
    """
    if n < 1:
        raise UsageError(f"the number of texts must be at least 1, not {n}")
    options = dict(options or {})
    most = 10_000 + 200 * n if most is None else most
    vocabulary = model.vocabulary
    domain.accepts([], **options)  # refuses bad options before the work begins
    propose = domain.proposer(**options)
    if propose is not None and prefix:
        raise UsageError(f"what all texts begin with is said already; leave out the prefix {prefix!r}")
    sampler = Sampler(model, sampling, seed=seed, prefix=vocabulary.encode(domain.split(prefix), domain.join).tolist(),
                      grammar=domain.grammar(vocabulary.all, **options))
    result = Generation()
    seen: set[str] = set()
    try:
        written = sampler.stream() if propose is None else \
            (ids for ids, _ in proposed(domain, sampler, propose, seed))
        samples = (domain.join(vocabulary.decode(ids)) for ids in written)
        size = min(_CHUNK, sampler.config.batch)
        for start in range(0, most, size):
            chunk = list(itertools.islice(samples, min(size, most - start)))
            fresh = _judge(domain, chunk, seen, known, result.counts)
            accepted = [t for t, yes in zip(fresh, domain.accepts(fresh, **options), strict=True) if yes]
            result.counts["refused"] += len(fresh) - len(accepted)
            result.accepted += len(accepted)
            result.texts += accepted[:n - len(result.texts)]
            if progress:
                progress(len(result.texts), f"{result.counts['sampled']:,} sampled")
            if len(result.texts) == n:
                return result
        result.reason = f"the limit of {most:,} samples is reached"
    except KeyboardInterrupt:
        result.reason, result.interrupted = "interrupted", True
    except MemoryError as error:
        raise SeqtutorError("out of memory; ask for fewer texts at a time") from error
    return result


def _judge(domain: Domain, samples: list[str], seen: set[str], known: Container[str],
           counts: dict[str, int]) -> list[str]:
    """Canonical texts of ``samples`` that are valid, new to ``seen`` (which grows) and not ``known``."""
    fresh = []
    counts["sampled"] += len(samples)
    for text in map(domain.canonical, samples):
        if text is None:
            counts["invalid"] += 1
        elif text in seen:
            counts["repeated"] += 1
        elif text in known:
            counts["known"] += 1
        else:
            seen.add(text)
            fresh.append(text)
    return fresh
