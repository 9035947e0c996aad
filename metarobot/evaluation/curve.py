"""The curve of a policy: what it reaches over the number of adaptation episodes.

Shape letters: S training seeds, N tasks of a split.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from metarobot.envs.tasks import Split
from metarobot.evaluation.statistics import Interval

NEARLY_ALL = 0.9
"""Fraction of the headroom that `Curve.episodes_to_90` asks for."""
FEW_EPISODES = 5
"""Adaptation episodes that somebody with a robot is glad to run."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What a policy reaches after a number of adaptation episodes, over S x N tasks."""

    adaptation_episodes: int
    """Adaptation episodes of each task used so far."""
    return_mean: Interval
    """Mean return."""
    return_iqm: Interval
    """Interquartile mean of the returns."""
    success: Interval
    """Success rate, 0 to 1."""
    captured: Interval | None = None
    """Fraction of the headroom captured; None where there is no headroom, or it is not known."""
    captured_per_seed: tuple[float | None, ...] = ()
    """The fraction of each seed, (S,); None for one without headroom."""
    harmed: Interval | None = None
    """Share of tasks, 0 to 1, whose mean return adapting made worse by more than 0.05 of the mean
    headroom; None before adapting, without a meaningful headroom, and where not measured."""
    worst_tenth: Interval | None = None
    """Mean change of return by adapting over the tenth of the tasks that lost most; None before
    adapting, and where not measured."""
    trial_cost: Interval | None = None
    """Return given up in each adaptation episode: that before adapting minus the mean return of the
    adaptation episodes; None before adapting, and where not measured."""

    def __post_init__(self) -> None:
        """Check the count."""
        if self.adaptation_episodes < 0:
            raise ValueError("the number of adaptation episodes must not be negative")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What a policy reaches on a split, over the number of adaptation episodes."""

    algorithm: str
    """Whose it is."""
    split: Split
    """Where the tasks are from."""
    exploring: bool
    """Whether episodes have the action noise of adaptation episodes; else they are as judged."""
    points: tuple[Point, ...]
    """Before adapting, and after one block of more and more episodes. Exploring episodes are
    measured by blocks alone: they have the first of these points."""
    blocks: tuple[Point, ...]
    """After 0, 1, 2, .. blocks of as many episodes each, one after the other."""

    def __post_init__(self) -> None:
        """Check the order."""
        for points in (self.points, self.blocks):
            used = [point.adaptation_episodes for point in points]
            if used[:1] != [0] or not all(fewer < more for fewer, more in pairwise(used)):
                raise ValueError(
                    "a curve needs points, from the fewest adaptation episodes, 0, to the most"
                )

    def after_episodes(self, number: int) -> Point | None:
        """Return the point after one block of this many episodes, None where there is none."""
        return next((p for p in self.points if p.adaptation_episodes == number), None)

    def after_blocks(self, number: int) -> Point | None:
        """Return the point after a number of blocks, None where there is none."""
        return next(iter(self.blocks[number : number + 1]), None)

    @property
    def episodes_to_90(self) -> int | None:
        """The fewest episodes of one block that capture 0.9 of the headroom; None if none do."""
        enough = (p for p in self.points if p.captured and p.captured.value >= NEARLY_ALL)
        return next((point.adaptation_episodes for point in enough), None)


def headline_episodes(numbers: Iterable[int]) -> int | None:
    """Return the number of adaptation episodes that a sentence tells of, None if there is none.

    It is the most that somebody with a robot is glad to run, of those measured.
    """
    adapted = sorted(number for number in numbers if number)
    few = [number for number in adapted if number <= FEW_EPISODES]
    return next(iter([*few[-1:], *adapted]), None)
