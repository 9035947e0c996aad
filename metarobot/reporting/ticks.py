"""Where the numbers of an axis stand."""

import numpy as np
from matplotlib.ticker import MaxNLocator

_MOST_OFF_CENTRE = 0.44
"""Of the axis: nearer its ends, the numbers of neighbouring panels meet."""


def inner_ticks(low: float, high: float) -> np.ndarray:
    """Return about five round numbers between two ends, none of them near an end."""
    ticks = np.asarray(MaxNLocator(nbins=5, steps=(1, 2, 5, 10)).tick_values(low, high))
    return ticks[np.abs(ticks - (low + high) / 2) < _MOST_OFF_CENTRE * (high - low)]
