"""Interquartile means and bootstrap intervals of scores, and of the captured headroom.

Scores are arrays (S, N): S training seeds, N tasks. Every interval is a stratified percentile
bootstrap: the seeds are the strata, and the tasks are resampled within each seed. The interval
shows the uncertainty from the drawn tasks. It does *not* show the uncertainty from the training
seeds, which are held fixed. The same generator state gives the same interval.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

Array = np.ndarray

NUM_RESAMPLES = 2000
HARM = 0.05
"""Part of the headroom that a task must lose by adapting to count as harmed."""
# Resampled scores held in memory at once: 4 million float64 are 32 MB.
_MAX_RESAMPLED_SCORES = 4_000_000
# A resample without headroom must not flip the fraction's sign: its divisor is at least this
# positive part of the measured headroom.
_SMALLEST_HEADROOM = 1e-9
# Relative rounding error between two equal returns.
_ROUNDING = 1e-9


class Interval(msgspec.Struct, frozen=True, array_like=True):
    """A number with its 95 % bootstrap interval, in the unit of the scores: three in JSON."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not np.isfinite([self.value, self.low, self.high]).all() or self.low > self.high:
            raise ValueError(f"[{self.low}, {self.high}] is not an interval around {self.value}")


def interquartile_mean(scores: Array) -> Array:
    """Return the mean of the middle half of the scores (..., n), (...): more robust than the mean.

    The ⌊n / 4⌋ lowest and the ⌊n / 4⌋ highest of n scores are left out.

    Source: Agarwal et al. 2021, arXiv:2108.13264.
    """
    from scipy.stats import trim_mean  # takes half a second to import

    return trim_mean(scores, 0.25, axis=-1)


def bootstrap_mean(
    scores: Array, generator: np.random.Generator, num_resamples: int = NUM_RESAMPLES
) -> Interval:
    """Return the mean of scores (S, N) with its 95 % interval."""
    return _bootstrap(_mean, (scores,), generator, num_resamples)


def bootstrap_iqm(scores: Array, generator: np.random.Generator) -> Interval:
    """Return the interquartile mean of scores (S, N), over all seeds, with its 95 % interval."""
    return _bootstrap(interquartile_mean, (scores,), generator)


def captured_is_meaningful(gap: Interval, oracle: float, random: float | None) -> bool:
    """Whether the fraction of the headroom is meaningful on a split.

    The oracle must clearly beat domain randomisation, and random actions: an oracle that fails
    itself, such as far outside its training range, is not an upper reference.

    Args:
        gap: Mean return of the oracle - that of domain randomisation.
        oracle: Mean return of the oracle.
        random: Mean return of random actions; None where they were not measured.
    """
    rounding = _ROUNDING * max(abs(oracle), abs(random or 0.0))
    return gap.low > rounding and (random is None or oracle - random > rounding)


def bootstrap_captured(
    adapted: Array, domain_randomisation: Array, oracle: Array, generator: np.random.Generator
) -> Interval | None:
    """Return the fraction of the headroom captured, with its 95 % interval.

        captured = (mean adapted - mean dr) / (mean oracle - mean dr)

    One resample takes the same tasks for all three algorithms, so the difficulty of a task cancels.
    The fraction is negative if domain randomisation wins, and above 1 if the adapted policy beats
    the oracle.

    Args:
        adapted: Scores (S, N) of the adapted policy.
        domain_randomisation: Scores (S, N) of the policy that never adapts.
        oracle: Scores (S, N) of the policy that observes the task.
        generator: Source of the resamples.

    Returns:
        The fraction, or None if the 95 % interval of the headroom on the same resamples reaches
        zero.
    """
    gain, headroom = adapted - domain_randomisation, oracle - domain_randomisation
    state = generator.bit_generator.state
    if bootstrap_mean(headroom, generator).low <= 0.0:
        return None
    generator.bit_generator.state = state  # the fraction sees the resamples just tested
    floor = _SMALLEST_HEADROOM * float(np.mean(headroom))

    def fraction(resampled_gain: Array, resampled_headroom: Array) -> Array:
        return _mean(resampled_gain) / np.maximum(_mean(resampled_headroom), floor)

    return _bootstrap(fraction, (gain, headroom), generator)


def bootstrap_harmed(
    before: Array, after: Array, headroom: float, generator: np.random.Generator
) -> Interval:
    """Return the share of tasks that adapting made clearly worse, with its 95 % interval.

        harmed = share of (seed, task) with after < before - 0.05 headroom

    Args:
        before: Scores (S, N) of a policy before adapting.
        after: Scores (S, N) of the adapted policy, on the same tasks.
        headroom: Mean of oracle - domain randomisation, positive.
        generator: Source of the resamples.
    """
    return bootstrap_mean(1.0 * (before - after > HARM * headroom), generator)


def bootstrap_worst_tenth(before: Array, after: Array, generator: np.random.Generator) -> Interval:
    """Return the mean of after - before over the worst tenth of all tasks, with its 95 % interval.

    The worst tenth of n pairs (seed, task) are the ⌈n / 10⌉ with the smallest change.

    Args:
        before: Scores (S, N) of a policy before adapting.
        after: Scores (S, N) of the adapted policy, on the same tasks.
        generator: Source of the resamples.
    """

    def worst_tenth(changes: Array) -> Array:
        number = -(-changes.shape[-1] // 10)
        return _mean(np.partition(changes, number - 1, axis=-1)[..., :number])

    return _bootstrap(worst_tenth, (after - before,), generator)


def _mean(scores: Array) -> Array:
    return np.mean(scores, axis=-1)


def _bootstrap(
    statistic: Callable[..., Array],  # each array (..., S * N) to one number each, (...)
    scores: tuple[Array, ...],
    generator: np.random.Generator,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Bootstrap a statistic of paired score arrays, each (S, N).

    scipy resamples its samples independently of each other, as strata require, but it cannot pair
    several algorithms within a stratum. So its samples are the *indices* of each seed's tasks, and
    the statistic looks up every algorithm's scores with them.
    """
    from scipy.stats import bootstrap  # takes half a second to import

    flat = [array.ravel() for array in scores]
    indices = np.arange(scores[0].size).reshape(scores[0].shape)
    result = bootstrap(
        tuple(indices),
        lambda *strata, axis: statistic(*(a[np.concatenate(strata, axis=axis)] for a in flat)),
        n_resamples=num_resamples,
        batch=max(1, _MAX_RESAMPLED_SCORES // indices.size),
        vectorized=True,
        axis=-1,
        method="percentile",
        rng=generator,
    )
    low, high = result.confidence_interval
    return Interval(float(statistic(*flat)), float(low), float(high))
