"""Rules and columns of a domain for many texts: what `seqtutor score` and `seqtutor generate` print.

    score_table(load_domain("molecules"), "molecules", ["CCO", "C1CC"], ["qed", "sa", "match(O)"])

gives one row a text in the order of the texts, whatever the number of worker processes. A text that is not valid stays
in its place with nan for every number and the reason in the column ``error``; a rule that fails on one text costs that
one number and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

from seqtutor.domain import Column, Domain, Rule, Table, UsageError, nearest
from seqtutor.executors import Died, Processes, scatter
from seqtutor.plugins import load_domain

#: Texts scored at once: several rules of one batch share what they compute, and progress moves batch by batch.
BATCH = 256
#: seconds after which a batch (and then a text) that a worker process does not finish is given up
PATIENCE = 3600.0

Batch = tuple[list[list[Any]], list[str]]


def column_names(domain: Domain, names: str | None = None, *, everything: bool = False) -> list[str]:
    """The columns that ``names`` asks for, as in ``qed,sa,match([#6,#7](C)C)``; commas in brackets separate nothing.

    Without ``names`` those that the domain shows first, or with ``everything`` all rules and columns but families.
    Raises :class:`UsageError`, with the nearest name, for one that the domain does not have.
    """
    if names is None:
        if everything or not domain.describe:
            return [*(rule.name for rule in domain.rules), *(column.name for column in domain.columns)]
        return list(domain.describe)
    found = list(dict.fromkeys(split_names(names)))
    if not found:
        raise UsageError(f"no rule in {names!r}; name some of {', '.join(_known(domain))}")
    for name in found:
        _resolve(domain, name)
    return found


def split_names(names: str, separator: str = ",") -> list[str]:
    """``names`` at the ``separator`` outside round, square and curly brackets, without blanks and empty parts."""
    parts, depth = [""], 0
    for letter in names:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == separator and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def score_table(domain: Domain, spec: str, texts: Sequence[str], columns: Sequence[str], *, workers: int = 1,
                progress: Callable[[int], object] | None = None) -> Table:
    """The ``columns`` (names of rules, families with an argument, text columns) of ``texts``, one row each, in order.

    The table's columns are ``domain.text_column``, then ``columns``, then ``error`` if any row has one. ``spec`` is the
    name or path that ``domain`` was loaded by: each of ``workers`` > 1 processes loads it again. The number of them
    changes no result; a text that kills its process is one with an error. A step rule's number is the sum over the
    tokens. ``progress`` is told how many texts are done.

    Raises :class:`UsageError` for an unknown column.
    """
    for name in columns:
        _resolve(domain, name)
    texts = list(texts)
    values: list[list[Any]] = [[] for _ in columns]
    errors: list[str] = []
    workers = min(workers, math.ceil(len(texts) / BATCH))
    results = _in_processes(domain, spec, texts, columns, workers) if workers > 1 else \
        (_score(domain, texts[i:i + BATCH], columns) for i in range(0, len(texts), BATCH))
    for rows, wrong in results:
        for column, more in zip(values, rows, strict=True):
            column += more
        errors += wrong
        if progress is not None:
            progress(len(errors))
    table = Table(texts, {domain.text_column: list(texts)} | dict(zip(columns, values, strict=True)))
    if any(errors):
        table.columns["error"] = errors
    return table


def _score(domain: Domain, texts: Sequence[str], columns: Sequence[str]) -> Batch:
    """The values of each column, and an error ("" for none) a text."""
    errors = ["" if domain.valid(text) else domain.why_invalid(text) or "not valid" for text in texts]
    valid = [i for i, error in enumerate(errors) if not error]
    table = _nothing(domain, columns, len(texts))
    for name, column in zip(columns, table, strict=True):
        found = values_of(domain, _resolve(domain, name), [texts[i] for i in valid])
        for i, (value, error) in zip(valid, found, strict=True):
            column[i] = column[i] if error else value
            errors[i] = errors[i] or error
    return table, errors


def _nothing(domain: Domain, columns: Sequence[str], n: int) -> list[list[Any]]:
    """The ``columns`` of n texts before anything is known: nan for a rule, "" for a column of text."""
    return [[math.nan if isinstance(_resolve(domain, name), Rule) else ""] * n for name in columns]


def values_of(domain: Domain, asked: Rule | Column, texts: Sequence[str]) -> list[tuple[Any, str]]:
    """A value and an error ("" for none) a text. Where a batch fails, its texts are tried one by one; those of a slow
    rule are from the start, so that none is computed again (unless it keeps its own time, and fails by itself)."""
    score = partial(_batch_values, domain, asked)
    if isinstance(asked, Rule) and asked.cost == "slow" and not asked.patience:
        return [pair for text in texts for pair in one_by_one(score, asked.name, [text])]
    return one_by_one(score, asked.name, texts)


def one_by_one(score: Callable[[Sequence[Any]], Sequence[Any]], name: str, batch: Sequence[Any]) \
        -> list[tuple[Any, str]]:
    """A value and an error ("" for none) for each of ``batch``. Where ``score`` fails on it, its items are tried one by
    one; the value of one that fails is None."""
    try:
        values = score(batch)
        if len(values) != len(batch):
            raise ValueError(f"gave {len(values)} values for {len(batch)} texts")
        return [(value, "") for value in values]
    except (Exception, SystemExit) as error:  # a rule may fail in any way; that is no reason to lose other numbers
        if len(batch) == 1:
            return [(None, f"{name}: {type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": "))]
    return [pair for item in batch for pair in one_by_one(score, name, [item])]


def _batch_values(domain: Domain, asked: Rule | Column, texts: Sequence[str]) -> list[Any]:
    if isinstance(asked, Column):
        return list(asked.values(texts))
    if asked.when == "step":
        return [float(sum(map(_number, row))) for row in asked([domain.split(text) for text in texts])]
    return [_number(value) for value in asked(texts)]


def _number(value: Any) -> float:
    if isinstance(value, str | bytes):  # float("1") would take it
        raise TypeError(f"gave the text {value!r} where a number belongs")
    return float(value)


def _resolve(domain: Domain, name: str) -> Rule | Column:
    for column in domain.columns:
        if column.name == name:
            return column
    if "(" not in name and name not in {rule.name for rule in domain.rules}:
        raise nearest(name, _known(domain), f"rule of {domain.name}")
    return domain.rule(name)


def _known(domain: Domain) -> list[str]:
    return [*(rule.name for rule in domain.rules), *(column.name for column in domain.columns),
            *(f"{family.name}({family.argument})" for family in domain.families)]


# -- worker processes -----------------------------------------------------------------------------------------------

def _in_processes(domain: Domain, spec: str, texts: Sequence[str], columns: Sequence[str], workers: int) \
        -> Iterator[Batch]:
    """The results of :func:`_score` in order, computed by ``workers`` fresh processes."""
    with Processes(workers, PATIENCE, load_domain, spec) as executor:
        for part, found in scatter(executor, partial(_work, spec, columns), texts, BATCH):
            yield (_nothing(domain, columns, 1), [f"scoring {part[0]!r} {found}"]) if isinstance(found, Died) else found


_domain = cache(load_domain)


def _work(spec: str, columns: Sequence[str], batch: Sequence[str]) -> Batch:
    return _score(_domain(spec), batch, columns)
