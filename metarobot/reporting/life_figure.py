"""The figure of predicted remaining life over age, with 90 % bands."""

from __future__ import annotations

from typing import Any, cast

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from metarobot.printable import printable
from metarobot.reporting.style import FAINT, INK, STYLE

_COLOUR = "#0072b2"
_COLUMNS = 3


def draw_lives(predictions: pd.DataFrame, time: str, *, num_units: int = 6) -> Figure:
    """Draw predictions for units that failed: lives of all lengths, from short to long.

    Args:
        predictions: `HeldOut.predictions`, or of a test table, with ``remaining``.
        time: Column of the age.
        num_units: Greatest number of units.
    """
    known: Any = predictions[predictions["remaining"].notna()]
    lives = known.groupby("unit")[time].max().sort_values(kind="stable")
    count = min(num_units, len(lives))
    places = [int((place + 0.5) * len(lives) / count) for place in range(count)]
    rows = -(-count // _COLUMNS)
    with rc_context(cast("Any", STYLE)):
        figure = Figure(figsize=(9, 0.6 + 2.5 * rows), layout="constrained", dpi=200)
        panels = figure.subplots(rows, min(count, _COLUMNS), squeeze=False).flat
        for panel, unit in zip(panels, lives.index[places], strict=False):
            own = known[known["unit"] == unit]
            age = own[time]
            panel.plot(
                age, own["remaining"], color=INK, linewidth=1.2, linestyle="--", label="true"
            )
            panel.plot(age, own["median"], color=_COLOUR, linewidth=1.6, label="predicted")
            low, high = own["low"], own["high"]
            panel.fill_between(
                age, low, high, color=_COLOUR, alpha=0.15, linewidth=0, label="90 % interval"
            )
            panel.set_ylim(0, 2.0 * max(float(own["remaining"].max()), 1e-9))
            panel.set_title(printable(f"unit {unit}").replace("$", r"\$"))
        for panel in list(figure.axes)[count:]:
            panel.set_visible(False)
        figure.supxlabel(printable(f"age ({time})").replace("$", r"\$"), color=FAINT, fontsize=9.5)
        figure.supylabel("remaining life", color=FAINT, fontsize=9.5)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False)
    return figure
