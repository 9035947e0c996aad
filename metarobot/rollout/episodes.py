"""The episodes of a meta-batch, as one block of tensors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True, eq=False)
class Episodes:
    """E episodes of T control steps on each of N tasks."""

    observations: Tensor
    """Observations before each step, (N, E, T, O)."""
    final_observations: Tensor
    """Observation after the last step that counts, (N, E, O); NaN if unknown."""
    actions: Tensor
    """Actions of the policy, before the environment clipped them, (N, E, T, A)."""
    log_probs: Tensor
    """Log-probability of each action under the policy that took it, (N, E, T); NaN if unknown."""
    rewards: Tensor
    """Reward of each step, (N, E, T); NaN if it was not measured."""
    mask: Tensor
    """1.0 where a step counts, 0.0 after the end or once the simulation failed, (N, E, T)."""
    success: Tensor
    """Whether the episode ended in success, (N, E) bool."""
    unstable: Tensor
    """Whether the simulation became unstable, which ends the episode, (N, E) bool."""
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
            "final_observations": (*shape[:2], self.observations.shape[-1]),
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

    def __repr__(self) -> str:
        return "Episodes({} tasks x {} episodes x {} steps)".format(*self.rewards.shape)

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
    def next_observations(self) -> Tensor:
        """Observations after each step, (N, E, T, O); NaN where unknown.

        After the T-th step it is NaN as well: an episode of the whole horizon ends there, and its
        last control step may be longer than the others (`TaskVectorEnv.settle_steps`).
        """
        unseen = torch.full_like(self.observations[:, :, :1], torch.nan)
        following = torch.cat([self.observations[:, :, 1:], unseen], dim=2)
        counts = self.mask > 0.0
        goes_on = pad(counts[..., 1:], (0, 1))
        ends = counts & ~goes_on
        ends[..., -1] = False
        final = torch.where(ends[..., None], self.final_observations[:, :, None], unseen)
        return torch.where(goes_on[..., None], following, final)

    @property
    def step_weights(self) -> Tensor:
        """Weights (N, E, T) that make a sum over one task's steps a mean over those that count."""
        return self.mask / self.mask.sum(dim=(1, 2), keepdim=True).clamp(min=1.0)

    def of_each(self, part: Callable[[Tensor], Tensor]) -> Self:
        """Return episodes made of a part of each tensor."""
        return replace(self, **{each.name: part(getattr(self, each.name)) for each in fields(self)})

    def rows(self, tasks: Sequence[int] | slice | Tensor) -> Self:
        """Return the episodes of some tasks; views if they are a slice."""
        return self.of_each(lambda block: block[tasks])

    def first(self, num_episodes: int) -> Self:
        """Return the first episodes of every task, as views."""
        return self.of_each(lambda block: block[:, :num_episodes])

    def last(self, num_episodes: int) -> Self:
        """Return the last episodes of every task, as views."""
        return self.of_each(lambda block: block[:, -num_episodes:])

    def each_alone(self) -> Self:
        """Return every episode as the only one of a task of its own, (N E, 1, T), as views."""
        return self.of_each(lambda block: block.flatten(0, 1)[:, None])

    def pad(self, horizon: int) -> Self:
        """Return the episodes with T = horizon steps; added steps do not count."""
        missing = horizon - self.horizon
        if missing == 0:
            return self
        blocks = {name: getattr(self, name) for name in ("observations", "actions")}
        blocks = {name: pad(block, (0, 0, 0, missing)) for name, block in blocks.items()}
        rows = {name: getattr(self, name) for name in ("log_probs", "rewards", "mask")}
        rows = {name: pad(row, (0, missing)) for name, row in rows.items()}
        return replace(self, **blocks, **rows)

    @classmethod
    def join(cls, blocks: Sequence["Episodes"]) -> Self:
        """Return the episodes of several blocks on the same tasks as one block."""
        return cls(
            **{
                field.name: torch.cat([getattr(block, field.name) for block in blocks], dim=1)
                for field in fields(cls)
            }
        )
