"""What a tutor aims at: rules with weights, transforms, targets and hard constraints.

The same objective as a line, as a file and in Python:

    Objective.parse("qed:2,sa:minimise,logp<=5", domain)
    Objective.parse("mine.toml", domain)            # a preset's name does as well
    Objective(terms=(Term("qed", 2), Term("sa", direction="minimise")), constraints=(Constraint("logp", "<=", 5),))

    # mine.toml                                     # RULE, RULE:WEIGHT, RULE:minimise, RULE:TRANSFORM, RULE=TARGET
    aggregate = "geometric"                         # or arithmetic (the default), product, sum
    constraints = ["logp <= 5"]                     # <=, <, >=, >, ==; outside the mean, a breach gives `invalid`
    [[terms]]
    rule = "qed"
    weight = 2
    [[terms]]
    rule = "sa"
    transform = {type = "reverse_sigmoid", low = 2, high = 4}
    [[terms]]
    rule = "match(c1ccncc1)"
    target = 0.31                                   # a mean over samples; has no weight. "human": the rule's own rate
    [[terms]]
    score = "my_scores.py:potency"                  # a scorer of one's own, see seqtutor.scorers
    [diversity]                                     # pays no more of the same, see seqtutor.diversity
    kind = "scaffold"

In place of terms there may be ``[[stages]]``, objectives one after the other: see seqtutor.stages. Step rules
are rewarded token by token with weight × value; they take no part in the mean.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from seqtutor.diversity import Diversity
from seqtutor.domain import SCORERS, Domain, Rule, UsageError, nearest
from seqtutor.files import check_readable
from seqtutor.scorers import SETTINGS, rule_spec
from seqtutor.scoring import split_names
from seqtutor.settings import METHODS
from seqtutor.stages import Stage
from seqtutor.stages import checked as checked_stages
from seqtutor.transforms import Floats, Transform, number

AGGREGATES = ("arithmetic", "geometric", "product", "sum")
DIRECTIONS = ("minimise", "maximise")
OPERATORS = {"<=": np.less_equal, ">=": np.greater_equal, "==": np.equal, "<": np.less, ">": np.greater}


@dataclass(frozen=True)
class Term:
    """A rule that counts. ``rule``: its name, or ``family(argument)``. ``direction`` "minimise" or "maximise" maps the
    rule's bounds (or ``low`` and ``high``) onto 0…1 and stands in place of ``transform``. ``target``: the mean that
    samples shall have; such a term has neither weight nor transform and gives no reward by itself."""

    rule: str
    weight: float = 1.0
    transform: Transform = field(default_factory=Transform)
    direction: str = ""
    low: float | None = None
    high: float | None = None
    target: float | None = None

    @classmethod
    def from_dict(cls, given: Any, domain: Domain) -> Term:
        """From a table of the file, or from the short form ``"sa:minimise:0.5"``."""
        data = _scorer(_short(given) if isinstance(given, str) else given)
        _known(data, cls, "key of a term")
        if "rule" not in data:
            raise UsageError(f"the term {data} names no rule")
        where = f"of the term {data['rule']!r}"
        rule = domain.rule(str(data["rule"]))
        for name in ("weight", "low", "high"):
            if name in data:
                data[name] = number(data[name], f"{name} {where}")
        if data.get("target") == "human":
            if rule.rate is None:
                raise UsageError(f"the rule {rule.name!r} has no human rate; say target = NUMBER")
            data["target"] = rule.rate
        if "target" in data:
            data["target"] = number(data["target"], f"target {where}")
        if "transform" in data:
            data["transform"] = Transform.of(data["transform"])
        if "direction" in data:
            data["direction"] = str(data["direction"]).replace("miz", "mis")
        return cls(**data).checked(rule)

    def checked(self, rule: Rule) -> Term:
        """With the bounds and the human rate of ``rule`` filled in. Raises :class:`UsageError` for what cannot be."""
        what = f"the term {self.rule!r}"
        if self.direction and self.direction not in DIRECTIONS:
            raise nearest(self.direction, DIRECTIONS, f"direction of {what}")
        plain = self.transform == Transform() and not self.direction
        if not self.direction and (self.low, self.high) != (None, None):
            raise UsageError(f"{what} has low or high but no direction; say direction = \"minimise\" or \"maximise\"")
        if self.direction and self.transform != Transform():
            raise UsageError(f"{what} has a direction and a transform; leave one of them out")
        if self.target is not None:
            if self.weight != 1 or not plain:
                raise UsageError(f"{what} has a target, and therefore neither weight nor transform nor direction; "
                                 "give those in a term of their own")
            if not rule.low <= self.target <= rule.high:
                raise UsageError(f"{what} has target = {self.target:g}; the rule lies between {rule.low:g} and "
                                 f"{rule.high:g}")
            return self
        if self.weight == 0:
            raise UsageError(f"{what} has weight 0; leave it out")
        if rule.when == "step" and not plain:
            raise UsageError(f"{what} is a step rule, rewarded token by token; it takes a weight (below 0 to minimise) "
                             "and no transform or direction")
        if self.direction:
            bounds = {name: value for name in ("low", "high") if (value := getattr(self, name)) is not None}
            bounds = dict(Transform(self.direction, bounds).filled(rule).parameters)
            return replace(self, **bounds)
        return replace(self, transform=self.transform.filled(rule))

    def score(self, values: Floats) -> Floats:
        """The transformed values of a checked term."""
        if self.direction:
            return Transform(self.direction, {"low": self.low, "high": self.high})(values)  # type: ignore[dict-item]
        return self.transform(values)

    def to_dict(self) -> dict[str, Any]:
        """The structure that :meth:`from_dict` reads, without what is left at its default."""
        data = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) not in ("", None, Transform())}
        if self.weight == 1:
            del data["weight"]
        if "transform" in data:
            data["transform"] = self.transform.to_dict()
        return data


@dataclass(frozen=True)
class Constraint:
    """A rule that must hold, written ``sa <= 3``; whatever breaks it gets the reward of an invalid text."""

    rule: str
    operator: str
    value: float

    @classmethod
    def parse(cls, text: Any) -> Constraint:
        """Raises :class:`UsageError` where ``text`` is no comparison of a rule with a number."""
        rule, operator, value = _comparison(text) if isinstance(text, str) else ("", "", "")
        if operator not in OPERATORS or not rule:
            raise UsageError(f"{text!r} is no constraint; write one like 'sa <= 3' (with <=, <, >=, > or ==)")
        return cls(rule, operator, _float(value, f"the bound in {text!r}"))

    def holds(self, values: Floats) -> Any:
        """bool, elementwise; False for nan."""
        return OPERATORS[self.operator](values, self.value)

    def __str__(self) -> str:
        return f"{self.rule} {self.operator} {float(self.value)!r}".removesuffix(".0")


@dataclass(frozen=True)
class Objective:
    """Terms, constraints and how they are put together.

    ``aggregate``: the weighted arithmetic or geometric mean of the end terms, their product Π xʷ or their sum Σ w·x.
    ``invalid``: the reward of a text that is not valid or breaks a constraint. ``missing``: what a term does that
    could not be scored: "nan" makes the reward nan (no reward, nothing learnt), "skip" leaves the term out.
    ``method``, ``beta`` (reward units per nat) and ``gamma`` are settings that the tutor may take over. An objective
    with ``stages`` has neither terms nor constraints of its own.
    """

    name: str = "objective"
    terms: Sequence[Term] = ()
    constraints: Sequence[Constraint] = ()
    aggregate: str = "arithmetic"
    invalid: float = 0.0
    missing: str = "nan"
    method: str | None = None
    beta: float | None = None
    gamma: float | None = None
    about: str = ""
    diversity: Diversity | None = None
    stages: Sequence[Stage] = ()

    @classmethod
    def parse(cls, spec: str | Path, domain: Domain) -> Objective:
        """A preset of ``domain``, a ``.toml`` file, or one line such as ``qed:1,sa:minimise:0.5,logp<=5``.

        Raises :class:`UsageError` in one line, with the nearest name, for whatever cannot be understood.
        """
        spec = str(spec).strip()
        if spec in domain.presets:
            return cls.from_dict({"name": spec, **domain.presets[spec]}, domain)
        if spec.endswith(".toml"):
            try:
                data = tomllib.loads(check_readable(Path(spec)).read_text(encoding="utf-8"))
                return cls.from_dict({"name": Path(spec).stem, **data}, domain)
            except UnicodeDecodeError:
                raise UsageError(f"{spec} is not UTF-8 text; it should be an objective in TOML") from None
            except (tomllib.TOMLDecodeError, UsageError) as error:
                raise UsageError(f"{spec}: {error}") from None
        if re.fullmatch(r"[\w-]*", spec) and spec not in {rule.name for rule in domain.rules}:
            raise nearest(spec, [*domain.presets, *(rule.name for rule in domain.rules), "FILE.toml"],
                          f"objective of {domain.name}")
        parts = split_names(spec)
        hard = [part for part in parts if _comparison(part)[1] in OPERATORS]
        return cls.from_dict({"name": spec, "terms": [p for p in parts if p not in hard], "constraints": hard}, domain)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], domain: Domain) -> Objective:
        """From the structure of the file; rules are checked against ``domain``."""
        data = dict(given)
        _known(data, cls, "key of an objective")
        for name in ("terms", "constraints"):
            if not isinstance(data.setdefault(name, ()), list | tuple):
                raise UsageError(f"{name} of an objective must be a list, not {data[name]!r}")
        for name in ("invalid", "beta", "gamma"):
            if data.get(name) is not None:
                data[name] = number(data[name], f"{name} of an objective")
        for term in data["terms"]:
            if not isinstance(term, str | Mapping):
                raise UsageError(f"a term of an objective is a table or a text like 'qed:2', not {term!r}")
        data["terms"] = tuple(Term.from_dict(term, domain) for term in data["terms"])
        data["constraints"] = tuple(Constraint.parse(text) for text in data["constraints"])
        if data.get("diversity") is not None:
            data["diversity"] = Diversity.from_dict(data["diversity"], domain)
        if not isinstance(stages := data.get("stages", ()), list | tuple):
            raise UsageError(f"stages of an objective must be tables [[stages]], not {stages!r}")
        data["stages"] = tuple(Stage.from_dict(stage, domain) for stage in stages)
        return cls(**data).checked(domain)

    def to_dict(self) -> dict[str, Any]:
        """The structure that :meth:`from_dict` reads, without what is left at its default."""
        data = {f.name: value for f in fields(self)
                if (value := getattr(self, f.name)) != f.default and value not in ((), [])}
        if self.terms:
            data["terms"] = [term.to_dict() for term in self.terms]
        if self.constraints:
            data["constraints"] = [str(constraint) for constraint in self.constraints]
        if self.diversity is not None:
            data["diversity"] = self.diversity.to_dict()
        if self.stages:
            data["stages"] = [stage.to_dict() for stage in self.stages]
        return data

    def checked(self, domain: Domain) -> Objective:
        """The same with bounds and human rates filled in from the rules of ``domain``.

        Raises :class:`UsageError` for weights that cancel and everything else that cannot be tutored.
        """
        for name, known in (("aggregate", AGGREGATES), ("missing", ("nan", "skip"))):
            if getattr(self, name) not in known:
                raise nearest(str(getattr(self, name)), known, f"value of {name!r}")
        if self.method is not None and self.method not in METHODS:
            raise nearest(str(self.method), METHODS, "value of 'method'")
        if self.stages and (self.terms or self.constraints):
            raise UsageError("an objective with stages has its terms and constraints in them, and none beside them")
        checked_stages(self.stages)
        if not self.terms and not self.stages:
            raise UsageError("an objective needs at least one term, such as "
                             + repr(next((rule.name for rule in domain.rules), "RULE")))
        if self.beta is not None and self.beta <= 0:
            raise UsageError(f"beta is {self.beta:g}; it must be above 0 (reward units per nat)")
        if self.gamma is not None and not 0 < self.gamma <= 1:
            raise UsageError(f"gamma is {self.gamma:g}; it must be above 0 and at most 1")
        rules = self.rules(domain)
        terms = tuple(term.checked(rules[term.rule]) for term in self.terms)
        targets = [term.rule for term in terms if term.target is not None]
        if twice := {rule for rule in targets if targets.count(rule) > 1}:
            raise UsageError(f"the rule {min(twice)!r} has two targets; give it one")
        weights = [t.weight for t in terms if t.target is None and rules[t.rule].when == "end"]
        shown = f"the weights {', '.join(f'{w:g}' for w in weights)}"
        if (self.aggregate in ("geometric", "product") or self.missing == "skip") and min(weights, default=1) < 0:
            raise UsageError(f"{shown} of this objective ({self.aggregate}, missing = {self.missing}) must be above 0; "
                             "to want less of a rule, say direction = \"minimise\"")
        if self.aggregate in ("arithmetic", "geometric") and weights and math.fsum(weights) <= 1e-12:
            raise UsageError(f"{shown} cancel: a mean needs a sum above 0, and theirs is {math.fsum(weights):g}; "
                             "to want less of a rule, say direction = \"minimise\" (or aggregate = \"sum\")")
        return replace(self, terms=terms, constraints=tuple(self.constraints))

    def rules(self, domain: Domain) -> dict[str, Rule]:
        """Every rule that a term or a constraint names, in that order, stage by stage."""
        names = [*(term.rule for term in self.terms), *(constraint.rule for constraint in self.constraints)]
        found = {name: domain.rule(name) for name in names}
        for stage in self.stages:
            found |= stage.objective.rules(domain)
        return found

    @property
    def targets(self) -> dict[str, float]:
        """rule → the mean that samples shall have, E_π[rule] = target."""
        return {term.rule: term.target for term in self.terms if term.target is not None}

    def end(self, values: Mapping[str, Floats], valid: Any, steps: Collection[str] = ()) -> Floats:
        """The reward at the end of n sequences, float64 [n], from the ``values`` [n] of every rule.

        ``valid``: bool [n]. ``steps``: rules rewarded token by token, which count only in constraints here.
        nan: valid, but something that decides could not be scored.
        """
        scored = self.scores(values, steps)
        reward = np.zeros(len(valid))
        if scored:
            reward = self._aggregate(np.stack([row for _, row in scored]), np.array([[t.weight] for t, _ in scored]))
        unknown = np.zeros(len(valid), bool)
        broken = ~np.asarray(valid)
        for constraint in self.constraints:
            found = values[constraint.rule]
            unknown |= np.isnan(found)
            broken |= ~np.isnan(found) & ~constraint.holds(found)
        return np.where(broken, self.invalid, np.where(unknown, np.nan, reward))

    def scores(self, values: Mapping[str, Floats], steps: Collection[str] = ()) -> list[tuple[Term, Floats]]:
        """Every term that counts at the end with its transformed values, float64 [n]."""
        return [(term, term.score(values[term.rule])) for term in self.terms
                if term.target is None and term.rule not in steps]

    def meets(self, values: Mapping[str, Floats]) -> Any:
        """bool [n]: which keep every constraint; what could not be scored does not."""
        kept = np.ones(len(next(iter(values.values()))), bool)
        for constraint in self.constraints:
            kept &= constraint.holds(values[constraint.rule])
        return kept

    def _aggregate(self, scores: Floats, weights: Floats) -> Floats:
        """[terms, n] and [terms, 1] → [n]. A geometric mean takes a score below 0 as 0."""
        told = ~np.isnan(scores)
        if self.missing == "skip":
            weights = weights * told
            scores = np.where(told, scores, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):  # no term at all: 0/0 is nan
            if self.aggregate == "sum":
                reward = (weights * scores).sum(0)
            elif self.aggregate == "arithmetic":
                reward = (weights * scores).sum(0) / weights.sum(0)
            elif self.aggregate == "product":
                reward = (np.maximum(scores, 0) ** weights).prod(0)
            else:
                logs = np.where(weights == 0, 0.0, np.log(np.maximum(scores, 0)))
                reward = np.exp((weights * logs).sum(0) / weights.sum(0))
        return np.where(told.any(0), reward, np.nan)


# -- words -----------------------------------------------------------------------------------------------------------

def _scorer(given: Mapping[str, Any]) -> dict[str, Any]:
    """With ``rule`` in place of a scorer of the user's own (``program = [...]``, ``timeout = 30``, …)."""
    data = dict(given)
    kinds = [kind for kind in SCORERS if kind in data]
    if len(kinds) + ("rule" in data) > 1:
        raise UsageError(f"the term {data} names more than one rule; give each a term of its own")
    if kinds:
        settings = {name: data.pop(name) for name in SETTINGS if name in data}
        data["rule"] = rule_spec(kinds[0], data.pop(kinds[0]), settings)
    return data


