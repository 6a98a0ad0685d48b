"""The plugin contract: what a domain brings to seqtutor.

A domain is one object that subclasses :class:`Domain`. It never imports torch; everything it exchanges with the core is
text, tokens (strings) and plain numbers. ``examples/peptide_domain.py`` is a complete one in about thirty lines, and
:func:`seqtutor.conformance.check_domain` tells whether yours keeps its promises.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import math
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:  # a domain without a grammar needs no numpy, and --help none at all
    import numpy as np
    from numpy.typing import NDArray

API_VERSION = 1
#: families that every domain has: a user's own function, program, command or web service
SCORERS = ("score", "program", "command", "url")


class SeqtutorError(Exception):
    """Something that could not be finished, in one line for the user. The command line exits 1."""

    exit_code = 1


class UsageError(SeqtutorError):
    """Something was asked for in the wrong way, in one line for the user. The command line exits 2."""

    exit_code = 2


class UnknownToken(UsageError):
    """A text holds a symbol outside the vocabulary. ``position`` counts characters from 0."""

    def __init__(self, symbol: str, position: int, text: str, tokens: Sequence[str]):
        self.symbol, self.position, self.text = symbol, position, text
        shown = " ".join(tokens) if len(tokens) <= 40 else " ".join(tokens[:40]) + f" … ({len(tokens)} in all)"
        super().__init__(f"unknown token {symbol!r} at position {position} of {text!r}; the vocabulary is: {shown}")

    def __reduce__(self) -> tuple[Any, ...]:  # so that it crosses process boundaries
        return (_unknown_token, (self.symbol, self.position, self.text, str(self)))


def _unknown_token(symbol: str, position: int, text: str, message: str) -> UnknownToken:
    error = UnknownToken(symbol, position, text, ())
    error.args = (message,)
    return error


def nearest(name: str, known: Iterable[str], what: str) -> UsageError:
    """The error for an unknown ``name``: says what was given, the nearest known name and all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return UsageError(f"unknown {what} {name!r}{hint} (known: {', '.join(names) or 'none'})")


@dataclass(frozen=True)
class Finding:
    """One place where a text breaks a rule, in words a user can act on.

    ``start`` and ``end`` are token positions (end exclusive); ``severity`` runs from 0 (remark) to 100 (unusable).
    """

    rule: str
    start: int
    end: int
    severity: float
    words: str
    fix: str = ""


StepScore = Callable[[Sequence[Sequence[str]]], Sequence[Sequence[float]]]
EndScore = Callable[[Sequence[str]], Sequence[float]]


@dataclass(frozen=True)
class Rule:
    """A number for a sequence. ``nan`` means that it could not be scored, which is not zero.

    An *end* rule takes a batch of texts and returns one float each. A *step* rule takes a batch of token lists and
    returns one float a token. ``low`` and ``high`` bound every score; ``cost`` tells the scheduler what to cache.
    ``rate`` is the rule's mean over human examples (over a corpus, say), where more is not simply better.
    ``patience``: seconds that a rule which keeps its own time (a program, a service) may need for one text; 0 for one
    that is to be limited from outside.
    """

    name: str
    about: str
    score: EndScore | StepScore
    when: Literal["end", "step"] = "end"
    low: float = -math.inf
    high: float = math.inf
    cost: Literal["fast", "slow"] = "fast"
    explain: Callable[[str], Sequence[Finding]] | None = None
    rate: float | None = None
    patience: float = 0.0

    def __call__(self, batch: Sequence[Any]) -> Sequence[Any]:
        return self.score(batch)


@dataclass(frozen=True)
class RuleFamily:
    """Rules with one argument, written ``name(argument)``: ``match(c1ccccc1)``, ``similarity(CCO)``."""

    name: str
    about: str
    argument: str
    make: Callable[[str], Rule]


@dataclass(frozen=True)
class Column:
    """A text column of a score table (a scaffold, the names of alerts): one string for each text of a batch."""

    name: str
    about: str
    values: Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True)
class Option:
    """A choice a domain offers to `seqtutor generate` (``key``, ``meter``, ``keep``); what the user chose, if
    anything, reaches :meth:`Domain.grammar` and :meth:`Domain.accepts` under this name. ``many``: may be given more
    than once, and arrives as a tuple."""

    name: str
    about: str
    default: Any = None
    type: type = str
    choices: Sequence[str] = ()
    many: bool = False
    metavar: str | None = None


