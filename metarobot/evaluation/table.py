"""The evaluation as a value: curves of what policies reach, headroom and heat map.

`Evaluation.to_json` gives what evaluation.json holds; `Evaluation.from_dict` reads it back and
checks it, so that a file from a stranger is a valid evaluation or an error in one line.

Shape letters: S training seeds, N tasks of a split, X and Y values along the axes of the heat map.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from metarobot.console import printable
from metarobot.envs.tasks import SPLITS, Split
from metarobot.evaluation.protocol import NEVER_ADAPTS, ORACLE, RANDOM, EvaluationConfig
from metarobot.evaluation.statistics import (
    Interval,
    bootstrap_captured,
    bootstrap_harmed,
    bootstrap_headroom,
    bootstrap_iqm,
    bootstrap_mean,
    bootstrap_worst_tenth,
    captured_is_meaningful,
)
from metarobot.evaluation.task_set import Scores, Stage, TaskSetScores
from metarobot.io import json_bytes, rounded

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """A variant of the family, as an evaluation remembers it."""

    name: str
    """The variant's name."""
    description: str = ""
    """What is special about it."""
    settings: dict[str, str] = field(default_factory=dict)
    """Every other key of its TOML file with its value as text: ``ranges.payload_kg``, .."""

    @property
    def ranges(self) -> dict[str, str]:
        """The settings that say which tasks there are."""
        return {
            key: value
            for key, value in self.settings.items()
            if key.partition(".")[0] in ("ranges", "fixed")
        }


@dataclass(frozen=True, kw_only=True)
class MeasuredParameter:
    """A task parameter, with the values that the splits draw; all in its own unit."""

    name: str
    """Identifier that ends in its unit."""
    unit: str
    """Unit as written on an axis; ``1`` for a ratio."""
    description: str = ""
    """What it is."""
    nominal: float = 0.0
    """Value of the robot as built."""
    train: Range
    """Range of the split train, without its gaps."""
    gaps: tuple[Range, ...] = ()
    """Intervals in ``train`` of the split interpolation."""
    extrapolation: tuple[Range, ...] = ()
    """Intervals beyond ``train`` of the split extrapolation."""
    choices: tuple[float, ...] = ()
    """The only values there are; empty where any value of the ranges is one."""
    log_uniform: bool = False
    """Whether it is drawn on a logarithmic scale."""


@dataclass(frozen=True, kw_only=True)
class MeasuredPolicy:
    """A policy that was measured, and what its training cost."""

    algorithm: str
    """How it learned, or which reference it is."""
    adapts: bool
    """Whether it takes adaptation steps."""
    settings: dict[str, str] = field(default_factory=dict)
    """What decided what it learned, as text by option, of the first seed; empty where not kept."""
    total_steps: tuple[int | None, ...] = ()
    """Control steps of each seed's training, (S,); None for one that was interrupted. Empty for a
    reference that is not trained for itself."""
    seconds: tuple[float | None, ...] = ()
    """Time of each seed's training, (S,), likewise."""


