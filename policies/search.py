"""A policy that tries candidates of the task code, one an episode, and keeps the best.

A candidate is one of Q points spread over a box.  The return of an episode with it is taken for a
smooth function of the point, plus noise: a Gaussian process.  The next candidate is one that may be
the best, and the best is that with the highest prediction.

Source: Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, algorithm 2.1;
Srinivas et al. 2010, arXiv:0912.3995, for the upper confidence bound.
"""

from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from metarobot.policies.gaussian import Distribution, PolicyState, ReactiveState
from metarobot.policies.mlp import TaskMLP, repeated
from metarobot.policies.params import TASK_CODE, Params

WIDTH = 0.35
"""Width of the squared-exponential kernel, in units of the box."""
NOISE = 0.05
"""Variance of the noise, in that of the returns."""
OPTIMISM = 1.0
"""Standard deviations that are added to a prediction where the next candidate is chosen."""
MOST_TRIED = 64
"""Greatest number of candidates with a stored return, the newest."""
_NO_NOISE = -16.0
"""Log standard deviation of actions that are as good as deterministic."""


class Tried(NamedTuple):
    """Candidates that were tried on N tasks, n on each, and their returns."""

    candidates: Tensor
    """Indices into the Q points, (N, n) int64."""
    returns: Tensor
    """Return of the episode with it, (N, n)."""


def similarities(places: Tensor) -> Tensor:
    """Return the kernel between all points, (Q, Q), for points (Q, C) of the unit box."""
    return torch.exp(-0.5 * torch.cdist(places, places).square() / WIDTH**2)


def predict(kernel: Tensor, tried: Tried) -> tuple[Tensor, Tensor]:
    """Predict the return of every candidate, and its uncertainty, (N, Q) each.

    In standard deviations of the returns from their mean, by the kernel (Q, Q), from at least one
    candidate a task.
    """
    candidates, returns = tried
    spread = returns.std(dim=1, correction=0, keepdim=True)
    earned = (returns - returns.mean(1, keepdim=True)) / spread.clamp(min=1e-6)
    known = kernel[candidates]  # (N, n, Q)
    own = known.take_along_dim(candidates[:, None], dim=2)
    factor = torch.linalg.cholesky(own + NOISE * torch.eye(candidates.shape[1]))
    weights = torch.cholesky_solve(earned[..., None], factor)
    explained = torch.linalg.solve_triangular(factor, known, upper=False).square().sum(1)
    return (known * weights).sum(1), (1.0 - explained).clamp(min=0.0).sqrt()


def next_candidate(kernel: Tensor, tried: Tried, num_design: int) -> Tensor:
    """Return the point that is tried next on each task, (N,) int64.

    The first `num_design` are the first points, which cover the box.
    """
    num_tasks, count = tried.candidates.shape
    if count < num_design:
        return torch.full((num_tasks,), count)
    mean, std = predict(kernel, tried)
    return (mean + OPTIMISM * std).argmax(1)


