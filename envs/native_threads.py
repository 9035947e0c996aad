"""What becomes of a batch's native threads when the process is forked: they stay in the parent.

The child has the batch without them.  It would wait for them forever, in a step as well as at the
end of the batch, when they are joined.
"""

from __future__ import annotations

import ctypes
import os
import weakref

from mujoco.batch import Batch

_threaded: weakref.WeakSet[Batch] = weakref.WeakSet()
"""Batches that have threads in this process, or had them in the one that it was forked from."""


class NativeThreads:
    """Knows in which process the threads of a batch are.

    Args:
        batch: The batch; of one thread, the caller's own, it can be used in every process.
    """

    def __init__(self, batch: Batch) -> None:
        self._count = batch.nthread
        self._pid = os.getpid() if self._count > 1 else None
        if self._pid is not None:
            _threaded.add(batch)

    def require(self) -> None:
        """Refuse to wait forever.

        Raises:
            RuntimeError: The threads have stayed in the parent process.
        """
        if self._pid is not None and self._pid != os.getpid():
            raise RuntimeError(
                f"this batch of {self._count} threads was made before the process was forked: "
                "make it in the child, start processes by 'spawn', or use num_threads=1"
            )


def _keep_batches() -> None:
    """Let the batches of the parent never come to their end in this process."""
    for batch in _threaded:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(batch))
    _threaded.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_batches)
