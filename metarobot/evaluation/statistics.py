"""Interquartile means and bootstrap intervals of scores, and of the captured headroom.

Scores are arrays (S, N): S training seeds, N tasks. Every interval is a stratified percentile
bootstrap: the seeds are the strata, and the tasks are resampled within each seed. So it says how
much the number depends on which tasks were drawn; with the seeds held fixed, it does *not* say
how much the number would change with another training seed.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

Array = np.ndarray

NUM_RESAMPLES = 2000
CONFIDENCE = 0.95
HARM = 0.05
"""Part of the headroom that a task must lose by adapting to count as harmed."""
# Resampled scores held in memory at once: 4 million float64 are 32 MB.
_MAX_RESAMPLED_SCORES = 4_000_000
# A resample without headroom must not flip the fraction's sign: its divisor stays this positive
# part of the measured headroom, so that it lands at the far end of its own side.
_SMALLEST_HEADROOM = 1e-9
# Part of a return by which two that are equal may differ as they are computed.
_ROUNDING = 1e-9


class Interval(msgspec.Struct, frozen=True, array_like=True):
    """A number with its 95 % bootstrap interval, in the unit of the scores: three in JSON."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not np.isfinite([self.value, self.low, self.high]).all() or self.low > self.high:
            raise ValueError(f"[{self.low}, {self.high}] is no interval around {self.value}")


def interquartile_mean(scores: Array, axis: int | None = None) -> Array:
    """Return the mean of the middle half of the scores: robust, and less jumpy than the median.

    The ⌊n / 4⌋ lowest and the ⌊n / 4⌋ highest of n scores are left out.

    Source: Agarwal et al. 2021, arXiv:2108.13264.
    """
    from scipy.stats import trim_mean  # half a second, for which no option or name waits

    if axis is None:
        return trim_mean(np.ravel(scores), 0.25)
    return trim_mean(scores, 0.25, axis=axis)


def bootstrap_mean(
    scores: Array, generator: np.random.Generator, num_resamples: int = NUM_RESAMPLES
) -> Interval:
    """Return the mean of scores (S, N) with its 95 % interval.

    Raises:
        ValueError: scores is not (S, N) with S >= 1 and N >= 2, or not finite.
    """
    return _interval(_mean, (scores,), generator, num_resamples)


def bootstrap_iqm(
    scores: Array, generator: np.random.Generator, num_resamples: int = NUM_RESAMPLES
) -> Interval:
    """Return the interquartile mean of scores (S, N), over all seeds, with its 95 % interval.

    Raises:
        ValueError: scores is not (S, N) with S >= 1 and N >= 2, or not finite.
    """

    def middle_mean(resampled: Array) -> Array:
        return interquartile_mean(resampled, axis=-1)

    return _interval(middle_mean, (scores,), generator, num_resamples)


