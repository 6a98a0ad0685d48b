"""Domains small enough to walk through, and what their optimum is by dynamic programming over the tree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from seqtutor.domain import Domain, Grammar, Rule
from seqtutor.model import ModelConfig, SequenceModel
from seqtutor.objective import Objective
from seqtutor.policy import Permitted, masked_log_softmax
from seqtutor.rewards import Rewarder
from seqtutor.vocabulary import BOS, EOS, Vocabulary

Ids = tuple[int, ...]
A, B, C = 3, 4, 5  # ids of the three tokens
OBJECTIVE = "bees,cab:0.8,step"


def end_reward(text: str) -> float:
    return 0.5 * text.count("b") + 0.8 * (text == "cab")


def step_reward(tokens: Sequence[str]) -> list[float]:
    return [0.3 if token == "a" and i > 0 else -0.4 if token == "c" else 0.0 for i, token in enumerate(tokens)]


class Letters(Domain):
    """One to four of a, b and c; nothing follows itself and c does not follow a: 29 texts from 30 states."""

    name = "letters"
    tokens = ("a", "b", "c")
    rules = (
        Rule("bees", "half the number of b", lambda texts: [0.5 * t.count("b") for t in texts], low=0, high=2),
        Rule("cab", "whether it is cab", lambda texts: [float(t == "cab") for t in texts], low=0, high=1),
        Rule("step", "a is good later on, c is bad", lambda batch: [step_reward(t) for t in batch], when="step"),
        Rule("long", "whether it has four letters", lambda texts: [float(len(t) == 4) for t in texts], low=0, high=1),
        Rule("first b", "whether it begins with b", lambda texts: [float(t[0] == "b") for t in texts], low=0, high=1),
        Rule("rare", "never", lambda texts: [0.0 for _ in texts], low=0, high=1),
    )

    def split(self, text: str) -> list[str]:
        return list(text)

    def canonical(self, text: str) -> str | None:
        return text or None

    def grammar(self, vocabulary: Sequence[str], **options: Any) -> Grammar:
        follows = {"": (A, B, C), "a": (B,), "b": (A, C), "c": (A, B)}
        lasts = list(follows)
        table = np.full((5 * 4 + 1, len(vocabulary)), -1, np.int32)
        for length in range(5):
            for i, last in enumerate(lasts):
                if length:
                    table[4 * length + i, EOS] = 20
                if length < 4:
                    for token in follows[last]:
                        table[4 * length + i, token] = 4 * (length + 1) + lasts.index("abc"[token - A])
        return Grammar(table)


def make_prior(width: int = 64) -> SequenceModel:
    """Far from uniform, and wide enough that V may be any function of the state (width ≥ the number of states)."""
    torch.manual_seed(0)
    model = SequenceModel(Vocabulary(Letters.tokens), "letters", ModelConfig(width=width, embedding=8)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def rewarder(objective: str = OBJECTIVE) -> Rewarder:
    domain = Letters()
    terms = [term for term in objective.split(",") if term]
    return Rewarder(domain, Objective.from_dict({"terms": terms, "aggregate": "sum"}, domain))


class Tree:
    """Every text that ``prior`` can write under ``grammar`` and ``max_length``, with its reward. In nats where β is
    given; a state is the ids so far."""

    def __init__(self, prior: SequenceModel, max_length: int, grammar: Grammar | None = None):
        self.prior, self.max_length = prior, max_length
        self.permitted = Permitted(len(prior.vocabulary), grammar)
        self.log_p = self.log_policy(prior)
        self.leaves: list[Ids] = []
        self._walk(())

    def _walk(self, state: Ids) -> None:
        for token in self.log_p[state]:
            after = (*state, token)
            if after in self.log_p:
                self._walk(after)
            else:
                self.leaves.append(after)

    @torch.no_grad()
    def log_policy(self, model: SequenceModel) -> dict[Ids, dict[int, float]]:
        """State → permitted token → its log-probability, walking with nn.LSTM from one length to the next."""
        found: dict[Ids, dict[int, float]] = {}
        states: list[Ids] = [()]
        while states:
            ids = torch.tensor([[BOS, *state] for state in states])
            allowed = self.permitted.along(ids)[:, -1]
            logits = masked_log_softmax(model(ids)[0][:, -1].double(), allowed).double()
            after = []
            for state, row, may in zip(states, logits.tolist(), allowed.tolist(), strict=True):
                found[state] = {token: row[token] for token in range(len(row)) if may[token]}
                after += [(*state, token) for token in found[state]
                          if token != EOS and len(state) + 1 < self.max_length]
            states = after
        return found

    def text(self, ids: Ids) -> str:
        return "".join(self.prior.vocabulary.decode(ids))

    def reward(self, state: Ids, token: int) -> float:
        """Credited to ``token`` in ``state``."""
        after = (*state, token)
        earned = 0.0 if token == EOS else step_reward(self.text(after))[-1]
        if after not in self.log_p and self.text(after):
            earned += end_reward(self.text(after))
        return earned

    def solve(self, beta: float, gamma: float = 1.0, hard: bool = False) -> dict[Ids, dict[int, float]]:
        """State → token → Ψ*, or Q* where ``hard``: log p + r/β + γ·logsumexp (or max) of the next state's."""
        psi: dict[Ids, dict[int, float]] = {}
        for state in sorted(self.log_p, key=len, reverse=True):
            psi[state] = {}
            for token, log_p in self.log_p[state].items():
                following = psi.get((*state, token))
                value = 0.0 if following is None else max(following.values()) if hard else logsumexp(following.values())
                psi[state][token] = log_p + self.reward(state, token) / beta + gamma * value
        return psi

    def probabilities(self, scores: dict[Ids, dict[int, float]]) -> np.ndarray:
        """Of all leaves under the softmax of each state's scores; they sum to 1."""
        found = []
        for leaf in self.leaves:
            found.append(math.exp(sum(scores[leaf[:t]][leaf[t]] - logsumexp(scores[leaf[:t]].values())
                                      for t in range(len(leaf)))))
        return np.array(found)

    def totals(self) -> np.ndarray:
        """The reward of every leaf."""
        return np.array([sum(self.reward(leaf[:t], leaf[t]) for t in range(len(leaf))) for leaf in self.leaves])


def logsumexp(values: Any) -> float:
    values = list(values)
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))


def distance(p: np.ndarray, q: np.ndarray) -> float:
    """Total variation."""
    return 0.5 * float(np.abs(p - q).sum())
