"""`metarobot diagnose train`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from metarobot.cli.console import OK, prepare
from metarobot.cli.diagnose_train_options import DiagnoseTrain
from metarobot.cli.progress import StageDisplay
from metarobot.diagnosis_runs.evaluating import trained_on
from metarobot.diagnosis_runs.run_folder import (
    DiagnosisRun,
    require_new_run,
    require_unfinished,
    save_run,
)
from metarobot.diagnosis_runs.training import OwnTraining, TrainingPlan, train_arms, train_own
from metarobot.diagnosis_runs.unfinished import Unfinished
from metarobot.few_shot_diagnosis import TRAIN_POOL, Pool, record_pool
from metarobot.few_shot_diagnosis.pool import PoolSpec
from metarobot.printable import print_line


def run(command: DiagnoseTrain) -> int:
    """Train, and write the run."""
    console = prepare()
    (require_unfinished if command.resume else require_new_run)(command.out)  # before the work
    unfinished = Unfinished(command.out, resume=command.resume)
    plan = TrainingPlan(
        learner=command.learner, updates=command.updates, way=command.way, seed=command.seed
    )
    with StageDisplay(console) as stages:
        if command.folder is None:
            spec = replace(TRAIN_POOL, num_machines=command.machines)
            pool = recorder(command.cache, stages)(spec)
            trained = train_arms(pool, plan, stages, unfinished)
        else:
            own = OwnTraining(
                folder=command.folder,
                window_s=command.window_s,
                unseen_machines=command.unseen_machines,
                unseen_labels=command.unseen_labels,
            )
            trained = train_own(own, plan, stages, unfinished)
    save_run(trained, command.out)
    announce(trained, command.out, console)
    return OK


def recorder(cache: Path | None, progress: Callable[[str, float], None]) -> Callable[..., Pool]:
    """Return what records a pool, and says so."""

    def pool_of(spec: PoolSpec) -> Pool:
        count = spec.num_machines * len(spec.classes)
        progress(f"recording {spec.num_machines} arms, {count} health checks", 0.0)
        return record_pool(spec, cache=cache)

    return pool_of


def announce(trained: DiagnosisRun, out: Path, console: Console) -> None:
    """Say what was trained on what, and where it is."""
    print_line(console, f"trained on {trained_on(trained)}")
    print_line(console, f"run: {out}")
