"""One file holds everything a run needs to go on bit for bit; it is replaced whole, so a kill leaves the last one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from seqtutor.domain import UsageError
from seqtutor.files import atomic, check_readable

FORMAT = "seqtutor-checkpoint/5"


def save(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Writes named tensors and a JSON-able ``state`` (counters, configuration) as one safetensors file."""
    metadata = {"format": FORMAT, "state": json.dumps(state)}
    with atomic(path) as temporary:
        temporary.write_bytes(serialise({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
                                        metadata))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and state of a checkpoint. Raises :class:`UsageError` in one line if it is damaged or not ours."""
    check_readable(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise UsageError(f"{path} is not a checkpoint of seqtutor, or it is damaged: {error}") from error
    if metadata.get("format") != FORMAT:
        raise UsageError(f"{path} was not written by this version of seqtutor ({FORMAT})")
    return tensors, json.loads(metadata["state"])


def pack(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under ``prefix/name``."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def unpack(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of ``tensors`` that :func:`pack` put under ``prefix``."""
    return {name[len(prefix) + 1:]: tensor for name, tensor in tensors.items() if name.startswith(prefix + "/")}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state (moments, step counts) as flat named tensors."""
    return {f"{i}/{key}": torch.as_tensor(value)
            for i, state in optimizer.state_dict()["state"].items() for key, value in state.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Puts back what :func:`optimizer_tensors` took out; learning rates stay as they are in ``optimizer``."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        i, key = name.split("/")
        state.setdefault(int(i), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
