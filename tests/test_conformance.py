"""The kit for plugin authors: good domains pass, and every kind of broken one is caught with its promise named."""

from __future__ import annotations

import math
import multiprocessing
import pickle
from collections.abc import Mapping, Sequence
from itertools import count
from random import Random
from typing import Any

import numpy as np
import pytest

from seqtutor.conformance import DomainError, check_domain
from seqtutor.domain import (
    Column,
    Domain,
    Exporter,
    Finding,
    Grammar,
    Rule,
    RuleFamily,
    UnknownToken,
    UsageError,
    nearest,
)
from seqtutor.plugins import load_domain
from seqtutor.vocabulary import EOS, Vocabulary

SMILES = ["CCO", "c1ccccc1", "CC(=O)Oc1ccccc1C(=O)O", "Clc1cc(Br)c[nH]1", "C[C@H](N)C(=O)O", "[Na+].CC(=O)[O-]",
          "C[N+](=O)[O-]", "[NH3]->[Fe]", "C" * 100]


def test_peptides_keep_their_promises(peptides: Domain) -> None:
    check_domain(peptides, ["ACD", "KWKLFKKIGA", "A" * 100], invalid=["", "X", "AC-D", "123"])


def test_molecules_keep_their_promises() -> None:
    check_domain(load_domain("molecules"), SMILES, invalid=["", "C1CC", "not a molecule", "c1cccc1", "CC>>CO"])


class Letters(Domain):
    """Keeps every promise; the broken ones below change one thing each."""

    name = "letters"
    tokens: Sequence[str] = ("a", "b", "c")
    rules: Sequence[Rule] = (
        Rule("length", "letters", score=lambda batch: [float(len(text)) for text in batch], low=0, high=99,
             explain=lambda text: [Finding("length", 0, len(text), 50, "too long")]),
        Rule("is_a", "one for each a", when="step",
             score=lambda batch: [[float(t == "a") for t in row] for row in batch]),
    )
    columns = (Column("upper", "in capitals", lambda texts: [text.upper() for text in texts]),)
    families = (RuleFamily("count", "how often", "letter", lambda letter: Rule(
        f"count({letter})", "how often", score=lambda batch: [float(text.count(letter)) for text in batch])),)
    describe: Sequence[str] = ("length", "upper")
    presets: Mapping[str, Mapping[str, Any]] = {"short": {"terms": ["length:minimise", {"rule": "count(a)"}]}}
    exporters: Mapping[str, Exporter] = {".abc": lambda table, path: None}

    def split(self, text: str) -> list[str]:
        for i, letter in enumerate(text):
            if letter not in "abcd":
                raise UnknownToken(letter, i, text, self.tokens)
        return list(text)

    def canonical(self, text: str) -> str | None:
        return "".join(sorted(text)) if text and set(text) <= set("abc") else None

    def variants(self, text: str, n: int, rng: Random) -> list[str]:
        return ["".join(rng.sample(text, len(text))) for _ in range(n)]

    def edits(self, texts: Sequence[str], n: int, rng: Random) -> list[str]:
        longer = dict.fromkeys("".join(sorted(text + rng.choice("abc"))) for text in texts)
        return [text for text in longer if text not in texts][:n]

    def grammar(self, vocabulary: Sequence[str], **options: Any) -> Grammar | None:
        table = np.full((3, len(vocabulary)), -1, np.int32)
        table[0, 3:] = 1
        table[1, 3:] = 1
        table[1, EOS] = 2
        return Grammar(table)


TEXTS, INVALID = ["abc", "ba", "c"], ["", "x", "ad"]


def test_the_good_one_passes() -> None:
    check_domain(Letters(), TEXTS, INVALID)


def rule(score: Any, **more: Any) -> dict[str, Any]:
    return {"rules": (Rule("r", "about", score=score, **more),)}


def table(*rows: Sequence[int], start: int = 0) -> dict[str, Any]:
    return {"grammar": lambda self, vocabulary, **options: Grammar(np.array(rows, np.int32), start)}


