"""Train learners of what has changed on a robot from its trial episodes, and measure all.

Trial episodes are those of the shipped policies of Reach and Grip.  Rows are written as they are
found, into docs/results/diagnosis_episodes.json; what the file has already is not measured again.
``--tuning`` measures on other robots of the training range instead, and writes elsewhere.

    python scripts/episode_diagnosis.py --cache runs/trials
    python scripts/episode_diagnosis.py --cache runs/trials --recognise
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from commands import check_names, takes_options
from rows import read_rows, replace_rows
from torch import Tensor

import metarobot as mr
from metarobot.change_diagnosis.changes import changes_of, classes
from metarobot.change_diagnosis.learners import (
    NUM_JOINT_UPDATES,
    NUM_UPDATES,
    TASKS_PER_UPDATE,
    joint_classifier,
    joint_embeddings,
    make_learner,
)
from metarobot.change_diagnosis.recogniser import LEARNER, Recogniser, trained_file
from metarobot.change_diagnosis.signals import episode_signals, signal_size, summary_features
from metarobot.change_diagnosis.trials import Trials
from metarobot.few_shot import Learner
from metarobot.few_shot_diagnosis import PoolSpec, Split, TaskShape, TaskSource, few_shot_tasks
from metarobot.few_shot_diagnosis.evaluation import (
    Measurement,
    Predict,
    by_features,
    by_learner,
    draw_tasks,
    measure,
)
from metarobot.few_shot_diagnosis.features import standardised
from metarobot.few_shot_diagnosis.references import joint_batch, nearest_mean, nearest_neighbour
from metarobot.files import write_json
from metarobot.tensor_files import load_tensors, save_tensors

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "docs/results/diagnosis_episodes.json"
RECOGNISED = ROOT / "docs/results/recognised_changes.json"
FAMILIES = {"reach": "Reach episodes", "grip": "Grip episodes"}
SHOTS = (1, 5)
TRAIN_ROBOTS, TEST_ROBOTS, TUNING_ROBOTS = 200, 30, 24
TUNING_SEED = 100
RECOGNISED_SEED = 7
"""Of the robots that are recognised: none of the simulated examples has it."""


@dataclass(frozen=True, kw_only=True)
class EpisodeDiagnosisCommand:
    """Train and measure learners of changes."""

    families: tuple[str, ...] = tuple(FAMILIES)
    """Families whose policies make the trials."""
    cache: Path = Path("runs/trials")
    """Folder that keeps trials."""
    tasks: int = 600
    """Tasks of each split and each number of examples."""
    seed: int = 0
    """Of the trainings and the tasks."""
    tuning: Path | None = None
    """Measure on the tuning robots instead, and write into this folder."""
    only: tuple[str, ...] = ()
    """These learners and references; all if not given."""
    ship: bool = False
    """Write the package's own learners as well."""
    recognise: bool = False
    """Let the package's own learners name changes instead."""
    episodes: tuple[int, ...] = (1, 5)
    """Numbers of episodes to recognise a change by."""
    robots: int = 30
    """Robots to be recognised."""

    def __post_init__(self) -> None:
        """Check the families."""
        check_names("family", self.families, FAMILIES)


class Bench:
    """Holds what is computed once for one family: trials, trained learners."""

    def __init__(self, family: str, command: EpisodeDiagnosisCommand) -> None:
        self.family, self.folder, self.seed = family, command.cache, command.seed
        self.policy = mr.load(family)["latent"]
        changes = changes_of(self.policy.config.env_id)
        seen = classes(tuple(own for own in changes if not own.held_out))
        held_out = classes(tuple(own for own in changes if own.held_out))
        self.train = PoolSpec(machines="train", num_machines=TRAIN_ROBOTS, classes=seen)
        test = PoolSpec(machines="test", num_machines=TEST_ROBOTS, classes=classes(changes))
        self.splits = {
            "unseen robots, seen changes": Split(test, test, seen),
            "unseen robots, unseen changes": Split(test, test, held_out),
        }
        if command.tuning:
            own = PoolSpec(
                machines="train", num_machines=TUNING_ROBOTS, classes=seen, seed=TUNING_SEED
            )
            self.splits = {"tuning robots, seen changes": Split(own, own, seen)}
        self.signals, self.learner = cache(self._signals), cache(self._learner)

    def predictors(self, split: Split) -> dict[str, Callable[[], Predict]]:
        """Return what trains each where needed and tells how it predicts, by name."""
        found: dict[str, Callable[[], Predict]] = {
            name: lambda name=name: self._by_network(name, split) for name in NUM_UPDATES
        }
        found["pretrained_nearest_mean"] = lambda: self._by_pretrained(split)
        found["nearest_neighbour_summary"] = lambda: self._by_summary(split)
        return found

    def _by_network(self, name: str, split: Split) -> Predict:
        return by_learner(
            self.learner(name), self.signals(split.support), self.signals(split.query)
        )

    def _by_summary(self, split: Split) -> Predict:
        examples = summary_features(self.signals(self.train)).numpy()
        own = standardised(summary_features(self.signals(split.support)).numpy(), examples)
        return by_features(nearest_neighbour, own, own)

    def _by_pretrained(self, split: Split) -> Predict:
        joint, signals = self._train_jointly(), self.signals(self.train)
        examples = joint_embeddings(joint, signals)
        own = standardised(joint_embeddings(joint, self.signals(split.support)), examples)
        return by_features(nearest_mean, own, own)

    def _signals(self, spec: PoolSpec) -> Tensor:
        """Return what a network sees of a pool, (R C, T, F), from the folder where it is there."""
        path = self.folder / f"{self.family}-{spec.machines}-{spec.seed}-{spec.num_machines}"
        path = path.with_suffix(".safetensors")
        interface = self.policy.interface
        if not path.exists():
            changes = {own.name: own for own in changes_of(self.policy.config.env_id)}
            chosen = tuple(changes[own.fault] for own in spec.classes)
            split = "train" if spec.machines == "train" else "interpolation"
            trials = Trials(
                self.policy, num_robots=spec.num_machines, split=split, seed=spec.seed
            ).run(chosen)
            signals = episode_signals(trials, interface)[:, 0].contiguous()
            save_tensors(path, {"signals": signals}, {})
        size = len(spec.classes) * spec.num_machines
        shape = (size, interface.horizon, signal_size(interface))
        return load_tensors(path, {"signals": shape})[0]["signals"]

    def _learner(self, name: str) -> Learner[Any]:
        signals = self.signals(self.train)
        learner = make_learner(name, self.seed, signals.shape[-1])
        source = TaskSource(self.train, self.train, self.train.classes, TaskShape(shots=1))
        learner.fit(
            lambda rng: few_shot_tasks(source.draw(rng, TASKS_PER_UPDATE), signals, signals),
            NUM_UPDATES[name],
        )
        return learner

    @cache  # noqa: B019  one bench a family
    def _train_jointly(self) -> Any:
        signals, count = self.signals(self.train), len(self.train.classes)
        joint = joint_classifier(self.seed, signals.shape[-1], count)
        label = torch.arange(count).repeat(TRAIN_ROBOTS)
        joint.fit(lambda rng: joint_batch(rng, signals, label), NUM_JOINT_UPDATES)
        return joint


