"""How much of an adaptation step to take: as much as the episodes of a task agree on it.

The step d of a task is the mean of the steps d_e that its E episodes ask for, so their spread tells
its noise. Of a noisy step, the part

    s = max(0, 1 - V / |d|²),    V = σ² / E,    σ² the variance of a d_e, summed over parameters,

comes nearest to the step without noise, δ: s is Wiener's factor |δ|² / (|δ|² + V), with |d|² - V in
place of the unknown |δ|². Where V exceeds |d|², nothing has been learned, and no step is taken.

Few episodes tell little about σ², and one tells nothing. So a variance that was learned in
meta-training counts as much as `PRIOR_EPISODES` episodes more.

A single episode may be an outlier, its step many times as long as those from which meta-training
has learned. There the initialisation was never tried, and |d|² looks like a signal. So no step is
longer than the longest that a meta-batch has seen.

A later step starts nearer to its end than the first. With normalised advantages it is as long, and
overshoots. So it is divided by 1 + the sum of all s before. Where every step is taken whole, the
result is the mean of where they lead, in which their noise averages out.

Source: James and Stein 1961, "Estimation with quadratic loss"; its positive part, Efron and Morris
1973, "Stein's estimation rule and its competitors"; the pooled variance, Smyth 2004,
doi:10.2202/1544-6115.1027; Robbins and Monro 1951, "A stochastic approximation method", for steps
whose lengths fall so.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from metarobot.learning.distributed import mean_over_tasks
from metarobot.policies import Params

PRIOR_EPISODES = 4.0
"""Degrees of freedom of the learned variance; E episodes have E - 1."""

LEARNING_RATE = 0.1
"""Weight of a new meta-batch in what is learned: it follows θ within some ten of them."""


class StepMoments(NamedTuple):
    """What the episodes of every task say about its step, (N,) each."""

    num_episodes: Tensor
    """E, episodes with a step that counts."""
    length: Tensor
    """|d|², squared length of the step."""
    deviations: Tensor
    """Σ_e |d_e - d|²; 0 for a single episode."""

    @classmethod
    def of(cls, parts: Params, whole: Params, mask: Tensor) -> Self:
        """Measure steps.

        Args:
            parts: d_e / E, leaves (N, E, ...); 0 for an episode without steps that count.
            whole: Their sums d, leaves (N, ...).
            mask: 1.0 where a step counts (N, E, T).
        """
        count = (mask.sum(-1) > 0).to(mask.dtype).sum(1)
        squares = _sum_of_each([leaf.square().flatten(2).sum(2).sum(1) for leaf in parts.values()])
        length = _sum_of_each([leaf.square().flatten(1).sum(1) for leaf in whole.values()])
        deviations = count * (count * squares - length)
        return cls(count, length, torch.where(count > 1.0, deviations, 0.0))

    def sample_variances(self) -> Tensor:
        """Return σ² without bias, (N,); NaN where fewer than two episodes count."""
        freedom = self.num_episodes - 1.0
        return torch.where(freedom > 0.0, self.deviations / freedom, torch.nan)

    def factors(self, learned: Tensor | None, longest: Tensor | None = None) -> Tensor:
        """Return s of every task, (N,); 0 where σ² cannot be told.

        Args:
            learned: σ² from meta-training (N, 1), 0 where it is unknown; None if there is none.
            longest: Longest s |d| that meta-training has seen, likewise.
        """
        factors = self._wiener_factors(learned)
        if longest is None:
            return factors
        bound = longest.detach().squeeze(1)
        exceeds = (bound > 0.0) & (factors.square() * self.length > bound.square())
        # `where` differentiates both of its branches: that which is not taken must stay finite.
        return torch.where(exceeds, bound / torch.where(exceeds, self.length, 1.0).sqrt(), factors)

    def step_lengths(self, learned: Tensor | None) -> Tensor:
        """Return s |d| of every task, (N,), with no bound on it; `learned` is that of `factors`."""
        return self.factors(learned) * self.length.sqrt()

    def _wiener_factors(self, learned: Tensor | None) -> Tensor:
        """Return max(0, 1 - V / |d|²) of every task, (N,)."""
        deviations, freedom = self.deviations, (self.num_episodes - 1.0).clamp(min=0.0)
        if learned is not None:
            prior = learned.detach().squeeze(1)
            more = PRIOR_EPISODES * (prior > 0.0)
            deviations, freedom = deviations + more * prior, freedom + more
        variance = deviations / (freedom * self.num_episodes).clamp(min=1.0)
        known = (freedom > 0.0) & (self.length > variance)
        return torch.where(known, 1.0 - variance / torch.where(known, self.length, 1.0), 0.0)


def _sum_of_each(leaves: list[Tensor]) -> Tensor:
    """Add numbers (N,) of all leaves, along rows: then the order does not depend on N."""
    return torch.stack(leaves, dim=1).sum(1)


def learn_variance(learned: Tensor, samples: Tensor) -> Tensor:
    """Return σ² after one more meta-batch, (1,): a running mean.

    Args:
        learned: σ² so far (1,), 0 while it is unknown.
        samples: σ² of every task (N,); those that are not finite are left out.
    """
    samples = samples[samples.isfinite()]
    if len(samples) == 0:
        return learned
    return _follow(learned, torch.full_like(learned, float(mean_over_tasks(samples))))


def learn_longest(longest: Tensor, lengths: Tensor) -> Tensor:
    """Return the longest step of a meta-batch after one more, (1,): a running mean.

    Args:
        longest: So far (1,), 0 while it is unknown.
        lengths: s |d| of every task (N,); those that are not finite are left out.
    """
    lengths = lengths[lengths.isfinite()]
    if len(lengths) == 0:
        return longest
    return _follow(longest, torch.full_like(longest, float(lengths.max())))


def _follow(learned: Tensor, new: Tensor) -> Tensor:
    """Return the running mean after one more number; the first is taken as it is."""
    return torch.where(learned > 0.0, torch.lerp(learned, new, LEARNING_RATE), new)
