"""Measure adaptation: every policy of some runs, on the same held-out tasks.

Those that adapt are measured after 0..K adaptation steps, the others once.  Headroom is oracle
(which is told the task) minus domain randomisation (which never adapts); adaptation is read as the
fraction captured.  Where one of the two is missing, the fraction cannot be told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from metarobot.algorithms import ALGORITHMS
from metarobot.envs import SPLITS, TaskParameter, Variant, find_family
from metarobot.evaluation.baselines import baselines
from metarobot.evaluation.protocol import EvaluationConfig, Scores, StepScores, Trial
from metarobot.evaluation.statistics import (
    bootstrap_captured,
    bootstrap_headroom,
    bootstrap_iqm,
    bootstrap_mean,
)
from metarobot.training.load import TrainedPolicy, TrainedRun

Progress = Callable[[str, float], None]
"""Called with what is being measured and the share of the work done, 0 to 1."""

Stages = list[StepScores]
"""Scores after 0, 1, .. adaptation steps."""

_GRID_KEY = len(SPLITS)  # the heat map's tasks are keyed after those of the splits


def table_order() -> list[str]:
    """Return the names of all policies in the order of tables and pictures."""
    learners = [name for name, algorithm in ALGORITHMS.items() if algorithm.adapts]
    others = [name for name in ALGORITHMS if name not in (*learners, "domain_randomisation")]
    return ["from_scratch", "domain_randomisation", "fine_tuning", *learners, *others]


def evaluate_runs(
    runs: Sequence[TrainedRun],
    config: EvaluationConfig,
    progress: Progress,
    variant: Variant | None = None,
) -> dict[str, Any]:
    """Evaluate the policies of several seeds on the same held-out tasks.

    Args:
        runs: One run per seed, of one task family, with the same algorithms each.
        config: How much is measured.
        progress: Called as the work goes on.
        variant: What to measure on; None for the family as it is.

    Returns:
        The evaluation as plain values: ``rows`` (every policy on every split, as judged and
        exploring), ``headroom`` (per split and algorithm that adapts; empty without domain
        randomisation and the oracle), ``heat_map`` (None for a family without), and what they were
        measured with.
    """
    env_id = runs[0].env_id
    family = find_family(env_id)
    grid_tasks = config.grid_size**2 if family.heat_map_axes else 0
    algorithms = [trained.config for run in runs for trained in run.policies.values()]
    config.require_memory(algorithms, grid_tasks)
    distribution = (variant or family).distribution
    measured = [{**baselines(run, config), **run.policies} for run in runs]
    learners = [name for name, trained in measured[0].items() if trained.algorithm.adapts]
    work = len(runs) * (len(distribution.splits) + 1)
    rows, headroom = [], []
    for done, split in enumerate(distribution.splits):
        trial = Trial.of_split(env_id, split, config, variant, runs[0].scene)
        scores = []
        for number, run in enumerate(runs):
            progress(f"{split}, seed {run.seed}", (done * len(runs) + number) / work)
            scores.append(_score_all(trial, measured[number], config.num_adaptation_steps))
        joined = {name: join_seeds([seed[name] for seed in scores]) for name in scores[0]}
        rows += _rows(split, joined, config)
        headroom += _headroom_rows(split, joined, learners, config)
    progress("heat map", len(runs) * len(distribution.splits) / work)
    grid = _heat_map(runs[0], measured, config, variant)
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


def _score_all(
    trial: Trial, policies: Mapping[str, TrainedPolicy], num_adaptation_steps: int
) -> dict[str, Stages]:
    """Score random actions and all policies of one seed, the oracle last."""
    scores = {}
    if "random" in trial.config.untrained:
        random = trial.score_random()
        scores["random"] = [StepScores(random, random)]
    for name in sorted(policies, key=table_order().index):
        trained = policies[name]
        steps = num_adaptation_steps if trained.algorithm.adapts else 0
        scores[name] = trial.score(trained, steps)
    return scores


def join_seeds(splits: Sequence[Any]) -> Any:
    """Stack the arrays of several seeds, wherever they are nested, along a new first axis."""
    first = splits[0]
    if isinstance(first, np.ndarray):
        return np.stack(splits)
    parts = [join_seeds(part) for part in zip(*splits, strict=True)]
    return parts if isinstance(first, list) else type(first)(*parts)


def _rows(
    split: str, policies: dict[str, Stages], config: EvaluationConfig
) -> list[dict[str, Any]]:
    """Return a table row per policy, number of adaptation steps, and kind of episodes."""
    rows = []
    for name, stages in policies.items():
        for step, stage in enumerate(stages):
            if name != "random":
                rows.append(table_row(split, name, step, False, stage.judged, config))
            rows.append(table_row(split, name, step, True, stage.exploring, config))
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


def _headroom_rows(
    split: str, policies: dict[str, Stages], learners: Sequence[str], config: EvaluationConfig
) -> list[dict[str, Any]]:
    """Return what each of those that adapt captured of the headroom, from returns as judged."""
    if not {"domain_randomisation", "oracle"} <= set(policies):
        return []
    returns = {
        name: [stage.judged.returns for stage in stages] for name, stages in policies.items()
    }
    return [
        {"split": split, "algorithm": name, **_captured(returns, name, config)}
        for name in returns
        if name in learners
    ]


def _captured(
    returns: dict[str, list[np.ndarray]], name: str, config: EvaluationConfig
) -> dict[str, Any]:
    """Return the headroom, and which part of it an algorithm captured after each step.

    Args:
        returns: Of every policy after each adaptation step, (seeds, tasks).
        name: The algorithm.
        config: How much is measured.
    """
    rng = np.random.default_rng(config.seed)
    (reference,), (oracle,) = returns["domain_randomisation"], returns["oracle"]
    difference = bootstrap_headroom(reference, oracle, rng)
    captured = [bootstrap_captured(after, reference, oracle, rng) for after in returns[name]]
    per_seed = [
        _ratio(after.mean(1) - reference.mean(1), oracle.mean(1) - reference.mean(1))
        for after in returns[name]
    ]
    random = float(returns["random"][0].mean()) if "random" in returns else np.nan
    return {
        "random": random,
        "domain_randomisation": float(reference.mean()),
        "adapted": [float(after.mean()) for after in returns[name]],
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
    run: TrainedRun,
    measured_policies: Sequence[Mapping[str, TrainedPolicy]],
    config: EvaluationConfig,
    variant: Variant | None,
) -> dict[str, Any] | None:
    """Score all policies on a grid over two task parameters, the others nominal, mean over seeds.

    The grid covers the family, what was trained on and what is measured; the axes carry the ranges
    trained on.

    Returns:
        The map, or None for a family without two parameters to draw it over.
    """
    family = find_family(run.env_id)
    if not family.heat_map_axes:
        return None
    measured = (variant or family).distribution
    trained = (run.variant or family).distribution
    x, y = (trained[name] for name in family.heat_map_axes)
    x_values, y_values = (
        _grid_values([p, measured[p.name], family.distribution[p.name]], config.grid_size)
        for p in (x, y)
    )
    tasks = measured.grid(x.name, x_values, y.name, y_values)
    trial = Trial(run.env_id, tasks, _GRID_KEY, replace(config, untrained=()), variant, run.scene)
    steps = min(1, config.num_adaptation_steps)
    scores = [_score_all(trial, policies, steps) for policies in measured_policies]
    shape = (len(y_values), len(x_values))
    maps = [
        {
            "algorithm": name,
            "adaptation_steps": step,
            "return": stage.judged.returns.mean(axis=0).reshape(shape).tolist(),
            "success": stage.judged.success.mean(axis=0).reshape(shape).tolist(),
        }
        for name in scores[0]
        for step, stage in enumerate(join_seeds([seed[name] for seed in scores]))
    ]
    return {"x": _axis(x, x_values), "y": _axis(y, y_values), "maps": maps}


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
