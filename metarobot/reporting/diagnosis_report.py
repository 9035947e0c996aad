"""Reports of a diagnosis and of remaining life: pages that load nothing and run no script."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd

from metarobot.console import listed, printable
from metarobot.diagnosis.evaluate import FALSE_ALARM_RATE
from metarobot.diagnosis.life import LifeConfig
from metarobot.diagnosis.recordings import Channel
from metarobot.diagnosis.run import DiagnosisConfig
from metarobot.evaluation.statistics import Interval
from metarobot.machine import extra
from metarobot.reporting.report import page_templates
from metarobot.reporting.style import (
    ADAPTING_COLOURS,
    FAINT,
    GREY,
    INK,
    STYLE,
    Cell,
    colours,
    light_grid,
    make_figure,
    number,
    percent,
    png_bytes,
)
from metarobot.reporting.video import data_url

with extra("train", "a figure"):
    import matplotlib.style
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

MOST_LABELS = 24
"""Most labels of a confusion matrix."""
FEW_UNITS = 30
"""Units that failed, below which intervals of lives are wide and their coverage is uncertain."""
_LIVES, _LIVES_IN_A_ROW = 6, 3
_FALSE_ALARMS = (0.02, 0.09)
"""Rates that are near enough to the nominal one."""
_STYLE: Any = ["default", STYLE, {"text.parse_math": False}]
_COLUMNS = 4
Scores = dict[int, Interval]
"""Accuracy by examples of each label."""


class Panel(NamedTuple):
    """Accuracy on labels of one kind: known from training, or new."""

    title: str
    compared: dict[str, Scores]
    """Learners in cross-validation, the chosen one first, then the best."""
    held_out: dict[str, Scores]
    """The chosen learner on held-out recordings; empty without any."""
    rows: list[Mapping[str, Any]]
    """Rows of `Diagnosis.evaluate`."""

    @property
    def best(self) -> dict[str, str]:
        """The first learner of each kind, such as trees."""
        found: dict[str, str] = {}
        for name in self.compared:
            found.setdefault(name.replace(",", " ").split(" ")[0], name)
        return found

    @property
    def shots(self) -> list[int]:
        """Numbers of examples."""
        tables = [*self.held_out.values(), *self.compared.values()]
        return sorted({count for scores in tables for count in scores})


def panels(config: DiagnosisConfig, rows: Sequence[Mapping[str, Any]] = ()) -> list[Panel]:
    """Split the comparison of learners, and rows of `Diagnosis.evaluate`, by kind of labels."""
    found = []
    for known in (True, False):
        compared = _accuracies(
            msgspec.to_builtins(own) for own in config.rows if own.known == known
        )
        chosen = [own.learner for own in config.chosen if own.known == known]
        compared = dict(sorted(compared.items(), key=lambda own: own[0] not in chosen))
        own = [row for row in rows if row["known"] == known]
        if compared or own:
            title = f"faults {'known from' if known else 'new to'} training"
            found.append(Panel(title, compared, _accuracies(own), own))
    return found


def _accuracies(rows: Iterable[Mapping[str, Any]]) -> dict[str, Scores]:
    """Return accuracies by learner, the best on average first."""
    found: dict[str, Scores] = {}
    for row in rows:
        bounds = np.clip(row["accuracy_ci"], 0.0, 1.0).tolist()
        found.setdefault(row["learner"], {})[row["shots"]] = Interval(row["accuracy"], *bounds)
    return dict(sorted(found.items(), key=lambda own: -_mean(own[1])))


def _mean(scores: Scores) -> float:
    return float(np.mean([own.value for own in scores.values()]))


def accuracy_table(panel: Panel, learners: Mapping[str, Scores]) -> tuple[Sequence[Any], list[Any]]:
    """Return headings and rows: accuracy and its interval by learner and number of examples."""
    rows = [
        (name, *(" ".join(Cell.in_percent(scores.get(count))) for count in panel.shots))
        for name, scores in learners.items()
    ]
    return (f"{panel.title}; examples:", *panel.shots), rows


def lead(panel: Panel) -> str:
    """Return the chosen learner, and its lead over the best of another kind, in words."""
    own, *others = (panel.compared[name] for name in panel.best.values())
    name, *following = (name.replace(",", "") for name in panel.best.values())
    right = f"{number(100 * _mean(own), 1)}\N{NO-BREAK SPACE}%"
    text = f"{name} is chosen, right in {right} on average over numbers of examples"
    if not others:
        return text
    points = 100 * (_mean(own) - _mean(others[0]))
    half = [50 * np.mean([s.high - s.low for s in each.values()]) for each in (own, others[0])]
    text += f"; {following[0]} comes next, {number(points, 1)} points behind"
    return text + (", which the intervals leave open" if points <= math.hypot(*half) else "")


def render_report(config: DiagnosisConfig, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the page of a diagnosis, with rows of `Diagnosis.evaluate`."""
    found = panels(config, rows)
    first = next(panel for panel in found if panel.rows)
    measured = first.rows[-1]
    page = page_templates().get_template("diagnosis.html.j2")
    return page.render(
        verdict=map(verdict, found),
        panels=found,
        curves=data_url(_draw_accuracies(found), "image/png"),
        reliability=data_url(_draw_reliability(found), "image/png"),
        matrix=_matrix(measured["confusion"]),
        left_out=len(measured["confusion"]) - MOST_LABELS,
        matrix_of=f"{first.title}, {examples(measured['shots'])}",
        alarms=alarm_words(rows),
        config=config,
        channels=[str(Channel(*pair)) for pair in config.channels],
        listed=listed,
        percent=percent,
        cell=Cell.in_percent,
    )


