"""How good samples are: validity, uniqueness, novelty, and how far the model that wrote them is from another."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from seqtutor.domain import Domain, Grammar, UsageError
from seqtutor.losses import kl_by_token
from seqtutor.model import SequenceModel
from seqtutor.policy import Permitted, chosen, log_probs, padded


def sample_quality(domain: Domain, samples: Sequence[str], known: Container[str] = ()) -> dict[str, float]:
    """Shares from 0 to 1 (Polykovskiy et al. 2020, MOSES): ``valid`` of all samples, ``unique`` of the valid ones,
    ``novel`` of the unique ones (canonical form not in ``known``)."""
    canonical = [c for c in map(domain.canonical, samples) if c is not None]
    unique = set(canonical)
    novel = sum(c not in known for c in unique)
    return {
        "valid": len(canonical) / max(1, len(samples)),
        "unique": len(unique) / max(1, len(canonical)),
        "novel": novel / max(1, len(unique)),
    }


@dataclass(frozen=True)
class Divergence:
    """What samples x of a model π tell of its distance to a reference p; each float64 [samples], in nats a sequence.

    The mean of ``kl``, Σ_t Σ_a π(a|s_t)·log(π(a|s_t)/p(a|s_t)) along each sample, estimates KL(π‖p): exact over the
    vocabulary, so only the states are left to chance. The mean of ``log_ratio``, log π(x) − log p(x), estimates the
    same with more noise. ``log_p``: log-likelihood of the samples under p.
    """

    kl: NDArray[np.float64]
    log_ratio: NDArray[np.float64]
    log_p: NDArray[np.float64]


@torch.no_grad()
def divergence(model: SequenceModel, reference: SequenceModel, samples: Sequence[Sequence[int]], *,
               grammar: Grammar | None = None, given: Sequence[int] | None = None, batch: int = 64) -> Divergence:
    """How far ``model``, which drew the ``samples``, is from ``reference``, both inside ``grammar`` if there is one.

    ``samples``: ids as :meth:`seqtutor.sampling.Sampler.sample_ids` returns them, without bos, with eos unless cut
    off, all of them allowed by the grammar. ``given``: leading tokens of each that do not count (see
    :meth:`seqtutor.domain.Domain.given`). Raises :class:`UsageError` for models of two vocabularies.
    """
    if model.vocabulary != reference.vocabulary:
        raise UsageError("the two models have different vocabularies, so their probabilities cannot be compared")
    permitted = Permitted(len(model.vocabulary), grammar)
    rows = [np.asarray(sample) for sample in samples]
    found = np.zeros((3, len(rows)))
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(order), batch):
        places = order[start:start + batch]
        x = padded([rows[i] for i in places], [given[i] if given is not None else 0 for i in places])
        allowed = permitted.along(x.ids[:, :-1])
        log_pi, log_p = (log_probs(network, x.ids[:, :-1], allowed)[0] for network in (model, reference))
        pi, p = (chosen(everything, x.actions, x.mask) for everything in (log_pi, log_p))
        for row, values in zip(found, (kl_by_token(log_pi, log_p, x.mask), pi - p, p), strict=True):
            row[places] = values.double().sum(-1).numpy()
    return Divergence(*found)
