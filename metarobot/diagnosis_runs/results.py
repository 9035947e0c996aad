"""What an evaluation has found: evaluation.json holds just this."""

from __future__ import annotations

import msgspec

from metarobot.evaluation.statistics import Interval


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """How often one learner was right."""

    learner: str
    shots: int
    """Examples of each class."""
    accuracy: Interval
    """Share of recordings that it named rightly."""


class Confusion(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken for what."""

    shots: int
    labels: tuple[str, ...]
    taken: tuple[tuple[int, ...], ...]
    """Recordings of the label of the row that were taken for that of the column."""
    asked: tuple[tuple[int, ...], ...]
    """Recordings of the label of the row in tasks that had examples of that of the column."""


class Strangers(msgspec.Struct, frozen=True, kw_only=True):
    """What the warning is worth that a recording looks like none of the classes."""

    shots: int
    false_warnings: Interval
    """Share of recordings of known classes that were warned about."""
    noticed: Interval
    """Share of recordings of a class without examples that were warned about."""


class SplitResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured on one split."""

    name: str
    way: int
    """Classes of a task."""
    num_tasks: int
    num_recordings: int
    num_machines: int
    scores: tuple[Score, ...]
    confusion: Confusion
    strangers: Strangers | None
    """None where tasks have two classes: one is no choice."""
    sure: Interval | None
    """Share that was right where its probability was 90 % or more; None if it never was."""
    sure_share: float
    """Share of recordings where it was."""

    def score(self, learner: str, shots: int) -> Score | None:
        """Return one score."""
        fitting = (own for own in self.scores if own.learner == learner and own.shots == shots)
        return next(fitting, None)

    def of(self, learner: str) -> tuple[Score, ...]:
        """Return the scores of one learner, by shots."""
        return tuple(own for own in self.scores if own.learner == learner)

    @property
    def learners(self) -> tuple[str, ...]:
        """Names of all that were measured; the trained learner comes first."""
        return tuple(dict.fromkeys(own.learner for own in self.scores))


class HeatRow(msgspec.Struct, frozen=True, kw_only=True):
    """What each piece of one channel was worth for a decision."""

    channel: str
    worth: tuple[float, ...]
    """By how much the evidence falls without the piece, one for each of equal pieces of time."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One recording, and the part of it that decided."""

    split: str
    machine: str
    label: str
    """What it is."""
    said: str
    """What the learner said."""
    probability: float
    shots: int
    rows: tuple[HeatRow, ...]
    """The channels that were worth most, the first one most."""
    unit: str
    """Of the first channel."""
    duration_s: float
    recorded: tuple[float, ...]
    """The first channel, evenly spaced over the duration."""
    healthy: tuple[float, ...]
    """The same channel of the machine when it was healthy; empty where there is none."""
    aligned: bool
    """Whether both are the same motion, so that their difference means something."""
    first_s: float
    """Where the part that decided begins."""
    last_s: float


class LifeCurve(msgspec.Struct, frozen=True, kw_only=True):
    """What was predicted of one part's remaining life, check by check."""

    title: str
    age_cycles: tuple[float, ...]
    predicted: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    life_cycles: float


class LifeScore(msgspec.Struct, frozen=True, kw_only=True):
    """How good predictions were at some share of life seen."""

    learner: str
    seen: float
    rmse: float
    coverage: float


class LifeResult(msgspec.Struct, frozen=True, kw_only=True):
    """Remaining life: a few machines, and scores over all."""

    curves: tuple[LifeCurve, ...]
    scores: tuple[LifeScore, ...]
    num_machines: int


class DiagnosisResult(msgspec.Struct, frozen=True, kw_only=True):
    """All that an evaluation of a run has found."""

    kind: str
    learner: str
    """Title of the trained learner."""
    created: str
    trained_on: str
    """A sentence."""
    splits: tuple[SplitResult, ...]
    decisions: tuple[Decision, ...] = ()
    life: LifeResult | None = None