@dataclass(frozen=True, kw_only=True)
class Headroom:
    """What there is to win by adaptation on a split, in mean returns as judged."""

    split: Split
    """Where the tasks are from."""
    random: float | None
    """Return of random actions; None where they were not measured."""
    domain_randomisation: float
    """Return of the policy that never adapts."""
    oracle: float
    """Return of the policy that is told the task."""
    gap: Interval
    """Oracle - domain randomisation, paired by task."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not np.isfinite([self.random or 0.0, self.domain_randomisation, self.oracle]).all():
            raise ValueError("returns must be finite")

    @property
    def over_random(self) -> float | None:
        """The gap as a part of oracle - random; None where that says nothing."""
        span = None if self.random is None else self.oracle - self.random
        return self.gap.value / span if span else None

    @property
    def is_meaningful(self) -> bool:
        """Whether a fraction of it says anything about adaptation."""
        return captured_is_meaningful(self.gap, self.oracle, self.random)


@dataclass(frozen=True, kw_only=True)
class WorstTask:
    """A task on which a policy does badly after a few adaptation episodes."""

    algorithm: str
    """Who adapted."""
    seed: int
    """Its training seed."""
    split: Split
    """Where the task is from."""
    index: int
    """Its place among the tasks of the split."""
    task: dict[str, float]
    """The task."""
    adaptation_episodes: int
    """Adaptation episodes, in one block."""
    return_before: float
    """Return before adapting."""
    return_after: float
    """Return after these episodes."""
    success_before: float
    """Success rate before adapting, 0 to 1."""
    success_after: float
    """Success rate after these episodes, 0 to 1."""
    harmed: bool
    """Whether adapting made it worse by more than 0.05 of the mean headroom of the split."""

    @property
    def change(self) -> float:
        """What adapting did to the return."""
        return self.return_after - self.return_before


@dataclass(frozen=True, kw_only=True)
class UnderVariant:
    """What a policy reaches under a variant of the family that it was not trained on."""

    variant: str
    """Name of the variant."""
    description: str = ""
    """What is special about it."""
    other_tasks: bool
    """Whether its tasks are drawn from other ranges than the family's."""
    algorithm: str
    """Whose it is."""
    points: tuple[Point, ...]
    """Before adapting, and after one block of more and more episodes."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What policies of one task family reach on tasks that they were not trained on."""

    family: str
    """Id of the family."""
    variant: Conditions | None = None
    """What it was measured on; None for the family as it is."""
    trained_on: Conditions | None = None
    """What the policies were trained on; None for the family as it is."""
    created: str
    """When, in UTC, by ISO 8601."""
    config: EvaluationConfig
    """How much was measured."""
    seeds: tuple[int, ...]
    """Training seeds, (S,)."""
    task_parameters: tuple[MeasuredParameter, ...] = ()
    """What differs between tasks."""
    policies: tuple[MeasuredPolicy, ...]
    """Who was measured, in the order of tables."""
    left_out: tuple[str, ...] = ()
    """Who was not measured, because rewards were hidden and they need them."""
    curves: tuple[Curve, ...]
    """One for each policy, split and kind of episodes."""
    headroom: tuple[Headroom, ...] = ()
    """One for each split; empty where a reference is missing."""
    heat_map: HeatMap | None = None
    """Returns over two task parameters; None for a family without two."""
    worst_tasks: tuple[WorstTask, ...] = ()
    """For each policy that adapts: the tasks that adapting harmed, then those of the lowest tenth,
    the worst ones first and few of each."""
    robustness: tuple[UnderVariant, ...] = ()
    """Under the variants of the family that come with the package; empty where not measured."""

    def __post_init__(self) -> None:
        """Check that the parts belong together."""
        names = [policy.algorithm for policy in self.policies]
        _require_unique("policies", names)
        _require_unique("seeds", self.seeds)
        _require_unique("curves", [(c.algorithm, c.split, c.exploring) for c in self.curves])
        _require_unique("headroom", [entry.split for entry in self.headroom])
        drawn = self.heat_map.maps if self.heat_map else ()
        for part in (*self.curves, *drawn, *self.worst_tasks, *self.robustness):
            if part.algorithm not in names:
                raise ValueError(f"{part.algorithm!r} is measured, but is none of the policies")
        if not (self.seeds and self.curves):
            raise ValueError("an evaluation needs a seed and a curve")

    def __repr__(self) -> str:
        return f"Evaluation({self.family}: {', '.join(each.algorithm for each in self.policies)})"

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that were measured, in their usual order."""
        measured = {curve.split for curve in self.curves}
        return tuple(split for split in SPLITS if split in measured)

    @property
    def learners(self) -> tuple[str, ...]:
        """Who adapts, in the order of tables."""
        return tuple(policy.algorithm for policy in self.policies if policy.adapts)

    @property
    def tasks_as_trained(self) -> bool:
        """Whether the policies were trained on the ranges of tasks that they are measured on."""
        measured, trained = self.variant, self.trained_on
        return (measured.ranges if measured else {}) == (trained.ranges if trained else {})

    def curve(self, algorithm: str, split: str, *, exploring: bool = False) -> Curve | None:
        """Return a curve, None where it was not measured."""
        key = (algorithm, split, exploring)
        return next((c for c in self.curves if (c.algorithm, c.split, c.exploring) == key), None)

    def judged(self, algorithm: str, split: str) -> Curve | None:
        """Return the curve that a policy is judged by: of random actions, their only one."""
        only = self.curve(algorithm, split, exploring=True)
        return self.curve(algorithm, split) or only

    def headroom_of(self, split: str) -> Headroom | None:
        """Return the headroom of a split, None where it is not known."""
        return next((entry for entry in self.headroom if entry.split == split), None)

    def captured(self, point: Point, split: str) -> Interval | None:
        """Return the fraction of the headroom that a point captures, None where it says nothing."""
        headroom = self.headroom_of(split)
        return None if headroom and not headroom.is_meaningful else point.captured

    def episodes_to_90(self, curve: Curve) -> int | None:
        """Return `Curve.episodes_to_90`, None where the fraction captured says nothing."""
        headroom = self.headroom_of(curve.split)
        return None if headroom and not headroom.is_meaningful else curve.episodes_to_90

    def to_dict(self) -> dict[str, Any]:
        """Return the evaluation as values that JSON can hold."""
        # msgspec leaves out what an evaluation that it has read holds by default.
        return {each.name: msgspec.to_builtins(getattr(self, each.name)) for each in fields(self)}

    def to_json(self) -> bytes:
        """Return what evaluation.json holds: what was measured to 6 significant digits."""
        values = self.to_dict()
        measured = ("curves", "headroom", "worst_tasks", "robustness")
        values.update({part: rounded(values[part]) for part in measured})
        if self.heat_map:
            values["heat_map"]["maps"] = rounded(values["heat_map"]["maps"])
        return json_bytes(values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Evaluation:
        """Rebuild an evaluation from `to_dict`, or from what evaluation.json holds.

        Raises:
            ValueError: A value is missing or not allowed; the message is one line with its place.
        """
        try:
            return msgspec.convert(values, cls)
        except (msgspec.ValidationError, RecursionError) as error:
            text = printable(str(error))[:_LONGEST_MESSAGE]
            raise ValueError(f"this is no evaluation: {text}") from None


_LONGEST_MESSAGE = 300


def _require_unique(name: str, keys: Iterable[Any]) -> None:
    keys = list(keys)
    if len(set(keys)) < len(keys):
        raise ValueError(f"{name} hold something twice")


# The curve of a policy: what it reaches over the number of adaptation episodes.


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


# The heat map of an evaluation: what policies reach on a grid over two task parameters.


Cells = tuple[tuple[float | None, ...], ...]
"""A number for every task of the grid, (Y, X); None where there is none."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One task parameter of a heat map; all in its own unit."""

    name: str
    """Identifier that ends in its unit."""
    unit: str
    """Unit as written on the axis; ``1`` for a ratio."""
    values: tuple[float, ...]
    """Values of the grid, increasing."""
    train: tuple[float, float]
    """Range that the policies were trained on, without its gaps."""
    gaps: tuple[tuple[float, float], ...] = ()
    """Intervals in it that they were not trained on."""
    log: bool = False
    """Whether the scale is logarithmic."""

    def __post_init__(self) -> None:
        """Check the values."""
        increases = all(a < b for a, b in pairwise(self.values))
        if len(self.values) < 2 or not increases or not np.isfinite(self.values).all():
            raise ValueError("an axis needs at least 2 values, increasing")
        if self.log and self.values[0] <= 0:
            raise ValueError("a logarithmic axis needs positive values")


