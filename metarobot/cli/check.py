"""`metarobot check`: does a task family make sense, before it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from metarobot.cli.console import OK
from metarobot.cli.parsing import Argument, OutsideOptions, import_family, parse
from metarobot.config import find_preset
from metarobot.console import make_console, print_line
from metarobot.envs.checks import is_number, show

NOT_TRAINABLE = 1
"""Exit code where a finding is blocking."""


@dataclass(frozen=True, kw_only=True)
class Options(OutsideOptions):
    """Check a task family before training: does the task matter, is it seen, what can be gained.

    Exit code 1 says that a finding is blocking.
    """

    family: Annotated[str, Argument("FAMILY", positional=True)]
    """Preset of `metarobot train`, such as grip, the id of a family, or MODULE:ID for one of yours,
    such as my_package.my_family:my/Push-v0."""
    seed: int = 0
    """Seed of tasks, starts and actions."""
    at_most_s: float = 120.0
    """Time that it may take, about; slow simulations are measured on fewer episodes."""

    def __post_init__(self) -> None:
        """Refuse a time that is no number of seconds."""
        if not is_number(self.at_most_s, 1.0, 86_400.0):
            raise ValueError(
                f"--at-most-s takes a number in [1, 86400], got {show(self.at_most_s)}"
            )


def run(arguments: list[str], prog: str) -> int:
    """Check a family."""
    options = parse(Options, arguments, prog)
    family = import_family(options.family)
    find_preset(family)  # refuses an unknown name before torch is imported
    from metarobot.api import check_family  # after help, which does not wait for torch

    found = check_family(family, seed=options.seed, at_most_s=options.at_most_s)
    console = make_console()
    for line in str(found).splitlines():
        print_line(console, line)
    return OK if found.trainable else NOT_TRAINABLE
