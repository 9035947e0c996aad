"""`metarobot completion`."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Annotated, Any

import tyro

from metarobot.cli import options
from metarobot.cli.compare_options import CompareCommand
from metarobot.cli.console import OK
from metarobot.cli.main import COMMANDS
from metarobot.cli.parsing import MARKERS, parse, train_command
from metarobot.cli.play_options import PlayCommand


def run(arguments: list[str], prog: str) -> int:
    """Print the script that completes every command; tyro writes it from their options."""
    shell = parse(options.CompletionCommand, arguments, prog).shell
    named = [
        Annotated[_options_of(name), tyro.conf.subcommand(name=name, description=meaning)]
        for name, (_, meaning) in COMMANDS.items()
    ]
    everything: Any = reduce(or_, named)  # type: ignore[arg-type]
    asked = ["--tyro-print-completion", shell]
    tyro.cli(everything, args=asked, prog="metarobot", config=MARKERS)
    return OK


def _options_of(name: str) -> type:
    """Return the class that holds the options of a command."""
    special = {"train": train_command(), "compare": CompareCommand, "play": PlayCommand}
    return special.get(name) or getattr(options, f"{name.capitalize()}Command")
