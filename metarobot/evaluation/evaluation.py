"""Measure adaptation: every policy of some runs, on the same held-out tasks.

Those that adapt are measured before adapting, after one block of each of several numbers of
adaptation episodes, and after several blocks; the others once.  Headroom is oracle (which is told
the task) minus domain randomisation (which never adapts); adaptation is read as the fraction
captured.  Where one of the two is missing, the fraction cannot be told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

from metarobot.envs import TaskParameter, Variant, find_family
from metarobot.evaluation.heat_map import GridMap, HeatMap
from metarobot.evaluation.measurement import PolicyScores, Protocol, ScoreFiles
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.references import MADE_OF, measured_names, names_left_out
from metarobot.evaluation.result import (
    Conditions,
    Evaluation,
    Headroom,
    MeasuredParameter,
    MeasuredPolicy,
    UnderVariant,
    WorstTask,
)
from metarobot.evaluation.robustness import measure_under, variants_of
from metarobot.evaluation.scores import join_seeds, join_stages
from metarobot.evaluation.settings import describe_settings
from metarobot.evaluation.summary import summarise_split
from metarobot.evaluation.worst_tasks import MeasuredTasks, find_worst_tasks
from metarobot.io import Folder
from metarobot.training.load import TrainedRun
from metarobot.training.run_folder import read_cost

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
