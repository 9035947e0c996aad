"""Meta-training on tasks from a pool, the same for all learners.

What a learner sees in training is disturbed.  It must not rely on fine detail of the faults that it
knows, nor on one quantity alone: another fault may show in another.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarobot.few_shot import Examples, FewShotTasks, Learner
from metarobot.few_shot_diagnosis.signals import NUM_KINDS
from metarobot.few_shot_diagnosis.tasks import TaskSource, few_shot_tasks

TASKS_PER_UPDATE = 16
DEMO_MACHINES, DEMO_UPDATES = 20, 100
"""Enough to see prototypes at work: 1,320 recordings and some seconds of training."""
NOISE = 0.7
"""Added to all inputs, in standard deviations of healthy machines."""
DROPPED = 0.2
"""Share of the quantities, slow or fast, that a task is shown as zero."""


def meta_train(
    learner: Learner[Any], source: TaskSource, inputs: Tensor, num_updates: int
) -> list[float]:
    """Take meta-updates on tasks from one pool; return the loss before each.

    Args:
        learner: One of `LEARNERS`.
        source: Draws its tasks.
        inputs: What a network sees of the recordings of the pool, (R, 8, 8, windows).
        num_updates: Further updates.
    """

    def sample(rng: np.random.Generator) -> FewShotTasks:
        tasks = few_shot_tasks(source.draw(rng, TASKS_PER_UPDATE), inputs, inputs)
        return disturbed(tasks, rng)

    return learner.fit(sample, num_updates)


def disturbed(tasks: FewShotTasks, rng: np.random.Generator) -> FewShotTasks:
    """Add noise to every example, and hide the same quantities in all examples of a task."""
    chance = torch.Generator().manual_seed(int(rng.integers(2**62)))
    whole_task = (tasks.support.num_tasks, 1, 1, 2 * NUM_KINDS, 1)
    shown = torch.rand(whole_task, generator=chance) >= DROPPED

    def of(examples: Examples) -> Examples:
        noise = torch.randn(examples.inputs.shape, generator=chance)
        return Examples((examples.inputs + NOISE * noise) * shown, examples.targets)

    return FewShotTasks(of(tasks.support), of(tasks.query))
