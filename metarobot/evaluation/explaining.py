"""Measures what adaptation has sensed and changed, on tasks that nobody was trained on.

Letters: N tasks, P task parameters, F elements of what adaptation changes, A action elements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch

from metarobot.envs import Tasks, find_family
from metarobot.envs.tasks import Split
from metarobot.evaluation.explanation import (
    ActionChange,
    Explanation,
    ExplanationConfig,
    OneTask,
    Reading,
    Sensitivity,
)
from metarobot.evaluation.probes import Probe
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.read_estimates import read_estimates
from metarobot.evaluation.references import ORACLE
from metarobot.evaluation.state_statistics import explained, layer_updates, moved_layers, state_map
from metarobot.evaluation.task_set import TaskSet
from metarobot.policies import Params, repeat_params
from metarobot.training.load import TrainedPolicy, TrainedRun

_FIT_SEED = 1
"""Added to the seed of the test tasks: those that probes are fitted to are others."""
_FEW = 5
"""Adaptation episodes, at most, after which the map and the sensitivities are measured."""

Progress = Callable[[str, float], None]
"""Called with a stage, and the share of the work that is done."""


def explain(
    run: TrainedRun,
    algorithm: str,
    config: ExplanationConfig,
    progress: Progress,
    task: Mapping[str, float] | None = None,
) -> Explanation:
    """Measure what adaptation of one policy senses and changes.

    Args:
        run: The run that holds it; the oracle in it is compared with.
        algorithm: Whose adaptation.
        config: How much is measured.
        progress: Called with a stage and the share of the work done.
        task: Parameters of one task that is looked at more closely, all others nominal.

    Raises:
        TaskError: The family does not allow the task.
    """
    distribution = find_family(run.env_id).distribution
    columns = {name: [value] for name, value in (task or {}).items()}
    chosen = distribution.with_values(columns) if columns else None
    return _Measurement(run, algorithm, config, progress).explanation(chosen)


def fit_probes(run: TrainedRun, algorithm: str, config: ExplanationConfig) -> dict[int, Probe]:
    """Fit the probes of an explanation alone, by the number of adaptation episodes.

    Args:
        run: The run that holds the policy.
        algorithm: Whose adaptation.
        config: How many tasks they are fitted to, and after which numbers of episodes.
    """
    fitted = _Measurement(run, algorithm, config, lambda *_: None).fitted()
    codes = find_family(run.env_id).distribution.encode(fitted.task_set.tasks)
    return {number: Probe.fit(states, codes) for number, states in fitted.states.items()}


class _Adapted:
    """What a policy has become on a set of tasks, by the number of adaptation episodes."""

    def __init__(self, task_set: TaskSet, trained: TrainedPolicy, numbers: tuple[int, ...]) -> None:
        self.task_set = task_set
        self.params = task_set.adapted(trained, numbers)
        before = self.params[0]
        state = trained.algorithm.adapted_state
        self.states = {
            number: state(before, params).double().numpy() for number, params in self.params.items()
        }  # (N, F) each


class _Measurement:
    """Adapts a policy to many tasks, and reads from it what it has learned of them."""

    def __init__(
        self, run: TrainedRun, algorithm: str, config: ExplanationConfig, progress: Progress
    ) -> None:
        self._run, self._algorithm, self._trained = run, algorithm, run.policies[algorithm]
        self._config, self._progress = config, progress
        self._distribution = find_family(run.env_id).distribution
        self._numbers = tuple(sorted({0, *config.adaptation_episodes}))

    def explanation(self, task: Tasks | None) -> Explanation:
        """Return all that is measured."""
        splits = self._distribution.splits
        stages = iter(np.linspace(0.0, 1.0, len(splits) + 3).tolist())
        self._progress("tasks that probes are fitted to", next(stages))
        fitted = self.fitted()
        codes = self._distribution.encode(fitted.task_set.tasks)
        probes = {number: Probe.fit(states, codes) for number, states in fitted.states.items()}
        readings, in_range = [], fitted
        for split in splits:
            self._progress(f"tasks of the split {split}", next(stages))
            judged = self._adapt(split)
            in_range = judged if split == "train" else in_range
            readings += self._readings(probes, judged, split)
        self._progress("what it changes", next(stages))
        few = max(n for n in self._numbers if n <= _FEW)
        tasks = in_range.task_set.tasks
        explanation = Explanation(
            family=self._run.env_id,
            algorithm=self._algorithm,
            config=self._config,
            tasks=tuple(map(tuple, tasks.values.tolist())),
            readings=tuple(readings),
            state_map=state_map(in_range.states[few], few),
            sensitivities=tuple(self._sensitivities(in_range, few)),
            updates=tuple(layer_updates(in_range.params[0], in_range.params[few])),
            one_task=None if task is None else self._one_task(fitted, probes[few], task, few),
            similarity=tuple(self._similarity(in_range, few)),
        )
        self._progress("done", 1.0)
        return explanation

    def fitted(self) -> _Adapted:
        """Adapt to the tasks that probes are fitted to."""
        return self._adapt("train", _FIT_SEED)

    def _adapt(self, split: Split, further_seed: int = 0) -> _Adapted:
        """Adapt to the tasks of a split; with a further seed, to others of the same split."""
        config = EvaluationConfig(
            num_tasks=self._config.num_tasks, seed=self._config.seed + further_seed
        )
        run = self._run
        task_set = TaskSet.of_split(run.env_id, split, config, run.variant, run.scene)
        return _Adapted(task_set, self._trained, self._numbers)

    def _one_task(self, fitted: _Adapted, probe: Probe, tasks: Tasks, number: int) -> OneTask:
        """Adapt to one task, and read what was sensed of it."""
        task_set = replace(fitted.task_set, tasks=tasks)
        adapted = _Adapted(task_set, self._trained, (0, number))
        read = probe.predict(adapted.states[number])
        means = [
            self._mean_actions(task_set, self._trained, adapted.params[n]) for n in (0, number)
        ]
        elements = find_family(self._run.env_id).action_elements
        return OneTask(
            adaptation_episodes=number,
            estimates=read_estimates(self._distribution, tasks, read, probe.error),
            changes=tuple(
                ActionChange(element=element, before=float(before), after=float(after))
                for element, before, after in zip(elements, *(m[0] for m in means), strict=True)
            ),
        )

    def _readings(
        self, probes: Mapping[int, Probe], judged: _Adapted, split: Split
    ) -> list[Reading]:
        """Read the parameters of tasks by probes that were fitted to other tasks."""
        codes, found = self._distribution.encode(judged.task_set.tasks), []
        spread = codes - codes.mean(axis=0)
        for number, probe in probes.items():
            wrong = probe.predict(judged.states[number]) - codes
            for parameter, columns in self._distribution.encoded_columns.items():
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

    def _sensitivities(self, adapted: _Adapted, number: int) -> list[Sensitivity]:
        """Say how the action depends on the task, once adapted, beside that of the oracle."""
        oracle = self._run.policies.get(ORACLE)
        slopes = self._slopes(adapted.task_set, self._trained, adapted.params[number])
        params = oracle and repeat_params(oracle.params, len(adapted.task_set.tasks))
        told = None if oracle is None else self._slopes(adapted.task_set, oracle, params or {})
        return [
            Sensitivity(
                parameter=parameter,
                element=element,
                change=float(slopes[row, column]),
                of_oracle=None if told is None else float(told[row, column]),
            )
            for row, parameter in enumerate(self._distribution.names)
            for column, element in enumerate(find_family(self._run.env_id).action_elements)
        ]

    def _slopes(self, task_set: TaskSet, trained: TrainedPolicy, params: Params) -> np.ndarray:
        """Return how the mean action changes over the range of each parameter, (P, A)."""
        means = self._mean_actions(task_set, trained, params)
        scaled = self._scaled(task_set.tasks)  # (N, P)
        centred = np.column_stack([np.ones(len(scaled)), scaled])
        return np.linalg.lstsq(centred, means, rcond=None)[0][1:]

    def _mean_actions(
        self, task_set: TaskSet, trained: TrainedPolicy, params: Params
    ) -> np.ndarray:
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

    def _similarity(self, adapted: _Adapted, number: int) -> list[tuple[float, float]]:
        """Return distance and cosine between the updates of pairs of tasks."""
        before, after = adapted.params[0], adapted.params[number]
        leaves = [(after[name] - before[name]).flatten(1) for name in moved_layers(before, after)]
        if not leaves:
            return []
        updates = torch.cat(leaves, dim=1).double()
        updates = updates / updates.norm(dim=1, keepdim=True).clamp(min=1e-30)
        scaled, half = self._scaled(adapted.task_set.tasks), len(updates) // 2
        distances = np.linalg.norm(scaled[:half] - scaled[half : 2 * half], axis=1)
        cosines = (updates[:half] * updates[half : 2 * half]).sum(1)
        return list(zip(distances.tolist(), cosines.tolist(), strict=True))

    def _scaled(self, tasks: Tasks) -> np.ndarray:
        """Return tasks with the training range of each parameter as [0, 1], (N, P)."""
        columns = []
        for parameter in self._distribution.parameters:
            low, high = parameter.scale(np.asarray(parameter.train))
            width = high - low if parameter.varies else 1.0
            columns.append((parameter.scale(tasks[parameter.name]) - low) / width)
        return np.column_stack(columns)
