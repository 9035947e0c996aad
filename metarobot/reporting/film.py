"""A film that was written, as a path that notebooks show."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

from metarobot.console import printable
from metarobot.io import read_file
from metarobot.reporting.video import data_url

MOST_SHOWN_BYTES = 64 * 2**20
"""Largest film that a page holds, in bytes."""
_TYPES = {".mp4": "video/mp4", ".webp": "image/webp", ".gif": "image/gif"}
_STYLE = "max-width: 100%"


@dataclass(frozen=True, kw_only=True)
class Film(os.PathLike[str]):
    """A film of one task or of a grid of tasks; its path, wherever a path is taken.

    As the last value of a notebook's cell, it plays.
    """

    path: Path
    """The file, which ends in .mp4, .webp or .gif."""
    tasks: tuple[dict[str, float], ...]
    """Parameters of the tasks; a grid is listed row by row, from the top."""
    returns: Mapping[int, float]
    """Mean return over the tasks, by the adaptation episodes before."""
    successes: Mapping[int, int]
    """Number of tasks that succeed, likewise."""

    def __fspath__(self) -> str:
        """Return the path."""
        return str(self.path)

    def __repr__(self) -> str:
        returns = " -> ".join(f"{value:z.2f}" for value in self.returns.values())
        tasks = "" if len(self.tasks) == 1 else f" of {len(self.tasks)} tasks"
        return f"Film({str(self.path)!r}{tasks}, return {returns})"

    def _repr_html_(self) -> str | None:
        """Return the film itself as HTML; None if it is gone or too large."""
        try:
            data = read_file(self.path, MOST_SHOWN_BYTES)
        except (OSError, ValueError):
            return None
        kind = _TYPES[self.path.suffix.lower()]
        url, name = data_url(data, kind), escape(printable(str(self.path)))
        if kind == "video/mp4":
            switches = "controls autoplay loop muted playsinline"
            return f'<video {switches} style="{_STYLE}" title="{name}" src="{url}"></video>'
        return f'<img style="{_STYLE}" alt="{name}" src="{url}">'
