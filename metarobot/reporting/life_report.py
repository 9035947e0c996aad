"""The report of remaining life: one page with the figures of all learners and some lives."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from metarobot.diagnosis.life import LifeConfig
from metarobot.io import write_file
from metarobot.printable import printable
from metarobot.reporting.report import data_url, page_templates
from metarobot.reporting.style import FAINT, INK, STYLE, png_bytes

FEW_UNITS = 30
"""Units that failed, below which intervals are wide and their coverage is uncertain."""
_COLOUR = "#0072b2"
_PANELS, _COLUMNS = 6, 3


def write_life_report(path: Path, config: LifeConfig, predictions: pd.DataFrame) -> None:
    """Write verdict, figures of all learners and predictions for some units as one HTML file.

    Args:
        path: File to write.
        config: That of the run.
        predictions: For units that the learners were not trained on, see `life.cross_validate`.

    Raises:
        OSError: The file cannot be written.
    """
    own = predictions.query("learner == @config.learner")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+", UserWarning)  # names in other scripts
        picture = png_bytes(draw_lives(own, config.columns.time))
    headings, rows = score_table(config)
    html = (
        page_templates()
        .get_template("life.html.j2")
        .render(
            verdict=verdict(config),
            figure=data_url(picture, "image/png"),
            headings=headings,
            rows=rows,
            config=config,
            few=config.num_failed < FEW_UNITS,
        )
    )
    write_file(path, html.encode())


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


def verdict(config: LifeConfig) -> str:
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
    count = min(_PANELS, len(lives))
    with rc_context(cast("Any", STYLE)):
        figure = Figure(
            figsize=(9, 0.6 + 2.5 * -(-count // _COLUMNS)), layout="constrained", dpi=200
        )
        for place in range(count):
            unit = lives.index[int((place + 0.5) * len(lives) / count)]
            own = known[known["unit"] == unit]
            panel = figure.add_subplot(-(-count // _COLUMNS), min(count, _COLUMNS), place + 1)
            panel.plot(
                own["age"], own["left"], color=INK, linewidth=1.2, linestyle="--", label="true"
            )
            panel.plot(own["age"], own["median"], color=_COLOUR, linewidth=1.6, label="predicted")
            panel.fill_between(
                own["age"],
                own["low"],
                own["high"],
                color=_COLOUR,
                alpha=0.15,
                linewidth=0,
                label="90 % interval",
            )
            panel.set_ylim(0, 2.0 * float(own["left"].max()))
            panel.set_title(_plain(f"unit {unit}"))
        figure.supxlabel(_plain(f"age ({time})"), color=FAINT, fontsize=9.5)
        figure.supylabel("remaining life", color=FAINT, fontsize=9.5)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False)
    return figure


def _plain(text: str) -> str:
    """Return text that matplotlib shows as it is."""
    return printable(text).replace("$", r"\$")
