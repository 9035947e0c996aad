"""What a policy that weighs tasks takes one task for, in each parameter's own unit.

How far that may be off it does not say: the weights of the tasks that it compares fall on a few of
them long before it is so certain.  Probes measure that, on other tasks (`explaining`).
"""

from __future__ import annotations

from metarobot.algorithms.algorithm import Belief
from metarobot.envs import TaskDistribution


def believed(distribution: TaskDistribution, belief: Belief) -> dict[str, float]:
    """Return the mean of what is believed of one task, N = 1, by the parameters' names.

    Args:
        distribution: The family's, by which tasks are encoded.
        belief: Of one task.
    """
    mean = (belief.weights.double() @ belief.codes.double()).numpy()  # (1, C)
    return distribution.decode(mean).to_dicts()[0]
