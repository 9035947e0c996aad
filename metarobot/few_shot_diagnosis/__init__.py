"""Few-shot diagnosis: which fault a machine has, and in which joint, from a few examples."""

from metarobot.few_shot_diagnosis.classes import (
    ALL_CLASSES,
    HELD_OUT_FAULTS,
    SEEN_FAULTS,
    FaultClass,
)
from metarobot.few_shot_diagnosis.diagnoser import Diagnoser, Diagnosis
from metarobot.few_shot_diagnosis.learners import LEARNERS
from metarobot.few_shot_diagnosis.pool import Pool, PoolSpec, record_pool
from metarobot.few_shot_diagnosis.signals import Scale, pool_residuals
from metarobot.few_shot_diagnosis.splits import SPLITS, TRAIN_POOL, TUNING_SPLITS, Split
from metarobot.few_shot_diagnosis.tasks import TaskRows, TaskShape, TaskSource, few_shot_tasks
from metarobot.few_shot_diagnosis.training import (
    DEMO_MACHINES,
    DEMO_UPDATES,
    disturbed,
    meta_train,
)

__all__ = [
    "ALL_CLASSES",
    "DEMO_MACHINES",
    "DEMO_UPDATES",
    "HELD_OUT_FAULTS",
    "LEARNERS",
    "SEEN_FAULTS",
    "SPLITS",
    "TRAIN_POOL",
    "TUNING_SPLITS",
    "Diagnoser",
    "Diagnosis",
    "FaultClass",
    "Pool",
    "PoolSpec",
    "Scale",
    "Split",
    "TaskRows",
    "TaskShape",
    "TaskSource",
    "disturbed",
    "few_shot_tasks",
    "meta_train",
    "pool_residuals",
    "record_pool",
]
