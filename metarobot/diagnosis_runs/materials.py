"""Materials from a folder of recordings, and from pools of simulated arms."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from metarobot.diagnosis import CHANNELS, SAMPLES_PER_S, Recordings
from metarobot.diagnosis.own_data import OwnRecordings
from metarobot.diagnosis_runs.material import Material
from metarobot.diagnosis_runs.own_tasks import DEFAULT_WAY, OwnTasks
from metarobot.few_shot_diagnosis import (
    FaultClass,
    Pool,
    Scale,
    TaskRows,
    TaskShape,
    TaskSource,
    pool_residuals,
)

ARM_QUERIES = 3


def own_material(
    name: str, recordings: OwnRecordings, inputs: Tensor, way: int = DEFAULT_WAY
) -> Material:
    """Return tasks of recordings of one's own.

    Args:
        name: What they are.
        recordings: A row for each recording.
        inputs: What a network sees of each.
        way: Most classes of a task.

    Raises:
        OwnDataError: There are too few for any task.
    """
    classes = recordings.labels
    label = np.searchsorted(np.array(classes), recordings.label)
    tasks = OwnTasks(label, recordings.machine, way)
    return Material(
        name=name,
        support=inputs,
        query=inputs,
        classes=classes,
        draw=tasks.draw,
        way=tasks.way,
        most_shots=tasks.most_shots,
        machine=recordings.machine,
        num_recordings=len(recordings),
    )


def arm_material(
    name: str,
    support: Pool,
    query: Pool,
    classes: tuple[FaultClass, ...],
    scale: Scale,
    way: int = DEFAULT_WAY,
) -> Material:
    """Return tasks of simulated arms; examples and queries are of different machines."""
    way = min(way, len(classes))
    half = support.spec.num_machines // 2
    queries = min(ARM_QUERIES, half)

    def draw(rng: np.random.Generator, num_tasks: int, shots: int) -> TaskRows:
        shape = TaskShape(way=way, shots=shots, queries=queries)
        return TaskSource(support.spec, query.spec, classes, shape).draw(rng, num_tasks)

    own = arm_inputs(support, scale)
    asked = own if query is support else arm_inputs(query, scale)
    return Material(
        name=name,
        support=own,
        query=asked,
        classes=tuple(map(str, classes)),
        draw=draw,
        way=way,
        most_shots=half,
        machine=query.recordings.machine,
        num_recordings=query.spec.num_machines * len(classes),
    )


def arm_inputs(pool: Pool, scale: Scale) -> Tensor:
    """Return what a network sees of all recordings of a pool."""
    return torch.from_numpy(scale.inputs(pool_residuals(pool)))


def arms_as_own(recordings: Recordings) -> OwnRecordings:
    """Return recordings of arms as if they had been read from a folder."""
    nothing = np.full(len(recordings), "")
    labels = [
        str(FaultClass(str(fault), int(joint)))
        for fault, joint in zip(recordings.fault, recordings.joint, strict=True)
    ]
    return OwnRecordings(
        signals=recordings.signals.swapaxes(1, 2),
        channels=CHANNELS,
        samples_per_s=float(SAMPLES_PER_S),
        label=np.array(labels),
        machine=np.array([f"arm {number}" for number in recordings.machine]),
        file=np.array([f"recording {row}" for row in range(len(recordings))]),
        window=np.zeros(len(recordings), int),
        joint=nothing,
        severity=np.array([f"{severity:.3g}" for severity in recordings.severity]),
        condition=np.array([f"{t:.1f} C" for t in recordings.oil_temperature_c]),
    )
