"""Weights & Biases beside the console: every metric of every meta-iteration, if asked for.

The package wandb is imported, and anything sent, only with ``metarobot train --wandb``. Where it
goes, or that it stays on this machine, is decided as for every user of it: ``WANDB_MODE=offline``,
``WANDB_PROJECT``, ``WANDB_ENTITY``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from metarobot.config import TrainConfig
from metarobot.training.train import Display
from metarobot.training.trainer import Metrics

PROJECT = "metarobot"


class WandbDisplay:
    """Shows training where another display does, and sends it to Weights & Biases too.

    Each algorithm of a run is one run there, and a training that goes on, goes on there.

    Args:
        display: The other one.
        run: The run folder.

    Raises:
        ValueError: The package wandb is not installed.
    """

    def __init__(self, display: Display, run: Path) -> None:
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ValueError("--wandb needs `pip install 'metarobot[wandb]'`") from error
        self._wandb: Any = wandb
        self._display, self._run = display, run
        self._tracked: Any = None

    def begin(self, config: TrainConfig, total_steps: int) -> None:
        """An algorithm starts to train, or goes on after total_steps control steps."""
        self._display.begin(config, total_steps)
        place = f"{self._run.resolve()}/{config.algorithm}"
        self._tracked = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=f"{self._run.name}/{config.algorithm}",
            id=hashlib.sha256(place.encode()).hexdigest()[:16],
            resume="allow",
            config=asdict(config),
        )

    def update(self, metrics: Metrics, rejected: Sequence[Mapping[str, float]] = ()) -> None:
        """A meta-iteration is over."""
        self._display.update(metrics, rejected)
        self._tracked.log(dict(metrics), step=int(metrics["time/total_steps"]))

    def conclude(self, share: float) -> None:
        """Meta-training is over, and a share of what remains is done."""
        self._display.conclude(share)

    def end(self) -> None:
        """The algorithm's budget is spent."""
        self._display.end()
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Bring to an end what is being tracked, also of a training that was interrupted."""
        if self._tracked is not None:
            self._tracked.finish()
            self._tracked = None
