"""One LSTM step for many rows: the plain one, and the fastest exact or nearly exact ones that this machine allows.

The fused step owes its speed to four things: weights packed once for oneDNN; the input product of the first layer
folded into a table (vocabulary × 4H), [x, h] joined into one product in the others; tanh(x) written as 2σ(2x) − 1,
because torch's tanh costs about four sigmoids, with every factor 2 folded into weights and state (which holds h / 2 and
2 c: six passes over a layer's rows, none of them a copy); and the state kept in the number format of the product (fp32,
bf16, or uint8 for int8 weights).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from seqtutor.domain import UsageError
from seqtutor.machine import has_fast_bf16, has_fast_int8
from seqtutor.model import Readout, SequenceModel, improved
from seqtutor.vocabulary import BOS

PRECISIONS = ("auto", "fp32", "bf16", "int8")

#: (h, c), each [depth, rows, width], in the scale and format of the step; and of each readout the sums and the maxima
State = tuple[Tensor, ...]
Product = Callable[[Tensor], Tensor]  # [rows, in] in the step's format → float [rows, out]
Pack = Callable[[Tensor, Tensor | None], Product]  # of a weight [out, in] and a bias


class Step(Protocol):
    """Advances every row by one token. The state is updated in place."""

    precision: str

    def begin(self, rows: int) -> State:
        """The state before the first token."""

    def __call__(self, ids: Tensor, state: State) -> Tensor:
        """ids: int64 [rows]. Returns logits float [rows, V]; the caller may write into them."""


def make_step(model: SequenceModel, precision: str = "auto") -> Step:
    """The step for ``precision``; ``auto`` is the fastest that this machine runs in hardware and that keeps the
    model's distribution (:func:`keeps_distribution`). Raises :class:`UsageError` for an int8 that is not to be had."""
    device = model.head.weight.device
    if device.type != "cpu":
        return PlainStep(model)
    if precision != "auto":
        return FusedStep(model, precision)
    for fast, here in (("int8", has_fast_int8() and has_int8_product()), ("bf16", has_fast_bf16(device))):
        if here and keeps_distribution(model, step := FusedStep(model, fast)):
            return step
    return FusedStep(model, "fp32")


class PlainStep:
    """``SequenceModel.step``: nothing private, any device. The slow reference of the others."""

    precision = "fp32"

    def __init__(self, model: SequenceModel):
        self.model = model

    def begin(self, rows: int) -> State:
        return self.model.initial_state(rows)

    def __call__(self, ids: Tensor, state: State) -> Tensor:
        logits, new = self.model.step(ids, state)
        for tensor, value in zip(state, new, strict=True):
            tensor.copy_(value)
        return logits


