"""Tasks never part what belongs together, nor mix what must stay apart."""

import numpy as np
import pytest
from made_up import plant

from metarobot.diagnosis.tasks import (
    QUERIES,
    Data,
    draw_tasks,
    folds,
    leave_out_in_turn,
    without_labels,
)


def data_of(recordings, group=None):
    count = len(recordings)
    return Data(
        features=np.arange(count, dtype=float)[:, None],
        kernels=np.zeros((count, 0)),
        label=recordings.label,
        machine=recordings.machine,
        group=recordings.name if group is None else group,
    )


@pytest.mark.parametrize("shots", [1, 2, 5])
def test_examples_and_queries_are_of_one_machine_and_of_different_files(shots):
    recordings = plant()
    windows = np.array([str(place // 2) for place in range(len(recordings))])
    data = data_of(recordings, windows if shots < 4 else None)
    tasks = draw_tasks(data, shots, way=3, count=30, seed=0)
    assert len(tasks) == 30
    for examples, queries in tasks:
        assert len({*examples.machine, *queries.machine}) == 1
        assert not {*examples.group} & {*queries.group}
        for label in examples.labels:
            assert len(np.unique(examples.group[examples.label == label])) == shots
            assert 1 <= (queries.label == label).sum() <= QUERIES
        assert list(examples.labels) == list(queries.labels)


def test_where_no_machine_has_a_label_twice_machines_are_parted():
    tasks = draw_tasks(data_of(plant(machines=6, per_label=1)), 2, way=3, count=30, seed=0)
    assert len(tasks) == 30
    assert not any({*examples.machine} & {*queries.machine} for examples, queries in tasks)


def test_too_few_recordings_give_no_tasks_and_draws_depend_on_the_seed():
    data = data_of(plant(per_label=3))
    assert draw_tasks(data, 3, way=3, count=5, seed=0) == []
    first, again, other = (
        [task.queries.features.ravel().tolist() for task in draw_tasks(data, 1, 3, 5, seed)]
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_machines_are_held_out_whole_and_each_once():
    data = data_of(plant(machines=7))
    parts = folds(data)
    assert len(parts) == 5
    assert (np.sum(parts, axis=0) == 1).all()
    for held in parts:
        assert not {*data.machine[held]} & {*data.machine[~held]}


def test_of_one_machine_neighbours_are_held_out_together():
    data = data_of(plant(machines=1, per_label=9))
    for held in folds(data):
        for label in data.labels:
            rows = np.flatnonzero(held & (data.label == label))
            assert len(rows) == 3
            assert np.ptp(rows) == 2


def test_each_example_is_left_out_once():
    data = data_of(plant(machines=1, per_label=4))
    asked = [task.queries.features.ravel() for task in leave_out_in_turn(data)]
    assert sorted(np.concatenate(asked)) == list(range(len(data)))
    assert leave_out_in_turn(data_of(plant(machines=1, per_label=1))) == []


def test_an_unknown_label_has_queries_and_no_examples():
    (task,) = draw_tasks(data_of(plant()), 2, way=3, count=1, seed=0)
    (unknown,) = without_labels([task])
    assert set(unknown.queries.labels) == set(task.examples.labels) - set(unknown.examples.labels)
