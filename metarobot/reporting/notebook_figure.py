"""A matplotlib figure that a notebook shows, whether or not pyplot is imported."""

from __future__ import annotations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from metarobot.reporting.style import png_bytes


class NotebookFigure(Figure):
    """A figure without a window; IPython shows those of matplotlib only once pyplot is there."""

    def __init__(self, **values: object) -> None:
        super().__init__(**values)  # pyright: ignore[reportArgumentType]
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        return png_bytes(self)
