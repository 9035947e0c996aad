"""A policy that is told guesses, one an episode, and finds the one that earns most.

A guess is one of Q points spread over a box.  What an episode earns that is told a guess is taken
for a smooth function of it, plus noise: a Gaussian process over guesses.  The next guess is one
that may be the best, and the best is that whose prediction is highest.

Source: Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, algorithm 2.1;
Srinivas et al. 2010, arXiv:0912.3995, for the upper confidence bound.
"""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from metarobot.policies.gaussian import Distribution, PolicyState, ReactiveState
from metarobot.policies.mlp import ToldPolicy
from metarobot.policies.params import TOLD, Params

WIDTH = 0.35
"""Width of the squared-exponential kernel, in units of the box."""
NOISE = 0.05
"""Variance of the noise, in that of the returns."""
OPTIMISM = 1.0
"""Standard deviations that are added to a prediction where the next guess is chosen."""
MOST_ASKED = 64
"""Guesses whose returns are remembered, the newest."""
_NO_NOISE = -16.0
"""Log standard deviation of actions that are as good as deterministic."""


class Asked(NamedTuple):
    """Guesses that N tasks were asked, n of them each, and what they earned."""

    guesses: Tensor
    """Which of the Q points, (N, n) int64."""
    returns: Tensor
    """Return of the episode that was told it, (N, n)."""


def similarities(places: Tensor) -> Tensor:
    """Return the kernel between all points, (Q, Q), for points (Q, C) of the unit box."""
    return torch.exp(-0.5 * torch.cdist(places, places).square() / WIDTH**2)


def predict(kernel: Tensor, asked: Asked) -> tuple[Tensor, Tensor]:
    """Return what every point earns, as predicted, and how uncertain that is, (N, Q) each.

    Args:
        kernel: `similarities` of the points, (Q, Q).
        asked: At least one guess a task.

    Returns:
        Means and standard deviations, in standard deviations of the returns from their mean.
    """
    guesses, returns = asked
    spread = returns.std(dim=1, correction=0, keepdim=True)
    earned = (returns - returns.mean(1, keepdim=True)) / spread.clamp(min=1e-6)
    known = kernel[guesses]  # (N, n, Q)
    own = known.take_along_dim(guesses[:, None], dim=2)
    factor = torch.linalg.cholesky(own + NOISE * torch.eye(guesses.shape[1]))
    weights = torch.cholesky_solve(earned[..., None], factor)
    explained = torch.linalg.solve_triangular(factor, known, upper=False).square().sum(1)
    return (known * weights).sum(1), (1.0 - explained).clamp(min=0.0).sqrt()


def next_guess(kernel: Tensor, asked: Asked, num_design: int) -> Tensor:
    """Return the point that is asked next on each task, (N,) int64.

    Args:
        kernel: `similarities` of the points, (Q, Q).
        asked: What was asked so far, perhaps nothing.
        num_design: The first guesses are the first points, this many; they cover the box.
    """
    num_tasks, count = asked.guesses.shape
    if count < num_design:
        return torch.full((num_tasks,), count)
    mean, std = predict(kernel, asked)
    return (mean + OPTIMISM * std).argmax(1)


def best_guess(kernel: Tensor, asked: Asked) -> Tensor:
    """Return the point with the highest prediction on each task, (N,) int64."""
    return predict(kernel, asked)[0].argmax(1)


