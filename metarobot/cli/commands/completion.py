"""`metarobot completion`."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Annotated, Any

import tyro

from metarobot.cli import options, overview_options
from metarobot.cli.commands.diagnose import DiagnoseCommand
from metarobot.cli.compare_options import CompareCommand
from metarobot.cli.console import OK
from metarobot.cli.main import COMMANDS
from metarobot.cli.parsing import MARKERS, parse, train_command

OPTIONS: dict[str, type] = {
    "demo": options.DemoCommand,
    "train": train_command(),
    "evaluate": options.EvaluateCommand,
    "compare": CompareCommand,
    "render": options.RenderCommand,
    "play": options.PlayCommand,
    "explain": options.ExplainCommand,
    "adapt": options.AdaptCommand,
    "export": options.ExportCommand,
    "import": options.ImportCommand,
    "diagnose": DiagnoseCommand,
    "list": overview_options.ListCommand,
    "runs": overview_options.RunsCommand,
    "completion": overview_options.CompletionCommand,
    "doctor": overview_options.DoctorCommand,
}
"""What holds the options of each command."""


def run(arguments: list[str], prog: str) -> int:
    """Print the script that completes every command; tyro writes it from their options."""
    shell = parse(overview_options.CompletionCommand, arguments, prog).shell
    named = [
        Annotated[OPTIONS[name], tyro.conf.subcommand(name=name, description=meaning)]
        for name, (_, meaning) in COMMANDS.items()
    ]
    everything: Any = reduce(or_, named)  # type: ignore[arg-type]
    asked = ["--tyro-print-completion", shell]
    tyro.cli(everything, args=asked, prog="metarobot", config=MARKERS)
    return OK
