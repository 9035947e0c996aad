"""What passes between the thread that simulates and draws, and those that answer a browser."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from metarobot.play.session import ADAPTED, BEFORE

Action = Literal["task", "try", "adapt", "forget"]
PICTURES = {BEFORE: "before", ADAPTED: "adapted"}
"""Names of the pictures, by simulation."""
_MOST_WAITING = 64
"""Commands that wait, at most."""


@dataclass(frozen=True)
class Command:
    """What a person wants to be done."""

    action: Action
    values: dict[str, float] = field(default_factory=dict)
    """Where sliders are put, by name; of "task" alone."""


class Latest:
    """The newest version of something, which threads wait for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._number, self._content = 0, b""

    def put(self, content: bytes) -> None:
        """Replace it."""
        with self._changed:
            self._number, self._content = self._number + 1, content
            self._changed.notify_all()

    def wait(self, after: int, timeout_s: float) -> tuple[int, bytes] | None:
        """Return its number and content once the number differs from ``after``, else None."""
        with self._changed:
            is_new = self._changed.wait_for(
                lambda: self._number not in (0, after), timeout=timeout_s
            )
            return (self._number, self._content) if is_new else None


class Exchange:
    """Commands on the way in, states and pictures on the way out."""

    def __init__(self) -> None:
        self.state = Latest()
        """The state, as JSON."""
        self.pictures = {name: Latest() for name in PICTURES.values()}
        """The pictures, as JPEG."""
        self._commands: deque[Command] = deque()
        self._asked = threading.Condition()
        self._looked_s = float("-inf")

    def command(self, command: Command) -> bool:
        """Let a command wait; return whether there was room.

        A slider that is still being moved replaces where it was a moment ago.
        """
        with self._asked:
            last = self._commands[-1] if self._commands else None
            if last is not None and last.action == command.action == "task":
                self._commands[-1] = Command("task", {**last.values, **command.values})
            elif len(self._commands) >= _MOST_WAITING:
                return False
            else:
                self._commands.append(command)
            self._asked.notify_all()
        return True

    def next_command(self) -> Command | None:
        """Return the command that has waited longest, None if none waits."""
        with self._asked:
            return self._commands.popleft() if self._commands else None

    def count_waiting(self, action: Action) -> int:
        """Return how many commands of a kind wait."""
        with self._asked:
            return sum(command.action == action for command in self._commands)

    def is_waiting(self) -> bool:
        """Return whether a command waits."""
        return bool(self._commands)

    def wait(self, timeout_s: float) -> None:
        """Wait until a command comes, or the time has passed."""
        with self._asked:
            self._asked.wait_for(lambda: bool(self._commands), timeout=timeout_s)

    def look(self) -> None:
        """Note that somebody looks."""
        self._looked_s = time.monotonic()

    def seconds_unseen(self) -> float:
        """Return for how long nobody has looked."""
        return time.monotonic() - self._looked_s
