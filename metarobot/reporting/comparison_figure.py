"""The figure of a comparison: the return of each algorithm while it adapts, one panel each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes

from metarobot.reporting.style import (
    FAINT,
    INK,
    SPLIT_COLOURS,
    SPLIT_TITLES,
    STYLE,
    algorithm_titles,
    family_title,
    light_grid,
    make_figure,
    number,
    png_bytes,
    write_title,
)

_MOST_COLUMNS = 4
_REFERENCES = ("domain_randomisation", "oracle")
_PANEL_PX = 190

Row = dict[str, Any]


def draw_comparison(comparison: dict[str, Any]) -> bytes:
    """Draw the return after 0, 1, .. adaptation steps, a panel an algorithm and a line a split.

    Bands are 95 % bootstrap intervals. In every panel stand domain randomisation and the oracle, as
    lines of the split's colour, where they were compared. Returns are those of deterministic
    episodes.

    Args:
        comparison: In the layout of comparison.json.
    """
    rows = comparison["rows"]
    splits = [split for split in SPLIT_TITLES if any(row["split"] == split for row in rows)]
    shown = [name for name in comparison["algorithms"] if name not in (*_REFERENCES, "random")]
    shown = shown or comparison["algorithms"]
    num_columns = min(len(shown), _MOST_COLUMNS)
    num_rows = math.ceil(len(shown) / num_columns)
    height_px = 130 + _PANEL_PX * num_rows
    with matplotlib.style.context(["default", STYLE]):
        figure = make_figure(height_px)
        grid = figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False)
        figure.subplots_adjust(
            left=0.075,
            right=0.985,
            top=1 - 92 / height_px,
            bottom=48 / height_px,
            wspace=0.08,
            hspace=0.32,
        )
        for axes, name in zip(grid.flat, shown, strict=False):
            _draw_panel(axes, name, rows, splits)
        for axes in list(grid.flat)[len(shown) :]:
            axes.set_visible(False)
        low, high = _limits(rows)
        grid[0, 0].set_ylim(low, high)
        with_shares = any(row["captured"] is not None for row in rows)
        _write_legend(figure, splits, height_px, with_shares=with_shares)
        figure.text(0.53, 10 / height_px, "adaptation steps", color=FAINT, ha="center")
        figure.supylabel("return", x=0.008, size="medium", color=FAINT)
        write_title(
            figure,
            f"{family_title(comparison['family'])}: return while adapting, algorithm by algorithm",
            f"Deterministic episodes, {_counted(len(comparison['seeds']), 'seed')}, bands are 95 % "
            f"intervals over tasks.{_named_lines({row['algorithm'] for row in rows})}",
        )
        return png_bytes(figure)


def _draw_panel(axes: Axes, name: str, rows: Sequence[Row], splits: Sequence[str]) -> None:
    captured = []
    for split in splits:
        colour = SPLIT_COLOURS[split]
        for reference, dashes in zip(_REFERENCES, ("--", ":"), strict=True):
            for row in _rows_of(rows, reference, split):
                axes.axhline(row["return_mean"], color=colour, linestyle=dashes, linewidth=1.0)
        line = _rows_of(rows, name, split)
        steps = [row["adaptation_steps"] for row in line]
        bounds = np.array([row["return_mean_ci"] for row in line]).reshape(-1, 2)
        axes.fill_between(steps, bounds[:, 0], bounds[:, 1], color=colour, alpha=0.2, linewidth=0)
        means = [row["return_mean"] for row in line]
        axes.plot(steps, means, color=colour, linewidth=2.0, marker="o", markersize=4, zorder=4)
        captured += [row["captured"] for row in line if row["adaptation_steps"] == 1]
    axes.set_title(algorithm_titles().get(name, name), size=10, color=INK, pad=5)
    if any(share is not None for share in captured):
        shares = ["–" if share is None else number(100 * share, 0) for share in captured]
        axes.set_title(
            " / ".join(shares), loc="right", size=8.5, color=FAINT, pad=5, weight="normal"
        )
    axes.set_xticks(range(1 + max(row["adaptation_steps"] for row in rows)))
    light_grid(axes)


def _rows_of(rows: Sequence[Row], algorithm: str, split: str) -> list[Row]:
    found = [row for row in rows if row["algorithm"] == algorithm and row["split"] == split]
    return sorted(found, key=lambda row: row["adaptation_steps"])


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    """Return y limits that hold every algorithm, but random actions and what is worse than they."""
    random = [row["return_mean"] for row in rows if row["algorithm"] == "random"]
    floor = min(random, default=-math.inf)
    others = [row for row in rows if row["algorithm"] != "random"]
    means = [row["return_mean"] for row in others if row["return_mean"] >= floor] or random
    span = max(max(means) - min(means), 1e-9)
    return min(means) - 0.08 * span, max(means) + 0.08 * span


def _write_legend(figure: Any, splits: Sequence[str], height_px: int, *, with_shares: bool) -> None:
    """Name the splits in their colours, in one line below the title, and what stands in grey."""
    x = 0.012
    for split in splits:
        text = figure.text(
            x,
            1 - 62 / height_px,
            SPLIT_TITLES[split].lower(),
            color=SPLIT_COLOURS[split],
            weight="bold",
        )
        x += text.get_window_extent().width / figure.bbox.width + 0.02
    if with_shares:
        meaning = "grey: percent of the headroom captured by one step"
        figure.text(x, 1 - 62 / height_px, meaning, color=FAINT, size=8.5)


def _named_lines(algorithms: set[str]) -> str:
    """Return what the level lines are, of those that are there."""
    names = {
        "domain_randomisation": " Dashed: domain randomisation.",
        "oracle": " Dotted: the oracle.",
    }
    return "".join(text for algorithm, text in names.items() if algorithm in algorithms)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + "s" * (count != 1)
