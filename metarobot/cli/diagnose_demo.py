"""`metarobot diagnose demo`: everything once, small enough for minutes on two cores."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import msgspec

from metarobot.cli.console import OK, prepare
from metarobot.cli.diagnose_evaluate import conclude_diagnosis, sized
from metarobot.cli.diagnose_train import announce, recorder
from metarobot.cli.diagnose_train_options import DiagnoseDemo
from metarobot.cli.progress import StageDisplay
from metarobot.diagnosis_runs.evaluating import EvaluationPlan, arm_splits, evaluate
from metarobot.diagnosis_runs.life import LifePlan, measure_life
from metarobot.diagnosis_runs.results import DiagnosisResult
from metarobot.diagnosis_runs.run_folder import DiagnosisRun, require_new_run, save_run
from metarobot.diagnosis_runs.training import TrainingPlan, train_arms
from metarobot.few_shot_diagnosis import DEMO_MACHINES, DEMO_UPDATES, TRAIN_POOL
from metarobot.printable import print_line
from metarobot.reporting.diagnosis_report import prepare_folder, write_report

RUN_FOLDER = "run"


class DemoSize(NamedTuple):
    """How much is recorded, trained and measured."""

    train_machines: int
    test_machines: int
    updates: int
    tasks: int
    splits: tuple[str, ...]
    life: LifePlan | None
    """The fleet whose remaining life is predicted."""


_SEEN, _UNSEEN = "unseen machines, seen faults", "unseen machines, unseen faults"
DEMO = DemoSize(DEMO_MACHINES, 16, DEMO_UPDATES, 200, (_SEEN, _UNSEEN), LifePlan())
QUICK = DemoSize(10, 10, 10, 20, (_SEEN,), None)


def run(command: DiagnoseDemo) -> int:
    """Record, train, measure and report."""
    console = prepare()
    require_new_run(command.out / RUN_FOLDER)  # before the work
    folder = prepare_folder(command.out)
    size = QUICK if command.quick else DEMO
    with StageDisplay(console) as stages:
        trained = _train(command, size, stages)
        save_run(trained, command.out / RUN_FOLDER)
        result = _measure(command, size, trained, stages)
    flags = ["--quick"] * command.quick + ["--seed", str(command.seed)] * (command.seed != 0)
    line = shlex.join(["metarobot", "diagnose", "demo", "--learner", command.learner, *flags])
    write_report(folder, result, trained.config, [line])
    announce(trained, command.out / RUN_FOLDER, console)
    print_line(console, "recordings of your own machines go the same way: docs/diagnose.md")
    conclude_diagnosis(result, command.out, console)
    return OK


def _train(
    command: DiagnoseDemo, size: DemoSize, stages: Callable[[str, float], None]
) -> DiagnosisRun:
    pool = recorder(None, stages)(replace(TRAIN_POOL, num_machines=size.train_machines))
    plan = TrainingPlan(learner=command.learner, updates=size.updates, seed=command.seed)
    return train_arms(pool, plan, stages)


def _measure(
    command: DiagnoseDemo,
    size: DemoSize,
    trained: DiagnosisRun,
    stages: Callable[[str, float], None],
) -> DiagnosisResult:
    splits = {name: sized(size.test_machines)[name] for name in size.splits}
    pool_of = cache(recorder(None, stages))  # the splits share their recordings
    plan = EvaluationPlan(num_tasks=size.tasks, seed=command.seed)
    result = evaluate(trained, arm_splits(trained, splits, pool_of), plan, stages)
    if size.life is None:
        return result
    return msgspec.structs.replace(result, life=measure_life(size.life, stages))
