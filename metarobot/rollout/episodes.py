"""The episodes of a meta-batch, as one block of tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Episodes:
    """E episodes of T control steps on each of N tasks."""

    observations: Tensor
    """What the policy saw before each step, (N, E, T, O)."""
    actions: Tensor
    """What the policy asked for, before the environment clipped it, (N, E, T, A)."""
    log_probs: Tensor
    """Log-probability of each action under the policy that took it, (N, E, T)."""
    rewards: Tensor
    """Reward of each step, (N, E, T)."""
    mask: Tensor
    """1.0 where a step counts, 0.0 after the end or once the simulation failed, (N, E, T)."""
    success: Tensor
    """Whether the episode ended in success, (N, E) bool."""
    unstable: Tensor
    """Whether the simulation became unstable, and the rest was cut, (N, E) bool."""
    start: Tensor
    """Uniforms in [0, 1) that placed the start: with the actions, the episode can be replayed;
    (N, E, S)."""

    def __post_init__(self) -> None:
        """Check that all tensors describe the same block."""
        shape = tuple(self.rewards.shape)
        if len(shape) != 3:
            raise ValueError(f"rewards must have shape (N, E, T), got {shape}")
        expected = {
            "observations": (*shape, self.observations.shape[-1]),
            "actions": (*shape, self.actions.shape[-1]),
            "log_probs": shape,
            "mask": shape,
            "success": shape[:2],
            "unstable": shape[:2],
            "start": (*shape[:2], self.start.shape[-1]),
        }
        for name, wanted in expected.items():
            found = tuple(getattr(self, name).shape)
            if found != wanted:
                raise ValueError(f"{name} must have shape {wanted} to fit rewards, got {found}")

    @property
    def num_tasks(self) -> int:
        """N."""
        return self.rewards.shape[0]

    @property
    def num_episodes(self) -> int:
        """E, episodes per task."""
        return self.rewards.shape[1]

    @property
    def horizon(self) -> int:
        """T, control steps per episode."""
        return self.rewards.shape[2]

    @property
    def returns(self) -> Tensor:
        """Undiscounted return of each episode, (N, E)."""
        return (self.rewards * self.mask).sum(-1)

    @property
    def step_weights(self) -> Tensor:
        """Weights (N, E, T) that make a sum over one task's steps a mean over those that count."""
        return self.mask / self.mask.sum(dim=(1, 2), keepdim=True).clamp(min=1.0)

    def rows(self, tasks: Sequence[int] | slice) -> "Episodes":
        """Return the episodes of some tasks; views if they are a slice."""
        return Episodes(**{field.name: getattr(self, field.name)[tasks] for field in fields(self)})

    def first(self, num_episodes: int) -> "Episodes":
        """Return the first episodes of every task, as views."""
        return Episodes(
            **{field.name: getattr(self, field.name)[:, :num_episodes] for field in fields(self)}
        )

    def last(self, num_episodes: int) -> "Episodes":
        """Return the last episodes of every task, as views."""
        return Episodes(
            **{field.name: getattr(self, field.name)[:, -num_episodes:] for field in fields(self)}
        )

    @classmethod
    def join(cls, blocks: Sequence["Episodes"]) -> "Episodes":
        """Return the episodes of several blocks on the same tasks as one block."""
        return cls(
            **{
                field.name: torch.cat([getattr(block, field.name) for block in blocks], dim=1)
                for field in fields(cls)
            }
        )
