"""`metarobot runs`."""

from __future__ import annotations

from pathlib import Path

from metarobot.cli.console import BAD_INPUT, OK, say
from metarobot.cli.overview_options import RunsCommand
from metarobot.cli.parsing import parse
from metarobot.console import make_console, make_table
from metarobot.training.run_folder import AlgorithmSummary, RunError, find_runs, summarise_run

_HEADINGS = ("run", "family", "seed", "algorithm", "state", "control steps", "minutes")
_HEADINGS += ("return", "success")


def run(arguments: list[str], prog: str) -> int:
    """List the runs of a folder, and those that cannot be read."""
    command = parse(RunsCommand, arguments, prog)
    found, damaged = _read([*find_runs(command.folder)])
    if not found and not damaged:
        raise ValueError(f"{command.folder} holds no run: metarobot train makes one")
    console = make_console()
    if found:
        console.print(make_table(_HEADINGS, map(_row, found), console))
    for line in damaged:
        say(f"error: {line}", BAD_INPUT)
    return BAD_INPUT if damaged else OK


def _read(runs: list[Path]) -> tuple[list[AlgorithmSummary], list[str]]:
    """Return what there is of runs, and what is wrong with those that cannot be read."""
    found: list[AlgorithmSummary] = []
    damaged: list[str] = []
    for each in runs:
        try:
            found += summarise_run(each)
        except RunError as error:
            damaged.append(str(error))
    return found, damaged


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
