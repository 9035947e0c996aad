"""Draw what faults look like in the health check of one arm: docs/diagnosis.png."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sweeps import write_figure

from metarobot.diagnosis import FAULTS, HEALTHY, SAMPLES_PER_S, record, sample_machines
from metarobot.diagnosis.channels import COMMANDED_TORQUE, DELIVERED_TORQUE, VELOCITY

OUT = Path(__file__).resolve().parent.parent / "docs/diagnosis.png"
JOINT = 3
SHOWN = (
    ("dry_friction", DELIVERED_TORQUE, "delivered torque (N m)", 1.0),
    ("weak_drive", DELIVERED_TORQUE, "delivered torque (N m)", 1.0),
    ("gear_ripple", VELOCITY, "velocity (mrad/s)", 1e3),
    ("encoder_dropouts", COMMANDED_TORQUE, "commanded torque (N m)", 1.0),
)
"""Faults, each with the channel that shows it best."""
_FAULTY, _HEALTHY = "#c65400", "#0072b2"


def main() -> int:
    """Record one healthy check for reference, and one of each fault at its middle severity."""
    names = [HEALTHY, HEALTHY, *(name for name, *_ in SHOWN)]
    middle = [0.0, 0.0, *(np.mean(FAULTS[name].severity.train) for name in names[2:])]
    machine = sample_machines(1, "train", seed=100).rows([0] * len(names))
    found = record(machine, names, middle, 0, joints=JOINT, checks=range(len(names)))
    signals = found.signals.astype(np.float64)
    time_s = np.arange(signals.shape[2]) / SAMPLES_PER_S
    figure = Figure(figsize=(12, 6.4), dpi=150, layout="constrained")
    for column, (name, channels, label, factor) in enumerate(SHOWN):
        axes = figure.add_subplot(2, 4, column + 1)
        below = figure.add_subplot(2, 4, column + 5)
        row = channels.start + JOINT - 1
        for recording, colour in ((signals[column + 2], _FAULTY), (signals[1], _HEALTHY)):
            axes.plot(time_s, factor * recording[row], color=colour, lw=1.0)
            below.plot(time_s, factor * (recording - signals[0])[row], color=colour, lw=0.8)
        axes.set_title(f"{name.replace('_', ' ')} in joint {JOINT}", fontsize=11)
        axes.set_ylabel(label, fontsize=9)
        below.set_ylabel(f"difference {label[label.index('(') :]}", fontsize=9)
        below.set_xlabel("time (s)", fontsize=9)
        for one in (axes, below):
            one.tick_params(labelsize=8)
            one.grid(alpha=0.25)
    handles = [Line2D([], [], color=colour) for colour in (_HEALTHY, _FAULTY)]
    figure.legend(
        handles,
        ["another healthy check", "at fault"],
        loc="outside upper center",
        ncols=2,
        fontsize=10,
        frameon=False,
    )
    write_figure(figure, OUT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
