"""Samples from a model, fast and exactly: rows that end are refilled at once, whatever the lengths of the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from seqtutor.domain import Grammar, UsageError
from seqtutor.model import SequenceModel
from seqtutor.steps import PRECISIONS, State, make_step
from seqtutor.vocabulary import BOS, EOS, PAD


@dataclass(frozen=True)
class SamplingConfig:
    """How tokens are chosen."""

    temperature: float = field(default=1.0, metadata={"help": "below 1 safer, above 1 bolder; 0 takes the likeliest"})
    top_k: int = field(default=0, metadata={"help": "only the k likeliest tokens; 0 for all"})
    top_p: float = field(default=1.0, metadata={"help": "only the likeliest tokens that hold this share, 0 to 1"})
    epsilon: float = field(default=0.0, metadata={"help": "share of tokens drawn uniformly from the permitted, 0 to 1"})
    max_length: int = field(default=128, metadata={"help": "tokens after which a sequence is cut off"})
    batch: int = field(default=256, metadata={"help": "sequences that run side by side"})
    precision: str = field(default="auto", metadata={"help": "auto, fp32, bf16 or int8"})

    def __post_init__(self) -> None:
        if not self.temperature >= 0 or self.temperature == float("inf"):
            raise UsageError(f"the temperature must be 0 or more, not {self.temperature}")
        if self.top_k < 0:
            raise UsageError(f"top-k must be 0 (all tokens) or more, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top-p must be above 0 and at most 1, not {self.top_p}")
        if not 0 <= self.epsilon <= 1:
            raise UsageError(f"epsilon must be from 0 to 1, not {self.epsilon}")
        if self.max_length < 1 or self.batch < 1:
            raise UsageError("the length limit and the batch must be at least 1")
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}")


class Sampler:
    """Draws sequences from ``model``; the i-th depends on the seed and i, not on the batch it ran in.

        sampler = Sampler(model, SamplingConfig(temperature=0.9), seed=7)
        smiles = ["".join(tokens) for tokens in sampler.sample(100)]

    ``prefix``: token ids that every sequence begins with. ``grammar``: an automaton whose forbidden tokens get
    probability zero. A sequence that reaches ``max_length`` tokens is cut off there (and is then rarely valid).
    """

    def __init__(self, model: SequenceModel, config: SamplingConfig = SamplingConfig(), *, seed: int = 0,
                 prefix: Sequence[int] = (), grammar: Grammar | None = None):
        self.model, self.config, self.grammar = model, config, grammar
        self.prefix = torch.tensor([BOS, *prefix], dtype=torch.int64)
        if len(prefix) >= config.max_length:
            raise UsageError(f"a prefix of {len(prefix)} tokens leaves no room below the limit of {config.max_length}")
        self._generator = torch.Generator().manual_seed(seed)
        self._step = make_step(model, config.precision)
        self._start = 0
        self._next_state: Tensor | None = None
        if grammar is not None:
            self._next_state = torch.from_numpy(grammar.next_state.astype("int64"))
            if self._next_state.shape[1] != len(model.vocabulary):
                raise UsageError(f"the grammar knows {self._next_state.shape[1]} tokens, "
                                 f"the model {len(model.vocabulary)}")
            self._start = self._walk(prefix)

    @property
    def precision(self) -> str:
        """What ``auto`` came to: fp32, bf16 or int8."""
        return self._step.precision

    def sample(self, n: int) -> list[list[str]]:
        """``n`` token lists, without bos and eos."""
        return [self.model.vocabulary.decode(ids) for ids in self.sample_ids(n)]

    def sample_ids(self, n: int) -> list[list[int]]:
        """``n`` id lists, without bos, with eos unless cut off. Calling again continues the stream."""
        stream = self.stream(n)
        return [next(stream) for _ in range(n)]

    def complete(self, prompts: Sequence[Sequence[int]], barred: Sequence[int] = ()) -> list[list[int]]:
        """A sequence for each of the ``prompts``, ids that it goes on from (after the prefix, if there is one) by a
        token or more, the first none of ``barred``. Raises :class:`UsageError` for a prompt that breaks the grammar or
        after which none may come."""
        barred = [EOS, *barred]
        room = self.config.max_length - len(self.prefix) + 1
        for prompt in prompts:
            if len(prompt) >= room:
                raise UsageError(f"a prompt of {len(prompt)} tokens leaves no room below the limit of "
                                 f"{self.config.max_length}")
            if self.grammar is not None:
                state = self._walk([*self.prefix[1:].tolist(), *prompt])
                if not (np.delete(self.grammar.next_state[state], barred) >= 0).any():
                    raise UsageError("a prompt is whole by the grammar, and nothing may follow it")
        return list(self.stream(len(prompts), prompts, barred))

    @torch.no_grad()
    def stream(self, limit: int | None = None, prompts: Sequence[Sequence[int]] | None = None,
               barred: Sequence[int] = ()) -> Iterator[list[int]]:
        """Id lists in the order in which they were *begun*, ``limit`` of them or without end; the i-th goes on from
        ``prompts[i]``, if there are prompts, by none of ``barred``.

        The order matters: taken as they end, short sequences would come too often.
        """
        config, device = self.config, self.model.head.weight.device
        rows = config.batch if limit is None else min(config.batch, limit)
        if rows == 0:
            return
        longest = config.max_length
        said = None if prompts is None else _prompted(prompts, longest).to(device)
        lengths = torch.tensor([len(prompt) for prompt in prompts or ()], dtype=torch.int64, device=device)
        never = torch.zeros(len(self.model.vocabulary), dtype=torch.bool, device=device)
        never[list(barred)] = True
        uniform = torch.rand(rows, longest, generator=self._generator).to(device)  # the draws of each row, all at once
        tokens = torch.full((rows, longest), PAD, device=device)
        everything = torch.arange(rows, device=device)
        position = torch.zeros(rows, dtype=torch.int64, device=device)
        automaton = torch.full((rows,), self._start, device=device)
        state = self._step.begin(rows)
        first = self._first_state()
        _put(state, everything, first)
        current = self.prefix[-1].to(device).repeat(rows)
        index = torch.arange(rows)  # which sequence a row is writing
        begun, emitted = rows, 0
        finished: dict[int, list[int]] = {}
        prefix = self.prefix[1:].tolist()
        room = longest - len(prefix)
        while True:
            logits = self._step(current, state)
            if self._next_state is not None:
                logits = logits.masked_fill(self._next_state[automaton] < 0, float("-inf"))
            if said is not None:
                asked = index.clamp_min(0).to(device)
                logits[(position == lengths[asked])[:, None] & never] = float("-inf")
            current = choose(logits, uniform[everything, position], config)
            if said is not None:
                current = torch.where(position < lengths[asked], said[asked, position], current)
            tokens[everything, position] = current
            position += 1
            if self._next_state is not None:
                automaton = self._next_state[automaton, current]
            ended = ((current == EOS) | (position >= room)).nonzero()[:, 0]
            if not len(ended):
                continue
            written = tokens[ended].tolist()
            for row, ids, length in zip(ended.tolist(), written, position[ended].tolist(), strict=True):
                if index[row] >= 0:
                    finished[int(index[row])] = prefix + ids[:length]
            while emitted in finished:
                yield finished.pop(emitted)
                emitted += 1
                if emitted == limit:
                    return
            # refill: the ended rows begin the next sequences; past the limit they idle until enough of them can go
            fresh = ended if limit is None else ended[:limit - begun]
            index[ended.cpu()] = -1
            index[fresh.cpu()] = torch.arange(begun, begun + len(fresh))
            begun += len(fresh)
            uniform[fresh] = torch.rand(len(fresh), longest, generator=self._generator).to(device)
            position[ended] = 0
            automaton[ended] = self._start
            current[ended] = self.prefix[-1].to(device)
            _put(state, fresh, first)
            if len(fresh) < len(ended) and 8 * int((index < 0).sum()) >= len(index):
                left = (index >= 0).nonzero()[:, 0]
                index, left = index[left], left.to(device)
                uniform, tokens, position, automaton, current = (
                    tensor[left] for tensor in (uniform, tokens, position, automaton, current))
                everything = everything[:len(left)]
                state = tuple(tensor[:, left] for tensor in state)

    def _first_state(self) -> State:
        """The network's state for one row after all of the prefix but its last token."""
        state = self._step.begin(1)
        for token in self.prefix[:-1]:
            self._step(token[None].to(self.model.head.weight.device), state)
        return state

    def _walk(self, prefix: Sequence[int]) -> int:
        assert self.grammar is not None
        state = self.grammar.start
        for token in prefix:
            state = int(self.grammar.next_state[state, token])
            if state < 0:
                raise UsageError(f"the prefix breaks the grammar at {self.model.vocabulary.all[token]!r}")
        return state


