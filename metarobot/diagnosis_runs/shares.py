"""Shares of recordings, with intervals that know how few machines or recordings they rest on.

Tasks draw the same recordings again and again.  So an interval over tasks becomes as narrow as one
likes, however little was recorded; one over machines, or over recordings, does not.
"""

from __future__ import annotations

import numpy as np

from metarobot.evaluation.statistics import CONFIDENCE, Interval


def share_of(true: np.ndarray, cluster: np.ndarray) -> Interval:
    """Return the share of true entries with its 95 % interval over clusters.

    Args:
        true: Whether each is so, bool of any shape, not empty.
        cluster: What each is of, in the same shape: entries of one cluster tell of each other.

    Source: Korn and Graubard 1998, Survey Methodology 24: the interval of Clopper and Pearson for
        as many independent entries as have the variance of the share over clusters.
    """
    from scipy.special import betainccinv, betaincinv  # which takes a while to import

    _, place = np.unique(cluster, return_inverse=True)
    counts = np.bincount(place.ravel())
    sums = np.bincount(place.ravel(), weights=np.ravel(true).astype(float))
    share = float(sums.sum() / counts.sum())
    size = _effective_size(sums - share * counts, share, counts)
    tail = (1 - CONFIDENCE) / 2
    hits, misses = share * size, (1 - share) * size
    low = float(betaincinv(hits, misses + 1, tail)) if hits > 0 else 0.0
    high = float(betainccinv(hits + 1, misses, tail)) if misses > 0 else 1.0
    return Interval(share, min(low, share), max(high, share))


def _effective_size(residuals: np.ndarray, share: float, counts: np.ndarray) -> float:
    """Return how many independent entries tell as much as the clusters."""
    from scipy.special import ndtri, stdtrit

    clusters = len(counts)
    if clusters == 1:
        return 1.0
    variance = clusters / (clusters - 1) * (residuals**2).sum() / counts.sum() ** 2
    if variance == 0:
        return float(clusters)
    fewer = (ndtri(0.025) / stdtrit(clusters - 1, 0.025)) ** 2
    return float(np.clip(share * (1 - share) / variance * fewer, 1, counts.sum()))
