"""Progress of training: a live table or plain lines, and optionally Weights & Biases."""

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
    NotebookView,
    in_notebook,
    is_first_process,
    make_console,
    print_line,
)

if TYPE_CHECKING:  # reading a run imports no trainer
    from metarobot.training.trainer import Metrics

PLAIN_INTERVAL_S = 10.0
"""Least time between two plain lines of one algorithm, in seconds; its first and last always
appear."""
_HEADINGS = ("algorithm", "iteration", "steps", "return", "gain", "success", "steps/s", "time left")
_NARROW_HEADINGS = ("algorithm", "return", "success", "time left")
_WIDE = 120
"""Least width of a terminal for all headings, in columns."""


@dataclass
class _Row:
    """Progress of one algorithm's training."""

    name: str
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
    """Metrics of the last meta-iteration; empty before the first."""
    finish_share: float = 0.0
    """Share of the work after meta-training that is done, 0 to 1."""
    warned: bool = False
    """Whether a rejected update was reported."""

    @property
    def steps(self) -> int:
        """Control steps simulated."""
        return int(self.metrics.get("time/total_steps", 0))

    @property
    def share(self) -> float:
        """Share of all the work that is done, 0 to 1."""
        spent = min(1.0, self.steps / self.total_steps)
        return spent + (1.0 - spent) * self.finish_share

    def cells(self) -> dict[str, str]:
        """Return the cells of the table and the plain line, by heading."""
        if not self.metrics:
            return dict.fromkeys(_HEADINGS, "") | {"algorithm": self.name}
        m = self.metrics
        taken = self.steps - self.resumed_steps
        steps_per_s = taken / self.seconds if self.seconds > 0 else 0.0
        left_s = (1.0 - self.share) * self.total_steps / steps_per_s if steps_per_s else 0.0
        of_budget = f" of {self.total_steps:,}" if self.steps <= self.total_steps else ""
        pre_return = f"{m['meta/pre_return']:.2f} -> " if self.adapts else ""
        pre_success = f"{m['meta/pre_success_rate']:.0%} -> " if self.adapts else ""
        return {
            "algorithm": self.name,
            "iteration": f"{m['time/iteration']:.0f}",
            "steps": f"{self.steps:,}{of_budget}",
            "return": f"{pre_return}{m['meta/post_return']:.2f}",
            "gain": f"{m['meta/gain']:+.2f}" if self.adapts else "-",
            "success": f"{pre_success}{m['meta/post_success_rate']:.0%}",
            "steps/s": f"{steps_per_s:,.0f}",
            "time left": duration(left_s),
        }

    def line(self) -> str:
        """Return a plain line."""
        cells = self.cells()
        gain = f" (gain {cells['gain']})" if self.adapts else ""
        return (
            f"{self.name}: iteration {cells['iteration']}, {cells['steps']} steps, return "
            f"{cells['return']}{gain}, success {cells['success']}, {cells['steps/s']} steps/s, "
            f"{cells['time left']} left"
        )


