"""What adaptation has changed in what a policy does, over the tasks of a training range.

Letters: N tasks, P task parameters, A action elements.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from metarobot.envs import TaskParameter, Tasks, find_family
from metarobot.evaluation.adapted_tasks import AdaptedTasks
from metarobot.evaluation.explanation import Sensitivity
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.state_statistics import moved_layers
from metarobot.evaluation.task_set import TaskSet
from metarobot.policies import Params, repeat_params
from metarobot.training.load import TrainedPolicy


def mean_actions(task_set: TaskSet, trained: TrainedPolicy, params: Params) -> np.ndarray:
    """Return the mean action on every task, over the episodes as judged, (N, A)."""
    episodes = task_set.collect(
        trained.policy,
        params,
        num_episodes=EvaluationConfig.test_episodes,
        noisy=False,
        observe_task=trained.algorithm.observes_task,
    )
    actions = episodes.actions.clamp(-1.0, 1.0) * episodes.step_weights[..., None]
    return actions.sum((1, 2)).double().numpy()


def sensitivities(
    parameters: Sequence[TaskParameter],
    adapted: AdaptedTasks,
    number: int,
    oracle: TrainedPolicy | None,
) -> list[Sensitivity]:
    """Say how the action depends on the task, once adapted, beside that of the oracle.

    Args:
        parameters: The task parameters that differ between tasks.
        adapted: Tasks of the training range.
        number: Adaptation episodes.
        oracle: The policy that is told the task, if there is one.
    """
    task_set = adapted.task_set
    slopes = _slopes(parameters, task_set, adapted.trained, adapted.params[number])
    told = None
    if oracle is not None:
        params = repeat_params(oracle.params, len(task_set.tasks))
        told = _slopes(parameters, task_set, oracle, params)
    return [
        Sensitivity(
            parameter=parameter.name,
            element=element,
            change=float(slopes[row, column]),
            of_oracle=None if told is None else float(told[row, column]),
        )
        for row, parameter in enumerate(parameters)
        for column, element in enumerate(find_family(task_set.env_id).action_elements)
    ]


def similarity(
    parameters: Sequence[TaskParameter], adapted: AdaptedTasks, number: int
) -> list[tuple[float, float]]:
    """Return distance and cosine between the updates of pairs of tasks."""
    before, after = adapted.params[0], adapted.params[number]
    leaves = [(after[name] - before[name]).flatten(1) for name in moved_layers(before, after)]
    if not leaves:
        return []
    updates = torch.cat(leaves, dim=1).double()
    updates = updates / updates.norm(dim=1, keepdim=True).clamp(min=1e-30)
    scaled, half = _scaled(parameters, adapted.task_set.tasks), len(updates) // 2
    distances = np.linalg.norm(scaled[:half] - scaled[half : 2 * half], axis=1)
    cosines = (updates[:half] * updates[half : 2 * half]).sum(1)
    return list(zip(distances.tolist(), cosines.tolist(), strict=True))


def _slopes(
    parameters: Sequence[TaskParameter], task_set: TaskSet, trained: TrainedPolicy, params: Params
) -> np.ndarray:
    """Return how the mean action changes over the range of each parameter, (P, A)."""
    means = mean_actions(task_set, trained, params)
    scaled = _scaled(parameters, task_set.tasks)  # (N, P)
    centred = np.column_stack([np.ones(len(scaled)), scaled])
    return np.linalg.lstsq(centred, means, rcond=None)[0][1:]


def _scaled(parameters: Sequence[TaskParameter], tasks: Tasks) -> np.ndarray:
    """Return tasks with the training range of each parameter as [0, 1], (N, P)."""
    columns = []
    for parameter in parameters:
        low, high = parameter.scale(np.asarray(parameter.train))
        columns.append((parameter.scale(tasks[parameter.name]) - low) / (high - low))
    return np.column_stack(columns)