@dataclass(frozen=True)
class Grammar:
    """A finite automaton over token ids: which token may follow, at the cost of one gather.

    ``next_state``: int32 [states, vocabulary]; the state after a token, −1 where the token is forbidden. Columns are
    the ids of :class:`seqtutor.vocabulary.Vocabulary` (0 pad, 1 bos, 2 eos, then the domain's tokens in order); a
    non-negative eos entry means that the text may end in that state. From every state that can be reached the end can
    be reached too. ``start`` is the state before the first token.
    """

    next_state: NDArray[np.int32]
    start: int = 0


@dataclass(frozen=True)
class Request:
    """What one run of `seqtutor generate` comes to, when a domain has more to say than its options.

    ``options`` reach :meth:`Domain.grammar` and :meth:`Domain.accepts`; every text begins with ``prefix`` and has at
    most ``max_length`` tokens. Of ``surplus`` × n texts ``choose(texts, n)`` keeps n. ``deliver(table, recipe)``, if
    there is one, writes the outputs that the domain itself knows how to write (folders, say) and returns their paths;
    ``recipe`` holds the command's own parameters. ``messages`` go to stderr, one line each.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    max_length: int = 128
    surplus: int = 1
    choose: Callable[[list[str], int], list[str]] | None = None
    deliver: Callable[[Table, Mapping[str, Any]], Sequence[Path]] | None = None
    messages: Sequence[str] = ()


class Writer(Protocol):
    """A model, as a :class:`Domain` that puts its samples together from parts may use it."""

    def knows(self, text: str) -> bool:
        """Whether the model could write ``text`` at all."""
        ...

    def complete(self, beginnings: Sequence[str], barred: Sequence[str] = ()) -> list[str]:
        """For each of the ``beginnings`` a text that goes on from it as the model would, by at least a token, the first
        none of ``barred``. Raises :class:`UnknownToken`."""
        ...

    def log_prob(self, texts: Sequence[str], ended: bool = True) -> NDArray[np.float64]:
        """log p of each of the ``texts``, in nats, as whole texts, or as beginnings where not ``ended``."""
        ...


#: (a model, how many, a source of chance) → so many pairs of a beginning that was given and the whole text
Proposer = Callable[[Writer, int, Random], Sequence[tuple[str, str]]]


@dataclass
class Table:
    """Texts with their columns, row by row in the same order; what exporters and the command line pass around."""

    texts: list[str]
    columns: dict[str, list[Any]] = field(default_factory=dict)

    def rows(self) -> Iterator[dict[str, Any]]:
        """One ``{column: value}`` a row."""
        for i in range(len(self.texts)):
            yield {name: values[i] for name, values in self.columns.items()}


Exporter = Callable[[Table, Path], None]


@dataclass(frozen=True)
class Corpus:
    """A named set of training texts. ``path()`` finds its file or says in one line how to get it.

    ``read(path)`` yields raw texts as they stand in the file; :meth:`Domain.standardise` then cleans each of them.
    """

    name: str
    about: str
    licence: str
    path: Callable[[], Path]
    read: Callable[[Path], Iterator[str]]


class Domain(ABC):
    """Tokens, corpus and rules of one kind of sequence. Only ``name``, ``tokens``, ``split`` and ``canonical`` are
    required; every other member has a default that means "nothing special here"."""

    api_version: int = API_VERSION
    name: str
    #: one line for `seqtutor domains`
    about: str = ""
    #: command lines for the help of `seqtutor generate`
    examples: Sequence[str] = ()
    #: what a text of this domain is called at the head of its column
    text_column: str = "text"
    #: tokens after which a sample of no particular form is cut off
    max_length: int = 128
    #: what several of them are called; by default the domain's name
    plural: str = ""
    #: every token that a prior of this domain knows unless its corpus says otherwise
    tokens: Sequence[str]
    rules: Sequence[Rule] = ()
    families: Sequence[RuleFamily] = ()
    columns: Sequence[Column] = ()
    #: the columns that a user wants to see first: names of rules or columns
    describe: Sequence[str] = ()
    #: named objectives, each in the structure of an objective file; see :mod:`seqtutor.objective`
    presets: Mapping[str, Mapping[str, Any]] = {}
    #: rules that a tutor watches when its objective does not reward them: +1 where higher is better, −1 where lower is
    guards: Mapping[str, int] = {}
    #: kinds of bucket that a run may be kept diverse by; see :mod:`seqtutor.diversity`
    bucket_kinds: Sequence[str] = ()
    options: Sequence[Option] = ()
    corpora: Mapping[str, Corpus] = {}
    #: by lower-case file suffix, e.g. ".sdf"; CSV and JSON are the core's and work for every domain
    exporters: Mapping[str, Exporter] = {}

    @abstractmethod
    def split(self, text: str) -> list[str]:
        """The tokens of ``text``; ``join(split(text)) == text``. Raises :class:`UnknownToken` at a symbol that no
        vocabulary of the domain could hold; a token merely missing from ``tokens`` is the vocabulary's to refuse."""

    @abstractmethod
    def canonical(self, text: str) -> str | None:
        """The one spelling of the thing that ``text`` stands for, or None when it stands for nothing."""

    def join(self, tokens: Sequence[str]) -> str:
        """The text of a token list."""
        return "".join(tokens)

    def valid(self, text: str) -> bool:
        """Whether ``text`` stands for something."""
        return self.canonical(text) is not None

    def why_invalid(self, text: str) -> str:
        """Why ``text`` stands for nothing, in a few words."""
        return f"not a valid text of the domain {self.name!r}"

    def standardise(self, text: str) -> str | None:
        """``text`` as a training example (salts off, one spelling, …), or None to leave it out of the corpus."""
        return self.canonical(text)

    def foreign(self, text: str) -> Sequence[str]:
        """The tokens outside ``tokens`` for which :meth:`standardise` leaves ``text`` out, sorted; none where it has
        another reason."""
        try:
            return sorted({*self.split(text)} - {*self.tokens})
        except UnknownToken:
            return []

    def with_tokens(self, tokens: Sequence[str]) -> Domain:
        """The same domain with other ``tokens``, for :meth:`standardise` to go by."""
        other = copy.copy(self)
        other.tokens = tuple(tokens)
        return other

    def family(self, text: str) -> str:
        """Texts of one family stay on one side of the split between training and held-out data."""
        return text

    def split_keys(self, texts: Sequence[str]) -> Sequence[str]:
        """One key a text; texts with equal keys stay on one side of the split. By default each text's own family; a
        domain whose families show only in the whole corpus (tunes that share a phrase) finds them here."""
        return [self.family(text) for text in texts]

    def versions(self) -> dict[str, str]:
        """Versions of what ``standardise`` depends on; a change makes cached corpora stale. By default a hash of the
        file that defines the domain, which is all there is to a domain of one file."""
        file = getattr(sys.modules.get(type(self).__module__), "__file__", None)
        return {self.name: hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]} if file else {}

    def grammar(self, vocabulary: Sequence[str], **options: Any) -> Grammar | None:
        """The automaton that every sample must follow under ``options``, or None for no constraint. ``vocabulary``
        is the model's token list, specials included: column i of the automaton is token i."""
        return None

    def proposer(self, **options: Any) -> Proposer | None:
        """How to sample under ``options`` where neither a grammar nor a common prefix can say it (a scaffold to grow
        from, a lead to stay near), or None to let the model write. Not all that is proposed need be valid, nor need
        :meth:`accepts` accept it. Raises :class:`UsageError`."""
        return None

    def request(self, outputs: Sequence[Path], seed: int, **options: Any) -> Request:
        """What the user's ``options`` of `seqtutor generate` come to; raises :class:`UsageError` before any work.
        ``outputs``: the files and folders to write."""
        return Request(options)

    def command(self, name: str) -> Any:
        """The domain's own form of the command ``name`` (a click command), or None for the core's: a domain whose
        files are not tables of texts reads them itself."""
        return None

    def accepts(self, texts: Sequence[str], **options: Any) -> Sequence[bool]:
        """Which of the valid, canonical ``texts`` meet the user's ``options`` that no grammar can promise."""
        return [True] * len(texts)

    def given(self, tokens: Sequence[str]) -> int:
        """How many leading tokens are conditions that were given, not choices to be tuned."""
        return 0

    def diversity(self, texts: Sequence[str]) -> float | None:
        """How unlike one another the valid ``texts`` are, from 0 (all alike) to 1, or None where nobody can say."""
        return None

    def variants(self, text: str, n: int, rng: Random) -> list[str]:
        """Up to ``n`` other spellings of the same thing; ``canonical`` of each equals ``canonical(text)``."""
        return []

    def edits(self, texts: Sequence[str], n: int, rng: Random) -> list[str]:
        """Up to ``n`` different neighbours of the good sequences ``texts`` (best first): valid, canonical, written in
        ``tokens`` and none of the ``texts`` themselves; the same from the same ``rng``."""
        return []

    def thumbnail(self, text: str) -> bytes | None:
        """A small picture of the thing that ``text`` stands for as PNG, or None where there is none."""
        return None

    def likeness(self, texts: Sequence[str], known: Iterable[str]) -> Sequence[tuple[str, float]]:
        """For each valid text the one among ``known`` that is most like it, and how alike they are, from 0 to 1; empty
        where nobody can say."""
        return []

    def lineage(self, text: str) -> Sequence[str]:
        """The groups that the valid ``text`` belongs to, the widest first, each a text of the domain or ""."""
        return []

    def bucket(self, kind: str, text: str, buckets: Sequence[str], similarity: float) -> str:
        """The bucket of one of ``bucket_kinds`` that the valid, canonical ``text`` falls into: one of the ``buckets``
        there are, or a new one. ``similarity``, above 0 to 1, is for kinds that measure how alike texts are."""
        raise UsageError(f"the domain {self.name!r} has no buckets")

    def features(self, texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """What valid ``texts`` are compared by when their scores are to be foretold: bits, uint8 [n, b], of the parts
        they have, and numbers, float32 [n, k], in any units. Raises :class:`UsageError` where the domain has none."""
        raise UsageError(f"the domain {self.name!r} has no features to foretell scores by; leave screen at 0")

    def read_file(self, path: Path, column: str | None = None) -> Iterator[str]:
        """Raw texts of a user's file; by default one text a line."""
        if column is not None:
            raise UsageError(f"files of the domain {self.name!r} have one text a line and no column {column!r}")
        with open(path, encoding="utf-8-sig") as file:
            for line in file:
                if line.strip():
                    yield line.strip()

    def read_table(self, path: Path, column: str | None = None) -> Table:
        """A user's file (``-`` for stdin) for `seqtutor score`: its texts with all columns it has, theirs among them.

        By default what :meth:`read_file` yields. A row that cannot be read has the reason in the column ``error``.
        """
        from seqtutor.files import check_readable

        name = "stdin" if str(path) == "-" else str(path)
        try:
            texts = [line.strip() for line in sys.stdin if line.strip()] if name == "stdin" else \
                list(self.read_file(check_readable(path), column))
        except UnicodeDecodeError:
            raise UsageError(f"{name} is not UTF-8 text; it should hold one text a line") from None
        if not texts:
            raise UsageError(f"{name} is empty; it should hold one text a line")
        return Table(texts, {self.text_column: list(texts)})

    # -- resolved here once, the same for every domain ---------------------------------------------------------

    def rule(self, spec: str) -> Rule:
        """The rule called ``spec``, or ``family(argument)``: one of the domain's or a user's scorer
        (:mod:`seqtutor.scorers`). Raises :class:`UsageError` with the nearest name."""
        for rule in self.rules:
            if rule.name == spec:
                return rule
        called = re.fullmatch(r"(\w+)\((.*)\)", spec, flags=re.DOTALL)
        for family in self.families:
            if called and family.name == called[1]:
                return family.make(called[2])
        if called and called[1] in SCORERS:
            from seqtutor.scorers import make

            return make(called[1], called[2])
        names = [rule.name for rule in self.rules] + [f"{f.name}({f.argument})" for f in self.families]
        raise nearest(spec, names, f"rule of {self.name}")

    def corpus(self, name: str, column: str | None = None) -> Corpus:
        """The corpus called ``name``, or one read from the file of that name (``column``: for files with columns)."""
        if name in self.corpora:
            return self.corpora[name]
        path = Path(name)
        if not path.exists() and path.suffix == "" and "/" not in name:
            raise nearest(name, self.corpora, f"corpus of {self.name} (and there is no such file)")
        title = path.name if column is None else f"{path.name}, column {column}"
        return Corpus(title, f"the file {title}", "the user's own", lambda: path, lambda p: self.read_file(p, column))
