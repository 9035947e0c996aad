"""From which strangeness on a recording looks like none of the classes.

Strangeness is a distance in two spaces (`AdaptedTasks.strangeness`).  The thresholds are what 95 %
of recordings of known classes stay below, in tasks of the training material; or what an example
reaches that is left out of its class, where a machine's examples are farther apart than that.  What
that is worth on others is measured: how many known ones are warned about, and how many unknown ones
are noticed.
"""

from __future__ import annotations

import numpy as np
import torch

from metarobot.diagnosis_runs.adapted import Adapter, Thresholds
from metarobot.diagnosis_runs.material import Material, in_blocks, query_labels, without_last
from metarobot.few_shot_diagnosis import TaskRows, few_shot_tasks
from metarobot.rollout.seeding import Phase, numpy_generator

SHOTS = (1, 2, 5, 10)
"""Numbers of examples that are measured, as far as there are so many."""
KNOWN_SHARE = 0.975
"""In either of two spaces; so about 95 % of known recordings stay below both."""
_CALIBRATION_TASKS = 150


def shots_of(material: Material) -> tuple[int, ...]:
    """Return the numbers of examples that tasks of it can have."""
    return tuple(number for number in SHOTS if number <= material.most_shots)


def thresholds(adapter: Adapter, material: Material, seed: int) -> dict[str, Thresholds]:
    """Return the thresholds for each number of examples."""
    found = {}
    for shots in shots_of(material):
        rng = numpy_generator(seed, shots, Phase.ADAPTATION)
        rows = material.draw(rng, _CALIBRATION_TASKS, shots)
        values = strangeness_of(adapter, material, rows, None)  # (2, N, way Q)
        embedded, plain = np.quantile(values.reshape(2, -1), KNOWN_SHARE, axis=1)
        found[str(shots)] = round(float(embedded), 6), round(float(plain), 6)
    return found


def strangeness_of(
    adapter: Adapter, material: Material, rows: TaskRows, above: Thresholds | None
) -> np.ndarray:
    """Return the strangeness of every query in both spaces, (2, N, way Q).

    Where thresholds are given it is that over what is usual, (N, way Q).
    """
    parts = []
    for block in in_blocks(rows):
        tasks = few_shot_tasks(block, material.support, material.query)
        adapted = adapter.adapt(tasks.support)
        parts.append(
            adapted.strangeness(tasks.query.inputs)
            if above is None
            else adapted.strangeness_over(tasks.query.inputs, above)
        )
    return torch.cat(parts, dim=-2).numpy()


def warned_of(
    adapter: Adapter, material: Material, rows: TaskRows, above: Thresholds
) -> tuple[np.ndarray, np.ndarray]:
    """Return which queries are warned about, (N, way Q), and which of a task are unknown, (way Q,).

    The last class of each task has no examples.
    """
    warned = strangeness_of(adapter, material, without_last(rows), above) > 1
    return warned, query_labels(rows).numpy() == rows.query.shape[1] - 1
