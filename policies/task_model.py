"""A model of rewards and of changes of the observation, for any task.

It is inverted by Bayes' rule: a task is as likely as it makes the observed outcomes.
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
    task_codes: Tensor
    """Task code of the policy, (N, M, T, C)."""
    outcomes: Tensor
    """The reward of the step, and how the observation changes until the next, (N, M, T, D)."""
    counts: Tensor
    """1.0 where an outcome was seen, (N, M, T, D)."""

    def episodes(self, chosen: slice) -> "Transitions":
        """Return some episodes of every task."""
        return Transitions(*(block[:, chosen] for block in self))


class LogLikelihood(NamedTuple):
    """Log-likelihood of each of K tasks, as sums over the outcomes observed.

    Outcomes count by how much the predictions of reference tasks differ, which are spread over all
    splits: an outcome with the same prediction for all of them has weight 0.
    """

    squares: Tensor
    """Squared errors in predicted standard deviations, (..., K)."""
    log_variances: Tensor
    """Logarithms of predicted variances, (..., K)."""
    num_outcomes: Tensor
    """Outcomes, (..., 1)."""

    @classmethod
    def none(cls, *shape: int) -> Self:
        """Return that of no outcomes; the shape ends in K."""
        return cls(torch.zeros(shape), torch.zeros(shape), torch.zeros(*shape[:-1], 1))

    def plus(self, other: "LogLikelihood") -> "LogLikelihood":
        """Return the sum of both."""
        return LogLikelihood(*(a + b for a, b in zip(self, other, strict=True)))

    def summed(self) -> "LogLikelihood":
        """Return the sum over the first dimension."""
        return LogLikelihood(*(part.sum(0) for part in self))

    def times(self, factor: Tensor) -> "LogLikelihood":
        """Return the log-likelihood multiplied by a factor."""
        return LogLikelihood(*(part * factor for part in self))

    def reshaped(self, *shape: int) -> "LogLikelihood":
        """Return the log-likelihood with other dimensions before the last."""
        return LogLikelihood(*(part.reshape(*shape, part.shape[-1]) for part in self))

    def log_weights(self, power: float) -> Tensor:
        """Return the logarithm of the weight of each task, but for a constant, (..., K).

        Where no task explains the outcomes, the model is wrong, or the tasks lie too far apart.
        Then errors are rescaled so that those of the best task are as large as expected: otherwise
        the least bad task would seem certain.  The power of the likelihood is below 1, since the
        errors of the model are correlated from step to step.
        """
        best = self.squares.amin(dim=-1, keepdim=True)
        scale = (best / self.num_outcomes.clamp(min=1.0)).clamp(min=1.0)
        return -0.5 * power * (self.squares / scale + self.log_variances)


class TaskModel(nn.Module):
    """p(outcome_t | o_1, a_1, .., o_t, a_t, g, z): a Gaussian for each element of the outcome.

    A network reads a step, and the mean over the steps so far of a layer on them: a memory that
    needs no training through time.  Its outputs are the weights of a small network of the
    difference between the task z and g, the task code of the policy.  So a step is read once, and
    costs two small products of matrices for a thousand tasks.

    The policy compensates for its task code.  So the outcome of a step depends on z - g much more
    than on z, and training covers the differences z - g of tasks beyond the training range.

    Another network predicts the return of an episode with the code g on the task z, as a Gaussian.

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
        """Lay out the networks for O, A and C elements.

        Layers that read steps have H = `width` units, that which reads a task J = `head_width`.
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
            "return_1": (4 * code_size + 1, width),
            "return_2": (width, width),
            "return_3": (width, 2),
        }
        for name, (size_in, size_out) in sizes.items():
            self.add_module(name, nn.Linear(size_in, size_out, device="meta"))

    # Reading steps.

    def summarise(self, params: Params, inputs: Tensor, task_codes: Tensor) -> Tensor:
        """Return the contribution of steps to the memory, (N, M, H)."""
        return torch.tanh(linear(params, "summary", torch.cat([inputs, task_codes], dim=-1)))

    def read_steps(
        self, params: Params, inputs: Tensor, task_codes: Tensor, memory: Tensor
    ) -> Tensor:
        """Return the weights that steps make, (N, M, J + 2 D, C + 1).

        Of steps (N, M, I), task codes (N, M, C), and the mean output of `summarise` over the steps
        up to each, (N, M, H).
        """
        seen = torch.cat([inputs, task_codes, memory], dim=-1)
        hidden = torch.tanh(linear(params, "step_1", seen))
        hidden = torch.tanh(linear(params, "step_2", hidden))
        made = linear(params, "step_3", hidden)
        return made.unflatten(-1, (self.head_width + 2 * self.outcome_size, -1))

    def read_episodes(self, params: Params, steps: Transitions) -> Tensor:
        """Return the weights that the steps of episodes make, (N, M, T, J + 2 D, C + 1)."""
        N, M, T = steps.inputs.shape[:3]
        inputs, task_codes = steps.inputs.flatten(1, 2), steps.task_codes.flatten(1, 2)
        added = self.summarise(params, inputs, task_codes).view(N, M, T, -1)
        so_far = torch.arange(1, T + 1, dtype=added.dtype)[:, None]
        memory = (added.cumsum(2) / so_far).flatten(1, 2)
        return self.read_steps(params, inputs, task_codes, memory).unflatten(1, (M, T))

    # Learning.

    def losses(self, params: Params, steps: Transitions, codes: Tensor) -> Tensor:
        """Return the loss of the model on the outcomes of N sets of M episodes, (N,).

        The negative log-likelihood, that of each outcome times the standard deviation predicted:
        without this factor, outcomes that are hard to predict would be learned last.

        Args:
            params: Each leaf (N, ...).
            steps: Episodes.
            codes: The task of each, (N, M, C).

        Source: Seitzer et al. 2022, arXiv:2203.09168.
        """
        read = self.read_episodes(params, steps)
        error = codes[:, :, None] - steps.task_codes
        made = torch.einsum("nmtjc,nmtc->nmtj", read[..., :-1], error) + read[..., -1]
        hidden, direct = made.split([self.head_width, 2 * self.outcome_size], dim=-1)
        rest = linear(params, "head", torch.relu(hidden).flatten(1, 2)).view_as(direct)
        mean, raw = (direct + rest).chunk(2, dim=-1)
        weighted = _surprise(steps.outcomes, mean, _variance(raw)) * steps.counts
        return weighted.sum((1, 2, 3)) / steps.counts.sum((1, 2, 3)).clamp(min=1.0)

    def return_losses(
        self, params: Params, task_codes: Tensor, codes: Tensor, returns: Tensor
    ) -> Tensor:
        """Return the loss (N,) on returns (N, M) of episodes.

        Their task codes and tasks are (N, M, C).
        """
        mean, variance = self.returns(params, task_codes, codes)
        return _surprise(returns, mean, variance).mean(1)

    def returns(self, params: Params, task_codes: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of an episode's return, in its unit, (N, M) each.

        The policy has the task codes (N, M, C) and acts in the tasks `codes` (N, M, C). Where a
        code is NaN, the careful policy acts.
        """
        error, is_careful = task_codes - codes, task_codes.isnan().any(-1, keepdim=True)
        by_code = [part.nan_to_num() for part in (task_codes, error.square(), error.abs())]
        seen = torch.cat([codes, *by_code, is_careful.to(codes.dtype)], dim=-1)
        hidden = torch.relu(linear(params, "return_1", seen))
        hidden = torch.relu(linear(params, "return_2", hidden))
        mean, raw = linear(params, "return_3", hidden).unbind(-1)
        return mean, _variance(raw)

    # Inference.

    def log_likelihood(
        self,
        params: Params,
        references: Tensor,
        codes: Tensor,
        read: Tensor,
        task_codes: Tensor,
        outcomes: Tensor,
        counts: Tensor,
    ) -> LogLikelihood:
        """Return the log-likelihood of single steps for each of K tasks, (M, .) each.

        Args:
            params: Of one model, each leaf in its own shape.
            references: Tasks spread over all splits, (R, C): see `LogLikelihood`.
            codes: The K tasks, the same for all steps or not, (K, C) or (M, K, C).
            read: The weights that the steps made, (M, J + 2 D, C + 1).
            task_codes: Task code of the policy, (M, C).
            outcomes: (M, D).
            counts: (M, D).
        """
        codes = torch.cat(
            [each.expand(read.shape[0], -1, -1) for each in (references, codes)], dim=1
        )
        predicted = self.predict(params, codes, read, task_codes)
        return _of_tasks(*predicted, outcomes, counts, len(references))

    def predict(
        self, params: Params, codes: Tensor, read: Tensor, task_codes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the outcomes of steps on tasks (M, K, C), (M, D, K) each.

        Other arguments are those of `log_likelihood`.
        """
        bias = read[..., -1:] - read[..., :-1] @ task_codes[..., None]
        made = torch.baddbmm(bias, read[..., :-1], codes.mT)
        hidden, direct = made.split([self.head_width, 2 * self.outcome_size], dim=1)
        rest = params["head.weight"] @ torch.relu(hidden) + params["head.bias"][:, None]
        mean, raw = (direct + rest).chunk(2, dim=1)
        return mean, _variance(raw)

    def return_log_likelihood(
        self,
        params: Params,
        references: Tensor,
        codes: Tensor,
        task_codes: Tensor,
        returns: Tensor,
        counts: Tensor,
    ) -> LogLikelihood:
        """Return the log-likelihood of whole episodes for each of K tasks, (M, .) each.

        Args:
            params: Of one model, each leaf (1, ...).
            references: As of `log_likelihood`.
            codes: As of `log_likelihood`.
            task_codes: Task code of the policy all through each episode, (M, C).
            returns: In their unit, (M,).
            counts: (M,).
        """
        codes = torch.cat(
            [each.expand(returns.shape[0], -1, -1) for each in (references, codes)],
            dim=1,
        )
        pairs = task_codes[:, None].expand(codes.shape), codes
        mean, variance = self.returns(params, *(each.flatten(0, 1)[None] for each in pairs))
        each_task = mean.view(len(task_codes), 1, -1), variance.view(len(task_codes), 1, -1)
        return _of_tasks(*each_task, returns[:, None], counts[:, None], len(references))


def _of_tasks(
    mean: Tensor, variance: Tensor, outcomes: Tensor, counts: Tensor, num_references: int
) -> LogLikelihood:
    """Return the log-likelihood of outcomes (M, D) for K tasks.

    Mean and variance (M, D, R + K) begin with those of the reference tasks.
    """
    spread = mean[..., :num_references].var(dim=-1, correction=0)
    weights = counts * spread / (spread + variance[..., :num_references].mean(dim=-1))
    mean, variance = mean[..., num_references:], variance[..., num_references:]
    squares = (outcomes[..., None] - mean).square() / variance
    return LogLikelihood(
        squares=(squares * weights[..., None]).sum(1),
        log_variances=(variance.log() * weights[..., None]).sum(1),
        num_outcomes=weights.sum(-1, keepdim=True),
    )


def _surprise(outcomes: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Return the negative log-likelihood, times the standard deviation that is predicted."""
    surprise = (outcomes - mean).square() / variance + variance.log()
    return variance.detach().sqrt() * surprise


def _variance(raw: Tensor) -> Tensor:
    return FINEST**2 + raw.clamp(-10.0, 2 * math.log(COARSEST)).exp()
