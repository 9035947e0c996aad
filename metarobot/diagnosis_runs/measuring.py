"""Measures a trained learner beside references on tasks of one material."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from metarobot.diagnosis_runs.adapted import Adapter, Thresholds, statistics
from metarobot.diagnosis_runs.material import Material, in_blocks, query_labels
from metarobot.diagnosis_runs.results import Confusion, Score, SplitResult, Strangers
from metarobot.diagnosis_runs.shares import share_of
from metarobot.diagnosis_runs.strangeness import shots_of, warned_of
from metarobot.few_shot_diagnosis import TaskRows, few_shot_tasks
from metarobot.few_shot_diagnosis.references import nearest_neighbour, predict_each
from metarobot.rollout.seeding import Phase, numpy_generator

SURE = 0.9
"""Probability from which on a learner is sure."""
_CONFUSION_SHOTS = 5

Group = Callable[[str], str]
"""Maps a class to its name in the confusion matrix."""


class Judge(NamedTuple):
    """Whom to measure, and how."""

    title: str
    """Name of the trained learner."""
    trained: Adapter
    untrained: Adapter
    """The same learner before its training."""
    strange_from: Callable[[int], Thresholds]
    """Thresholds of strangeness, by shots."""
    num_tasks: int
    seed: int
    group: Group


def measure_split(judge: Judge, material: Material) -> SplitResult:
    """Measure everything on one material."""
    scores: list[Score] = []
    kept: tuple[TaskRows, np.ndarray] | None = None
    for shots in shots_of(material):
        rng = numpy_generator(judge.seed, shots, Phase.EVALUATION_TASKS)
        rows = material.draw(rng, judge.num_tasks, shots)
        shares = probabilities(judge.trained, material, rows)
        if kept is None or shots <= _CONFUSION_SHOTS:
            kept = rows, shares
        found = {
            judge.title: shares.argmax(-1),
            "nearest neighbour": _nearest(material, rows),
            "untrained network": probabilities(judge.untrained, material, rows).argmax(-1),
        }
        scores += [
            Score(
                learner=name,
                shots=shots,
                accuracy=share_of(said == query_labels(rows).numpy(), material.clusters(rows)),
            )
            for name, said in found.items()
        ]
    assert kept is not None
    rows, shares = kept
    sure = shares.max(-1) >= SURE
    right = shares.argmax(-1) == query_labels(rows).numpy()
    return SplitResult(
        name=material.name,
        way=material.way,
        num_tasks=judge.num_tasks,
        num_recordings=material.num_recordings,
        num_machines=material.num_machines,
        scores=tuple(scores),
        confusion=confusion(material, rows, shares.argmax(-1), judge.group),
        strangers=_strangers(judge, material, rows) if material.way > 2 else None,
        sure=share_of(right[sure], material.clusters(rows)[sure]) if sure.any() else None,
        sure_share=float(sure.mean()),
    )


def probabilities(adapter: Adapter, material: Material, rows: TaskRows) -> np.ndarray:
    """Return the probability of every class for all queries, (N, way Q, way)."""
    parts = []
    for block in in_blocks(rows):
        tasks = few_shot_tasks(block, material.support, material.query)
        parts.append(adapter.adapt(tasks.support).probabilities(tasks.query.inputs))
    return torch.cat(parts).numpy()


def confusion(material: Material, rows: TaskRows, said: np.ndarray, group: Group) -> Confusion:
    """Count what was taken for what, by groups of classes."""
    names = [group(name) for name in material.classes]
    labels = tuple(dict.fromkeys(names))
    places = np.array([labels.index(name) for name in names])[rows.label]  # (N, way)
    truth = places[:, query_labels(rows).numpy()]  # (N, way Q)
    found = np.take_along_axis(places, said, axis=1)
    taken = np.zeros((len(labels), len(labels)), int)
    asked = np.zeros_like(taken)
    np.add.at(taken, (truth, found), 1)
    for own, offered in zip(truth, places, strict=True):
        for label in np.unique(offered):
            np.add.at(asked[:, label], own, 1)
    return Confusion(
        shots=rows.support.shape[2],
        labels=labels,
        taken=tuple(tuple(map(int, row)) for row in taken),
        asked=tuple(tuple(map(int, row)) for row in asked),
    )


def _strangers(judge: Judge, material: Material, rows: TaskRows) -> Strangers:
    shots = rows.support.shape[2]
    warned, unknown = warned_of(judge.trained, material, rows, judge.strange_from(shots))
    clusters = material.clusters(rows)
    return Strangers(
        shots=shots,
        false_warnings=share_of(warned[:, ~unknown], clusters[:, ~unknown]),
        noticed=share_of(warned[:, unknown], clusters[:, unknown]),
    )


def _nearest(material: Material, rows: TaskRows) -> np.ndarray:
    """Return what the nearest example says, by means and spreads of what a network sees."""
    support, query = (
        statistics(own[None])[0].numpy() for own in (material.support, material.query)
    )
    return predict_each(nearest_neighbour, support[rows.support], query[rows.query])
