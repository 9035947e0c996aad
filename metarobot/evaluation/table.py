"""The table that an evaluation ends in, and what goes with it.

Policies are measured task by task: `Scores`. `Evaluation.to_dataframe` has them as one tidy table.
`Evaluation.rows` sums that table up over seeds and tasks, with intervals; every picture, page,
printed line and table of the documentation is made from these rows alone.

Shape letters: S training seeds, N tasks of a split, X and Y values along the axes of the heat map.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from metarobot.console import printable
from metarobot.envs.tasks import SPLITS, Split, Tasks
from metarobot.evaluation.protocol import NEVER_ADAPTS, ORACLE, RANDOM, EvaluationConfig
from metarobot.evaluation.statistics import (
    HARM,
    Interval,
    bootstrap_captured,
    bootstrap_harmed,
    bootstrap_iqm,
    bootstrap_mean,
    bootstrap_worst_tenth,
    captured_is_meaningful,
)
from metarobot.io import json_bytes, rounded

if TYPE_CHECKING:  # half a second, for which no option or name waits
    import pandas as pd

Range = tuple[float, float]
Cells = tuple[tuple[float | None, ...], ...]
"""A number for every task of a heat map, (Y, X); None where there is none."""

NEARLY_ALL = 0.9
"""Fraction of the headroom that `episodes_to_90` asks for."""
FEW_EPISODES = 5
"""Adaptation episodes that somebody with a robot is glad to run."""
_LONGEST_MESSAGE = 300


class Scores(NamedTuple):
    """What a policy reached on each task at one stage, averaged over the episodes of a task.

    The arrays are (N,) of one seed, and (S, N) of all.
    """

    variant: str
    """Name of a variant that is measured besides; else empty."""
    split: str
    """Where the tasks are from; ``grid`` for those of the heat map."""
    algorithm: str
    """Whose they are."""
    exploring: bool
    """Whether episodes have the action noise of adaptation episodes; else they are as judged."""
    episodes: int
    """Adaptation episodes of each task before."""
    blocks: int
    """Blocks that these were collected in, one after the other."""
    returns: np.ndarray
    """Mean returns."""
    success: np.ndarray
    """Success rates, 0 to 1."""
    trial_returns: np.ndarray | None
    """Mean returns of the adaptation episodes themselves; None before the first, and of exploring
    episodes."""


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of the table, summed up over S x N tasks: what a policy reaches at one stage."""

    variant: str = ""
    """Name of a variant that was measured besides; else empty."""
    split: Split
    """Where the tasks are from."""
    algorithm: str
    """Whose it is."""
    exploring: bool = False
    """Whether episodes have the action noise of adaptation episodes; else they are as judged."""
    episodes: int
    """Adaptation episodes of each task used so far."""
    blocks: int
    """Blocks that these were collected in, one after the other: each by the policy so far."""
    return_mean: Interval
    """Mean return."""
    return_iqm: Interval
    """Interquartile mean of the returns."""
    success: Interval
    """Success rate, 0 to 1."""
    captured: Interval | None = None
    """Fraction of the headroom captured; None where the headroom says nothing, or is not known."""
    captured_per_seed: tuple[float | None, ...] = ()
    """The fraction of each seed, (S,); None for one without headroom."""
    worse: Interval | None = None
    """Share of tasks, 0 to 1, whose mean return adapting made worse by more than 0.05 of the mean
    headroom; None before adapting, and where `captured` is."""
    worst_tenth: Interval | None = None
    """Mean change of return by adapting over the tenth of the tasks that lost most; None before
    adapting."""
    trial_cost: Interval | None = None
    """Return given up in each adaptation episode: that before adapting minus the mean return of the
    adaptation episodes; None before adapting."""

    def __post_init__(self) -> None:
        """Check the counts."""
        if min(self.episodes, self.blocks) < 0 or (self.episodes == 0) != (self.blocks == 0):
            raise ValueError(f"there are no {self.episodes} episodes in {self.blocks} blocks")


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
class Axis:
    """One task parameter of a heat map; all in its own unit."""

    name: str
    """Identifier that ends in its unit."""
    unit: str
    """Unit as written on the axis; ``1`` for a ratio."""
    values: tuple[float, ...]
    """Values of the grid, increasing."""
    train: Range
    """Range that the policies were trained on, without its gaps."""
    gaps: tuple[Range, ...] = ()
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

    @property
    def headline(self) -> int | None:
        """The number of adaptation episodes that sentences tell of."""
        return headline_episodes(each.adaptation_episodes for each in self.maps)


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
class Evaluation:
    """What policies of one task family reach on tasks that they were not trained on.

    `to_json` gives what evaluation.json holds; `from_dict` reads it back and checks it, so that a
    file from a stranger is a valid evaluation or an error in one line.
    """

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
    rows: tuple[Row, ...]
    """A line for each policy, split, number of adaptation episodes and kind of episodes."""
    headroom: tuple[Headroom, ...] = ()
    """One for each split; empty where a reference is missing."""
    heat_map: HeatMap | None = None
    """Returns over two task parameters; None for a family without two."""
    worst_tasks: tuple[WorstTask, ...] = ()
    """For each policy that adapts: the tasks that adapting harmed, then those of the lowest tenth,
    the worst ones first and few of each."""
    robustness: tuple[Conditions, ...] = ()
    """Variants of the family that were measured besides; ``variant`` of a row names one of them."""
    scores: tuple[Scores, ...] = field(default=(), compare=False, repr=False)
    """What the rows sum up, arrays (S, N); no file holds it but evaluation.csv."""
    tasks: dict[str, Tasks] = field(default_factory=dict, compare=False, repr=False)
    """The N tasks of each split, and of variants that were measured besides, likewise."""

    def __post_init__(self) -> None:
        """Check that the parts belong together."""
        names = [policy.algorithm for policy in self.policies]
        _require_unique("policies", names)
        _require_unique("seeds", self.seeds)
        _require_unique("rows", [_stage(row) for row in self.rows])
        _require_unique("headroom", [entry.split for entry in self.headroom])
        drawn = self.heat_map.maps if self.heat_map else ()
        for part in (*self.rows, *drawn, *self.worst_tasks):
            if part.algorithm not in names:
                raise ValueError(f"{part.algorithm!r} is measured, but is none of the policies")
        if not (self.seeds and self.splits):
            raise ValueError("an evaluation needs a seed and a row")
        for row in self.rows:
            if row.episodes and (*_stage(row)[:-2], 0, 0) not in self._stages:
                raise ValueError(f"{row.algorithm!r} has no row before adapting on {row.split}")

    def __repr__(self) -> str:
        return f"Evaluation({self.family}: {', '.join(each.algorithm for each in self.policies)})"

    @cached_property
    def _stages(self) -> dict[tuple[Any, ...], Row]:
        return {_stage(row): row for row in self.rows}

    @cached_property
    def splits(self) -> tuple[Split, ...]:
        """The splits that were measured, in their usual order."""
        measured = {row.split for row in self.rows if not row.variant}
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

    @cached_property
    def curves(self) -> dict[tuple[str, str], tuple[Row, ...]]:
        """What a policy reaches on a split by adaptation episodes, in one block, as it is judged.

        Keys are (algorithm, split); the first row is before adapting. Random actions are judged by
        episodes with noise, all others without exploring.
        """
        found = defaultdict[tuple[str, str], list[Row]](list)
        for row in sorted(self.rows, key=lambda row: row.episodes):
            is_judged = row.exploring == (row.algorithm == RANDOM)
            if row.blocks <= 1 and is_judged and not row.variant:
                found[row.algorithm, row.split].append(row)
        return {key: tuple(rows) for key, rows in found.items()}

    @cached_property
    def blocks(self) -> dict[tuple[str, str, bool], tuple[Row, ...]]:
        """What a policy reaches on a split after 0, 1, 2, .. blocks of as many episodes each.

        Keys are (algorithm, split, exploring).
        """
        found = defaultdict[tuple[str, str, bool], list[Row]](list)
        for row in sorted(self.rows, key=lambda row: row.blocks):
            is_whole = row.episodes == row.blocks * self.config.episodes_per_block
            if is_whole and not row.variant:
                found[row.algorithm, row.split, row.exploring].append(row)
        return {key: tuple(rows) for key, rows in found.items()}

    def after(self, algorithm: str, split: str, episodes: int) -> Row | None:
        """Return what a policy reaches after one block of episodes, None where not measured."""
        rows = self.curves.get((algorithm, split), ())
        return next((row for row in rows if row.episodes == episodes), None)

    def after_blocks(self, algorithm: str, split: str, number: int) -> Row | None:
        """Return what a policy reaches after a number of blocks, None where not measured."""
        rows = self.blocks.get((algorithm, split, algorithm == RANDOM), ())
        return rows[number] if number < len(rows) else None

    @cached_property
    def headline(self) -> int | None:
        """The number of adaptation episodes that sentences tell of, None if nobody adapted."""
        learners = self.learners
        curves = [rows for (name, _), rows in self.curves.items() if name in learners]
        return headline_episodes(row.episodes for rows in curves for row in rows)

    @cached_property
    def episodes_to_90(self) -> dict[tuple[str, str], int]:
        """The fewest episodes of one block that capture 0.9 of the headroom, where any do.

        Keys are (algorithm, split).
        """
        return {
            key: row.episodes
            for key, rows in self.curves.items()
            for row in reversed(rows)
            if row.captured and row.captured.value >= NEARLY_ALL
        }

    def headroom_of(self, split: str) -> Headroom | None:
        """Return the headroom of a split, None where it is not known."""
        return next((entry for entry in self.headroom if entry.split == split), None)

    def to_dataframe(self) -> pd.DataFrame:
        """Return the table task by task: a row for each policy, seed, task and stage.

        ``return`` and ``success`` are means over the test episodes of a task. ``captured`` is what
        was won over domain randomisation as a part of the split's mean headroom, so its mean is the
        fraction of the headroom captured; ``worse`` is whether adapting lost more than 0.05 of that
        headroom. Task parameters follow, a column each.

        Raises:
            ValueError: The evaluation is one that was read; its evaluation.csv holds the table.
        """
        import pandas as pd

        if not self.scores:
            raise ValueError(
                "evaluation.json does not hold single tasks: read evaluation.csv beside it"
            )
        before = {_stage(each): each.returns for each in self.scores}
        return pd.concat([self._tidy(each, before) for each in self.scores], ignore_index=True)

    def _tidy(self, scores: Scores, known: Mapping[tuple[Any, ...], np.ndarray]) -> pd.DataFrame:
        """Return the rows of one stage: seed by seed, task by task."""
        import pandas as pd

        num_seeds, num_tasks = scores.returns.shape
        headroom = None if scores.variant else self.headroom_of(scores.split)
        captured = worse = np.full(scores.returns.shape, np.nan)
        if headroom and headroom.is_meaningful and not scores.exploring:
            gap = headroom.gap.value
            never = known["", scores.split, NEVER_ADAPTS, False, 0, 0]
            captured = (scores.returns - never) / gap
            before = known[(*_stage(scores)[:-2], 0, 0)]
            worse = (before - scores.returns > HARM * gap).astype(float)
        tasks = self.tasks[scores.variant or scores.split]
        return pd.DataFrame(
            {
                "family": self.family,
                "variant": scores.variant or (self.variant.name if self.variant else ""),
                "algorithm": scores.algorithm,
                "seed": np.repeat(self.seeds, num_tasks),
                "split": scores.split,
                "task": np.tile(np.arange(num_tasks), num_seeds),
                "episodes": scores.episodes,
                "blocks": scores.blocks,
                "exploring": scores.exploring,
                "return": scores.returns.ravel(),
                "success": scores.success.ravel(),
                "captured": captured.ravel(),
                "worse": worse.ravel(),
                **{name: np.tile(tasks[name], num_seeds) for name in tasks.names},
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the evaluation as values that JSON can hold, without single tasks."""
        # msgspec leaves out what an evaluation that it has read holds by default.
        kept = [each.name for each in fields(self) if each.compare]
        return {name: msgspec.to_builtins(getattr(self, name)) for name in kept}

    def to_json(self) -> bytes:
        """Return what evaluation.json holds: what was measured to 6 significant digits."""
        values = self.to_dict()
        measured = ("rows", "headroom", "worst_tasks")
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


def headline_episodes(numbers: Iterable[int]) -> int | None:
    """Return the number of adaptation episodes that a sentence tells of, None if there is none.

    It is the most that somebody with a robot is glad to run, of those measured.
    """
    adapted = sorted(number for number in numbers if number)
    few = [number for number in adapted if number <= FEW_EPISODES]
    return next(iter([*few[-1:], *adapted]), None)


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


def summarise(scores: Sequence[Scores], seed: int) -> tuple[list[Row], list[Headroom]]:
    """Return a row for every stage, and the headroom of the splits on which it is known.

    Args:
        scores: Of all policies, arrays (S, N).
        seed: Of the bootstrap. Every interval has a generator of its own, so that none depends on
            which others are asked for.
    """
    known = {_stage(each): each.returns for each in scores}
    found = [_headroom(split, known, seed) for split in SPLITS]
    headroom: dict[str, Headroom] = {entry.split: entry for entry in found if entry}
    rows = [_row(each, known, headroom, seed) for each in scores]
    return rows, list(headroom.values())


def _headroom(
    split: Split, returns: Mapping[tuple[Any, ...], np.ndarray], seed: int
) -> Headroom | None:
    """Return the headroom of a split, None without domain randomisation and the oracle."""
    never, oracle, random = (
        returns.get(("", split, name, name == RANDOM, 0, 0))
        for name in (NEVER_ADAPTS, ORACLE, RANDOM)
    )
    if never is None or oracle is None:
        return None
    return Headroom(
        split=split,
        random=None if random is None else float(random.mean()),
        domain_randomisation=float(never.mean()),
        oracle=float(oracle.mean()),
        gap=bootstrap_mean(oracle - never, np.random.default_rng(seed)),
    )


def _row(
    scores: Scores,
    known: Mapping[tuple[Any, ...], np.ndarray],
    headroom: Mapping[str, Headroom],
    seed: int,
) -> Row:
    """Sum a stage up: by itself, against what there was before, and against the headroom."""
    returns, rng = scores.returns, np.random.default_rng(seed)
    found: dict[str, Any] = {
        "return_mean": bootstrap_mean(returns, rng),
        "return_iqm": bootstrap_iqm(returns, rng),
        "success": bootstrap_mean(scores.success, rng),
    }
    before, trial = known[(*_stage(scores)[:-2], 0, 0)], scores.trial_returns
    if trial is not None and not scores.variant:
        found["worst_tenth"] = bootstrap_worst_tenth(before, returns, np.random.default_rng(seed))
        found["trial_cost"] = bootstrap_mean(before - trial, np.random.default_rng(seed))
    entry = None if scores.variant else headroom.get(scores.split)
    is_held_against_it = not scores.exploring and scores.algorithm not in (NEVER_ADAPTS, ORACLE)
    if entry and entry.is_meaningful and is_held_against_it:
        never, oracle = (
            known["", scores.split, name, False, 0, 0] for name in (NEVER_ADAPTS, ORACLE)
        )
        rng = np.random.default_rng(seed)
        found["captured"] = bootstrap_captured(returns, never, oracle, rng)
        found["captured_per_seed"] = _captured_per_seed(returns, never, oracle)
        if trial is not None:
            gap, rng = entry.gap.value, np.random.default_rng(seed)
            found["worse"] = bootstrap_harmed(before, returns, gap, rng)
    return Row(**dict(zip(_KEYS, _stage(scores), strict=True)), **found)


def _captured_per_seed(
    returns: np.ndarray, never: np.ndarray, oracle: np.ndarray
) -> tuple[float | None, ...]:
    won, whole = ((each.mean(axis=1) - never.mean(axis=1)).tolist() for each in (returns, oracle))
    return tuple(part / gap if gap else None for part, gap in zip(won, whole, strict=True))


_KEYS = ("variant", "split", "algorithm", "exploring", "episodes", "blocks")


def _stage(row: Row | Scores) -> tuple[str, str, str, bool, int, int]:
    """Return what tells a row from all others."""
    return row.variant, row.split, row.algorithm, row.exploring, row.episodes, row.blocks


def _require_unique(name: str, keys: Iterable[Any]) -> None:
    keys = list(keys)
    if len(set(keys)) < len(keys):
        raise ValueError(f"{name} hold something twice")
