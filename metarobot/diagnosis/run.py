"""Trains, saves and uses a diagnosis: the learner that is best on held-out machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd
from scipy.special import softmax

from metarobot.diagnosis.evaluate import (
    Calibration,
    Condition,
    Measured,
    Space,
    calibrate,
    cross_validate,
    figures,
    machine_temperature,
)
from metarobot.diagnosis.features import FeatureMap, Kernels, part_baseline, read_data
from metarobot.diagnosis.learners import LEARNERS, Learner, Whitening, candidates
from metarobot.diagnosis.recordings import Channel, Recordings
from metarobot.diagnosis.run_folder import CONFIG_FILE, read_run, write_run
from metarobot.diagnosis.tasks import Data, Task, draw_tasks
from metarobot.envs import nearest_name
from metarobot.io import Folder

TENSORS_FILE = "diagnosis.safetensors"
TRAINED_FOLDER = Path(__file__).parent / "trained"
"""Diagnoses that come with the package, by name."""
NUM_TASKS = 60
"""Tasks for each condition by which learners are compared."""


class DiagnosisError(ValueError):
    """A diagnosis cannot be trained, read or used; the message is one line."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the comparison: one learner under one condition."""

    shots: int
    known: bool
    """Whether the labels were known from training."""
    learner: str
    accuracy: float
    accuracy_ci: tuple[float, float]
    tasks: int


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The learner that was chosen for labels that are known from training, or for new ones."""

    known: bool
    learner: str
    calibration: dict[str, Calibration]
    """By the number of examples of each label."""

    def calibration_for(self, shots: int) -> Calibration:
        """Return the calibration for the next lower number of examples that was measured."""
        counts = sorted(map(int, self.calibration))
        return self.calibration[str(max((n for n in counts if n <= shots), default=counts[0]))]


class DiagnosisConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Configuration of a diagnosis: its data, its learners and their comparison."""

    channels: tuple[tuple[str, str], ...]
    """Names and units."""
    rate_hz: float
    baseline: str = ""
    """Label of the recordings that are the baseline of their machine; empty for none."""
    labels: tuple[str, ...]
    machines: tuple[str, ...]
    num_recordings: int
    way: int
    seed: int
    learners: tuple[str, ...]
    """Learners that were compared."""
    chosen: tuple[Chosen, ...]
    rows: tuple[Row, ...]
    held_out: tuple[str, ...] = ()
    """Names of the recordings that training did not see."""
    folder: str = ""
    """Folder of the recordings; empty where they were simulated."""
    window_s: float | None = None
    """Arguments of `read_recordings` by which they were read."""
    resample_hz: float | None = None
    fill_missing: bool = False
    drop_duplicates: bool = False
    ignore_labels: tuple[str, ...] = ()


class Finding(NamedTuple):
    """Diagnosis of one recording."""

    name: str
    """Its file."""
    label: str
    """The likeliest label."""
    probabilities: dict[str, float]
    """Probability of each label, given that the recording shows one of them."""
    looks_like_none: bool
    """Whether it lies farther from all labels than all but 5 % of recordings with one."""

    @property
    def probability(self) -> float:
        """Probability of the likeliest label."""
        return self.probabilities[self.label]


