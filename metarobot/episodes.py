"""The episodes of a meta-batch, as one block of tensors."""

from dataclasses import dataclass

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

    def __post_init__(self) -> None:
        """Check that all six tensors describe the same block."""
        shape = tuple(self.rewards.shape)
        if len(shape) != 3:
            raise ValueError(f"rewards must have shape (N, E, T), got {shape}")
        expected = {
            "observations": (*shape, self.observations.shape[-1]),
            "actions": (*shape, self.actions.shape[-1]),
            "log_probs": shape,
            "mask": shape,
            "success": shape[:2],
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

    def first(self, num_episodes: int) -> "Episodes":
        """Return the first episodes of every task, as views."""
        return Episodes(
            observations=self.observations[:, :num_episodes],
            actions=self.actions[:, :num_episodes],
            log_probs=self.log_probs[:, :num_episodes],
            rewards=self.rewards[:, :num_episodes],
            mask=self.mask[:, :num_episodes],
            success=self.success[:, :num_episodes],
        )
