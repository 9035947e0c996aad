"""Measure adaptation: every policy of some runs, on the same held-out tasks.

Policies that adapt are measured before adapting, after one block of each of several numbers of
adaptation episodes, and after several blocks; the others once. Headroom is the return of the
oracle (which observes the task) minus that of domain randomisation (which never adapts). The
score of adaptation is the fraction of the headroom captured; it needs both references.

Scores of a policy do not depend on the other policies. Score files let an evaluation that was
interrupted, or that gets another policy, measure only the missing scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np

from metarobot.config import TrainConfig
from metarobot.envs import (
    SPLITS,
    TaskParameter,
    Tasks,
    Variant,
    find_family,
    find_variant,
    shipped_variants,
)
from metarobot.evaluation.protocol import ITERATIVE, MADE_OF, NEVER_ADAPTS, RANDOM, EvaluationConfig
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
    Scores,
    WorstTask,
    describe_settings,
    headline_episodes,
    summarise,
)
from metarobot.evaluation.task_set import GRID, TaskSet
from metarobot.io import MAX_JSON_BYTES, Folder, json_bytes, parse_json
from metarobot.machine import VERSION
from metarobot.training.load import TrainedRun
from metarobot.training.memory import require_evaluation_memory

MOST_WORST_TASKS = 5
"""Most worst tasks of each kind, for each policy that adapts."""
ROBUSTNESS_EPISODES = (1, 5)
"""Adaptation episodes after which policies are measured under other variants, besides before."""

Progress = Callable[[str, float], None]
"""Called with a name of the measurement and the share of the work done, 0 to 1."""


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
        config: Extent of the measurement.
        progress: Called as the work goes on.
        variant: Variant to measure on; None for the family itself.
        scores: Folder of score files; scores found there are not measured again.

    Raises:
        ValueError: Memory does not suffice, a score file is invalid, or rewards are hidden and
            every policy that adapts needs them.
    """
    plan = _Plan.of(runs, config, variant)
    found = list[Scores]()
    total = len(plan.names) * len(runs) + len(plan.others)
    for place, name in enumerate(plan.names):
        seeds = []
        for done, run in enumerate(runs, start=place * len(runs)):
            progress(f"{name}, seed {run.seed}", done / total)
            seeds.append(_kept_or_measured(scores, name, run, plan))
        found += _joined(seeds)
    for done, (other, task_set) in enumerate(plan.others, start=total - len(plan.others)):
        progress(other.words, done / total)
        found += _under_variant(other, task_set, plan)
    progress("done", 1.0)
    return _evaluation(plan, found)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Policies and task sets of one evaluation."""

    runs: Sequence[TrainedRun]
    config: EvaluationConfig
    variant: Variant | None
    names: Sequence[str]
    """Names of the measured policies, in the order of tables."""
    sets: Sequence[TaskSet]
    """The tasks of every split, then those of the heat map."""
    grid: Grid | None
    """The heat map's tasks; None for a family without."""
    others: Sequence[tuple[Variant, TaskSet]]
    """Further variants of the family, measured on the split train."""

    @classmethod
    def of(
        cls, runs: Sequence[TrainedRun], config: EvaluationConfig, variant: Variant | None
    ) -> _Plan:
        """Resolve policies and task sets, and check that memory suffices."""
        first, names = runs[0], measured_names(runs[0], config)
        env_id, scene = first.env_id, first.scene
        grid = make_grid(first, config.grid_size, variant) if config.heat_map else None
        configs = [policy.config for run in runs for policy in run.policies.values()]
        require_memory(config, configs, len(grid.tasks) if grid else 0)
        distribution = (variant or find_family(env_id)).distribution
        sets = [
            TaskSet.of_split(env_id, split, config, variant, scene)
            for split in config.splits or distribution.splits
        ]
        if grid:
            sets.append(TaskSet(env_id, grid.tasks, GRID, config, variant, scene))
        others = variants_of(env_id) if config.robustness and variant is None else []
        return cls(
            runs=runs,
            config=config,
            variant=variant,
            names=names,
            sets=sets,
            grid=grid,
            others=[
                (each, TaskSet.of_split(env_id, "train", config, each, scene)) for each in others
            ],
        )


