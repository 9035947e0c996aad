"""The tasks of a meta-batch in chunks, which bound the memory and are computed on threads.

The numbers of a task depend on no other task, and not on how many tasks are computed together, as
long as there are two: a batch of one matrix takes another path through the libraries. So no chunk
holds a single task, unless there is only one.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from metarobot.policies import Params

STEPS_AT_ONCE = 32_768
"""Control steps of `CHUNKS_AT_ONCE`, in all blocks, if two tasks of each do not hold more.

Second derivatives keep about 4 KB of each step for a policy of two layers of 64 units.
"""

CHUNKS_AT_ONCE = 2
"""Chunks for threads to share. The number does not follow that of the threads: products of many
small matrices round by the number of matrices, and threads must not change a result."""


def task_chunks(num_tasks: int, steps_per_task: int) -> list[slice]:
    """Share N tasks out into chunks of nearly equal size, by the control steps of each task.

    Slices cover 0 .. N - 1 in order. Each holds two tasks or more, unless N is 1.
    """
    wanted = CHUNKS_AT_ONCE * -(-num_tasks * steps_per_task // STEPS_AT_ONCE)
    count = max(1, min(wanted, num_tasks // 2))
    edges = [num_tasks * index // count for index in range(count + 1)]
    return [slice(*pair) for pair in pairwise(edges)]


def chunks_of_steps(block: Tensor) -> list[slice]:
    """Share out the tasks of one block (N, E, T)."""
    return task_chunks(block.shape[0], block.shape[1] * block.shape[2])


def params_of(params: Params, tasks: slice) -> Params:
    """Return the leaves (n, ...) of some tasks, from leaves (N, ...); the same ones if of all."""
    return {
        name: leaf if tasks == slice(0, len(leaf)) else leaf[tasks] for name, leaf in params.items()
    }


def join_params(parts: Sequence[Params]) -> Params:
    """Join the leaves of chunks, in the order of the tasks: (N, ...)."""
    if len(parts) == 1:
        return parts[0]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
