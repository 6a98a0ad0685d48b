"""KL-controlled soft Q-learning: raises the reward of a policy that stays close to its prior.

    maximise  E_π[R] − β·KL(π‖p)        whose one optimum is        π*(x) = p(x)·exp(R(x)/β) / Z

(Sequence Tutor: Jaques, Gu, Turner, Eck 2016.) One step is
:meth:`Tutor.step`, the loop :func:`seqtutor.run.tune`; the losses are in :mod:`seqtutor.losses`.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from random import Random
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqtutor import checkpoint, losses
from seqtutor.critic import Critic, QCritic
from seqtutor.diversity import DiverseRewarder
from seqtutor.domain import Domain, Grammar, SeqtutorError, UnknownToken, UsageError
from seqtutor.kl import BetaControl, RateControl
from seqtutor.machine import autocasting
from seqtutor.memory import Experience, Memory
from seqtutor.model import Readout, SequenceModel, improved
from seqtutor.policy import Permitted, Sequences, chosen, log_probs, masked_log_softmax, padded
from seqtutor.rewards import Rewarder, Rewards
from seqtutor.sampling import Sampler, SamplingConfig
from seqtutor.settings import BOOTSTRAPPED, TuneConfig
from seqtutor.steps import make_step
from seqtutor.surrogate import Screen
from seqtutor.vocabulary import BOS, EOS
from seqtutor.writing import proposed

_DUAL_STEPS = 100  # in a longer run the multipliers of rates take as much smaller steps: the policy answers late
_CHUNK = 64  # sequences that run through a network together


@dataclass
class Chunk:
    """A padded batch with all that an update needs. ``log_p``, ``nats``: float [batch, T], of the prior and the reward
    in nats; ``learn``: bool [batch, T]; for new ones ``everywhere``, what :meth:`Tutor._by_prior` says, and ``fresh``:
    bool [batch], those that the policy wrote."""

    x: Sequences
    log_p: Tensor
    nats: Tensor
    learn: Tensor
    everywhere: tuple[Tensor, Tensor, Tensor] | None = None
    fresh: Tensor | None = None


def parted(order: list[int], size: int) -> list[list[int]]:
    """``order``, places by length, in parts of at most ``size`` (0: one part), each with short ones and long ones."""
    parts = max(1, math.ceil(len(order) / size)) if size else 1
    return [order[first::parts] for first in range(parts)]


class Tutor:
    """The state of a run between two steps; :meth:`step` makes one. Everything random depends on the seed and the
    step's number alone, so what :meth:`state` holds is all that a resumed run needs.

    ``grammar`` limits what is written, ``options``, the user's, what the domain proposes and accepts; ``targets`` are
    expectations to meet (rule → rate), from the objective.
    """

    def __init__(self, domain: Domain, prior: SequenceModel, rewarder: Rewarder | DiverseRewarder,
                 config: TuneConfig = TuneConfig(), *,
                 grammar: Grammar | None = None, targets: dict[str, float] | None = None,
                 options: Mapping[str, Any] | None = None):
        config = config.settled()
        self.domain, self.prior, self.rewarder, self.config = domain, prior.eval(), rewarder, config
        self.grammar, self.options = grammar, dict(options or {})
        self.propose = domain.proposer(**self.options)
        self.permitted = Permitted(len(prior.vocabulary), grammar)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.policy = prior.with_readout(config.max_length) if config.method == "soft-q" else copy.deepcopy(prior)
        self.critic = Critic(prior.config.width, config.max_length, config.critic_memory, config.critic_ridge)
        self.q = QCritic(cast(Readout, self.policy.readouts[-1]), config.max_length, config.critic_rate,
                         config.precision, config.beta) if config.method == "soft-q" else None
        self.target = copy.deepcopy((self.policy, self.critic)) if config.method in BOOTSTRAPPED else None
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=config.learning_rate, betas=(0.9, 0.99))
        self.screen = Screen(domain, self._accepted) if config.screen else None
        self.memory = Memory(config.recent_size, config.best_size, config.rank)
        self.beta = BetaControl(config.control, config.beta, config.kl)
        self.rates = RateControl(targets or {})
        if targets and not config.batch:
            raise UsageError("rates are measured on fresh samples: targets need a batch of at least 1")
        self.done = 0
        self.scores: Rewards | None = None  # of all that the last step scored
        self.fresh_totals: NDArray[np.float64] = np.zeros(0)  # of its fresh samples, for a guard
        self.fresh_values: dict[str, NDArray[np.float64]] = {}
        self.safe: dict[str, Tensor] = {}  # the last policy within the budget, and its KL
        self.safe_kl = 0.0
        self._autocast = autocasting(config.precision, torch.device("cpu"))
        self._precision = make_step(prior).precision  # what `auto` comes to is measured once

    def give(self, sequences: Sequence[tuple[str, float]]) -> None:
        """Remembers a user's own texts for good, as a source of experience; a score of nan is left to the rules.

        Raises :class:`UsageError` for a text that the vocabulary, the grammar or the length limit rules out.
        """
        rows = []
        for text, _ in sequences:
            ids = self._writable(text)
            if ids is None:
                raise UsageError(f"{text!r} is longer than {self.config.max_length} tokens or breaks the grammar: the "
                                 "policy can never write it; leave it out")
            rows.append(ids)
        if not rows:
            return
        tokens = [self.prior.vocabulary.decode(ids) for ids in rows]
        scores = self.rewarder(tokens)
        told = np.array([score for _, score in sequences], np.float64)
        steps = 0.0 if scores.steps is None else np.array([row.sum() for row in scores.steps])
        scores.end = np.where(np.isnan(told), scores.end, told - steps)  # the whole score is the user's
        _, experiences = self._judged_by_prior(rows, [], tokens, scores)
        self.memory.given = [e for e in experiences if e is not None]

    def step(self) -> dict[str, float]:
        """One round: experience, rewards, updates, control of the KL. Returns its figures.

        Raises :class:`SeqtutorError` when the loss is not finite; the policy is then as it was before that update.
        """
        config, number = self.config, self.done
        if not config.batch and not self.memory.given:
            raise UsageError("a batch of 0 learns from given sequences alone, and nothing was given")
        self._steer()
        # 1. Fresh samples, then neighbours and other spellings of the best, all as token ids
        rows, begun = self._samples(config.batch, config.seed * 1_000_003 + number)
        fresh = len(rows)
        rows += self._neighbours(number)
        # 2. Their rewards; a nan is no reward, so what could not be scored teaches nothing
        tokens = [self.prior.vocabulary.decode(ids) for ids in rows]
        scores = self.rewarder(tokens)
        # 3. What the prior says of them, once for all; minibatches, each in batches of like length
        learnt, experiences = self._judged_by_prior(rows, begun, tokens, scores)
        self.memory.add(e for e in experiences if e is not None)
        # 4. Updates: the new experience, all or by parts, each with some of the old; then, if asked for, only the old
        rng = np.random.default_rng([config.seed, number])
        totals = np.zeros(3) if fresh else np.full(3, math.nan)
        loss = 0.0
        if config.method == "climb":
            learnt = [self._among_best([chunk for part in learnt for chunk in part], experiences, totals)]
        rounds = [*learnt, *([] for _ in range(config.updates - 1))]
        for part in rounds:
            loss += self._update(part + self._remembered(rng), totals) / len(rounds)
        # 5. Figures of the fresh samples, each before it is learnt from; KL as it was trained on, exact and by samples
        kl, kl_sampled, entropy = totals / max(1, fresh)
        figures = self._figures(scores, experiences[:fresh])
        self.scores = scores
        self.fresh_totals = scores.total[:fresh]
        self.fresh_values = {name: values[:fresh] for name, values in scores.values.items()}
        # 6. Dual steps on β and on the multipliers of rates; while the policy waits, its samples are the prior's
        scored = [e for e in experiences[:fresh] if e is not None and e.canonical] if self.rates.names else []
        if self._waits:
            if scored:
                self.rates.prepare(np.stack([e.features for e in scored]), np.array([e.total for e in scored]),
                                   self._beta)
        else:
            if fresh:
                self.beta.observe(kl)
            pace = config.pace(self.done)
            if scored:  # most in mid-run: the policy comes up to them first, and at the end it stands still
                self.rates.observe(np.stack([e.features for e in scored]),
                                   4 * pace * (1 - pace) * min(1.0, _DUAL_STEPS / config.steps))
            if self.beta.mode == "budget":
                self._stay_within_budget()
        self.done += 1
        return {"step": self.done, **figures, "kl": kl, "kl_sampled": kl_sampled, "beta": self._beta,
                "entropy": entropy, "loss": loss, "log_z": self.log_z(),
                **{f"λ {name}": float(value) for name, value in zip(self.rates.names, self.rates.multipliers,
                                                                    strict=True)}}

    def reconsider(self) -> None:
        """Scores what is remembered anew, after the rewarder's aim has changed; a user's own scores stay."""
        for name in ("recent", "best"):
            remembered: list[Experience] = getattr(self.memory, name)
            scores = self.rewarder([self.prior.vocabulary.decode(e.ids) for e in remembered])
            setattr(self.memory, name, [replace(e, reward=credited(scores, i, len(e.ids)))
                                        for i, e in enumerate(remembered) if not math.isnan(scores.end[i])])
        self.memory.best.sort(key=lambda e: -e.total)
        self.memory.lowest = min((e.total for e in self.memory.recent + self.memory.best if e.canonical),
                                 default=math.inf)

    @torch.no_grad()
    def log_z(self) -> float:
        """V of the start, in nats: log Z at the optimum."""
        first = torch.tensor([[BOS]])
        allowed = self.permitted.along(first)
        if self.config.method == "climb":
            return math.nan
        if self.q is not None:
            _, prior, states = self._by_prior(first)
            return float(improved(prior, self.q(states) / self._beta)[1])
        return float(self.critic(log_probs(self.policy, first, allowed)[1]))

    # -- experience ---------------------------------------------------------------------------------------------------

    def _samples(self, n: int, seed: int) -> tuple[list[NDArray[np.int64]], list[int]]:
        """``n`` sequences that the policy writes now, as ids, and how many leading ones of each it was given."""
        config = self.config
        if not n:
            return [], []
        sampling = SamplingConfig(temperature=config.temperature, epsilon=config.epsilon, batch=n,
                                  max_length=config.max_length, precision=self._precision)
        sampler = Sampler(self.policy, sampling, seed=seed, grammar=self.grammar)
        if self.propose is None:
            return [np.array(ids) for ids in sampler.sample_ids(n)], [0] * n
        pairs = list(itertools.islice(proposed(self.domain, sampler, self.propose, seed), n))
        return [np.array(ids) for ids, _ in pairs], [given for _, given in pairs]

    def _neighbours(self, number: int) -> list[NDArray[np.int64]]:
        """Edits and variants of the best remembered sequences, as ids with eos; those outside the vocabulary or the
        grammar are left out. While nothing has scored better than anything else, samples stand for edits."""
        config, best = self.config, [e.canonical for e in self.memory.leaders]
        if not self.memory.best or not config.edits + config.variants:
            return []
        rng = Random(f"{config.seed} {number}")
        texts = (self.domain.edits(best, config.edits, rng) if best else self._candidates(rng)) if config.edits else []
        texts = self._accepted(texts) if self.screen is None else \
            self.screen([*texts, *self._candidates(rng)], self.memory.scores(), config.screen, rng)
        for text in rng.sample(best, min(config.variants, len(best))):
            texts += self.domain.variants(text, 1, rng)
        found = []
        for text in texts:
            with suppress(UnknownToken):
                if (ids := self._writable(text)) is not None:
                    found.append(ids)
        return found

    def _accepted(self, texts: Sequence[str]) -> list[str]:
        """Those that the user's options do not refuse."""
        return [text for text, yes in zip(texts, self.domain.accepts(texts, **self.options), strict=True) if yes]

    def _candidates(self, rng: Random) -> list[str]:
        """What as many further samples as there are edits stand for, as far as they are valid."""
        decode, join = self.prior.vocabulary.decode, self.domain.join
        texts = [join(decode(ids)) for ids in self._samples(self.config.edits, rng.getrandbits(62))[0]]
        return [canonical for text in texts if (canonical := self.domain.canonical(text)) is not None]

    def _writable(self, text: str) -> NDArray[np.int64] | None:
        """The ids of ``text`` with eos, or None where it is too long or breaks the grammar. Raises
        :class:`UnknownToken`."""
        ids = np.append(self.prior.vocabulary.encode(self.domain.split(text)), EOS)
        return ids if len(ids) <= self.config.max_length and self.permitted.accepts(ids.tolist()) else None

    def _judged_by_prior(self, rows: list[NDArray[np.int64]], begun: list[int], tokens: list[list[str]],
                         scores: Rewards) -> tuple[list[list[Chunk]], list[Experience | None]]:
        """Minibatches, each in batches of like length, and an experience for each row (None where it could not be
        scored). The first rows, of which so many ids each were given (``begun``), are fresh."""
        fresh = len(begun)
        given = [min(max(self.domain.given(t), most), len(ids))
                 for t, most, ids in zip(tokens, begun + [0] * (len(rows) - fresh), rows, strict=True)]
        features = np.stack([scores.values[name] for name in self.rates.names], 1) if self.rates.names \
            else np.zeros((len(rows), 0))
        # a rule that has nothing to say of a sequence leaves its rate as it is to be
        features = np.where(np.isnan(features), self.rates.targets, features).astype(np.float32)
        unscored = np.isnan(scores.end)
        experiences: list[Experience | None] = [None] * len(rows)

        def judged(places: list[int]) -> Chunk:
            x = padded([rows[i] for i in places], [given[i] for i in places])
            everywhere = self._by_prior(x.ids[:, :-1])
            log_p = chosen(everywhere[1], x.actions, x.mask)
            nats = np.zeros(tuple(log_p.shape), np.float32)
            for row, i in enumerate(places):
                if not unscored[i]:
                    length = len(rows[i])
                    e = experiences[i] = Experience(rows[i], given[i], log_p[row, :length].numpy(),
                                                    credited(scores, i, length), features[i], scores.canonical[i] or "")
                    nats[row, :length] = self._nats(e)
            learn = x.mask & torch.from_numpy(~unscored[places])[:, None]
            return Chunk(x, log_p, torch.from_numpy(nats), learn, everywhere,
                         torch.tensor([i < fresh for i in places]))

        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        parts = [[judged(part[start:start + _CHUNK]) for start in range(0, len(part), _CHUNK)]
                 for part in parted(order, self.config.minibatch)]
        return parts, experiences

    def _by_prior(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of every token, float [batch, T, V], its log p among the permitted, and the states that both come
        from, [batch, T, width]; ids: int64 [batch, T], bos first. For Q in the precision in which it learns."""
        with torch.no_grad(), self._autocast() if self.q is not None else nullcontext():
            logits, states, _ = self.prior.read(ids)
        logits = logits.float()
        return logits, masked_log_softmax(logits, self.permitted.along(ids)), states

    def _remembered(self, rng: np.random.Generator) -> list[Chunk]:
        """Batches of remembered experience; its reward in nats follows today's β."""
        config = self.config
        return self._batched(self.memory.sample_recent(config.recent, rng) + self.memory.sample_best(config.best, rng)
                             + self.memory.sample_given(config.given, rng))

    def _batched(self, rows: Sequence[Experience]) -> list[Chunk]:
        """Batches of like length; rewards in nats at today's β."""
        rows = sorted(rows, key=lambda e: len(e.ids))
        chunks = []
        for start in range(0, len(rows), _CHUNK):
            part = rows[start:start + _CHUNK]
            x = padded([e.ids for e in part], [e.given for e in part])
            width = x.mask.shape[1]
            chunks.append(Chunk(x, padded_rows([e.log_p for e in part], width),
                                padded_rows([self._nats(e) for e in part], width), x.mask))
        return chunks

    def _among_best(self, chunks: list[Chunk], experiences: Sequence[Experience | None], totals: NDArray[np.float64],
                    ) -> list[Chunk]:
        """What climb learns of new experience: those among the best remembered, in batches of their own. The figures
        of the fresh ones in ``chunks`` are added to ``totals`` here, since most of them are not learnt from."""
        with torch.no_grad():
            for chunk in chunks:
                if chunk.everywhere is not None and chunk.fresh is not None and chunk.fresh.any():
                    rows = chunk.fresh
                    x = Sequences(chunk.x.ids[rows], chunk.x.mask[rows])
                    logits, prior, states = chunk.everywhere
                    now, _ = log_probs(self.policy, x.ids[:, :-1], self.permitted.along(x.ids[:, :-1]))
                    self._measure(Chunk(x, chunk.log_p[rows], chunk.nats[rows], x.mask,
                                        (logits[rows], prior[rows], states[rows]), rows[rows]),
                                  now, chosen(now, x.actions, x.mask), totals)
        best = {e.canonical for e in self.memory.leaders}
        return self._batched([e for e in experiences if e is not None and e.canonical in best])

    def _nats(self, e: Experience) -> NDArray[np.float32]:
        """Credited reward of each token in nats: R/β, and at the end of what is valid λ·(f − target). The target moves
        log Z alone, which so stays in place when λ moves, and keeps the rates those of valid sequences."""
        nats = e.reward / np.float32(self._beta)
        if len(e.features) and e.canonical:
            nats[-1] += np.float32((e.features - self.rates.targets) @ self.rates.multipliers)
        return nats

    def _figures(self, scores: Rewards, fresh: Sequence[Experience | None]) -> dict[str, float]:
        totals = [e.total for e in fresh if e is not None]
        texts = [c for c in scores.canonical[:len(fresh)] if c]
        values = {name: found[:len(fresh)] for name, found in scores.values.items()}
        best = self.memory.best[:1]
        return {"calls": self.rewarder.calls, "reward": float(np.mean(totals)) if totals else math.nan,
                "best": best[0].total if best else math.nan, "valid": len(texts) / len(fresh) if fresh else math.nan,
                "unique": len(set(texts)) / max(1, len(texts)) if fresh else math.nan,
                **{name: float(np.nanmean(v)) if not np.isnan(v).all() else math.nan for name, v in values.items()}}

    # -- updates ------------------------------------------------------------------------------------------------------

    def _update(self, chunks: list[Chunk], totals: NDArray[np.float64]) -> float:
        """One gradient step on all ``chunks``, whose gradients add up to that of the whole; returns the loss. KL, KL by
        samples and entropy of fresh sequences (nats, summed) are added to ``totals``."""
        config = self.config
        actions = sum(int(c.learn.sum()) for c in chunks)
        if not actions or self.q is not None or self._waits:  # nothing could be scored, or Q alone learns
            with torch.no_grad():
                loss = sum(float(self._loss(chunk, totals)) for chunk in chunks) / max(1, actions)
            self._check(loss)
            if actions:
                self._refit()
            return loss
        if self._fits_v and self.done == 0 and not self.critic.gram.any():  # V begins with the prior's samples
            with torch.no_grad():
                for chunk in chunks:
                    self._loss(chunk, np.zeros(3))
            self._refit(1.0)
        self.optimizer.zero_grad(set_to_none=True)
        loss = 0.0
        for chunk in chunks:
            part = self._loss(chunk, totals) / actions
            part.backward()  # type: ignore[no-untyped-call]
            loss += part.item()
        norm = nn.utils.clip_grad_norm_(self.policy.parameters(), config.clip)
        self._check(loss + float(norm))
        warm = min(1.0, (self.done + 1 - self._waited) / max(1, config.warmup))
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * warm * config.pace(self.done)
        self.optimizer.step()
        self._refit()
        return loss

    def _check(self, loss: float) -> None:
        if not math.isfinite(loss):
            rate = "--learning-rate" if self.q is None else "--critic-rate"
            raise SeqtutorError(f"the loss stopped being finite at step {self.done + 1}; begin again with a lower "
                                f"{rate} or a higher --beta")

    @property
    def _beta(self) -> float:
        """β of now, reward units a nat."""
        return self.beta.beta * self.config.warmth(self.done)

    @property
    def _waits(self) -> bool:
        """Whether the policy waits, as the prior, until Q has learnt something and rates have multipliers."""
        return self.done < self._waited

    @property
    def _waited(self) -> int:
        """Steps that the policy waits."""
        return self.config.critic_first if self.q is not None or self.rates.names else 0

    @property
    def _fits_v(self) -> bool:
        """Whether the method has a critic of V."""
        return self.config.method not in ("soft-q", "climb")

    def _refit(self, level_rate: float | None = None) -> None:
        """Fits the critic, and lets the target network or the slow one follow."""
        if self.q is not None:
            self.q.follow(self.config.target_rate)
        if not self._fits_v:
            return
        self.critic.refit(level_rate)
        if self.target is not None:
            network, critic = self.target
            rate = self.config.target_rate if level_rate is None else 1.0
            critic.follow(self.critic, rate)
            with torch.no_grad():
                for slow, quick in zip(network.parameters(), self.policy.parameters(), strict=True):
                    slow.lerp_(quick, rate)

    def _loss(self, chunk: Chunk, totals: NDArray[np.float64]) -> Tensor:
        """The method's loss, summed over the actions of a batch. Shows the critic the returns on the way."""
        if self.q is not None:
            return self._learn_q(self.q, chunk, totals)
        allowed = self.permitted.along(chunk.x.ids[:, :-1])
        with self._autocast():
            everything, hidden = log_probs(self.policy, chunk.x.ids[:, :-1], allowed)
        log_pi = chosen(everything, chunk.x.actions, chunk.x.mask)
        self._measure(chunk, everything.detach(), log_pi.detach(), totals)
        if self.config.method == "climb":  # maximum likelihood
            return -(log_pi * chunk.learn).sum()
        return self._residuals(chunk, everything.detach(), hidden, log_pi, allowed).square().sum()

    def _learn_q(self, q: QCritic, chunk: Chunk, totals: NDArray[np.float64]) -> Tensor:
        """Soft Q-learning on the policy's own sequences: Q is shown what came of each action. The policy is
        p·exp(Q/β)/Z at every state and needs no gradient. Returns Q's error, squared and summed, in nats."""
        config, x, beta = self.config, chunk.x, self._beta
        logits, prior, states = chunk.everywhere or self._by_prior(x.ids[:, :-1])
        value = q(states) / beta
        everything = prior
        if not self._waits:
            better, _ = improved(logits.log_softmax(-1), value)
            everything = masked_log_softmax(better, self.permitted.along(x.ids[:, :-1]))
        log_pi = chosen(everything, x.actions, x.mask)
        self._measure(chunk, everything, log_pi, totals)
        goal = losses.targets(chunk.log_p, chunk.nats, chunk.learn,
                              losses.shifted(improved(prior, value)[1], chunk.learn), torch.ones_like(log_pi),
                              log_pi, gamma=config.gamma, lam=config.mixing(self.done))
        with torch.enable_grad():
            error = q.learn(x.ids, states, beta * (goal - chunk.log_p), chunk.learn, config.pace(self.done))
            q.relearn(config.critic_replay, config.pace(self.done))
        return (error / beta).square().sum()

    def _steer(self) -> None:
        """Makes the policy p·exp(Q/β)/Z at today's β, or the prior while it waits."""
        if self.q is not None:
            self.q.slow.strength.fill_(0.0 if self._waits else float(self.q.scale) / self._beta)

    def _residuals(self, chunk: Chunk, now: Tensor, hidden: Tensor, log_pi: Tensor, allowed: Tensor) -> Tensor:
        """What the losses on the action taken square; float [batch, T]. ``now``: log π(·|s_t), without gradient."""
        config, x, learn = self.config, chunk.x, chunk.learn
        value = self.critic(hidden)
        # whose values and probabilities the targets are made of: for path the policy's own, taken as they are
        judge, state_value = now, value
        if self.target is not None:
            with torch.no_grad():
                judge, states = log_probs(self.target[0], x.ids[:, :-1], allowed)
                state_value = self.target[1](states)
        trace, correction = torch.ones_like(value), chosen(judge, x.actions, x.mask)
        if config.method == "q":  # max Q⁻, at the action that the online network prefers if it is double
            picked = (now if config.double else judge).argmax(-1)
            state_value = state_value + judge.gather(-1, picked[..., None])[..., 0]
            trace, correction = (picked == x.actions).float(), torch.zeros_like(value)
        goal = losses.targets(chunk.log_p, chunk.nats, learn, losses.shifted(state_value, learn), trace, correction,
                              gamma=config.gamma, n=config.n_step, lam=config.mixing(self.done))
        if self.target is None:
            returns = losses.returns(log_pi.detach(), chunk.log_p, chunk.nats, learn, config.gamma)
        else:
            returns = goal - log_pi.detach()
        self.critic.observe(hidden, returns, learn)
        return losses.residuals(config.method, log_pi, chunk.log_p, value, goal, learn)

    def _measure(self, chunk: Chunk, everything: Tensor, log_pi: Tensor, totals: NDArray[np.float64]) -> None:
        """Adds KL, KL by samples and entropy of the fresh sequences of a batch, in nats, to ``totals``."""
        if chunk.everywhere is not None and chunk.fresh is not None:
            mask, fresh = chunk.x.mask, chunk.fresh
            before, after = self._importance(chunk.x, everything, log_pi)
            kl = losses.kl_by_token(everything, chunk.everywhere[1], mask)
            totals += np.array([float((before * kl)[fresh].sum()),
                                float((after * (log_pi - chunk.log_p))[fresh].sum()),
                                float((before * losses.entropy_by_token(everything, mask))[fresh].sum())])

    def _importance(self, x: Sequences, everything: Tensor, log_pi: Tensor) -> tuple[Tensor, Tensor]:
        """π/b of what was written before each token and with it, float [batch, T], where b is what wrote: π at another
        temperature, mixed with chance. (All is 1 where b is π, and at temperature 0, which never writes the rest.)"""
        config = self.config
        if config.temperature in (0, 1) and not config.epsilon:
            return torch.ones_like(log_pi), torch.ones_like(log_pi)
        heat = config.temperature or 1e-3
        b = (everything / heat).softmax(-1)
        possible = everything > -math.inf
        b = b.lerp(possible / possible.sum(-1, keepdim=True), config.epsilon)
        log_b = b.gather(-1, x.actions[..., None])[..., 0].log().masked_fill(~x.mask, 0.0)
        after = (log_pi - log_b).cumsum(-1)
        return (after - (log_pi - log_b)).exp(), after.exp()

    def _stay_within_budget(self) -> None:
        """Keeps the policy while its KL is within the budget; past it takes up the last such policy again."""
        if self.beta.within:
            self.safe = {name: tensor.clone() for name, tensor in self.policy.state_dict().items()}
            self.safe_kl = self.beta.running
        elif self.beta.exceeded and self.safe:
            self.policy.load_state_dict(self.safe)
            self.beta.go_back(self.safe_kl)

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that a resumed run needs, as flat tensors and a JSON-able part."""
        remembered, memory = self.memory.state()
        tensors = {**checkpoint.pack("policy", self.policy.state_dict()), **checkpoint.pack("memory", remembered),
                   **checkpoint.pack("critic", (self.q or self.critic).state()),
                   **checkpoint.pack("optimizer", checkpoint.optimizer_tensors(self.optimizer)),
                   **checkpoint.pack("safe", self.safe)}
        if self.target is not None:
            tensors |= checkpoint.pack("target", self.target[0].state_dict())
            tensors |= checkpoint.pack("target critic", self.target[1].state())
        return tensors, {"done": self.done, "memory": memory, "beta": self.beta.state(), "rates": self.rates.state(),
                         "rewarder": self.rewarder.state(), "safe_kl": self.safe_kl}

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Goes on from :meth:`state`, bit for bit."""
        self.policy.load_state_dict(checkpoint.unpack("policy", tensors))
        checkpoint.restore_optimizer(self.optimizer, checkpoint.unpack("optimizer", tensors))
        if self.q is not None:
            self.q.load(checkpoint.unpack("critic", tensors), lambda ids: self._by_prior(ids)[2])
        else:
            self.critic.load(checkpoint.unpack("critic", tensors))
        if self.target is not None:
            self.target[0].load_state_dict(checkpoint.unpack("target", tensors))
            self.target[1].load(checkpoint.unpack("target critic", tensors))
        self.memory.load(checkpoint.unpack("memory", tensors), state["memory"])
        self.beta, self.done = BetaControl(**state["beta"]), state["done"]
        self.rates.load(state["rates"])
        self.rewarder.load(state["rewarder"])
        self.safe, self.safe_kl = checkpoint.unpack("safe", tensors), state["safe_kl"]


def credited(scores: Rewards, i: int, length: int) -> NDArray[np.float32]:
    """The reward of each of the ``length`` ids of sequence ``i``, the end's at the last; they sum to its score."""
    reward = np.zeros(length, np.float64)
    if scores.steps is not None:
        reward[:len(scores.steps[i])] = scores.steps[i]
    reward[-1] += scores.end[i]
    return reward.astype(np.float32)


def padded_rows(rows: Sequence[NDArray[np.float32]], width: int) -> Tensor:
    """float [len(rows), width], 0 behind the end of each row."""
    out = np.zeros((len(rows), width), np.float32)
    for i, row in enumerate(rows):
        out[i, :len(row)] = row
    return torch.from_numpy(out)
