"""Measure learners of faults on simulated arms, and on recordings of real machines.

All learners of `metarobot diagnose train`, and references that it cannot choose, answer the same
tasks.  Rows are written to docs/results/diagnosis.json as they are found; what is there is not
measured again.  MiniRocket needs ``pip install metarobot[diagnosis]``.

    python scripts/diagnosis.py
    python scripts/diagnosis.py --data "robot failures=runs/lp" --drop-duplicates
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from commands import takes_options
from rows import read_rows, replace_rows
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import StandardScaler

from metarobot.diagnosis.evaluate import SHOTS, Measured, answer, measure, summarise
from metarobot.diagnosis.faults import FAULTS, HEALTHY, HELD_OUT_FAULTS, classes_of
from metarobot.diagnosis.features import FeatureMap, part_baseline, read_data
from metarobot.diagnosis.learners import LEARNERS, Network, group_means, squared_distances
from metarobot.diagnosis.recordings import Recordings, read_recordings
from metarobot.diagnosis.run import Diagnosis, DiagnosisError, hold_out, train
from metarobot.diagnosis.simulator import record_pool
from metarobot.diagnosis.tasks import Data, Task, draw_tasks
from metarobot.evaluation.statistics import bootstrap_mean
from metarobot.io import rounded

ROWS = Path(__file__).resolve().parents[1] / "docs/results/diagnosis.json"
KEYS = ("data", "split", "shots", "learner")
UNTRAINED, FOREST, MEAN = "untrained network", "random forest, alone", "nearest mean, alone"
REFERENCE_SHOTS = (1, 5)
FIGURES = ("accuracy", "accuracy_ci", "false_alarm", "noticed", "calibration_error")
BANDS = 6


@dataclass(frozen=True, kw_only=True)
class DiagnosisCommand:
    """Measure learners of faults, for docs/diagnosis.md."""

    data: tuple[str, ...] = ()
    """NAME=FOLDER of recordings of several machines; simulated arms if none is given."""
    fill_missing: bool = False
    """Interpolate empty cells."""
    resample_hz: float | None = None
    """Bring all recordings to this rate."""
    drop_duplicates: bool = False
    """Keep the first of recordings with the same numbers."""
    learners: tuple[str, ...] = (*LEARNERS, UNTRAINED, FOREST, MEAN)
    """Learners and references; minirocket is left out without aeon."""
    tasks: int = 100
    """Tasks for each number of examples."""
    way: int = 5
    """Labels of a task, at most."""
    seed: int = 0
    """Of machines, tasks and networks."""
    arms: tuple[int, int] = (40, 30)
    """Simulated arms to train on, and to test on."""
    out: Path = ROWS
    """File of the rows."""


class Case(NamedTuple):
    """Recordings to train on, and recordings to be diagnosed."""

    data: str
    split: str
    training: Recordings
    test: Recordings
    baseline: str = ""
    """Label of the recordings that are the baseline of their machine."""


@takes_options(DiagnosisCommand, "diagnosis.py")
def main(command: DiagnosisCommand) -> None:
    """Measure what the file lacks."""
    torch.set_num_threads(1)  # the networks are small
    without = () if find_spec("aeon") else ("minirocket",)
    for case in _real(command) if command.data else _arms(command):
        for name in command.learners:
            key = (case.data, case.split, name)
            there = {(row["data"], row["split"], row["learner"]) for row in read_rows(command.out)}
            if key in there or name in without:
                continue
            by = _learner if name in LEARNERS else _reference
            try:
                found = by(case, name, command)
            except DiagnosisError as error:  # one machine may have few recordings
                print(*key, error, sep=": ")
                continue
            facts = {"chosen": False, "tasks": command.tasks, "seed": command.seed}
            facts |= dict(zip(("data", "split", "learner"), key, strict=True))
            rows = [facts | rounded(row) for row in found]
            replace_rows(command.out, _marked([*read_rows(command.out), *rows], case), KEYS)
            print(*key, [row["accuracy"] for row in rows], sep=": ", flush=True)


def _arms(command: DiagnosisCommand) -> Iterator[Case]:
    """Yield simulated arms; the baseline of each is what it did when it was healthy."""
    seen = classes_of([HEALTHY, *(name for name in FAULTS if name not in HELD_OUT_FAULTS)])
    unseen = classes_of(HELD_OUT_FAULTS)
    pool, healthy = record_pool(command.arms[0], seen, split="train", seed=command.seed)
    training = healthy.joined(pool)
    test, baselines = record_pool(command.arms[1], seen + unseen, split="test", seed=command.seed)
    new = np.isin(test.label, [str(each) for each in unseen])
    for faults, rows in (("seen faults", ~new), ("unseen faults", new)):
        asked = baselines.joined(test.rows(rows))
        yield Case("simulated arms", f"unseen machines, {faults}", training, asked, HEALTHY)


def _real(command: DiagnosisCommand) -> Iterator[Case]:
    """Yield every machine of the folders: alone, and after training on the others."""
    for text in command.data:
        name, _, folder = text.partition("=")
        recordings = read_recordings(
            folder or name,
            fill_missing=command.fill_missing,
            resample_hz=command.resample_hz,
            drop_duplicates=command.drop_duplicates,
        )
        for machine in recordings.machines:
            own = recordings.machine == machine
            data = ", ".join(filter(None, (name, machine)))
            yield Case(data, "one machine", *hold_out(recordings.rows(own)))
            if not own.all():
                yield Case(data, "machine unseen", recordings.rows(~own), recordings.rows(own))


def _learner(case: Case, name: str, command: DiagnosisCommand) -> list[dict[str, Any]]:
    """Train as `metarobot diagnose train --learner NAME` does, and evaluate."""
    diagnosis = _trained(case.training, case.baseline, name, command.way, command.seed)
    test, baselines = _parted(case.test, case.baseline)
    data = diagnosis.read(test, baselines)
    chosen, learner = diagnosis.choose(data.labels.tolist())
    validated = [
        row.accuracy
        for row in diagnosis.config.rows
        if (row.known, row.learner) == (chosen.known, chosen.learner)
    ]
    facts = {"setting": chosen.learner, "validated": float(np.mean(validated))}
    rows = []
    for shots in SHOTS:
        if tasks := draw_tasks(data, shots, command.way, command.tasks, command.seed):
            measured = Measured([[]])
            measure([learner], diagnosis.space, tasks, measured)
            figures = summarise(measured, 0, tasks, learner, chosen.calibration_for(shots))
            rows.append(_row(shots, tasks, figures) | facts)
    return rows


@lru_cache(maxsize=len(LEARNERS))  # the same arms are trained on for both splits
def _trained(recordings: Recordings, baseline: str, name: str, way: int, seed: int) -> Diagnosis:
    return train(recordings, learners=(name,), baseline=baseline, way=way, seed=seed)


def _parted(recordings: Recordings, baseline: str) -> tuple[Recordings, Recordings | None]:
    """Return recordings, and those that are the baseline of their machine."""
    return part_baseline(recordings, baseline) if baseline else (recordings, None)


def _row(shots: int, tasks: list[Task], figures: dict[str, Any]) -> dict[str, Any]:
    way = max(len(task.examples.labels) for task in tasks)
    return {"way": way, "shots": shots} | {name: figures.get(name) for name in FIGURES}


def _marked(rows: list[dict[str, Any]], case: Case) -> list[dict[str, Any]]:
    """Return the rows of a case, with what `train` chooses by cross-validation marked."""
    own = [row for row in rows if (row["data"], row["split"]) == (case.data, case.split)]
    best = max((row["validated"] for row in own if "validated" in row), default=None)
    return [row | {"chosen": best is not None and row.get("validated") == best} for row in own]


def _reference(case: Case, name: str, command: DiagnosisCommand) -> list[dict[str, Any]]:
    """Measure what needs no training: nothing is calibrated."""
    test, own = _parted(case.test, case.baseline)
    network: Any = None
    if name == UNTRAINED:
        training, known = _parted(case.training, case.baseline)
        data = read_data(test, own, FeatureMap.fit(training, known), None)
        network = Network(way=command.way, seed=command.seed, num_updates=0).fit(data)
    else:
        blank = np.zeros((len(test), 0))
        data = Data(_plain(test, own), blank, test.label, test.machine, test.name)
    rows = []
    for shots in REFERENCE_SHOTS:
        tasks = draw_tasks(data, shots, command.way, command.tasks, command.seed)
        if not tasks:
            continue
        scores = [
            answer(network, task).accuracy if network else _alone(name, task) for task in tasks
        ]
        interval = bootstrap_mean(np.array([scores]), np.random.default_rng(0))
        figures = {"accuracy": interval.value, "accuracy_ci": [interval.low, interval.high]}
        rows.append(_row(shots, tasks, figures))
    return rows


def _alone(name: str, task: Task) -> float:
    """Return the accuracy of what sees the examples alone."""
    scaler, label = StandardScaler().fit(task.examples.features), task.examples.label
    known, asked = (np.asarray(scaler.transform(each.features)) for each in task)
    if name == MEAN:
        labels, place = np.unique(label, return_inverse=True)
        found = labels[squared_distances(asked, group_means(known, place)).argmin(1)]
    else:
        found = RandomForestClassifier(random_state=0).fit(known, label).predict(asked)
    return float((found == task.queries.label).mean())


def _plain(recordings: Recordings, baselines: Recordings | None) -> np.ndarray:
    """Return 12 statistics and `BANDS` log powers of every channel, (R, F), less the baseline's."""
    found = np.array([_statistics(signal) for signal in recordings.signals])
    if baselines is not None:
        known = np.array([_statistics(signal) for signal in baselines.signals])
        for machine in baselines.machines:
            found[recordings.machine == machine] -= known[baselines.machine == machine].mean(0)
    return found


def _statistics(signal: np.ndarray) -> np.ndarray:
    """Return the features of a signal (C, T), (F,)."""
    length = signal.shape[1]
    time, steps = np.linspace(-1, 1, length), np.abs(np.diff(signal, axis=1))
    power = np.abs(np.fft.rfft(signal - signal.mean(1, keepdims=True), axis=1)[:, 1:]) ** 2 / length
    edges = np.unique(np.geomspace(1, power.shape[1] + 1, BANDS + 1).round().astype(int) - 1)
    bands = np.add.reduceat(power, edges[:-1], axis=1) / np.diff(edges)
    low, high = signal.min(1), signal.max(1)
    sizes = [signal.mean(1), signal.std(1), low, high, high - low, np.median(signal, 1)]
    sizes += [signal[:, 0], signal[:, -1], signal @ time / (time @ time), steps.mean(1)]
    sizes += [steps.max(1), np.sqrt((signal**2).mean(1))]
    return np.concatenate([np.arcsinh(sizes).ravel(), np.log(bands + 1e-9).ravel()])


if __name__ == "__main__":
    sys.exit(main())
