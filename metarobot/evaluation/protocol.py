"""The evaluation protocol: the extent of the measurement, the same for every policy."""

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
)
from metarobot.envs.checks import (
    is_integer,
    is_number,
    keep_plain_integers,
    require_integers,
    show,
)
from metarobot.envs.tasks import SPLITS, Split

ActionNoise = Literal["none", "trained"]
"""Action noise of test episodes."""
Rewards = Literal["seen", "hidden"]
"""Whether policies see rewards during the evaluation."""
Untrained = Literal["random", "from_scratch", "fine_tuning", "strategy_search", "identification"]
"""A reference without training of its own."""
UNTRAINED: tuple[Untrained, ...] = get_args(Untrained)

RANDOM = "random"
"""Uniformly random actions."""
ITERATIVE = "iterative_learning"
"""Iterative learning control, measured where the family repeats a motion in view of its errors."""
NEVER_ADAPTS = "domain_randomisation"
"""One policy for all tasks: the lower end of the headroom."""
ORACLE = "oracle"
"""The policy that observes the task: the upper end of the headroom."""
MADE_OF = {
    "from_scratch": NEVER_ADAPTS,
    "fine_tuning": NEVER_ADAPTS,
    "strategy_search": ORACLE,
    "identification": ORACLE,
}
"""Trained policy behind each reference that adapts without training of its own."""


def in_order(algorithms: Iterable[str]) -> list[str]:
    """Return algorithms and references in the order of tables and pictures.

    References that do not observe the task come first, then the learners in the order given, then
    the references made from the oracle, then the oracle.
    """
    first = [RANDOM, "from_scratch", NEVER_ADAPTS, "fine_tuning", ITERATIVE]
    given = list(algorithms)
    last = ["strategy_search", "identification", ORACLE]
    learners = [name for name in given if name not in (*first, *last)]
    return [name for name in (*first, *learners, *last) if name in given]


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Extent of an evaluation. No field changes a policy."""

    num_tasks: int = 100
    """Tasks per split."""
    adaptation_episodes: tuple[int, ...] = (0, 1, 2, 5, 10, 20, 40)
    """Adaptation episodes per task: policies are measured after one block of each of these numbers,
    and before adapting in any case."""
    num_blocks: int = 4
    """Blocks of adaptation episodes, measured one after the other."""
    episodes_per_block: int = 20
    """Adaptation episodes per task in each block."""
    later_step_length: float = 1.0
    """Length of the adaptation steps after the first block, as a part of the full step."""
    test_episodes: int = 5
    """Test episodes per task."""
    action_noise: ActionNoise = "none"
    """Action noise of test episodes: none, or that of training."""
    rewards: Rewards = "seen"
    """Whether policies see rewards. If hidden, neither adaptation episodes nor test episodes show
    them, and policies that need rewards to adapt are left out."""
    untrained: tuple[Untrained, ...] = ("random",)
    """References without training: random actions; with domain randomisation, MAML's adaptation of
    its policy and of an untrained policy; with the oracle, the search for its task input and the
    fit of the task by simulation."""
    splits: tuple[Split, ...] = ()
    """Splits to measure; all of the family if none is named."""
    heat_map: bool = True
    """Measure the heat map."""
    grid_size: int = 9
    """Values along each axis of the heat map."""
    heat_map_episodes: tuple[int, ...] = (1, 5, 20)
    """Adaptation episodes per task after which the heat map is measured, in addition to before."""
    robustness: bool = False
    """Measure the family's shipped variants too, before adapting and after 1 and 5 episodes."""
    seed: int = 20_000_003
    """Seed of the test tasks and of their episodes, the same for every policy."""

    def __post_init__(self) -> None:
        """Check values and their limits."""
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


_BOUNDS: dict[str, tuple[int, int]] = {
    "num_tasks": (2, MOST_TASKS),
    "num_blocks": (0, MOST_ADAPTATION_STEPS),
    "episodes_per_block": (1, MOST_EPISODES),
    "test_episodes": (1, MOST_EPISODES),
    "grid_size": (2, 100),  # 10,000 tasks
    "seed": (0, MOST_SEED),
}
"""Limits of the integer fields of an EvaluationConfig."""


def _require_increasing(name: str, numbers: Any) -> None:
    """Require increasing numbers of episodes."""
    if not (
        isinstance(numbers, tuple)
        and all(is_integer(number, 0, MOST_EPISODES) for number in numbers)
        and all(before < after for before, after in pairwise(numbers))
    ):
        raise ValueError(
            f"{name} must be increasing integers in [0, {MOST_EPISODES}], got {show(numbers)}"
        )


COMPARISON = EvaluationConfig(
    num_tasks=40,
    untrained=tuple(name for name in UNTRAINED if name != "identification"),
    heat_map=False,
)
"""Extent of the evaluation of a comparison of algorithms; identification simulates much more than
the other references."""


@dataclass(frozen=True, kw_only=True)
class ExplanationConfig:
    """Extent of an explanation."""

    num_tasks: int = 120
    """Tasks of each split. Probes are fitted to those of the training range."""
    adaptation_episodes: tuple[int, ...] = (0, 1, 2, 5, 10)
    """Adaptation episodes of each task, in one block."""
    num_identified: int = 0
    """Tasks of each held-out split that simulation is fitted to, on the same episodes. The fit
    shows how much information the episodes contain. 10 take a minute or two; 0 fits none."""
    seed: int = EvaluationConfig.seed
    """Seed of the test tasks and of their episodes."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        keep_plain_integers(self)
        require_integers(self, {"num_tasks": (10, 10_000)})
        require_integers(self, {"num_identified": (0, self.num_tasks)})
        if self.num_identified == 1:
            raise ValueError("num_identified must be 0, or at least 2: one task has no variance")
        EvaluationConfig(adaptation_episodes=self.adaptation_episodes, seed=self.seed)
        if not any(self.adaptation_episodes):
            raise ValueError("adaptation_episodes must hold a number above 0")
