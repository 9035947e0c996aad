"""Train all learners of faults, and measure them beside the references on the same tasks.

Needs ``pip install metarobot[diagnosis]``.  Rows are written as they are found, into
docs/results/diagnosis.json; what a file has already is not measured again.  ``--tuning`` measures
on the tuning splits instead, with a fifth of the faults held out of training, and writes elsewhere.

    python scripts/diagnosis.py --cache runs/recordings
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from commands import takes_options
from rows import read_rows, replace_rows
from torch import Tensor

from metarobot.diagnosis import HEALTHY
from metarobot.few_shot_diagnosis.classes import SEEN_CLASSES, FaultClass
from metarobot.few_shot_diagnosis.evaluation import (
    Measurement,
    Predict,
    Row,
    by_features,
    by_learner,
    draw_tasks,
    measure,
)
from metarobot.few_shot_diagnosis.features import (
    catch22_features,
    minirocket_features,
    standardised,
)
from metarobot.few_shot_diagnosis.learners import LEARNERS, NUM_UPDATES
from metarobot.few_shot_diagnosis.pool import Pool, PoolSpec, record_pool
from metarobot.few_shot_diagnosis.references import (
    NUM_JOINT_UPDATES,
    Fit,
    embeddings,
    from_scratch,
    joint_batch,
    joint_classifier,
    nearest_mean,
    nearest_neighbour,
    new_head,
    random_forest,
    ridge,
)
from metarobot.few_shot_diagnosis.signals import Scale, pool_residuals
from metarobot.few_shot_diagnosis.splits import (
    SPLITS,
    TRAIN_POOL,
    TUNING_CLASSES,
    TUNING_SPLITS,
    Split,
)
from metarobot.few_shot_diagnosis.tasks import TaskRows, TaskShape, TaskSource
from metarobot.few_shot_diagnosis.training import meta_train
from metarobot.files import write_json

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "docs/results/diagnosis.json"
TRAININGS = ROOT / "docs/results/diagnosis_training.json"
SHOTS = (1, 5)
MANY_SHOTS = 15
"""All machines on the side of the examples: how far a task can be learned at all."""
WITH_MANY_SHOTS = (*LEARNERS, "ridge_minirocket")
CURVE_POINTS = 20
SLOW = {"random_forest_catch22": 100, "from_scratch": 100}
"""References that take seconds a task, and how many of the tasks they are measured on."""
_EXAMPLES = 500
"""Recordings of the train pool whose features set the scale of all."""


@dataclass(frozen=True, kw_only=True)
class DiagnosisCommand:
    """Train and measure all learners of faults."""

    cache: Path = Path("runs/recordings")
    """Folder that keeps recordings."""
    threads: int = 0
    """Native threads; 0 takes all."""
    tasks: int = 600
    """Tasks of each split and each number of examples."""
    seed: int = 0
    """Of the trainings and the tasks."""
    tuning: Path | None = None
    """Measure on the tuning splits instead, and write into this folder."""
    only: tuple[str, ...] = ()
    """These learners and references; all if not given."""


class Bench:
    """Holds what is computed once: pools, inputs, features, trained learners."""

    def __init__(self, command: DiagnosisCommand) -> None:
        self.folder, self.threads, self.seed = command.cache, command.threads, command.seed
        self.trainings: list[dict[str, Any]] = []
        self.classes = TUNING_CLASSES if command.tuning else SEEN_CLASSES
        self.splits = TUNING_SPLITS if command.tuning else SPLITS
        self.inputs = cache(self._inputs)
        self.features = cache(self._features)
        self.learner = cache(self._learner)
        self.scale, self.examples = self._scale()

    def pool(self, spec: PoolSpec) -> Pool:
        """Return a pool of recordings, from the folder where it has been recorded."""
        return record_pool(spec, num_threads=self.threads, cache=self.folder)

    def predictors(self, split: Split) -> Iterator[tuple[str, Callable[[], Predict]]]:
        """Yield the name of each, and what trains it where needed and tells how it predicts."""
        for name in LEARNERS:
            yield name, lambda name=name: self._by_network(self.learner(name), split)
        fits: list[tuple[str, str, Fit]] = [
            ("fine_tuning", "pretrained", new_head),
            ("pretrained_nearest_mean", "pretrained", nearest_mean),
            ("nearest_neighbour_catch22", "catch22", nearest_neighbour),
            ("ridge_minirocket", "minirocket", ridge),
            ("random_forest_catch22", "catch22", random_forest),
        ]
        for name, kind, fit in fits:
            yield name, lambda kind=kind, fit=fit: self._by_features(kind, fit, split)
        yield "from_scratch", lambda: self._by_network(from_scratch(self.seed, 5), split)

    def _by_network(self, learner: Any, split: Split) -> Predict:
        return by_learner(learner, self.inputs(split.support), self.inputs(split.query))

    def _by_features(self, kind: str, fit: Fit, split: Split) -> Predict:
        own = [self.features(kind, spec) for spec in (split.support, split.query)]
        return by_features(fit, own[0], own[1])

    def _scale(self) -> tuple[Scale, np.ndarray]:
        """Return the scale of healthy machines, and some residuals of machines to train on."""
        pool = self.pool(TRAIN_POOL)
        residual = pool_residuals(pool)
        chosen = np.random.default_rng(self.seed).permutation(len(residual))[:_EXAMPLES]
        return Scale.of(residual[pool.recordings.fault == HEALTHY]), residual[chosen]

    def _inputs(self, spec: PoolSpec) -> Tensor:
        return torch.from_numpy(self.scale.inputs(pool_residuals(self.pool(spec))))

    def _features(self, kind: str, spec: PoolSpec) -> np.ndarray:
        if kind == "pretrained":
            own = [embeddings(self.learner(kind), self.inputs(pool)) for pool in (spec, TRAIN_POOL)]
            return standardised(own[0], own[1])
        examples, residual = self.examples, pool_residuals(self.pool(spec))
        if kind == "catch22":
            own = [catch22_features(part, self.scale) for part in (residual, examples)]
        else:
            both = np.concatenate([residual, examples])
            found = minirocket_features(both, examples, self.scale, self.seed)
            own = [found[: len(residual)], found[len(residual) :]]
        return standardised(own[0], own[1])

    def _learner(self, name: str) -> Any:
        started = time.process_time()
        inputs = self.inputs(TRAIN_POOL)
        if name == "pretrained":
            found, losses = self._train_jointly(inputs)
        else:
            found = LEARNERS[name](self.seed, 5)
            source = TaskSource(TRAIN_POOL, TRAIN_POOL, self.classes, TaskShape(shots=1))
            losses = meta_train(found, source, inputs, NUM_UPDATES[name])
        self._note(name, losses, time.process_time() - started)
        return found

    def _train_jointly(self, inputs: Tensor) -> tuple[Any, list[float]]:
        label = np.tile(
            [_place(own, self.classes) for own in SEEN_CLASSES], TRAIN_POOL.num_machines
        )
        rows = np.flatnonzero(label >= 0)
        own, targets = inputs[torch.from_numpy(rows)], torch.from_numpy(label[rows])
        joint = joint_classifier(self.seed, len(self.classes))
        losses = joint.fit(lambda rng: joint_batch(rng, own, targets), NUM_JOINT_UPDATES)
        return joint, losses

    def _note(self, name: str, losses: list[float], seconds: float) -> None:
        """Keep what a training cost, and a curve of few points."""
        blocks = np.array_split(np.array(losses), min(CURVE_POINTS, len(losses)))
        self.trainings.append(
            {
                "learner": name,
                "seed": self.seed,
                "updates": len(losses),
                "processor_s": round(seconds, 1),
                "loss_curve": [round(float(block.mean()), 4) for block in blocks],
            }
        )


def _place(own: FaultClass, classes: tuple[FaultClass, ...]) -> int:
    return classes.index(own) if own in classes else -1


def shots_of(name: str, split: Split) -> tuple[int, ...]:
    """Return how many examples of a class a learner is measured with."""
    enough = split.support.num_machines // 2 >= MANY_SHOTS
    return (*SHOTS, MANY_SHOTS) if name in WITH_MANY_SHOTS and enough else SHOTS


@takes_options(DiagnosisCommand, "diagnosis.py")
def main(command: DiagnosisCommand) -> None:
    """Measure what the file of rows lacks, row by row."""
    torch.set_num_threads(1)
    bench = Bench(command)
    rows_at, trainings_at = ROWS, TRAININGS
    if command.tuning:
        command.tuning.mkdir(parents=True, exist_ok=True)
        rows_at, trainings_at = command.tuning / ROWS.name, command.tuning / TRAININGS.name
    what = Measurement(num_tasks=command.tasks, seed=command.seed)
    rows = read_rows(rows_at)
    done = {(row["split"], row["shots"], row["learner"]) for row in rows}
    names = [name for name, _ in bench.predictors(next(iter(bench.splits.values())))]
    for name in [own for own in names if not command.only or own in command.only]:
        for split_name, split in bench.splits.items():
            predictor = dict(bench.predictors(split))[name]
            for shots in shots_of(name, split):
                if (split_name, shots, name) in done:
                    continue
                # Every learner is trained with one example of a class, and serves any number.
                tasks = draw_tasks(split, shots, what)
                tasks = TaskRows(*(column[: SLOW.get(name)] for column in tasks))
                row: Row = measure(name, predictor(), split_name, tasks)
                rows.append({**row._asdict(), "tasks": len(tasks.label), "seed": bench.seed})
                print(f"{split_name:34} {shots} {name:26} {row.accuracy:.3f}", flush=True)
                write_json(rows_at, rows)
        if bench.trainings:
            replace_rows(trainings_at, bench.trainings, ("learner",))


if __name__ == "__main__":
    sys.exit(main())
