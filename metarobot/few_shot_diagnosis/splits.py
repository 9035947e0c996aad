"""Splits: which recordings a learner is trained on, tuned on, and tested on, each with a name."""

from __future__ import annotations

from typing import NamedTuple

from metarobot.diagnosis import HEALTHY
from metarobot.few_shot_diagnosis.classes import (
    ALL_CLASSES,
    HELD_OUT_CLASSES,
    SEEN_CLASSES,
    TUNING_FAULTS,
    FaultClass,
    classes_of,
)
from metarobot.few_shot_diagnosis.pool import PoolSpec

TUNING_SEED = 100

TRAIN_POOL = PoolSpec(machines="train", num_machines=40, classes=SEEN_CLASSES)
TUNING_POOL = PoolSpec(machines="train", num_machines=20, classes=SEEN_CLASSES, seed=TUNING_SEED)
"""Other machines of the numbers to train on; none of their faults is held out."""
TEST_POOL = PoolSpec(machines="test", num_machines=30, classes=ALL_CLASSES)
BEYOND_POOL = PoolSpec(
    machines="test",
    num_machines=30,
    classes=tuple(own for own in SEEN_CLASSES if own.fault != HEALTHY),
    severities="extrapolation",
)
"""The machines of the test pool with severities beyond those of any training."""


class Split(NamedTuple):
    """Where the tasks of a split come from."""

    support: PoolSpec
    """Pool of the examples."""
    query: PoolSpec
    """Pool of what is to be diagnosed: the same machines, but never those of the support."""
    classes: tuple[FaultClass, ...]
    """Classes that tasks are made of."""


SPLITS = {
    "unseen machines, seen faults": Split(TEST_POOL, TEST_POOL, SEEN_CLASSES),
    "unseen machines, unseen faults": Split(TEST_POOL, TEST_POOL, HELD_OUT_CLASSES),
    "severities beyond": Split(TEST_POOL, BEYOND_POOL, BEYOND_POOL.classes),
}
"""Splits to test on.  They are to be measured once, with options chosen on `TUNING_SPLITS`."""

TUNING_CLASSES = tuple(own for own in SEEN_CLASSES if own.fault not in TUNING_FAULTS)
"""What training sees while options are chosen."""
TUNING_SPLITS = {
    "tuning machines, seen faults": Split(TUNING_POOL, TUNING_POOL, TUNING_CLASSES),
    "tuning machines, unseen faults": Split(TUNING_POOL, TUNING_POOL, classes_of(TUNING_FAULTS)),
}
"""Splits to choose options on, with learners that are trained on `TUNING_CLASSES`."""
