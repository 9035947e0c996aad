"""Evaluates a trained learner on what its training did not see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metarobot.diagnosis.own_data import OwnDataError, OwnRecordings, read_recordings
from metarobot.diagnosis_runs.adapted import Adapter
from metarobot.diagnosis_runs.deciding import Traces, decisions
from metarobot.diagnosis_runs.material import Material
from metarobot.diagnosis_runs.materials import arm_material, arms_as_own, own_material
from metarobot.diagnosis_runs.measuring import Judge, measure_split
from metarobot.diagnosis_runs.results import DiagnosisResult
from metarobot.diagnosis_runs.run_folder import DiagnosisRun, new_learner
from metarobot.diagnosis_runs.sights import Healthy
from metarobot.diagnosis_runs.training import Progress
from metarobot.diagnosis_runs.whole_recordings import require_windows, whole_recordings
from metarobot.few_shot_diagnosis import Pool, Split
from metarobot.few_shot_diagnosis.pool import NUM_BASELINES, PoolSpec


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """How much is measured."""

    num_tasks: int = 200
    """Tasks of each split and number of examples."""
    decisions: int = 4
    """Recordings of which the part that decided is shown."""
    seed: int = 0


class Tested(NamedTuple):
    """What a split is measured on."""

    material: Material
    traces: Traces


def evaluate(
    run: DiagnosisRun,
    tested: Iterator[Tested],
    plan: EvaluationPlan,
    progress: Progress,
) -> DiagnosisResult:
    """Measure a run on splits, one after the other."""
    judge = _judge(run, plan)
    splits, looked = [], []
    for material, traces in tested:
        progress(f"measuring: {material.name}", 0.5)
        splits.append(measure_split(judge, material))
        wanted = plan.decisions - len(looked)
        if wanted > 0:
            looked += decisions(run.adapter, run.sight, material, traces, wanted, plan.seed)
    return DiagnosisResult(
        kind=run.config.kind,
        learner=judge.title,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        trained_on=trained_on(run),
        splits=tuple(splits),
        decisions=tuple(looked),
    )


def own_splits(run: DiagnosisRun, folder: Path) -> Iterator[Tested]:
    """Yield what a folder holds that the training did not see.

    Raises:
        OwnDataError: It is not what it must be, or holds nothing unseen.
    """
    signal = run.config.signal
    read = signal.fitting(read_recordings(folder, window_s=signal.window_s), folder)
    windows = run.config.windows
    require_windows(read, windows, signal.window_s)
    recordings = whole_recordings(read, windows)
    if run.config.recordings not in ("", recordings.fingerprint):
        raise OwnDataError(
            f"{folder} holds other recordings, labels or machines than the learner was trained "
            "on: name that folder as it was, or train anew"
        )
    splits = run.config.kept_back.splits(recordings)
    if not splits:
        raise OwnDataError(
            f"{folder} holds nothing that was kept back ({run.config.kept_back.sentence()}): "
            "name the folder that the learner was trained on"
        )
    healthy = Healthy.of(recordings)
    for name, rows in splits.items():
        own = recordings.rows(rows)
        material = own_material(name, own, run.sight.inputs(own, windows, healthy), run.config.way)
        yield Tested(material, _traces(own, healthy.by_machine))


def _traces(own: OwnRecordings, healthy: Mapping[str, np.ndarray]) -> Traces:
    def beside(row: int) -> np.ndarray | None:
        of_machine = healthy.get(str(own.machine[row]))
        return None if of_machine is None else of_machine[0]

    return Traces(own, beside, aligned=False)


def arm_splits(
    run: DiagnosisRun, splits: Mapping[str, Split], pool_of: Callable[[PoolSpec], Pool]
) -> Iterator[Tested]:
    """Yield the splits of the simulated arms.

    Args:
        run: The trained learner.
        splits: By name.
        pool_of: Records a pool, or returns one that is there.
    """
    for name, split in splits.items():
        support = pool_of(split.support)
        query = support if split.query == split.support else pool_of(split.query)
        material = arm_material(
            name, support, query, split.classes, run.sight.scale, run.config.way
        )
        yield Tested(material, _arm_traces(query))


def _arm_traces(pool: Pool) -> Traces:
    count = len(pool.spec.classes)
    signals = pool.baselines.signals
    size = signals.shape[1:]
    means = signals.reshape(pool.spec.num_machines, NUM_BASELINES, *size).mean(1)

    def beside(row: int) -> np.ndarray:
        return means[row // count].T

    return Traces(arms_as_own(pool.recordings), beside, aligned=True)


def _judge(run: DiagnosisRun, plan: EvaluationPlan) -> Judge:
    config = run.config
    fresh = new_learner(config.learner, run.sight, config.way, config.seed)
    return Judge(
        title=run.learner.title,
        trained=run.adapter,
        untrained=Adapter(fresh, run.sight.centred),
        strange_from=config.strange_from,
        num_tasks=plan.num_tasks,
        seed=plan.seed,
        group=_fault_of if config.kind == "arms" else str,
    )


def _fault_of(name: str) -> str:
    """Return the fault of a class, in whichever joint."""
    return name.partition(" in joint ")[0]


def trained_on(run: DiagnosisRun) -> str:
    """Say what the learner was trained on, and what was kept back."""
    config = run.config
    machines = len([name for name in config.trained_machines if name])
    where = "simulated arms" if config.kind == "arms" else config.folder
    of = f" of {machines} machine{'s' * (machines != 1)}" if machines else ""
    text = (
        f"{config.num_recordings} recordings{of} with {len(config.trained_labels)} labels "
        f"({where}), {config.updates} updates of tasks with {config.way} labels"
    )
    if config.kind == "own":
        return f"{text}; {config.kept_back.sentence()}"
    return f"{text}; other arms, and five of the faults, were kept back to test on"
