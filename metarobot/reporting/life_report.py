"""The report of remaining life: one page with the figures of all learners and some lives."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from metarobot.diagnosis.life import HeldOut, LifeConfig, LifeRun
from metarobot.io import write_file
from metarobot.reporting.life_figure import draw_lives
from metarobot.reporting.report import data_url, page_templates
from metarobot.reporting.style import png_bytes

FEW_UNITS = 30
"""Units that failed, below which intervals are wide and their coverage is uncertain."""


def write_life_report(path: Path, run: LifeRun, held_out: HeldOut) -> None:
    """Write verdict, figures of all learners and predictions for some units as one HTML file.

    Args:
        path: File to write.
        run: The run.
        held_out: Predictions for units that the learner was not trained on.

    Raises:
        OSError: The file cannot be written.
    """
    config = run.config
    figure = draw_lives(held_out.predictions(config.learner), config.columns.time)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+", UserWarning)  # names in other scripts
        picture = png_bytes(figure)
    headings, rows = score_table(config)
    page = page_templates().get_template("life.html.j2")
    html = page.render(
        verdict=verdict(config),
        figure=data_url(picture, "image/png"),
        headings=headings,
        rows=rows,
        chosen=config.learner,
        config=config,
        few=config.num_failed < FEW_UNITS,
    )
    write_file(path, html.encode())


def score_table(config: LifeConfig) -> tuple[Sequence[str], list[tuple[str, ...]]]:
    """Return headings and rows: mean absolute errors, and coverage at all checks."""
    ages = list(dict.fromkeys(row.ages for row in config.scores))
    rows = []
    for name in dict.fromkeys(row.learner for row in config.scores):
        own = {row.ages: row for row in config.scores if row.learner == name}
        errors = [f"{own[age].mae:.4g}" if age in own else "" for age in ages]
        rows.append((name, *errors, f"{own[ages[0]].rmse:.4g}", f"{own[ages[0]].coverage:.0%}"))
    headings = [ages[0], *(f"at age {age}" for age in ages[1:])]
    return ("mean absolute error", *headings, "RMSE", "90 % intervals hold"), rows


def verdict(config: LifeConfig) -> str:
    """Return a sentence: the chosen learner, and its lead."""
    trained = f"trained on {config.num_units} units, of which {config.num_failed} failed"
    if (lead := config.margin) is None:
        return f"{config.learner}: {trained}"
    low, high = lead.difference_ci
    open_words = ", so either may be better" if low <= 0.0 else ""
    return (
        f"{lead.learner} is chosen: it errs by {lead.mae:.4g}, {lead.next_learner} by "
        f"{lead.next_mae:.4g} (difference {low:.3g} to {high:.3g}{open_words}); {trained}"
    )
