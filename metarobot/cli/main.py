"""The command line: run a command, and report its error in one line.

A command is imported when it is called, and imports what it calls when it has read its options:
help and refusals do not wait for torch.
"""

from __future__ import annotations

import argparse
import difflib
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from metarobot.cli.console import BAD_INPUT, INTERRUPTED, OK
from metarobot.cli.parsing import Parser
from metarobot.console import (
    InterruptedCommandError,
    interrupted_by_signals,
    is_first_process,
    say,
    unfailing_streams,
)
from metarobot.machine import VERSION, OpenGLError

_HELP = ("help", "-h", "--help")
_COMPLETION = "--print-completion"

_FIRST_PROCESS_TIMEOUT_S = 60.0
"""Time that other processes wait for the first one to report an input error, in seconds."""

_EXPECTED = (KeyboardInterrupt, MemoryError, OSError, OpenGLError, ValueError)
"""Errors that end a command with one line; others are defects and show a traceback."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments after the program's name; those of the process when None.

    Returns:
        The exit code: 0, 2 after a one-line error on stderr, 130 after Ctrl-C, 143 after SIGTERM.
    """
    with unfailing_streams() as output_problem, interrupted_by_signals():
        code = _run(list(sys.argv[1:] if argv is None else argv))
        problem = output_problem()
        if problem and code == OK:
            why = problem.strerror or str(problem)
            say(f"error: standard output could not be written: {why}")
            return BAD_INPUT
        return code


def _run(arguments: list[str]) -> int:
    """Run one command, and report its error in one line."""
    try:
        return _dispatch(arguments)
    except _EXPECTED as error:
        message, code = _explain(error)
        # An error of all processes of a run is reported by the first one.
        if not is_first_process():
            if isinstance(error, InterruptedCommandError):
                return code
            if isinstance(error, ValueError):
                # torchrun ends all processes when one fails: let the first one report before.  It
                # ends this one during the wait, unless the input is bad in this process alone.
                time.sleep(_FIRST_PROCESS_TIMEOUT_S)
        say(message)
        return code


def _explain(error: BaseException) -> tuple[str, int]:
    """Return the error message, and the exit code."""
    if isinstance(error, InterruptedCommandError):
        return str(error), 128 + error.signal_number
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", INTERRUPTED
    if isinstance(error, MemoryError):
        return "error: there is not enough memory for sizes like these", BAD_INPUT
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return f"error: {name}{error.strerror or error}", BAD_INPUT
    return f"error: {error}", BAD_INPUT


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        raise ValueError(f"name a command, one of {', '.join(COMMANDS)}; see `metarobot help`")
    name, *rest = arguments
    if name in _HELP:
        of = [word for word in rest if word not in _HELP]
        if of:
            return _dispatch([*of, "--help"])
        print(_help())
        return OK
    if name == "--version" and not rest:
        print(f"metarobot {VERSION}")
        return OK
    if name == _COMPLETION:
        return _print_completion(rest)
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"no command {name!r}, allowed: {', '.join(COMMANDS)}{hint}")
    try:
        return module_of(name).run(rest, f"metarobot {name}")
    except SystemExit as exit_:  # help was asked for and printed
        return int(exit_.code or OK)


COMMANDS = {
    "demo": "train, evaluate, film and report on one family, in minutes",
    "train": "train the algorithms of a task family",
    "check": "check a task family before training: does the task matter, what can be gained",
    "evaluate": "measure adaptation on tasks never trained on, and write the report",
    "compare": "train several algorithms, and evaluate them on the same tasks",
    "render": "film one task before and after adaptation",
    "play": "play with a policy in the browser: set the task, adapt, compare",
    "explain": "measure how adaptation depends on the task and changes behaviour",
    "adapt": "adapt a trained policy to a robot or to a log, in a few episodes",
    "export": "write a policy as an ONNX file, or as a PPO model",
    "export-episodes": "write episodes as a LeRobot dataset, or as a table",
    "import": "read the policy of a PPO model that you trust",
    "diagnose": "diagnose a machine from a few recordings of each fault",
    "list": "list the task families, and trained policies of the package",
    "runs": "list runs with their progress, cost and results",
    "doctor": "check the installation",
}
"""Description of every command; each is a module of its name beside this one."""


def module_of(command: str) -> Any:
    """Import the module of a command, which has `run`, and `Options` or `make_parser`."""
    name = "import_ppo" if command == "import" else command.replace("-", "_")
    return import_module(f"metarobot.cli.{name}")


def _print_completion(shell: list[str]) -> int:
    """Print the script of a shell that completes every command; shtab writes it."""
    import shtab

    if len(shell) != 1 or shell[0] not in shtab.SUPPORTED_SHELLS:
        raise ValueError(
            f"{_COMPLETION} takes one of {', '.join(shtab.SUPPORTED_SHELLS)}, got "
            f"{' '.join(shell)!r}"
        )
    everything = argparse.ArgumentParser("metarobot", allow_abbrev=False)
    commands = everything.add_subparsers()
    for name, meaning in COMMANDS.items():
        parent = make_parser(name)
        commands.add_parser(name, help=meaning, parents=[parent], add_help=False)
    print(shtab.complete(everything, shell[0]))
    return OK


def make_parser(command: str) -> Parser:
    """Return the parser of a command, with every option."""
    module, prog = module_of(command), f"metarobot {command}"
    if hasattr(module, "make_parser"):
        return module.make_parser(prog)
    parser = Parser(prog, module.Options.__doc__)
    parser.add(module.Options)
    return parser


def _help() -> str:
    lines = [f"  {name:<17}{meaning}" for name, meaning in COMMANDS.items()]
    return "\n".join(
        [
            "usage: metarobot COMMAND [options]",
            "",
            "Meta-learn robot policies that adapt to a new payload, surface or drive.",
            "",
            *lines,
            "",
            "metarobot help COMMAND lists the options; metarobot --version the version.",
        ]
    )
