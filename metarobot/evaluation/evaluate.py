"""Measure adaptation: every policy of some runs, on the same held-out tasks.

Those that adapt are measured before adapting, after one block of each of several numbers of
adaptation episodes, and after several blocks; the others once.  Headroom is oracle (which is told
the task) minus domain randomisation (which never adapts); adaptation is read as the fraction
captured.  Where one of the two is missing, the fraction cannot be told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import product
from typing import Any, NamedTuple

import msgspec
import numpy as np

from metarobot import __version__
from metarobot.envs import (
    SPLITS,
    Split,
    TaskParameter,
    Tasks,
    Variant,
    find_family,
    find_variant,
    shipped_variants,
)
from metarobot.evaluation.protocol import MADE_OF, NEVER_ADAPTS, RANDOM, EvaluationConfig
from metarobot.evaluation.references import find_policy, measured_names, names_left_out
from metarobot.evaluation.statistics import HARM
from metarobot.evaluation.table import (
    Axis,
    Cells,
    Conditions,
    Evaluation,
    GridMap,
    Headroom,
    HeatMap,
    MeasuredParameter,
    MeasuredPolicy,
    UnderVariant,
    WorstTask,
    describe_settings,
    headline_episodes,
    plain_point,
    summarise_split,
)
from metarobot.evaluation.task_set import Stage, TaskSet, TaskSetScores, join_seeds, join_stages
from metarobot.io import MAX_JSON_BYTES, Folder, json_bytes, parse_json
from metarobot.training.load import TrainedRun
from metarobot.training.run_folder import POLICY_FILE, algorithm_folder, read_cost

Progress = Callable[[str, float], None]
"""Called with what is being measured and the share of the work done, 0 to 1."""


def evaluate_runs(
    runs: Sequence[TrainedRun],
    config: EvaluationConfig,
    progress: Progress,
    variant: Variant | None = None,
    scores: Folder | None = None,
) -> Evaluation:
    """Evaluate the policies of several seeds on the same held-out tasks.

    Args:
        runs: One run per seed, of one task family, with the same algorithms each.
        config: How much is measured.
        progress: Called as the work goes on.
        variant: What to measure on; None for the family as it is.
        scores: Folder where measured scores are kept; what is there is not measured again.

    Raises:
        ValueError: There is not enough memory for it, a file of scores holds something else, or
            rewards are hidden and nobody adapts without.
    """
    first, names = runs[0], measured_names(runs[0], config)
    axes = find_family(first.env_id).heat_map_axes if config.heat_map else None
    trained = [policy.config for run in runs for policy in run.policies.values()]
    config.require_memory(trained, config.grid_size**2 if axes else 0)
    protocol = Protocol.of(first, config, variant)
    measurer = protocol if scores is None else ScoreFiles(scores, protocol)
    measured: dict[str, list[PolicyScores]] = {name: [] for name in names}
    under = variants_of(first.env_id) if config.robustness and variant is None else []
    total = len(names) * len(runs) + len(under)
    for done, (name, run) in enumerate(product(names, runs)):
        progress(f"{name}, seed {run.seed}", done / total)
        measured[name].append(measurer.measure(name, run))
    robustness = list[UnderVariant]()
    for left, each in zip(range(len(under), 0, -1), under, strict=True):
        progress(each.words, 1 - left / total)
        robustness += measure_under(each, runs, config)
    progress("done", 1.0)
    return replace(_summarise(runs, protocol, measured), robustness=tuple(robustness))


def _summarise(
    runs: Sequence[TrainedRun], protocol: Protocol, measured: Mapping[str, Sequence[PolicyScores]]
) -> Evaluation:
    """Return the evaluation of what was measured, the scores of each policy seed by seed."""
    first, config, variant = runs[0], protocol.config, protocol.variant
    curves, headroom = [], []
    for split in protocol.splits:
        joined = {
            name: join_seeds([seed.splits[split] for seed in seeds])
            for name, seeds in measured.items()
        }
        of_policies, there_is = summarise_split(split, joined, config)
        curves += of_policies
        headroom += [there_is] if there_is else []
    distribution = (variant or find_family(first.env_id)).distribution
    return Evaluation(
        family=first.env_id,
        variant=_conditions(variant),
        trained_on=_conditions(first.variant),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        config=config,
        seeds=tuple(run.seed for run in runs),
        task_parameters=tuple(_describe(parameter) for parameter in distribution.parameters),
        policies=tuple(_policy(name, runs) for name in measured),
        left_out=tuple(names_left_out(first, config)),
        curves=tuple(curves),
        headroom=tuple(headroom),
        heat_map=_heat_map(protocol, measured),
        worst_tasks=tuple(_worst_tasks(runs, protocol, measured, headroom)),
    )


def _worst_tasks(
    runs: Sequence[TrainedRun],
    protocol: Protocol,
    measured: Mapping[str, Sequence[PolicyScores]],
    headroom: Sequence[Headroom],
) -> list[WorstTask]:
    """Return the worst tasks of those who were trained to adapt."""
    of_split = {entry.split: entry for entry in headroom}
    worst = []
    for name in (name for name in measured if name in runs[0].learners):
        parts = [
            MeasuredTasks(
                split,
                task_set.tasks,
                join_stages([seed.splits[split].by_episodes for seed in measured[name]]),
                of_split.get(split),
            )
            for split, task_set in protocol.splits.items()
        ]
        worst += find_worst_tasks(name, [run.seed for run in runs], parts)
    return worst


def _heat_map(protocol: Protocol, measured: Mapping[str, Sequence[PolicyScores]]) -> HeatMap | None:
    grid = protocol.grid
    if grid is None:
        return None
    maps = [
        GridMap(
            algorithm=name,
            adaptation_episodes=stage.num_episodes,
            returns=grid.cells(stage.judged.returns),
            success=grid.cells(stage.judged.success),
        )
        for name, seeds in measured.items()
        for stage in join_stages([seed.grid for seed in seeds])
    ]
    return HeatMap(x=grid.x, y=grid.y, maps=tuple(maps))


def _policy(name: str, runs: Sequence[TrainedRun]) -> MeasuredPolicy:
    """Describe a policy, and what its training cost."""
    if name not in runs[0].policies:
        return MeasuredPolicy(algorithm=name, adapts=name in MADE_OF)
    trained = runs[0].policies[name]
    costs = [_cost(run, name) for run in runs]
    return MeasuredPolicy(
        algorithm=name,
        adapts=trained.algorithm.adapts,
        settings=describe_settings(trained.config.decisive_values),
        total_steps=tuple(steps for steps, _ in costs),
        seconds=tuple(seconds for _, seconds in costs),
    )


def _cost(run: TrainedRun, name: str) -> tuple[int | None, float | None]:
    """Return control steps and seconds of a training; None where it was interrupted."""
    try:
        cost = read_cost(run.path, name)
    except OSError:
        return None, None
    return cost.total_steps, cost.seconds


def _conditions(variant: Variant | None) -> Conditions | None:
    if variant is None:
        return None
    values = variant.to_dict()
    named = {key: values.pop(key) for key in ("name", "description")}
    return Conditions(**named, settings=describe_settings(values))


def _describe(parameter: TaskParameter) -> MeasuredParameter:
    return MeasuredParameter(
        name=parameter.name,
        unit=parameter.unit,
        description=parameter.description,
        nominal=parameter.nominal,
        train=parameter.train,
        gaps=parameter.gaps,
        extrapolation=parameter.extrapolation,
        choices=parameter.choices,
        log_uniform=parameter.log_uniform,
    )


GRID_KEY = len(SPLITS)
"""What the draws of the grid are addressed by, after those of the splits."""


@dataclass(frozen=True)
class Grid:
    """The tasks of a heat map: every pair of two axes' values, all other parameters nominal."""

    x: Axis
    y: Axis
    tasks: Tasks
    """Row by row, (Y * X)."""

    def cells(self, scores: np.ndarray) -> Cells:
        """Return scores (S, Y * X) as a map, averaged over the seeds."""
        means = scores.mean(axis=0).reshape(len(self.y.values), len(self.x.values))
        return tuple(tuple(row) for row in means.tolist())


