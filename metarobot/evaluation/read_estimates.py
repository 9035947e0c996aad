"""Each parameter of one task as a probe reads it, in its own unit, with an interval."""

from __future__ import annotations

import numpy as np

from metarobot.envs import TaskDistribution, TaskParameter, Tasks
from metarobot.evaluation.explanation import Estimate


def read_estimates(
    distribution: TaskDistribution, tasks: Tasks, read: np.ndarray, error: np.ndarray
) -> tuple[Estimate, ...]:
    """Return what was read of one task beside its truth.

    Args:
        distribution: The family's, by which tasks are encoded.
        tasks: The one task.
        read: What a probe has read, encoded, (1, C).
        error: Standard deviation of what it misses other tasks by, (C,).
    """
    found, columns = [], distribution.encoded_columns
    for parameter in distribution.parameters:
        own = columns[parameter.name]
        low, value, high = (
            float(each) for each in _with_bounds(parameter, read[:, own], error[own])
        )
        true = float(tasks[parameter.name][0])
        found.append(
            Estimate(
                parameter=parameter.name,
                true=true,
                value=value,
                low=low,
                high=high,
                is_trained=parameter.trained_on(true),
            )
        )
    return tuple(found)


def _with_bounds(parameter: TaskParameter, read: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return the value that was read, (1, C), between the ends of its 95 % interval, (3,)."""
    if parameter.circular:
        width = 1.96 * error.mean() / max(float(np.linalg.norm(read)), 1e-6)
        return parameter.decode(read) + np.array([-width, 0.0, width])
    # A linear probe knows no bounds, but a friction below 0 is none.
    ends = parameter.decode(read + 1.96 * error * np.array([[-1.0], [0.0], [1.0]]))
    return np.clip(ends, *parameter.allowed)
