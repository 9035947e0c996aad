"""Films of policies: one task or a grid of tasks, before and after adapting."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
from PIL import Image

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.adaptation.report import Report
from metarobot.config import GridSize, RenderConfig
from metarobot.envs import (
    Split,
    TaskBatch,
    TaskDistribution,
    TaskParameter,
    Tasks,
    Variant,
    find_family,
    make_env,
    parameter_words,
)
from metarobot.envs.checks import require_memory
from metarobot.evaluation.evaluate import Progress, grid_values
from metarobot.evaluation.table import Evaluation
from metarobot.evaluation.task_set import TaskSet
from metarobot.machine import MissingExtraError, OpenGLError, require_opengl
from metarobot.policies import Params, repeat_params
from metarobot.reporting.camera import open_camera
from metarobot.reporting.style import after_episodes, in_unit, split_title
from metarobot.reporting.video import (
    BLUE,
    ORANGE,
    Clip,
    Film,
    Frame,
    VideoError,
    Words,
    describe_task,
    mp4_bytes,
    require_film_name,
    write_film,
)
from metarobot.rollout.collect import collect
from metarobot.rollout.seeding import EpisodeDraws, Phase, draw_episodes, numpy_generator
from metarobot.training.load import TrainedPolicy, TrainedRun
from metarobot.training.memory import require_evaluation_memory
from metarobot.training.run_folder import RunError

NUM_DRAWN = 32
"""Number of tasks to choose one from, of the split farthest from training."""
CHOSEN = "a chosen task"
"""Note of a film of a task that was chosen."""
PLACES = ("beyond training", "in a gap of training", "trained on")
"""Places of a value beside the training range, the farthest first."""
_POSTER_WIDTH_PX = 640
_ADAPTATION, _SHOWN = 0, 1  # addresses of the draws: adaptation episodes; the one filmed
_DRAWN = 0.9
"""Share of the work that is done when all pictures are drawn."""


def silent(stage: str, share: float) -> None:
    """Show no progress."""
    del stage, share


@dataclass(frozen=True)
class PosterFilm:
    """A film for a page."""

    mp4: bytes
    poster: bytes
    """JPEG of its end, which shows whether the episodes succeeded."""


@dataclass(frozen=True)
class WorstFilms:
    """Films of the worst tasks."""

    films: Mapping[int, PosterFilm] = field(default_factory=dict)
    """Films by index in `Evaluation.worst_tasks`."""
    problem: str = ""
    """Reason for missing films, in one line."""


def render_adaptation(
    run: TrainedRun,
    path: Path,
    config: RenderConfig | None = None,
    task: Mapping[str, float] | None = None,
    variant: Variant | None = None,
    *,
    note: str = "",
    progress: Progress = silent,
) -> Film:
    """Film one task before and after adapting, without action noise and from the same start.

    Args:
        run: A run whose meta-learned algorithm is shown.
        path: The film to write, see `write_film`.
        config: Task and adaptation.
        task: Task parameters to set; those not named stay nominal.  None draws a task.
        variant: Variant to film; None for the family itself.
        note: Note on the task, written beside it.
        progress: Called with a stage and the share of the work done.

    Raises:
        RunError: The run does not hold the algorithm.
        TaskError: The family does not allow the task, or has no such split.
        VideoError: ffmpeg failed.
    """
    config = config or RenderConfig()
    trained = find_shown_policy(run, config)
    tasks = choose_task((variant or find_family(run.env_id)).distribution, config, task)
    progress("adapting", 0.0)
    adapted = adapt_to(run.env_id, tasks, trained, config, variant)
    stages = _captioned(adapted)
    clips, frames, fps = _film(
        trained, path, tasks, stages, config, variant, note=note, progress=progress
    )
    progress(f"writing {path.name}", _DRAWN)
    write_film(frames, path, fps)
    number, params = max(adapted.items(), key=lambda item: item[0])
    film = _film_of(
        path, tasks, {number: [clip] for number, clip in zip(adapted, clips, strict=True)}
    )
    return replace(film, report=Report.of(trained.algorithm, params, [np.nan] * number).line)


def _film_of(path: Path, tasks: Tasks, clips: Mapping[int, Sequence[Clip]]) -> Film:
    """Return a film that was written, from the clips of its tasks by adaptation episodes."""
    return Film(
        path=path,
        tasks=tuple(tasks.to_dicts()),
        returns={
            n: float(np.mean([np.sum(clip.rewards) for clip in own])) for n, own in clips.items()
        },
        successes={number: sum(clip.success for clip in own) for number, own in clips.items()},
    )


def _film(
    trained: TrainedPolicy | AdaptablePolicy,
    path: Path,
    tasks: Tasks,
    stages: Mapping[str, Params],
    config: RenderConfig,
    variant: Variant | None = None,
    *,
    start: Callable[[TaskBatch], np.ndarray] | None = None,
    where: str = "",
    note: str = "",
    progress: Progress = silent,
) -> tuple[list[Clip], Iterator[Frame], float]:
    """Film one task with several parameters side by side.

    Args:
        trained: The policy that acts.
        path: The film; nothing is written yet.
        tasks: The one task.
        stages: Parameters of the policy, each leaf (1, ...), by the captions of their clips.
        config: Settings of the film and the seed of the start.
        variant: Variant to film; None for the family itself.
        start: Function that returns the start, (1, 1, S); by default drawn from the seed.
        where: Text after the title.
        note: Note on the task.
        progress: Called with a stage and the share of the work done.

    Returns:
        The clips, the frames of the film, and their rate per second.
    """
    with open_camera(trained.config, path, len(stages), config, variant) as camera:
        camera.env.set_tasks(tasks)
        begin = start(camera.env) if start else _shown_start(camera.env, config)
        clips = list[Clip]()
        for caption, params in stages.items():
            progress(f"filming {caption}", _DRAWN * len(clips) / len(stages))
            clips.append(camera.film(trained, params, begin, caption))
        parts = [*camera.task_words(), note, *camera.force_words()]
        words = Words(title=camera.title + where, parts=[*filter(None, parts)])
        return clips, camera.compose(clips, words, len(clips)), camera.fps


def _captioned(adapted: Mapping[int, Params], index: int = 0) -> dict[str, Params]:
    """Return the parameters of one of the tasks adapted to, each leaf (1, ...), by captions."""
    return {after_episodes(number): _rows(params, index) for number, params in adapted.items()}


def render_grid(
    run: TrainedRun,
    path: Path,
    size: GridSize,
    config: RenderConfig | None = None,
    task: Mapping[str, float] | None = None,
    variant: Variant | None = None,
    *,
    progress: Progress = silent,
) -> Film:
    """Film a grid of tasks before and after adapting, without noise and all from the same start.

    Args:
        run: A run whose meta-learned algorithm is shown.
        path: The film to write, see `write_film`.
        size: Numbers of tasks and the task parameters.
        config: Settings of the adaptation.
        task: Values of other task parameters; those not named stay nominal.
        variant: Variant to film; None for the family itself.
        progress: Called with a stage and the share of the work done.

    Raises:
        RunError: The run does not hold the algorithm.
        TaskError: The family does not allow a task.
        VideoError: The film could not be made.
        ValueError: The family has no such grid, or the film is too long for the memory.
    """
    config, task = config or RenderConfig(), dict(task or {})
    trained, family = find_shown_policy(run, config), find_family(run.env_id)
    measured = (variant or family).distribution
    axes = _grid_axes(measured, family.heat_map_axes, size, task)
    tasks = _grid_tasks(measured, axes, size, task)
    names = [parameter_words(each.name, each.unit) for each in axes]
    parts = [f"{where}: {name}" for where, name in zip(("across", "upwards"), names, strict=False)]
    parts += describe_task(task, _units(measured))
    filmed: dict[int, Sequence[Clip]] = {}
    progress("adapting", 0.0)
    adapted = adapt_to(run.env_id, tasks, trained, config, variant)
    with open_camera(trained.config, path, size.columns, config, variant, size.rows) as camera:
        env = camera.env
        steps, num_clips = env.horizon + env.settle_steps, len(adapted) * len(tasks)
        num_frames = num_clips * int(steps * camera.frames_per_step + 1)
        frame_bytes = 3 * math.prod(camera.size_px)
        frames_words = f"{num_frames} frames"
        require_memory({frames_words: num_frames * frame_bytes}, "film a smaller grid")
        start = _shown_start(env, config)

        def frames() -> Iterator[Frame]:
            for number, params in adapted.items():
                clips = []
                for row, values in enumerate(tasks.to_dicts()):
                    done = [*adapted].index(number) * len(tasks) + row
                    progress(f"filming {after_episodes(number)}", done / num_clips)
                    env.set_tasks(tasks.rows([row]))
                    caption = "  ·  ".join(in_unit(f"{values[p.name]:.3g}", p.unit) for p in axes)
                    places = {place_of(run.distribution[name], values[name]) for name in values}
                    note = min(places, key=PLACES.index)
                    colour = BLUE if note == PLACES[-1] else ORANGE
                    clip = camera.film(trained, _rows(params, row), start, caption)
                    clips.append(replace(clip, note=note, colour=colour))
                filmed[number] = [replace(clip, frames=()) for clip in clips]
                title = f"{camera.title}, {after_episodes(number)}"
                words = Words(title=title, parts=[*parts, *camera.force_words()])
                yield from camera.compose(clips, words, size.columns)

        write_film(frames(), path, camera.fps)
    return _film_of(path, tasks, filmed)


def _grid_axes(
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


def _grid_tasks(
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
    given = {name: np.full(size.columns * size.rows, value) for name, value in task.items()}
    return distribution.with_values({**given, **columns})


def place_of(parameter: TaskParameter, value: float) -> str:
    """Return the place of a value beside the training range, to the 9 digits a logarithm keeps."""
    near = 1e-9 * (1 + abs(value))
    if any(low - near <= value <= high + near for low, high in parameter.intervals("train")):
        return PLACES[-1]
    return PLACES[1] if parameter.gaps and parameter.trained_on(value) else PLACES[0]


def render_policy(
    policy: AdaptablePolicy,
    path: Path,
    task: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Film:
    """Film one episode of a policy, without action noise.

    Args:
        policy: A trained or an adapted policy.
        path: The film to write, see `write_film`.
        task: Task parameters to set; those not named stay nominal.
        seed: Seed of the start.

    Raises:
        TaskError: The family does not allow the task.
        VideoError: ffmpeg failed.
    """
    variant, config = policy.config.variant, RenderConfig(seed=seed)
    distribution = (variant or find_family(policy.config.env_id)).distribution
    tasks = choose_task(distribution, config, task) if task else distribution.nominal()
    stages = {"the policy at work": policy.task_params}
    clips, frames, fps = _film(policy, path, tasks, stages, config, variant)
    write_film(frames, path, fps)
    film = _film_of(path, tasks, {policy.num_episodes: clips})
    return replace(film, report=policy.report().line)


def film_chosen_task(run: TrainedRun, path: Path) -> str:
    """Film a task with a visible gain by adapting, and return a sentence about its choice.

    A randomly drawn task often succeeds before adapting. So film the task with the largest gain of
    return, of those that fail before adapting and succeed after it, or of all.

    Args:
        run: A run on a family as it is.
        path: The film to write, see `write_film`.

    Raises:
        RunError: The run holds no algorithm that adapts.
        VideoError: ffmpeg failed.
    """
    config = RenderConfig()
    trained, distribution = find_shown_policy(run, config), find_family(run.env_id).distribution
    tasks = _drawn_tasks(distribution, NUM_DRAWN, distribution.splits[-1], config)
    adapted = adapt_to(run.env_id, tasks, trained, config)
    with closing(make_env(run.env_id, NUM_DRAWN, num_threads=1, scene_path=run.scene)) as env:
        env.set_tasks(tasks)
        start = np.repeat(_shown_start(env, config), NUM_DRAWN, axis=0)
        before, after = (
            collect(env, trained.policy, adapted[number], noise=None, start=start)
            for number in (0, max(adapted))
        )
    shows = (after.success & ~before.success)[:, 0].numpy()
    gained = (after.returns - before.returns)[:, 0].numpy()
    index, number = int(np.lexsort((gained, shows))[-1]), int(shows.sum())
    stages = _captioned(adapted, index)
    _, frames, fps = _film(trained, path, tasks.rows([index]), stages, config, note=CHOSEN)
    write_film(frames, path, fps)
    turn = f"{number} {'turns' if number == 1 else 'turn'}" if number else "none turns"
    return (
        f"The task is chosen: of {NUM_DRAWN} drawn, {turn} from failure to success; "
        "the return gains most on this."
    )


_WORST_FILM = Path("film.mp4")
"""Its ending alone matters."""


def film_worst_tasks(
    runs: Sequence[TrainedRun], evaluation: Evaluation, variant: Variant | None, most: int
) -> WorstFilms:
    """Film the worst tasks of the learner that `metarobot render` takes, or return the reason.

    Each film shows the first test episode of its task.

    Args:
        runs: One run per seed.
        evaluation: Their evaluation.
        variant: Variant of the evaluation; None for the family itself.
        most: Films at most: of harmed tasks and of those with the lowest return by turns.
    """
    if not (runs[0].learners and most):
        return WorstFilms()
    tasks, learner = evaluation.worst_tasks, runs[0].first_learner
    own = [place for place, task in enumerate(tasks) if task.algorithm == learner]
    harmed = [place for place in own if tasks[place].harmed]
    lowest = [place for place in own if not tasks[place].harmed]
    by_turns = [p for p in chain.from_iterable(zip_longest(harmed, lowest)) if p is not None]
    films: dict[int, PosterFilm] = {}
    known: dict[tuple[int, str], tuple[TaskSet, dict[int, Params]]] = {}
    try:
        if by_turns:
            require_film_name(_WORST_FILM)
            require_opengl()
        for place in sorted(by_turns[:most]):
            worst = tasks[place]
            run = next(run for run in runs if run.seed == worst.seed)
            trained, key = run.policies[worst.algorithm], (worst.seed, worst.split)
            if key not in known:  # all tasks of a split adapt at once
                task_set = TaskSet.of_split(
                    run.env_id, worst.split, evaluation.config, variant, run.scene
                )
                numbers = sorted({0, 1, worst.adaptation_episodes})
                episodes = task_set.explore(trained, task_set.block_size)
                known[key] = task_set, task_set.adapted_to(trained, episodes, numbers)
            task_set, adapted = known[key]
            _, frames, fps = _film(
                trained,
                _WORST_FILM,
                task_set.tasks.rows([worst.index]),
                _captioned(adapted, worst.index),
                RenderConfig(),
                variant,
                start=partial(task_set.first_start, index=worst.index),
                where=f", {split_title(evaluation, worst.split).lower()}",
            )
            films[place] = _with_poster([*frames], fps)
    except (MissingExtraError, OpenGLError, VideoError) as error:
        return WorstFilms(problem=str(error))
    return WorstFilms(films)


def _with_poster(frames: Sequence[Frame], fps: float) -> PosterFilm:
    end, buffer = Image.fromarray(frames[-1]), BytesIO()
    size = _POSTER_WIDTH_PX, round(end.height * _POSTER_WIDTH_PX / end.width)
    end.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=80)
    return PosterFilm(mp4_bytes(frames, fps), buffer.getvalue())


def find_shown_policy(run: TrainedRun, config: RenderConfig) -> TrainedPolicy:
    """Return the policy to film.

    Raises:
        RunError: The run does not hold the algorithm; the message names those that adapt.
    """
    name = config.algorithm or run.first_learner
    if name not in run.learners:
        others = ", ".join(run.learners)
        raise RunError(f"{run.path} holds no {name} that adapts: --algorithm shows one of {others}")
    return run.policies[name]


def choose_task(
    distribution: TaskDistribution, config: RenderConfig, task: Mapping[str, float] | None
) -> Tasks:
    """Return the given task completed with nominal values, or one drawn from the split.

    Raises:
        TaskError: The family does not allow the task, or has no such split.
    """
    if task is not None:
        return distribution.with_values({name: [value] for name, value in task.items()})
    return _drawn_tasks(distribution, 1, config.split or distribution.splits[-1], config)


def _drawn_tasks(
    distribution: TaskDistribution, num_tasks: int, split: Split, config: RenderConfig
) -> Tasks:
    rng = numpy_generator(config.seed, 0, Phase.EVALUATION_TASKS)
    return distribution.sample(rng, num_tasks, split)


def adapt_to(
    env_id: str,
    tasks: Tasks,
    trained: TrainedPolicy,
    config: RenderConfig,
    variant: Variant | None = None,
) -> dict[int, Params]:
    """Adapt an algorithm to tasks from its own exploring episodes on each.

    Returns:
        Parameters, each leaf (N, ...), by the number of adaptation episodes, the first of one
        block; 0 is before adapting.
    """
    most, num_tasks = max(config.stages), len(tasks)
    require_evaluation_memory(trained.config, num_tasks, most, "lower adaptation_episodes")
    params, algorithm = repeat_params(trained.params, num_tasks), trained.algorithm
    if most == 0:
        return {0: params}
    wanted, scene = algorithm.num_simulations(num_tasks, most), trained.config.scene
    num_envs = find_family(env_id).num_side_by_side(wanted, num_tasks)
    env = make_env(env_id, num_envs, num_threads=1, variant=variant, scene_path=scene)
    with closing(env):
        env.set_tasks(tasks)
        draws = _draws(env, config, _ADAPTATION, num_tasks, most)
        explorer = algorithm.exploring_policy
        block = collect(env, explorer, params, noise=draws.noise, start=draws.start)
    stages = [stage for stage in config.stages if stage]
    return {0: params, **algorithm.adapt_to_first(params, block, stages)}


def _draws(
    env: TaskBatch, config: RenderConfig, address: int, num_tasks: int, num_episodes: int
) -> EpisodeDraws:
    """Return the draws of adaptation episodes, or of the filmed episode."""
    action_size = len(env.action_elements)
    return draw_episodes(
        config.seed,
        address,
        Phase.RENDERING,
        tasks=range(num_tasks),
        episode_shape=(num_episodes, env.horizon, env.start_size, action_size),
    )


def _shown_start(env: TaskBatch, config: RenderConfig) -> np.ndarray:
    """Return the uniforms (1, 1, S) that place the start of the filmed episode."""
    return _draws(env, config, _SHOWN, 1, 1).start


def _rows(params: Params, index: int) -> Params:
    """Return the parameters of one task, each leaf (1, ...)."""
    return {name: leaf[index : index + 1] for name, leaf in params.items()}


def _units(distribution: TaskDistribution) -> dict[str, str]:
    return {parameter.name: parameter.unit for parameter in distribution.parameters}