@dataclass(frozen=True)
class Diagnosis:
    """A trained diagnosis."""

    config: DiagnosisConfig
    feature_map: FeatureMap
    kernels: Kernels | None
    space: Space
    learners: tuple[Learner, ...]
    """Fitted, one for each of `config.chosen`."""

    def read(self, recordings: Recordings, baselines: Recordings | None) -> Data:
        """Return the inputs of learners for recordings.

        Raises:
            DiagnosisError: They have other channels or another rate than those of training.
        """
        channels = tuple(Channel(*pair) for pair in self.config.channels)
        if recordings.channels != channels:
            odd = sorted(map(str, {*recordings.channels} ^ {*channels}))[:3]
            raise DiagnosisError(
                "the recordings have other channels than those of training: "
                + (", ".join(odd) or "their order")
            )
        rate_hz = self.config.rate_hz
        if abs(recordings.rate_hz / rate_hz - 1.0) > 0.01:
            raise DiagnosisError(
                f"the recordings have {recordings.rate_hz:g} samples a second, those of training "
                f"{rate_hz:g}: resample them with --resample-hz {rate_hz:g}"
            )
        return read_data(recordings, baselines, self.feature_map, self.kernels)

    def choose(self, labels: Sequence[str]) -> tuple[Chosen, Learner]:
        """Return the learner for examples with these labels."""
        known = {*labels} <= {*self.config.labels}
        pairs = zip(self.config.chosen, self.learners, strict=True)
        return max(pairs, key=lambda pair: pair[0].known == known)

    def predict(self, examples: Recordings, recordings: Recordings) -> list[Finding]:
        """Diagnose each recording by the examples of the same machine.

        Args:
            examples: Labelled recordings of one machine; any labels, two at least.
            recordings: Recordings to be diagnosed.

        Raises:
            DiagnosisError: They do not fit the training, or are too few.
        """
        baselines = None
        if self.config.baseline:
            examples, baselines = part_baseline(examples, self.config.baseline)
            baselines = _of_one_machine(baselines)
        if len(examples.labels) < 2:
            raise DiagnosisError(
                f"examples need two labels at least, got {', '.join(examples.labels) or 'none'}: "
                "name a folder with examples of each fault"
            )
        known, queries = (
            self.read(_of_one_machine(each), baselines) for each in (examples, recordings)
        )
        chosen, learner = self.choose(examples.labels)
        files: Any = pd.Series(known.group).groupby(known.label).nunique()
        calibration = chosen.calibration_for(int(files.min()))
        temperature = machine_temperature(learner, known, calibration.temperature)
        scores = learner.scores(known, queries) / temperature
        distances = self.space.distances(Task(known, queries))
        names = list(dict.fromkeys(queries.group.tolist()))
        rows = [queries.group == name for name in names]  # windows of a file are one recording
        means = np.array([distances.queries[own].mean(0) for own in rows])
        odd = calibration.looks_like_none(distances._replace(queries=means))
        labels = known.labels.tolist()
        found = []
        for name, own, is_odd in zip(names, rows, odd, strict=True):
            likely = softmax(scores[own].mean(0))
            shares = dict(zip(labels, likely.tolist(), strict=True))
            found.append(Finding(name, labels[likely.argmax()], shares, bool(is_odd)))
        return found

    def evaluate(
        self, held_out: Recordings, *, num_tasks: int = 200, seed: int = 0
    ) -> list[dict[str, Any]]:
        """Measure the chosen learners on recordings that training did not see.

        Args:
            held_out: Labelled recordings; labels known from training and new ones are measured
                separately.
            num_tasks: Tasks for each number of examples.
            seed: Of the tasks.

        Returns:
            A row for each number of examples: whether its labels are known from training, way,
            shots, learner, accuracy and its 95 % interval over tasks, calibration error, rates of
            false alarms and of noticed unknown faults, reliability (mean probability, share right,
            answers) and confusion (true label, label that was found, answers).

        Raises:
            DiagnosisError: They do not fit the training, or are too few.
        """
        baselines = None
        if self.config.baseline:
            held_out, baselines = part_baseline(held_out, self.config.baseline)
        data = self.read(held_out, baselines)
        is_known = np.isin(data.label, self.config.labels)
        rows = []
        for known in (True, False):
            part = data.rows(is_known == known)
            chosen, _ = self.choose(part.labels.tolist())
            counts = sorted(int(key) for key in chosen.calibration)
            found = self.figures(part, counts, self.config.way, num_tasks, seed)
            rows += [{"known": known, **row} for row in found]
        if not rows:
            raise DiagnosisError(
                "too few recordings to evaluate: two labels need two recordings each, on one "
                "machine or on two"
            )
        return rows

    def figures(
        self, data: Data, counts: Sequence[int], way: int, num_tasks: int, seed: int
    ) -> list[dict[str, Any]]:
        """Measure the learner for the labels of data on tasks of it.

        Args:
            data: Labelled recordings, as read.
            counts: Numbers of examples; those for which there are too few recordings are left out.
            way: Labels of a task, at most.
            num_tasks: Tasks for each number of examples.
            seed: Of the tasks.

        Returns:
            A row for each number of examples: way, shots, learner and the figures.
        """
        chosen, learner = self.choose(data.labels.tolist())
        rows = []
        for shots in counts:
            if tasks := draw_tasks(data, shots, way, num_tasks, seed):
                own = figures(learner, self.space, chosen.calibration_for(shots), tasks)
                widest = max(len(task.examples.labels) for task in tasks)
                rows.append({"way": widest, "shots": shots, "learner": chosen.learner} | own)
        return rows

    def save(self, path: Path) -> None:
        """Write the run folder.

        Raises:
            OSError: It cannot be written to.
        """
        whitening, discriminants = self.space
        parts: dict[str, Any] = {"features": vars(self.feature_map)}
        parts["space"] = {**whitening._asdict(), "discriminants": discriminants}
        if self.kernels and any(learner.name == "minirocket" for learner in self.learners):
            parts["kernels"] = self.kernels.arrays
        for place, learner in enumerate(self.learners):
            parts[f"learner{place}"] = learner.arrays
        write_run(path, self.config, TENSORS_FILE, parts)


