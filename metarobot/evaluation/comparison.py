"""Hold ways to learn against each other: one family, one budget, the same held-out tasks.

Every algorithm that was trained is put through the same trials, beside those that need no training
of their own. What was measured is kept, so that a comparison that is interrupted or gets another
algorithm measures only what is new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, cast

import numpy as np

from metarobot.envs import find_family
from metarobot.envs.task_parameter import Split
from metarobot.evaluation.baselines import baselines
from metarobot.evaluation.evaluation import Progress, join_seeds, table_order, table_row
from metarobot.evaluation.protocol import EvaluationConfig, Scores, StepScores, Trial, Untrained
from metarobot.evaluation.statistics import (
    bootstrap_captured,
    bootstrap_headroom,
    captured_is_meaningful,
)
from metarobot.files import MAX_JSON_BYTES, json_bytes, parse_json
from metarobot.folder import Folder
from metarobot.training.load import TrainedPolicy, TrainedRun
from metarobot.training.run_folder import algorithm_folder, read_facts
from metarobot.training.run_layout import DONE_FILE, POLICY_FILE

Stages = list[StepScores]
"""Scores after 0, 1, .. adaptation steps."""


def compare(
    runs: Sequence[TrainedRun], config: EvaluationConfig, folder: Folder, progress: Progress
) -> dict[str, Any]:
    """Measure all algorithms of several seeds on the same held-out tasks.

    Args:
        runs: One run per seed, of one task family, with the same algorithms each.
        config: How much is measured; its heat map is not.
        folder: Where measured scores are kept.
        progress: Called as the work goes on.

    Returns:
        The comparison as plain values: ``rows`` (every algorithm on every split after every
        adaptation step, deterministic episodes, with the fraction of the headroom captured where
        domain randomisation and the oracle stand beside it), ``costs`` by algorithm, and what it
        was measured with.
    """
    env_id = runs[0].env_id
    splits = find_family(env_id).distribution.splits
    names = _names(runs[0])
    folder.make()
    by_split: dict[str, dict[str, list[Stages]]] = {split: {} for split in splits}
    for done, (name, run) in enumerate((name, run) for name in names for run in runs):
        progress(f"{name}, seed {run.seed}", done / (len(names) * len(runs)))
        file = f"{name}-seed{run.seed}.json"
        measure = partial(_measure, name, run, config, splits)
        for split, stages in _kept(folder, file, _key(name, run, config), measure).items():
            by_split[split].setdefault(name, []).append(stages)
    progress("done", 1.0)
    return {
        "family": env_id,
        "seeds": [run.seed for run in runs],
        "config": asdict(config),
        "algorithms": names,
        "rows": [row for split in splits for row in _rows(split, by_split[split], config)],
        "costs": {name: _costs(name, runs) for name in names if name in runs[0].policies},
    }


def _names(run: TrainedRun) -> list[str]:
    """Return who is compared: the algorithms of a run, and the references that need no training."""
    given = {"random", *run.policies}
    if "domain_randomisation" in run.policies:
        given |= {"fine_tuning", "from_scratch"}
    return [name for name in ("random", *table_order()) if name in given]


def _measure(
    name: str, run: TrainedRun, config: EvaluationConfig, splits: Sequence[Split]
) -> dict[str, Stages]:
    """Put one algorithm through the trials of all splits."""
    trials = {split: Trial.of_split(run.env_id, split, config, scene=run.scene) for split in splits}
    if name == "random":
        scores = {split: trial.score_random() for split, trial in trials.items()}
        return {split: [StepScores(score, score)] for split, score in scores.items()}
    algorithm = _algorithm(name, run, config)
    steps = config.num_adaptation_steps if algorithm.algorithm.adapts else 0
    return {split: trial.score(algorithm, steps) for split, trial in trials.items()}


def _algorithm(name: str, run: TrainedRun, config: EvaluationConfig) -> TrainedPolicy:
    """Return who goes by a name."""
    if name in run.policies:
        return run.policies[name]
    return baselines(run, replace(config, untrained=(cast(Untrained, name),)))[name]


def _kept(
    folder: Folder, file: str, key: str, measure: Callable[[], dict[str, Stages]]
) -> dict[str, Stages]:
    """Return the scores kept in a file, or measure them where it holds none of this key."""
    if folder.has(file):
        kept = parse_json(folder.read(file, MAX_JSON_BYTES), folder.path / file)
        if kept.get("key") == key:
            return {
                split: [
                    StepScores(*(Scores(*map(np.array, kind)) for kind in stage))
                    for stage in stages
                ]
                for split, stages in kept["scores"].items()
            }
    scores = measure()
    plain = {
        split: [[[values.tolist() for values in kind] for kind in stage] for stage in stages]
        for split, stages in scores.items()
    }
    folder.write(file, json_bytes({"key": key, "scores": plain}))
    return scores


def _key(name: str, run: TrainedRun, config: EvaluationConfig) -> str:
    """Return what scores depend on, as one word."""
    trained: str = name if name in run.policies else "domain_randomisation"
    digest = hashlib.sha256(repr((name, run.env_id, run.seed, asdict(config))).encode())
    if name != "random":
        digest.update(repr(run.policies[trained].config.decisive_values).encode())
        digest.update(algorithm_folder(run.path, trained).read(POLICY_FILE))
    return digest.hexdigest()


def _rows(
    split: str, algorithms: dict[str, list[Stages]], config: EvaluationConfig
) -> list[dict[str, Any]]:
    """Return a row per algorithm and number of adaptation steps, from deterministic returns."""
    ends, rows = _ends_of_headroom(algorithms, config), []
    for name, seeds in algorithms.items():
        for step in range(len(seeds[0])):
            scores = join_seeds([stages[step].judged for stages in seeds])
            row = table_row(split, name, step, False, scores, config)
            rows.append({**row, **_captured(scores.returns, ends, config)})
    return rows


def _ends_of_headroom(
    algorithms: dict[str, list[Stages]], config: EvaluationConfig
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the returns of domain randomisation and of the oracle, (seeds, tasks) each.

    None where a fraction of what lies between them would say nothing.
    """
    if not {"domain_randomisation", "oracle"} <= set(algorithms):
        return None
    random, reference, oracle = (
        join_seeds([stages[0].judged.returns for stages in algorithms[name]])
        for name in ("random", "domain_randomisation", "oracle")
    )
    headroom = bootstrap_headroom(reference, oracle, np.random.default_rng(config.seed))
    entry = {
        "headroom_ci": headroom.to_list(),
        "oracle": oracle.mean(),
        "random": random.mean(),
    }
    return (reference, oracle) if captured_is_meaningful(entry) else None


def _captured(
    returns: np.ndarray, ends: tuple[np.ndarray, np.ndarray] | None, config: EvaluationConfig
) -> dict[str, Any]:
    """Return the fraction of the headroom captured, None where it says nothing."""
    if ends is not None:
        captured = bootstrap_captured(returns, *ends, np.random.default_rng(config.seed))
        if captured.is_defined:
            return {"captured": captured.value, "captured_ci": captured.to_list()}
    return {"captured": None, "captured_ci": [None, None]}


def _costs(name: str, runs: Sequence[TrainedRun]) -> dict[str, Any]:
    """Return control steps and seconds of each seed's training."""
    done = [read_facts(run.path, name, DONE_FILE) for run in runs]
    return {column: [entry[column] for entry in done] for column in ("total_steps", "seconds")}
