"""The prior, given that what it writes is valid: p(x | x is valid), reached from the model's own samples.

Maximum likelihood leaves a share of invalid texts that shrinks slowly with training. The distribution that a user wants
is known exactly, p(x)·1[x is valid] / Z, and it is −log P(valid) nats away from the prior: 0.04 where 96 % are valid. A
few minutes of path consistency on fresh samples walk that way without a look at any rule but validity.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from seqtutor.batches import pad
from seqtutor.domain import Domain, SeqtutorError, UsageError
from seqtutor.losses import log_variance
from seqtutor.model import SequenceModel
from seqtutor.sampling import Sampler, SamplingConfig
from seqtutor.vocabulary import EOS


@dataclass(frozen=True)
class ConditionConfig:
    """How a finished prior is conditioned on validity."""

    rounds: int = field(default=0, metadata={"help": "rounds of fresh samples; 0 for none"})
    samples: int = field(default=4096, metadata={"help": "samples drawn and judged a round"})
    used: int = field(default=512, metadata={"help": "samples learnt from a round, up to half of them invalid"})
    batch_size: int = field(default=128, metadata={"help": "samples an update"})
    learning_rate: float = field(default=5e-4, metadata={"help": "Adam's peak learning rate, falling to zero"})
    penalty: float = field(default=5.0, metadata={"help": "nats that an invalid text loses"})
    blend: float = field(default=0.4, metadata={"help": "how far the weights go from the prior to the policy, 0 to 1"})
    max_length: int = field(default=128, metadata={"help": "tokens after which a sample is cut off and left out"})
    seed: int = field(default=0, metadata={"help": "of the samples and their order"})

    def __post_init__(self) -> None:
        if self.rounds < 0 or not 2 <= self.batch_size <= self.used <= self.samples:
            raise UsageError("conditioning needs rounds of 0 or more, and 2 ≤ batch size ≤ used ≤ samples")
        if not 0 < self.blend <= 1:
            raise UsageError(f"the blend must be above 0 and at most 1, not {self.blend}")
        if not self.penalty > 0 or not self.learning_rate > 0:
            raise UsageError("the penalty and the learning rate of conditioning must be above 0")


def condition_on_validity(domain: Domain, prior: SequenceModel, config: ConditionConfig, *,
                          autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
                          report: Callable[[dict[str, Any]], None] | None = None,
                          ) -> tuple[SequenceModel, dict[str, Any]]:
    """Returns a policy π ≈ p·exp(−penalty·1[invalid]) / Z (with ``blend`` below 1: its weights part of the way there)
    and figures of the first and the last round, before the blend.

    ``prior`` is left as it is. ``report`` is told after every round: the policy's valid share, its KL to the
    prior (nats a text, from its own valid samples), the loss.
    Raises :class:`SeqtutorError` when the loss is not finite.
    """
    policy = copy.deepcopy(prior)
    optimizer = torch.optim.Adam(policy.parameters(), lr=config.learning_rate)
    of_prior = Sampler(prior, SamplingConfig(max_length=config.max_length), seed=config.seed)
    rounds: list[dict[str, Any]] = []
    for i in range(config.rounds):
        # 1. Fresh samples, each worth 0 or −penalty. The policy's show what is still wrong with it; the prior's keep it
        #    from losing for good what it happens not to write for a while
        of_policy = Sampler(policy.eval(), SamplingConfig(precision=of_prior.precision, max_length=config.max_length),
                            seed=config.seed + 1_000_003 * (i + 1))
        half = config.samples // 2
        drawn = of_policy.sample_ids(config.samples - half) + of_prior.sample_ids(half)
        complete = [row[-1] == EOS for row in drawn]  # what was cut off is no text
        judged = [domain.valid(domain.join(policy.vocabulary.decode(row))) for row in drawn]
        ids = [row for row, whole in zip(drawn, complete, strict=True) if whole]
        valid = np.array([ok for ok, whole in zip(judged, complete, strict=True) if whole])
        reward = torch.from_numpy(np.where(valid, 0.0, -config.penalty)).float()
        # 2. Learn from the invalid and as many valid ones as there is room for. The loss is zero at the same place
        #    whatever the mixture, and the rare invalid ones carry what there is to learn
        rng = np.random.default_rng([config.seed, i])
        wrong, right = rng.permutation(np.flatnonzero(~valid)), rng.permutation(np.flatnonzero(valid))
        wrong = wrong[:config.used // 2]
        order = rng.permutation(np.concatenate([wrong, right[:config.used - len(wrong)]]))
        # 3. Updates in random batches; dropout stays off, so that both networks see the same
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, (i + 1) / 5) * (1 - i / config.rounds)
        loss_sum, ratio = 0.0, torch.full((len(ids),), torch.nan)
        batches = [order[k:k + config.batch_size] for k in range(0, len(order), config.batch_size)]
        for batch in batches:
            x = pad([np.array(ids[j][:-1]) for j in batch])
            with autocast():
                with torch.no_grad():
                    log_p = prior.log_probs(x).sum(-1)
                log_pi = policy.log_probs(x).sum(-1)
            loss = log_variance(log_pi, log_p, reward[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            if not torch.isfinite(loss):
                raise SeqtutorError("the loss of conditioning stopped being finite; lower its learning rate")
            optimizer.step()
            loss_sum += loss.item() / len(batches)
            ratio[batch] = (log_pi - log_p).detach().float()
        # 4. What to tell
        own = sum(complete[:config.samples - half])
        rounds.append({"round": i + 1, "valid": float(np.mean(judged[:config.samples - half])),
                       "kl": float(ratio[:own][torch.from_numpy(valid[:own])].nanmean()), "loss": loss_sum})
        if report:
            report(rounds[-1])
    # Part of the way back: what the updates did by chance shrinks with the square of the step, what they did for
    # validity nearly linearly (weight-space ensembles: Wortsman et al. 2022)
    with torch.no_grad():
        for weight, before in zip(policy.parameters(), prior.parameters(), strict=True):
            weight.copy_(before.lerp(weight, config.blend))
    policy.eval()
    return policy, {"first": rounds[0], "last": rounds[-1]} if rounds else {}
