"""A model of rewards and of changes of the observation, for any task.

It is read backwards: of all tasks that could be, those are likely under which what was seen is.
"""

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from metarobot.policies.params import Params, linear

FINEST, COARSEST = 0.05, 10.0
"""Least and greatest standard deviation that is predicted, in the unit of the outcome."""


class Transitions(NamedTuple):
    """Episodes as the model reads them: M of them on each of N tasks, T steps each."""

    inputs: Tensor
    """Known before the outcome of each step, (N, M, T, I)."""
    told: Tensor
    """Task code of the policy, (N, M, T, C)."""
    outcomes: Tensor
    """The reward of the step, and how the observation changes until the next, (N, M, T, D)."""
    counts: Tensor
    """1.0 where an outcome was seen, (N, M, T, D)."""

    def episodes(self, chosen: slice) -> "Transitions":
        """Return some episodes of every task."""
        return Transitions(*(block[:, chosen] for block in self))


class Evidence(NamedTuple):
    """Sums over what has been seen, for each of K tasks.

    Outcomes count by how much they tell the tasks apart: what all tasks predict alike says nothing
    of any, and nothing of whether the predictions are any good.
    """

    squares: Tensor
    """Squared errors in predicted standard deviations, (..., K)."""
    log_variances: Tensor
    """Logarithms of predicted variances, (..., K)."""
    num_outcomes: Tensor
    """Outcomes, (..., 1)."""

    @classmethod
    def none(cls, *shape: int) -> Self:
        """Return that of having seen nothing; the shape ends in K."""
        return cls(torch.zeros(shape), torch.zeros(shape), torch.zeros(*shape[:-1], 1))

    def plus(self, other: "Evidence") -> "Evidence":
        """Return both together."""
        return Evidence(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, factor: Tensor) -> "Evidence":
        """Return the evidence, so many times over."""
        return Evidence(*(part * factor for part in self))

    def reshaped(self, *shape: int) -> "Evidence":
        """Return the evidence with other dimensions before the last."""
        return Evidence(*(part.reshape(*shape, part.shape[-1]) for part in self))

    def log_weights(self, power: float) -> Tensor:
        """Return the logarithm of the weight of each task, but for a constant, (..., K).

        Where no task explains what was seen, the model is wrong, or the tasks lie too far apart.
        Then errors count as if the best task's were as large as expected: else the least bad of all
        tasks would seem certain.

        Args:
            power: Of the likelihood; below 1, since the model errs alike in one step and the next.
        """
        best = self.squares.amin(dim=-1, keepdim=True)
        scale = (best / self.num_outcomes.clamp(min=1.0)).clamp(min=1.0)
        return -0.5 * power * (self.squares / scale + self.log_variances)


