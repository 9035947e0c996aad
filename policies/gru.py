"""A gated recurrent unit whose weights may differ between the sequences of a batch.

With H units and inputs x_t that are already multiplied by their weights; x, a and b hold 3 H
columns, those of the reset gate r, the update gate z and the candidate n::

    a_t = W h_{t-1} + b
    r_t = σ(x_t^r + a_t^r)
    z_t = σ(x_t^z + a_t^z)
    n_t = tanh(x_t^n + r_t a_t^n)
    h_t = n_t + z_t (h_{t-1} - n_t)

Source: Cho et al. 2014, arXiv:1406.1078, with the reset gate where `torch.nn.GRU` has it.
"""

from typing import Any

import torch
from torch import Tensor


def gru_step(inputs: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Take one step.

    Args:
        inputs: x_t, (N, M, 3 H).
        hidden: h_{t-1}, (N, M, H).
        weight: W, (N, 3 H, H).
        bias: b, (N, 1, 3 H).

    Returns:
        h_t, (N, M, H).
    """
    size = hidden.shape[-1]
    a = torch.baddbmm(bias, hidden, weight.mT)
    gates = torch.sigmoid(inputs[..., : 2 * size] + a[..., : 2 * size])
    reset, update = gates[..., :size], gates[..., size:]
    candidate = torch.addcmul(inputs[..., 2 * size :], reset, a[..., 2 * size :]).tanh()
    return torch.lerp(candidate, hidden, update)


def gru_sequence(inputs: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Take L steps on M sequences for each of N weights.

    Args:
        inputs: x_1 .. x_L, (N, L M, 3 H); those of the M sequences follow each other in each step.
        hidden: h_0, (N, M, H).
        weight: W, (N, 3 H, H).
        bias: b, (N, 1, 3 H).

    Returns:
        h_0 .. h_L, (N, (L + 1) M, H), in the same order.
    """
    return _Sequence.apply(inputs, hidden, weight, bias)  # pyright: ignore[reportReturnType]


class _Sequence(torch.autograd.Function):
    """All steps, with the chain rule by hand.

    Every sequence has a gradient of W. Autograd would add it up step by step, N matrices each time;
    here it is one product over all steps, and training takes less than half the time.
    """

    @staticmethod
    def forward(inputs: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        states = [hidden]
        for x_t in inputs.split(hidden.shape[1], dim=1):
            states.append(gru_step(x_t, states[-1], weight, bias))
        return torch.cat(states, dim=1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x, _, weight, bias = inputs
        ctx.save_for_backward(x, weight, bias, output)
        ctx.num_sequences = output.shape[1] - x.shape[1]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, ...]:
        x, weight, bias, states = ctx.saved_tensors
        M, size = ctx.num_sequences, states.shape[-1]
        before = states[:, :-M]
        a_r, a_z, a_n = torch.baddbmm(bias, before, weight.mT).split(size, dim=-1)
        x_r, x_z, x_n = x.split(size, dim=-1)
        r, z = torch.sigmoid(x_r + a_r), torch.sigmoid(x_z + a_z)
        n = torch.tanh(x_n + r * a_n)
        # ∂h_t by x_t and by a_t, which differ in the candidate; (N, L M, 3 H)
        by_n = (1 - z) * (1 - n.square())
        by_r, by_z = by_n * a_n * r * (1 - r), (before - n) * z * (1 - z)
        by_a = torch.cat([by_r, by_z, by_n * r], dim=-1)

        # From the last step to the first: what the loss gains from h_t, now and through h_{t+1}.
        direct = grad_outputs[0].split(M, dim=1)
        total, totals = direct[-1], []
        for before_t, by_a_t, z_t in zip(
            direct[-2::-1], by_a.split(M, 1)[::-1], z.split(M, 1)[::-1], strict=True
        ):
            totals.append(total)
            through = torch.addcmul(before_t, z_t, total)
            total = torch.baddbmm(through, by_a_t * total.repeat(1, 1, 3), weight)
        d_h = torch.cat(totals[::-1], dim=1)  # (N, L M, H)
        d_a = by_a * d_h.repeat(1, 1, 3)
        d_x = torch.cat([d_a[..., : 2 * size], by_n * d_h], dim=-1)
        return d_x, total, d_a.mT @ before, d_a.sum(1, keepdim=True)
