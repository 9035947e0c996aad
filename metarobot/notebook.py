"""Notebooks: tables as HTML, and a view that is drawn again while work goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

_INTERVAL_S = 0.25
"""Least time between two drawings, in seconds."""


def in_notebook() -> bool:
    """Whether output goes to a notebook, which shows HTML."""
    if "IPython" not in sys.modules:
        return False
    from rich.console import Console

    return Console().is_jupyter


def html_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as HTML, its text escaped; colours are those of the notebook, light or dark.

    Args:
        title: A line above it.
        headings: The first is that of the labels; empty for a table without.
        rows: Cells, the label first.
    """

    def cells(row: Sequence[str], tag: str) -> str:
        sides = ("left", *("right" for _ in row[1:]))
        found = (
            f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>'
            for side, cell in zip(sides, row, strict=True)
        )
        return f"<tr>{''.join(found)}</tr>"

    head = f"<thead>{cells(headings, 'th')}</thead>" if headings else ""
    body = "".join(cells(row, "td") for row in rows)
    caption = f"<p>{escape(title)}</p>"
    return f'{caption}<table class="dataframe">{head}<tbody>{body}</tbody></table>'


class NotebookView:
    """One output of a cell, drawn again while work goes on.

    Args:
        draw: Function that returns what is shown: a table or bar of rich, which has HTML.
    """

    def __init__(self, draw: Callable[[], Any]) -> None:
        from IPython.display import display

        self._draw, self._drawn_s = draw, time.monotonic()
        self._handle: Any = display(draw(), display_id=True)

    def refresh(self) -> None:
        """Draw it again, if it was not drawn a moment ago."""
        if time.monotonic() - self._drawn_s >= _INTERVAL_S:
            self.stop()

    def stop(self) -> None:
        """Draw it as it is now."""
        self._drawn_s = time.monotonic()
        self._handle.update(self._draw())
