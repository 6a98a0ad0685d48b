"""From a rule's number to a score: transforms, most of them REINVENT4's, by name and with their parameters.

    Transform.of({"type": "double_sigmoid", "low": 1, "high": 4})(np.array([2.5]))    # array([1.])

Every transform is defined for every float and gives nan for nan. Names may be written with ``-`` or ``_``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor.domain import Rule, UsageError, nearest

Floats = NDArray[np.float64]


def identity(x: Floats) -> Floats:
    """The number itself."""
    return x


def sigmoid(x: Floats, low: float, high: float, k: float = 0.5) -> Floats:
    """0 far below ``low``, 1 far above ``high``, ½ in the middle: 1/(1 + 10^(−10·k·(x − middle)/(high − low)))."""
    return _power_sigmoid(x - (low + high) / 2, 10 * k / (high - low))


def reverse_sigmoid(x: Floats, low: float, high: float, k: float = 0.5) -> Floats:
    """1 − ``sigmoid``: the less the better."""
    return 1 - sigmoid(x, low, high, k)


def double_sigmoid(x: Floats, low: float, high: float, coef_div: float = 100.0, coef_si: float = 150.0,
                   coef_se: float = 150.0) -> Floats:
    """Near 1 between ``low`` and ``high``, ½ at both, with slopes ``coef_si`` and ``coef_se`` over ``coef_div``."""
    rising = _power_sigmoid(x - low, coef_si / coef_div)
    falling = _power_sigmoid(high - x, coef_se / coef_div)
    return np.where(x < (low + high) / 2, rising, falling)


def step(x: Floats, low: float = -math.inf, high: float = math.inf) -> Floats:
    """1 from ``low`` to ``high``, both included, otherwise 0."""
    return np.where(np.isnan(x), x, (x >= low) & (x <= high))


def gaussian(x: Floats, mean: float, sd: float) -> Floats:
    """exp(−½((x − mean)/sd)²): 1 at ``mean``, .61 one ``sd`` away (GuacaMol's)."""
    return np.asarray(np.exp(-0.5 * ((x - mean) / sd) ** 2))


def to_human_rate(x: Floats, rate: float) -> Floats:
    """1 − |x − rate|: how near a share, 0 to 1, comes to what people do."""
    return 1 - np.abs(x - rate)


def maximise(x: Floats, low: float, high: float) -> Floats:
    """0 at ``low`` and below, 1 at ``high`` and above, a straight line between."""
    return np.clip((x - low) / (high - low), 0.0, 1.0)


def minimise(x: Floats, low: float, high: float) -> Floats:
    """1 at ``low`` and below, 0 at ``high`` and above, a straight line between."""
    return 1 - maximise(x, low, high)


def _power_sigmoid(x: Floats, slope: float) -> Floats:
    """1/(1 + 10^(−slope·x)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(np.log(10) / 2 * slope * x)))


KINDS: dict[str, Callable[..., Floats]] = {function.__name__: function for function in (
    identity, sigmoid, reverse_sigmoid, double_sigmoid, step, gaussian, to_human_rate, maximise, minimise)}
#: what a transform takes from its rule where the user did not say
FROM_RULE = {"to_human_rate": ("rate",), "maximise": ("low", "high"), "minimise": ("low", "high")}


@dataclass(frozen=True)
class Transform:
    """One of :data:`KINDS` with its parameters. ``transform(values)`` maps float64 of any shape, elementwise."""

    kind: str = "identity"
    parameters: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Any) -> Transform:
        """From ``"to-human-rate"`` or ``{"type": "sigmoid", "low": 2, "high": 4}``, as it stands in TOML.

        Raises :class:`UsageError` for an unknown kind or parameter; :meth:`filled` tells of a missing one."""
        if isinstance(given, Mapping):
            if "type" not in given:
                raise UsageError(f"transform {dict(given)} has no type; one of {', '.join(KINDS)}")
            kind, parameters = given["type"], {name: value for name, value in given.items() if name != "type"}
        else:
            kind, parameters = given, {}
        kind = str(kind).replace("-", "_").replace("maximize", "maximise").replace("minimize", "minimise")
        if kind not in KINDS:
            raise nearest(kind, KINDS, "transform")
        known = _parameters(kind)
        for name, value in parameters.items():
            if name not in known:
                raise nearest(name, known, f"parameter of the transform {kind!r}")
            parameters[name] = number(value, f"{name} of the transform {kind!r}")
        return cls(kind, parameters)

    def filled(self, rule: Rule) -> Transform:
        """With all parameters it needs: bounds and human rate come from ``rule`` where the user left them out.

        Raises :class:`UsageError` where one is missing, or ``low`` is not below ``high``, or a width is not positive.
        """
        parameters, where = dict(self.parameters), f"the transform {self.kind!r} of {rule.name!r}"
        for name in FROM_RULE.get(self.kind, ()):
            value = getattr(rule, name)
            if name not in parameters and (value is None or not math.isfinite(value)):
                raise UsageError(f"{where} needs {name!r}, and the rule itself has none; say {name} = NUMBER in an "
                                 "objective file")
            parameters.setdefault(name, value)
        missing = [name for name, needed in _parameters(self.kind).items() if needed and name not in parameters]
        if missing:
            raise UsageError(f"{where} needs {' and '.join(map(repr, missing))}, each a number")
        if self.kind == "step" and not parameters:
            raise UsageError(f"{where} needs 'low' or 'high' or both")
        if parameters.get("low", -math.inf) >= parameters.get("high", math.inf):
            raise UsageError(f"{where} has low = {parameters['low']:g}, which is not below high = "
                             f"{parameters['high']:g}")
        for name in ("sd", "k", "coef_div", "coef_si", "coef_se"):
            if parameters.get(name, 1.0) <= 0:
                raise UsageError(f"{where} has {name} = {parameters[name]:g}; it must be above 0")
        return replace(self, parameters=parameters)

    def to_dict(self) -> dict[str, Any]:
        """The structure that :meth:`of` reads."""
        return {"type": self.kind, **self.parameters}

    def __call__(self, values: Floats) -> Floats:
        return KINDS[self.kind](values, **self.parameters)


def _parameters(kind: str) -> dict[str, bool]:
    """Each parameter of ``kind``, and whether it must be given."""
    function = KINDS[kind]
    names = function.__code__.co_varnames[1:function.__code__.co_argcount]
    optional = len(function.__defaults__ or ())
    return {name: i < len(names) - optional for i, name in enumerate(names)}


def number(value: Any, what: str) -> float:
    """``value`` as a finite float; raises :class:`UsageError` that says ``what`` it should have been."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{what} must be a number, not {value!r}")
    return float(value)
