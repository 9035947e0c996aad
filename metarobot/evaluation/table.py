"""The result of an evaluation: scores, their summary and references.

`Scores` hold returns task by task; `Evaluation.to_dataframe` returns them as one tidy table.
`Evaluation.rows` summarise that table over seeds and tasks, with intervals. All pictures, pages,
printed lines and tables of the documentation are made from these rows alone.

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
from metarobot.machine import extra

if TYPE_CHECKING:  # takes half a second to import
    import pandas as pd

Range = tuple[float, float]
Cells = tuple[tuple[float | None, ...], ...]
"""A number for every task of a heat map, (Y, X); None where missing."""

BAND = (0.05, 0.95)
"""Ranks between which a true parameter is within its 90 % band."""
NUM_RANK_BINS = 5
"""Equal parts of the ranks that are counted."""
NEARLY_ALL = 0.9
"""Fraction of the headroom that `episodes_to_90` requires."""
FEW_EPISODES = 5
"""Headline number of adaptation episodes: few enough for a real robot."""
_LONGEST_MESSAGE = 300


class Scores(NamedTuple):
    """Scores of a policy on each task at one stage, averaged over the episodes of a task.

    The arrays are (N,) of one seed, and (S, N) of all.
    """

    variant: str
    """Name of a further variant; else empty."""
    split: str
    """Split of the tasks; ``grid`` for the heat map."""
    algorithm: str
    """Name of the algorithm or reference."""
    exploring: bool
    """Whether the episodes have the action noise of adaptation episodes; else test episodes."""
    episodes: int
    """Number of adaptation episodes of each task so far."""
    blocks: int
    """Number of blocks of adaptation episodes, collected one after the other."""
    returns: np.ndarray
    """Mean returns."""
    success: np.ndarray
    """Success rates, 0 to 1."""
    trial_returns: np.ndarray | None
    """Mean returns of the adaptation episodes themselves; None before the first, and if
    exploring."""
    ranks: np.ndarray | None = None
    """Ranks of the true task parameters in the belief, (N, P) or (S, N, P); see `Belief.ranks`.
    None without a belief, and if exploring."""


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Summary of a policy's scores at one stage, over S x N tasks."""

    variant: str = ""
    """Name of a further variant; else empty."""
    split: Split
    """Split of the tasks."""
    algorithm: str
    """Name of the algorithm or reference."""
    exploring: bool = False
    """Whether the episodes have the action noise of adaptation episodes; else test episodes."""
    episodes: int
    """Number of adaptation episodes of each task so far."""
    blocks: int
    """Number of blocks of adaptation episodes, each collected by the policy adapted so far."""
    return_mean: Interval
    """Mean return."""
    return_iqm: Interval
    """Interquartile mean of the returns."""
    success: Interval
    """Success rate, 0 to 1."""
    captured: Interval | None = None
    """Fraction of the headroom captured; None if the headroom is not meaningful or not known."""
    captured_per_seed: tuple[float | None, ...] = ()
    """The fraction of each seed, (S,); None for a seed without headroom."""
    worse: Interval | None = None
    """Share of tasks, 0 to 1, on which adapting lowered the mean return by more than 0.05 of the
    mean headroom; None before adapting, and where `captured` is None."""
    worst_tenth: Interval | None = None
    """Mean change of return by adapting over the tenth of the tasks that lost most; None before
    adapting."""
    trial_cost: Interval | None = None
    """Cost of an adaptation episode: return before adapting - mean return of the adaptation
    episodes; None before adapting."""
    coverage: Interval | None = None
    """Share of the belief's 90 % bands that hold the true task parameter, mean over parameters;
    None without a belief."""
    ranks: tuple[float, ...] = ()
    """Share of the true parameters in each fifth of the belief, 0.2 each if it is true; see
    `Belief.ranks`."""

    def __post_init__(self) -> None:
        """Check the counts."""
        if min(self.episodes, self.blocks) < 0 or (self.episodes == 0) != (self.blocks == 0):
            raise ValueError(f"{self.episodes} episodes do not fit {self.blocks} blocks")


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """A variant of the family in an evaluation."""

    name: str
    """The variant's name."""
    description: str = ""
    """One-line description."""
    settings: dict[str, str] = field(default_factory=dict)
    """Every other key of its TOML file with its value as text: ``ranges.payload_kg``, .."""

    @property
    def ranges(self) -> dict[str, str]:
        """The settings that define the tasks."""
        return {
            key: value
            for key, value in self.settings.items()
            if key.partition(".")[0] in ("ranges", "fixed")
        }


