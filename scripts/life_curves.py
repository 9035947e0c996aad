"""Draws remaining life over age for a few machines, with what two learners predict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from metarobot.remaining_life import (
    CYCLES_BETWEEN_CHECKS,
    Calibration,
    Checks,
    LifeLearner,
    Lives,
)
from metarobot.remaining_life.wear import WEARING_FAULTS
from metarobot.reporting.style import FAINT, INK, STYLE

SHOWN = {"MAML": "#0072b2", "Bayesian curve": "#c65400"}
_SECOND = 1
_COLUMNS, _ROWS = 3, 2


def draw_lives(
    lives: Lives, learners: Mapping[str, tuple[LifeLearner, Calibration]], path: Path
) -> None:
    """Write the picture: the second part of the first machine of every fault."""
    with rc_context(cast("Any", STYLE)):
        figure = Figure(figsize=(9, 5.6), layout="constrained", dpi=200)
        FigureCanvasAgg(figure)
        panels = figure.subplots(_ROWS, _COLUMNS).flat
        for fault, panel in enumerate(panels):
            machine = int(np.flatnonzero(lives.fault == fault)[0])
            _draw_machine(panel, lives, machine, learners)
            panel.set_title(WEARING_FAULTS[fault].replace("_", " "))
        figure.supxlabel("age of the part (cycles)", color=FAINT, fontsize=9.5)
        figure.supylabel("remaining cycles", color=FAINT, fontsize=9.5)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=4, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Software": None})


def _draw_machine(
    panel: Any,
    lives: Lives,
    machine: int,
    learners: Mapping[str, tuple[LifeLearner, Calibration]],
) -> None:
    """Draw what is predicted at every check of a machine's second part."""
    check = np.arange(lives.num_checks[machine, _SECOND])
    here = Checks(np.full_like(check, machine), np.full_like(check, _SECOND), check)
    age = check * CYCLES_BETWEEN_CHECKS
    life = lives.life_cycles[machine, _SECOND]
    panel.plot([0, life], [life, 0], color=INK, linewidth=1.2, linestyle="--", label="what came")
    for name, colour in SHOWN.items():
        learner, calibration = learners[name]
        predictions = learner.predict(lives, here)
        low, high = calibration.interval(predictions, here)
        panel.plot(age, predictions.cycles, color=colour, linewidth=1.6, label=name)
        panel.fill_between(age, low, high, color=colour, alpha=0.15, linewidth=0)
    panel.set_ylim(0, 2.0 * life)
    panel.set_xlim(0, life)
