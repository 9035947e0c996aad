"""Tasks: nothing stands on both sides, and what is held out stays out."""

import numpy as np
import pytest

from metarobot.diagnosis import FAULTS, HEALTHY
from metarobot.few_shot_diagnosis.classes import (
    ALL_CLASSES,
    HELD_OUT_CLASSES,
    HELD_OUT_FAULTS,
    SEEN_CLASSES,
    TUNING_FAULTS,
)
from metarobot.few_shot_diagnosis.pool import PoolSpec, record_pool
from metarobot.few_shot_diagnosis.splits import (
    BEYOND_POOL,
    SPLITS,
    TEST_POOL,
    TRAIN_POOL,
    TUNING_CLASSES,
    TUNING_POOL,
    TUNING_SPLITS,
)
from metarobot.few_shot_diagnosis.tasks import TaskShape, TaskSource

EVERY_SPLIT = SPLITS | TUNING_SPLITS
SHAPE = TaskShape(shots=5, queries=4)


def draw(name, num_tasks=200, shape=SHAPE):
    split = EVERY_SPLIT[name]
    source = TaskSource(split.support, split.query, split.classes, shape)
    return source.draw(np.random.default_rng(0), num_tasks)


@pytest.mark.parametrize("name", EVERY_SPLIT)
def test_no_machine_stands_on_both_sides_of_a_task(name):
    split, rows = EVERY_SPLIT[name], draw(name)
    support = rows.support // len(split.support.classes)
    query = rows.query // len(split.query.classes)
    for own, others in zip(support, query, strict=True):
        assert not set(own.ravel()) & set(others.ravel())


@pytest.mark.parametrize("name", EVERY_SPLIT)
def test_rows_are_of_the_classes_and_no_recording_comes_twice(name):
    split, rows = EVERY_SPLIT[name], draw(name)
    for pool, column in ((split.support, rows.support), (split.query, rows.query)):
        found = np.array(pool.classes, object)[column % len(pool.classes)][:, :, 0]
        wanted = np.array(split.classes, object)[rows.label]
        assert (found == wanted).all()
        flat = np.sort(column.reshape(len(column), -1), axis=1)
        assert (np.diff(flat, axis=1) > 0).all()
    assert all(len(set(label)) == SHAPE.way for label in rows.label)


def test_no_pool_to_test_on_shares_a_machine_with_training_or_tuning():
    pools = {(pool.machines, pool.seed) for pool in (TEST_POOL, BEYOND_POOL)}
    assert not pools & {(pool.machines, pool.seed) for pool in (TRAIN_POOL, TUNING_POOL)}
    assert (TRAIN_POOL.machines, TRAIN_POOL.seed) != (TUNING_POOL.machines, TUNING_POOL.seed)


def test_held_out_faults_are_in_nothing_that_is_trained_or_tuned_on():
    seen = {own.fault for pool in (TRAIN_POOL, TUNING_POOL) for own in pool.classes}
    assert not seen & set(HELD_OUT_FAULTS)
    assert {own.fault for own in HELD_OUT_CLASSES} == set(HELD_OUT_FAULTS)
    assert set(ALL_CLASSES) == set(SEEN_CLASSES) | set(HELD_OUT_CLASSES)
    assert not {own.fault for own in TUNING_CLASSES} & {*TUNING_FAULTS, *HELD_OUT_FAULTS}


def test_all_faults_are_equally_likely_whatever_the_number_of_their_joints():
    rows = draw("unseen machines, unseen faults", 4000, TaskShape(way=1))
    faults = np.array([own.fault for own in HELD_OUT_CLASSES])[rows.label.ravel()]
    shares = [np.mean(faults == name) for name in HELD_OUT_FAULTS]
    assert np.abs(np.array(shares) - 1 / len(HELD_OUT_FAULTS)).max() < 0.03


def test_tasks_too_large_are_refused():
    with pytest.raises(ValueError, match="way must be in"):
        TaskSource(TEST_POOL, TEST_POOL, HELD_OUT_CLASSES, TaskShape(way=99))
    with pytest.raises(ValueError, match="shots must be in"):
        TaskSource(TEST_POOL, TEST_POOL, HELD_OUT_CLASSES, TaskShape(shots=16))
    with pytest.raises(ValueError, match="same machines"):
        TaskSource(TRAIN_POOL, TEST_POOL, SEEN_CLASSES, TaskShape())


def test_a_pool_holds_every_class_of_every_machine_once():
    classes = (*SEEN_CLASSES[:2], *HELD_OUT_CLASSES[-1:])
    pool = record_pool(PoolSpec(machines="test", num_machines=2, classes=classes, seed=3))
    own = pool.recordings
    assert [tuple(row) for row in zip(own.fault, own.joint, strict=True)] == [*classes, *classes]
    assert len(set(own.address) | set(pool.baselines.address)) == len(own) + len(pool.baselines)
    assert set(own.machine) == set(pool.baselines.machine)
    for name, severity in zip(own.fault, own.severity, strict=True):
        low, high = (0.0, 0.0) if name == HEALTHY else FAULTS[name].severity.train
        assert low <= severity <= high
