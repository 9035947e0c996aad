"""The film of a policy over a range of tasks: a grid of episodes, before and after adapting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from metarobot.envs import (
    TaskDistribution,
    TaskParameter,
    Tasks,
    TaskVectorEnv,
    Variant,
    find_family,
    parameter_words,
)
from metarobot.envs.checks import is_integer, require_memory
from metarobot.evaluation.evaluate import grid_values
from metarobot.policies import Params
from metarobot.reporting.adaptation_video import (
    MOST_SIDE,
    RenderConfig,
    adapt_to,
    camera_env,
    find_shown_policy,
    shown_start,
)
from metarobot.reporting.film_drawing import BLUE, ORANGE
from metarobot.reporting.film_file import write_film
from metarobot.reporting.filming import (
    FRAMES_PER_STEP,
    film,
    film_title,
    force_words,
    frames_per_second,
    units_of,
)
from metarobot.reporting.style import after_episodes, in_unit
from metarobot.reporting.video import Frame, Words, compose_film, describe_task
from metarobot.training.load import TrainedPolicy, TrainedRun

_IN_RANGE, _IN_GAP, _BEYOND = "training range", "gap in training", "beyond training"


@dataclass(frozen=True, kw_only=True)
class GridSize:
    """Over how many tasks a policy is filmed."""

    columns: int
    """Values from left to right."""
    rows: int
    """Values upwards."""
    parameters: tuple[str, ...] = ()
    """Names of the task parameters of the columns and the rows; by default those of the family's
    heat map, or its first ones."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not all(is_integer(side, 1, MOST_SIDE) for side in (self.columns, self.rows)):
            raise ValueError(
                f"a grid has 1x1 to {MOST_SIDE}x{MOST_SIDE} tasks, got {self.columns}x{self.rows}"
            )
        if len(self.parameters) > 2:
            raise ValueError(f"a grid has two sides, got {len(self.parameters)} task parameters")


@dataclass
class RenderedGrid:
    """What the film shows, in numbers."""

    num_tasks: int
    returns: dict[int, float] = field(default_factory=dict)
    """Mean return by adaptation episodes."""
    successes: dict[int, int] = field(default_factory=dict)
    """Tasks that succeed, likewise."""


@dataclass(frozen=True)
class _Cells:
    """What the film is of."""

    tasks: Tasks
    """Row by row, from the highest value of the rows' parameter down."""
    labels: Sequence[tuple[str, str]]
    """Of every task: its values on the sides, and whether it lies in the training range."""
    words: Sequence[str]
    """What stands above all of them."""
    columns: int


def render_grid(
    run: TrainedRun,
    path: Path,
    size: GridSize,
    config: RenderConfig | None = None,
    task: Mapping[str, float] | None = None,
    variant: Variant | None = None,
) -> RenderedGrid:
    """Film a grid of tasks before and after adapting, without noise and all from the same start.

    Args:
        run: A run whose meta-learned algorithm is shown.
        path: The film to write, see `write_film`.
        size: How many tasks, and over which task parameters.
        config: How they are adapted to.
        task: Values of other task parameters; those not named stay nominal.
        variant: What to film it on; None for the family as it is.

    Raises:
        RunError: The run does not hold the algorithm.
        TaskError: The family does not allow a task.
        VideoError: The film could not be made.
        ValueError: The family has no such grid, or the film is too long for the memory.
    """
    config, task = config or RenderConfig(), dict(task or {})
    trained, family = find_shown_policy(run, config), find_family(run.env_id)
    measured = (variant or family).distribution
    axes = _axes(measured, family.heat_map_axes, size, task)
    tasks = _tasks(measured, axes, size, task)
    cells = _Cells(
        tasks=tasks,
        labels=_labels(tasks, axes, run.distribution),
        words=[*_axis_words(axes), *describe_task(task, units_of(measured))],
        columns=size.columns,
    )
    shown = RenderedGrid(len(tasks))
    adapted = adapt_to(run.env_id, tasks, trained, config, variant)
    with closing(camera_env(run, config, variant, size.columns)) as env:
        _require_memory(env, size)
        frames = _frames(env, trained, cells, adapted, config, shown)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_film(frames, path, frames_per_second(env, config.slow_motion))
    return shown