def _kept_or_measured(
    folder: Folder | None, name: str, run: TrainedRun, plan: _Plan
) -> list[Scores]:
    """Read the scores of one policy of a seed from its file, or measure and write them.

    Raises:
        ValueError: The file is not a valid score file.
    """
    if folder is None:
        return _measure(name, run, plan)
    file, key = f"{name}-seed{run.seed}.json", _key(name, run, plan)
    folder.make()
    if folder.has(file):
        path = folder.path / file
        content = parse_json(folder.read(file, MAX_JSON_BYTES), path)
        try:
            kept = msgspec.convert(content, _Kept, dec_hook=lambda _, values: _array(values))
        except msgspec.ValidationError as error:
            raise ValueError(f"{path} is not a valid score file: {error}") from error
        if kept.key == key:
            return kept.scores
    kept = _Kept(key, _measure(name, run, plan))
    folder.write(file, json_bytes(msgspec.to_builtins(kept, enc_hook=np.ndarray.tolist)))
    return kept.scores


@dataclass(frozen=True)
class _Kept:
    """Content of a score file."""

    key: str
    scores: list[Scores]


def _array(numbers: Any) -> np.ndarray:
    return np.array(msgspec.convert(numbers, list[float | list[float]]))


def _key(name: str, run: TrainedRun, plan: _Plan) -> str:
    """Return a digest of everything that scores depend on, including the package's version."""
    # Scores do not depend on the other policies, nor on the further variants.
    splits = [each.split for each in plan.sets]
    config = {**asdict(plan.config), "untrained": (), "splits": splits}
    config.pop("robustness")
    variant = plan.variant and plan.variant.to_dict()
    digest = hashlib.sha256(repr((VERSION, name, run.env_id, run.seed, config, variant)).encode())
    if name not in (RANDOM, ITERATIVE):
        trained = name if name in run.policies else MADE_OF[name]
        digest.update(repr(run.policies[trained].config.decisive_values).encode())
        digest.update(run.policies[trained].sha256.encode())
    return digest.hexdigest()


def _measure(name: str, run: TrainedRun, plan: _Plan) -> list[Scores]:
    """Measure one policy of a seed on all task sets; random actions on those of splits."""
    if name == RANDOM:
        return [found for each in plan.sets if each.split != GRID for found in each.score_random()]
    trained, numbers = find_policy(name, run, plan.config), plan.config.heat_map_episodes
    return [
        scores
        for each in plan.sets
        for scores in (
            each.score_by_episodes(name, trained, numbers)
            if each.split == GRID
            else each.score(name, trained)
        )
    ]


def variants_of(env_id: str) -> list[Variant]:
    """Return the shipped variants of a family."""
    variants = [find_variant(name) for name in shipped_variants()]
    return [variant for variant in variants if variant.env_id == env_id]


def _under_variant(variant: Variant, task_set: TaskSet, plan: _Plan) -> list[Scores]:
    """Measure the policies that adapt, and domain randomisation, under a variant of the family.

    A variant that does not change the task ranges is measured on the same tasks as the family:
    those of the split train, drawn with the same seed.
    """
    names = [name for name in plan.names if name in (NEVER_ADAPTS, *plan.runs[0].learners)]
    seeds = [
        [
            scores
            for name in names
            for scores in task_set.score_by_episodes(name, run.policies[name], ROBUSTNESS_EPISODES)
        ]
        for run in plan.runs
    ]
    return [each._replace(variant=variant.name) for each in _joined(seeds)]


def _joined(seeds: Sequence[Sequence[Scores]]) -> list[Scores]:
    """Return the scores of several seeds as one, each array (S, N)."""
    arrays = ("returns", "success", "trial_returns", "ranks")
    return [
        parts[0]._replace(
            **{
                name: None
                if getattr(parts[0], name) is None
                else np.stack([getattr(each, name) for each in parts])
                for name in arrays
            }
        )
        for parts in zip(*seeds, strict=True)
    ]


