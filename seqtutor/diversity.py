"""A filter that stops paying for more of the same, so that a run looks on (Blaschke et al. 2020, J. Cheminf. 12, 68).

    [diversity]                     # in an objective's file
    kind = "scaffold"               # what counts as the same; molecules: scaffold, topological, similarity
    size = 25                       # how many of one bucket are paid
    above = 0.5                     # rewards below this fill no bucket
    similarity = 0.6                # of the kind "similarity": Tanimoto to a bucket's first member
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from seqtutor.domain import Domain, UsageError, nearest
from seqtutor.transforms import number

if TYPE_CHECKING:
    from seqtutor.objective import Objective
    from seqtutor.rewards import Rewarder, Rewards


@dataclass(frozen=True)
class Diversity:
    """Of every bucket of ``kind`` the first ``size`` different sequences with a reward of at least ``above`` keep it;
    what follows earns what an invalid text earns. ``similarity``, 0 to 1: how alike the members of a bucket are, where
    the kind is measured so."""

    kind: str
    size: int = 25
    above: float = 0.5
    similarity: float = 0.6

    @classmethod
    def from_dict(cls, given: Any, domain: Domain) -> Diversity:
        """From the file's table. Raises :class:`UsageError` with the nearest name for an unknown key or kind."""
        if not isinstance(given, Mapping):
            raise UsageError(f"diversity must be a table with a kind, not {given!r}")
        data = dict(given)
        for key in data:
            if key not in (names := [f.name for f in fields(cls)]):
                raise nearest(str(key), names, "key of diversity")
        if not domain.bucket_kinds:
            raise UsageError(f"the domain {domain.name!r} has no buckets to keep a run diverse by; leave diversity out")
        if (kind := str(data.get("kind", ""))) not in domain.bucket_kinds:
            raise nearest(kind, domain.bucket_kinds, "kind of diversity")
        for name in ("above", "similarity"):
            if name in data:
                data[name] = number(data[name], f"{name} of diversity")
        found = cls(**data)
        if isinstance(found.size, bool) or not isinstance(found.size, int) or found.size < 1:
            raise UsageError(f"size of diversity must be a whole number of at least 1, not {found.size!r}")
        if not 0 < found.similarity <= 1:
            raise UsageError(f"similarity of diversity must be above 0 and at most 1, not {found.similarity:g}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """The structure that :meth:`from_dict` reads."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


class DiverseRewarder:
    """A :class:`Rewarder` behind the filter. ``buckets``: the members of each, by the bucket's name, in the order in
    which they came; what is remembered elsewhere keeps the reward it had."""

    def __init__(self, rewarder: Rewarder, filter: Diversity):
        self.rewarder, self.filter = rewarder, filter
        self.buckets: dict[str, list[str]] = {}
        self._members: set[str] = set()

    @property
    def calls(self) -> int:
        """Oracle calls so far."""
        return self.rewarder.calls

    def __call__(self, tokens: Sequence[Sequence[str]]) -> Rewards:
        rewards = self.rewarder(tokens)
        total = rewards.total
        for i, text in enumerate(rewards.canonical):
            if text is None or not total[i] >= self.filter.above or text in self._members:
                continue
            key = self.rewarder.domain.bucket(self.filter.kind, text, list(self.buckets), self.filter.similarity)
            members = self.buckets.setdefault(key, [])
            if len(members) < self.filter.size:
                members.append(text)
                self._members.add(text)
            else:
                rewards.end[i] = self.rewarder.objective.invalid
                if rewards.steps is not None:
                    rewards.steps[i] = np.zeros_like(rewards.steps[i])
        return rewards

    @property
    def costs(self) -> dict[str, float]:
        """The rewarder's."""
        return self.rewarder.costs

    @property
    def objective(self) -> Objective:
        """What is rewarded now."""
        return self.rewarder.objective

    @property
    def warnings(self) -> list[str]:
        """The rewarder's."""
        return self.rewarder.warnings

    def aim(self, objective: Objective) -> None:
        """Rewards another stage's objective from now on, with empty buckets."""
        self.rewarder.aim(objective)
        self.buckets, self._members = {}, set()

    def close(self) -> None:
        """Ends the rewarder's processes."""
        self.rewarder.close()

    def state(self) -> dict[str, Any]:
        """JSON of both."""
        return {**self.rewarder.state(), "buckets": self.buckets}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from a ``state()``."""
        self.rewarder.load(state)
        self.buckets = {key: list(members) for key, members in state["buckets"].items()}
        self._members = {text for members in self.buckets.values() for text in members}
