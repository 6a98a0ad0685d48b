"""seqtutor: molecules and melodies people can use, from a prior learnt from data and tutored by rules.

Public names are loaded when they are first used, so that ``import seqtutor`` stays fast.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "Domain": "domain", "Rule": "domain", "RuleFamily": "domain", "Finding": "domain", "Grammar": "domain",
    "Corpus": "domain", "Table": "domain", "SeqtutorError": "domain", "UsageError": "domain", "UnknownToken": "domain",
    "load_domain": "plugins", "check_domain": "conformance", "Vocabulary": "vocabulary",
    "SequenceModel": "model", "ModelConfig": "model", "load_model": "models",
    "Sampler": "sampling", "SamplingConfig": "sampling", "pretrain": "pretrain", "PretrainConfig": "pretrain",
    "Tutor": "tutor", "TuneConfig": "settings", "generate": "generate", "score_table": "scoring",
    "Objective": "objective", "Rewarder": "rewards",
}
__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'seqtutor' has no attribute {name!r}")
    return getattr(importlib.import_module(f"seqtutor.{_WHERE[name]}"), name)


class _Package(ModuleType):
    """`generate` and `pretrain` name a function and its module; here the function wins, whichever is imported first.
    (The modules: ``from seqtutor.pretrain import …``.)"""

    def __setattr__(self, name: str, value: Any) -> None:
        if _WHERE.get(name) == name and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted(__all__)
