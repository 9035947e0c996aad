"""Fits the probes of `metarobot play` in a process of its own, while a person plays."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import numpy as np

from metarobot.cli.outside import import_outside_module
from metarobot.cli.parent import PARENT, end_with_parent
from metarobot.closable import Closable
from metarobot.evaluation.explaining import fit_probes
from metarobot.evaluation.explanation import ExplanationConfig
from metarobot.evaluation.probes import Probe
from metarobot.training.load import find_scene, load_run

_NICE = 10
"""How far the process stands back behind the one that draws."""
_Probes = dict[int, dict[str, list]]
"""Probes as JSON holds them: no array is unpickled."""


class Request(msgspec.Struct, kw_only=True):
    """What is to be fitted."""

    run: str
    """Run folder."""
    algorithm: str
    """Whose adaptation."""
    best: bool = False
    """Whether it is the best policy of the run, instead of the last."""
    scene: str | None = None
    """Where the scene of the run is now."""
    module: str | None = None
    """Module that registers its family or algorithm."""
    num_tasks: int = 100
    """Tasks that probes are fitted to: enough for an interval, and few enough to wait for."""
    numbers: tuple[int, ...] = (1, 2, 3, 5)
    """Adaptation episodes that there is a probe for; more are read by the last."""


class Fitting(Closable):
    """A process that fits probes; a context manager that ends it.

    Args:
        request: What is to be fitted.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self.probes: dict[int, Probe] | None = None
        """By the number of adaptation episodes, once they are fitted; none if that failed."""

    def start(self) -> None:
        """Begin to fit; without effect once it has begun."""
        if self._process is not None:
            return
        self._process = subprocess.Popen(
            [sys.executable, "-m", "metarobot.cli.fitting"],
            env={**os.environ, PARENT: str(os.getpid())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the one who plays
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def close(self) -> None:
        """End the process."""
        if self._process is not None and self._reader is not None:
            self._process.kill()
            self._reader.join()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        output, _ = process.communicate(msgspec.json.encode(self._request))
        told = msgspec.json.decode(output, type=_Probes) if process.returncode == 0 else {}
        self.probes = {
            number: Probe(**{name: np.array(values) for name, values in probe.items()})
            for number, probe in told.items()
        }


def main() -> None:
    """Fit what standard input asks for, and write it to standard output."""
    from metarobot.cli.console import prepare

    end_with_parent()
    if hasattr(os, "nice"):
        os.nice(_NICE)
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    if request.module is not None:
        import_outside_module(request.module)
    prepare()
    run = load_run(Path(request.run), best=request.best)
    run = find_scene(run, None if request.scene is None else Path(request.scene))
    config = ExplanationConfig(num_tasks=request.num_tasks, adaptation_episodes=request.numbers)
    probes = fit_probes(run, request.algorithm, config)
    told = {
        number: {name: array.tolist() for name, array in probe._asdict().items()}
        for number, probe in probes.items()
        if number
    }
    sys.stdout.buffer.write(msgspec.json.encode(told))


if __name__ == "__main__":
    main()
