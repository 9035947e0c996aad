"""`metarobot demo`."""

from __future__ import annotations

from metarobot.cli.console import OK, conclude, prepare
from metarobot.cli.demo import run_demo
from metarobot.cli.options import DemoCommand
from metarobot.cli.parsing import parse


def run(arguments: list[str], prog: str) -> int:
    """Run the demo."""
    command = parse(DemoCommand, arguments, prog)
    console = prepare()
    evaluation = run_demo(
        command.out,
        console,
        seed=command.seed,
        quick=command.quick,
        overwrite=command.overwrite,
    )
    conclude(evaluation, command.out, console)
    return OK