class SearchingPolicy(ToldPolicy):
    """A `ToldPolicy` that is told one of Q guesses.

    As it explores, each episode is told what it asks next, which depends on what the episodes
    before have earned; actions have no noise.  What was asked and earned are the leaves `asked` and
    `earned` (`MOST_ASKED`,), and how many there were, `num_asked` (1,).
    """

    guesses: Tensor  # (Q, C)
    kernel: Tensor  # (Q, Q)

    def __init__(
        self,
        observation_low: Sequence[float],
        observation_high: Sequence[float],
        action_size: int,
        hidden_sizes: Sequence[int] = (64, 64),
        initial_std: float = 0.5,
        *,
        guesses: Tensor,
        num_design: int,
        **task: Any,
    ) -> None:
        """Lay out the network.

        Args:
            observation_low: As of `ToldPolicy`, as all but the next two.
            observation_high: (O + C,).
            action_size: A.
            hidden_sizes: Width of each tanh layer.
            initial_std: In half action ranges.
            guesses: What can be told, (Q, C); the first of them cover the whole box evenly.
            num_design: How many of the first guesses are asked before any is chosen.
            **task: As of `TaskMLP`.
        """
        super().__init__(
            observation_low, observation_high, action_size, hidden_sizes, initial_std, **task
        )
        self.num_design, self.asks = num_design, False
        low = torch.as_tensor(observation_low)[-self.task_size :]
        high = torch.as_tensor(observation_high)[-self.task_size :]
        self.register_buffer("guesses", guesses, persistent=False)
        kernel = similarities((guesses - low) / (high - low))
        self.register_buffer("kernel", kernel, persistent=False)
        for name, size in {"asked": MOST_ASKED, "earned": MOST_ASKED, "num_asked": 1}.items():
            self.register_parameter(name, nn.Parameter(torch.empty(size, device="meta")))

    def asking(self) -> Self:
        """Return the same policy as it explores; all else is shared."""
        twin = copy.copy(self)
        twin.asks = True
        return twin

    def start(self, params: Params) -> PolicyState:
        """Begin to act, and to ask if the policy explores."""
        return SearchingState(self, params) if self.asks else ReactiveState(self, params)

    def log_std_of(self, params: Params) -> Tensor:
        """Return the log standard deviations of every task, (N, A)."""
        log_std = super().log_std_of(params)
        return torch.full_like(log_std, _NO_NOISE) if self.asks else log_std

    def ask(self, params: Params) -> Params:
        """Return the parameters with the next guess told."""
        guess = next_guess(self.kernel, _asked(params), self.num_design)
        place = int(params["num_asked"][0, 0]) % MOST_ASKED
        asked = params["asked"].clone()
        asked[:, place] = guess.to(asked.dtype)
        return {**params, "asked": asked, TOLD: self.guesses[guess]}

    def answer(self, params: Params, returns: Tensor) -> Params:
        """Return the parameters that hold what the last guess has earned, (N,)."""
        place = int(params["num_asked"][0, 0]) % MOST_ASKED
        earned = params["earned"].clone()
        earned[:, place] = returns
        return {**params, "earned": earned, "num_asked": params["num_asked"] + 1.0}

    def conclude(self, params: Params) -> Params:
        """Return the parameters with that guess told which is predicted to earn most."""
        return {**params, TOLD: self.guesses[best_guess(self.kernel, _asked(params))]}


class SearchingState(PolicyState):
    """Asks one guess an episode, in the one simulation of each task."""

    def __init__(self, policy: SearchingPolicy, params: Params) -> None:
        super().__init__()
        self._policy, self._params = policy, params
        self._rewards: list[Tensor] = []

    def begin(self, begins: Tensor | None = None) -> None:
        """An episode begins: take note of what the one before has earned, and ask the next."""
        del begins
        if self._rewards:
            returns = sum_of_rewards(torch.cat(self._rewards, dim=1))
            self._params = self._policy.answer(self._params, returns)
        self._params, self._rewards = self._policy.ask(self._params), []

    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, 1, A) and log_std (N, A) for observations (N, 1, O)."""
        return self._policy.distribution(self._params, observations)

    def observe(self, actions: Tensor, rewards: Tensor, counts: Tensor) -> None:
        """Take note of rewards (N, 1), which are 0 where a step does not count."""
        del actions, counts
        self._rewards.append(rewards)


def sum_of_rewards(rewards: Tensor) -> Tensor:
    """Return returns (...) of rewards (..., T): in double precision, whose sums have no order."""
    return rewards.double().sum(-1).to(rewards.dtype)


def _asked(params: Params) -> Asked:
    count = min(int(params["num_asked"][0, 0]), MOST_ASKED)
    return Asked(params["asked"][:, :count].long(), params["earned"][:, :count])
