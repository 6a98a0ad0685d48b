"""From token lists to rewards: an objective's rules, computed once for each distinct thing, whatever one of them does.

    rewarder = Rewarder(domain, Objective.parse("qed:1,sa<=3", domain))
    rewarder([["C", "C", "O"], ["C", "("]]).end    # array([0.4068…, 0.])

A rule that raises, hangs, kills its process (``processes:N``) or gives no finite number costs that one item, which is
nan: no reward, no crash. Results do not depend on the executor (:mod:`seqtutor.executors`).
"""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cache, partial
from hashlib import blake2b
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor.domain import Domain, Rule, SeqtutorError, UsageError
from seqtutor.executors import Died, open_executor, scatter, time_limit
from seqtutor.objective import Objective
from seqtutor.plugins import load_domain
from seqtutor.scoring import BATCH, one_by_one, values_of
from seqtutor.transforms import Floats

Tokens = Sequence[Sequence[str]]
#: [rules][texts]: a value and an error ("" for none); seconds that each rule took
Columns = tuple[list[list[tuple[Any, str]]], list[float]]


@dataclass
class Rewards:
    """What n sequences earn. ``canonical``: None for what is invalid or refused by the user's options. ``end``: float64
    [n], the objective's ``invalid`` for such texts and broken constraints, nan for what could not be scored.
    ``steps``: float64 [tokens] each, weighted and summed over the step rules; None if there are none. ``values``: the
    plain value of every rule, float64 [n] (a step rule's summed over the tokens), nan for invalid texts. ``fresh``:
    bool [n], newly evaluated, an oracle call; False for invalid texts and for what had been seen, in this batch or
    before."""

    texts: list[str]
    canonical: list[str | None]
    end: Floats
    steps: list[Floats] | None
    values: dict[str, Floats]
    fresh: NDArray[np.bool_]

    @property
    def total(self) -> Floats:
        """float64 [n]: ``end`` and the sum of ``steps``."""
        return self.end if self.steps is None else self.end + np.array([row.sum() for row in self.steps])