@dataclass(frozen=True, kw_only=True)
class MeasuredParameter:
    """A task parameter with its ranges in the splits, all in its own unit."""

    name: str
    """Identifier that ends in its unit."""
    unit: str
    """Unit as written on an axis; ``1`` for a ratio."""
    description: str = ""
    """Description in words."""
    nominal: float = 0.0
    """Value of the robot as built."""
    train: Range
    """Range of the split train, without its gaps."""
    gaps: tuple[Range, ...] = ()
    """Intervals in ``train`` of the split interpolation."""
    extrapolation: tuple[Range, ...] = ()
    """Intervals beyond ``train`` of the split extrapolation."""
    choices: tuple[float, ...] = ()
    """The allowed values of a discrete parameter; empty for a continuous one."""
    log_uniform: bool = False
    """Whether values are drawn on a logarithmic scale."""


@dataclass(frozen=True, kw_only=True)
class MeasuredPolicy:
    """A measured policy and the cost of its training."""

    algorithm: str
    """Name of the algorithm or reference."""
    adapts: bool
    """Whether the policy adapts."""
    settings: dict[str, str] = field(default_factory=dict)
    """Training options of the first seed that affect results, as text; empty if not kept."""
    total_steps: tuple[int | None, ...] = ()
    """Control steps of each seed's training, (S,); None for an interrupted training. Empty for a
    reference without training of its own."""
    seconds: tuple[float | None, ...] = ()
    """Time of each seed's training, (S,), likewise."""
    rise: tuple[float | None, ...] = ()
    """Rise of the training return per 100,000 control steps over the last quarter of each seed's
    training curve, (S,); None for a curve that is too short."""


