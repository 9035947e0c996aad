"""`metarobot diagnose`: the fault of a machine from a few recordings of each, and its life."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metarobot.cli.console import OK
from metarobot.cli.diagnose_options import DiagnoseLife, Options
from metarobot.cli.parsing import parse
from metarobot.envs import nearest_name


def run(arguments: list[str], prog: str) -> int:
    """Run the subcommand."""
    words = ("record", "check", "train", "evaluate", "predict", "demo", "life")
    _require_word(arguments, prog, words)
    if arguments[0] == "life":
        _require_word(arguments[1:], f"{prog} life", ("train", "predict"))
    command: Any = parse(Options, arguments, prog).command
    from metarobot.cli.diagnosing import ACTIONS  # after the help, which does not wait for it

    if isinstance(command, DiagnoseLife):
        command = command.command
    ACTIONS[type(command)](command)
    return OK


def _require_word(arguments: Sequence[str], prog: str, words: Sequence[str]) -> None:
    """Refuse a missing or unknown subcommand; the message lists them."""
    word = arguments[0] if arguments else ""
    if word not in words and not word.startswith("-"):
        near = nearest_name(word, words)
        raise ValueError(f"{f'{prog} {word}'.strip()}: name one of {', '.join(words)} first{near}")
