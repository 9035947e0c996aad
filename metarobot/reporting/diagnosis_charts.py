"""Geometry of the charts in the report of a diagnosis: places in percent, which a page scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from metarobot.diagnosis_runs.results import Confusion, Decision, LifeCurve, SplitResult
from metarobot.reporting.diagnosis_words import words
from metarobot.reporting.style import percent, percent_interval

KINDS = ("adapted", "domain_randomisation", "random", "oracle")
"""Colours of the page's style sheet: the trained learner first, then references."""
MOST_LABELS = 24
"""Labels of a confusion matrix; more would have no room."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 9.0, 96.0, 5.0, 86.0  # percent of the chart
_WIDTH, _HEIGHT = 320.0, 100.0  # of a stretched picture
_ROOM = 0.06


class Dot(NamedTuple):
    """One score: its place, the ends of its interval, and what pointing at it says."""

    x: float
    y: float
    low: float
    high: float
    says: str


class Line(NamedTuple):
    """The scores of one learner, by shots."""

    name: str
    kind: str
    dots: tuple[Dot, ...]


class AccuracyChart(NamedTuple):
    """Accuracy against the number of examples."""

    lines: tuple[Line, ...]
    shots: tuple[tuple[float, int], ...]
    """Place and number of each tick below."""
    levels: tuple[tuple[float, str], ...]
    """Place and words of each line across."""
    chance: float
    """Place of blind guessing."""


def accuracy_chart(split: SplitResult) -> AccuracyChart:
    """Return where everything stands."""
    numbers = sorted({own.shots for own in split.scores})
    span = max(len(numbers) - 1, 1)
    places = {
        number: _LEFT + 6 + (_RIGHT - _LEFT - 9) * k / span for k, number in enumerate(numbers)
    }
    lines = []
    for order, name in enumerate(split.learners):
        offset = 0.5 * (order - 1)
        dots = tuple(
            Dot(
                round(places[own.shots] + offset, 2),
                _height(own.accuracy.value),
                _height(own.accuracy.low),
                _height(own.accuracy.high),
                f"{name}, {own.shots} of each: {percent(own.accuracy.value)} "
                f"{percent_interval(own.accuracy)}",
            )
            for own in split.of(name)
        )
        lines.append(Line(name, KINDS[min(order, len(KINDS) - 1)], dots))
    levels = tuple((_height(k / 4), percent(k / 4)) for k in range(5))
    ticks = tuple((round(places[number], 2), number) for number in numbers)
    return AccuracyChart(tuple(reversed(lines)), ticks, levels, _height(1 / split.way))


def _height(share: float) -> float:
    return round(_BOTTOM - (_BOTTOM - _TOP) * share, 2)


class Cell(NamedTuple):
    """A cell of a confusion matrix."""

    shade: int
    """How dark it is, in percent."""
    text: str
    says: str


class Matrix(NamedTuple):
    """A confusion matrix; a cell is None where the labels were never offered together."""

    labels: tuple[str, ...]
    rows: tuple[tuple[Cell | None, ...], ...]
    left_out: int
    """Labels that had no room."""


def matrix(confusion: Confusion) -> Matrix:
    """Return the cells of a confusion matrix, with what pointing at each says."""
    count = min(len(confusion.labels), MOST_LABELS)
    labels = tuple(words(label) for label in confusion.labels[:count])
    rows = tuple(
        tuple(_cell(confusion, labels, row, column) for column in range(count))
        for row in range(count)
    )
    return Matrix(labels, rows, len(confusion.labels) - count)


def _cell(confusion: Confusion, labels: Sequence[str], row: int, column: int) -> Cell | None:
    taken, asked = confusion.taken[row][column], confusion.asked[row][column]
    if asked == 0:
        return None
    share = taken / asked
    text = "" if taken == 0 else f"{100 * share:.0f}"
    verb = "named rightly" if row == column else f"taken for {labels[column]}"
    says = f"{labels[row]}: {taken} of {asked} {verb} ({percent(share)})"
    return Cell(round(100 * share), text, says)


class Trace(NamedTuple):
    """Lines of a stretched picture, 320 x 100, and the numbers at its edges."""

    recorded: str
    healthy: str
    """Empty where there is none."""
    low: str
    high: str


class Piece(NamedTuple):
    """A piece of a strip: how dark, and what pointing at it says."""

    shade: int
    says: str


class Strip(NamedTuple):
    """What the pieces of one channel were worth."""

    channel: str
    pieces: tuple[Piece, ...]


class DecisionChart(NamedTuple):
    """One recording with the part that decided."""

    trace: Trace
    difference: Trace | None
    """Less the healthy one, where both are the same motion."""
    first: float
    """Where the part that decided begins, on the stretched picture."""
    width: float
    strips: tuple[Strip, ...]
    end: str


def decision_chart(decision: Decision) -> DecisionChart:
    """Return where everything stands."""
    scale = _WIDTH / decision.duration_s
    recorded, healthy = decision.recorded, decision.healthy
    difference = None
    if decision.aligned and len(healthy) == len(recorded):
        gap = [own - other for own, other in zip(recorded, healthy, strict=True)]
        difference = _trace(gap, ())
    most = max((max(row.worth) for row in decision.rows), default=0.0) or 1.0
    strips = tuple(
        Strip(row.channel, tuple(_pieces(row.worth, most, decision.duration_s)))
        for row in decision.rows
    )
    return DecisionChart(
        _trace(recorded, healthy),
        difference,
        round(decision.first_s * scale, 1),
        round((decision.last_s - decision.first_s) * scale, 1),
        strips,
        f"{decision.duration_s:.3g} s",
    )


def _pieces(worth: Sequence[float], most: float, duration_s: float) -> list[Piece]:
    step = duration_s / len(worth)
    return [
        Piece(
            round(100 * min(1.0, max(0.0, value / most))),
            f"{k * step:.3g} to {(k + 1) * step:.3g} s: evidence falls by {value:.2g} without it",
        )
        for k, value in enumerate(worth)
    ]


def _trace(recorded: Sequence[float], healthy: Sequence[float]) -> Trace:
    low, high = min([*recorded, *healthy]), max([*recorded, *healthy])
    return Trace(
        _points(recorded, low, high), _points(healthy, low, high), _written(low), _written(high)
    )


def _written(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _points(values: Sequence[float], low: float, high: float) -> str:
    """Return a line as SVG takes it."""
    if not values:
        return ""
    span, steps = (high - low) or 1.0, max(len(values) - 1, 1)
    room = _HEIGHT * _ROOM
    stretch = (_HEIGHT - 2 * room) / span
    return " ".join(
        f"{_WIDTH * k / steps:.1f},{_HEIGHT - room - stretch * (value - low):.1f}"
        for k, value in enumerate(values)
    )


class LifeChart(NamedTuple):
    """Remaining life of one part over its age."""

    title: str
    band: str
    predicted: str
    life: str
    top: str


def life_chart(curve: LifeCurve) -> LifeChart:
    """Return band and lines; what is above twice the life is cut off."""
    top = 2 * curve.life_cycles

    def place(age: float, cycles: float) -> str:
        height = _HEIGHT * (1 - min(max(cycles, 0.0), top) / top)
        return f"{_WIDTH * age / curve.life_cycles:.1f},{height:.1f}"

    high = [place(age, value) for age, value in zip(curve.age_cycles, curve.high, strict=True)]
    low = [place(age, value) for age, value in zip(curve.age_cycles, curve.low, strict=True)]
    said = [place(a, value) for a, value in zip(curve.age_cycles, curve.predicted, strict=True)]
    return LifeChart(
        curve.title,
        " ".join([*high, *reversed(low)]),
        " ".join(said),
        f"{curve.life_cycles:.0f} cycles",
        f"{top:.0f}",
    )
