"""Measure learners of faults on simulated arms, and on recordings of real machines.

All learners of `metarobot diagnose train`, and references that it cannot choose, get the same
tasks.  Each row is written to docs/results/diagnosis.json at once; existing rows are not measured
again.  MiniRocket needs ``pip install metarobot[diagnosis]``.

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
import pandas as pd
import torch
from scipy.spatial.distance import cdist
from shared import PENDING, markdown_table, read, read_rows, replace_rows, takes_options
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metarobot.cli.diagnose_options import Reading, reading_of
from metarobot.cli.diagnosing import record_arms
from metarobot.diagnosis.evaluate import SHOTS
from metarobot.diagnosis.features import part_baseline
from metarobot.diagnosis.learners import LEARNERS, Network
from metarobot.diagnosis.recordings import Recordings, read_recordings
from metarobot.diagnosis.run import Diagnosis, DiagnosisError, hold_out, train
from metarobot.diagnosis.simulator import HEALTHY, HELD_OUT_FAULTS, classes_of
from metarobot.diagnosis.tasks import Data, draw_tasks
from metarobot.evaluation.statistics import bootstrap_mean
from metarobot.io import rounded

ROWS = Path(__file__).resolve().parents[1] / "docs/results/diagnosis.json"
KEYS = ("data", "split", "shots", "learner")
ARMS = "simulated arms"
UNTRAINED, FOREST, MEAN = "untrained network", "random forest, alone", "nearest mean, alone"
REFERENCE_SHOTS = (1, 5)
FIGURES = ("accuracy", "accuracy_ci", "false_alarm", "noticed", "calibration_error")
BANDS = 6
TRAIN_ARMS, TEST_ARMS = 40, 30
WAY = 5  # labels of a task, at most


@dataclass(frozen=True, kw_only=True)
class DiagnosisCommand(Reading):
    """Measure learners of faults, for docs/diagnosis.md."""

    data: tuple[str, ...] = ()
    """NAME=FOLDER of recordings of several machines; simulated arms if none is given."""
    learners: tuple[str, ...] = (*LEARNERS, UNTRAINED, FOREST, MEAN)
    """Learners and references; minirocket is left out without aeon."""
    tasks: int = 100
    """Tasks for each number of examples."""
    seed: int = 0
    """Seed of machines, tasks and networks."""
    out: Path = ROWS
    """File of the rows."""


class Case(NamedTuple):
    """Recordings to train on, and recordings to diagnose."""

    data: str
    split: str
    training: Recordings
    test: Recordings
    baseline: str = ""
    """Label of the baseline recordings of each machine in training."""
    baselines: Recordings | None = None
    """Baselines of the machines to diagnose."""


@takes_options(DiagnosisCommand, "diagnosis.py")
def main(command: DiagnosisCommand) -> None:
    """Measure the rows that the file lacks."""
    torch.set_num_threads(1)  # the networks are small
    names = [name for name in command.learners if name != "minirocket" or find_spec("aeon")]
    for case in _real(command) if command.data else _arms(command):
        for name in names:
            about = {"data": case.data, "split": case.split, "learner": name}
            if any(about.items() <= row.items() for row in read_rows(command.out)):
                continue
            try:
                found = (_learner if name in LEARNERS else _reference)(case, name, command)
            except DiagnosisError as error:  # one machine may have few recordings
                print(*about.values(), error, sep=": ")
                continue
            facts = {"chosen": False, "tasks": command.tasks, "seed": command.seed, **about}
            rows = [*read_rows(command.out), *(facts | rounded(row) for row in found)]
            own = [row for row in rows if (row["data"], row["split"]) == case[:2]]
            # The learner that `train` chooses by cross-validation.
            validated = {row["learner"]: row["validated"] for row in own if row.get("validated")}
            known = [each for each in LEARNERS if each in validated]  # simple ones first
            best = max(known, key=lambda each: validated[each], default="")
            marked = [row | {"chosen": row["learner"] == best} for row in own]
            replace_rows(command.out, marked, KEYS)
            print(*about.values(), [row["accuracy"] for row in found], sep=": ", flush=True)


def _arms(command: DiagnosisCommand) -> Iterator[Case]:
    """Yield simulated arms; the baseline of each is its healthy recording."""
    training = record_arms(TRAIN_ARMS, "train", command.seed)
    test, baselines = part_baseline(record_arms(TEST_ARMS, "test", command.seed), HEALTHY)
    new = np.isin(test.label, [str(each) for each in classes_of(HELD_OUT_FAULTS)])
    for faults, rows in (("seen faults", ~new), ("unseen faults", new)):
        yield Case(
            ARMS, f"unseen machines, {faults}", training, test.rows(rows), HEALTHY, baselines
        )


def _real(command: DiagnosisCommand) -> Iterator[Case]:
    """Yield every machine of the folders, alone and after training on the others."""
    for text in command.data:
        name, _, folder = text.partition("=")
        recordings = read_recordings(folder or name, **reading_of(command))
        for machine in recordings.machines:
            own = recordings.machine == machine
            data = ", ".join(filter(None, (name, machine)))
            yield Case(data, "one machine", *hold_out(recordings.rows(own)))
            if not own.all():
                yield Case(data, "machine unseen", recordings.rows(~own), recordings.rows(own))


def _learner(case: Case, name: str, command: DiagnosisCommand) -> list[dict[str, Any]]:
    """Train as `metarobot diagnose train --learner NAME` does, and evaluate."""
    diagnosis = _trained(case.training, case.baseline, name, command.seed)
    data = diagnosis.read(case.test, case.baselines)
    chosen, _ = diagnosis.choose(data.labels.tolist())
    validated = [
        row.accuracy
        for row in diagnosis.config.rows
        if (row.known, row.learner) == (chosen.known, chosen.learner)
    ]
    facts = {"setting": chosen.learner, "validated": float(np.mean(validated))}
    found = diagnosis.figures(data, SHOTS, WAY, command.tasks, command.seed)
    return [{name: row[name] for name in ("way", "shots", *FIGURES)} | facts for row in found]


@lru_cache(maxsize=len(LEARNERS))  # the same arms are trained on for both splits
def _trained(recordings: Recordings, baseline: str, name: str, seed: int) -> Diagnosis:
    return train(recordings, learners=(name,), baseline=baseline, way=WAY, seed=seed)


def _reference(case: Case, name: str, command: DiagnosisCommand) -> list[dict[str, Any]]:
    """Measure a reference without training, uncalibrated."""
    if name == UNTRAINED:
        trained = _trained(case.training, case.baseline, "nearest_mean", command.seed)
        data = trained.read(case.test, case.baselines)
        scores = Network(way=WAY, seed=command.seed, num_updates=0).fit(data).scores
    else:
        recordings, blank = case.test, np.zeros((len(case.test), 0))
        features = _features(recordings, case.baselines)
        data = Data(features, blank, recordings.label, recordings.machine, recordings.name)
        scores = _by_forest if name == FOREST else _by_mean
    rows = []
    for shots in REFERENCE_SHOTS:
        if tasks := draw_tasks(data, shots, WAY, command.tasks, command.seed):
            found = [task.examples.labels[scores(*task).argmax(1)] for task in tasks]
            right = [(own == t.queries.label).mean() for own, t in zip(found, tasks, strict=True)]
            own = bootstrap_mean(np.array([right]), np.random.default_rng(0))
            way = max(len(task.examples.labels) for task in tasks)
            row = {"way": way, "shots": shots, **dict.fromkeys(FIGURES)}
            rows.append(row | {"accuracy": own.value, "accuracy_ci": [own.low, own.high]})
    return rows


def _by_forest(examples: Data, queries: Data) -> np.ndarray:
    model = make_pipeline(StandardScaler(), RandomForestClassifier(random_state=0))
    return model.fit(examples.features, examples.label).predict_proba(queries.features)


def _by_mean(examples: Data, queries: Data) -> np.ndarray:
    scaler = StandardScaler().fit(examples.features)
    known, asked = (scaler.transform(each.features) for each in (examples, queries))
    means: Any = pd.DataFrame(known).groupby(examples.label).mean()
    return -cdist(asked, means)


def _features(recordings: Recordings, baselines: Recordings | None) -> np.ndarray:
    """Return features of recordings for forest and mean, (R, F), minus the baselines' mean."""
    fewest = min(signal.shape[1] for signal in recordings.signals) // 2  # frequencies
    edges = np.unique(np.geomspace(1, fewest + 1, BANDS + 1).round() - 1) / fewest
    found = np.array([_statistics(signal, edges) for signal in recordings.signals])
    if baselines is not None:
        known = np.array([_statistics(signal, edges) for signal in baselines.signals])
        for machine in baselines.machines:
            found[recordings.machine == machine] -= known[baselines.machine == machine].mean(0)
    return found