def make_grid(run: TrainedRun, size: int, variant: Variant | None) -> Grid | None:
    """Return the grid for a run, None for a family without two parameters to draw it over.

    The grid covers the family, what was trained on and what is measured; the axes carry the ranges
    trained on.

    Args:
        run: What was trained.
        size: Values along each axis.
        variant: What is measured on; None for the family as it is.
    """
    family = find_family(run.env_id)
    if not family.heat_map_axes:
        return None
    measured = (variant or family).distribution
    trained = run.distribution
    x, y = (trained[name] for name in family.heat_map_axes)
    x_values, y_values = (
        grid_values([p, measured[p.name], family.distribution[p.name]], size) for p in (x, y)
    )
    tasks = measured.grid(x.name, x_values, y.name, y_values)
    return Grid(_axis(x, x_values), _axis(y, y_values), tasks)


def grid_values(parameters: Sequence[TaskParameter], size: int) -> np.ndarray:
    """Return values from the lowest to the highest that any split of any of them draws, (size,).

    The last one is the family's, whose choices are all values where it has some.
    """
    if choices := parameters[-1].choices:
        return np.array(choices)
    edges = np.array([pair for p in parameters for pair in (p.train, *p.extrapolation)])
    scale, unscale = parameters[0].scale, parameters[0].unscale
    low, high = scale(np.array([edges.min(), edges.max()]))
    # Within the range in spite of rounding: an allowed range may end right there.
    return np.clip(unscale(np.linspace(low, high, size)), edges.min(), edges.max())