class FusedStep:
    """A copy of the model's weights, folded and packed; it does not follow later changes of the model."""

    @torch.no_grad()
    def __init__(self, model: SequenceModel, precision: str = "fp32", *, packed: bool = True):
        self.precision = precision
        self.depth, self.width = model.config.depth, model.config.width
        pack = _PACK[precision] if packed else _PACK_PLAIN[precision]
        # tanh(x) = 2σ(2x) − 1: the rows of the cell gate (order i, f, g, o) carry the factor 2; what reads h, which
        # comes as h / 2, carries another
        double = torch.ones(4, self.width, 1)
        double[2] = 2.0
        double = double.reshape(-1, 1)
        self._products: list[Product] = []
        for layer in range(self.depth):
            w_x, w_h, b_x, b_h = (getattr(model.lstm, f"{name}_l{layer}").float()
                                  for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            bias = (b_x + b_h) * double[:, 0]
            if layer == 0:
                self._table = (model.embedding.weight.float() @ w_x.T) * double[:, 0] + bias  # [V, 4H]
                self._products.append(pack(2 * w_h * double, None))
            else:
                self._products.append(pack(2 * torch.cat([w_x, w_h], 1) * double, bias))
        packs = _PACK if packed else _PACK_PLAIN
        self._readouts = [_ReadoutStep(readout, packs["fp32"], packs["fp32" if precision == "fp32" else "bf16"])
                          for readout in cast(list[Readout], model.readouts)]
        pack = packs["fp32"]
        self._head = pack(2 * model.head.weight.float(), model.head.bias.detach().float().clone())
        self._format = _FORMAT[precision]

    def begin(self, rows: int) -> State:
        h = torch.full((self.depth, rows, self.width), 128 if self._format is torch.uint8 else 0, dtype=self._format)
        return (h, torch.zeros(self.depth, rows, self.width),
                *(torch.zeros(1, rows, readout.features) for readout in self._readouts for _ in range(2)))

    def __call__(self, ids: Tensor, state: State) -> Tensor:
        hidden, cell, *so_far = state
        width = self.width
        x = out = hidden[0]
        for layer, product in enumerate(self._products):
            h, c = hidden[layer], cell[layer]
            gates = product(torch.cat([x, h], 1)) if layer else product(h).add_(self._table.index_select(0, ids))
            gates.sigmoid_()
            i, f, g, o = (gates[:, k * width:(k + 1) * width] for k in range(4))
            c.mul_(f).addcmul_(i, g, value=4.0).sub_(i, alpha=2.0)  # 2c ← f·2c + 2i·(2g − 1)
            out = h if self._format is torch.float32 else torch.empty_like(c)
            torch.sigmoid(c, out=out).sub_(0.5).mul_(o)  # h/2 ← o·(σ(2c) − ½)
            if self._format is torch.uint8:  # |h/2| < ½ always: a fixed scale of 1/254 around 128 holds it
                h.copy_(out.mul(254.0).add_(128.5))
            elif out is not h:
                h.copy_(out)
            x = h
        logits = self._head(out)
        for readout, sums, seen in zip(self._readouts, so_far[::2], so_far[1::2], strict=True):
            logits = improved(logits.log_softmax(-1), readout(out, sums[0], seen[0]))[0]
        return logits


class _ReadoutStep:
    """A readout of states that come as h / 2, its strength folded into its head; its large products are packed by
    ``large`` (bf16 where that is not fp32), its head by ``small``."""

    def __init__(self, readout: Readout, small: Pack, large: Pack):
        self.features = readout.features
        self._format = torch.float32 if large is small else torch.bfloat16
        width = readout.summed.in_features
        looked_for = torch.cat([readout.unit * readout.summed.weight, readout.seen.weight])
        bias = torch.cat([readout.unit * readout.summed.bias, readout.seen.bias])
        join = readout.join.weight.clone()
        join[:, :width] *= 2
        self._look, self._join = large(2 * looked_for, bias), large(join, readout.join.bias.clone())
        self._head = small(readout.strength * readout.head.weight, readout.strength * readout.head.bias)

    def __call__(self, out: Tensor, sums: Tensor, seen: Tensor) -> Tensor:
        """out: float [rows, width]; sums, seen: float [rows, features], updated in place. Returns nats, [rows, V]."""
        out = out.to(self._format)
        found = self._look(out).relu_()
        sums += found[:, :self.features]
        torch.maximum(seen, found[:, self.features:], out=seen)
        return self._head(self._join(torch.cat([out, sums.to(self._format), seen.to(self._format)], 1)).relu_())


@torch.no_grad()
def keeps_distribution(model: SequenceModel, step: Step, *, rows: int = 64, length: int = 24,
                       limit: float = 2e-3) -> bool:
    """Whether ``step`` writes the model's own distribution: the mean KL(model‖step) over ``rows`` × ``length`` tokens
    that the model itself likes is below ``limit`` nats a token. Deterministic."""
    exact = PlainStep(model)
    a, b = exact.begin(rows), step.begin(rows)
    generator = torch.Generator().manual_seed(0)
    ids = torch.full((rows,), BOS)
    total = 0.0
    for _ in range(length):
        p, q = exact(ids, a).float().log_softmax(-1), step(ids, b).float().log_softmax(-1)
        total += float((p.exp() * (p - q)).sum(-1).mean())
        ids = torch.multinomial(p.exp(), 1, generator=generator)[:, 0]
    return total / length < limit


# -- products by number format: each packs a float weight [out, in] and a bias once, and returns its product -----------

def _plain_fp32(weight: Tensor, bias: Tensor | None) -> Product:
    return lambda x: F.linear(x, weight, bias)


def _plain_bf16(weight: Tensor, bias: Tensor | None) -> Product:
    w, b = weight.bfloat16(), None if bias is None else bias.bfloat16()
    return lambda x: F.linear(x, w, b).float()


def _packed_fp32(weight: Tensor, bias: Tensor | None) -> Product:
    if not has_packed_product(torch.float32):
        return _plain_fp32(weight, bias)
    w = torch.ops.mkldnn._reorder_linear_weight(weight)
    product = torch.ops.mkldnn._linear_pointwise
    return lambda x: product(x, w, bias, "none", [], None)


def _packed_bf16(weight: Tensor, bias: Tensor | None) -> Product:
    if not has_packed_product(torch.bfloat16):
        return _plain_bf16(weight, bias)
    w, b = torch.ops.mkldnn._reorder_linear_weight(weight.bfloat16()), None if bias is None else bias.bfloat16()
    product = torch.ops.mkldnn._linear_pointwise
    return lambda x: product(x, w, b, "none", [], None).float()


def _packed_int8(weight: Tensor, bias: Tensor | None) -> Product:
    """Weights in int8 with one scale a row; x is uint8 with zero at 128 and a scale of 1/254."""
    if not has_int8_product():
        raise UsageError("this build of torch has no int8 product for this machine; use --precision fp32 or bf16")
    scale = weight.abs().amax(1).clamp_min(1e-12) / 127
    rounded = (weight / scale[:, None]).round_().to(torch.int8)
    zero = torch.zeros(len(weight), dtype=torch.int32)
    w = torch.ops.onednn.qlinear_prepack(rounded, None)
    product = torch.ops.onednn.qlinear_pointwise
    return lambda x: product(x, 1 / 254, 128, w, scale, zero, bias, 1.0, 0, torch.float32, "none", [], "")


def _plain_int8(weight: Tensor, bias: Tensor | None) -> Product:
    """The same numbers as :func:`_packed_int8` by ordinary float products: its reference, not a way to be fast."""
    scale = weight.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
    rounded = (weight / scale).round_() * scale
    return lambda x: F.linear((x.float() - 128) / 254, rounded, bias)


_PACK = {"fp32": _packed_fp32, "bf16": _packed_bf16, "int8": _packed_int8}
_PACK_PLAIN = {"fp32": _plain_fp32, "bf16": _plain_bf16, "int8": _plain_int8}
_FORMAT = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.uint8}


