"""What meta-training measures besides what it learns: running means over meta-batches."""

import math

import torch
from torch import Tensor

from metarobot.learning.distributed import mean_over_tasks


def running_mean(known: Tensor, samples: Tensor, rate: float, least: float = -math.inf) -> Tensor:
    """Return what is known after one more meta-batch.

    Args:
        known: The mean so far (...), 0 while it is unknown.
        samples: What every task says of it, (N, ...); tasks with a number that is not finite are
            left out.
        rate: Weight of the meta-batch, unless it is the first.
        least: What a meta-batch says at least.
    """
    samples = samples[samples.flatten(1).isfinite().all(1)]
    if len(samples) == 0:
        return known
    mean = torch.from_numpy(mean_over_tasks(samples)).to(known.dtype).clamp(min=least)
    return torch.lerp(known, mean, rate) if bool(known.any()) else mean
