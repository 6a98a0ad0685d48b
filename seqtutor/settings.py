"""The settings of a tuning run; what `seqtutor tune --help` says of them stands here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from seqtutor.domain import UsageError

METHODS = ("path", "soft-q", "psi", "q", "g", "climb")
BOOTSTRAPPED = ("psi", "q", "g")  # methods whose targets come from a target network
PRECISIONS = ("auto", "fp32", "bf16")
#: settings whose default depends on the method; V's least squares want exact states, Q's network does not
BY_METHOD: dict[str, dict[str, Any]] = {
    "lam": {"path": 0.9, "soft-q": 0.9, "": 0.0}, "target_rate": {"soft-q": 0.06, "": 0.02},
    "learning_rate": {"climb": 2e-3, "": 5e-4}, "precision": {"soft-q": "auto", "climb": "auto", "": "fp32"},
    "cooling": {"soft-q": 10.0, "": 1.0}, "minibatch": {"soft-q": 64, "": 0},
}
_COOLED = 0.8  # of the run, when β is what was asked for
CONTROLS = ("fixed", "adaptive", "budget")


def _by_method(said: str) -> Any:
    """A setting that may stay None: :meth:`TuneConfig.settled` then takes what suits the method."""
    return field(default=None, metadata={"help": said})


@dataclass(frozen=True)
class TuneConfig:
    """How a prior is tuned."""

    method: str = field(default="path", metadata={"help": "path, soft-q, psi, q, g or climb"})
    steps: int = field(default=500, metadata={"help": "rounds of new experience"})
    batch: int = field(default=128, metadata={"help": "fresh samples a step; 0 learns from given ones alone"})
    minibatch: int = _by_method("most new sequences a gradient step; 0: all of a step's [64 for soft-q, else 0]")
    edits: int = field(default=0, metadata={"help": "neighbours of the best sequences a step, by the domain's edits"})
    variants: int = field(default=0, metadata={"help": "other spellings of the best sequences a step"})
    screen: int = field(default=0, metadata={"help": "of the edits and as many samples a step, only this many are "
                                             "scored: those that a model of the scores so far prefers; 0: all edits"})
    recent: int = field(default=0, metadata={"help": "remembered recent sequences an update"})
    best: int = field(default=0, metadata={"help": "remembered best sequences an update"})
    given: int = field(default=0, metadata={"help": "of the user's own sequences an update"})
    updates: int = field(default=1, metadata={"help": "gradient steps a step; those after the first are on memory"})
    recent_size: int = field(default=2048, metadata={"help": "recent sequences remembered"})
    best_size: int = field(default=256, metadata={"help": "best sequences remembered"})
    rank: float = field(default=0.01, metadata={"help": "κ of rank-based replay; smaller is greedier"})
    beta: float = field(default=0.05, metadata={"help": "β, reward units a nat: how much reward a nat of KL must buy"})
    cooling: float = _by_method("how many times β the run begins with, falling to once by four fifths of it, so "
                                "that Q, at first the prior's, keeps up with the policy [10 for soft-q, else 1]")
    control: str = field(default="fixed", metadata={"help": "of β: fixed, adaptive (to a KL) or budget"})
    kl: float = field(default=math.inf, metadata={"help": "nats a sequence that adaptive and budget steer by"})
    gamma: float = field(default=1.0, metadata={"help": "discount, above 0 to 1; exact only at 1"})
    n_step: int = field(default=1, metadata={"help": "length of bootstrapped targets (psi, q, g)"})
    lam: float = _by_method("λ that mixes targets of all lengths, 0 to 1 [0.9 for path and soft-q; the others take "
                            "--n-step]")
    lam_end: float | None = field(default=None, metadata={"help": "λ at the end of the run, reached evenly; the same "
                                                          "if not given"})
    double: bool = field(default=True, metadata={"help": "double Q: the online network chooses, the target one values"})
    target_rate: float = _by_method("Polyak step of the target network (psi, q, g), of the slow critic (soft-q) [0.02; "
                                    "0.06 for soft-q]")
    learning_rate: float = _by_method("Adam's, of the policy; falls to zero by a cosine (soft-q has its own, of Q) "
                                      "[5e-4; 2e-3 for climb]")
    warmup: int = field(default=20, metadata={"help": "steps over which the learning rate rises, while V is found"})
    critic_memory: float = field(default=0.95, metadata={"help": "weight of V's data one update later, 0 to 1"})
    critic_ridge: float = field(default=0.005, metadata={"help": "shrinks the critic's fit: larger is steadier, "
                                                         "smaller less biased; a share of the mean square"})
    critic_rate: float = field(default=6e-3, metadata={"help": "Adam's learning rate of Q's network (soft-q)"})
    critic_replay: int = field(default=1, metadata={"help": "earlier batches that Q learns from again with each new "
                                                    "one (soft-q)"})
    critic_steps: int = field(default=100, metadata={"help": "first steps in which Q alone learns (soft-q); at most a "
                                                     "quarter of all"})
    precision: str = _by_method("of what learns: fp32, bf16, or auto: bf16 where the machine has it [auto for soft-q "
                                "and climb, fp32 for the others]")
    clip: float = field(default=1.0, metadata={"help": "gradient norm above which gradients are scaled down"})
    temperature: float = field(default=1.0, metadata={"help": "of fresh samples; 0 is greedy"})
    epsilon: float = field(default=0.0, metadata={"help": "share of uniformly random tokens in fresh samples"})
    max_length: int = field(default=128, metadata={"help": "tokens after which a sample is cut off"})
    seed: int = field(default=0, metadata={"help": "same seed, same machine, same run"})
    checkpoint_seconds: float = field(default=60.0, metadata={"help": "seconds between checkpoints"})

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"the method must be one of {', '.join(METHODS)}, not {self.method!r}")
        for name in ("steps", "updates", "n_step", "max_length"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("batch", "minibatch", "warmup", "critic_steps", "critic_replay", "edits", "screen", "variants",
                     "recent", "best", "given", "recent_size", "best_size", "checkpoint_seconds"):
            if getattr(self, name) is not None and not getattr(self, name) >= 0:
                raise UsageError(f"{name} must be 0 or more, not {getattr(self, name)}")
        for name in ("learning_rate", "critic_ridge", "critic_rate", "clip", "rank"):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("lam", "lam_end", "epsilon", "target_rate", "critic_memory"):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must be from 0 to 1, not {getattr(self, name)}")
        if self.cooling is not None and not 1 <= self.cooling < math.inf:
            raise UsageError(f"cooling must be at least 1, not {self.cooling}")
        if not 0 < self.gamma <= 1:
            raise UsageError(f"gamma must be above 0 and at most 1, not {self.gamma}")
        if self.precision is not None and self.precision not in PRECISIONS:
            raise UsageError(f"precision must be auto, fp32 or bf16, not {self.precision!r}")
        if self.control not in CONTROLS:
            raise UsageError(f"β is controlled by {', '.join(CONTROLS)}, not by {self.control!r}")
        if not 0 < self.beta < math.inf:
            raise UsageError(f"beta must be above 0 (reward units per nat), not {self.beta}")
        if not self.batch and not self.given:
            raise UsageError("a batch of 0 leaves nothing to learn from; give sequences of your own (given above 0)")
        if self.screen and not self.edits:
            raise UsageError(f"screen = {self.screen} has nothing to choose from; say how many edits to try")
        if not self.batch and self.control != "fixed":
            raise UsageError(f"a batch of 0 measures no KL, so β cannot be {self.control}; let it be fixed")
        if self.control != "fixed" and not 0 < self.kl < math.inf:
            raise UsageError(f"a KL above 0 nats a sequence is needed to steer by, not {self.kl}")

    @property
    def critic_first(self) -> int:
        """Steps in which the policy waits, where it does."""
        return min(self.critic_steps, self.steps // 4)

    def settled(self) -> TuneConfig:
        """The same with the method's own value for every setting that was not given."""
        return replace(self, **{name: values.get(self.method, values[""]) for name, values in BY_METHOD.items()
                                if getattr(self, name) is None})

    def warmth(self, done: int) -> float:
        """Times β after ``done`` steps: from ``cooling``, by the same factor each step, to 1 at four fifths."""
        return float(self.cooling ** max(0.0, 1 - done / (_COOLED * self.steps)))

    def pace(self, done: int) -> float:
        """Of a learning rate after ``done`` steps: from 1 to 0 by a cosine."""
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done / self.steps)))

    def mixing(self, done: int) -> float:
        """λ after ``done`` steps, as the losses take it; 0 for targets of ``n_step``. With a low λ the critic's errors
        are part of what is learnt, with a high one chance is; a λ that rises to 1 ends exact."""
        last = self.lam if self.lam_end is None else self.lam_end
        return self.lam + (last - self.lam) * min(1.0, done / self.steps)