class SearchingPolicy(TaskMLP):
    """π_θ(a | o, z): a `TaskMLP` with the observation o and one of Q candidates as the task code z.

    As it explores, each episode has the next candidate, which depends on the returns of the
    episodes before; actions have no noise.  The candidates and their returns are the leaves `tried`
    and `earned` (`MOST_TRIED`,), and their number is `num_tried` (1,).
    """

    candidates: Tensor  # (Q, C)
    kernel: Tensor  # (Q, Q)

    def __init__(self, *layout: Any, candidates: Tensor, num_design: int, **options: Any) -> None:
        """Lay out the network; see `TaskMLP`.

        Args:
            layout: As of `TaskMLP`.
            candidates: (Q, C); the first of them cover the box evenly.
            num_design: Number of first candidates that are tried before any is chosen.
            options: As of `TaskMLP`.
        """
        super().__init__(*layout, **options)
        self.num_design, self.explores = num_design, False
        self.task_code = nn.Parameter(torch.empty(self.task_size, device="meta"))
        low, high = (torch.as_tensor(bounds)[-self.task_size :] for bounds in layout[:2])
        self.register_buffer("candidates", candidates, persistent=False)
        kernel = similarities((candidates - low) / (high - low))
        self.register_buffer("kernel", kernel, persistent=False)
        for name, size in {"tried": MOST_TRIED, "earned": MOST_TRIED, "num_tried": 1}.items():
            self.register_parameter(name, nn.Parameter(torch.empty(size, device="meta")))

    def exploring(self) -> Self:
        """Return the same policy as it explores."""
        return self.altered(explores=True)

    def inputs(self, observations: Tensor, params: Params) -> Tensor:
        """Return the inputs of the first layer for observations (N, M, O)."""
        task_codes = repeated(params[TASK_CODE], observations)
        return super().inputs(torch.cat([observations, task_codes], dim=-1), params)

    def start(self, params: Params) -> PolicyState:
        """Begin to act, and to try candidates if the policy explores."""
        return SearchingState(self, params) if self.explores else ReactiveState(self, params)

    def log_std_of(self, params: Params) -> Tensor:
        """Return the log standard deviations of every task, (N, A)."""
        log_std = super().log_std_of(params)
        return torch.full_like(log_std, _NO_NOISE) if self.explores else log_std

    def propose(self, params: Params) -> Params:
        """Return the parameters with the next candidate as the task code."""
        candidate = next_candidate(self.kernel, _tried(params), self.num_design)
        params = _with_newest(params, "tried", candidate)
        return {**params, TASK_CODE: self.candidates[candidate]}

    def record(self, params: Params, returns: Tensor) -> Params:
        """Return the parameters that hold the return with the last candidate, (N,)."""
        params = _with_newest(params, "earned", returns)
        return {**params, "num_tried": params["num_tried"] + 1.0}

    def finish(self, params: Params) -> Params:
        """Return the parameters with the candidate of the highest prediction as the task code."""
        best = predict(self.kernel, _tried(params))[0].argmax(1)
        return {**params, TASK_CODE: self.candidates[best]}


class SearchingState(PolicyState):
    """Tries one candidate an episode, in the one simulation of each task."""

    def __init__(self, policy: SearchingPolicy, params: Params) -> None:
        super().__init__()
        self._policy, self._params = policy, params
        self._rewards: list[Tensor] = []

    def begin(self, begins: Tensor | None = None) -> None:
        """Begin an episode: record the return of the one before, and take the next candidate."""
        del begins
        if self._rewards:
            returns = sum_of_rewards(torch.cat(self._rewards, dim=1))
            self._params = self._policy.record(self._params, returns)
        self._params, self._rewards = self._policy.propose(self._params), []

    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, 1, A) and log_std (N, A) for observations (N, 1, O)."""
        return self._policy.distribution(self._params, observations)

    def observe(self, actions: Tensor, rewards: Tensor, counts: Tensor) -> None:
        """Record rewards (N, 1), which are 0 where a step does not count."""
        del actions, counts
        self._rewards.append(rewards)


def sum_of_rewards(rewards: Tensor) -> Tensor:
    """Return returns (...) of rewards (..., T): in double precision, independent of their order."""
    return rewards.double().sum(-1).to(rewards.dtype)


def _tried(params: Params) -> Tried:
    count = min(int(params["num_tried"][0, 0]), MOST_TRIED)
    return Tried(params["tried"][:, :count].long(), params["earned"][:, :count])


def _with_newest(params: Params, name: str, values: Tensor) -> Params:
    """Return the parameters with values (N,) as the newest of a leaf."""
    leaf = params[name].clone()
    leaf[:, int(params["num_tried"][0, 0]) % MOST_TRIED] = values.to(leaf.dtype)
    return {**params, name: leaf}
