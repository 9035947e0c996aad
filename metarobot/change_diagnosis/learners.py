"""The learners of changes: those of health checks, on the network for episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarobot.change_diagnosis.encoder import EpisodeWindows
from metarobot.few_shot import Learner, Maml
from metarobot.few_shot_diagnosis import learners
from metarobot.options import require_known

NUM_UPDATES = {
    "prototypical_network": 600,
    "maml": 200,
    "anil": 400,
    "meta_sgd": 200,
    "reptile": 200,
}
"""Meta-updates of each learner."""
NUM_JOINT_UPDATES = 600
TASKS_PER_UPDATE = 8


def encoder_module(seed: int, signal_size: int) -> EpisodeWindows:
    """Return an encoder with fresh parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EpisodeWindows(signal_size)


def make_learner(name: str, seed: int, signal_size: int, way: int = 5) -> Learner[Any]:
    """Return an untrained learner by its name, one of `NUM_UPDATES`.

    Raises:
        ValueError: There is none of that name.
    """
    require_known([name], NUM_UPDATES, "learner")
    return learners.make_learner(name, encoder_module(seed, signal_size), way, seed)


def joint_classifier(seed: int, signal_size: int, num_classes: int) -> Maml:
    """Return a network to be trained on all changes together, by plain gradient descent."""
    return learners.joint_learner(encoder_module(seed, signal_size), num_classes, seed)


def joint_embeddings(joint: Maml, signals: Tensor) -> np.ndarray:
    """Return what the head of a jointly trained network reads of episodes, (R, D)."""
    return learners.joint_embeddings(joint, encoder_module(0, signals.shape[-1]), signals)
