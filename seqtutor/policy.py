"""What a network says of whole sequences, over the tokens that may follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqtutor.domain import Grammar
from seqtutor.model import SequenceModel
from seqtutor.vocabulary import BOS, PAD


def masked_log_softmax(logits: Tensor, allowed: Tensor) -> Tensor:
    """Log-probabilities over the permitted tokens, −inf at the others; [..., V]. Where nothing is permitted (behind the
    end) everything is, so that no row is empty."""
    allowed = allowed | ~allowed.any(-1, keepdim=True)
    return logits.float().masked_fill(~allowed, float("-inf")).log_softmax(-1)


class Permitted:
    """Which tokens may follow: all but padding and bos, and only what the grammar allows if there is one."""

    def __init__(self, vocabulary_size: int, grammar: Grammar | None = None):
        self.grammar = grammar
        self._any = torch.ones(vocabulary_size, dtype=torch.bool)
        self._any[[PAD, BOS]] = False
        if grammar is not None:
            self._next = torch.from_numpy(grammar.next_state.astype(np.int64))
            self._may = (self._next >= 0) & self._any

    def along(self, ids: Tensor) -> Tensor:
        """What may follow after each of ``ids``, int64 [batch, T] with bos first. Returns bool [batch, T, V]."""
        if self.grammar is None:
            return self._any.expand(*ids.shape, -1)
        states = torch.empty_like(ids)
        state = torch.full(ids.shape[:1], self.grammar.start)
        states[:, 0] = state
        for t in range(1, ids.shape[1]):
            state = self._next[state, ids[:, t]].clamp_min(0)  # padding leads nowhere and is masked by its caller
            states[:, t] = state
        return self._may[states]

    def accepts(self, ids: Sequence[int]) -> bool:
        """Whether the grammar lets ``ids`` (without bos, with eos) be written."""
        if self.grammar is None:
            return True
        state, table = self.grammar.start, self.grammar.next_state
        for token in ids:
            state = int(table[state, token])
            if state < 0:
                return False
        return True


@dataclass
class Sequences:
    """Whole sequences as tensors. ``ids``: int64 [batch, T + 1], bos first, padded with 0; ``mask``: bool [batch, T],
    the actions that are chosen (not given, not padding)."""

    ids: Tensor
    mask: Tensor

    @property
    def actions(self) -> Tensor:
        return self.ids[:, 1:]


def padded(rows: Sequence[NDArray[np.integer]], given: Sequence[int]) -> Sequences:
    """``rows``: ids without bos, with eos unless cut off; ``given``: how many first tokens were not chosen."""
    longest = max(map(len, rows))
    ids = np.full((len(rows), longest + 1), PAD, np.int64)
    mask = np.zeros((len(rows), longest), bool)
    ids[:, 0] = BOS
    for i, row in enumerate(rows):
        ids[i, 1:1 + len(row)] = row
        mask[i, given[i]:len(row)] = True
    return Sequences(torch.from_numpy(ids), torch.from_numpy(mask))


def chosen(log_probs: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
    """Of log-probabilities [batch, T, V] those of the ``actions`` [batch, T]; 0 where masked."""
    return log_probs.gather(-1, actions[..., None])[..., 0].masked_fill(~mask, 0.0)


def log_probs(network: SequenceModel, ids: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """log π(·|s_t) over what is permitted, and the states h_t that it comes from; dropout stays off.

    ids: int64 [batch, T], bos first; allowed: bool [batch, T, V]. Returns float [batch, T, V] and [batch, T, width].
    """
    logits, hidden, _ = network.read(ids)
    return masked_log_softmax(logits, allowed), hidden
