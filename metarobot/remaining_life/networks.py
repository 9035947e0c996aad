"""Networks that predict remaining life: meta-learned, and one for all machines."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from metarobot.few_shot import (
    GradientLearner,
    Maml,
    MamlOptions,
    Reptile,
    ReptileOptions,
    SampleTasks,
)
from metarobot.remaining_life.lives import Lives
from metarobot.remaining_life.predictions import Checks, Predictions, log_normal
from metarobot.remaining_life.tasks import (
    SCALE_CYCLES,
    life_loss,
    sample_tasks,
    scale_of,
    support_at,
)

TASKS_AT_ONCE = 32
HIDDEN = 32


@dataclass(frozen=True, kw_only=True)
class NetworkPlan:
    """How a network is trained."""

    options: MamlOptions | ReptileOptions
    """Of its learner; MAML without adaptation steps is one network for all."""
    num_updates: int
    """Meta-updates, of 32 tasks each."""
    reads_record: bool
    """Whether it reads the whole record of the machine, or the last checks only."""


class LifeNetwork(NamedTuple):
    """A learner that is trained, and the scale of what it reads."""

    learner: GradientLearner[Any]
    reads_record: bool
    middle: np.ndarray
    """(D,)."""
    scale: np.ndarray
    """(D,)."""

    def inputs(self, lives: Lives) -> np.ndarray:
        """Return what the network reads at every check, (M, P, K, D)."""
        return (_raw_inputs(lives, self.reads_record) - self.middle) / self.scale

    def predict(self, lives: Lives, checks: Checks) -> Predictions:
        """Adapt to what is known at each of R checks, and predict remaining life there."""
        inputs = self.inputs(lives)
        model = self.learner.adapt(support_at(lives, inputs, *checks))
        now = torch.from_numpy(inputs[tuple(checks)][:, None].astype(np.float32))
        outputs = model.predict(now)[:, 0]
        mean = outputs[:, 1].double().numpy() + np.log(SCALE_CYCLES)
        return log_normal(mean, scale_of(outputs).double().numpy())


def train_network(lives: Lives, plan: NetworkPlan) -> LifeNetwork:
    """Train a network on machines whose parts are all worn out."""
    raw = _raw_inputs(lives, plan.reads_record)
    checked = np.arange(raw.shape[2]) < lives.num_checks[:, :, None]
    middle, scale = raw[checked].mean(axis=0), raw[checked].std(axis=0) + 1e-3
    kind = Reptile if isinstance(plan.options, ReptileOptions) else Maml
    module = small_network(raw.shape[3], plan.options.seed)
    learner: GradientLearner[Any] = kind(module, life_loss, plan.options)  # type: ignore[arg-type]
    inputs = (raw - middle) / scale
    sample = partial(sample_tasks, lives=lives, inputs=inputs, num_tasks=TASKS_AT_ONCE)
    _fit_averaged(learner, sample, plan.num_updates)
    return LifeNetwork(learner, plan.reads_record, middle, scale)


def _fit_averaged(learner: GradientLearner[Any], sample: SampleTasks, num_updates: int) -> None:
    """Train, and keep the mean of the parameters over the second half of the updates.

    Single ones wander: from one to the next hundred updates, errors on tuning machines differed by
    up to a half.

    Source: Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging".
    """
    learner.fit(sample, num_updates // 2)
    averaged = num_updates - num_updates // 2
    mean = {name: torch.zeros_like(leaf) for name, leaf in learner.params.items()}
    for _ in range(averaged):
        learner.fit(sample, 1)
        mean = {name: leaf + learner.params[name] / averaged for name, leaf in mean.items()}
    learner.params = mean


def small_network(num_inputs: int, seed: int) -> nn.Sequential:
    """Return a network of two hidden layers, with fresh parameters."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(num_inputs, HIDDEN),
            nn.Tanh(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.Tanh(),
            nn.Linear(HIDDEN, 3),
        )


def _raw_inputs(lives: Lives, reads_record: bool) -> np.ndarray:
    return np.concatenate([lives.window, lives.record], axis=3) if reads_record else lives.window
