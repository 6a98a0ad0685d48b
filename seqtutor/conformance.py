"""The kit that a plugin's author runs: does the domain keep the promises of :mod:`seqtutor.domain`?

    from seqtutor import check_domain
    check_domain(DOMAIN, ["CCO", "c1ccccc1"])
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random

from seqtutor.domain import API_VERSION, Domain, Rule, UnknownToken, UsageError
from seqtutor.objective import Objective
from seqtutor.vocabulary import EOS, Vocabulary


class DomainError(UsageError):
    """A domain breaks its contract; every broken promise stands in the message."""


def check_domain(domain: Domain, texts: Sequence[str], invalid: Sequence[str] = ()) -> None:
    """Checks ``domain`` on a few valid ``texts`` and ``invalid`` ones. Raises :class:`DomainError` that lists every
    broken promise; returns None when there is none."""
    broken = _Broken()
    with broken.unless_raised("identity"):
        _check_identity(domain, broken)
    for text in texts:
        with broken.unless_raised(f"the text {text!r}"):
            _check_text(domain, text, broken)
    broken.unless(len(texts) > 0, "there is at least one valid text to check with")
    for text in invalid:
        with broken.unless_raised(f"the invalid text {text!r}"):
            _check_invalid(domain, text, broken)
    for rule in domain.rules:
        with broken.unless_raised(f"rule {rule.name!r}"):
            _check_rule(domain, rule, texts, broken)
    with broken.unless_raised("columns and names"):
        _check_columns(domain, texts, broken)
    with broken.unless_raised("variants"):
        _check_variants(domain, texts, broken)
    with broken.unless_raised("edits"):
        _check_edits(domain, texts, broken)
    with broken.unless_raised("accepts"):
        broken.unless(len(domain.accepts(texts)) == len(texts), "accepts: one answer a text")
        broken.unless(all(domain.accepts(texts)), "accepts: without options nothing is refused")
    with broken.unless_raised("given"):
        for row in map(domain.split, texts):
            broken.unless(0 <= domain.given(row) <= len(row), "given: a number of leading tokens")
    with broken.unless_raised("diversity"):
        diversity = domain.diversity(texts)
        broken.unless(diversity is None or 0 <= diversity <= 1, "diversity: None, or from 0 to 1")
    with broken.unless_raised("grammar"):
        _check_grammar(domain, broken)
    for suffix in domain.exporters:
        broken.unless(suffix.startswith(".") and suffix == suffix.lower(), f"exporter suffix {suffix!r} is like '.sdf'")
    if broken.promises:
        name = getattr(domain, "name", type(domain).__name__)
        raise DomainError(f"the domain {name!r} breaks its contract: " + "; ".join(dict.fromkeys(broken.promises)))


class _Broken:
    def __init__(self) -> None:
        self.promises: list[str] = []

    def unless(self, kept: bool, promise: str) -> None:
        if not kept:
            self.promises.append(promise)

    @contextmanager
    def unless_raised(self, what: str) -> Iterator[None]:
        """A check that raises is a broken promise too; the other checks go on."""
        try:
            yield
        except Exception as error:
            self.promises.append(f"{what}: raises {type(error).__name__}: {' '.join(str(error).split())}")


def _check_identity(domain: Domain, broken: _Broken) -> None:
    broken.unless(bool(domain.name) and domain.name == domain.name.lower().strip(), "name is a lower-case word")
    broken.unless(domain.api_version == API_VERSION, f"api_version is {API_VERSION}")
    try:
        Vocabulary(domain.tokens).check_speaks(domain)
    except UsageError as error:
        broken.unless(False, str(error))


def _check_text(domain: Domain, text: str, broken: _Broken) -> None:
    broken.unless(domain.join(domain.split(text)) == text, f"join(split({text!r})) gives it back")
    canonical = domain.canonical(text)
    broken.unless(canonical is not None and domain.valid(text), f"{text!r} is valid")
    if canonical is not None:
        broken.unless(domain.canonical(canonical) == canonical, f"canonical({text!r}) is a fixed point")
    standard = domain.standardise(text)
    if standard is not None:
        broken.unless(domain.standardise(standard) == standard, f"standardise({text!r}) is a fixed point")
        broken.unless(domain.canonical(standard) == standard, f"standardise({text!r}) is canonical")
        broken.unless(set(domain.split(standard)) <= set(domain.tokens), f"standardise({text!r}) stays in tokens")


def _check_invalid(domain: Domain, text: str, broken: _Broken) -> None:
    broken.unless(domain.canonical(text) is None and not domain.valid(text), f"{text!r} is invalid")
    broken.unless(domain.standardise(text) is None, f"standardise({text!r}) leaves it out")
    broken.unless(bool(domain.why_invalid(text)), f"why_invalid({text!r}) says why")
    try:
        domain.split(text)
    except UnknownToken:
        pass
    except Exception as error:
        broken.unless(False, f"split({text!r}) raises UnknownToken or nothing, not {type(error).__name__}")


def _check_rule(domain: Domain, rule: Rule, texts: Sequence[str], broken: _Broken) -> None:
    where = f"rule {rule.name!r}"
    broken.unless(domain.rule(rule.name) is rule, f"{where}: its name is its own")
    broken.unless(bool(rule.about), f"{where}: says what it measures")
    broken.unless(len(rule([])) == 0, f"{where}: an empty batch gives nothing")
    if rule.when == "step":
        tokens = [domain.split(text) for text in texts]
        scores = [list(row) for row in rule(tokens)]
        broken.unless([len(row) for row in scores] == [len(row) for row in tokens], f"{where}: one float a token")
        flat = [float(x) for row in scores for x in row]
    else:
        flat = [float(x) for x in rule(texts)]
        broken.unless(len(flat) == len(texts), f"{where}: one float a text")
        one_by_one = [float(rule([text])[0]) for text in texts]
        broken.unless(all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(flat, one_by_one, strict=True)),
                      f"{where}: a score does not depend on the batch")
    within = all(math.isnan(x) or rule.low <= x <= rule.high for x in flat)
    broken.unless(within, f"{where}: scores within low and high")
    if rule.explain:
        for text in texts:
            for finding in rule.explain(text):
                broken.unless(bool(finding.words) and 0 <= finding.severity <= 100 and finding.start <= finding.end,
                              f"{where}: findings have words, a severity of 0 to 100 and a place")


def _check_columns(domain: Domain, texts: Sequence[str], broken: _Broken) -> None:
    for column in domain.columns:
        values = list(column.values(texts))
        broken.unless(len(values) == len(texts) and all(isinstance(v, str) for v in values),
                      f"column {column.name!r}: one string a text")
    known = {rule.name for rule in domain.rules} | {column.name for column in domain.columns}
    for name in domain.describe:
        broken.unless(name in known, f"describe names {name!r}, which is a rule or a column")
    for preset, given in domain.presets.items():
        try:
            Objective.from_dict(given, domain)
        except UsageError as error:
            broken.unless(False, f"preset {preset!r}: {error}")


def _check_variants(domain: Domain, texts: Sequence[str], broken: _Broken) -> None:
    tokens = set(domain.tokens)
    for text in texts:
        standard = domain.standardise(text)
        if standard is None:
            continue
        found = domain.variants(standard, 4, Random(0))
        broken.unless(len(found) <= 4, "variants: no more than asked for")
        broken.unless(found == domain.variants(standard, 4, Random(0)), "variants: the same from the same rng")
        for variant in found:
            broken.unless(domain.canonical(variant) == domain.canonical(standard),
                          f"variant {variant!r} is the same thing")
            broken.unless(set(domain.split(variant)) <= tokens, f"variant {variant!r} stays in tokens")


def _check_edits(domain: Domain, texts: Sequence[str], broken: _Broken) -> None:
    parents = [standard for text in texts if (standard := domain.standardise(text)) is not None]
    broken.unless(len(domain.edits([], 4, Random(0))) == 0, "edits: none without parents")
    found = domain.edits(parents, 4, Random(0))
    broken.unless(len(found) <= 4, "edits: no more than asked for")
    broken.unless(found == domain.edits(parents, 4, Random(0)), "edits: the same from the same rng")
    broken.unless(len({*found, *parents}) == len(found) + len(set(parents)), "edits: each is new")
    for text in found:
        broken.unless(domain.valid(text) and domain.canonical(text) == text, f"edit {text!r} is valid and canonical")
        broken.unless(set(domain.split(text)) <= set(domain.tokens), f"edit {text!r} stays in tokens")


def _check_grammar(domain: Domain, broken: _Broken) -> None:
    vocabulary = Vocabulary(domain.tokens)
    grammar = domain.grammar(vocabulary.all)
    if grammar is None:
        return
    table = grammar.next_state
    broken.unless(table.ndim == 2 and table.shape[1] == len(vocabulary), "grammar: one column a token id")
    exist = bool((table < len(table)).all()) and 0 <= grammar.start < len(table)
    broken.unless(exist, "grammar: every state exists")
    if not exist:
        return
    reached, queue = {grammar.start}, deque([grammar.start])
    before: dict[int, set[int]] = {}
    while queue:
        state = queue.popleft()
        for after in {int(s) for s in table[state, EOS:] if s >= 0}:  # pad and bos are never written
            before.setdefault(after, set()).add(state)
            if after not in reached:
                reached.add(after)
                queue.append(after)
    alive = {state for state in reached if table[state, EOS] >= 0}
    queue = deque(alive)
    while queue:
        for state in before.get(queue.popleft(), ()):
            if state not in alive:
                alive.add(state)
                queue.append(state)
    # the state after eos is a sink that needs no way on
    stuck = {s for s in reached - alive if not all(s == table[b, EOS] for b in before.get(s, ()))}
    broken.unless(not stuck, f"grammar: the end can be reached from every state (not from {sorted(stuck)[:5]})")
