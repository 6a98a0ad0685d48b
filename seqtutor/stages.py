"""A curriculum: objectives one after the other, each until its condition holds.

    [[stages]]
    terms = ["match(c1ccc2[nH]cnc2c1)"]
    until = "reward >= 0.6"          # a mean of the last 10 steps: of `reward`, a rule, any column of metrics.csv
    steps = 200                      # at the latest then
    [[stages]]
    terms = ["match(c1ccc2[nH]cnc2c1)", "qed:2"]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqtutor.domain import Domain, UsageError

if TYPE_CHECKING:
    from seqtutor.objective import Constraint, Objective

#: steps that a condition is a mean over
STEPS = 10


@dataclass(frozen=True)
class Stage:
    """An objective that holds ``until`` a mean is reached or for ``steps`` steps; the last stage has neither."""

    objective: Objective
    until: Constraint | None = None
    steps: int | None = None

    @classmethod
    def from_dict(cls, given: Any, domain: Domain) -> Stage:
        """From a table of the file. Raises :class:`UsageError` for what cannot be understood."""
        from seqtutor.objective import Constraint, Objective
        if not isinstance(given, Mapping):
            raise UsageError(f"a stage is a table with terms, not {given!r}")
        data = dict(given)
        until, steps = data.pop("until", None), data.pop("steps", None)
        for key in ("stages", "diversity", "method", "beta", "gamma"):
            if key in data:
                raise UsageError(f"{key} belongs to the whole objective, not to one of its stages")
        if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
            raise UsageError(f"steps of a stage must be a whole number of at least 1, not {steps!r}")
        objective = Objective.from_dict(data, domain)
        if objective.targets:
            raise UsageError("a stage cannot have targets: rates are met over a whole run")
        return cls(objective, None if until is None else Constraint.parse(until), steps)

    def to_dict(self) -> dict[str, Any]:
        """The structure that :meth:`from_dict` reads."""
        data = self.objective.to_dict()
        if self.until is not None:
            data["until"] = str(self.until)
        if self.steps is not None:
            data["steps"] = self.steps
        return data

    def over(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the stage is done after its own ``rows`` of metrics.csv. Raises :class:`UsageError` where the
        condition names no column."""
        if self.steps is not None and len(rows) >= self.steps:
            return True
        if self.until is None or not rows:
            return False
        if self.until.rule not in rows[-1]:
            raise UsageError(f"until = {str(self.until)!r} of a stage names none of "
                             f"{', '.join(name for name in rows[-1] if name != 'step')}")
        if len(rows) < STEPS:
            return False
        mean = math.fsum(float(row[self.until.rule]) for row in rows[-STEPS:]) / STEPS
        return bool(self.until.holds(np.array(mean)))


def checked(stages: Sequence[Stage]) -> None:
    """Raises :class:`UsageError` where a stage before the last would never end."""
    for i, stage in enumerate(stages[:-1], start=1):
        if stage.until is None and stage.steps is None:
            raise UsageError(f"stage {i} never ends; give it until = \"reward >= 0.6\" or steps = 100")
