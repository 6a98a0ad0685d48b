"""The shared network: embedding, LSTM, head, and what tuning put behind it. ``forward`` over whole sequences equals
``step`` one token at a time."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as serialise
from torch import Tensor, nn

from seqtutor.domain import SeqtutorError, UsageError
from seqtutor.files import atomic, check_readable
from seqtutor.vocabulary import PAD, Vocabulary

FORMAT = "seqtutor-model/1"
HARDLY = math.log(1e-3)  # log p of a token that hardly ever comes

#: (h, c), each float [depth, batch, width], and the sums and maxima of each readout, float [1, batch, features]
State = tuple[Tensor, ...]


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of a :class:`SequenceModel`."""

    width: int = field(default=512, metadata={"help": "LSTM units a layer"})
    depth: int = field(default=1, metadata={"help": "LSTM layers"})
    embedding: int = field(default=64, metadata={"help": "embedding units"})
    dropout: float = field(default=0.0, metadata={"help": "dropout before the head and between layers, 0 to 1"})
    readouts: int = 0  # that tuning has put behind the head

    def __post_init__(self) -> None:
        for name in ("width", "depth", "embedding"):
            if not isinstance(getattr(self, name), int) or not 1 <= getattr(self, name) <= 65536:
                raise UsageError(f"model {name} must be a whole number from 1, not {getattr(self, name)!r}")
        if not isinstance(self.readouts, int) or not 0 <= self.readouts <= 64:
            raise UsageError(f"model readouts must be a whole number from 0 to 64, not {self.readouts!r}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"model dropout must be at least 0 and below 1, not {self.dropout!r}")


def improved(log_p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """(log of p·exp(q − V), V = log Σ p·exp(q)), in nats; float [..., V] and [...] from [..., V].

    Tokens that the prior hardly ever writes keep their p and have no part in V (both sums go over the others): no one
    saw what comes of them, and a wrong guess of q would make them sure.
    """
    judged = log_p > HARDLY
    judged = judged | ~judged.any(-1, keepdim=True)
    asked = log_p.masked_fill(~judged, float("-inf"))
    value = (asked + q).logsumexp(-1) - asked.logsumexp(-1)
    return torch.where(judged, log_p + q - value[..., None], log_p), value


class Readout(nn.Module):
    """A value of every token from the LSTM's states so far: [batch, T, width] → [batch, T, V]. It reads the state, and
    the running sum and the running maximum of what it looks for in the states: how often, and whether at all. What a
    finished thing is worth depends on counts (atoms, rings, repeated notes), which a state holds only as far as it
    helps to predict the next token. Begins at 0.

    ``strength``: nats that a unit of the value is worth where a model is improved by it.
    """

    unit: Tensor
    strength: Tensor

    def __init__(self, width: int, vocabulary: int, longest: int = 100, features: int = 128, hidden: int = 256):
        super().__init__()
        self.summed, self.seen = nn.Linear(width, features), nn.Linear(width, features)
        self.join, self.head = nn.Linear(width + 2 * features, hidden), nn.Linear(hidden, vocabulary)
        self.register_buffer("unit", torch.tensor(longest ** -0.5))
        self.register_buffer("strength", torch.zeros(()))
        self.features = features
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, states: Tensor, so_far: State = ()) -> tuple[Tensor, State]:
        """``so_far``: sums and maxima before the first of ``states``, float [1, batch, features] each, if there were
        any. Returns the values and both after the last."""
        sums = (self.unit * self.summed(states).relu().float()).cumsum(1)
        seen = self.seen(states).relu().float().cummax(1).values
        if so_far:
            sums, seen = sums + so_far[0][0, :, None], torch.maximum(seen, so_far[1][0, :, None])
        joined = self.join(torch.cat([states, sums.to(states.dtype), seen.to(states.dtype)], -1))
        value: Tensor = self.head(joined.relu())
        return value, (sums[None, :, -1], seen[None, :, -1])


class SequenceModel(nn.Module):
    """p(token | tokens before it) over a vocabulary of V ids: softmax of the head's logits; and where the model has
    readouts, p·exp(strength·readout)/Z at every state, one after the other (:func:`improved`)."""

    def __init__(self, vocabulary: Vocabulary, domain: str, config: ModelConfig = ModelConfig(),
                 provenance: dict[str, Any] | None = None):
        super().__init__()
        self.vocabulary, self.domain, self.config = vocabulary, domain, config
        #: how the weights came to be: corpus manifest, configuration, seed, figures, versions
        self.provenance: dict[str, Any] = dict(provenance or {})
        self.embedding = nn.Embedding(len(vocabulary), config.embedding, padding_idx=PAD)
        self.lstm = nn.LSTM(config.embedding, config.width, config.depth, batch_first=True,
                            dropout=config.dropout if config.depth > 1 else 0.0)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.width, len(vocabulary))
        self.readouts = nn.ModuleList(Readout(config.width, len(vocabulary)) for _ in range(config.readouts))

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits after each token of ``ids``.

        ids: int64 [batch, time], beginning with bos; state: (h, c), zero if None.
        Returns logits float [batch, time, V] and the state after the last token.
        """
        logits, _, state = self.read(ids, state)
        return logits, state

    def read(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, Tensor, State]:
        """:meth:`forward`, with the states of the LSTM's last layer between the two, float [batch, time, width]."""
        hidden, after = self.lstm(self.embedding(ids), None if state is None else state[:2])
        logits: Tensor = self.head(self.dropout(hidden))
        for i, readout in enumerate(self.readouts):
            value, so_far = readout(hidden, () if state is None else state[2 + 2 * i:4 + 2 * i])
            logits = improved(logits.float().log_softmax(-1), readout.strength * value.float())[0]
            after = (*after, *so_far)
        return logits, hidden, after

    def step(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """One token: ids int64 [batch], state (h, c). Returns logits float [batch, V] and the new state."""
        logits, state = self.forward(ids[:, None], state)
        return logits[:, 0], state

    def initial_state(self, batch: int) -> State:
        """The zero state before bos, for ``batch`` rows."""
        h = self.head.weight.new_zeros(self.config.depth, batch, self.config.width)
        so_far = [h.new_zeros(1, batch, cast(Readout, readout).features) for readout in self.readouts for _ in range(2)]
        return h, h.clone(), *so_far

    def with_readout(self, longest: int) -> SequenceModel:
        """A copy with one readout more, which changes nothing yet; for sequences of up to ``longest`` tokens."""
        model = copy.deepcopy(self)
        model.config = dataclasses.replace(self.config, readouts=self.config.readouts + 1)
        model.readouts.append(Readout(self.config.width, len(self.vocabulary), longest))
        return model

    def log_probs(self, ids: Tensor) -> Tensor:
        """log p of each token of ``ids`` given those before it, in nats.

        ids: int64 [batch, time + 1], bos first, padded with 0 after eos. Returns float [batch, time]; 0 at padding.
        """
        logits, _ = self.forward(ids[:, :-1])
        target = ids[:, 1:]
        chosen = logits.float().log_softmax(-1).gather(-1, target[..., None])[..., 0]
        return chosen.masked_fill(target == PAD, 0.0)

    def save(self, path: Path) -> None:
        """Writes weights, architecture, vocabulary, domain and provenance as one safetensors file, whole or not."""
        metadata = {
            "format": FORMAT,
            "domain": self.domain,
            "config": json.dumps(dataclasses.asdict(self.config)),
            "vocabulary": json.dumps(self.vocabulary.tokens),
            "provenance": json.dumps(self.provenance, sort_keys=True),
        }
        with atomic(path) as temporary:
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
            temporary.write_bytes(_ordered(serialise(tensors, metadata)))

    @classmethod
    def load(cls, path: Path, domain: str | None = None) -> SequenceModel:
        """The model in ``path``, in evaluation mode. Raises :class:`UsageError` where the file is truncated, not ours,
        of another ``domain`` than asked for, or where tensors and architecture disagree. Unpickles nothing."""
        metadata = read_metadata(path)
        if domain is not None and metadata["domain"] != domain:
            raise UsageError(f"{path} is a model of the domain {metadata['domain']!r}, not of {domain!r}")
        try:
            vocabulary = Vocabulary(json.loads(metadata["vocabulary"]))
            config = ModelConfig(**json.loads(metadata["config"]))
            provenance = json.loads(metadata["provenance"])
            with torch.device("meta"):
                model = cls(vocabulary, metadata["domain"], config, provenance)
            tensors = load_tensors(Path(path).read_bytes())
            expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
            found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            if expected != found:
                raise ValueError(f"its tensors {found} do not fit its architecture {expected}")
            if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
                raise ValueError("it holds weights that are not finite")
        except Exception as error:  # the safetensors library raises several kinds; all mean the same to the user
            raise UsageError(f"{path} is damaged: {error}") from error
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
        return model.eval()


def _ordered(content: bytes) -> bytes:
    """A safetensors file whose header is in order of name, so that the same model is the same bytes."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.dumps(json.loads(content[8:8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + content[8 + length:]


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a model file, without its tensors. Raises :class:`UsageError` if it is not one of ours."""
    path = check_readable(path)
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if not 2 <= length <= 10_000_000:
                raise ValueError
            header = file.read(length)
        if len(header) < length:
            raise ValueError
        metadata = dict(json.loads(header).get("__metadata__", {}))
    except (struct.error, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path} is not a safetensors file (or it is cut off); "
                         "expected a model written by seqtutor") from error
    if metadata.get("format") != FORMAT or not {"domain", "config", "vocabulary", "provenance"} <= metadata.keys():
        raise UsageError(f"{path} is a safetensors file, but not a model written by seqtutor ({FORMAT})")
    return {str(k): str(v) for k, v in metadata.items()}


def resolve_device(name: str = "auto") -> torch.device:
    """``auto`` is CUDA if present, otherwise the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SeqtutorError(f"the device {name!r} is not to be had here: {str(error).splitlines()[0]}") from error
    return device