class TaskModel(nn.Module):
    """p(outcome_t | o_1, a_1, .., o_t, a_t, g, z): a Gaussian for each element of the outcome.

    A network reads a step, and the mean over the steps so far of a layer on them: what is
    remembered without being trained through time.  What it makes of the step are the weights of a
    small network, which reads how far the task z lies from g, which the policy was told.  So a step
    is read once, and costs two small products of matrices for a thousand tasks.

    The policy makes up for what it is told.  So what comes of a step depends on z - g much more
    than on z, and of tasks beyond all those trained on the model has seen the like: others that
    were as far from what was told.

    Another network says what an episode returns that is told g on the task z, a Gaussian as well.

    Source: Ha et al. 2017, arXiv:1609.09106, for weights that a network makes.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        code_size: int,
        width: int = 64,
        head_width: int = 48,
    ) -> None:
        """Lay out the networks.

        Args:
            observation_size: O.
            action_size: A.
            code_size: C, elements of an encoded task.
            width: H, units of each layer that reads steps.
            head_width: J, units of the layer that reads a task.
        """
        super().__init__()
        self.outcome_size = outcome_size = 1 + observation_size
        self.width, self.head_width = width, head_width
        input_size = 2 * observation_size + 2 * action_size + 2 + code_size
        made = (head_width + 2 * outcome_size) * (code_size + 1)
        sizes = {
            "summary": (input_size, width),
            "step_1": (input_size + width, width),
            "step_2": (width, width),
            "step_3": (width, made),
            "head": (head_width, 2 * outcome_size),
            "return_1": (4 * code_size, width),
            "return_2": (width, width),
            "return_3": (width, 2),
        }
        for name, (size_in, size_out) in sizes.items():
            self.add_module(name, nn.Linear(size_in, size_out, device="meta"))

    # Reading steps.

    def summarise(self, params: Params, inputs: Tensor, told: Tensor) -> Tensor:
        """Return the contribution of steps to the memory, (N, M, H)."""
        return torch.tanh(linear(params, "summary", torch.cat([inputs, told], dim=-1)))

    def read_steps(self, params: Params, inputs: Tensor, told: Tensor, memory: Tensor) -> Tensor:
        """Return the weights that steps make, (N, M, J + 2 D, C + 1).

        Args:
            params: Each leaf (N, ...).
            inputs: Steps (N, M, I).
            told: (N, M, C).
            memory: Mean of what `summarise` made of the steps up to each, (N, M, H).
        """
        seen = torch.cat([inputs, told, memory], dim=-1)
        hidden = torch.tanh(linear(params, "step_1", seen))
        hidden = torch.tanh(linear(params, "step_2", hidden))
        made = linear(params, "step_3", hidden)
        return made.unflatten(-1, (self.head_width + 2 * self.outcome_size, -1))

    def read_episodes(self, params: Params, steps: Transitions) -> Tensor:
        """Return the weights that the steps of episodes make, (N, M, T, J + 2 D, C + 1)."""
        N, M, T = steps.inputs.shape[:3]
        inputs, told = steps.inputs.flatten(1, 2), steps.told.flatten(1, 2)
        added = self.summarise(params, inputs, told).view(N, M, T, -1)
        so_far = torch.arange(1, T + 1, dtype=added.dtype)[:, None]
        memory = (added.cumsum(2) / so_far).flatten(1, 2)
        return self.read_steps(params, inputs, told, memory).unflatten(1, (M, T))

    # Learning.

    def losses(self, params: Params, steps: Transitions, codes: Tensor) -> Tensor:
        """Return the loss of the model on the outcomes of every task's episodes, (N,).

        The negative log-likelihood, that of each outcome times the standard deviation predicted:
        without, what is hard to predict would be learned last.

        Args:
            params: Each leaf (N, ...).
            steps: Episodes.
            codes: The tasks, (N, C).

        Source: Seitzer et al. 2022, arXiv:2203.09168.
        """
        read = self.read_episodes(params, steps)
        error = codes[:, None, None] - steps.told
        made = torch.einsum("nmtjc,nmtc->nmtj", read[..., :-1], error) + read[..., -1]
        hidden, direct = made.split([self.head_width, 2 * self.outcome_size], dim=-1)
        rest = linear(params, "head", torch.relu(hidden).flatten(1, 2)).view_as(direct)
        mean, raw = (direct + rest).chunk(2, dim=-1)
        weighted = _surprise(steps.outcomes, mean, _variance(raw)) * steps.counts
        return weighted.sum((1, 2, 3)) / steps.counts.sum((1, 2, 3)).clamp(min=1.0)

    def return_losses(self, params: Params, told: Tensor, codes: Tensor, returns: Tensor) -> Tensor:
        """Return the loss of the model on the returns of every task's episodes, as `losses`, (N,).

        Args:
            params: Each leaf (N, ...).
            told: What the policy was told all through each episode, (N, M, C).
            codes: The tasks, (N, C).
            returns: (N, M), in their unit.
        """
        mean, variance = self.returns(params, told, codes[:, None].expand_as(told))
        return _surprise(returns, mean, variance).mean(1)

    def returns(self, params: Params, told: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of what an episode returns, in its unit, (N, M) each.

        Args:
            params: Each leaf (N, ...).
            told: What the policy is told, (N, M, C).
            codes: The tasks that it acts in, (N, M, C).
        """
        error = told - codes
        seen = torch.cat([told, codes, error.square(), error.abs()], dim=-1)
        hidden = torch.relu(linear(params, "return_1", seen))
        hidden = torch.relu(linear(params, "return_2", hidden))
        mean, raw = linear(params, "return_3", hidden).unbind(-1)
        return mean, _variance(raw)

    # Recognising.

    def weigh(
        self,
        params: Params,
        codes: Tensor,
        read: Tensor,
        told: Tensor,
        outcomes: Tensor,
        counts: Tensor,
    ) -> Evidence:
        """Hold single steps against each of K tasks.

        Args:
            params: Of one model, each leaf in its own shape.
            codes: The tasks, (K, C).
            read: The weights that the steps made, (M, J + 2 D, C + 1).
            told: What the policy was told, (M, C).
            outcomes: (M, D).
            counts: (M, D).

        Returns:
            Evidence, (M, .) each.
        """
        bias = read[..., -1:] - read[..., :-1] @ told[..., None]
        made = torch.baddbmm(bias, read[..., :-1], codes.mT.expand(read.shape[0], -1, -1))
        hidden, direct = made.split([self.head_width, 2 * self.outcome_size], dim=1)
        rest = params["head.weight"] @ torch.relu(hidden) + params["head.bias"][:, None]
        mean, raw = (direct + rest).chunk(2, dim=1)
        return _held_against(mean, _variance(raw), outcomes, counts)

    def weigh_returns(
        self, params: Params, codes: Tensor, told: Tensor, returns: Tensor, counts: Tensor
    ) -> Evidence:
        """Hold what whole episodes have returned against each of K tasks.

        Args:
            params: Of one model, each leaf (1, ...).
            codes: The tasks, (K, C).
            told: What the policy was told all through each episode, (M, C).
            returns: In their unit, (M,).
            counts: (M,).

        Returns:
            Evidence, (M, .) each.
        """
        shape = len(told), len(codes), -1
        pairs = told[:, None].expand(shape), codes.expand(shape)
        mean, variance = self.returns(params, *(each.flatten(0, 1)[None] for each in pairs))
        each_task = mean.view(len(told), 1, -1), variance.view(len(told), 1, -1)
        return _held_against(*each_task, returns[:, None], counts[:, None])


def _held_against(mean: Tensor, variance: Tensor, outcomes: Tensor, counts: Tensor) -> Evidence:
    """Hold outcomes (M, D) against what is expected of K tasks, mean and variance (M, D, K)."""
    spread = mean.var(dim=-1, correction=0)
    tells = counts * spread / (spread + variance.mean(dim=-1))
    squares = (outcomes[..., None] - mean).square() / variance
    return Evidence(
        squares=(squares * tells[..., None]).sum(1),
        log_variances=(variance.log() * tells[..., None]).sum(1),
        num_outcomes=tells.sum(-1, keepdim=True),
    )


def _surprise(outcomes: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Return the negative log-likelihood, times the standard deviation that is predicted."""
    surprise = (outcomes - mean).square() / variance + variance.log()
    return variance.detach().sqrt() * surprise


def _variance(raw: Tensor) -> Tensor:
    return FINEST**2 + raw.clamp(-10.0, 2 * math.log(COARSEST)).exp()
