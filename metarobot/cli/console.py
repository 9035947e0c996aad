"""What commands have in common: exit codes, the console, and what they say at the end."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from metarobot import machine
from metarobot.console import make_console, make_table, print_line, printable

if TYPE_CHECKING:
    from rich.console import Console

    from metarobot.evaluation.table import Evaluation
    from metarobot.training.load import TrainedRun

OK, BAD_INPUT, INTERRUPTED = 0, 2, 130
"""Exit codes: all is well; the input or the machine is not fit; Ctrl-C."""

LONGEST_LINE = 1400
"""Characters of what is said on stderr: some of it is from files."""


def prepare() -> Console:
    """Silence MuJoCo's log file, choose torch's threads and memory, and return the console."""
    machine.prepare()
    return make_console()


def announce_learner(run: TrainedRun, named: str | None, console: Console) -> None:
    """Say who adapts where several of a run could, and the user has named none."""
    if named is None and len(run.learners) > 1:
        chosen, *others = run.learners
        print_line(console, f"{chosen} adapts; --algorithm takes another: {', '.join(others)}")


def conclude(evaluation: Evaluation, out: Path, console: Console) -> None:
    """Print an evaluation by adaptation episodes, its verdict, and where its report is."""
    from metarobot.reporting.report import REPORT_FILE
    from metarobot.reporting.tables import episode_tables
    from metarobot.reporting.words import conditions, verdicts, where_they_hold

    for table in episode_tables(evaluation, percentages_alone=True):
        rows = [
            (group.title, line.label, *(str(getattr(each, "value", each)) for each in line.cells))
            for group in table.groups
            for line in group.lines
        ]
        headings = (table.title, "adaptation episodes:", *table.headings[1:])
        console.print(make_table(headings, rows, console))
    held = where_they_hold(evaluation)
    for sentence in filter(None, (conditions(evaluation), *held, *verdicts(evaluation))):
        print_line(console, sentence)
    print_line(console, f"report: {out / REPORT_FILE}")


def shell_line(prog: str, arguments: list[str]) -> str:
    """Return the command line of a command, as a shell takes it."""
    return f"{prog} {shlex.join(arguments)}"


def say(message: str, code: int) -> int:
    """Print one line on stderr, of a length that a terminal takes, and return the exit code."""
    line = printable(message)
    shown = line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..."
    print(f"metarobot: {shown}", file=sys.stderr)
    return code