def hold_out(
    recordings: Recordings, machines: Sequence[str] = (), labels: Sequence[str] = ()
) -> tuple[Recordings, Recordings]:
    """Return recordings to train on, and those that are held out to evaluate on.

    Args:
        recordings: Labelled recordings.
        machines: Machines that are held out.
        labels: Labels that are held out on all machines, or on these; two at least.  If nothing is
            named, the last machine is held out that has two labels with two recordings each; where
            there is one machine only, the last third of the recordings of each label.

    Raises:
        DiagnosisError: There is no such machine or label, or nothing is left.
    """
    for kind, names in (("machine", machines), ("label", labels)):
        there = getattr(recordings, f"{kind}s")
        for name in names:
            if name not in there:
                known = f"allowed: {', '.join(there[:10])}{nearest_name(name, there)}"
                raise DiagnosisError(f"no {kind} {name!r}, {known}")
    if len(labels) == 1:
        raise DiagnosisError(f"one label, {labels[0]!r}, is no task: hold out two at least")
    pairs = ((recordings.machine, machines), (recordings.label, labels))
    named = [np.isin(column, names) for column, names in pairs if names]
    named = named or [_last_machine(recordings)]
    held, trained = np.all(named, axis=0), ~np.any(named, axis=0)
    if not trained.any() or not held.any():
        raise DiagnosisError("nothing is left to train on, or to hold out: name fewer of them")
    return recordings.rows(trained), recordings.rows(held)


def held_out_of(recordings: Recordings, config: DiagnosisConfig) -> Recordings:
    """Return the recordings held out of a training, with the baselines of their machines.

    Args:
        recordings: All recordings of the training, read in the same way.
        config: Configuration of the training.

    Raises:
        DiagnosisError: Nothing was held out, or it is not there.
    """
    if not config.held_out:
        raise DiagnosisError("nothing was held out of this training: there were too few recordings")
    missing = sorted({*config.held_out} - {*recordings.name.tolist()})
    if missing:
        raise DiagnosisError(
            f"{missing[0]} was held out of this training, and is not there: name the folder that "
            "it was trained on"
        )
    held = recordings.rows(np.isin(recordings.name, config.held_out))
    for machine in held.machines if config.baseline else ():
        if config.baseline not in held.label[held.machine == machine]:
            own = recordings.rows(recordings.machine == machine)
            held = held.joined(part_baseline(own, config.baseline)[1])
    return held


