"""Measures what adaptation has sensed and changed, on tasks that nobody was trained on.

Letters: N tasks, P task parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from metarobot.envs import Tasks, find_family
from metarobot.envs.tasks import Split
from metarobot.evaluation.action_changes import mean_actions, sensitivities, similarity
from metarobot.evaluation.adapted_tasks import AdaptedTasks
from metarobot.evaluation.belief_bands import believed_tasks, narrowing
from metarobot.evaluation.explanation import (
    ActionChange,
    BelievedTask,
    Explanation,
    ExplanationConfig,
    OneTask,
    Reading,
)
from metarobot.evaluation.probes import Probe
from metarobot.evaluation.protocol import ORACLE, EvaluationConfig
from metarobot.evaluation.read_estimates import read_estimates
from metarobot.evaluation.readings import identified_readings, probe_readings
from metarobot.evaluation.state_statistics import layer_updates, state_map
from metarobot.evaluation.table import headline_episodes
from metarobot.evaluation.task_set import TaskSet
from metarobot.training.load import TrainedRun

_FIT_SEED = 1
"""Added to the seed of the test tasks: those that probes are fitted to are others."""
_FOLLOWED_TASKS = 4
"""Held-out tasks whose belief is followed episode by episode."""
_MOST_FOLLOWED = 20
"""Adaptation episodes, at most, up to which it is."""

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
    columns = {name: [value] for name, value in (task or {}).items()}
    chosen = run.distribution.with_values(columns) if columns else None
    return _Measurement(run, algorithm, config, progress).explanation(chosen)


def fit_probes(run: TrainedRun, algorithm: str, config: ExplanationConfig) -> dict[int, Probe]:
    """Fit the probes of an explanation alone, by the number of adaptation episodes.

    Args:
        run: The run that holds the policy.
        algorithm: Whose adaptation.
        config: How many tasks they are fitted to, and after which numbers of episodes.
    """
    return _Measurement(run, algorithm, config, lambda *_: None).probes()


def measure_readings(
    run: TrainedRun, algorithm: str, config: ExplanationConfig, progress: Progress
) -> tuple[list[Reading], list[Reading]]:
    """Measure the readings of an explanation alone: after adapting, and by simulation."""
    return _Measurement(run, algorithm, config, progress).readings()


class _Measurement:
    """Adapts a policy to many tasks, and reads from it what it has learned of them."""

    def __init__(
        self, run: TrainedRun, algorithm: str, config: ExplanationConfig, progress: Progress
    ) -> None:
        self._run, self._algorithm, self._trained = run, algorithm, run.policies[algorithm]
        self._config, self._progress = config, progress
        self._distribution = run.distribution
        self._varying = tuple(each for each in run.distribution.parameters if each.varies)
        self._numbers = tuple(sorted({0, *config.adaptation_episodes}))
        self._few = headline_episodes(self._numbers) or 0

    def explanation(self, task: Tasks | None) -> Explanation:
        """Return all that is measured."""
        fitted = self._fitted()
        probes, judged = self._probes(fitted), self._judged()
        readings, identified = self._readings(judged, probes), self._identified(judged)
        self._progress("what it changes", 0.9)
        few, in_range = self._few, judged["train"]
        held_out = _held_out(judged)
        explanation = Explanation(
            family=self._run.env_id,
            variant=self._run.variant and self._run.variant.words,
            parameters=self._distribution.parameters,
            algorithm=self._algorithm,
            config=self._config,
            tasks=self._values(in_range.task_set.tasks),
            readings=tuple(readings),
            identified=tuple(identified),
            believed=tuple(self._believed(held_out)),
            narrowing=tuple(narrowing(self._varying, [*held_out.values()], few)),
            state_map=state_map(in_range.states[few], few),
            sensitivities=tuple(
                sensitivities(self._varying, in_range, few, self._run.policies.get(ORACLE))
            ),
            updates=tuple(layer_updates(in_range.params[0], in_range.params[few])),
            one_task=None if task is None else self._one_task(fitted, probes[few], task),
            similarity=tuple(similarity(self._varying, in_range, few)),
        )
        self._progress("done", 1.0)
        return explanation

    def probes(self) -> dict[int, Probe]:
        """Return the probes, by the number of adaptation episodes."""
        return self._probes(self._fitted())

    def _fitted(self) -> AdaptedTasks:
        """Adapt to the tasks that probes are fitted to."""
        self._progress("tasks that probes are fitted to", 0.0)
        return self._adapted("train", _FIT_SEED)

    def readings(self) -> tuple[list[Reading], list[Reading]]:
        """Return what can be read after adapting, and by simulation."""
        probes, judged = self._probes(self._fitted()), self._judged()
        return self._readings(judged, probes), self._identified(judged)

    def _probes(self, fitted: AdaptedTasks) -> dict[int, Probe]:
        codes = self._distribution.encode(fitted.task_set.tasks)
        return {number: Probe.fit(states, codes) for number, states in fitted.states.items()}

    def _judged(self) -> dict[Split, AdaptedTasks]:
        """Adapt to the tasks of all splits."""
        judged: dict[Split, AdaptedTasks] = {}
        for split in self._distribution.splits:
            self._progress(f"tasks of the split {split}", (1 + len(judged)) * self._share)
            judged[split] = self._adapted(split)
        return judged

    @property
    def _share(self) -> float:
        """Part of the work that the tasks of one split are; the fit of simulation is as much."""
        num_splits = len(self._distribution.splits)
        return 0.9 / (1 + num_splits * (2 if self._config.num_identified else 1))

    def _adapted(self, split: Split, further_seed: int = 0) -> AdaptedTasks:
        """Adapt to the tasks of a split; with a further seed, to others of the same split."""
        config, run = self._config, self._run
        protocol = EvaluationConfig(num_tasks=config.num_tasks, seed=config.seed + further_seed)
        task_set = TaskSet.of_split(run.env_id, split, protocol, run.variant, run.scene)
        return AdaptedTasks(task_set, self._trained, self._numbers)

    def _readings(
        self, judged: Mapping[Split, AdaptedTasks], probes: Mapping[int, Probe]
    ) -> list[Reading]:
        """Read the parameters of the tasks of all splits."""
        found = list[Reading]()
        for split, adapted in judged.items():
            found += probe_readings(self._distribution, split, adapted, probes)
        return found

    def _identified(self, judged: Mapping[Split, AdaptedTasks]) -> list[Reading]:
        """Read the held-out tasks by simulation, if that is asked for."""
        num_tasks, found = self._config.num_identified, list[Reading]()
        for index, (split, adapted) in enumerate(_held_out(judged).items() if num_tasks else ()):
            done = (1 + len(judged) + index) * self._share
            self._progress(f"simulation fitted to the split {split}", done)
            found += identified_readings(self._distribution, split, adapted, num_tasks, self._few)
        return found

    def _believed(self, held_out: Mapping[Split, AdaptedTasks]) -> Iterator[BelievedTask]:
        """Follow the belief about a few tasks, the first of each split, episode by episode."""
        if self._trained.algorithm.belief(next(iter(held_out.values())).params[0]) is None:
            return
        numbers = range(min(self._few, _MOST_FOLLOWED) + 1)
        for split, adapted in held_out.items():
            first = adapted.first(_FOLLOWED_TASKS // len(held_out), numbers)
            yield from believed_tasks(self._varying, split, first)

    def _one_task(self, fitted: AdaptedTasks, probe: Probe, tasks: Tasks) -> OneTask:
        """Adapt to one task, and read what was sensed of it."""
        task_set, number = replace(fitted.task_set, tasks=tasks), self._few
        adapted = AdaptedTasks(task_set, self._trained, (0, number))
        read = probe.predict(adapted.states[number])
        means = [mean_actions(task_set, self._trained, adapted.params[n]) for n in (0, number)]
        elements = find_family(self._run.env_id).action_elements
        return OneTask(
            adaptation_episodes=number,
            estimates=read_estimates(self._distribution, tasks, read, probe.error),
            changes=tuple(
                ActionChange(element=element, before=float(before), after=float(after))
                for element, before, after in zip(elements, *(m[0] for m in means), strict=True)
            ),
        )

    def _values(self, tasks: Tasks) -> tuple[tuple[float, ...], ...]:
        """Return the parameters of tasks that differ between them, (N, P)."""
        columns = [tasks[each.name].tolist() for each in self._varying]
        return tuple(zip(*columns, strict=True))


def _held_out(judged: Mapping[Split, AdaptedTasks]) -> Mapping[Split, AdaptedTasks]:
    """Return the splits that nobody was trained on; of a family without, the one there is."""
    found: dict[Split, AdaptedTasks] = {}
    for split, adapted in judged.items():
        if split != "train" or len(judged) == 1:
            found[split] = adapted
    return found
