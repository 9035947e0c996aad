"""Finds the part of a recording that decided: what the evidence loses without it (occlusion)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarobot.diagnosis.own_data import OwnRecordings
from metarobot.diagnosis.own_data.columns import column_name
from metarobot.diagnosis_runs.adapted import AdaptedTasks, Adapter
from metarobot.diagnosis_runs.material import Material, query_labels
from metarobot.diagnosis_runs.results import Decision, HeatRow
from metarobot.diagnosis_runs.sights import Sight
from metarobot.few_shot_diagnosis import TaskRows, few_shot_tasks
from metarobot.rollout.seeding import Phase, numpy_generator

PIECES = 16
"""Pieces of time."""
_CHANNELS = 5
"""Channels whose pieces are looked at."""
_POINTS = 320
"""Points of a trace."""
_AT_ONCE = 128
_PART = 0.5
"""The part that decided goes on as long as pieces are worth so much of the best one."""
_TASKS = 60


class Traces(NamedTuple):
    """The recordings behind the queries of a material."""

    recordings: OwnRecordings
    healthy: Callable[[int], np.ndarray | None]
    """The healthy recording beside a row, (T, C)."""
    aligned: bool
    """Whether all are the same motion."""


def decisions(
    adapter: Adapter, sight: Sight, material: Material, traces: Traces, count: int, seed: int
) -> list[Decision]:
    """Look at some queries of different labels, those that were diagnosed rightly first."""
    shots = min(5, material.most_shots)
    rows = material.draw(numpy_generator(seed, shots, Phase.RENDERING), _TASKS, shots)
    found: dict[str, Decision] = {}
    for number in range(_TASKS):
        task = TaskRows(*(column[number : number + 1] for column in rows))
        tasks = few_shot_tasks(task, material.support, material.query)
        adapted = adapter.adapt(tasks.support)
        label = query_labels(task).numpy()
        said = adapted.probabilities(tasks.query.inputs)[0].argmax(-1).numpy()
        for place in np.flatnonzero(said == label):
            name = material.classes[int(task.label[0, label[place]])]
            key = name.partition(" in ")[0]
            if key in found or key == "healthy":
                continue
            row = int(task.query[0].ravel()[place])
            own = tasks.query.inputs[0, place]
            names = [material.classes[int(code)] for code in task.label[0]]
            found[key] = _decision(
                adapted, sight, own, (row, int(said[place])), names, traces, material.name, shots
            )
            break
        if len(found) == count:
            break
    return list(found.values())


def _decision(
    adapted: AdaptedTasks,
    sight: Sight,
    own: Tensor,
    of: tuple[int, int],
    names: list[str],
    traces: Traces,
    split: str,
    shots: int,
) -> Decision:
    """Occlude channels, then pieces of those that were worth most."""
    row, said = of
    recordings = traces.recordings
    masks = [sight.mask(channel, tuple(own.shape)) for channel in range(len(recordings.channels))]
    whole = worth(adapted, own, masks, said)
    best = [int(channel) for channel in np.argsort(-whole)[:_CHANNELS]]
    pieces = _pieces(own.shape[-1])
    heat = [worth(adapted, own, [masks[c] & piece for piece in pieces], said) for c in best]
    order = np.argsort([-each.max() for each in heat])
    best, heat = [best[place] for place in order], [heat[place] for place in order]
    channel = recordings.channels[best[0]]
    first, last = _span(heat[0])
    healthy = traces.healthy(row)
    return Decision(
        split=split,
        machine=str(recordings.machine[row]),
        label=str(recordings.label[row]),
        said=names[said],
        probability=float(adapted.probabilities(own[None, None])[0, 0, said]),
        shots=shots,
        rows=tuple(
            HeatRow(channel=column_name(recordings.channels[c]), worth=tuple(map(float, each)))
            for c, each in zip(best, heat, strict=True)
        ),
        unit=channel.unit,
        duration_s=recordings.duration_s,
        recorded=_thinned(recordings.signals[row, :, best[0]]),
        healthy=() if healthy is None else _thinned(healthy[:, best[0]]),
        aligned=traces.aligned,
        first_s=first / PIECES * recordings.duration_s,
        last_s=last / PIECES * recordings.duration_s,
    )


def worth(adapted: AdaptedTasks, own: Tensor, masks: list[Tensor], said: int) -> np.ndarray:
    """Return by how much the evidence for a class falls without each part, (len(masks),).

    Evidence is the logarithm of its probability over that of the next class.  A part is taken away
    by what all examples have in common, or by what a healthy machine is like.
    """
    common = adapted.centre[0, 0]
    before = _evidence(adapted, own[None], said)
    after = [
        _evidence(adapted, torch.stack([torch.where(mask, common, own) for mask in block]), said)
        for block in (masks[first : first + _AT_ONCE] for first in range(0, len(masks), _AT_ONCE))
    ]
    return (before - torch.cat(after)).numpy()


def _evidence(adapted: AdaptedTasks, inputs: Tensor, said: int) -> Tensor:
    logs = adapted.log_probabilities(inputs[None])[0]
    others = logs.clone()
    others[:, said] = -torch.inf
    return logs[:, said] - others.amax(1)


def _pieces(length: int) -> list[Tensor]:
    """Return which of the times of a network each piece holds, (length,) of bool."""
    edges = np.linspace(0, length, PIECES + 1).round().astype(int)
    times = torch.arange(length)
    return [(times >= edges[k]) & (times < edges[k + 1]) for k in range(PIECES)]


def _span(heat: np.ndarray) -> tuple[int, int]:
    """Return the pieces around the best one that are worth much too, first and last + 1."""
    best = int(heat.argmax())
    enough = heat >= _PART * heat[best]
    first, last = best, best + 1
    while first > 0 and enough[first - 1]:
        first -= 1
    while last < len(heat) and enough[last]:
        last += 1
    return first, last


def _thinned(values: np.ndarray) -> tuple[float, ...]:
    places = np.linspace(0, len(values) - 1, min(_POINTS, len(values))).round().astype(int)
    return tuple(float(f"{value:.5g}") for value in values[places])