def _axis(parameter: TaskParameter, values: np.ndarray) -> Axis:
    return Axis(
        name=parameter.name,
        unit=parameter.unit,
        values=tuple(values.tolist()),
        train=parameter.train,
        gaps=parameter.gaps,
        log=parameter.log_uniform,
    )


# Measure policies on the task sets of an evaluation; scores can be kept in files.


class PolicyScores(NamedTuple):
    """What one policy of one seed reached."""

    splits: dict[str, TaskSetScores]
    """On the tasks of each split."""
    grid: list[Stage]
    """On the tasks of the heat map, by adaptation episodes; empty where it is not drawn there."""


@dataclass(frozen=True)
class Protocol:
    """The task sets that every policy is measured on."""

    config: EvaluationConfig
    variant: Variant | None
    splits: Mapping[Split, TaskSet]
    """One task set for each split."""
    grid: Grid | None
    """The heat map's tasks; None for a family without."""
    grid_set: TaskSet | None
    """Their task set."""

    @classmethod
    def of(cls, run: TrainedRun, config: EvaluationConfig, variant: Variant | None) -> Protocol:
        """Return the task sets for runs like this one, on a variant or on the family as it is."""
        distribution = (variant or find_family(run.env_id)).distribution
        splits: dict[Split, TaskSet] = {
            split: TaskSet.of_split(run.env_id, split, config, variant, run.scene)
            for split in config.splits or distribution.splits
        }
        grid = make_grid(run, config.grid_size, variant) if config.heat_map else None
        task_set = grid and TaskSet(run.env_id, grid.tasks, GRID_KEY, config, variant, run.scene)
        return cls(config, variant, splits, grid, task_set)

    def measure(self, name: str, run: TrainedRun) -> PolicyScores:
        """Measure one policy of a run on all task sets.

        Args:
            name: Who, of `measured_names`.
            run: The run of one seed.
        """
        if name == RANDOM:
            random = {split: _of_random(task_set) for split, task_set in self.splits.items()}
            return PolicyScores(dict(random), [])
        trained, config = find_policy(name, run, self.config), self.config
        scores = {split: task_set.score(trained) for split, task_set in self.splits.items()}
        grid = self.grid_set and self.grid_set.score_by_episodes(trained, config.heat_map_episodes)
        return PolicyScores(dict(scores), grid or [])


def _of_random(task_set: TaskSet) -> TaskSetScores:
    scores = task_set.score_random()
    before = [Stage(0, scores, None)]
    return TaskSetScores(before, before, [scores])


@dataclass(frozen=True)
class ScoreFiles:
    """Scores kept in a folder, one file a policy and seed."""

    folder: Folder
    """Made if missing."""
    protocol: Protocol
    """How scores are measured that are not there."""

    def measure(self, name: str, run: TrainedRun) -> PolicyScores:
        """Return the scores kept of a policy, or measure and keep them; as `Protocol.measure`.

        Raises:
            ValueError: The file holds something else.
        """
        file, key = f"{name}-seed{run.seed}.json", _key(self.protocol, name, run)
        self.folder.make()
        if self.folder.has(file):
            kept = self._read(file)
            if kept.key == key:
                return kept.scores
        scores = self.protocol.measure(name, run)
        content = msgspec.to_builtins(_Kept(key, scores), enc_hook=np.ndarray.tolist)
        self.folder.write(file, json_bytes(content))
        return scores

    def _read(self, file: str) -> _Kept:
        path = self.folder.path / file
        content = parse_json(self.folder.read(file, MAX_JSON_BYTES), path)
        try:
            return msgspec.convert(content, _Kept, dec_hook=_array)
        except msgspec.ValidationError as error:
            raise ValueError(f"{path} holds no scores: {error}") from error


@dataclass(frozen=True)
class _Kept:
    """What a file of scores holds."""

    key: str
    scores: PolicyScores


def _array(kind: type, numbers: Any) -> np.ndarray:
    """Return the array that a file holds as a list of numbers, (N,)."""
    del kind  # the only one that msgspec does not know
    return np.array(msgspec.convert(numbers, list[float]))


