"""`metarobot diagnose`: the fault of a machine from a few recordings of each, and its life.

`diagnose_options.py` holds the options of the subcommands, `diagnosing.py` what they do; the latter
is imported after help, which does not wait for it.
"""

from __future__ import annotations

from typing import Any

from metarobot.cli.console import OK
from metarobot.cli.diagnose_options import COMMANDS
from metarobot.cli.parsing import Parser, parse
from metarobot.envs.checks import nearest_name
from metarobot.machine import extra


def run(arguments: list[str], prog: str) -> int:
    """Run the subcommand."""
    number = 2 if arguments[:1] == ["life"] else 1
    word, rest = " ".join(arguments[:number]), arguments[number:]
    if word not in COMMANDS:
        if {*arguments[:2]} & {"-h", "--help"}:
            make_parser(prog).parse_args(arguments)
        near = nearest_name(word, COMMANDS)
        raise ValueError(f"{f'{prog} {word}'.strip()}: name one of {', '.join(COMMANDS)}{near}")
    command: Any = parse(COMMANDS[word], rest, f"{prog} {word}")
    with extra("train", "diagnosis"):
        from metarobot.cli.diagnosing import ACTIONS

    ACTIONS[type(command)](command)
    return OK


def make_parser(prog: str) -> Parser:
    """Return the parser with every subcommand, for completion and help."""
    parser = Parser(prog, "Diagnose the fault of a machine from a few recordings of each fault.")
    commands = _add_commands(parser)
    about = "Predict the remaining life of machines from the lives of others."
    life = _add_commands(commands.add_parser("life", prog=f"{prog} life", help=about, about=about))
    for word, options in COMMANDS.items():
        about = options.__doc__ or ""
        first = " ".join(about.partition("\n\n")[0].split())
        group = life if word.startswith("life ") else commands
        group.add_parser(word.split()[-1], help=first, about=about).add(options)
    return parser


def _add_commands(parser: Parser) -> Any:
    parser.usage = f"{parser.prog} COMMAND [options]"
    return parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
