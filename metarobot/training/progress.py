"""Progress on the terminal: a live table, or plain lines where there is no terminal."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from metarobot.config import TrainConfig
from metarobot.console import (
    InterruptedCommandError,
    is_first_process,
    make_console,
    print_line,
)

if TYPE_CHECKING:  # reading a run imports no trainer
    from metarobot.training.trainer import Metrics

PLAIN_INTERVAL_S = 10.0
"""Least time between two plain lines of one algorithm, in seconds; its first and last always
appear."""


@dataclass
class AlgorithmProgress:
    """How far one algorithm's training has come."""

    algorithm: str
    total_steps: int
    """Budget of control steps."""
    adapts: bool = False
    """Whether it takes adaptation steps, so that pre- and post-update episodes differ."""
    resumed_steps: int = 0
    """Control steps simulated before this session."""
    started_s: float = 0.0
    seconds: float = 0.0
    """Time since this session started."""
    metrics: Metrics = field(default_factory=dict)
    """Of the last meta-iteration; empty before the first."""
    finishing_share: float | None = None
    """Share that is done of what follows meta-training; None before."""
    warned: bool = False
    """Whether it was said that an update was rejected."""

    @property
    def steps(self) -> int:
        """Control steps simulated."""
        return int(self.metrics.get("time/total_steps", 0))

    @property
    def share(self) -> float:
        """Share of the budget that is spent, and of what follows, that is done."""
        spent = min(1.0, self.steps / self.total_steps)
        return spent + (1.0 - spent) * (self.finishing_share or 0.0)

    @property
    def _of_budget(self) -> str:
        """The budget beside the steps; not once it is passed, by the rest of a meta-iteration."""
        return f" of {self.total_steps:,}" if self.steps <= self.total_steps else ""

    @property
    def cells(self) -> dict[str, str]:
        """Return what the table and the plain line show, by heading."""
        if not self.metrics:
            return dict.fromkeys(_HEADINGS, "") | {"algorithm": self.algorithm.replace("_", " ")}
        m = self.metrics
        taken = self.steps - self.resumed_steps
        steps_per_s = taken / self.seconds if self.seconds > 0 else 0.0
        left_s = (1.0 - self.share) * self.total_steps / steps_per_s if steps_per_s else 0.0
        post_return, post_success = m["meta/post_return"], m["meta/post_success_rate"]
        pre_return, pre_success = m["meta/pre_return"], m["meta/pre_success_rate"]
        return {
            "algorithm": self.algorithm.replace("_", " "),
            "iteration": f"{m['time/iteration']:.0f}",
            "steps": f"{self.steps:,}{self._of_budget}",
            "return": f"{pre_return:.2f} -> {post_return:.2f}"
            if self.adapts
            else f"{post_return:.2f}",
            "gain": f"{m['meta/gain']:+.2f}" if self.adapts else "-",
            "success": (
                f"{pre_success:.0%} -> {post_success:.0%}" if self.adapts else f"{post_success:.0%}"
            ),
            "steps/s": f"{steps_per_s:,.0f}",
            "time left": duration(left_s),
        }


_HEADINGS = ("algorithm", "iteration", "steps", "return", "gain", "success", "steps/s", "time left")
_NARROW_HEADINGS = ("algorithm", "return", "success", "time left")
_WIDE = 120
"""Columns of a terminal from which on all headings fit."""


