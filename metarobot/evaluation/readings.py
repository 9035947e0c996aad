"""How well task parameters can be read: by probes, or by simulation of the same episodes.

Letters: N tasks, C elements of encoded tasks.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from metarobot.algorithms.references import fit_tasks
from metarobot.envs import TaskDistribution
from metarobot.envs.tasks import Split
from metarobot.evaluation.adapted_tasks import AdaptedTasks
from metarobot.evaluation.explanation import Reading
from metarobot.evaluation.probes import Probe
from metarobot.evaluation.state_statistics import explained


def probe_readings(
    distribution: TaskDistribution,
    split: Split,
    judged: AdaptedTasks,
    probes: Mapping[int, Probe],
) -> list[Reading]:
    """Read the parameters of tasks by probes that were fitted to other tasks.

    Args:
        distribution: What the tasks were drawn from.
        split: Of which split.
        judged: The tasks.
        probes: By the number of adaptation episodes.
    """
    codes, found = distribution.encode(judged.task_set.tasks), []
    for number, probe in probes.items():
        read = probe.predict(judged.states[number])
        found += _readings(distribution, split, number, codes, read)
    return found


def identified_readings(
    distribution: TaskDistribution, split: Split, judged: AdaptedTasks, num_tasks: int, number: int
) -> list[Reading]:
    """Read the parameters of the first tasks by fitting simulation to their episodes.

    Simulation is exact and starts where the episodes did: what it reads was there to be read. It
    may miss something all the same, since the fit tries some 200 tasks and no more.

    Args:
        distribution: What the tasks were drawn from.
        split: Of which split.
        judged: The tasks, with their adaptation episodes.
        num_tasks: How many of them.
        number: How many of the episodes.
    """
    episodes = judged.episodes.rows(slice(0, num_tasks)).first(number)
    fitted = distribution.spread(fit_tasks(judged.trained.config, episodes))
    codes = distribution.encode(judged.task_set.tasks.rows(slice(0, num_tasks)))
    return _readings(distribution, split, number, codes, distribution.encode(fitted))


def _readings(
    distribution: TaskDistribution, split: Split, number: int, codes: np.ndarray, read: np.ndarray
) -> list[Reading]:
    """Compare what was read with the truth, (N, C) each, for every parameter."""
    wrong, spread, found = read - codes, codes - codes.mean(axis=0), []
    for parameter, columns in distribution.encoded_columns.items():
        if not distribution[parameter].varies:
            continue  # there is nothing to read
        errors = np.square(wrong[:, columns]).sum(axis=1)
        variances = np.square(spread[:, columns]).sum(axis=1)
        r2, low, high = explained(errors, variances)
        found.append(
            Reading(
                parameter=parameter,
                split=split,
                adaptation_episodes=number,
                r2=r2,
                low=low,
                high=high,
            )
        )
    return found