def _statistics(signal: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return 12 statistics of every channel of a signal (C, T), and log powers of bands, (F,).

    The edges of the bands, up to `BANDS` of them, are fractions of the highest frequency.
    """
    length = signal.shape[1]
    time, steps = np.linspace(-1, 1, length), np.abs(np.diff(signal, axis=1))
    power = np.abs(np.fft.rfft(signal - signal.mean(1, keepdims=True), axis=1)[:, 1:]) ** 2 / length
    first = (edges * power.shape[1]).round().astype(int)
    bands = np.add.reduceat(power, first[:-1], axis=1) / np.diff(first)
    low, high = signal.min(1), signal.max(1)
    sizes = [signal.mean(1), signal.std(1), low, high, high - low, np.median(signal, 1)]
    sizes += [signal[:, 0], signal[:, -1], signal @ time / (time @ time), steps.mean(1)]
    sizes += [steps.max(1), np.sqrt((signal**2).mean(1))]
    return np.concatenate([np.arcsinh(sizes).ravel(), np.log(bands + 1e-9).ravel()])


def accuracy(*, arms: bool) -> str:
    """Return the table of accuracy in percent with 1 / 5 examples, by recordings and learner."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in _rows(arms):
        found.setdefault((row["data"], row["split"]), []).append(row)
    names = {row["learner"] for row in _rows(arms)}
    learners = sorted(names, key=lambda name: (name not in LEARNERS, name))
    cells = []
    for (data, split), rows in found.items():
        line = [f"{data}, {split} ({max(row['way'] for row in rows)} labels)"]
        for name in learners:
            own = [r for r in rows if r["learner"] == name and r["shots"] in REFERENCE_SHOTS]
            text = " / ".join(f"{100 * row['accuracy']:.1f}" for row in own)
            line.append(f"**{text}**" if own and own[0]["chosen"] else text)
        cells.append(line)
    return markdown_table(("recordings", *learners), cells) if cells else PENDING


def calibration(*, arms: bool) -> str:
    """Return the table of false alarms, calibration errors and noticed faults of the chosen."""
    cells = [
        [
            f"{row['data']}, {row['split']}",
            str(row["shots"]),
            "{:.1f} [{:.1f}, {:.1f}]".format(
                *(100 * np.array([row["accuracy"], *row["accuracy_ci"]]))
            ),
            f"{row['calibration_error']:.2f}",
            f"{100 * row['false_alarm']:.0f}",
            "" if row["noticed"] is None else f"{100 * row['noticed']:.0f}",
        ]
        for row in _rows(arms)
        if row["chosen"]
    ]
    headings = ("recordings", "examples", "accuracy %", "calibration error")
    headings += ("falsely like none %", "unknown faults noticed %")
    return markdown_table(headings, cells) if cells else PENDING


def _rows(arms: bool) -> list[dict[str, Any]]:
    return [row for row in read("diagnosis.json") or [] if (row["data"] == ARMS) == arms]


if __name__ == "__main__":
    sys.exit(main())
