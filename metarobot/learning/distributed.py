"""The processes that share one training run: each holds some tasks of the meta-batch.

The numbers that the update needs from all tasks are gathered, one row a task, in the order of the
tasks, and every process computes the same sums.  So sums and parameters do not depend on the
assignment of tasks to processes.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
import torch.distributed.nn.functional
from torch import Tensor
from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]

_TIMEOUT = timedelta(minutes=30)
"""Longest wait of a process for the others; a meta-iteration takes seconds."""


class WorkerError(ValueError):
    """Tasks cannot be shared out, or processes have drifted apart."""


class Workers:
    """The processes of a run, as seen from one of them; a run may have a single process.

    Args:
        rank: Number of this process.
        count: Number of processes.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank = rank
        self.count = count

    @property
    def first(self) -> bool:
        """Whether this is the process that shows the progress and writes the files."""
        return self.rank == 0

    def share(self, num_tasks: int) -> range:
        """Return the tasks of the meta-batch that this process holds.

        WorkerError where they cannot be shared equally, two or more to each process.
        """
        several = [n for n in range(2, num_tasks // 2 + 1) if num_tasks % n == 0]
        allowed = [1, *several]
        if self.count not in allowed:
            # A batch of one matrix takes another path through the libraries, with other rounding.
            raise WorkerError(
                f"{self.count} processes cannot share {num_tasks} tasks equally, at least two "
                f"each: allowed are {', '.join(map(str, allowed))} processes"
            )
        size = num_tasks // self.count
        return range(self.rank * size, (self.rank + 1) * size)

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows (n, ...) of all processes, in the order of the tasks: (N, ...)."""
        if self.count == 1:
            return rows
        gathered = rows.new_empty((self.count * len(rows), *rows.shape[1:]))
        dist.all_gather(list(gathered.chunk(self.count)), rows.contiguous())
        return gathered

    def mean(self, rows: Tensor) -> np.ndarray:
        """Return the mean of the rows (n, ...) of all processes, in float64."""
        return mean_over_tasks(self.gather(rows))

    def largest(self, number: int) -> int:
        """Return the largest of the numbers that the processes hold."""
        return int(self.gather(torch.tensor([number])).max())

    def require_equal(self, params: Mapping[str, Tensor]) -> None:
        """Make sure that all processes hold the same parameters, bit for bit; else WorkerError."""
        digest = hashlib.sha256()
        for leaf in params.values():
            digest.update(leaf.detach().contiguous().numpy().tobytes())
        own = torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)
        if not bool((self.gather(own[None]) == own).all()):
            raise WorkerError(
                "the processes have drifted apart: they need processors of the same kind, and "
                "libraries of the same version"
            )

    def broadcast(self, data: bytes | None) -> bytes | None:
        """Return the bytes of the first process; the others' argument is ignored.

        Only bytes travel: the receiver parses them like a file, and never unpickles.
        """
        if self.count == 1:
            return data
        size = torch.tensor([-1 if data is None else len(data)])
        dist.broadcast(size, src=0)
        if size.item() < 0:
            return None
        payload = torch.empty(int(size), dtype=torch.uint8)
        if self.first and data:
            payload = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        dist.broadcast(payload, src=0)
        return payload.numpy().tobytes()


def mean_over_tasks(rows: Tensor) -> np.ndarray:
    """Return the mean of rows (N, ...) in float64.

    numpy adds one row after the other, so that the sum is the same on any number of threads.
    """
    return rows.double().numpy().sum(axis=0) / len(rows)


ALONE = Workers()
"""A run in one process."""


@contextmanager
def join_workers() -> Iterator[Workers]:
    """Join the processes that torchrun has started, or stay alone where there is no torchrun.

    Tensors on the processor travel by gloo, those on a GPU by nccl.
    """
    if not dist.is_torchelastic_launched():
        yield ALONE
        return
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    # torchrun keeps one store through its restarts, and with it the addresses of processes that
    # have died.  So the processes of each start meet under a prefix of their own.
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(host, port, count, is_master=False, timeout=_TIMEOUT)
    store = PrefixStore(f"start-{os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=_TIMEOUT)
    try:
        yield Workers(rank, count)
    finally:
        dist.destroy_process_group()


def restarted_by_torchrun() -> bool:
    """Whether torchrun has restarted these processes after one of them died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def running_mean(known: Tensor, samples: Tensor, rate: float, least: float = -math.inf) -> Tensor:
    """Return a running mean after one more meta-batch.

    Args:
        known: The mean so far (...), 0 while it is unknown.
        samples: Sample of every task, (N, ...); those that are not finite are left out.
        rate: Weight of the meta-batch, unless it is the first.
        least: Lower bound of the mean of a meta-batch.
    """
    samples = samples[samples.flatten(1).isfinite().all(1)]
    if len(samples) == 0:
        return known
    mean = torch.from_numpy(mean_over_tasks(samples)).to(known.dtype).clamp(min=least)
    return torch.lerp(known, mean, rate) if bool(known.any()) else mean
