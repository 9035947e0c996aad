"""Sights: how recordings become what a network sees, for any machine and for the simulated arm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from metarobot.diagnosis.channels import ACCELERATION, NUM_JOINTS
from metarobot.diagnosis.own_data import OwnDataError, OwnRecordings
from metarobot.diagnosis_runs.learner_names import full_name, make_learner
from metarobot.diagnosis_runs.own_encoder import FrameEncoder
from metarobot.diagnosis_runs.own_inputs import FRAMES, PATCH, OwnScale, frames_in, frames_of
from metarobot.few_shot import FewShotTasks, Learner
from metarobot.few_shot_diagnosis import LEARNERS as ARM_LEARNERS
from metarobot.few_shot_diagnosis import Scale
from metarobot.few_shot_diagnosis.pool import NUM_BASELINES
from metarobot.few_shot_diagnosis.signals import NUM_KINDS, NUM_PARTS
from metarobot.few_shot_diagnosis.training import disturbed
from metarobot.tensor_files import Shapes

HEALTHY_LABEL = "healthy"


class Sight(Protocol):
    """What makes inputs of recordings, and the network that reads them."""

    centred: ClassVar[bool]
    """Whether inputs are seen less the mean of a task's examples."""

    def inputs(self, recordings: OwnRecordings, windows: int, healthy: Healthy) -> Tensor:
        """Return what a network sees, (R, ..., time)."""
        ...

    def learner(self, name: str, way: int, seed: int) -> Learner[Any]:
        """Return a learner that knows nothing yet, on the network for such inputs."""
        ...

    def disturbed(self, tasks: FewShotTasks, rng: np.random.Generator) -> FewShotTasks:
        """Return tasks as a learner is shown them in training."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return what is measured of the training, by name."""
        ...

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Self:
        """Return it from what `tensors` gave."""
        ...

    @classmethod
    def shapes(cls) -> Shapes:
        """Return the shapes of what `tensors` gives; -1 for any length."""
        ...

    def mask(self, channel: int, shape: tuple[int, ...]) -> Tensor:
        """Return where inputs (..., time) of that shape tell of a channel."""
        ...


class Healthy(NamedTuple):
    """Healthy recordings of each machine, (B, T, C) each, by its name."""

    by_machine: dict[str, np.ndarray]

    @classmethod
    def of(cls, recordings: OwnRecordings, label: str = HEALTHY_LABEL) -> Healthy:
        """Return those of all machines that have some."""
        own = recordings.label == label
        return cls(
            {
                str(name): recordings.signals[own & (recordings.machine == name)]
                for name in np.unique(recordings.machine[own])
            }
        )

    def compared(self, machine: str, signals: np.ndarray) -> np.ndarray:
        """Return a recording less the mean of the machine's others, (T, C).

        A mean of few is noisier, so the difference is scaled to be as noisy as one from
        `NUM_BASELINES`: else the healthy examples themselves, which have one fewer to be compared
        with than new recordings have, would look louder than healthy ones ever do.
        """
        own = self.by_machine[machine]
        others = own[[not np.array_equal(each, signals) for each in own]]
        scale = np.sqrt((1 + 1 / NUM_BASELINES) / (1 + 1 / len(others)))
        return (signals - others.mean(0)) * scale