def _prompted(prompts: Sequence[Sequence[int]], longest: int) -> Tensor:
    """int64 [prompts, longest], padded."""
    said = torch.full((len(prompts), longest), PAD)
    for row, prompt in zip(said, prompts, strict=True):
        row[:len(prompt)] = torch.tensor(prompt, dtype=torch.int64)
    return said


def _put(state: State, rows: Tensor, one: State) -> None:
    """Sets ``rows`` of ``state`` to the single row of ``one``."""
    for tensor, row in zip(state, one, strict=True):
        tensor[:, rows] = row


def choose(logits: Tensor, uniform: Tensor, config: SamplingConfig) -> Tensor:
    """One token a row by inverse CDF, a fifth of torch.multinomial's cost.

    logits: float [rows, V], −inf where forbidden; uniform: float [rows] in [0, 1). Returns int64 [rows].
    """
    logits = logits.float()
    logits[:, :EOS] = float("-inf")  # pad and bos are never written
    possible = logits > float("-inf") if config.epsilon else logits
    if config.temperature == 0:
        if not config.epsilon:
            return logits.argmax(-1)
        logits = torch.full_like(logits, float("-inf")).scatter(-1, logits.argmax(-1, keepdim=True), 0.0)
    elif config.temperature != 1:
        logits = logits / config.temperature
    if 0 < config.top_k < logits.shape[-1]:
        kth = logits.topk(config.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < kth, float("-inf"))
    p = logits.softmax(-1)
    if config.top_p < 1:  # nucleus (Holtzman et al. 2020): the smallest set of likeliest tokens that holds top_p
        ordered, order = p.sort(-1, descending=True)
        outside = ordered.cumsum(-1) - ordered >= config.top_p
        p = torch.zeros_like(p).scatter(-1, order, ordered.masked_fill(outside, 0.0))
    if config.epsilon:
        p = p.lerp(possible / possible.sum(-1, keepdim=True), config.epsilon)
    cdf = p.cumsum(-1)
    total = cdf[:, -1:]
    # strictly below the total, so that rounding never lands behind the last token with any probability
    threshold = torch.minimum(uniform[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cdf, threshold, right=True)[:, 0]