def verdict(panel: Panel) -> str:
    """Return a sentence with the accuracy of the chosen learner and its lead."""
    text = "no recordings were held out."
    if panel.rows:
        row = panel.rows[-1]
        cell = Cell.in_percent(panel.held_out[row["learner"]][row["shots"]])
        text = (
            f"the right one of {row['way']} labels is named in {cell.value} {cell.interval} of "
            f"held-out recordings, with {examples(row['shots'])} of each."
        )
    if panel.compared:
        text += f" In cross-validation, {lead(panel)}."
    return f"{panel.title.capitalize()}: {text}"


def examples(count: int) -> str:
    """Return "1 example" or "5 examples"."""
    return f"{count} example{'s' * (count != 1)}"


def alarm_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """Describe the reliability of the warning that a recording looks like none of the labels."""
    false, (low, high) = [row["false_alarm"] for row in rows], _FALSE_ALARMS
    many = "too many" if max(false) > high else "fewer" if min(false) < low else "near that"
    text = f"False alarms, nominally {percent(FALSE_ALARM_RATE)}, are {many}: {_span(false)}."
    missed = [1.0 - row["noticed"] for row in rows if row["noticed"] is not None]
    if not missed:
        return f"{text} Unknown faults were not measured: that takes three labels on one machine."
    text += f" A fault without examples is missed in {_span(missed)} of cases"
    return text + (": do not rely on being warned of one." if max(missed) > 0.5 else ".")


def _span(shares: Sequence[float]) -> str:
    return " to ".join(dict.fromkeys((percent(min(shares)), percent(max(shares)))))


def _draw_accuracies(found: Sequence[Panel]) -> bytes:
    """Draw accuracy over the number of examples: the best learner of each kind."""
    colour = colours(dict.fromkeys(kind for panel in found for kind in panel.best))
    lines = {}
    with matplotlib.style.context(_STYLE):
        figure = make_figure(400)
        figure.set_layout_engine("constrained")
        grid = figure.subplots(1, len(found), sharey=True, squeeze=False)
        for axes, panel in zip(grid.flat, found, strict=True):
            curves = [
                ("chosen, on held-out recordings", INK, own) for own in panel.held_out.values()
            ]
            for kind, name in panel.best.items():
                curves.append((kind, colour[kind], panel.compared[name]))
            for place, (name, own, scores) in enumerate(curves):
                away = 0.05 * (place - len(curves) / 2)
                x = [panel.shots.index(count) + away for count in scores]
                values, low, high = zip(*map(msgspec.to_builtins, scores.values()), strict=True)
                (lines[printable(name)],) = axes.plot(x, values, "o-", color=own, zorder=9 - place)
                axes.vlines(x, low, high, color=own, linewidth=4, alpha=0.3)
            for row in panel.rows[-1:]:
                lines["guessing"] = axes.axhline(1 / row["way"], color=GREY, linestyle="--")
            axes.set_xticks(range(len(panel.shots)), map(str, panel.shots))
            axes.set_xlim(-0.5, len(panel.shots) - 0.5)
            axes.set_ylim(0, 1.03)
            axes.set_title(panel.title.capitalize())
            axes.set_xlabel("examples of each label")
            axes.yaxis.set_major_formatter(PercentFormatter(1))
            light_grid(axes)
        figure.legend(
            lines.values(), lines, loc="outside lower center", ncols=_COLUMNS, frameon=False
        )
        return png_bytes(figure)