@dataclass(frozen=True, kw_only=True)
class GridMap:
    """What one policy reaches on the tasks of a heat map, averaged over the seeds."""

    algorithm: str
    """Whose it is."""
    adaptation_episodes: int
    """Adaptation episodes of each task used before, in one block."""
    returns: Cells
    """Mean return, (Y, X)."""
    success: Cells
    """Success rate, 0 to 1, (Y, X)."""


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """Two axes, and a map for each policy."""

    x: Axis
    """The axis that runs to the right, X values."""
    y: Axis
    """The axis that runs upwards, Y values."""
    maps: tuple[GridMap, ...]
    """In the order of tables."""

    def __post_init__(self) -> None:
        """Check the shapes."""
        num_rows, num_columns = len(self.y.values), len(self.x.values)
        for cells in (cells for each in self.maps for cells in (each.returns, each.success)):
            if len(cells) != num_rows or {len(row) for row in cells} != {num_columns}:
                raise ValueError(f"a map must have {num_rows} rows of {num_columns} numbers")


# From scores to curves: means with intervals, the fraction of the headroom captured, and harm.


def summarise_split(
    split: Split, policies: Mapping[str, TaskSetScores], config: EvaluationConfig
) -> tuple[list[Curve], Headroom | None]:
    """Return the curves of all policies on a split, and its headroom.

    Args:
        split: The split.
        policies: Scores (S, N) of every policy.
        config: How much was measured.

    Returns:
        Curves of episodes as judged and of exploring ones (random actions have the latter only),
        and the headroom, None without domain randomisation and the oracle.
    """
    seed, curves = config.seed, []
    ends = _Ends.of(split, policies, seed)
    for name, scores in policies.items():
        if name != RANDOM:
            held_against = None if name in (NEVER_ADAPTS, ORACLE) else ends
            curves.append(_judged_curve(split, name, scores, held_against, seed))
        curves.append(_exploring_curve(split, name, scores, seed))
    return curves, ends and ends.headroom


