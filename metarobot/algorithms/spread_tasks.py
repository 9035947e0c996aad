"""Tasks that cover all splits of what an algorithm is trained on."""

import numpy as np
import torch
from torch import Tensor

from metarobot.config import TrainConfig
from metarobot.envs import TaskDistribution, find_family


def tasks_of(config: TrainConfig) -> TaskDistribution:
    """Return the tasks of what is trained on: the family, or a variant of it."""
    return (config.variant or find_family(config.env_id)).distribution


def spread_codes(config: TrainConfig, points: np.ndarray) -> Tensor:
    """Return the tasks at points (Q, P) of the box that holds all splits, as told, (Q, C)."""
    tasks = tasks_of(config).spread(points)
    return torch.from_numpy(find_family(config.env_id).distribution.encode(tasks)).float()
