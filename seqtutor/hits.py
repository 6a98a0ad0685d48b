"""What a run has found so far: hits above a threshold, and the Pareto front of several aims."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor.domain import Domain, UsageError
from seqtutor.objective import Objective
from seqtutor.rewards import Rewards
from seqtutor.transforms import Floats


@dataclass
class Hits:
    """Different sequences whose reward was ``above`` a threshold when they were found, and when there are enough.

        hits = Hits.parse("200 hits above 0.8")
    """

    enough: int
    above: float
    found: dict[str, tuple[float, int]] = field(default_factory=dict)  # canonical → reward, step

    @classmethod
    def parse(cls, text: str) -> Hits:
        """Raises :class:`UsageError` for anything else than ``N hits above X``."""
        said = re.fullmatch(r"\s*(\d+)\s+hits?\s+above\s+(-?\d*\.?\d+(?:e-?\d+)?)\s*", text)
        if not said or int(said[1]) < 1:
            raise UsageError(f"{text!r} is no condition to stop at; write one like '200 hits above 0.8'")
        return cls(int(said[1]), float(said[2]))

    @property
    def reached(self) -> bool:
        """Whether there are enough."""
        return len(self.found) >= self.enough

    def observe(self, scores: Rewards, step: int) -> None:
        """Takes in what ``step`` scored."""
        for text, total in zip(scores.canonical, scores.total.tolist(), strict=True):
            if text is not None and total > self.above and text not in self.found:
                self.found[text] = total, step


class Pareto:
    """The sequences than which none is better in one term without being worse in another: scores of the objective's
    terms after their transforms, all to be raised. ``texts`` and ``scores`` [n, terms], in the order of finding."""

    def __init__(self, terms: Sequence[str]):
        self.terms = list(terms)
        self.texts: list[str] = []
        self.scores: Floats = np.empty((0, len(self.terms)))

    @classmethod
    def of(cls, objective: Objective, domain: Domain) -> Pareto:
        """Of the end terms of ``objective`` (of its first stage), if there are two at least; otherwise of none."""
        objective = objective.stages[0].objective if objective.stages else objective
        names = [term.rule for term in objective.terms
                 if term.target is None and domain.rule(term.rule).when == "end"]
        return cls(names if len(set(names)) > 1 else [])

    def observe(self, scores: Rewards, objective: Objective) -> None:
        """Takes in what was scored; what breaks a constraint or could not be scored has no place."""
        if not self.terms:
            return
        allowed = objective.meets(scores.values)
        values = np.stack([row for term, row in objective.scores(scores.values) if term.rule in self.terms], 1)
        known = set(self.texts)
        for i, text in enumerate(scores.canonical):
            if text is not None and text not in known and allowed[i] and not np.isnan(values[i]).any() \
                    and not dominated(values[i], self.scores):
                stays = ~_beaten(self.scores, values[i])
                self.texts = [*(t for t, yes in zip(self.texts, stays, strict=True) if yes), text]
                self.scores = np.concatenate([self.scores[stays], values[i:i + 1]])
                known.add(text)

    def columns(self) -> dict[str, list[float]]:
        """The scores of each term, under the name of its rule."""
        return {f"score of {name}": self.scores[:, i].tolist() for i, name in enumerate(self.terms)}

    def state(self) -> dict[str, Any]:
        """JSON."""
        return {"terms": self.terms, "texts": self.texts, "scores": self.scores.tolist()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from a ``state()``."""
        self.terms, self.texts = list(state["terms"]), list(state["texts"])
        self.scores = np.array(state["scores"], float).reshape(len(self.texts), len(self.terms))


def dominated(one: Floats, others: Floats) -> bool:
    """Whether one of the ``others`` [n, terms] is at least as good in all terms; equal scores count."""
    return bool((others >= one).all(1).any())


def _beaten(others: Floats, one: Floats) -> NDArray[np.bool_]:
    """bool [n]: those that ``one`` is at least as good as in all terms."""
    return np.asarray((one >= others).all(1))
