"""What the scripts that make trained parts of the package have in common: to make, or to check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

CARD_FILE = "README.md"
OTHER_TASKS = 20_000_007
"""Seed of the tasks of --check."""


class Command(Protocol):
    """Options of such a script."""

    @property
    def check(self) -> bool:
        """Whether what is there is measured again, instead of made."""
        ...


CommandT = TypeVar("CommandT", bound=Command)


def ship_or_check(
    command: CommandT,
    ship: Callable[[CommandT], None],
    differences: Callable[[CommandT], list[str]],
    all_well: str,
) -> int:
    """Ship or check; return 1 where --check finds a difference, 0 otherwise.

    Args:
        command: The options.
        ship: Makes what is shipped.
        differences: Measures it again: a line for each difference from its cards.
        all_well: What is printed where there is none.
    """
    if not command.check:
        ship(command)
        return 0
    lines = differences(command)
    print("\n".join(lines) or all_well)
    return 1 if lines else 0
