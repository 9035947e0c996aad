"""What a training does not see, so that the learner can be judged by it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import msgspec
import numpy as np

from metarobot.diagnosis.own_data import OwnDataError, OwnRecordings
from metarobot.diagnosis_runs.own_tasks import NO_TASKS, has_tasks, machines_with_tasks
from metarobot.envs import nearest_name

_SHARE = 3
"""One recording of so many of each label is kept back where nothing else can be."""


class KeptBack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept back of a folder."""

    machines: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    """Only where no machines and no labels are."""

    def splits(self, recordings: OwnRecordings) -> dict[str, np.ndarray]:
        """Return which recordings to test on, (R,) of bool, by the name of the split."""
        of_label = np.isin(recordings.label, self.labels)
        found = {
            "unseen machines": np.isin(recordings.machine, self.machines) & ~of_label,
            "unseen labels": of_label,
            "other recordings": np.isin(recordings.file, self.files),
        }
        return {name: rows for name, rows in found.items() if rows.any()}

    def training(self, recordings: OwnRecordings) -> np.ndarray:
        """Return which recordings to train on, (R,) of bool."""
        return ~np.logical_or.reduce([*self.splits(recordings).values(), recordings.label == ""])

    def sentence(self) -> str:
        """Say what was kept back."""
        parts = []
        if self.machines:
            parts.append(f"all recordings of {', '.join(self.machines)}")
        if self.labels:
            parts.append(f"all recordings labelled {', '.join(self.labels)}")
        if self.files:
            parts.append(f"{len(self.files)} recordings, a third of each label")
        return f"kept back to test on: {'; '.join(parts)}"


def keep_back(
    recordings: OwnRecordings, machines: Sequence[str], labels: Sequence[str], seed: int
) -> KeptBack:
    """Choose what is kept back.

    Where the user names nothing it is the last machine that has tasks; where only one has, a third
    of the recordings of each label.

    Args:
        recordings: A row for each recording.
        machines: Machines that the user names.
        labels: Labels that the user names.
        seed: Draws recordings.

    Raises:
        OwnDataError: There is no such machine or label, one is named twice, or too few are left.
    """
    machines, labels = (
        [unicodedata.normalize("NFC", name) for name in names] for names in (machines, labels)
    )
    _require_there("machine", machines, recordings.machines)
    _require_there("label", labels, recordings.labels)
    if len(labels) == 1:
        raise OwnDataError(
            f"--unseen-labels names {labels[0]!r} alone: name two at least, to tell them apart"
        )
    if labels and len(recordings.labels) - len(labels) < 2:
        raise OwnDataError(
            f"--unseen-labels leaves {len(recordings.labels) - len(labels)} labels to train on, "
            "two are needed"
        )
    if machines and len(machines) >= len(recordings.machines):
        raise OwnDataError("--unseen-machines leaves no machine to train on: name fewer")
    if machines or labels:
        return KeptBack(tuple(machines), tuple(labels))
    judged = machines_with_tasks(recordings.label, recordings.machine)
    if len(judged) > 1:
        return KeptBack(machines=judged[-1:])
    return KeptBack(files=_some_files(recordings, seed))


def require_judgeable(kept: KeptBack, recordings: OwnRecordings) -> None:
    """Make sure, before long work, that a learner can be judged by all that is kept back.

    Raises:
        OwnDataError: It cannot.
    """
    for name, rows in kept.splits(recordings).items():
        if not has_tasks(recordings.label[rows], recordings.machine[rows]):
            raise OwnDataError(f"what is kept back ({name}) judges nothing: {NO_TASKS}")


def _some_files(recordings: OwnRecordings, seed: int) -> tuple[str, ...]:
    rng = np.random.default_rng(seed)
    drawn: list[str] = []
    for label in recordings.labels:
        files = recordings.files_of(label)
        count = max(2, len(files) // _SHARE)
        if len(files) < count + 2:
            raise OwnDataError(
                f"{label!r} has {len(files)} recordings: at least 4 are needed, two to train on "
                "and two to judge by"
            )
        drawn += rng.choice(files, count, replace=False).tolist()
    return tuple(sorted(drawn))


def _require_there(what: str, names: Sequence[str], there: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise OwnDataError(f"--unseen-{what}s names {name!r} twice: name it once")
        if name not in there:
            raise OwnDataError(
                f"no {what} {name!r} in the folder, there are: {', '.join(there)}"
                + nearest_name(name, there)
            )