CALLS = count()
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "name": ({"name": "Letters "}, "name is a lower-case word"),
    "api_version": ({"api_version": 2}, "api_version is 1"),
    "tokens twice": ({"tokens": ("a", "b", "c", "a")}, "a vocabulary holds every token once"),
    "tokens that split": ({"tokens": ("a", "b", "c", "ab")},
                          "token 'ab' of this vocabulary is not a token of the domain"),
    "tokens that lack one": ({"tokens": ("a", "b")}, "standardise('abc') stays in tokens"),
    "split drops": ({"split": lambda self, text: list(text.replace("b", ""))}, "join(split('abc')) gives it back"),
    "split raises": ({"split": lambda self, text: [{"a": "a", "b": "b", "c": "c"}[x] for x in text]},
                     "split('x') raises UnknownToken or nothing, not KeyError"),
    "split refuses": ({"split": lambda self, text: (_ for _ in ()).throw(UnknownToken("a", 0, text, ("b",)))},
                      "the text 'abc': raises UnknownToken: unknown token 'a' at position 0"),
    "canonical wanders": ({"canonical": lambda self, text: text[1:] + text[:1] if set(text) & set("abc") else None},
                          "canonical('abc') is a fixed point"),
    "canonical refuses": ({"canonical": lambda self, text: None}, "'abc' is valid"),
    "canonical accepts": ({"canonical": lambda self, text: "".join(sorted(text))}, "'x' is invalid"),
    "standardise": ({"standardise": lambda self, text: text[::-1]}, "standardise('abc') is canonical"),
    "why_invalid": ({"why_invalid": lambda self, text: ""}, "why_invalid('x') says why"),
    "rule too short": (rule(lambda batch: [0.0] * (len(batch) // 2)), "rule 'r': one float a text"),
    "rule out of bounds": (rule(lambda batch: [2.0] * len(batch), high=1), "rule 'r': scores within low and high"),
    "rule by batch": (rule(lambda batch: [float(len(batch))] * len(batch)),
                      "rule 'r': a score does not depend on the batch"),
    "rule on nothing": (rule(lambda batch: [max(map(len, batch)) * 0.0] * len(batch)), "rule 'r': raises ValueError"),
    "rule raises": (rule(lambda batch: [1 / (len(t) - 1) for t in batch]), "rule 'r': raises ZeroDivisionError"),
    "rule says nothing": ({"rules": (Rule("r", "", score=lambda batch: [0.0] * len(batch)),)}, "says what it measures"),
    "step rule": (rule(lambda batch: [[0.0] for _ in batch], when="step"), "rule 'r': one float a token"),
    "two rules of a name": ({"rules": (Rule("r", "x", score=lambda b: [0.0] * len(b)),) * 1
                             + (Rule("r", "y", score=lambda b: [0.0] * len(b)),)}, "rule 'r': its name is its own"),
    "finding": (rule(lambda batch: [0.0] * len(batch), explain=lambda text: [Finding("r", 0, 1, 500, "bad")]),
                "a severity of 0 to 100"),
    "column": ({"columns": (Column("upper", "x", lambda texts: [len(t) for t in texts]),)},  # type: ignore[misc]
               "column 'upper': one string a text"),
    "describe": ({"describe": ("lenght",)}, "describe names 'lenght'"),
    "preset": ({"presets": {"short": {"terms": ["lenght"]}}},
               "preset 'short': unknown rule of letters 'lenght'; did you mean 'length'?"),
    "preset's keys": ({"presets": {"short": {"length": -1.0}}}, "preset 'short': unknown key of an objective 'length'"),
    "variants differ": ({"variants": lambda self, text, n, rng: [text + "a"]}, "is the same thing"),
    "variants too many": ({"variants": lambda self, text, n, rng: [text] * (n + 1)},
                          "variants: no more than asked for"),
    "variants by chance": ({"variants": lambda self, text, n, rng: [["cab"], ["abc"]][next(CALLS) % 2]},
                           "variants: the same from the same rng"),
    "variants outside": ({"tokens": ("a", "b", "c"), "canonical": lambda self, t: "abc" if t else None,
                          "variants": lambda self, text, n, rng: ["abcd"]}, "variant 'abcd' stays in tokens"),
    "given": ({"given": lambda self, tokens: len(tokens) + 1}, "given: a number of leading tokens"),
    "diversity": ({"diversity": lambda self, texts: 1.5}, "diversity: None, or from 0 to 1"),
    "edits too many": ({"edits": lambda self, texts, n, rng: ["a", "b", "aa", "bb", "cc"] if texts else []},
                       "edits: no more than asked for"),
    "edits by chance": ({"edits": lambda self, texts, n, rng: [["a"], ["b"]][next(CALLS) % 2] if texts else []},
                        "edits: the same from the same rng"),
    "edits of nothing": ({"edits": lambda self, texts, n, rng: ["a"]}, "edits: none without parents"),
    "edits that are old": ({"edits": lambda self, texts, n, rng: texts[:1]}, "edits: each is new"),
    "edits twice": ({"edits": lambda self, texts, n, rng: ["a", "a"] if texts else []}, "edits: each is new"),
    "edits invalid": ({"edits": lambda self, texts, n, rng: ["x"] if texts else []},
                      "edit 'x' is valid and canonical"),
    "edits not canonical": ({"edits": lambda self, texts, n, rng: ["cab"] if texts else []},
                            "edit 'cab' is valid and canonical"),
    "edits outside": ({"canonical": lambda self, t: "".join(sorted(t)) if t and set(t) <= set("abcd") else None,
                       "edits": lambda self, texts, n, rng: ["ad"] if texts else []}, "edit 'ad' stays in tokens"),
    "accepts": ({"accepts": lambda self, texts, **options: [False] * len(texts)}, "without options nothing is refused"),
    "grammar width": (table([1, 1], [1, 1]), "grammar: one column a token id"),
    "grammar state": (table([-1, -1, -1, 7, 7, 7]), "grammar: every state exists"),
    "grammar start": (table([-1, -1, 0, 0, 0, 0], start=3), "grammar: every state exists"),
    "grammar trap": (table([-1, -1, 0, 1, 0, 0], [-1, -1, -1, 1, -1, -1]),
                     "the end can be reached from every state (not from [1])"),
    "grammar only pads": (table([-1, -1, 0, 1, 0, 0], [0, -1, -1, -1, -1, -1]), "(not from [1])"),
    "exporter": ({"exporters": {"SDF": lambda table, path: None}}, "exporter suffix 'SDF' is like '.sdf'"),
}


@pytest.mark.parametrize("case", sorted(BROKEN))
def test_a_broken_promise_is_named(case: str) -> None:
    change, promise = BROKEN[case]
    with pytest.raises(DomainError) as caught:
        check_domain(type("Broken", (Letters,), change)(), TEXTS, INVALID)
    text = str(caught.value)
    assert text.startswith("the domain ")
    assert promise in text
    assert "\n" not in text


def test_every_broken_promise_is_listed_at_once() -> None:
    changes = BROKEN["rule raises"][0] | BROKEN["describe"][0] | BROKEN["exporter"][0] | {"name": "Bad"}
    with pytest.raises(DomainError) as caught:
        check_domain(type("Broken", (Letters,), changes)(), TEXTS, INVALID)
    for promise in ("name is a lower-case word", "ZeroDivisionError", "'lenght'", "'SDF'"):
        assert promise in str(caught.value)


def test_there_must_be_something_to_check_with() -> None:
    with pytest.raises(DomainError, match="at least one valid text"):
        check_domain(Letters(), [])


# -- errors that the contract promises ------------------------------------------------------------------------------


def test_unknown_token_says_symbol_place_and_vocabulary(peptides: Domain) -> None:
    with pytest.raises(UnknownToken) as caught:
        peptides.split("ACXD")
    error = caught.value
    assert (error.symbol, error.position, error.text) == ("X", 2, "ACXD")
    assert str(error) == ("unknown token 'X' at position 2 of 'ACXD'; the vocabulary is: "
                          "A C D E F G H I K L M N P Q R S T V W Y")
    with pytest.raises(UnknownToken, match=r"unknown token 'dd' at position 3 of 'abbdd'.*: a bb c"):
        Vocabulary(["a", "bb", "c"]).encode(["a", "bb", "dd"])
    with pytest.raises(UnknownToken, match="unknown token 'dd' at position 5 of 'a bb dd c'"):
        Vocabulary(["a", "bb", "c"]).encode(["a", "bb", "dd", "c"], " ".join)
    assert "… (100 in all)" in str(UnknownToken("x", 0, "x", [str(i) for i in range(100)]))


def raise_it(text: str) -> None:
    raise UnknownToken("X", 2, text, ("A", "C"))


def test_unknown_token_crosses_process_boundaries() -> None:
    error = UnknownToken("X", 2, "ACXD", ("A", "C"))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(error, protocol))
        assert type(copy) is UnknownToken
        assert (str(copy), copy.symbol, copy.position, copy.text) == (str(error), "X", 2, "ACXD")
    with multiprocessing.get_context("spawn").Pool(1) as pool, pytest.raises(UnknownToken, match="ACXD"):
        pool.map(raise_it, ["ACXD"])


def test_nearest() -> None:
    assert str(nearest("lenght", ["length", "upper"], "rule")) == (
        "unknown rule 'lenght'; did you mean 'length'? (known: length, upper)")
    assert str(nearest("qqqq", [], "rule")) == "unknown rule 'qqqq' (known: none)"


def test_rules_by_name_and_family() -> None:
    domain = Letters()
    assert domain.rule("length")(["abc"]) == [3.0]
    assert domain.rule("count(a)")(["abca"]) == [2.0]
    for spec in ("lenght", "count", "length(a)", "conut(a)"):
        with pytest.raises(UsageError, match="unknown rule of letters"):
            domain.rule(spec)


def test_nan_means_not_scored_and_is_allowed() -> None:
    check_domain(type("Nan", (Letters,), rule(lambda batch: [math.nan] * len(batch), low=0, high=1)
                      | {"describe": (), "presets": {}})(), TEXTS, INVALID)