def _known(data: Mapping[str, Any], config: type, what: str) -> None:
    names = [f.name for f in fields(config)]
    for key in data:
        if key not in names:
            raise nearest(str(key), names, what)


def _comparison(text: str) -> tuple[str, str, str]:
    """(left side, operator, right side) at the first of ``<= >= == < > =`` outside brackets; operator "" for none."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if depth <= 0 and letter in "<>=":
            operator = text[i:i + 2] if text[i:i + 2] in ("<=", ">=", "==") else letter
            return text[:i].strip(), operator, text[i + len(operator):].strip()
    return text.strip(), "", ""


def _short(text: str) -> dict[str, Any]:
    """The table that ``RULE``, ``RULE:WORD:…`` (weight, direction, transform) or ``RULE=TARGET`` stands for."""
    rule, operator, target = _comparison(text)
    if operator == "=":
        return {"rule": rule, "target": target if target == "human" else _float(target, f"the target in {text!r}")}
    if operator:
        raise UsageError(f"{text!r} is a constraint; put it under constraints")
    rule, *words = split_names(rule, ":") or [""]
    table: dict[str, Any] = {"rule": rule}
    value: str | float
    for word in words:
        if re.fullmatch(r"[a-z][\w-]*", word, flags=re.IGNORECASE) and word not in ("nan", "inf"):
            key, value = "direction" if word.replace("miz", "mis") in DIRECTIONS else "transform", word
        else:
            key, value = "weight", _float(word, f"the weight in {text!r}")
        if key in table:
            raise UsageError(f"{text!r} has two of {key}")
        table[key] = value
    return table


def _float(text: str, what: str) -> float:
    try:
        return number(float(text), what)
    except ValueError:
        raise UsageError(f"{what} must be a number, not {text!r}") from None
