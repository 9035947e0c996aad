"""The heat map of an evaluation: what policies reach on a grid over two task parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from metarobot.envs import SPLITS, TaskParameter, Tasks, Variant, find_family
from metarobot.training.load import TrainedRun

GRID_KEY = len(SPLITS)
"""What the draws of the grid are addressed by, after those of the splits."""

Cells = tuple[tuple[float | None, ...], ...]
"""A number for every task of the grid, (Y, X); None where there is none."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One task parameter of a heat map; all in its own unit."""

    name: str
    """Identifier that ends in its unit."""
    unit: str
    """Unit as written on the axis; ``1`` for a ratio."""
    values: tuple[float, ...]
    """Values of the grid, increasing."""
    train: tuple[float, float]
    """Range that the policies were trained on, without its gaps."""
    gaps: tuple[tuple[float, float], ...] = ()
    """Intervals in it that they were not trained on."""
    log: bool = False
    """Whether the scale is logarithmic."""

    def __post_init__(self) -> None:
        """Check the values."""
        increases = all(a < b for a, b in pairwise(self.values))
        if len(self.values) < 2 or not increases or not np.isfinite(self.values).all():
            raise ValueError("an axis needs at least 2 values, increasing")
        if self.log and self.values[0] <= 0:
            raise ValueError("a logarithmic axis needs positive values")


@dataclass(frozen=True, kw_only=True)
class GridMap:
    """What one policy reaches on the tasks of a heat map, averaged over the seeds."""

    algorithm: str
    """Whose it is."""
    adaptation_episodes: int
    """Adaptation episodes of each task used before, in one block."""
    returns: Cells
    """Mean return, (Y, X)."""
    success: Cells
    """Success rate, 0 to 1, (Y, X)."""


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """Two axes, and a map for each policy."""

    x: Axis
    """The axis that runs to the right, X values."""
    y: Axis
    """The axis that runs upwards, Y values."""
    maps: tuple[GridMap, ...]
    """In the order of tables."""

    def __post_init__(self) -> None:
        """Check the shapes."""
        num_rows, num_columns = len(self.y.values), len(self.x.values)
        for cells in (cells for each in self.maps for cells in (each.returns, each.success)):
            if len(cells) != num_rows or {len(row) for row in cells} != {num_columns}:
                raise ValueError(f"a map must have {num_rows} rows of {num_columns} numbers")


@dataclass(frozen=True)
class Grid:
    """The tasks of a heat map: every pair of two axes' values, all other parameters nominal."""

    x: Axis
    y: Axis
    tasks: Tasks
    """Row by row, (Y * X)."""

    def cells(self, scores: np.ndarray) -> Cells:
        """Return scores (S, Y * X) as a map, averaged over the seeds."""
        means = scores.mean(axis=0).reshape(len(self.y.values), len(self.x.values))
        return tuple(tuple(row) for row in means.tolist())


def make_grid(run: TrainedRun, size: int, variant: Variant | None) -> Grid | None:
    """Return the grid for a run, None for a family without two parameters to draw it over.

    The grid covers the family, what was trained on and what is measured; the axes carry the ranges
    trained on.

    Args:
        run: What was trained.
        size: Values along each axis.
        variant: What is measured on; None for the family as it is.
    """
    family = find_family(run.env_id)
    if not family.heat_map_axes:
        return None
    measured = (variant or family).distribution
    trained = run.distribution
    x, y = (trained[name] for name in family.heat_map_axes)
    x_values, y_values = (
        grid_values([p, measured[p.name], family.distribution[p.name]], size) for p in (x, y)
    )
    tasks = measured.grid(x.name, x_values, y.name, y_values)
    return Grid(_axis(x, x_values), _axis(y, y_values), tasks)


def grid_values(parameters: Sequence[TaskParameter], size: int) -> np.ndarray:
    """Return values from the lowest to the highest that any split of any of them draws, (size,).

    The last one is the family's, whose choices are all values where it has some.
    """
    if choices := parameters[-1].choices:
        return np.array(choices)
    edges = np.array([pair for p in parameters for pair in (p.train, *p.extrapolation)])
    scale, unscale = parameters[0].scale, parameters[0].unscale
    low, high = scale(np.array([edges.min(), edges.max()]))
    # Within the range in spite of rounding: an allowed range may end right there.
    return np.clip(unscale(np.linspace(low, high, size)), edges.min(), edges.max())


def _axis(parameter: TaskParameter, values: np.ndarray) -> Axis:
    return Axis(
        name=parameter.name,
        unit=parameter.unit,
        values=tuple(values.tolist()),
        train=parameter.train,
        gaps=parameter.gaps,
        log=parameter.log_uniform,
    )