def _evaluation(plan: _Plan, found: Sequence[Scores]) -> Evaluation:
    """Build the evaluation from all scores."""
    first, variant = plan.runs[0], plan.variant
    of_splits = [each for each in found if each.split != GRID]
    rows, headroom = summarise(of_splits, plan.config.seed)
    tasks = {each.split: each.tasks for each in plan.sets}
    seeds = tuple(run.seed for run in plan.runs)
    learners = [name for name in plan.names if name in first.learners]
    distribution = (variant or find_family(first.env_id)).distribution
    return Evaluation(
        family=first.env_id,
        variant=variant and _conditions(variant),
        trained_on=first.variant and _conditions(first.variant),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        config=plan.config,
        seeds=seeds,
        task_parameters=tuple(
            MeasuredParameter(
                **{each.name: getattr(p, each.name) for each in fields(MeasuredParameter)}
            )
            for p in distribution.parameters
        ),
        policies=tuple(_policy(name, plan.runs) for name in plan.names),
        left_out=tuple(names_left_out(first, plan.config)),
        rows=tuple(rows),
        headroom=tuple(headroom),
        heat_map=plan.grid and plan.grid.heat_map(found),
        worst_tasks=tuple(
            worst
            for name in learners
            for worst in find_worst_tasks(name, seeds, of_splits, tasks, headroom)
        ),
        robustness=tuple(_conditions(each) for each, _ in plan.others),
        scores=tuple(found),
        tasks=tasks | {each.name: task_set.tasks for each, task_set in plan.others},
    )