class TrainingDisplay:
    """Shows the training of several algorithms; a context manager.

    Args:
        algorithms: Who will train, in this order, as far as that is known before it begins.
        total_steps: Budget of each in control steps.
        console: Where to write; standard output when None.
        interval_s: Least time between two plain lines, in seconds.
        stopped: Asked after each meta-iteration; ends the training, which can be resumed.
    """

    def __init__(
        self,
        algorithms: Sequence[str],
        total_steps: int,
        console: Console | None = None,
        interval_s: float = PLAIN_INTERVAL_S,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._console = console or make_console()
        self._rows = {
            algorithm: AlgorithmProgress(algorithm, total_steps) for algorithm in algorithms
        }
        self._current: AlgorithmProgress | None = None
        self._interval_s, self._stopped = interval_s, stopped
        self._printed_s = float("-inf")
        self._printed_steps = 0
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Show the table, if there is a terminal."""
        if self._console.is_terminal:
            self._live = Live(get_renderable=self._table, console=self._console)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the table as it is."""
        if self._live is not None:
            self._live.stop()

    def begin(self, config: TrainConfig, total_steps: int) -> None:
        """An algorithm starts to train, or goes on after total_steps control steps."""
        new = AlgorithmProgress(config.algorithm, config.total_steps)
        row = self._current = self._rows.setdefault(config.algorithm, new)
        row.adapts, row.resumed_steps = config.adaptation_steps > 0, total_steps
        row.started_s = time.monotonic()
        self._printed_s, self._printed_steps = float("-inf"), 0

    def update(self, metrics: Metrics, rejected: Sequence[Mapping[str, float]] = ()) -> None:
        """A meta-iteration is over."""
        row, now = self._current, time.monotonic()
        if row is None:
            raise RuntimeError("no algorithm has begun to train")
        row.metrics = metrics
        row.seconds = now - row.started_s
        if rejected and not row.warned:
            row.warned = True
            self._warn(row, rejected[0])
        if self._live is None and now - self._printed_s >= self._interval_s:
            self._print_line(row, now)
        if self._stopped():
            raise InterruptedCommandError(signal.SIGTERM)

    def finishing(self, share: float) -> None:
        """Meta-training is over, and a share of what remains is done."""
        row, now = self._current, time.monotonic()
        if row is None:
            raise RuntimeError("no algorithm has begun to train")
        row.finishing_share = share
        if self._live is None and now - self._printed_s >= self._interval_s:
            self._printed_s = now
            name = row.cells["algorithm"]
            print_line(self._console, f"{name}: meta-trained, what follows is {share:.0%} done")

    def end(self) -> None:
        """The algorithm's budget is spent."""
        row = self._current
        if self._live is None and row is not None and row.steps > self._printed_steps:
            self._print_line(row, time.monotonic())

    def _print_line(self, row: AlgorithmProgress, now: float) -> None:
        self._printed_s, self._printed_steps = now, row.steps
        print_line(self._console, _plain_line(row.cells))

    def _warn(self, row: AlgorithmProgress, task: Mapping[str, float]) -> None:
        """Say once that numbers were not finite; curve.csv counts how often."""
        values = ", ".join(f"{name} {value:.4g}" for name, value in task.items())
        print_line(
            self._console,
            f"{row.cells['algorithm']}: iteration {row.cells['iteration']} was rejected, "
            f"the task {values} gave numbers that are not finite: look at the family there",
        )

    def _table(self) -> Table:
        table = Table(box=None, header_style="dim", pad_edge=False)
        headings = _HEADINGS if self._console.width >= _WIDE else _NARROW_HEADINGS
        for heading in headings:
            left = heading == "algorithm"
            table.add_column(heading, justify="left" if left else "right", no_wrap=True)
        table.add_column("", width=16)
        for row in self._rows.values():
            style = "bold" if row is self._current and row.share < 1 else ""
            bar = ProgressBar(total=1.0, completed=row.share, width=16)
            cells = row.cells
            table.add_row(*(cells[heading] for heading in headings), bar, style=style)
        return table


class WandbDisplay(TrainingDisplay):
    """Shows training, and sends every metric to Weights & Biases too.

    Each algorithm of a run is one run there, and a training that goes on, goes on there.  Where it
    goes, or that it stays on this machine, is decided as for every user of wandb:
    ``WANDB_MODE=offline``, ``WANDB_PROJECT``, ``WANDB_ENTITY``.

    Args:
        algorithms: As of `TrainingDisplay`.
        total_steps: As of `TrainingDisplay`.
        run: The run folder.
        **shown: Other arguments of `TrainingDisplay`.

    Raises:
        ValueError: The package wandb is not installed.
    """

    def __init__(
        self, algorithms: Sequence[str], total_steps: int, run: Path, **shown: Any
    ) -> None:
        super().__init__(algorithms, total_steps, **shown)
        try:
            self._wandb: Any = import_module("wandb")
        except ImportError as error:
            raise ValueError("--wandb needs `pip install 'metarobot[wandb]'`") from error
        self._run = run
        self._tracked: Any = None

    def begin(self, config: TrainConfig, total_steps: int) -> None:
        """An algorithm starts to train, or goes on after total_steps control steps."""
        super().begin(config, total_steps)
        place = f"{self._run.resolve()}/{config.algorithm}"
        self._tracked = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "metarobot"),
            name=f"{self._run.name}/{config.algorithm}",
            id=hashlib.sha256(place.encode()).hexdigest()[:16],
            resume="allow",
            config=asdict(config),
        )

    def update(self, metrics: Metrics, rejected: Sequence[Mapping[str, float]] = ()) -> None:
        """A meta-iteration is over."""
        super().update(metrics, rejected)
        self._tracked.log(dict(metrics), step=int(metrics["time/total_steps"]))

    def end(self) -> None:
        """The algorithm's budget is spent."""
        super().end()
        self._tracked = self._tracked.finish()

    def __exit__(self, *error: object) -> None:
        """Bring to an end what is being tracked, also of a training that was interrupted."""
        super().__exit__(*error)
        if self._tracked is not None:
            self._tracked.finish()


def training_display(
    algorithms: Sequence[str], total_steps: int, run: Path, *, wandb: bool = False, **shown: Any
) -> TrainingDisplay:
    """Return the display of a training: on the terminal, and on Weights & Biases if asked for."""
    if wandb and is_first_process():
        return WandbDisplay(algorithms, total_steps, run, **shown)
    return TrainingDisplay(algorithms, total_steps, **shown)


def duration(seconds: float) -> str:
    """Write a duration as 0:07, 12:30 or 1:02:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _plain_line(cells: dict[str, str]) -> str:
    return (
        f"{cells['algorithm']}: iteration {cells['iteration']}, {cells['steps']} steps, "
        f"return {cells['return']}"
        + (f" (gain {cells['gain']})" if cells["gain"] != "-" else "")
        + f", success {cells['success']}, {cells['steps/s']} steps/s, {cells['time left']} left"
    )
