"""The evaluation protocol: how much is measured, the same for every policy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

from metarobot.config import (
    MOST_ADAPTATION_STEPS,
    MOST_EPISODES,
    MOST_SEED,
    MOST_TASKS,
    TrainConfig,
)
from metarobot.envs import SPLITS
from metarobot.envs.checks import (
    is_integer,
    is_number,
    keep_plain_integers,
    require_integers,
    show,
)
from metarobot.envs.tasks import Split
from metarobot.training.memory import require_evaluation_memory

ActionNoise = Literal["none", "trained"]
"""Action noise of the episodes by which policies are judged."""
Rewards = Literal["seen", "hidden"]
"""Whether policies see rewards while they are measured."""
Untrained = Literal["random", "from_scratch", "fine_tuning", "strategy_search", "identification"]
"""A reference that is not trained for itself."""
UNTRAINED: tuple[Untrained, ...] = get_args(Untrained)

RANDOM = "random"
"""Uniformly random actions."""
NEVER_ADAPTS = "domain_randomisation"
"""One policy for all tasks: the lower end of the headroom."""
ORACLE = "oracle"
"""The policy that is told the task: the upper end of the headroom."""
MADE_OF = {
    "from_scratch": NEVER_ADAPTS,
    "fine_tuning": NEVER_ADAPTS,
    "strategy_search": ORACLE,
    "identification": ORACLE,
}
"""Which trained policy each reference is made of that adapts and is not trained itself."""


def in_order(algorithms: Iterable[str]) -> list[str]:
    """Return algorithms and references in the order of tables and pictures.

    References that are not told the task come first and the oracle last; the learners stand between
    them, in the order given; before the oracle come those that are made of it.
    """
    first, given = [RANDOM, "from_scratch", NEVER_ADAPTS, "fine_tuning"], list(algorithms)
    last = ["strategy_search", "identification", ORACLE]
    learners = [name for name in given if name not in (*first, *last)]
    return [name for name in (*first, *learners, *last) if name in given]


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How much is measured.  None of it changes a policy."""

    num_tasks: int = 100
    """Tasks per split."""
    adaptation_episodes: tuple[int, ...] = (0, 1, 2, 5, 10, 20, 40)
    """Adaptation episodes per task: policies are measured after one block of each of these numbers,
    and before adapting in any case."""
    num_blocks: int = 4
    """Blocks of adaptation episodes, one after the other, that are measured besides."""
    episodes_per_block: int = 20
    """Adaptation episodes per task in each of them."""
    later_step_length: float = 1.0
    """How far adapting to every block after the first goes, as a part of the whole way."""
    test_episodes: int = 5
    """Episodes per task by which policies are judged."""
    action_noise: ActionNoise = "none"
    """Action noise of these episodes: none, or that which the policy was trained with."""
    rewards: Rewards = "seen"
    """Whether policies see rewards. Hidden, no episode shows them, neither one to adapt to nor one
    to be judged by; who adapts and needs them is left out."""
    untrained: tuple[Untrained, ...] = ("random",)
    """Who is measured besides those that were trained: random actions; where domain randomisation
    is there, MAML's adaptation of its policy and of one that never learned; where the oracle is
    there, the search for what to tell it, and the fit of the task by simulation."""
    splits: tuple[Split, ...] = ()
    """Splits that are measured; all that the family has if none is named."""
    heat_map: bool = True
    """Whether the heat map is measured."""
    grid_size: int = 9
    """Values along each axis of the heat map."""
    heat_map_episodes: tuple[int, ...] = (1, 5, 20)
    """Adaptation episodes per task after which the heat map is measured, besides before."""
    robustness: bool = False
    """Whether the variants of the family that come with the package are measured as well, before
    adapting and after 1 and 5 episodes."""
    seed: int = 20_000_003
    """Seed of the test tasks and of their episodes, the same for every policy."""

    def __post_init__(self) -> None:
        """Refuse sizes that measure nothing, or that no machine has the time for."""
        keep_plain_integers(self)
        require_integers(self, _BOUNDS)
        for name in ("adaptation_episodes", "heat_map_episodes"):
            _require_increasing(name, getattr(self, name))
        for name, names in (("splits", SPLITS), ("untrained", UNTRAINED)):
            given, allowed = getattr(self, name), ", ".join(names)
            if not isinstance(given, tuple) or not set(given) <= set(names):
                raise ValueError(f"{name} must name some of {allowed}, got {show(given)}")
        for name, words in (("action_noise", ActionNoise), ("rewards", Rewards)):
            given, allowed = getattr(self, name), get_args(words)
            if given not in allowed:
                raise ValueError(f"{name} must be {' or '.join(allowed)}, got {show(given)}")
        for name in ("heat_map", "robustness"):
            if not isinstance(getattr(self, name), bool):
                shown = show(getattr(self, name))
                raise ValueError(f"{name} must be true or false, got {shown}")
        if not is_number(self.later_step_length, 0.0, 10.0):
            shown = show(self.later_step_length)
            raise ValueError(f"later_step_length must be a number in [0, 10], got {shown}")

    def require_memory(self, algorithms: Iterable[TrainConfig], most_tasks: int = 0) -> None:
        """Refuse to measure on more at once than this machine has memory for.

        Args:
            algorithms: What those who are measured were trained with.
            most_tasks: Tasks that one of them is put on at once, if more than `num_tasks`.

        Raises:
            ValueError: It takes too much; the message names the sizes.
        """
        numbers = (*self.adaptation_episodes, *self.heat_map_episodes)
        for algorithm in algorithms:
            require_evaluation_memory(
                algorithm,
                num_tasks=max(self.num_tasks, most_tasks),
                num_episodes=max(*numbers, self.episodes_per_block, self.test_episodes),
                way_out="lower num_tasks, grid_size, test_episodes or the numbers of adaptation "
                "episodes",
            )


_BOUNDS: dict[str, tuple[int, int]] = {
    "num_tasks": (2, MOST_TASKS),
    "num_blocks": (0, MOST_ADAPTATION_STEPS),
    "episodes_per_block": (1, MOST_EPISODES),
    "test_episodes": (1, MOST_EPISODES),
    "grid_size": (2, 100),  # 10,000 tasks
    "seed": (0, MOST_SEED),
}
"""Least and most of every field of an EvaluationConfig."""


def _require_increasing(name: str, numbers: Any) -> None:
    """Refuse what are no increasing numbers of episodes."""
    if not (
        isinstance(numbers, tuple)
        and all(is_integer(number, 0, MOST_EPISODES) for number in numbers)
        and all(before < after for before, after in pairwise(numbers))
    ):
        raise ValueError(
            f"{name} must be increasing integers in [0, {MOST_EPISODES}], got {show(numbers)}"
        )
