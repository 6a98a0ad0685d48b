"""Losses as pure functions of log-probabilities, values and rewards, in nats (rewards divided by β).

Whole sequences, batch first. Column t stands for the t-th action a_t, taken in state s_t:

    log_pi, log_p    float [batch, T]: log π(a_t|s_t) and log p(a_t|s_t); p is the fixed prior
    value            float [batch, T]: V(s_t); behind the last action V is 0
    reward           float [batch, T]: credited to the action it follows; the end's reward is the last action's
    mask             bool [batch, T]: the actions that count; False at padding and at tokens that were given

The policy and the value together are Ψ(s, a) = log π(a|s) + V(s), so V = logsumexp Ψ and softmax Ψ = π hold by
construction. The optimum for γ = 1 is Ψ*(s, a) = log p(a|s) + r + V*(s'), π*(x) = p(x)·exp(R(x))/Z, V*(start) = log Z.
"""

from __future__ import annotations

import torch
from torch import Tensor


def returns(log_pi: Tensor, log_p: Tensor, reward: Tensor, mask: Tensor, gamma: float = 1.0) -> Tensor:
    """Σ_{k≥t} γ^(k−t) [log p(a_k|s_k) + r_k − log π(a_k|s_k)], float [batch, T]: what V(s_t) is at the optimum on every
    path (path consistency: Nachum et al. 2017), and on average on the policy's own."""
    x = (log_p + reward - log_pi) * mask
    if gamma == 1:
        return x.flip(1).cumsum(1).flip(1)
    columns = [x[:, -1]]
    for t in range(x.shape[1] - 2, -1, -1):
        columns.append(x[:, t] + gamma * columns[-1])
    return torch.stack(columns[::-1], 1)


def shifted(state_value: Tensor, mask: Tensor) -> Tensor:
    """V(s_{t+1}) for every t, 0 behind the last action: float [batch, T] from V(s_t)."""
    following = torch.zeros_like(state_value)
    following[:, :-1] = (state_value * mask)[:, 1:]
    return following


def targets(log_p: Tensor, reward: Tensor, mask: Tensor, next_value: Tensor, trace: Tensor, correction: Tensor, *,
            gamma: float = 1.0, n: int = 1, lam: float = 0.0) -> Tensor:
    """What Ψ(s_t, a_t) should be, float [batch, T], without gradient. V⁻ and π⁻ are a target network's (psi, q, g), or
    for path the policy's own.

    One step (n = 1): log p + r + γ·next_value, where next_value[:, t] is the target network's value of s_{t+1} (for Ψ
    and G the soft one, logsumexp Ψ⁻; for Q max Q⁻) and 0 behind the end. Longer targets replace γ·V⁻(s') by
    γ·(target of (s', a') − correction) where ``trace`` is 1: for Ψ and G the correction is log π⁻(a'|s'), which makes
    every path consistent whatever wrote it; for Q it is 0 and the trace is cut where a' is not greedy (Watkins 1989).
    ``n`` counts the steps; with ``lam`` > 0 all lengths are mixed instead, weighted (1 − λ)·λ^(n−1).
    ``trace`` and ``correction``: float [batch, T], those of (s_t, a_t) themselves.
    """
    one = log_p + reward + gamma * next_value
    follows = torch.zeros_like(one)  # 1 where step t goes on along the recorded path to t + 1
    follows[:, :-1] = trace[:, 1:] * mask[:, 1:] * mask[:, :-1]
    if lam > 0:
        columns = [one[:, -1]]
        for t in range(one.shape[1] - 2, -1, -1):
            along = columns[-1] - correction[:, t + 1] - next_value[:, t]
            columns.append(one[:, t] + gamma * lam * follows[:, t] * along)
        return torch.stack(columns[::-1], 1).detach()
    target = one
    for _ in range(n - 1):
        along = torch.zeros_like(one)
        along[:, :-1] = target[:, 1:] - correction[:, 1:] - next_value[:, :-1]
        target = one + gamma * follows * along
    return target.detach()


def residuals(method: str, log_pi: Tensor, log_p: Tensor, value: Tensor, target: Tensor,
                           mask: Tensor) -> Tensor:
    """What Ψ (or Q), or G = Ψ − log p, is above its target; float [batch, T], 0 where masked.

    Sequence Tutor's G differs from its Ψ by where the network begins, not by what is regressed: here both begin at the
    prior, G = 0, and have the same gradient.
    """
    if method == "g":
        return ((log_pi + value - log_p) - (target - log_p)) * mask
    return (log_pi + value - target) * mask


def kl_by_token(log_pi: Tensor, log_p: Tensor, mask: Tensor) -> Tensor:
    """KL(π(·|s_t) ‖ p(·|s_t)) in nats, exact over the vocabulary; float [batch, T].

    log_pi, log_p: float [batch, T, V], normalised over the permitted tokens, −inf at the others. Summed over a
    sequence that π wrote, its expectation is the KL of whole sequences, with less noise than log π(x) − log p(x).
    """
    ratio = torch.where(log_pi > float("-inf"), log_pi - log_p, 0.0)
    return (log_pi.exp() * ratio).sum(-1) * mask


def entropy_by_token(log_pi: Tensor, mask: Tensor) -> Tensor:
    """Entropy of π(·|s_t) in nats; log_pi: float [batch, T, V], −inf where forbidden. Returns float [batch, T]."""
    return -(log_pi.exp() * log_pi.clamp_min(-1e4)).sum(-1) * mask