class Rewarder:
    """Rewards of batches of token lists. ``calls`` counts distinct valid sequences, each scored once; ``warnings`` has
    one line for each way in which a rule went wrong.

    ``executor``: ``serial``, ``threads:N``, ``processes:N``, ``dask:N`` or ``dask:ADDRESS``; their workers load the
    domain by ``spec`` (its name or path). Step rules are cheap and always computed here.
    ``timeout``: seconds for one item (for a batch of items where rules are fast). ``extra``: rules to evaluate but not
    to reward. ``options``: the user's, for :meth:`Domain.accepts`; what that refuses counts as invalid. ``state()`` is
    JSON; a Rewarder that loaded it goes on bit for bit.
    """

    def __init__(self, domain: Domain, objective: Objective, *, executor: str = "serial", spec: str | None = None,
                 timeout: float = 60.0, extra: Sequence[str] = (),
                 options: Mapping[str, Any] | None = None):
        self.options = dict(options or {})
        self.domain, self.objective, self.timeout = domain, objective.checked(domain), timeout
        rules = self.objective.rules(domain) | {name: domain.rule(name) for name in extra}
        if not timeout > 0:
            raise UsageError(f"timeout is {timeout:g}; it must be above 0 seconds")
        self._end = {name: replace(rule, score=_limited(rule, timeout))
                     for name, rule in rules.items() if rule.when == "end"}
        self._step = {name: replace(rule, score=_limited(rule, timeout))
                      for name, rule in rules.items() if rule.when == "step"}
        self.aim(self.objective.stages[0].objective if self.objective.stages else self.objective)
        if executor != "serial" and spec is None:
            raise UsageError(f"the executor {executor!r} needs the domain's name or path for its processes (spec)")
        self._spec, self._names = spec or "", tuple(self._end)
        patience = sum(rule.patience for rule in self._end.values())
        self._executor = open_executor(executor, timeout + patience, _load, self._spec, self._names)
        self._slow = any(rule.cost == "slow" for rule in self._end.values())
        self._rows: dict[bytes, int] = {}  # digest of a canonical form → row of the table
        self._table = np.empty((1, len(self._end)))  # never empty: invalid texts look up row 0, and not its numbers
        self._seconds = np.zeros(len(self._end))
        self._timed = 0  # texts that they were spent on
        self.warnings: list[str] = []
        self._warned: set[str] = set()

    @property
    def calls(self) -> int:
        """Oracle calls so far."""
        return len(self._rows)

    @property
    def costs(self) -> dict[str, float]:
        """Seconds a text of each end rule, where it was computed, as a mean since this object was made."""
        return dict(zip(self._end, (self._seconds / max(1, self._timed)).tolist(), strict=True))

    def __call__(self, tokens: Tokens) -> Rewards:
        texts = [self.domain.join(row) for row in tokens]
        canonical = self._accepted([self._canonical(text) for text in texts])
        valid = np.array([form is not None for form in canonical], bool)
        rows, fresh = self._scored(canonical)
        table = np.where(valid[:, None], self._table[rows], np.nan)
        values = dict(zip(self._end, table.T.copy(), strict=True))
        steps, failed = self._stepwise(tokens, valid, values)
        end = self.objective.end(values, valid, self._step)
        return Rewards(texts, canonical, np.where(failed, np.nan, end), steps, values, fresh)

    def aim(self, objective: Objective) -> None:
        """Rewards ``objective`` from now on, one of the stages of the first; what is scored already stays so."""
        self.objective = objective
        self._weights: dict[str, float] = {}
        for term in objective.terms:
            if term.target is None and term.rule in self._step:
                self._weights[term.rule] = self._weights.get(term.rule, 0.0) + term.weight

    def _canonical(self, text: str) -> str | None:
        try:
            return self.domain.canonical(text)
        except Exception as error:  # it should not, but one text shall not end a run
            self._warn("canonical", f"canonical({text!r}) raised {type(error).__name__}: {error}; taken as invalid")
            return None

    def _accepted(self, canonical: list[str | None]) -> list[str | None]:
        """The same, None for what the options refuse."""
        if not self.options:
            return canonical
        forms = list(dict.fromkeys(form for form in canonical if form is not None))
        accepted = {form for form, yes in zip(forms, self.domain.accepts(forms, **self.options), strict=True) if yes}
        return [form if form in accepted else None for form in canonical]

    # -- end rules, once for each canonical form --------------------------------------------------------------------

    def _scored(self, canonical: Sequence[str | None]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(row of the table of each text, 0 where invalid; whether it is new), after computing what is new."""
        rows, fresh = np.zeros(len(canonical), np.int64), np.zeros(len(canonical), bool)
        new: list[str] = []
        digests: list[bytes] = []
        before: dict[bytes, int] = {}
        for i, form in enumerate(canonical):
            if form is not None:
                digest = blake2b(form.encode("utf-8", "surrogatepass"), digest_size=16).digest()
                row = self._rows.get(digest, before.get(digest))
                if row is None:
                    row = before[digest] = len(self._rows) + len(new)
                    fresh[i] = True
                    new.append(form)
                    digests.append(digest)
                rows[i] = row
        if new:
            more = self._computed(new)
            if len(self._rows) + len(new) > len(self._table):  # grows by doubling
                self._table = np.resize(self._table, (2 * (len(self._rows) + len(new)), len(self._end)))
            self._table[len(self._rows):len(self._rows) + len(new)] = more
            self._rows.update(zip(digests, range(len(self._rows), len(self._rows) + len(new)), strict=True))
        return rows, fresh

    def _computed(self, texts: Sequence[str]) -> Floats:
        """float64 [texts, end rules]; nan for what could not be scored."""
        found = np.empty((len(texts), len(self._end)))
        if not self._end:
            return found
        columns: list[list[tuple[Any, str]]] = [[] for _ in self._end]
        for part, seconds in self._serial(texts) if self._executor is None else self._elsewhere(self._executor, texts):
            self._seconds += seconds
            for column, more in zip(columns, part, strict=True):
                column += more
        self._timed += len(texts)
        for j, (name, column) in enumerate(zip(self._end, columns, strict=True)):
            for error in dict.fromkeys(error for _, error in column if error):
                self._warn_error(name, error)
            found[:, j] = self._finite(name, np.array([math.nan if error else value for value, error in column]))
        return found

    def _serial(self, texts: Sequence[str]) -> Iterator[Columns]:
        for i in range(0, len(texts), BATCH):
            yield _columns(self.domain, self._end.values(), texts[i:i + BATCH])

    def _elsewhere(self, executor: Executor, texts: Sequence[str]) -> Iterator[Columns]:
        """The same from an executor; a text whose scoring dies is nan in every rule."""
        size = 1 if self._slow else max(1, min(64, len(texts) // 8))
        for part, found in scatter(executor, partial(_work, self._spec, self._names), texts, size):
            if isinstance(found, Died):
                self._warn(str(found), f"scoring {part[0]!r} {found}; counted as nan (this is said once)")
                yield [[(math.nan, "")] for _ in self._end], [0.0] * len(self._end)
            else:
                yield found

    # -- step rules, for the tokens as they are ---------------------------------------------------------------------

    def _stepwise(self, tokens: Tokens, valid: NDArray[np.bool_], values: dict[str, Floats]) \
            -> tuple[list[Floats] | None, NDArray[np.bool_]]:
        """(weighted step rewards, bool [n]: whether one of them failed); adds the sums to ``values``."""
        failed = np.zeros(len(tokens), bool)
        total = np.zeros(sum(map(len, tokens)))
        for name, rule in self._step.items():
            rows: list[Floats] = []
            wrong = np.zeros(len(tokens), bool)
            for i, (row, error) in enumerate(one_by_one(partial(_rows_of, rule), name, tokens)):
                if error:
                    self._warn_error(name, error)
                elif not np.isfinite(row).all():
                    error = self._warn_error(name, f"{name}: gave a step that is not finite")
                wrong[i] = bool(error)
                rows.append(np.zeros(len(tokens[i])) if error else row)
            values[name] = np.where(valid & ~wrong, [row.sum() for row in rows], np.nan)
            if name in self._weights:
                failed |= wrong
                total += self._weights[name] * np.concatenate([*rows, np.empty(0)])
        if not self._weights:
            return None, failed
        steps = np.split(total, np.cumsum([len(row) for row in tokens])[:-1]) if len(tokens) else []
        for i in np.flatnonzero(failed).tolist():
            steps[i] = np.zeros(len(tokens[i]))  # its end is nan, which says enough
        return steps, failed

    # -- warnings, state --------------------------------------------------------------------------------------------

    def _finite(self, name: str, found: Floats) -> Floats:
        if np.isinf(found).any():
            self._warn(name + "inf", f"{name}: gave an infinity; counted as nan (this is said once)")
        return np.where(np.isinf(found), np.nan, found)

    def _warn_error(self, name: str, error: str) -> str:
        kind = error.removeprefix(f"{name}: ").split(" ")[0]
        return self._warn(name + kind, f"{error}; counted as nan (this is said once)")

    def _warn(self, key: str, line: str) -> str:
        if key not in self._warned:
            self._warned.add(key)
            self.warnings.append(" ".join(line.split()))
        return line

    def state(self) -> dict[str, Any]:
        """The cache as JSON: 16-byte digests of the canonical forms and float64 [calls, rules], both in base64."""
        table = np.ascontiguousarray(self._table[:self.calls], "<f8")
        return {"rules": list(self._end), "digests": base64.b64encode(b"".join(self._rows)).decode("ascii"),
                "values": base64.b64encode(table.tobytes()).decode("ascii")}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from a ``state()`` with the same rules. Raises :class:`SeqtutorError` for any other."""
        try:
            rules, digests = list(state["rules"]), base64.b64decode(state["digests"], validate=True)
            table = np.frombuffer(base64.b64decode(state["values"], validate=True), "<f8").astype(float)
            if len(digests) % 16 or table.size != len(digests) // 16 * len(rules):
                raise ValueError(f"{len(digests)} bytes of digests and {table.size} values do not match")
        except (KeyError, TypeError, ValueError) as error:
            raise SeqtutorError(f"the saved scores cannot be read ({type(error).__name__}: {error})") from None
        if rules != list(self._end):
            raise SeqtutorError(f"the saved scores are of the rules {', '.join(rules)}, not {', '.join(self._end)}; "
                                "go on with the objective of the saved run")
        self._rows = {digests[16 * i:16 * i + 16]: i for i in range(len(digests) // 16)}
        self._table = np.resize(table, (max(1, len(self._rows)), len(rules)))

    def close(self) -> None:
        """Ends the processes, if there are any."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)


def _limited(rule: Rule, timeout: float) -> Callable[[Any], Any]:
    """The score of ``rule`` under a time limit, unless it keeps its own time."""
    def score(batch: Any) -> Any:
        with time_limit(timeout):
            return rule.score(batch)

    return rule.score if rule.patience else score


def _rows_of(rule: Rule, tokens: Tokens) -> list[Floats]:
    """A step rule's values as float64 [tokens] each; raises where they are not numbers or not one a token."""
    rows = list(rule(tokens))
    for row, given in zip(rows, tokens, strict=False):  # how many rows there are, one_by_one sees
        if len(row) != len(given):
            raise ValueError(f"gave {len(row)} values for {len(given)} tokens")
    flat = np.array(list(chain.from_iterable(rows)))
    if len(flat) and flat.dtype.kind not in "fiub":
        raise TypeError("gave something else than numbers")
    return np.split(flat.astype(float), np.cumsum([len(row) for row in rows])[:-1]) if rows else []


def _columns(domain: Domain, rules: Any, texts: Sequence[str]) -> Columns:
    columns, seconds = [], []
    for rule in rules:
        started = time.perf_counter()
        columns.append(values_of(domain, rule, texts))
        seconds.append(time.perf_counter() - started)
    return columns, seconds


# -- in a worker process ---------------------------------------------------------------------------------------------

@cache
def _loaded(spec: str, names: tuple[str, ...]) -> tuple[Domain, tuple[Rule, ...]]:
    domain = load_domain(spec)
    return domain, tuple(domain.rule(name) for name in names)


def _load(spec: str, names: tuple[str, ...]) -> None:
    _loaded(spec, names)


def _work(spec: str, names: tuple[str, ...], texts: Sequence[str]) -> Columns:
    domain, rules = _loaded(spec, names)
    return _columns(domain, rules, texts)
