"""How good samples are: validity, uniqueness, novelty, and how far the model that wrote them is from another."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqtutor.domain import Domain, Grammar, UsageError
from seqtutor.model import SequenceModel
from seqtutor.vocabulary import BOS, EOS, PAD


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
    found = np.zeros((3, len(samples)))
    order = sorted(range(len(samples)), key=lambda i: len(samples[i]))
    for start in range(0, len(order), batch):
        chosen = order[start:start + batch]
        ids = _padded([samples[i] for i in chosen])
        possible = _possible(ids, len(model.vocabulary), grammar)
        target = ids[:, 1:]
        counts = target != PAD
        if given is not None:
            counts &= torch.arange(target.shape[1]) >= torch.tensor([given[i] for i in chosen])[:, None]
        log_pi, log_p = (_log_probs(network, ids, possible) for network in (model, reference))
        gap = (log_pi - log_p).masked_fill(~possible, 0.0)
        kl = (log_pi.exp() * gap).sum(-1)
        ratio, likelihood = (x.gather(-1, target[..., None])[..., 0] for x in (gap, log_p))
        for row, values in zip(found, (kl, ratio, likelihood), strict=True):
            row[chosen] = values.where(counts, 0.0).double().sum(-1).numpy()
    return Divergence(*found)


def _padded(samples: Sequence[Sequence[int]]) -> Tensor:
    """int64 [batch, longest + 1]: bos, the ids, padding."""
    ids = torch.full((len(samples), 1 + max(map(len, samples))), PAD)
    ids[:, 0] = BOS
    for row, sample in zip(ids, samples, strict=True):
        row[1:1 + len(sample)] = torch.tensor(sample)
    return ids


def _possible(ids: Tensor, size: int, grammar: Grammar | None) -> Tensor:
    """Which tokens may follow each of ``ids`` but the last, bool [batch, time, size]: never padding and bos."""
    possible = torch.ones(*ids[:, 1:].shape, size, dtype=torch.bool)
    if grammar is not None:
        table = torch.from_numpy(grammar.next_state.astype("int64"))
        state = torch.full((len(ids),), grammar.start)
        for t in range(possible.shape[1]):
            follows = table[state]
            possible[:, t] = follows >= 0
            state = follows.gather(1, ids[:, t + 1, None])[:, 0].clamp(min=0)  # what follows eos counts for nothing
    possible[..., :EOS] = False
    return possible


def _log_probs(model: SequenceModel, ids: Tensor, possible: Tensor) -> Tensor:
    """log-probabilities of what is ``possible`` after each of ``ids`` but the last, float [batch, time, V]."""
    device = model.head.weight.device
    logits: Tensor = model(ids[:, :-1].to(device))[0].float().cpu()
    return logits.masked_fill(~possible, -torch.inf).log_softmax(-1)
