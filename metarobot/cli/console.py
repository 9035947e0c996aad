"""Exit codes, and lines that several commands print."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from metarobot.console import make_console, make_table, print_line
from metarobot.machine import prepare as prepare_machine

if TYPE_CHECKING:
    from rich.console import Console

    from metarobot.evaluation.table import Evaluation

OK, BAD_INPUT, INTERRUPTED = 0, 2, 130
"""Exit codes: success; invalid input or unsuitable machine; Ctrl-C."""


def prepare() -> Console:
    """Make the process ready for work, and return the console."""
    prepare_machine()
    return make_console()


def print_evaluation(evaluation: Evaluation, out: Path) -> int:
    """Print an evaluation by adaptation episodes, its verdict, and where its report is."""
    from metarobot.reporting.report import REPORT_FILE
    from metarobot.reporting.tables import episode_tables
    from metarobot.reporting.words import conditions, verdicts, where_they_hold

    console = make_console()
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
    return OK


def shell_line(prog: str, arguments: list[str]) -> str:
    """Return the command line, quoted for a shell."""
    return f"{prog} {shlex.join(arguments)}"