@cache
def has_packed_product(kind: torch.dtype) -> bool:
    """Whether torch's private oneDNN products of float32 or bfloat16 are there, run on this CPU and are right."""
    try:
        x, w = torch.linspace(-1, 1, 64).reshape(2, 32).to(kind), torch.linspace(-1, 1, 512).reshape(16, 32).to(kind)
        packed = torch.ops.mkldnn._reorder_linear_weight(w)
        out = torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], None)
        return bool(torch.allclose(out.float(), x.float() @ w.float().T, atol=1e-5 if kind is torch.float32 else 0.05))
    except (AttributeError, RuntimeError, TypeError):
        return False


@cache
def has_int8_product() -> bool:
    """Whether torch's private int8 product is there and right."""
    try:
        x, w = torch.arange(64, dtype=torch.uint8).reshape(2, 32), torch.ones(16, 32, dtype=torch.int8)
        packed = torch.ops.onednn.qlinear_prepack(w, None)
        out = torch.ops.onednn.qlinear_pointwise(x, 1 / 127, 128, packed, torch.ones(16),
                                                 torch.zeros(16, dtype=torch.int32), None, 1.0, 0, torch.float32,
                                                 "none", [], "")
        expected = ((x.float() - 128) / 127).sum(1, keepdim=True).expand(2, 16)
        return bool(torch.allclose(out, expected, atol=1e-3))
    except (AttributeError, RuntimeError, TypeError):
        return False