@dataclass(frozen=True)
class _Ends:
    """What adaptation is held against on a split."""

    never: np.ndarray  # returns of domain randomisation, (S, N)
    oracle: np.ndarray  # returns of the oracle, (S, N)
    headroom: Headroom

    @classmethod
    def of(cls, split: Split, policies: Mapping[str, TaskSetScores], seed: int) -> _Ends | None:
        """Return the ends of the headroom, None where one of them is missing."""
        if not {NEVER_ADAPTS, ORACLE} <= set(policies):
            return None
        never, oracle = _before(policies[NEVER_ADAPTS]), _before(policies[ORACLE])
        random = _before(policies[RANDOM]) if RANDOM in policies else None
        headroom = Headroom(
            split=split,
            random=None if random is None else float(random.mean()),
            domain_randomisation=float(never.mean()),
            oracle=float(oracle.mean()),
            gap=bootstrap_headroom(never, oracle, np.random.default_rng(seed)),
        )
        return cls(never, oracle, headroom)


def _before(scores: TaskSetScores) -> np.ndarray:
    """Return the returns as judged before adapting, (S, N)."""
    return scores.by_episodes[0].judged.returns


def _judged_curve(
    split: Split, algorithm: str, scores: TaskSetScores, ends: _Ends | None, seed: int
) -> Curve:
    before = _before(scores)

    def points(stages: list[Stage]) -> tuple[Point, ...]:
        return tuple(_judged_point(stage, before, ends, seed) for stage in stages)

    return Curve(
        algorithm=algorithm,
        split=split,
        exploring=False,
        points=points(scores.by_episodes),
        blocks=points(scores.by_blocks),
    )


def _judged_point(stage: Stage, before: np.ndarray, ends: _Ends | None, seed: int) -> Point:
    """Return the point of a stage.

    Every interval has a fresh generator, so that none depends on which others are asked for.
    """
    returns = stage.judged.returns
    point = plain_point(stage.num_episodes, stage.judged, seed)
    if ends:
        rng = np.random.default_rng(seed)
        share = bootstrap_captured(returns, ends.never, ends.oracle, rng)
        point = replace(point, captured=share, captured_per_seed=_captured_per_seed(returns, ends))
    if stage.adapting and ends and ends.headroom.is_meaningful:
        gap, rng = ends.headroom.gap.value, np.random.default_rng(seed)
        point = replace(point, harmed=bootstrap_harmed(before, returns, gap, rng))
    if stage.adapting:
        given_up = before - stage.adapting.returns
        point = replace(
            point,
            worst_tenth=bootstrap_worst_tenth(before, returns, np.random.default_rng(seed)),
            trial_cost=bootstrap_mean(given_up, np.random.default_rng(seed)),
        )
    return point


def _exploring_curve(split: Split, algorithm: str, scores: TaskSetScores, seed: int) -> Curve:
    used = [stage.num_episodes for stage in scores.by_blocks]
    blocks = tuple(
        plain_point(number, found, seed)
        for number, found in zip(used, scores.exploring, strict=True)
    )
    return Curve(algorithm=algorithm, split=split, exploring=True, points=blocks[:1], blocks=blocks)


def plain_point(num_episodes: int, scores: Scores, seed: int) -> Point:
    """Return what scores say by themselves."""
    rng = np.random.default_rng(seed)
    return Point(
        adaptation_episodes=num_episodes,
        return_mean=bootstrap_mean(scores.returns, rng),
        return_iqm=bootstrap_iqm(scores.returns, rng),
        success=bootstrap_mean(scores.success, rng),
    )


def _captured_per_seed(returns: np.ndarray, ends: _Ends) -> tuple[float | None, ...]:
    won = returns.mean(axis=1) - ends.never.mean(axis=1)
    whole = ends.oracle.mean(axis=1) - ends.never.mean(axis=1)
    return tuple(map(_ratio, won.tolist(), whole.tolist()))


def _ratio(part: float, whole: float) -> float | None:
    """Return part / whole, None where there is no whole."""
    return part / whole if whole else None


# Settings as text: what an evaluation and a report remember of configurations.


def describe_settings(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Return nested settings as text, by their dotted names.

    Args:
        values: What `to_dict` of a configuration or of a variant returns.
        prefix: What the names begin with.
    """
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= describe_settings(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)):
            found[f"{prefix}{key}"] = ", ".join(str(item) for item in value)
        else:
            found[f"{prefix}{key}"] = str(value)
    return found
