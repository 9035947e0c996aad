"""Make metarobot/diagnosis_runs/trained: the learner of faults that comes with the package.

``python scripts/ship_diagnosis.py --cache runs/recordings`` trains it, measures it and writes its
card.  ``--check`` measures the learner of the package on other tasks instead, and compares the
accuracy with that on its card.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
import torch
from commands import takes_options
from diagnosis_card import card
from shipping import CARD_FILE, OTHER_TASKS, ship_or_check

from metarobot.cli.console import prepare
from metarobot.cli.diagnose_train import recorder
from metarobot.cli.progress import StageDisplay
from metarobot.diagnosis_runs.evaluating import EvaluationPlan, arm_splits, evaluate
from metarobot.diagnosis_runs.pretrained import EVALUATION_FILE, FOLDER
from metarobot.diagnosis_runs.results import DiagnosisResult
from metarobot.diagnosis_runs.run_folder import DiagnosisRun, load_run, save_run
from metarobot.diagnosis_runs.training import TrainingPlan, train_arms
from metarobot.evaluation.statistics import Interval
from metarobot.few_shot_diagnosis import SPLITS, TRAIN_POOL
from metarobot.files import json_bytes, parse_json, rounded
from metarobot.folder import Folder

NAME = "arm"
COMMAND = ["python", "scripts/ship_diagnosis.py"]
_MOMENTS = "adam."
"""What only further training reads of a learner's state."""


@dataclass(frozen=True, kw_only=True)
class ShipCommand:
    """Make the learner of faults that comes with the package."""

    cache: Path | None = None
    """Folder that keeps recordings; nothing is kept if not given."""
    tasks: int = 200
    """Tasks of each split and each number of examples."""
    out: Path = FOLDER
    """Where it goes."""
    check: bool = False
    """Measure the learner there on other tasks, and compare."""


def ship(command: ShipCommand) -> None:
    """Train, measure and write the learner."""
    with StageDisplay(prepare()) as stages:
        pool = recorder(command.cache, stages)(TRAIN_POOL)
        run = lightened(train_arms(pool, TrainingPlan(), stages))
    result = measure(run, command, EvaluationPlan(num_tasks=command.tasks, decisions=0))
    place = Folder(command.out) / NAME
    save_run(run, place.path)
    told = rounded(msgspec.to_builtins(result))
    text = card(msgspec.convert(told, DiagnosisResult), run, " ".join(COMMAND))
    place.write_together({EVALUATION_FILE: json_bytes(told), CARD_FILE: text.encode()})


def lightened(run: DiagnosisRun) -> DiagnosisRun:
    """Return a run that takes little room in a wheel.

    What its numbers have beyond half precision is zero, and so are the moments of its training.
    Both are packed into nearly nothing.
    """
    state = {
        name: torch.zeros_like(leaf) if name.startswith(_MOMENTS) else leaf.half().float()
        for name, leaf in run.learner.state().items()
    }
    run.learner.restore(state)
    provenance = {**run.config.provenance, "command": COMMAND}
    config = msgspec.structs.replace(run.config, provenance=provenance)
    return msgspec.structs.replace(run, config=config)


def measure(run: DiagnosisRun, command: ShipCommand, plan: EvaluationPlan) -> DiagnosisResult:
    """Return what a learner reaches on the test splits."""
    with StageDisplay(prepare()) as stages:
        tested = arm_splits(run, SPLITS, cache(recorder(command.cache, stages)))
        return evaluate(run, tested, plan, stages)


def differences(command: ShipCommand) -> list[str]:
    """Return where the learner reaches something else on other tasks than on its card.

    Intervals say how sure each figure is, so two that overlap are no difference.
    """
    place = command.out / NAME
    data = Folder.named(place).read(EVALUATION_FILE)
    told = msgspec.convert(parse_json(data, place / EVALUATION_FILE), DiagnosisResult)
    plan = EvaluationPlan(num_tasks=command.tasks, decisions=0, seed=OTHER_TASKS)
    again = {split.name: split for split in measure(load_run(place), command, plan).splits}
    lines = []
    for split in told.splits:
        for score in split.of(told.learner):
            other = again[split.name].score(told.learner, score.shots)
            if other is None or apart(score.accuracy, other.accuracy):
                shown = "nothing" if other is None else f"{other.accuracy.value:.3f}"
                lines.append(
                    f"{split.name}, {score.shots} examples: accuracy {score.accuracy.value:.3f} on "
                    f"the card, {shown} here"
                )
    return lines


def apart(first: Interval, second: Interval) -> bool:
    """Return whether two intervals have nothing in common."""
    return first.high < second.low or second.high < first.low


@takes_options(ShipCommand, "ship_diagnosis.py")
def main(command: ShipCommand) -> int:
    """Ship or check; return 0, or 1 where --check finds a difference."""
    return ship_or_check(command, ship, differences, "all as on the card")


if __name__ == "__main__":
    sys.exit(main())
