"""What this machine can do, and the two settings that make torch fast on a small CPU."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable
from typing import Any

import torch

from seqtutor.domain import UsageError

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # <malloc.h>


def keep_freed_memory() -> bool:
    """Tells glibc to keep freed memory instead of handing it back to the kernel; True if it agreed.

    torch allocates and frees the same megabytes at every step; by default each round is an mmap, its page faults and
    a munmap. Measured here: LSTM training 1.2 to 2.3 times faster.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, e.g. musl
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_M_TOP_PAD, 64 << 20))


def set_threads(threads: int | None = None) -> int:
    """Sets and returns the number of torch threads; None means the CPUs that this process may run on."""
    if threads is None:
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        with contextlib.suppress(KeyError, ValueError):
            threads = max(1, min(threads, int(os.environ["OMP_NUM_THREADS"])))
    torch.set_num_threads(threads)
    return threads


def trains_in_bf16(device: torch.device) -> bool:
    """Whether an LSTM can be trained in bf16 on ``device`` at all (oneDNN has none without AVX-512)."""
    try:
        return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # a private name
        return False


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 products run in hardware on ``device``."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    try:
        return trains_in_bf16(device) and (
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    except (AttributeError, RuntimeError):  # private names; without them bf16 is merely not chosen
        return False


def autocasting(precision: str, device: torch.device) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """What a forward pass of training runs under: bf16 where ``precision`` is ``bf16``, or ``auto`` and the machine has
    it in hardware; otherwise nothing. Raises :class:`UsageError` where bf16 is asked for and cannot be had."""
    if precision == "bf16" and not trains_in_bf16(device):
        raise UsageError("this machine cannot train in bf16; use --precision fp32 or auto")
    if precision == "bf16" or (precision == "auto" and has_fast_bf16(device)):
        return lambda: torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext


def has_fast_int8() -> bool:
    """Whether 8-bit products run in hardware (AVX512-VNNI or AMX) on this CPU."""
    try:
        return bool(torch.cpu._is_vnni_supported())
    except AttributeError:
        return False