def measure_all(bench: Bench, command: EpisodeDiagnosisCommand) -> None:
    """Measure what the file of rows lacks of one family, row by row."""
    rows_at = command.tuning / ROWS.name if command.tuning else ROWS
    rows_at.parent.mkdir(parents=True, exist_ok=True)
    what = Measurement(num_tasks=command.tasks, seed=command.seed)
    rows, task = read_rows(rows_at), FAMILIES[bench.family]
    done = {(row["task"], row["split"], row["shots"], row["learner"]) for row in rows}
    for split_name, split in bench.splits.items():
        for name, predictor in bench.predictors(split).items():
            if command.only and name not in command.only:
                continue
            for shots in SHOTS:
                if (task, split_name, shots, name) in done:
                    continue
                row = measure(name, predictor(), split_name, draw_tasks(split, shots, what))
                own = {**row._asdict(), "task": task, "tasks": what.num_tasks, "seed": bench.seed}
                rows.append(own)
                print(f"{task:15} {split_name:30} {shots} {name:26} {row.accuracy:.3f}", flush=True)
                write_json(rows_at, rows)


def ship(bench: Bench) -> None:
    """Write the learner that comes with the package."""
    path = trained_file(bench.policy.config.env_id)
    path.parent.mkdir(exist_ok=True)
    bench.learner(LEARNER).save(path)


def recognise(bench: Bench, num_episodes: int, num_robots: int) -> list[dict[str, Any]]:
    """Let the package say what has changed on robots in the gaps, change by change."""
    changes = changes_of(bench.policy.config.env_id)
    recogniser = Recogniser(bench.policy, num_episodes=num_episodes)
    robots = Trials(
        bench.policy,
        num_robots=num_robots,
        split="interpolation",
        seed=RECOGNISED_SEED,
        num_episodes=num_episodes,
    )
    answers = recogniser.judge(robots.run(changes))
    rows = []
    for place, change in enumerate(changes):
        own = answers[place :: len(changes)]
        rows.append(
            {
                "task": FAMILIES[bench.family],
                "episodes": num_episodes,
                "change": change.name,
                "robots": num_robots,
                "called_changed": _share([each.is_changed or not each.is_known for each in own]),
                "named": _share([each.best == change.name for each in own]),
                "like_none": _share([not each.is_known for each in own]),
                "mean_probability": round(
                    float(np.mean([each.probabilities[place] for each in own])), 3
                ),
            }
        )
        print(rows[-1], flush=True)
    return rows


def _share(values: list[bool]) -> float:
    return round(float(np.mean(values)), 3)


@takes_options(EpisodeDiagnosisCommand, "episode_diagnosis.py")
def main(command: EpisodeDiagnosisCommand) -> None:
    """Measure, ship or recognise, family by family."""
    torch.set_num_threads(1)
    command.cache.mkdir(parents=True, exist_ok=True)
    for family in command.families:
        started = time.process_time()
        bench = Bench(family, command)
        if command.recognise:
            for number in command.episodes:
                rows = recognise(bench, number, command.robots)
                replace_rows(RECOGNISED, rows, ("task", "episodes"))
        else:
            measure_all(bench, command)
            if command.ship:
                ship(bench)
        print(f"{family}: {time.process_time() - started:.0f} s of processor time", flush=True)


if __name__ == "__main__":
    sys.exit(main())
