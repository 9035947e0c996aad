"""`metarobot runs`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from metarobot.cli.console import BAD_INPUT, OK
from metarobot.cli.parsing import Argument, OutsideOptions, parse
from metarobot.console import make_console, make_table, say
from metarobot.training.run_folder import AlgorithmSummary, RunError, find_runs, summarise_run

_HEADINGS = ("run", "family", "seed", "algorithm", "state", "control steps", "minutes")
_HEADINGS += ("return", "success")


@dataclass(frozen=True, kw_only=True)
class Options(OutsideOptions):
    """List runs: progress, cost and return on training tasks of each algorithm."""

    folder: Annotated[Path, Argument("FOLDER", positional=True)] = Path("runs")
    """A run folder, or a folder with runs in it or in its folders."""


def run(arguments: list[str], prog: str) -> int:
    """List the runs of a folder, and those that cannot be read."""
    folder = parse(Options, arguments, prog).folder
    found: list[AlgorithmSummary] = []
    damaged: list[str] = []
    for each in find_runs(folder):
        try:
            found += summarise_run(each)
        except RunError as error:
            damaged.append(str(error))
    if not found and not damaged:
        raise ValueError(f"{folder} holds no run: metarobot train makes one")
    console = make_console()
    if found:
        console.print(make_table(_HEADINGS, map(_row, found), console))
    for line in damaged:
        say(f"error: {line}")
    return BAD_INPUT if damaged else OK


def _row(summary: AlgorithmSummary) -> tuple[str, ...]:
    config = summary.config
    variant = f", {config.variant.name}" if config.variant else ""
    return (
        str(summary.run),
        f"{config.env_id}{variant}",
        str(config.seed),
        config.algorithm,
        _state(summary),
        f"{summary.steps:,}",
        f"{summary.seconds / 60:.1f}",
        "-" if summary.post_return is None else f"{summary.post_return:.2f}",
        "-" if summary.post_success is None else f"{summary.post_success:.0%}",
    )


def _state(summary: AlgorithmSummary) -> str:
    if summary.finished:
        return "trained"
    done = f"{summary.steps / summary.config.total_steps:.0%}"
    return f"training, {done}" if summary.training else f"stopped at {done}"
