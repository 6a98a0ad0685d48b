"""Losses as pure functions of log-probabilities and rewards, in nats."""

from __future__ import annotations

from torch import Tensor


def log_variance(log_pi: Tensor, log_p: Tensor, reward: Tensor) -> Tensor:
    """Zero exactly where π ∝ p·exp(reward) on the batch: the variance of log π(x) − log p(x) − reward(x).

    log_pi, log_p: log-probabilities of whole sequences under the policy and the fixed prior; reward: in nats (divided
    by β). All float [batch]. This is path consistency over whole sequences with the constant log Z replaced by the
    batch's mean (VarGrad: Richter et al. 2020), so it holds for samples from anywhere.
    """
    residual = log_pi - log_p - reward
    return (residual - residual.mean()).square().mean()
