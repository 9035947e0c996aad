"""Trains a learner on recordings of one's own, or on simulated arms."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metarobot.diagnosis import HEALTHY
from metarobot.diagnosis.own_data import OwnDataError, OwnRecordings, read_recordings
from metarobot.diagnosis_runs.adapted import Adapter
from metarobot.diagnosis_runs.kept_back import keep_back, require_judgeable
from metarobot.diagnosis_runs.learner_names import LearnerName, full_name
from metarobot.diagnosis_runs.material import Material
from metarobot.diagnosis_runs.materials import arm_material, arms_as_own, own_material
from metarobot.diagnosis_runs.run_folder import DiagnosisRun, RunConfig, new_learner
from metarobot.diagnosis_runs.sights import ArmSight, Healthy, OwnSight, Sight
from metarobot.diagnosis_runs.signal_format import SignalFormat
from metarobot.diagnosis_runs.strangeness import thresholds
from metarobot.diagnosis_runs.unfinished import Unfinished
from metarobot.diagnosis_runs.whole_recordings import fewest_windows, whole_recordings
from metarobot.few_shot_diagnosis import Pool, Scale, pool_residuals
from metarobot.few_shot_diagnosis.learners import NUM_UPDATES
from metarobot.few_shot_diagnosis.training import TASKS_PER_UPDATE
from metarobot.training.provenance import choose_num_threads, provenance

Progress = Callable[[str, float], None]
"""Called with a stage and the share of the work that is done."""

_CALIBRATION_SHARE = 5
"""One training machine of so many is kept for thresholds."""
_PARTS = 10
"""Of a training: after each it says how far it is, and is kept."""
NOTHING_KEPT = Unfinished()


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How a learner is trained."""

    learner: LearnerName = "prototypes"
    updates: int | None = None
    """Meta-updates; as many as suit the learner where None."""
    way: int = 5
    """Most classes of a task."""
    seed: int = 0

    @property
    def num_updates(self) -> int:
        """Meta-updates."""
        if self.updates is not None:
            return self.updates
        return NUM_UPDATES[full_name(self.learner)]


@dataclass(frozen=True, kw_only=True)
class OwnTraining:
    """Recordings of one's own to train on."""

    folder: Path
    window_s: float | None = None
    unseen_machines: tuple[str, ...] = ()
    unseen_labels: tuple[str, ...] = ()


def train_own(
    own: OwnTraining, plan: TrainingPlan, progress: Progress, unfinished: Unfinished = NOTHING_KEPT
) -> DiagnosisRun:
    """Train on a folder of recordings, without what is kept back.

    Raises:
        OwnDataError: The folder is not what it must be, or holds too little.
        UnfinishedError: The training cannot go on from what is kept.
    """
    progress(f"reading {own.folder}", 0.0)
    read = read_recordings(own.folder, window_s=own.window_s)
    windows = fewest_windows(read)
    recordings = whole_recordings(read, windows)
    kept = keep_back(recordings, own.unseen_machines, own.unseen_labels, plan.seed)
    require_judgeable(kept, recordings)
    train = recordings.rows(kept.training(recordings))
    if not len(train):
        raise OwnDataError("everything is kept back, nothing is left to train on")
    sight = OwnSight.of(train, windows)
    inputs = sight.inputs(train, windows, Healthy({}))
    material, held = _parted(train, inputs, plan)
    learner, facts = _fit(sight, material, held, plan, progress, unfinished)
    config = RunConfig(
        kind="own",
        signal=SignalFormat.of(read, own.window_s),
        windows=windows,
        folder=str(own.folder),
        recordings=recordings.fingerprint,
        trained_machines=train.machines,
        trained_labels=train.labels,
        num_recordings=len(train),
        kept_back=kept,
        **facts,
    )
    return DiagnosisRun(config=config, sight=sight, learner=learner)


def train_arms(
    pool: Pool, plan: TrainingPlan, progress: Progress, unfinished: Unfinished = NOTHING_KEPT
) -> DiagnosisRun:
    """Train on recordings of simulated arms; machines and faults of other pools test it.

    Raises:
        UnfinishedError: The training cannot go on from what is kept.
    """
    scale = Scale.of(pool_residuals(pool)[pool.recordings.fault == HEALTHY])
    sight = ArmSight(scale)
    material = arm_material("training", pool, pool, pool.spec.classes, scale, plan.way)
    learner, facts = _fit(sight, material, material, plan, progress, unfinished)
    own = arms_as_own(pool.recordings)
    config = RunConfig(
        kind="arms",
        signal=SignalFormat.of(own, None),
        trained_machines=own.machines,
        trained_labels=tuple(map(str, pool.spec.classes)),
        num_recordings=len(own),
        **facts,
    )
    return DiagnosisRun(config=config, sight=sight, learner=learner)


def _parted(train: OwnRecordings, inputs: Any, plan: TrainingPlan) -> tuple[Material, Material]:
    """Return the material to train on, and that to set thresholds on.

    They are of different machines where there are five of them; else they are the same.
    """
    machines = train.machines
    held = np.isin(train.machine, machines[: len(machines) // _CALIBRATION_SHARE])
    if held.any():
        try:
            own = own_material("thresholds", train.rows(held), inputs[held], plan.way)
            rest = own_material("training", train.rows(~held), inputs[~held], plan.way)
        except OwnDataError:  # they have too few recordings
            pass
        else:
            return rest, own
    whole = own_material("training", train, inputs, plan.way)
    return whole, whole


def _fit(
    sight: Sight,
    material: Material,
    held: Material,
    plan: TrainingPlan,
    progress: Progress,
    unfinished: Unfinished,
) -> tuple[Any, dict[str, Any]]:
    """Take all meta-updates; return the learner, and what is to be written down of it."""
    learner = new_learner(plan.learner, sight, material.way, plan.seed)
    started = time.process_time()

    def spent_s() -> float:
        return round(unfinished.processor_s + time.process_time() - started, 1)

    def sample(rng: np.random.Generator) -> Any:
        rows = material.draw(rng, TASKS_PER_UPDATE, 1)
        return sight.disturbed(material.tasks(rows, centred=sight.centred), rng)

    losses = unfinished.begin(learner, material, {**asdict(plan), "updates": plan.num_updates})
    ends = np.linspace(0, plan.num_updates, _PARTS + 1).round().astype(int)
    for end in ends[1:]:
        fresh = learner.fit(sample, max(0, int(end) - learner.num_updates))
        if fresh:
            losses.append(round(float(np.mean(fresh)), 4))
            unfinished.keep(learner, losses, spent_s())
            said = f"update {end} of {plan.num_updates}, loss {losses[-1]:.2f}"
            progress(f"training {learner.title}: {said}", end / plan.num_updates)
    adapter = Adapter(learner, sight.centred)
    facts: dict[str, Any] = {
        "learner": plan.learner,
        "way": material.way,
        "seed": plan.seed,
        "updates": plan.num_updates,
        "strange_above": thresholds(adapter, held, plan.seed),
        "losses": tuple(losses),
        "processor_s": spent_s(),
        "provenance": provenance(choose_num_threads()),
    }
    return learner, facts