@dataclass(frozen=True, kw_only=True)
class Headroom:
    """Return to gain by adaptation on a split, in mean returns of test episodes."""

    split: Split
    """Split of the tasks."""
    random: float | None
    """Return of random actions; None if not measured."""
    domain_randomisation: float
    """Return of the policy that never adapts."""
    oracle: float
    """Return of the policy that observes the task."""
    gap: Interval
    """Oracle - domain randomisation, paired by task."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not np.isfinite([self.random or 0.0, self.domain_randomisation, self.oracle]).all():
            raise ValueError("returns must be finite")

    @property
    def over_random(self) -> float | None:
        """The gap as a part of oracle - random; None if that is not meaningful."""
        span = None if self.random is None else self.oracle - self.random
        return self.gap.value / span if span else None

    @property
    def is_meaningful(self) -> bool:
        """Whether the captured fraction is meaningful."""
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
    """Intervals in ``train`` without training tasks."""
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
    """Scores of one policy on the tasks of a heat map, averaged over the seeds."""

    algorithm: str
    """Name of the algorithm or reference."""
    adaptation_episodes: int
    """Number of adaptation episodes of each task, in one block."""
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
        """The headline number of adaptation episodes."""
        return headline_episodes(each.adaptation_episodes for each in self.maps)


@dataclass(frozen=True, kw_only=True)
class WorstTask:
    """A task with a low return after a few adaptation episodes."""

    algorithm: str
    """Name of the policy that adapted."""
    seed: int
    """Its training seed."""
    split: Split
    """Split of the task."""
    index: int
    """Index of the task in the split."""
    task: dict[str, float]
    """Task parameters."""
    adaptation_episodes: int
    """Number of adaptation episodes, in one block."""
    return_before: float
    """Return before adapting."""
    return_after: float
    """Return after these episodes."""
    success_before: float
    """Success rate before adapting, 0 to 1."""
    success_after: float
    """Success rate after these episodes, 0 to 1."""
    harmed: bool
    """Whether adapting lowered the return by more than 0.05 of the split's mean headroom."""

    @property
    def change(self) -> float:
        """Return after adapting - return before."""
        return self.return_after - self.return_before


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Results of the policies of one task family on tasks that they were not trained on.

    `to_json` returns the content of evaluation.json; `from_dict` reads it back and checks it: an
    invalid file is an error in one line.
    """

    family: str
    """Id of the family."""
    variant: Conditions | None = None
    """Variant of the measurement; None for the family itself."""
    trained_on: Conditions | None = None
    """Variant of training; None for the family itself."""
    created: str
    """Time of creation, in UTC, by ISO 8601."""
    config: EvaluationConfig
    """Extent of the measurement."""
    seeds: tuple[int, ...]
    """Training seeds, (S,)."""
    task_parameters: tuple[MeasuredParameter, ...] = ()
    """Parameters of the tasks."""
    policies: tuple[MeasuredPolicy, ...]
    """Measured policies, in the order of tables."""
    left_out: tuple[str, ...] = ()
    """Names of the policies left out because they need rewards and rewards were hidden."""
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
    """Further variants of the family; ``variant`` of a row names one of them."""
    scores: tuple[Scores, ...] = field(default=(), compare=False, repr=False)
    """Scores behind the rows, arrays (S, N); saved in evaluation.csv only."""
    tasks: dict[str, Tasks] = field(default_factory=dict, compare=False, repr=False)
    """The N tasks of each split and of each further variant, likewise."""

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
                raise ValueError(f"{part.algorithm!r} is measured, but is not among the policies")
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
        """The measured splits, in their usual order."""
        measured = {row.split for row in self.rows if not row.variant}
        return tuple(split for split in SPLITS if split in measured)

    @property
    def learners(self) -> tuple[str, ...]:
        """Names of the policies that adapt, in the order of tables."""
        return tuple(policy.algorithm for policy in self.policies if policy.adapts)

    @property
    def tasks_as_trained(self) -> bool:
        """Whether training and measurement have the same task ranges."""
        measured, trained = self.variant, self.trained_on
        return (measured.ranges if measured else {}) == (trained.ranges if trained else {})

    @cached_property
    def curves(self) -> dict[tuple[str, str], tuple[Row, ...]]:
        """Rows of a policy on a split by the number of adaptation episodes in one block.

        Keys are (algorithm, split); the first row is before adapting. Episodes of random actions
        have noise, all others do not explore.
        """
        found = defaultdict[tuple[str, str], list[Row]](list)
        for row in sorted(self.rows, key=lambda row: row.episodes):
            is_judged = row.exploring == (row.algorithm == RANDOM)
            if row.blocks <= 1 and is_judged and not row.variant:
                found[row.algorithm, row.split].append(row)
        return {key: tuple(rows) for key, rows in found.items()}

    @cached_property
    def blocks(self) -> dict[tuple[str, str, bool], tuple[Row, ...]]:
        """Rows of a policy on a split after 0, 1, 2, .. blocks of equal size.

        Keys are (algorithm, split, exploring).
        """
        found = defaultdict[tuple[str, str, bool], list[Row]](list)
        for row in sorted(self.rows, key=lambda row: row.blocks):
            is_whole = row.episodes == row.blocks * self.config.episodes_per_block
            if is_whole and not row.variant:
                found[row.algorithm, row.split, row.exploring].append(row)
        return {key: tuple(rows) for key, rows in found.items()}

    def after(self, algorithm: str, split: str, episodes: int) -> Row | None:
        """Return the row of a policy after one block of episodes, None if not measured."""
        rows = self.curves.get((algorithm, split), ())
        return next((row for row in rows if row.episodes == episodes), None)

    def after_blocks(self, algorithm: str, split: str, number: int) -> Row | None:
        """Return the row of a policy after a number of blocks, None if not measured."""
        rows = self.blocks.get((algorithm, split, algorithm == RANDOM), ())
        return rows[number] if number < len(rows) else None

    @cached_property
    def headline(self) -> int | None:
        """The headline number of adaptation episodes, None if no policy adapted."""
        learners = self.learners
        curves = [rows for (name, _), rows in self.curves.items() if name in learners]
        return headline_episodes(row.episodes for rows in curves for row in rows)

    @cached_property
    def episodes_to_90(self) -> dict[tuple[str, str], int]:
        """The fewest episodes of one block that capture 0.9 of the headroom, if any do.

        Keys are (algorithm, split).
        """
        return {
            key: row.episodes
            for key, rows in self.curves.items()
            for row in reversed(rows)
            if row.captured and row.captured.value >= NEARLY_ALL
        }

    def headroom_of(self, split: str) -> Headroom | None:
        """Return the headroom of a split, None if it is not known."""
        return next((entry for entry in self.headroom if entry.split == split), None)

    def to_dataframe(self) -> pd.DataFrame:
        """Return the table task by task: a row for each policy, seed, task and stage.

        ``return`` and ``success`` are means over the test episodes of a task. ``captured`` is the
        gain over domain randomisation as a part of the split's mean headroom, so its mean is the
        fraction of the headroom captured; ``worse`` is whether adapting lost more than 0.05 of that
        headroom. Task parameters follow, a column each.

        Raises:
            ValueError: The evaluation was read from a file; its evaluation.csv holds the table.
        """
        with extra("train", "to_dataframe"):
            import pandas as pd

        if not self.scores:
            raise ValueError(
                "evaluation.json has no scores of single tasks: read evaluation.csv beside it"
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
        # msgspec omits default values from an evaluation that it has read.
        kept = [each.name for each in fields(self) if each.compare]
        return {name: msgspec.to_builtins(getattr(self, name)) for name in kept}

    def to_json(self) -> bytes:
        """Return the content of evaluation.json, with results to 6 significant digits."""
        values = self.to_dict()
        measured = ("rows", "headroom", "worst_tasks")
        values.update({part: rounded(values[part]) for part in measured})
        if self.heat_map:
            values["heat_map"]["maps"] = rounded(values["heat_map"]["maps"])
        return json_bytes(values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Evaluation:
        """Rebuild an evaluation from `to_dict` or from the content of evaluation.json.

        Raises:
            ValueError: A value is missing or not allowed; the message is one line with its place.
        """
        try:
            return msgspec.convert(values, cls)
        except (msgspec.ValidationError, RecursionError) as error:
            text = printable(str(error))[:_LONGEST_MESSAGE]
            raise ValueError(f"not a valid evaluation: {text}") from None


def headline_episodes(numbers: Iterable[int]) -> int | None:
    """Return the headline number of adaptation episodes, None if there is none.

    It is the highest measured number that is at most `FEW_EPISODES`, few enough for a real robot.
    """
    adapted = sorted(number for number in numbers if number)
    few = [number for number in adapted if number <= FEW_EPISODES]
    return next(iter([*few[-1:], *adapted]), None)


def describe_settings(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Return nested settings as text, by their dotted names.

    Args:
        values: Result of `to_dict` of a configuration or variant.
        prefix: Prefix of the names.
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
    """Return a row for every stage, and the headroom of each split where it is known.

    Args:
        scores: Of all policies, arrays (S, N).
        seed: Seed of the bootstrap. Every interval has its own generator, so that it does not
            depend on the other intervals.
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
    """Summarise a stage: its scores, their change by adapting, and the headroom captured."""
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
    if scores.ranks is not None:
        held = (scores.ranks >= BAND[0]) & (scores.ranks <= BAND[1])
        found["coverage"] = bootstrap_mean(held.mean(-1), np.random.default_rng(seed))
        counts, _ = np.histogram(scores.ranks, NUM_RANK_BINS, (0.0, 1.0))
        found["ranks"] = tuple((counts / scores.ranks.size).tolist())
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
    """Return the key of a row, unique in an evaluation."""
    return row.variant, row.split, row.algorithm, row.exploring, row.episodes, row.blocks


def _require_unique(name: str, keys: Iterable[Any]) -> None:
    keys = list(keys)
    if len(set(keys)) < len(keys):
        raise ValueError(f"{name} hold duplicates")
