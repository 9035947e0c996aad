"""`metarobot export`."""

from __future__ import annotations

from metarobot.cli.console import OK, prepare
from metarobot.cli.options import ExportCommand
from metarobot.cli.parsing import parse
from metarobot.named_files import require_writable
from metarobot.printable import print_line
from metarobot.sb3 import export_ppo
from metarobot.training.load import load_run


def run(arguments: list[str], prog: str) -> int:
    """Export one policy."""
    command = parse(ExportCommand, arguments, prog)
    if command.out.suffix != ".zip":
        raise ValueError(f"--out must end in .zip, got {command.out}")
    console = prepare()
    require_writable(command.out)
    policies = load_run(command.run, best=command.best).policies
    if command.algorithm not in policies:
        raise ValueError(f"{command.run} holds no {command.algorithm}, only {', '.join(policies)}")
    export_ppo(policies[command.algorithm], command.out)
    print_line(console, f"exported {command.algorithm}: {command.out}")
    return OK
