"""What a policy takes one task for, in each parameter's own unit.

`explaining` measures it for every algorithm, by probes that are fitted to other tasks, which takes
minutes.  An algorithm that weighs tasks says it at once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from metarobot.algorithms.algorithm import Belief
from metarobot.envs import TaskDistribution, TaskParameter
from metarobot.evaluation.explanation import Estimate

_TAIL = 0.025
"""Part of the weight beyond each end of an interval."""


def believed(
    distribution: TaskDistribution, belief: Belief, task: Mapping[str, float]
) -> tuple[Estimate, ...]:
    """Return what is believed of each parameter of one task, with 95 % of the weight around it.

    Args:
        distribution: The family's, by which tasks are encoded.
        belief: Of one task, N = 1.
        task: Its true values by name.
    """
    codes, weights = belief.codes.double().numpy(), belief.weights[0].double().numpy()
    return tuple(
        _estimate(parameter, codes[:, distribution.encoded_columns[name]], weights, task[name])
        for name, parameter in zip(distribution.names, distribution.parameters, strict=True)
    )


def _estimate(
    parameter: TaskParameter, codes: np.ndarray, weights: np.ndarray, true: float
) -> Estimate:
    """Return what is believed of a parameter: codes (K, C) of tasks, and their weights (K,)."""
    value = float(parameter.decode((weights @ codes)[None])[0])
    values = parameter.decode(codes)  # (K,)
    if parameter.circular:  # as turns from the mean, half a turn at most
        values = value + (values - value + np.pi) % (2 * np.pi) - np.pi
    order = np.argsort(values)
    up_to = np.cumsum(weights[order])
    ends = np.searchsorted(up_to, np.array([_TAIL, 1 - _TAIL]) * up_to[-1])
    low, high = values[order][ends]
    return Estimate(
        parameter=parameter.name,
        true=true,
        value=value,
        low=float(min(low, value)),
        high=float(max(high, value)),
        is_trained=parameter.train[0] <= true <= parameter.train[1],
    )
