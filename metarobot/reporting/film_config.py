"""Settings of films; imports no torch, as help shows them."""

from __future__ import annotations

from dataclasses import dataclass

from metarobot.config import MOST_EPISODES, MOST_SEED
from metarobot.envs.checks import is_integer, is_number, require_integers, show
from metarobot.envs.tasks import Split

MOST_PICTURES = 3
"""Most pictures of an adapted policy beside the one before adapting."""
MOST_SIDE = 5
"""Tasks along each side of a grid."""
MOST_FILMS = 10
"""Films of worst tasks in a report."""


@dataclass(frozen=True, kw_only=True)
class RenderConfig:
    """Task and adaptation of a film."""

    algorithm: str | None = None
    """Algorithm that adapts; by default latent, then maml, then any other that the run holds."""
    split: Split | None = None
    """Split of the task, unless it is given; by default extrapolation, or the family's split
    farthest from training."""
    seed: int = 0
    """Seed of the task, of the adaptation episodes and of the start that is filmed."""
    adaptation_episodes: tuple[int, ...] = (0, 1, 5)
    """Adaptation episodes, in one block, after which the policy is filmed, at most three numbers;
    it is filmed before adapting in any case. Of one task they stand side by side, of a grid they
    follow each other."""
    contact_forces: bool = False
    """Draw contact forces as arrows, and bodies so that the arrows show through."""
    slow_motion: float = 2.0
    """Slow-down factor of the video."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        require_integers(self, {"seed": (0, MOST_SEED)})
        numbers = self.adaptation_episodes
        if not (
            isinstance(numbers, tuple)
            and all(is_integer(number, 0, MOST_EPISODES) for number in numbers)
            and len(numbers) >= 1
            and len([number for number in numbers if number]) <= MOST_PICTURES
        ):
            raise ValueError(
                f"adaptation_episodes must be integers in [0, {MOST_EPISODES}], at most "
                f"{MOST_PICTURES} besides 0, got {show(numbers)}"
            )
        if not is_number(self.slow_motion, 0.1, 100.0):
            raise ValueError(f"slow_motion must lie in [0.1, 100], got {show(self.slow_motion)}")

    @property
    def stages(self) -> tuple[int, ...]:
        """Adaptation episodes before each picture: none, then those asked for."""
        return (0, *filter(None, self.adaptation_episodes))


@dataclass(frozen=True, kw_only=True)
class GridSize:
    """Size of a film's grid of tasks."""

    columns: int
    """Values from left to right."""
    rows: int
    """Values upwards."""
    parameters: tuple[str, ...] = ()
    """Names of the task parameters of the columns and the rows; by default those of the family's
    heat map, or its first ones."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not all(is_integer(side, 1, MOST_SIDE) for side in (self.columns, self.rows)):
            raise ValueError(
                f"a grid has 1x1 to {MOST_SIDE}x{MOST_SIDE} tasks, got {self.columns}x{self.rows}"
            )
        if len(self.parameters) > 2:
            raise ValueError(f"a grid has two sides, got {len(self.parameters)} task parameters")
