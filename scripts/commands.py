"""What scripts with options have in common: parse them, do the work, say errors in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from metarobot.cli.parsing import parse

CommandT = TypeVar("CommandT")


def takes_options(
    command: type[CommandT], program: str
) -> Callable[[Callable[[CommandT], int | None]], Callable[..., int]]:
    """Make the main function of a script from one that takes the parsed options.

    It is called with what follows the script's name, or with nothing for what the script was called
    with.  It returns the exit code of the work, 0 for None, or 2 after one line on bad input.

    Args:
        command: The options.
        program: The script's name.
    """

    def main_of(work: Callable[[CommandT], int | None]) -> Callable[..., int]:
        def main(argv: Sequence[str] | None = None) -> int:
            try:
                return work(parse(command, sys.argv[1:] if argv is None else argv, program)) or 0
            except (ValueError, OSError) as error:
                print(f"{program}: error: {error}", file=sys.stderr)
                return 2

        return main

    return main_of


def check_names(kind: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    """Refuse a name that there is not."""
    for name in given:
        if name not in allowed:
            raise ValueError(f"no {kind} {name!r}, allowed: {', '.join(allowed)}")
