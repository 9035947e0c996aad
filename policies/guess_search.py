"""Search for the guess that earns most: a Gaussian process over guesses, asked one at a time.

A guess is one of Q points spread over a box.  What an episode earns that is told a guess is taken
for a smooth function of it, plus noise; the next guess is one that may be the best, and the best is
that whose prediction is highest.

Source: Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, algorithm 2.1;
Srinivas et al. 2010, arXiv:0912.3995, for the upper confidence bound.
"""

from typing import NamedTuple

import torch
from torch import Tensor

WIDTH = 0.35
"""Width of the squared-exponential kernel, in units of the box."""
NOISE = 0.05
"""Variance of the noise, in that of the returns."""
OPTIMISM = 1.0
"""Standard deviations that are added to a prediction where the next guess is chosen."""
MOST_ASKED = 64
"""Guesses whose returns are remembered, the newest."""


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