@dataclass(frozen=True)
class OwnSight:
    """Sees recordings of any machine, by frames."""

    scale: OwnScale
    frames: int
    """Frames of a window."""
    centred: ClassVar[bool] = True

    @classmethod
    def of(cls, recordings: OwnRecordings, windows: int) -> OwnSight:
        """Measure what recordings to train on are like."""
        frames = frames_in(recordings.signals.shape[1], windows)
        return cls(OwnScale.of(frames_of(recordings.signals, windows, frames)), frames)

    def inputs(self, recordings: OwnRecordings, windows: int, healthy: Healthy) -> Tensor:
        """Return frames on the scale of those to train on."""
        frames = frames_of(recordings.signals, windows, self.frames)
        return torch.from_numpy(self.scale.inputs(frames))

    def learner(self, name: str, way: int, seed: int) -> Learner[Any]:
        """Return a learner on the network for frames of so many values."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = FrameEncoder(self.scale.centre.size, self.frames)
        return make_learner(name, encoder, way, seed)

    def disturbed(self, tasks: FewShotTasks, rng: np.random.Generator) -> FewShotTasks:
        """Return them as they are."""
        return tasks

    def tensors(self) -> dict[str, Tensor]:
        """Return the scale, with zero for the spread of what never changes."""
        spread = np.where(np.isfinite(self.scale.spread), self.scale.spread, 0.0)
        return {
            "centre": torch.from_numpy(np.asarray(self.scale.centre, np.float32)),
            "spread": torch.from_numpy(spread.astype(np.float32)),
            "frames": torch.tensor([float(self.frames)]),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> OwnSight:
        """Return it from what `tensors` gave."""
        spread = tensors["spread"].numpy()
        scale = OwnScale(tensors["centre"].numpy(), np.where(spread > 0, spread, np.inf))
        frames = float(tensors["frames"])
        if frames not in range(PATCH, FRAMES + 1, PATCH):
            raise ValueError(f"a window has {frames:g} frames, must have a multiple of {PATCH}")
        return cls(scale, int(frames))

    @classmethod
    def shapes(cls) -> Shapes:
        """Return shapes for any number of channels."""
        return {"centre": (-1, -1), "spread": (-1, -1), "frames": (1,)}

    def mask(self, channel: int, shape: tuple[int, ...]) -> Tensor:
        """Return where a channel is: inputs are (C, kinds, time)."""
        found = torch.zeros(shape, dtype=torch.bool)
        found[channel] = True
        return found


@dataclass(frozen=True)
class ArmSight:
    """Sees health checks of the arm, less what the same machine did when it was healthy."""

    scale: Scale
    centred: ClassVar[bool] = False

    def inputs(self, recordings: OwnRecordings, windows: int, healthy: Healthy) -> Tensor:
        """Return windows of the residuals, by joint.

        Raises:
            OwnDataError: A machine has no healthy recording.
        """
        for name in recordings.machines:
            if len(healthy.by_machine.get(name, ())) < 2:
                raise OwnDataError(
                    f"{name or 'the machine'} needs two examples labelled {HEALTHY_LABEL!r}, which "
                    "all others are compared with: add them"
                )
        compared = np.stack(
            [
                healthy.compared(str(name), own)
                for name, own in zip(recordings.machine, recordings.signals, strict=True)
            ]
        )
        return torch.from_numpy(self.scale.inputs(compared.swapaxes(1, 2)))

    def learner(self, name: str, way: int, seed: int) -> Learner[Any]:
        """Return a learner on the network with shared weights for all joints."""
        return ARM_LEARNERS[full_name(name)](seed, way)

    def disturbed(self, tasks: FewShotTasks, rng: np.random.Generator) -> FewShotTasks:
        """Return them with noise, and without some quantities."""
        return disturbed(tasks, rng)

    def tensors(self) -> dict[str, Tensor]:
        """Return the scale."""
        return {
            name: torch.from_numpy(np.asarray(value, np.float32))
            for name, value in vars(self.scale).items()
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> ArmSight:
        """Return it from what `tensors` gave."""
        return cls(Scale(**{name: leaf.numpy() for name, leaf in tensors.items()}))

    @classmethod
    def shapes(cls) -> Shapes:
        """Return the shapes of the scale."""
        names = ("spread", "loudness", "loudness_spread")
        return dict.fromkeys(names, (NUM_PARTS, NUM_KINDS))

    def mask(self, channel: int, shape: tuple[int, ...]) -> Tensor:
        """Return where a channel is: inputs are (part, kinds twice, time)."""
        found = torch.zeros(shape, dtype=torch.bool)
        if channel >= ACCELERATION.start:
            part, kind = NUM_JOINTS, channel - ACCELERATION.start
        else:
            kind, part = divmod(channel, NUM_JOINTS)
        found[part, [kind, kind + NUM_KINDS]] = True
        return found