class TrainingDisplay:
    """Shows the training of several algorithms; a context manager.

    With Weights & Biases each algorithm of a run is one run there, and a resumed training continues
    it.  The variables of wandb hold, such as ``WANDB_MODE=offline``, ``WANDB_PROJECT`` and
    ``WANDB_ENTITY``.

    Args:
        algorithms: Algorithms in the order of training, as far as known before it begins.
        total_steps: Budget of each in control steps.
        console: Console to write to; standard output when None.
        interval_s: Least time between two plain lines, in seconds.
        stopped: Called after each meta-iteration; True ends the training, which can be resumed.
        wandb: Run folder, if its metrics are sent to Weights & Biases too.

    Raises:
        ValueError: The package wandb is not installed.
    """

    def __init__(
        self,
        algorithms: Sequence[str] = (),
        total_steps: int = 0,
        console: Console | None = None,
        interval_s: float = PLAIN_INTERVAL_S,
        stopped: Callable[[], bool] = lambda: False,
        wandb: Path | None = None,
    ) -> None:
        self._console = console or make_console()
        self._rows = {name: _Row(name.replace("_", " "), total_steps) for name in algorithms}
        self._current = _Row("", 1)
        self._interval_s, self._stopped = interval_s, stopped
        self._printed_s, self._printed_steps = float("-inf"), 0
        self._live: Live | None = None
        self._view: NotebookView | None = None
        self._run = wandb if is_first_process() else None
        self._wandb: Any = None
        self._tracked: Any = None
        if self._run is not None:
            try:
                self._wandb = import_module("wandb")
            except ImportError as error:
                raise ValueError("--wandb needs `pip install 'metarobot[wandb]'`") from error

    def __enter__(self) -> Self:
        """Show the table, if there is a terminal or a notebook."""
        if self._console.is_terminal:
            self._live = Live(get_renderable=self._table, console=self._console)
            self._live.start()
        elif in_notebook() and not self._console.quiet:
            self._view = NotebookView(self._table)
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the table; end the run on Weights & Biases if training was interrupted."""
        if self._live is not None:
            self._live.stop()
        if self._view is not None:
            self._view.stop()
        if self._tracked is not None:
            self._tracked.finish()

    def begin(self, config: TrainConfig, total_steps: int) -> None:
        """Begin an algorithm, or resume it after total_steps control steps."""
        name = config.algorithm
        row = _Row(name.replace("_", " "), config.total_steps)
        row = self._current = self._rows.setdefault(name, row)
        row.adapts, row.resumed_steps = config.adaptation_steps > 0, total_steps
        row.started_s = time.monotonic()
        self._printed_s, self._printed_steps = float("-inf"), 0
        if self._run is not None:
            place = f"{self._run.resolve()}/{name}"
            self._tracked = self._wandb.init(
                project=os.environ.get("WANDB_PROJECT", "metarobot"),
                name=f"{self._run.name}/{name}",
                id=hashlib.sha256(place.encode()).hexdigest()[:16],
                resume="allow",
                config=asdict(config),
            )

    def update(self, metrics: Metrics, rejected: Sequence[Mapping[str, float]] = ()) -> None:
        """Show a meta-iteration; rejected tasks gave numbers that are not finite."""
        row = self._current
        row.metrics, row.seconds = metrics, time.monotonic() - row.started_s
        if rejected and not row.warned:  # reported once: curve.csv counts them
            row.warned = True
            values = ", ".join(f"{name} {value:.4g}" for name, value in rejected[0].items())
            print_line(
                self._console,
                f"{row.name}: iteration {metrics['time/iteration']:.0f} was rejected, the task "
                f"{values} gave numbers that are not finite: look at the family there",
            )
        if self._view is not None:
            self._view.refresh()
        if self._is_due():
            self._print_line()
        if self._tracked is not None:
            self._tracked.log(dict(metrics), step=int(metrics["time/total_steps"]))
        if self._stopped():
            raise InterruptedCommandError(signal.SIGTERM)

    def finishing(self, share: float) -> None:
        """Show the share of the work after meta-training that is done, 0 to 1."""
        row = self._current
        row.finish_share = share
        if self._view is not None:
            self._view.refresh()
        if self._is_due():
            self._printed_s = time.monotonic()
            print_line(self._console, f"{row.name}: meta-trained, the rest is {share:.0%} done")

    def end(self) -> None:
        """End an algorithm, when its budget is spent."""
        if self._is_plain and self._current.steps > self._printed_steps:
            self._print_line()
        if self._tracked is not None:
            self._tracked = self._tracked.finish()

    @property
    def _is_plain(self) -> bool:
        return self._live is None and self._view is None

    def _is_due(self) -> bool:
        return self._is_plain and time.monotonic() - self._printed_s >= self._interval_s

    def _print_line(self) -> None:
        self._printed_s, self._printed_steps = time.monotonic(), self._current.steps
        print_line(self._console, self._current.line())

    def _table(self) -> Table:
        table = Table(box=None, header_style="dim", pad_edge=False)
        is_wide = self._view is None and self._console.width >= _WIDE
        headings = _HEADINGS if is_wide else _NARROW_HEADINGS
        for heading in headings:
            left = heading == "algorithm"
            table.add_column(heading, justify="left" if left else "right", no_wrap=True)
        table.add_column("", width=16)
        for row in self._rows.values():
            style = "bold" if row is self._current and row.share < 1 else ""
            bar, cells = ProgressBar(total=1.0, completed=row.share, width=16), row.cells()
            table.add_row(*(cells[heading] for heading in headings), bar, style=style)
        return table


def duration(seconds: float) -> str:
    """Write a duration as 0:07, 12:30 or 1:02:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
