"""Says what recordings of a machine show, given a few labelled ones of the same machine."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from metarobot.default_dtype import float32_by_default
from metarobot.diagnosis.own_data import (
    OwnDataError,
    OwnRecordings,
    read_recordings,
    read_unlabelled,
)
from metarobot.diagnosis_runs.adapted import AdaptedTasks, Thresholds
from metarobot.diagnosis_runs.run_folder import DiagnosisRun, load_run
from metarobot.diagnosis_runs.sights import Healthy
from metarobot.diagnosis_runs.whole_recordings import require_windows, whole_recordings
from metarobot.few_shot import Examples


class Prediction(NamedTuple):
    """What one recording shows."""

    file: str
    label: str
    """The most likely class."""
    probability: float
    """Its probability, if it is one of the classes."""
    looks_like_none: bool
    """Whether the recording is farther from all classes than recordings of known classes are."""
    strangeness: float
    """How far it is from the nearest class, over the distance from which on that is said."""
    probabilities: dict[str, float]
    """Of every class."""


class PlantModel(NamedTuple):
    """A learner that knows the examples of a machine."""

    run: DiagnosisRun
    adapted: AdaptedTasks
    classes: tuple[str, ...]
    healthy: Healthy
    windows: int
    strange_from: Thresholds

    def inputs(self, recordings: OwnRecordings) -> torch.Tensor:
        """Return what the network sees of recordings, (R, ...)."""
        return self.run.sight.inputs(recordings, self.windows, self.healthy)

    def predict(self, recordings: OwnRecordings) -> list[Prediction]:
        """Diagnose recordings, a row each."""
        inputs = self.inputs(recordings)[None]
        shares = self.adapted.probabilities(inputs)[0].numpy()
        strangeness = self.adapted.strangeness_over(inputs, self.strange_from)[0].numpy()
        return [
            Prediction(
                str(file),
                self.classes[int(own.argmax())],
                float(own.max()),
                bool(strange > 1),
                float(strange),
                dict(zip(self.classes, map(float, own), strict=True)),
            )
            for file, own, strange in zip(recordings.file, shares, strangeness, strict=True)
        ]


def adapt_to(run: DiagnosisRun, examples: OwnRecordings, windows: int) -> PlantModel:
    """Learn the classes of a machine from examples, a row each.

    Raises:
        OwnDataError: There are more labels than the learner tells apart, or no healthy examples
            where they are needed.
    """
    classes = examples.labels
    if run.config.learner != "prototypes" and len(classes) > run.config.way:
        raise OwnDataError(
            f"the learner tells {run.config.way} labels apart, the examples have {len(classes)}: "
            "train one with --learner prototypes, which tells any number apart"
        )
    healthy = Healthy.of(examples)
    inputs = run.sight.inputs(examples, windows, healthy)
    targets = torch.from_numpy(np.searchsorted(np.array(classes), examples.label))
    adapted = run.adapter.adapt(Examples(inputs[None], targets[None]))
    fewest = min(int((examples.label == label).sum()) for label in classes)
    return PlantModel(run, adapted, classes, healthy, windows, run.config.strange_from(fewest))


def predict_folder(
    run: DiagnosisRun, examples: Path, recordings: Path, machine: str | None = None
) -> tuple[PlantModel, list[Prediction]]:
    """Adapt to a folder of examples, and diagnose a folder of recordings without labels.

    Args:
        run: The trained learner.
        examples: Folder with labels.csv.
        recordings: Folder of recordings of the same machine.
        machine: Machine of the examples that the recordings are of, if there are several.

    Raises:
        OwnDataError: A folder is not what it must be, or does not fit the learner.
    """
    window_s = run.config.signal.window_s
    known = run.config.signal.fitting(read_recordings(examples, window_s=window_s), examples)
    known = _of_machine(known, machine, examples)
    asked = run.config.signal.fitting(read_unlabelled(recordings, window_s=window_s), recordings)
    windows = run.config.windows
    require_windows(known, windows, window_s)
    require_windows(asked, windows, window_s)
    model = adapt_to(run, whole_recordings(known, windows), windows)
    name = known.machines[0]
    return model, model.predict(_named(whole_recordings(asked, windows), name))


@float32_by_default()
def diagnose(
    run: str | Path, examples: str | Path, recordings: str | Path, machine: str | None = None
) -> list[Prediction]:
    """Say what recordings of a machine show, given a few labelled ones of it.

    Example::

        from metarobot.diagnosis_runs import diagnose

        for found in diagnose("arm", examples="known", recordings="new"):
            print(found.file, found.label, found.probability, found.looks_like_none)

    Args:
        run: Folder of a trained learner, or the name of one that comes with the package.
        examples: Folder with labels.csv.
        recordings: Folder of recordings of the same machine.
        machine: As of `predict_folder`.

    Raises:
        OwnDataError: A folder is not what it must be, or does not fit the learner.
        DiagnosisRunError: The run is none, or damaged.
    """
    return predict_folder(load_run(Path(run)), Path(examples), Path(recordings), machine)[1]


def _of_machine(known: OwnRecordings, machine: str | None, folder: Path) -> OwnRecordings:
    """Return the examples of one machine."""
    names = known.machines
    if machine is None:
        if len(names) > 1:
            raise OwnDataError(
                f"{folder} has examples of {len(names)} machines: name the one that the recordings "
                f"are of with --machine: {', '.join(names)}"
            )
        return known
    machine = unicodedata.normalize("NFC", machine)  # as the table is read
    if machine not in names:
        raise OwnDataError(f"{folder} has no machine {machine!r}, but {', '.join(names)}")
    own = known.rows(known.machine == machine)
    if len(own.labels) < 2:
        raise OwnDataError(
            f"{folder}: {machine!r} has the one label {', '.join(own.labels)}, needs at least 2 to "
            "tell apart"
        )
    return own


def _named(recordings: OwnRecordings, machine: str) -> OwnRecordings:
    """Return recordings as being of a machine."""
    columns: dict[str, Any] = {**vars(recordings), "machine": np.full(len(recordings), machine)}
    return OwnRecordings(**columns)
