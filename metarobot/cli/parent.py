"""A process that was started for another one ends with it, also if that one is killed."""

from __future__ import annotations

import os
import signal
import threading
import time

PARENT = "METAROBOT_PARENT"
"""Environment variable with the id of the process to end with."""
_LOOK_S = 0.5


def end_with_parent() -> None:
    """Ask this process to stop when the process named by PARENT is not its parent any more."""
    if os.environ.get(PARENT, "").isdecimal():
        threading.Thread(target=_watch, args=(int(os.environ[PARENT]),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)
