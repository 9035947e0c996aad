"""Episodes written down so that they can be looked at again: task, starts and actions.

Training writes a replay of every task whose numbers made a meta-update impossible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from metarobot.envs import SceneRecord, TaskError, Tasks, Variant, find_family
from metarobot.io import Count, Folder, Word, load_tensors, seal_tensors, typed
from metarobot.rollout.episodes import Episodes


class _Facts(msgspec.Struct):
    """What the file of a replay says."""

    env_id: Word
    task: dict[Word, float]
    iteration: Count
    index: Count
    variant: dict[str, Any] | None = None
    scene: dict[str, Any] | None = None


@dataclass(frozen=True)
class Replay:
    """All episodes of one task in one meta-iteration, before and after adaptation."""

    env_id: str
    """Registered id of the task family."""
    task: dict[str, float]
    """Task parameters."""
    starts: Tensor
    """Uniforms that placed the start of each episode, (K + 1, E, S)."""
    actions: Tensor
    """What the policy asked for, (K + 1, E, T, A); may hold numbers that are not finite."""
    iteration: int
    """Meta-iteration in which it happened."""
    index: int
    """Number of the task within the meta-batch."""
    variant: Variant | None = None
    """Variant of the family that was trained on."""
    scene: SceneRecord | None = None
    """The user's scene that was trained in."""

    @classmethod
    def of(
        cls,
        env_id: str,
        task: Tasks,
        blocks: Sequence[Episodes],
        variant: Variant | None = None,
        scene: SceneRecord | None = None,
        **place: int,
    ) -> Replay:
        """Take down the blocks (1, E, T) of one task."""
        return cls(
            env_id=env_id,
            task=task.to_dicts()[0],
            starts=torch.cat([block.start for block in blocks]),
            actions=torch.cat([block.actions for block in blocks]),
            variant=variant,
            scene=scene,
            **place,
        )

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"iteration-{self.iteration:06}-task-{self.index:03}.safetensors"

    def save(self, folder: Folder) -> Path:
        """Write the replay into a folder, which is made if missing; return its file."""
        folder.make()
        facts = {
            "env_id": self.env_id,
            "task": self.task,
            "iteration": self.iteration,
            "index": self.index,
            "variant": self.variant.to_dict() if self.variant else None,
            "scene": self.scene.to_dict() if self.scene else None,
        }
        tensors = {"starts": self.starts, "actions": self.actions}
        folder.write(self.name, seal_tensors(tensors, facts))
        return folder.path / self.name

    @classmethod
    def load(cls, path: Path) -> Replay:
        """Read a replay.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is damaged, no replay, or does not fit its task family.
        """
        shapes = {"starts": (-1, -1, -1), "actions": (-1, -1, -1, -1)}
        tensors, facts = load_tensors(path, shapes)
        found = typed(facts, _Facts, path)
        try:
            replay = cls(
                env_id=found.env_id,
                task=found.task,
                iteration=found.iteration,
                index=found.index,
                variant=Variant.from_dict(found.variant) if found.variant else None,
                scene=SceneRecord.from_dict(found.scene) if found.scene else None,
                **tensors,
            )
        except ValueError as error:
            raise ValueError(f"{path} is not a replay: {error}") from error
        replay._check(path)
        return replay

    def _check(self, path: Path) -> None:
        try:
            family = find_family(self.env_id)
        except TaskError as error:
            raise ValueError(f"{path}: {error}") from error
        distribution = (self.variant or family).distribution
        distribution.with_values({name: [value] for name, value in self.task.items()})
        start_size = max(family.start_size, 1 if self.variant else 0)
        num_blocks, num_episodes, *_ = self.starts.shape
        wanted = (num_blocks, num_episodes, family.default_horizon, len(family.action_elements))
        if not num_blocks * num_episodes or self.starts.shape[2] != start_size:
            raise ValueError(f"{path} does not fit {self.env_id}: starts {self.starts.shape}")
        if not ((self.starts >= 0) & (self.starts <= 1)).all():
            raise ValueError(f"{path} does not fit {self.env_id}: starts must lie in [0, 1]")
        if self.actions.shape != wanted:
            raise ValueError(f"{path} does not fit {self.env_id}: actions {self.actions.shape}")
