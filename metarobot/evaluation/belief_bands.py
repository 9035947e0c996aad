"""How the belief of a policy that weighs tasks narrows, episode by episode.

Letters: N tasks, K tasks that are weighed, P task parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metarobot.algorithms.base import Belief
from metarobot.envs import TaskParameter, find_family
from metarobot.envs.tasks import Split
from metarobot.evaluation.adapted_tasks import AdaptedTasks
from metarobot.evaluation.explanation import Band, BelievedTask, Narrowing

_QUANTILES = (0.05, 0.5, 0.95)


def believed_tasks(
    parameters: Sequence[TaskParameter], split: Split, adapted: AdaptedTasks
) -> list[BelievedTask]:
    """Return what is believed of tasks after each number of episodes that they were adapted to.

    Args:
        parameters: The task parameters that are told of.
        split: Where the tasks are from.
        adapted: The tasks.

    Returns:
        The tasks; none where nothing weighs tasks.
    """
    beliefs = [belief for number in adapted.params if (belief := _belief(adapted, number))]
    if not beliefs:
        return []
    bands = [[_bands(each, adapted, belief) for each in parameters] for belief in beliefs]
    tasks = adapted.task_set.tasks
    return [
        BelievedTask(
            split=split,
            true=tuple(float(tasks[each.name][row]) for each in parameters),
            bands=tuple(tuple(_as_band(band[row]) for band in stage) for stage in bands),
            is_used=tuple(bool(belief.is_used[row]) for belief in beliefs),
        )
        for row in range(len(tasks))
    ]


def narrowing(
    parameters: Sequence[TaskParameter], held_out: Sequence[AdaptedTasks], number: int
) -> list[Narrowing]:
    """Return how far the belief has narrowed, and on how many tasks it holds the truth.

    Args:
        parameters: The task parameters that are told of.
        held_out: Tasks of one split or several, adapted to 0 episodes and to this number.
        number: Adaptation episodes.

    Returns:
        By parameter; none where nothing weighs tasks.
    """
    if _belief(held_out[0], 0) is None:
        return []
    found = []
    for parameter in parameters:
        parts = [_narrowed(parameter, adapted, number) for adapted in held_out]
        width, holds = (np.concatenate(part).mean() for part in zip(*parts, strict=True))
        found.append(
            Narrowing(
                parameter=parameter.name,
                adaptation_episodes=number,
                width=float(width),
                holds_truth=float(holds),
            )
        )
    return found


def _belief(adapted: AdaptedTasks, number: int) -> Belief | None:
    return adapted.trained.algorithm.belief(adapted.params[number])


def _narrowed(
    parameter: TaskParameter, adapted: AdaptedTasks, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the width of the band over that before, and whether it holds the truth, (N,) each."""
    beliefs = [belief for each in (0, number) if (belief := _belief(adapted, each))]
    before, after = (_bands(parameter, adapted, belief) for belief in beliefs)
    true = adapted.task_set.tasks[parameter.name]
    if parameter.circular:
        true = after[:, 1] + _turned(true - after[:, 1])
    widths = [np.diff(parameter.scale(each[:, ::2]), axis=1)[:, 0] for each in (before, after)]
    return widths[1] / widths[0], (after[:, 0] <= true) & (true <= after[:, 2])


def _bands(parameter: TaskParameter, adapted: AdaptedTasks, belief: Belief) -> np.ndarray:
    """Return low, median and high of a parameter, (N, 3); of an angle, without a jump."""
    # The policy is told tasks on the scale of the family, also where it was trained on a variant.
    family = find_family(adapted.task_set.env_id).distribution
    values = family.decode(belief.codes.double().numpy())[parameter.name]  # (K,)
    return np.array(
        [weighted_band(parameter, values, row) for row in belief.weights.double().numpy()]
    )


def _as_band(ends: np.ndarray) -> Band:
    return Band(low=float(ends[0]), median=float(ends[1]), high=float(ends[2]))


def weighted_band(parameter: TaskParameter, values: np.ndarray, weights: np.ndarray) -> list[float]:
    """Return the quantiles of weighted values, (K,) each; about the mean direction of an angle."""
    if parameter.circular:
        middle = np.angle(weights @ np.exp(1j * values))
        values = middle + _turned(values - middle)
    order = np.argsort(values)
    below = np.cumsum(weights[order]) - weights[order] / 2
    return np.interp(_QUANTILES, below / weights.sum(), values[order]).tolist()


def _turned(angles: np.ndarray) -> np.ndarray:
    """Return angles within half a turn, in rad."""
    return (angles + np.pi) % (2 * np.pi) - np.pi
