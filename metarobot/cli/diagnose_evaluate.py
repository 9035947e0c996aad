"""`metarobot diagnose evaluate`."""

from __future__ import annotations

import shlex
from dataclasses import replace
from functools import cache
from pathlib import Path

from rich.console import Console

from metarobot.cli.console import OK, prepare
from metarobot.cli.diagnose_train import recorder
from metarobot.cli.diagnose_train_options import DiagnoseEvaluate
from metarobot.cli.listing import make_table
from metarobot.cli.progress import StageDisplay
from metarobot.diagnosis_runs.evaluating import EvaluationPlan, arm_splits, evaluate, own_splits
from metarobot.diagnosis_runs.results import DiagnosisResult
from metarobot.diagnosis_runs.run_folder import load_run
from metarobot.few_shot_diagnosis import SPLITS, Split
from metarobot.printable import print_line
from metarobot.reporting.diagnosis_report import REPORT_FILE, prepare_folder, write_report
from metarobot.reporting.diagnosis_words import verdict
from metarobot.reporting.style import percent, percent_interval


def run(command: DiagnoseEvaluate) -> int:
    """Measure a run, and write the report."""
    console = prepare()
    trained = load_run(command.run)
    if trained.config.kind == "arms" and command.folder is not None:
        raise ValueError(f"{command.run} was trained on simulated arms: leave out {command.folder}")
    folder = prepare_folder(command.out)
    with StageDisplay(console) as stages:
        tested = (
            own_splits(trained, command.folder or Path(trained.config.folder))
            if trained.config.kind == "own"
            else arm_splits(
                trained, sized(command.machines), cache(recorder(command.cache, stages))
            )
        )
        plan = EvaluationPlan(num_tasks=command.tasks, seed=command.seed)
        result = evaluate(trained, tested, plan, stages)
    write_report(folder, result, trained.config, [command_line(command, trained.config.kind)])
    conclude_diagnosis(result, command.out, console)
    return OK


def sized(machines: int) -> dict[str, Split]:
    """Return the splits of the simulated arms, with so many machines."""
    return {
        name: split._replace(
            support=replace(split.support, num_machines=machines),
            query=replace(split.query, num_machines=machines),
        )
        for name, split in SPLITS.items()
    }


def command_line(command: DiagnoseEvaluate, kind: str) -> str:
    """Return the command that makes the report again."""
    words = ["metarobot", "diagnose", "evaluate", str(command.run)]
    words += [str(command.folder)] * (command.folder is not None)
    words += ["--out", str(command.out), "--tasks", str(command.tasks)]
    words += ["--machines", str(command.machines)] * (kind == "arms")
    words += ["--seed", str(command.seed)] * (command.seed != 0)
    return shlex.join(words)


def conclude_diagnosis(result: DiagnosisResult, out: Path, console: Console) -> None:
    """Print accuracy by examples, the verdict, and where the report is."""
    for split in result.splits:
        shots = sorted({own.shots for own in split.scores})
        rows = []
        for name in split.learners:
            scores = [split.score(name, number) for number in shots]
            shown = (
                f"{percent(own.accuracy.value)} {percent_interval(own.accuracy)}" if own else ""
                for own in scores
            )
            rows.append((name, *shown))
        headings = (f"{split.name}, {split.way} labels; examples:", *map(str, shots))
        console.print(make_table(headings, rows, console))
    print_line(console, verdict(result))
    print_line(console, f"report: {out / REPORT_FILE}")
