"""How much of an adaptation step to take: as much as the episodes of a task agree on it.

The step d of a task is the mean of the steps d_e that its E episodes ask for, so their spread tells
its noise. Of a noisy step, the part

    s = S / (S + V),    V = σ² / E,    σ² the variance of a d_e, summed over parameters,

comes nearest to the step without noise, whose squared length is S: Wiener's factor. A task's own
estimate of S is max(0, |d|² - V), with which s is the factor of James and Stein: where V exceeds
|d|², nothing has been learned, and no step is taken.

Few episodes tell little about σ² and S, and one tells nothing: where it is an outlier, its |d|²
looks like a signal. So what meta-training has found on all tasks counts as much as `PRIOR_EPISODES`
episodes more.

A later step starts nearer to its end than the first. With normalised advantages it is as long, and
overshoots. So it is divided by 1 + the sum of all s before. Where every step is taken whole, the
result is the mean of where they lead, in which their noise averages out.

Source: James and Stein 1961, "Estimation with quadratic loss"; Efron and Morris 1973, "Stein's
estimation rule and its competitors: an empirical Bayes approach", for what is learned from all
tasks; the pooled variance, Smyth 2004, doi:10.2202/1544-6115.1027; Robbins and Monro 1951, "A
stochastic approximation method", for steps whose lengths fall so.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from metarobot.learning.running_mean import running_mean
from metarobot.policies import Params

PRIOR_EPISODES = 4.0
"""What the learned variance and signal count, in degrees of freedom; E episodes have E - 1."""

LEARNING_RATE = 0.1
"""Weight of a new meta-batch in what is learned: it follows θ within some ten of them."""

_LEAST = 1e-12
"""What is learned where there is nothing: 0 would be unknown."""


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

    def sample_signals(self) -> Tensor:
        """Return S without bias, (N,), which can be negative; NaN for fewer than two episodes."""
        return self.length - self.sample_variances() / self.num_episodes

    def factors(self, variance: Tensor | None = None, signal: Tensor | None = None) -> Tensor:
        """Return s of every task, (N,); 0 where σ² cannot be told.

        Args:
            variance: σ² from meta-training (N, 1), 0 where it is unknown; None if there is none.
            signal: S from meta-training, likewise.
        """
        freedom = (self.num_episodes - 1.0).clamp(min=0.0)
        deviations, known = _with_learned(self.deviations, freedom, variance)
        noise = deviations / (known * self.num_episodes).clamp(min=1.0)
        own = torch.relu(self.length - noise)
        total, weight = _with_learned(freedom * own, freedom, signal)
        share = total / weight.clamp(min=1.0)
        # `where` differentiates both of its branches: that which is not taken must stay finite.
        learned = (known > 0.0) & (share > 0.0)
        return torch.where(learned, share / torch.where(learned, share + noise, 1.0), 0.0)


def _with_learned(total: Tensor, freedom: Tensor, learned: Tensor | None) -> tuple[Tensor, Tensor]:
    """Add what was learned to a sum and to its degrees of freedom, where it is known, (N,) each."""
    if learned is None:
        return total, freedom
    prior = learned.detach().squeeze(1)
    more = PRIOR_EPISODES * (prior > 0.0)
    return total + more * prior, freedom + more


def _sum_of_each(leaves: list[Tensor]) -> Tensor:
    """Add numbers (N,) of all leaves, along rows: then the order does not depend on N."""
    return torch.stack(leaves, dim=1).sum(1)


def learn_mean(learned: Tensor, samples: Tensor) -> Tensor:
    """Return a learned number after one more meta-batch, (1,): a running mean.

    Args:
        learned: The number so far (1,), 0 while it is unknown.
        samples: What every task says of it, (N,); those that are not finite are left out.
    """
    return running_mean(learned, samples[:, None], LEARNING_RATE, _LEAST)
