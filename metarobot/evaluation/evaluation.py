"""Measure adaptation: a trained policy beside the algorithms that decide whether it was worth it.

On the same held-out tasks stand *random* (uniform actions), *domain randomisation* (the policy that
never adapts), the *adapted* policy after 0..K adaptation steps, and the *oracle* that is told the
task.  Headroom is oracle minus domain randomisation; adaptation is read as the fraction captured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from metarobot.envs import SPLITS, TaskParameter, Variant, find_family
from metarobot.evaluation.protocol import EvaluationConfig, Scores, StepScores, Trial
from metarobot.evaluation.statistics import (
    bootstrap_captured,
    bootstrap_headroom,
    bootstrap_iqm,
    bootstrap_mean,
)
from metarobot.training.load import TrainedRun

Progress = Callable[[str, float], None]
"""Called with what is being measured and the share of the work done, 0 to 1."""

_GRID_KEY = len(SPLITS)  # the heat map's tasks are keyed after those of the splits


class _Split(NamedTuple):
    """Scores on the tasks of one split, by algorithm; every array is (S, N): seeds, tasks."""

    random: Scores
    domain_randomisation: StepScores
    oracle: StepScores
    adapted: list[StepScores]
    """After 0..K adaptation steps."""


def evaluate_runs(
    runs: Sequence[TrainedRun],
    config: EvaluationConfig,
    progress: Progress,
    variant: Variant | None = None,
) -> dict[str, Any]:
    """Evaluate the algorithms of several seeds on the same held-out tasks.

    Args:
        runs: One run per seed, of one task family, each with all algorithms.
        config: How much is measured.
        progress: Called as the work goes on.
        variant: What to measure on; None for the family as it is.

    Returns:
        The evaluation as plain values: ``rows`` (every algorithm on every split, exploring and
        deterministic), ``headroom`` (per split), ``heat_map`` (None
        for a family without), and what they were measured with.
    """
    env_id = runs[0].env_id
    family = find_family(env_id)
    grid_tasks = config.grid_size**2 if family.heat_map_axes else 0
    algorithms = [trained.config for run in runs for trained in run.policies.values()]
    config.require_memory(algorithms, grid_tasks)
    distribution = (variant or family).distribution
    work = len(runs) * (len(distribution.splits) + 1)
    rows, headroom = [], []
    for done, split in enumerate(distribution.splits):
        trial = Trial.of_split(env_id, split, config, variant, runs[0].scene)
        scores = []
        for number, run in enumerate(runs):
            progress(f"{split}, seed {run.seed}", (done * len(runs) + number) / work)
            scores.append(_score_split(trial, run, config))
        joined = join_seeds(scores)
        rows += _rows(split, joined, config)
        headroom.append(_headroom_row(split, joined, config))
    progress("heat map", len(runs) * len(distribution.splits) / work)
    grid = _heat_map(runs, config, variant)
    progress("done", 1.0)
    return {
        "family": env_id,
        "variant": variant.to_dict() if variant else None,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": asdict(config),
        "training": {name: trained.config.to_dict() for name, trained in runs[0].policies.items()},
        "seeds": [run.seed for run in runs],
        "episodes_per_adaptation_step": config.episodes_per_step,
        "num_adaptation_steps": config.num_adaptation_steps,
        "task_parameters": [_describe(parameter) for parameter in distribution.parameters],
        "rows": rows,
        "headroom": headroom,
        "heat_map": grid,
    }


def _score_split(trial: Trial, run: TrainedRun, config: EvaluationConfig) -> _Split:
    """Score all algorithms of one seed."""
    return _Split(
        random=trial.score_random(),
        domain_randomisation=trial.score(run.policies["domain_randomisation"], 0)[0],
        oracle=trial.score(run.policies["oracle"], 0)[0],
        adapted=trial.score(run.policies["maml"], config.num_adaptation_steps),
    )


def join_seeds(splits: Sequence[Any]) -> Any:
    """Stack the arrays of several seeds, wherever they are nested, along a new first axis."""
    first = splits[0]
    if isinstance(first, np.ndarray):
        return np.stack(splits)
    parts = [join_seeds(part) for part in zip(*splits, strict=True)]
    return parts if isinstance(first, list) else type(first)(*parts)


def _rows(split: str, scores: _Split, config: EvaluationConfig) -> list[dict[str, Any]]:
    """Return a table row per algorithm, number of adaptation steps, and kind of episodes."""
    rows = [table_row(split, "random", 0, True, scores.random, config)]
    stages = [
        ("domain_randomisation", 0, scores.domain_randomisation),
        *(("adapted", step, stage) for step, stage in enumerate(scores.adapted)),
        ("oracle", 0, scores.oracle),
    ]
    for algorithm, step, stage in stages:
        rows.append(table_row(split, algorithm, step, False, stage.judged, config))
        rows.append(table_row(split, algorithm, step, True, stage.exploring, config))
    return rows


def table_row(
    split: str, algorithm: str, step: int, exploring: bool, scores: Scores, config: EvaluationConfig
) -> dict[str, Any]:
    """Return one row of a table: mean and interquartile mean of scores (S, N), with intervals."""
    rng = np.random.default_rng(config.seed)
    mean, iqm = bootstrap_mean(scores.returns, rng), bootstrap_iqm(scores.returns, rng)
    success = bootstrap_mean(scores.success, rng)
    return {
        "split": split,
        "algorithm": algorithm,
        "adaptation_steps": step,
        "episodes_used": step * config.episodes_per_step,
        "exploration": exploring,
        "return_mean": mean.value,
        "return_mean_ci": mean.to_list(),
        "return_iqm": iqm.value,
        "return_iqm_ci": iqm.to_list(),
        "success": success.value,
        "success_ci": success.to_list(),
        "num_seeds": scores.returns.shape[0],
        "num_tasks": scores.returns.shape[1],
    }


def _headroom_row(split: str, scores: _Split, config: EvaluationConfig) -> dict[str, Any]:
    """Return what adaptation captured of the headroom, from deterministic returns."""
    rng = np.random.default_rng(config.seed)
    reference = scores.domain_randomisation.judged.returns
    oracle = scores.oracle.judged.returns
    adapted = [stage.judged.returns for stage in scores.adapted]
    difference = bootstrap_headroom(reference, oracle, rng)
    captured = [bootstrap_captured(returns, reference, oracle, rng) for returns in adapted]
    per_seed = [
        _ratio(returns.mean(1) - reference.mean(1), oracle.mean(1) - reference.mean(1))
        for returns in adapted
    ]
    random = float(scores.random.returns.mean())
    return {
        "split": split,
        "random": random,
        "domain_randomisation": float(reference.mean()),
        "adapted": [float(returns.mean()) for returns in adapted],
        "oracle": float(oracle.mean()),
        "headroom": difference.value,
        "headroom_ci": difference.to_list(),
        "headroom_over_random": float(_ratio(difference.value, oracle.mean() - random)),
        "captured": [fraction.value for fraction in captured],
        "captured_ci": [fraction.to_list() for fraction in captured],
        "captured_per_seed": [fractions.tolist() for fractions in per_seed],
    }


def _ratio(part: np.ndarray | float, whole: np.ndarray | float) -> np.ndarray:
    """Return part / whole, NaN where there is no whole."""
    whole = np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole != 0)


def _heat_map(
    runs: Sequence[TrainedRun], config: EvaluationConfig, variant: Variant | None
) -> dict[str, Any] | None:
    """Score all algorithms on a grid over two task parameters, the others nominal, mean over seeds.

    The grid covers the family, what was trained on and what is measured; the axes carry the ranges
    trained on.

    Returns:
        The map, or None for a family without two parameters to draw it over.
    """
    env_id = runs[0].env_id
    family = find_family(env_id)
    if not family.heat_map_axes:
        return None
    measured = (variant or family).distribution
    trained = (runs[0].variant or family).distribution
    x, y = (trained[name] for name in family.heat_map_axes)
    x_values, y_values = (
        _grid_values([p, measured[p.name], family.distribution[p.name]], config.grid_size)
        for p in (x, y)
    )
    tasks = measured.grid(x.name, x_values, y.name, y_values)
    trial = Trial(env_id, tasks, _GRID_KEY, config, variant, runs[0].scene)
    steps = min(1, config.num_adaptation_steps)
    stages: dict[str, list[Scores]] = {}
    for run in runs:
        for name in ("domain_randomisation", "oracle"):
            scores = trial.score(run.policies[name], 0)[0].judged
            stages.setdefault(name, []).append(scores)
        for step, stage in enumerate(trial.score(run.policies["maml"], steps)):
            stages.setdefault(f"adapted_{step}", []).append(stage.judged)
    shape = (len(y_values), len(x_values))
    algorithms = {
        name: {
            "return": np.mean([s.returns for s in scores], axis=0).reshape(shape).tolist(),
            "success": np.mean([s.success for s in scores], axis=0).reshape(shape).tolist(),
        }
        for name, scores in stages.items()
    }
    return {"x": _axis(x, x_values), "y": _axis(y, y_values), "algorithms": algorithms}


def _grid_values(parameters: Sequence[TaskParameter], size: int) -> np.ndarray:
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


def _axis(parameter: TaskParameter, values: np.ndarray) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "unit": parameter.unit,
        "values": values.tolist(),
        "train": list(parameter.train),
        "gaps": [list(gap) for gap in parameter.gaps],
        "log": parameter.log_uniform,
    }


def _describe(parameter: TaskParameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "unit": parameter.unit,
        "description": parameter.description,
        "nominal": parameter.nominal,
        "train": list(parameter.train),
        "gaps": [list(gap) for gap in parameter.gaps],
        "extrapolation": [list(interval) for interval in parameter.extrapolation],
        "choices": list(parameter.choices),
        "log_uniform": parameter.log_uniform,
    }