def bootstrap_headroom(
    domain_randomisation: Array,
    oracle: Array,
    generator: np.random.Generator,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Return the mean of oracle - domain randomisation, paired by task, with its 95 % interval.

    Args:
        domain_randomisation: Scores (S, N) of the policy that never adapts.
        oracle: Scores (S, N) of the policy told the task, on the same tasks.
        generator: Source of the resamples; the same state gives the same interval.
        num_resamples: Bootstrap resamples.

    Raises:
        ValueError: Shapes differ, are not (S, N >= 2), or a score is not finite.
    """
    _check_same_tasks(domain_randomisation, oracle)
    return bootstrap_mean(np.subtract(oracle, domain_randomisation), generator, num_resamples)


def captured_is_meaningful(gap: Interval, oracle: float, random: float | None) -> bool:
    """Whether a fraction of the headroom says anything about adaptation on a split.

    The oracle must clearly beat domain randomisation, and random actions: one that is lost itself,
    as it may be far outside its training range, is no measure of what there is to win.

    Args:
        gap: Mean return of the oracle - that of domain randomisation.
        oracle: Mean return of the oracle.
        random: Mean return of random actions; None where they were not measured.
    """
    if random is None:
        return gap.low > _ROUNDING * abs(oracle)
    rounding = _ROUNDING * max(abs(oracle), abs(random))
    return gap.low > rounding and oracle - random > rounding


def bootstrap_captured(
    adapted: Array,
    domain_randomisation: Array,
    oracle: Array,
    generator: np.random.Generator,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval | None:
    """Return the fraction of the headroom captured, with its 95 % interval.

        captured = (mean adapted - mean dr) / (mean oracle - mean dr)

    One resample takes the same tasks for all three algorithms (they were evaluated on the same
    tasks), so what makes a task hard for all of them cancels. The fraction is negative where domain
    randomisation wins, and above 1 where the adapted policy passes the oracle.

    Args:
        adapted: Scores (S, N) of the adapted policy.
        domain_randomisation: Scores (S, N) of the policy that never adapts.
        oracle: Scores (S, N) of the policy told the task.
        generator: Source of the resamples; the same state gives the same interval.
        num_resamples: Bootstrap resamples.

    Returns:
        The fraction, or None where the 95 % interval of the headroom on the same
        resamples reaches zero: a part of nothing means nothing.

    Raises:
        ValueError: Shapes differ, are not (S, N >= 2), or a score is not finite.
    """
    _check_same_tasks(adapted, domain_randomisation, oracle)
    gain = np.subtract(adapted, domain_randomisation)
    headroom = np.subtract(oracle, domain_randomisation)
    state = generator.bit_generator.state
    if bootstrap_mean(headroom, generator, num_resamples).low <= 0.0:
        return None
    generator.bit_generator.state = state  # the fraction sees the resamples just tested
    floor = _SMALLEST_HEADROOM * float(np.mean(headroom))

    def fraction(resampled_gain: Array, resampled_headroom: Array) -> Array:
        return _mean(resampled_gain) / np.maximum(_mean(resampled_headroom), floor)

    return _interval(fraction, (gain, headroom), generator, num_resamples)


def bootstrap_harmed(
    before: Array,
    after: Array,
    headroom: float,
    generator: np.random.Generator,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Return the share of tasks that adapting made clearly worse, with its 95 % interval.

        harmed = share of (seed, task) with after < before - 0.05 headroom

    Args:
        before: Scores (S, N) of a policy before adapting.
        after: Scores (S, N) of the adapted policy, on the same tasks.
        headroom: Mean of oracle - domain randomisation, positive.
        generator: Source of the resamples; the same state gives the same interval.
        num_resamples: Bootstrap resamples.

    Raises:
        ValueError: Shapes differ, are not (S, N >= 2), or a score is not finite.
    """
    _check_same_tasks(before, after)

    def share(resampled_losses: Array) -> Array:
        return _mean(resampled_losses > HARM * headroom)

    return _interval(share, (np.subtract(before, after),), generator, num_resamples)


def bootstrap_worst_tenth(
    before: Array,
    after: Array,
    generator: np.random.Generator,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Return the mean of after - before over the worst tenth of all tasks, with its 95 % interval.

    The worst tenth of n pairs (seed, task) are the ⌈n / 10⌉ with the smallest change.

    Args:
        before: Scores (S, N) of a policy before adapting.
        after: Scores (S, N) of the adapted policy, on the same tasks.
        generator: Source of the resamples; the same state gives the same interval.
        num_resamples: Bootstrap resamples.

    Raises:
        ValueError: Shapes differ, are not (S, N >= 2), or a score is not finite.
    """
    _check_same_tasks(before, after)
    return _interval(_worst_tenth, (np.subtract(after, before),), generator, num_resamples)


def _worst_tenth(changes: Array) -> Array:
    number = -(-changes.shape[-1] // 10)
    return np.mean(np.partition(changes, number - 1, axis=-1)[..., :number], axis=-1)


def _mean(resampled: Array) -> Array:
    return np.mean(resampled, axis=-1)


def _interval(
    statistic: Callable[..., Array],  # each array (..., S * N) to one number each, (...)
    scores: tuple[Array, ...],
    generator: np.random.Generator,
    num_resamples: int,
) -> Interval:
    """Bootstrap a statistic of paired score arrays, each (S, N).

    scipy resamples its samples independently of each other, which is what strata need, but it
    cannot pair several algorithms within a stratum. So its samples are the *indices* of each seed's
    tasks, and the statistic looks every algorithm's scores up with them.
    """
    from scipy.stats import bootstrap  # half a second, for which no option or name waits

    arrays = [_checked(array) for array in scores]
    num_seeds, num_tasks = arrays[0].shape
    flat = [array.ravel() for array in arrays]
    indices = np.arange(num_seeds * num_tasks).reshape(num_seeds, num_tasks)

    def of_indices(*strata: Array, axis: int) -> Array:
        picked = np.concatenate(strata, axis=axis)  # (..., S * N)
        return statistic(*(array[picked] for array in flat))

    result = bootstrap(
        tuple(indices),
        of_indices,
        n_resamples=num_resamples,
        batch=max(1, _MAX_RESAMPLED_SCORES // indices.size),
        vectorized=True,
        axis=-1,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=generator,
    )
    low, high = result.confidence_interval
    return Interval(float(statistic(*flat)), float(low), float(high))


def _checked(scores: Array) -> Array:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < 2:
        raise ValueError(
            "scores must be (seeds, tasks) with at least 1 seed and 2 tasks (an interval needs "
            f"something to resample), got shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"scores hold {int((~np.isfinite(array)).sum())} non-finite numbers")
    return array


def _check_same_tasks(*scores: Array) -> None:
    shapes = {np.shape(array) for array in scores}
    if len(shapes) > 1:
        raise ValueError(
            "algorithms must be evaluated on the same tasks, (seeds, tasks) each, got shapes "
            + ", ".join(str(np.shape(array)) for array in scores)
        )
