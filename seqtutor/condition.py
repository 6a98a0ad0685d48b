"""Validity as a second term of the loss: the share of invalid texts among the model's own.

Maximum likelihood leaves a share of invalid texts that shrinks slowly with training, for it never sees what the model
writes. This term sees nothing else. Beside the corpus' likelihood it moves the model where validity costs the corpus
least; alone, after training, it drifts off towards simple texts, which are valid more often.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from seqtutor.batches import pad
from seqtutor.domain import Domain, UsageError
from seqtutor.model import SequenceModel
from seqtutor.sampling import Sampler, SamplingConfig
from seqtutor.vocabulary import EOS


@dataclass(frozen=True)
class ConditionConfig:
    """How much validity counts beside the likelihood of the corpus."""

    weight: float = field(default=0.0, metadata={"help": "of P(invalid) beside the nats of a text; 0 for none"})
    every: int = field(default=4, metadata={"help": "training steps from one draw of samples to the next"})
    samples: int = field(default=512, metadata={"help": "samples a draw (and a process)"})
    max_length: int = field(default=128, metadata={"help": "tokens after which a sample is cut off and left out"})

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise UsageError(f"the weight of validity must be 0 or more, not {self.weight}")
        if self.every < 1 or self.samples < 1 or self.max_length < 1:
            raise UsageError("conditioning needs 1 step or more from draw to draw, and 1 sample and 1 token or more")


def draw_invalid(domain: Domain, network: SequenceModel, config: ConditionConfig, seed: int,
                 ) -> tuple[list[list[int]], int]:
    """(the invalid, how many were judged) of fresh samples; id lists with eos. What was cut off is no text."""
    sampler = Sampler(network, SamplingConfig(precision="fp32", max_length=config.max_length), seed=seed)
    whole = [ids for ids in sampler.sample_ids(config.samples) if ids[-1] == EOS]
    return [ids for ids in whole if not domain.valid(domain.join(network.vocabulary.decode(ids)))], len(whole)


def validity_loss(network: SequenceModel, invalid: list[list[int]], judged: int) -> Tensor:
    """A loss whose gradient estimates that of P(invalid), without bias, from ``judged`` samples of ``network`` of which
    ``invalid`` (id lists with eos) were not valid:

        ∇ P(invalid)  =  E[1[x invalid] · ∇ log p(x)]          (score function: Williams 1992)

    Rewarding the valid instead, or a baseline, has the same mean and, where few are invalid, the same variance, but
    wants the gradient of all samples.
    """
    if not invalid:
        return network.head.weight.new_zeros(())
    ids = pad([np.array(text[:-1]) for text in invalid]).to(network.head.weight.device)
    return network.log_probs(ids).sum() / judged