def _last_machine(recordings: Recordings) -> np.ndarray:
    """Return the mask of recordings that are held out by default, (R,) bool."""
    if len(recordings.machines) > 1:
        columns = {name: getattr(recordings, name) for name in ("machine", "label", "name")}
        files: Any = pd.DataFrame(columns).groupby(["machine", "label"])["name"].nunique()
        num_labels = (files > 1).groupby("machine").sum()
        usable = num_labels.index[num_labels > 1].tolist()
        return recordings.machine == (usable or recordings.machines)[-1]
    held = np.zeros(len(recordings), bool)
    for label in recordings.labels:
        rows = np.flatnonzero(recordings.label == label)
        names = list(dict.fromkeys(recordings.name[rows].tolist()))
        held[rows] = np.isin(recordings.name[rows], names[len(names) - len(names) // 3 :])
    return held


def train(
    recordings: Recordings,
    *,
    learners: Sequence[str] = LEARNERS,
    baseline: str = "",
    way: int = 5,
    seed: int = 0,
    num_tasks: int = NUM_TASKS,
    watch: Callable[[float], None] = lambda share: None,
    **facts: Any,
) -> Diagnosis:
    """Compare learners by cross-validation over machines, and train the best.

    Args:
        recordings: Labelled recordings of one machine or several.
        learners: Names of those that are compared; minirocket needs aeon and is left out without.
        baseline: Label of recordings from which the others of their machine are to differ.
        way: Labels of a task, at most.
        seed: Seed of tasks and networks.
        num_tasks: Tasks for each condition.
        watch: Called with the share that is done.
        facts: Further fields of the configuration.

    Raises:
        DiagnosisError: There are too few recordings.
        RecordingsError: A machine lacks the baseline.
    """
    rest, baselines = part_baseline(recordings, baseline) if baseline else (recordings, None)
    if len(rest) < 2:
        raise DiagnosisError("there are too few recordings: two labels need two recordings each")
    feature_map = FeatureMap.fit(rest, baselines)
    kernels = Kernels.fit(rest, seed) if "minirocket" in learners else None
    data = read_data(rest, baselines, feature_map, kernels)
    names = tuple(name for name in learners if name != "minirocket" or kernels)
    if not names:
        raise DiagnosisError(
            "minirocket needs aeon: pip install 'metarobot[diagnosis]', or take another learner"
        )
    compared = candidates(names, way, seed)
    measured = cross_validate(data, compared, way=way, num_tasks=num_tasks, seed=seed, watch=watch)
    if not measured:
        raise DiagnosisError(
            "too few recordings to compare learners: two labels need four recordings each on one "
            "machine, or two recordings each on two machines"
        )
    chosen, fitted = [], []
    for known in (True, False):
        own = {c.shots: each for c, each in measured.items() if c.known == known}
        if own:  # the best on average over the numbers of examples
            mean = np.mean([each.accuracies() for each in own.values()], axis=0)
            place = int(np.nanargmax(mean))
            kept = {str(shots): calibrate(each, place) for shots, each in own.items()}
            title = compared[place].title
            chosen.append(Chosen(known=known, learner=title, calibration=kept))
            fitted.append(compared[place].fit(data))
    config = DiagnosisConfig(
        channels=tuple((channel.name, channel.unit) for channel in recordings.channels),
        rate_hz=float(recordings.rate_hz),
        baseline=baseline,
        labels=tuple(data.labels.tolist()),
        machines=recordings.machines,
        num_recordings=len(recordings),
        way=way,
        seed=seed,
        learners=names,
        chosen=tuple(chosen),
        rows=tuple(_rows(measured, compared)),
        **facts,
    )
    return Diagnosis(config, feature_map, kernels, Space.fit(data), tuple(fitted))


def _rows(measured: Mapping[Condition, Measured], learners: Sequence[Learner]) -> Iterator[Row]:
    for condition, own in measured.items():
        for learner, answers in zip(learners, own.answers, strict=True):
            if answers:
                scores = np.array([each.accuracy for each in answers])
                mean, half = scores.mean(), 1.96 * scores.std() / len(scores) ** 0.5
                accuracy, *ends = (round(float(x), 4) for x in (mean, mean - half, mean + half))
                yield Row(
                    **condition._asdict(),
                    learner=learner.title,
                    accuracy=accuracy,
                    accuracy_ci=(ends[0], ends[1]),
                    tasks=len(scores),
                )


def load_diagnosis(path: Path) -> Diagnosis:
    """Read a run.

    Args:
        path: Its folder, or the name of a diagnosis that comes with the package.

    Raises:
        DiagnosisError: It is no diagnosis, or damaged.
        OSError: It cannot be read.
    """
    is_name = not path.exists() and str(path) in trained_names()
    folder = Folder.named(TRAINED_FOLDER / path if is_name else path)
    if not folder.exists() or not folder.has(CONFIG_FILE):
        raise DiagnosisError(
            f"{path} holds no {CONFIG_FILE}: `metarobot diagnose train --out {path}` makes a run"
            + nearest_name(str(path), trained_names())
        )
    try:
        return read_run(folder.path, DiagnosisConfig, TENSORS_FILE, _restored)
    except ValueError as error:
        raise DiagnosisError(f"{path} is no diagnosis, or damaged: {error}") from error


def trained_names() -> tuple[str, ...]:
    """Return the names of the diagnoses that come with the package."""
    return tuple(sorted(path.parent.name for path in TRAINED_FOLDER.glob(f"*/{CONFIG_FILE}")))


def _restored(config: DiagnosisConfig, parts: Mapping[str, dict[str, np.ndarray]]) -> Diagnosis:
    """Build a diagnosis of its arrays, and test that they fit."""
    by_title = {own.title: own for own in candidates(config.learners, config.way, config.seed)}
    learners = [
        replace(by_title[own.learner], known=config.labels, arrays=parts.get(f"learner{place}", {}))
        for place, own in enumerate(config.chosen)
    ]
    if not learners or not all(own.calibration for own in config.chosen):
        raise ValueError("it holds no learner, or one that is not calibrated")
    feature_map, space = FeatureMap(**parts["features"]), {**parts["space"]}
    if feature_map.scale.shape != (len(config.channels),):
        raise ValueError(f"its features are not of {len(config.channels)} channels")
    discriminants = space.pop("discriminants")
    found = Diagnosis(
        config=config,
        feature_map=feature_map,
        kernels=Kernels(parts["kernels"]) if "kernels" in parts else None,
        space=Space(Whitening(**space), discriminants),
        learners=tuple(learners),
    )
    signals = np.random.default_rng(0).normal(size=(4, len(config.channels), 64))
    channels = tuple(Channel(*pair) for pair in config.channels)
    label, names = np.resize([*config.labels, "other"], 4), np.array(list("1234"))
    trial = Recordings(tuple(signals), config.rate_hz, channels, label, np.full(4, ""), names)
    data = found.read(trial, trial if config.baseline else None)
    answers = [found.space.distances(Task(data, data)).queries]
    answers += [learner.scores(data, data) for learner in learners]
    if not all(np.isfinite(own).all() for own in answers):
        raise ValueError("its numbers are too large")
    return found


def _of_one_machine(recordings: Recordings) -> Recordings:
    return replace(recordings, machine=np.full(len(recordings), ""))