def _axes(
    distribution: TaskDistribution, usual: Sequence[str], size: GridSize, task: Mapping[str, float]
) -> list[TaskParameter]:
    """Return the parameters of the columns and of the rows; a side of one task needs none."""
    sides = [number for number in (size.columns, size.rows) if number > 1]
    names = [name for name in dict.fromkeys([*usual, *distribution.names]) if name not in task]
    chosen = [distribution[name] for name in size.parameters or names[: len(sides)]]
    if len({parameter.name for parameter in chosen}) != len(sides):
        raise ValueError(
            f"a grid of {size.columns}x{size.rows} tasks needs {len(sides)} task parameter"
            f"{'s' * (len(sides) != 1)}, got {', '.join(p.name for p in chosen) or 'none'}"
        )
    for parameter, side in zip(chosen, sides, strict=True):
        if parameter.name in task:
            raise ValueError(f"{parameter.name} is a side of the grid: leave it out of --task")
        if parameter.choices and len(parameter.choices) != side:
            count = len(parameter.choices)
            raise ValueError(f"{parameter.name} has {count} values, so that side is {count}")
    return chosen


def _tasks(
    distribution: TaskDistribution,
    axes: Sequence[TaskParameter],
    size: GridSize,
    task: Mapping[str, float],
) -> Tasks:
    """Return the tasks row by row, from the highest value of the rows' parameter down."""
    sides = [number for number in (size.columns, size.rows) if number > 1]
    values = [grid_values([p], side) for p, side in zip(axes, sides, strict=True)]
    if size.rows > 1:
        values[-1] = values[-1][::-1]
    points = np.meshgrid(*reversed(values), indexing="ij")[::-1]
    columns = {p.name: v.ravel() for p, v in zip(axes, points, strict=True)}
    count = size.columns * size.rows
    given = {name: np.full(count, value) for name, value in task.items()}
    return distribution.with_values({**given, **columns})


def _axis_words(axes: Sequence[TaskParameter]) -> list[str]:
    """Say what differs from left to right, and what upwards."""
    words = [parameter_words(parameter.name, parameter.unit) for parameter in axes]
    return [f"{where}: {name}" for where, name in zip(("across", "upwards"), words, strict=False)]


def _labels(
    tasks: Tasks, axes: Sequence[TaskParameter], trained_on: TaskDistribution
) -> list[tuple[str, str]]:
    """Return for every task its values on the axes, and whether it lies in the training range."""
    labels = []
    for task in tasks.to_dicts():
        values = [in_unit(f"{task[p.name]:.3g}", p.unit) for p in axes]
        where = {_where(trained_on[name], value) for name, value in task.items()}
        worst = next(word for word in (_BEYOND, _IN_GAP, _IN_RANGE) if word in where)
        labels.append(("  ·  ".join(values), worst))
    return labels


def _where(parameter: TaskParameter, value: float) -> str:
    """Say where a value lies, to the 9 digits that survive a logarithm and back."""
    (low, high), near = parameter.train, 1e-9 * (1 + abs(value))
    if not low - near <= value <= high + near:
        return _BEYOND
    in_gap = any(first < value < last for first, last in parameter.gaps)
    return _IN_GAP if in_gap else _IN_RANGE


def _require_memory(env: TaskVectorEnv, size: GridSize) -> None:
    """Refuse a film whose frames do not fit into memory: those of one stage are held."""
    steps = env.horizon + env.settle_steps
    count = size.columns * size.rows * (steps * FRAMES_PER_STEP + 1)
    require_memory(
        {f"{count} frames": count * 3 * env.pictures.width_px * env.pictures.height_px},
        "film a smaller grid",
    )


def _frames(
    env: TaskVectorEnv,
    trained: TrainedPolicy,
    cells: _Cells,
    adapted: Mapping[int, Params],
    config: RenderConfig,
    shown: RenderedGrid,
) -> Iterator[Frame]:
    """Yield the frames of every stage, one after the other; note in ``shown`` what they show."""
    start, fps = shown_start(env, config), frames_per_second(env, config.slow_motion)
    options = {"columns": cells.columns, "control_dt_s": env.control_dt_s, "fps": fps}
    for number, params in adapted.items():
        clips = []
        for row, (values, where) in enumerate(cells.labels):
            env.set_tasks(cells.tasks.rows([row]))
            own = {name: leaf[row : row + 1] for name, leaf in params.items()}
            clip = film(env, trained, own, start, values)
            colour = BLUE if where == _IN_RANGE else ORANGE
            clips.append(replace(clip, note=where, colour=colour))
        shown.returns[number] = float(np.mean([sum(clip.rewards) for clip in clips]))
        shown.successes[number] = sum(clip.success for clip in clips)
        title = f"{film_title(env)}, {after_episodes(number)}"
        words = Words(title=title, parts=[*cells.words, *force_words(env)])
        yield from compose_film(clips, words, **options)
