"""The evaluation as a value: curves of what policies reach, headroom and heat map.

`Evaluation.to_json` gives what evaluation.json holds; `Evaluation.from_dict` reads it back and
checks it, so that a file from a stranger is a valid evaluation or an error in one line.

Shape letters: S training seeds, N tasks of a split, X and Y values along the axes of the heat map.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec
import numpy as np

from metarobot.envs.tasks import SPLITS, Split
from metarobot.evaluation.curve import Curve, Point
from metarobot.evaluation.heat_map import HeatMap
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.statistics import Interval, captured_is_meaningful
from metarobot.io import json_bytes, rounded
from metarobot.printable import printable

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