def find_worst_tasks(
    algorithm: str,
    seeds: Sequence[int],
    scores: Sequence[Scores],
    tasks: Mapping[str, Tasks],
    headroom: Sequence[Headroom],
) -> list[WorstTask]:
    """Return the worst tasks of a policy that adapts, after few episodes, over all splits.

    Harmed tasks come first, the most harmed first, on splits with a meaningful headroom. The other
    tasks of the lowest tenth follow, the lowest return first.

    Args:
        algorithm: Name of the policy that adapts.
        seeds: Training seeds, (S,).
        scores: Scores on all splits, arrays (S, N).
        tasks: The tasks of each split.
        headroom: Headroom of each split where it is known.
    """
    own = [each for each in scores if each.algorithm == algorithm and each.blocks <= 1]
    judged = {(e.split, e.episodes): e for e in own if not (e.exploring or e.variant)}
    number = headline_episodes(episodes for _, episodes in judged)
    harm = {each.split: HARM * each.gap.value for each in headroom if each.is_meaningful}
    found = [
        WorstTask(
            algorithm=algorithm,
            seed=seed,
            split=split,
            index=index,
            task=task,
            adaptation_episodes=after.episodes,
            return_before=float(before.returns[row, index]),
            return_after=float(after.returns[row, index]),
            success_before=float(before.success[row, index]),
            success_after=float(after.success[row, index]),
            harmed=bool(
                before.returns[row, index] - after.returns[row, index] > harm.get(split, np.inf)
            ),
        )
        for split in SPLITS
        if number is not None and (split, number) in judged
        for before, after in [(judged[split, 0], judged[split, number])]
        for row, seed in enumerate(seeds)
        for index, task in enumerate(tasks[split].to_dicts())
    ]
    harmed = sorted((task for task in found if task.harmed), key=lambda task: task.change)
    lowest = sorted(found, key=lambda task: task.return_after)[: -(-len(found) // 10)]
    harmed = harmed[:MOST_WORST_TASKS]
    others = [task for task in lowest if task not in harmed]
    return [*harmed, *others[:MOST_WORST_TASKS]]


@dataclass(frozen=True)
class Grid:
    """The tasks of a heat map: every pair of two axes' values, all other parameters nominal."""

    x: Axis
    y: Axis
    tasks: Tasks
    """Row by row, (Y * X)."""

    def heat_map(self, scores: Sequence[Scores]) -> HeatMap:
        """Return the maps of scores (S, Y * X), averaged over the seeds."""
        maps = [
            GridMap(
                algorithm=each.algorithm,
                adaptation_episodes=each.episodes,
                returns=self._cells(each.returns),
                success=self._cells(each.success),
            )
            for each in scores
            if each.split == GRID
        ]
        return HeatMap(x=self.x, y=self.y, maps=tuple(maps))

    def _cells(self, scores: np.ndarray) -> Cells:
        means = scores.mean(axis=0).reshape(len(self.y.values), len(self.x.values))
        return tuple(tuple(row) for row in means.tolist())


def make_grid(run: TrainedRun, size: int, variant: Variant | None) -> Grid | None:
    """Return the grid for a run, None for a family without two heat map axes.

    The grid has ``size`` values along each axis. It covers the ranges of the family, of training
    and of the measurement; the axes carry the training ranges.
    """
    family = find_family(run.env_id)
    if not family.heat_map_axes:
        return None
    measured = (variant or family).distribution
    x, y = (run.distribution[name] for name in family.heat_map_axes)
    x_values, y_values = (
        grid_values([p, measured[p.name], family.distribution[p.name]], size) for p in (x, y)
    )
    tasks = measured.grid(x.name, x_values, y.name, y_values)
    x_axis, y_axis = (
        Axis(
            name=p.name,
            unit=p.unit,
            values=tuple(values.tolist()),
            train=p.train,
            gaps=p.gaps,
            log=p.log_uniform,
        )
        for p, values in ((x, x_values), (y, y_values))
    )
    return Grid(x_axis, y_axis, tasks)


def grid_values(parameters: Sequence[TaskParameter], size: int) -> np.ndarray:
    """Return evenly spaced values over all splits of all given parameters, (size,).

    If the last parameter, which is the family's, has choices, return these instead.
    """
    if choices := parameters[-1].choices:
        return np.array(choices)
    edges = np.array([pair for p in parameters for pair in (p.train, *p.extrapolation)])
    scale, unscale = parameters[0].scale, parameters[0].unscale
    low, high = scale(np.array([edges.min(), edges.max()]))
    # Clip against rounding: an allowed range may end at the same value.
    return np.clip(unscale(np.linspace(low, high, size)), edges.min(), edges.max())


def _policy(name: str, runs: Sequence[TrainedRun]) -> MeasuredPolicy:
    """Describe a policy and the cost of its training."""
    if name not in runs[0].policies:
        return MeasuredPolicy(algorithm=name, adapts=name != RANDOM)
    trained = runs[0].policies[name]
    saved = [run.policies[name].saved for run in runs]
    costs = [each and each.cost for each in saved]  # None where a training was interrupted
    return MeasuredPolicy(
        algorithm=name,
        adapts=trained.algorithm.adapts,
        settings=describe_settings(trained.config.decisive_values),
        total_steps=tuple(cost and cost.total_steps for cost in costs),
        seconds=tuple(cost and cost.seconds for cost in costs),
        rise=tuple(each and each.rise for each in saved),
    )


def _conditions(variant: Variant) -> Conditions:
    values = variant.to_dict()
    named = {key: values.pop(key) for key in ("name", "description")}
    return Conditions(**named, settings=describe_settings(values))


def require_memory(
    config: EvaluationConfig, algorithms: Iterable[TrainConfig], most_tasks: int = 0
) -> None:
    """Check that this machine has enough memory for the largest collection.

    Args:
        config: Extent of the evaluation.
        algorithms: Training configurations of the measured policies.
        most_tasks: Most tasks of one task set, if more than `num_tasks`.

    Raises:
        ValueError: Memory does not suffice; the message names the sizes.
    """
    numbers = (*config.adaptation_episodes, *config.heat_map_episodes)
    for algorithm in algorithms:
        require_evaluation_memory(
            algorithm,
            num_tasks=max(config.num_tasks, most_tasks),
            num_episodes=max(*numbers, config.episodes_per_block, config.test_episodes),
            way_out="lower num_tasks, grid_size, test_episodes or the numbers of adaptation "
            "episodes",
        )