def _draw_reliability(found: Sequence[Panel]) -> bytes:
    """Draw accuracy over the predicted probability, a panel for each row."""
    pairs = [(panel, row) for panel in found for row in panel.rows]
    lines = -(-len(pairs) // _COLUMNS)
    with matplotlib.style.context(_STYLE):
        figure = make_figure(40 + 250 * lines)
        figure.set_layout_engine("constrained")
        grid = figure.subplots(lines, _COLUMNS, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat[len(pairs) :]:
            axes.set_visible(False)
        for axes, (panel, row) in zip(grid.flat, pairs, strict=False):
            probability, right, count = np.transpose(row["reliability"])
            size = 15 + 350 * count / count.sum()
            axes.plot([0, 1], [0, 1], "--", color=GREY)
            axes.scatter(probability, right, size, ADAPTING_COLOURS[0], alpha=0.75)
            axes.set_title(f"{examples(row['shots'])}\n{panel.title}", size=9)
            axes.set_xlabel(f"calibration error {number(row['calibration_error'])}")
            axes.set(xlim=(-0.05, 1.08), ylim=(-0.05, 1.08))
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(PercentFormatter(1))
            light_grid(axes)
        return png_bytes(figure)


def _matrix(confusion: dict[str, dict[str, int]]) -> pd.DataFrame:
    """Return the rates in percent at which a label (row) was taken for another (column)."""
    counts = pd.DataFrame.from_dict(confusion, orient="index").fillna(0)
    shares = counts.div(counts.sum(axis=1), axis=0).reindex(columns=counts.index, fill_value=0)
    right = pd.Series(np.diag(shares), shares.index)
    labels = sorted(right.nsmallest(MOST_LABELS).index)  # those that are mistaken most
    return (100 * shares.loc[labels, labels]).round().astype(int)


def render_life_report(config: LifeConfig, predictions: pd.DataFrame) -> str:
    """Return the page of remaining life: verdict, figures of all learners, and some lives.

    Args:
        config: Configuration of the run.
        predictions: For units that the learners were not trained on, see `life.cross_validate`.
    """
    own = predictions.query("learner == @config.learner")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+", UserWarning)  # names in other scripts
        picture = png_bytes(draw_lives(own, config.columns.time))
    headings, rows = score_table(config)
    page = page_templates().get_template("life.html.j2")
    return page.render(
        verdict=life_verdict(config),
        figure=data_url(picture, "image/png"),
        headings=headings,
        rows=rows,
        config=config,
        few=config.num_failed < FEW_UNITS,
    )


def score_table(config: LifeConfig) -> tuple[Sequence[str], list[tuple[str, ...]]]:
    """Return headings and rows: mean absolute errors, and coverage at all checks."""
    scores = pd.DataFrame(config.scores)
    first, *ages = scores["ages"].unique()
    rows = []
    for learner, own in scores.groupby("learner", sort=False):
        whole = own.iloc[0]
        errors = [f"{error:.4g}" for error in own["mae"]]
        rows.append((str(learner), *errors, f"{whole['rmse']:.4g}", f"{whole['coverage']:.0%}"))
    headings = ("mean absolute error", first, *(f"at age {age}" for age in ages))
    return (*headings, "RMSE", "90 % intervals hold"), rows


def life_verdict(config: LifeConfig) -> str:
    """Return a sentence: the chosen learner, and its lead over the next one."""
    trained = f"trained on {config.num_units} units, of which {config.num_failed} failed"
    whole = [row for row in config.scores if row["ages"] == config.scores[0]["ages"]]
    if len(whole) < 2:
        return f"{config.learner}: {trained}"
    best, following = sorted(whole, key=lambda row: row["mae"])[:2]
    low, high = following["mae_above_best"]
    open_words = ", so either may be better" if low <= 0.0 else ""
    return (
        f"{best['learner']} is chosen: it errs by {best['mae']:.4g}, {following['learner']} by "
        f"{following['mae']:.4g} (difference {low:.3g} to {high:.3g}{open_words}); {trained}"
    )


def draw_lives(predictions: pd.DataFrame, time: str) -> Figure:
    """Draw predictions for units that failed: lives of all lengths, from short to long.

    Args:
        predictions: Of one learner.
        time: Name of the age.
    """
    known: Any = predictions[predictions["failed"]]
    lives = (known["age"] + known["left"]).groupby(known["unit"]).first().sort_values(kind="stable")
    count = min(_LIVES, len(lives))
    with matplotlib.style.context(_STYLE):
        rows = -(-count // _LIVES_IN_A_ROW)
        figure = Figure(figsize=(9, 0.6 + 2.5 * rows), layout="constrained", dpi=200)
        for place in range(count):
            unit = lives.index[int((place + 0.5) * len(lives) / count)]
            own = known[known["unit"] == unit]
            age = own["age"]
            panel = figure.add_subplot(rows, min(count, _LIVES_IN_A_ROW), place + 1)
            panel.plot(age, own["left"], "--", color=INK, linewidth=1.2, label="true")
            blue, band = ADAPTING_COLOURS[0], {"linewidth": 0, "label": "90 % interval"}
            panel.plot(age, own["median"], color=blue, linewidth=1.6, label="predicted")
            panel.fill_between(age, own["low"], own["high"], color=blue, alpha=0.15, **band)
            panel.set_ylim(0, 2.0 * float(own["left"].max()))
            panel.set_title(printable(f"unit {unit}"))
        figure.supxlabel(printable(f"age ({time})"), color=FAINT, fontsize=9.5)
        figure.supylabel("remaining life", color=FAINT, fontsize=9.5)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False)
    return figure