def _key(protocol: Protocol, name: str, run: TrainedRun) -> str:
    """Return what scores depend on, as one word; another version may measure otherwise."""
    # Neither who else is measured, nor on which variants besides, matters.
    config = {**asdict(protocol.config), "untrained": ()}
    config.pop("robustness")
    variant = protocol.variant and protocol.variant.to_dict()
    digest = hashlib.sha256(
        repr((__version__, name, run.env_id, run.seed, config, variant)).encode()
    )
    if name != RANDOM:
        trained = name if name in run.policies else MADE_OF[name]
        digest.update(repr(run.policies[trained].config.decisive_values).encode())
        digest.update(algorithm_folder(run.path, trained).read(POLICY_FILE))
    return digest.hexdigest()


# How a policy does under the shipped variants of its family: noise, delay, pushes, a change.


ROBUSTNESS_EPISODES = (1, 5)
"""Adaptation episodes after which policies are measured, besides before."""


def variants_of(env_id: str) -> list[Variant]:
    """Return the variants of a family that come with the package."""
    variants = [find_variant(name) for name in shipped_variants()]
    return [variant for variant in variants if variant.env_id == env_id]


def who_is_measured(run: TrainedRun, config: EvaluationConfig) -> list[str]:
    """Return who adapts, and the policy that never does, in the order of tables."""
    asked = measured_names(run, config)
    return [name for name in asked if name in (NEVER_ADAPTS, *run.learners)]


def measure_under(
    variant: Variant, runs: Sequence[TrainedRun], config: EvaluationConfig
) -> list[UnderVariant]:
    """Return what policies reach under a variant.

    Args:
        variant: A variant of their family.
        runs: One run per seed.
        config: How much is measured.
    """
    task_set = TaskSet.of_split(runs[0].env_id, "train", config, variant, runs[0].scene)
    found = []
    for name in who_is_measured(runs[0], config):
        seeds = [
            task_set.score_by_episodes(run.policies[name], ROBUSTNESS_EPISODES) for run in runs
        ]
        entry = UnderVariant(
            variant=variant.name,
            description=variant.description,
            other_tasks=variant.distribution != variant.vector_class.distribution,
            algorithm=name,
            points=tuple(
                plain_point(stage.num_episodes, stage.judged, config.seed)
                for stage in join_stages(seeds)
            ),
        )
        found.append(entry)
    return found


# The tasks on which a policy does worst after a few episodes: harmed by adapting, or lowest.


MOST_WORST_TASKS = 5
"""Of each kind, for each policy that adapts."""


@dataclass(frozen=True)
class MeasuredTasks:
    """What one policy reached on the tasks of one split."""

    split: Split
    tasks: Tasks
    """N tasks."""
    stages: Sequence[Stage]
    """Before adapting, and after one block of each number of episodes; scores (S, N)."""
    headroom: Headroom | None
    """What there is to win on the split, None where it is not known."""


def find_worst_tasks(
    algorithm: str, seeds: Sequence[int], measured: Sequence[MeasuredTasks]
) -> list[WorstTask]:
    """Return the worst tasks of a policy that adapts, after few episodes, over all splits.

    First those that adapting has harmed, the most harmed first, where the headroom says what harm
    is; then those of the lowest tenth, the lowest return first, that are not among them.

    Args:
        algorithm: Who adapts.
        seeds: Training seeds, (S,).
        measured: What it reached, split by split.
    """
    tasks = [task for part in measured for task in _tasks(algorithm, seeds, part)]
    harmed = sorted((task for task in tasks if task.harmed), key=lambda task: task.change)
    lowest = sorted(tasks, key=lambda task: task.return_after)[: -(-len(tasks) // 10)]
    harmed = harmed[:MOST_WORST_TASKS]
    others = [task for task in lowest if task not in harmed]
    return [*harmed, *others[:MOST_WORST_TASKS]]


def _tasks(algorithm: str, seeds: Sequence[int], part: MeasuredTasks) -> Iterator[WorstTask]:
    """Yield every task of a split, of every seed; none where nothing was adapted to."""
    stages: Mapping[int, Stage] = {stage.num_episodes: stage for stage in part.stages}
    number = headline_episodes(stages)
    if number is None:
        return
    before, after = stages[0].judged, stages[number].judged
    headroom = part.headroom
    harm = HARM * headroom.gap.value if headroom and headroom.is_meaningful else None
    for row, seed in enumerate(seeds):
        for index, task in enumerate(part.tasks.to_dicts()):
            change = after.returns[row, index] - before.returns[row, index]
            yield WorstTask(
                algorithm=algorithm,
                seed=seed,
                split=part.split,
                index=index,
                task=task,
                adaptation_episodes=number,
                return_before=float(before.returns[row, index]),
                return_after=float(after.returns[row, index]),
                success_before=float(before.success[row, index]),
                success_after=float(after.success[row, index]),
                harmed=harm is not None and bool(change < -harm),
            )
