"""`OwnRecordings`: recordings of any machines, by any sensors, at any rate."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from metarobot.diagnosis.channels import Channel

_OF_ALL = ("channels", "samples_per_s")


@dataclass(frozen=True)
class OwnRecordings:
    """N recordings, or windows of recordings, of T samples and C channels.

    A split must not part what `file` holds together, for windows of one recording are alike; and
    not what `machine` does, if it is to tell how a learner does on a machine that it never saw.
    """

    signals: np.ndarray
    """All channels, (N, T, C) float32."""
    channels: tuple[Channel, ...]
    """Name and unit of each channel; the unit is empty where the files do not tell it."""
    samples_per_s: float
    """Rate of all recordings, that of the first one."""
    label: np.ndarray
    """What was wrong with the machine, or that nothing was, (N,) of strings."""
    machine: np.ndarray
    """Name of the machine, (N,) of strings; empty where the table does not tell it."""
    file: np.ndarray
    """File that it came from, (N,) of strings."""
    window: np.ndarray
    """Which window of its file it is, (N,); 0 where files are not cut."""
    joint: np.ndarray
    """Where the fault sits, (N,) of strings, as the table has it; so are the next two."""
    severity: np.ndarray
    """How bad it is, (N,)."""
    condition: np.ndarray
    """Under what condition it was recorded, (N,)."""

    def __len__(self) -> int:
        return len(self.signals)

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, each once, in the order of the alphabet."""
        return tuple(map(str, np.unique(self.label)))

    @property
    def machines(self) -> tuple[str, ...]:
        """Names of all machines, each once."""
        return tuple(map(str, np.unique(self.machine)))

    @property
    def duration_s(self) -> float:
        """How long each is."""
        return self.signals.shape[1] / self.samples_per_s

    def rows(self, indices: Sequence[int] | slice | np.ndarray) -> OwnRecordings:
        """Return the recordings at ``indices``, which may be a mask."""
        columns = {
            field.name: getattr(self, field.name)
            if field.name in _OF_ALL
            else getattr(self, field.name)[indices]
            for field in fields(self)
        }
        return OwnRecordings(**columns)

    def files_of(self, label: str) -> np.ndarray:
        """Return the files of a label, each once, in order."""
        return np.unique(self.file[self.label == label])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that they are."""
        digest = hashlib.sha256(repr((self.channels, self.samples_per_s)).encode())
        for column in (self.label, self.machine, self.file, self.window):
            digest.update(repr(column.tolist()).encode())
        digest.update(np.ascontiguousarray(self.signals).tobytes())
        return digest.hexdigest()
