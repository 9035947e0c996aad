"""`metarobot doctor`."""

from __future__ import annotations

from metarobot.cli.console import BAD_INPUT, OK, prepare
from metarobot.cli.doctor import print_report, run_checks
from metarobot.cli.overview_options import DoctorCommand
from metarobot.cli.parsing import parse


def run(arguments: list[str], prog: str) -> int:
    """Run all checks."""
    command = parse(DoctorCommand, arguments, prog)
    failed = print_report(prepare(), run_checks(command.runs_folder))
    return BAD_INPUT if failed else OK
