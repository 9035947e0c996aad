"""Films of policies: one task or a grid of tasks, before and after adapting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import chain, pairwise, zip_longest
from pathlib import Path

import mujoco
import numpy as np
from PIL import Image

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.algorithms import adapt_once, algorithm_class
from metarobot.config import MOST_EPISODES, MOST_SEED
from metarobot.envs import (
    Split,
    TaskDistribution,
    TaskParameter,
    Tasks,
    TaskVectorEnv,
    Variant,
    find_family,
    make_env,
    parameter_words,
)
from metarobot.envs.checks import is_integer, is_number, require_integers, require_memory, show
from metarobot.envs.renderer import FRAME_HEIGHT_PX, FRAME_WIDTH_PX, Pictures
from metarobot.evaluation.evaluate import grid_values
from metarobot.evaluation.table import Evaluation, WorstTask
from metarobot.evaluation.task_set import TaskSet
from metarobot.machine import OpenGLError, require_opengl
from metarobot.policies import Params, repeat_params
from metarobot.reporting.style import after_episodes, family_title, in_unit, split_title
from metarobot.reporting.video import (
    BLUE,
    ORANGE,
    Clip,
    Frame,
    VideoError,
    Words,
    cell_size,
    compose_film,
    describe_task,
    mp4_bytes,
    write_film,
)
from metarobot.rollout.collect import collect, without_nan
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.seeding import EpisodeDraws, Phase, draw_episodes, numpy_generator
from metarobot.training.load import TrainedPolicy, TrainedRun
from metarobot.training.memory import require_evaluation_memory
from metarobot.training.run_folder import RunError

MOST_PICTURES = 3
"""Pictures of an adapted policy that have room beside the one before adapting."""
MOST_SIDE = 5
"""Tasks along each side of a grid."""
_ADAPTATION, _SHOWN = 0, 1  # addresses of the draws: adaptation episodes; the one filmed


@dataclass(frozen=True, kw_only=True)
class RenderConfig:
    """Which task is filmed, and how it is adapted to."""

    algorithm: str | None = None
    """Who adapts; if not given, latent, then maml, then any other that the run holds."""
    split: Split | None = None
    """Where the task is drawn from, unless it is given; by default extrapolation, or the split
    farthest from training that the family has."""
    seed: int = 0
    """Seed of the task, of the adaptation episodes and of the start that is filmed."""
    adaptation_episodes: tuple[int, ...] = (0, 1, 5)
    """Adaptation episodes, in one block, after which the policy is filmed, at most three numbers;
    it is filmed before adapting in any case. Of one task they stand side by side, of a grid they
    follow each other."""
    contact_forces: bool = False
    """Draw contact forces as arrows, and bodies so that the arrows show through."""
    slow_motion: float = 2.0
    """How much slower than the world the video runs."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        require_integers(self, {"seed": (0, MOST_SEED)})
        numbers = self.adaptation_episodes
        if not (
            isinstance(numbers, tuple)
            and all(is_integer(number, 0, MOST_EPISODES) for number in numbers)
            and len(numbers) >= 1
            and len([number for number in numbers if number]) <= MOST_PICTURES
        ):
            raise ValueError(
                f"adaptation_episodes must be integers in [0, {MOST_EPISODES}], at most "
                f"{MOST_PICTURES} besides 0, got {show(numbers)}"
            )
        if not is_number(self.slow_motion, 0.1, 100.0):
            raise ValueError(f"slow_motion must lie in [0.1, 100], got {show(self.slow_motion)}")
        if not isinstance(self.contact_forces, bool):
            shown = show(self.contact_forces)
            raise ValueError(f"contact_forces must be true or false, got {shown}")

    @property
    def stages(self) -> tuple[int, ...]:
        """Adaptation episodes before each picture: none, then those asked for."""
        return (0, *filter(None, self.adaptation_episodes))


@dataclass(frozen=True)
class RenderedAdaptation:
    """What the video shows, in numbers."""

    task: dict[str, float]
    returns: tuple[float, ...]
    """Return before adapting, and after each number of adaptation episodes."""


def render_adaptation(
    run: TrainedRun,
    path: Path,
    config: RenderConfig | None = None,
    task: Mapping[str, float] | None = None,
    variant: Variant | None = None,
    note: str = "",
) -> RenderedAdaptation:
    """Film one task before and after adapting, without action noise and from the same start.

    Args:
        run: A run whose meta-learned algorithm is shown.
        path: The film to write, see `write_film`.
        config: Which task, and how it is adapted to.
        task: Task parameters to set; those not named stay nominal.  None draws a task.
        variant: What to film it on; None for the family as it is.
        note: What is to be known of the task besides; stands beside it.

    Returns:
        The task and the returns.

    Raises:
        RunError: The run does not hold the algorithm.
        TaskError: The family does not allow the task, or has no such split.
        VideoError: ffmpeg failed.
    """
    config = config or RenderConfig()
    trained = find_shown_policy(run, config)
    tasks = choose_task((variant or find_family(run.env_id)).distribution, config, task)
    adapted = adapt_to(run.env_id, tasks, trained, config, variant)
    return film_adapted(run, path, tasks, adapted, config, variant, note)


def film_adapted(
    run: TrainedRun,
    path: Path,
    tasks: Tasks,
    adapted: Mapping[int, Params],
    config: RenderConfig,
    variant: Variant | None = None,
    note: str = "",
) -> RenderedAdaptation:
    """Film one task with what `adapt_to` returned for it; else see `render_adaptation`."""
    trained = find_shown_policy(run, config)
    with closing(camera_env(run, config, variant, len(adapted))) as env:
        env.set_tasks(tasks)
        start = shown_start(env, config)
        clips = [
            film(env, trained, params, start, after_episodes(number))
            for number, params in adapted.items()
        ]
        write_clips(clips, env, path, config.slow_motion, note)
    returns = tuple(float(np.sum(clip.rewards)) for clip in clips)
    return RenderedAdaptation(task=tasks.to_dicts()[0], returns=returns)


def camera_env(
    run: TrainedRun, config: RenderConfig, variant: Variant | None, columns: int
) -> TaskVectorEnv:
    """Return one simulation in front of the camera, for so many clips side by side."""
    env = make_env(
        run.env_id,
        1,
        render_mode="rgb_array",
        num_threads=1,
        variant=variant,
        scene_path=run.scene,
    )
    env.pictures = pictures_for(columns, contact_forces=config.contact_forces)
    return env


def shown_start(env: TaskVectorEnv, config: RenderConfig) -> np.ndarray:
    """Return the uniforms of the start that is filmed, (1, 1, S), whatever the task."""
    return _draws(env, config, _SHOWN, num_tasks=1, num_episodes=1).start


def find_shown_policy(run: TrainedRun, config: RenderConfig) -> TrainedPolicy:
    """Return whose adaptation is filmed.

    Raises:
        RunError: The run does not hold the algorithm; the message names those that adapt.
    """
    first = run.first_learner
    name = config.algorithm or first
    if name not in run.learners:
        others = ", ".join(run.learners)
        raise RunError(f"{run.path} holds no {name} that adapts: --algorithm shows one of {others}")
    return run.policies[name]


def render_policy(
    policy: AdaptablePolicy,
    path: Path,
    task: Mapping[str, float] | None = None,
    seed: int = 0,
) -> float:
    """Film one episode of a policy, without action noise; return the episode's return.

    Args:
        policy: A trained or an adapted policy.
        path: The film to write, see `write_film`.
        task: Task parameters to set; those not named stay nominal.
        seed: Seed of the start.

    Raises:
        TaskError: The family does not allow the task.
        VideoError: ffmpeg failed.
    """
    trained_with = policy.config
    env = make_env(
        trained_with.env_id,
        1,
        render_mode="rgb_array",
        num_threads=1,
        variant=trained_with.variant,
        observe_task=algorithm_class(trained_with.algorithm).observes_task,
    )
    try:
        given = {name: [value] for name, value in (task or {}).items()}
        env.set_tasks(env.distribution.with_values(given) if given else env.distribution.nominal())
        start = shown_start(env, RenderConfig(seed=seed))
        clip = film(env, policy, policy.task_params, start, "the policy at work")
        write_clips([clip], env, path, RenderConfig().slow_motion)
    finally:
        env.close()
    return float(np.sum(clip.rewards))


def choose_task(
    distribution: TaskDistribution, config: RenderConfig, task: Mapping[str, float] | None
) -> Tasks:
    """Return the given task completed with nominal values, or one drawn from the split.

    Raises:
        TaskError: The family does not allow the task, or has no such split.
    """
    if task is not None:
        return distribution.with_values({name: [value] for name, value in task.items()})
    rng = numpy_generator(config.seed, 0, Phase.EVALUATION_TASKS)
    return distribution.sample(rng, 1, config.split or distribution.splits[-1])


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
    num_envs, scene = algorithm.num_simulations(num_tasks, most), trained.config.scene
    env = make_env(env_id, num_envs, num_threads=1, variant=variant, scene_path=scene)
    with closing(env):
        env.set_tasks(tasks)
        draws = _draws(env, config, _ADAPTATION, num_tasks, most)
        explorer = algorithm.exploring_policy
        block = collect(env, explorer, params, noise=draws.noise, start=draws.start)
    adapted = {0: params}
    for number in filter(None, config.stages):
        episodes = block.first(number)
        adapted[number] = adapt_once(algorithm, params, episodes).params
    return adapted


def _draws(
    env: TaskVectorEnv, config: RenderConfig, address: int, num_tasks: int, num_episodes: int
) -> EpisodeDraws:
    action_size = len(env.action_elements)
    return draw_episodes(
        config.seed,
        address,
        Phase.RENDERING,
        tasks=range(num_tasks),
        episode_shape=(num_episodes, env.horizon, env.start_size, action_size),
    )


# One episode in front of the camera, and clips written side by side.


FRAMES_PER_STEP = 3
"""Pictures a control step; all but the last are interpolated between two states."""


def film(
    env: TaskVectorEnv,
    trained: TrainedPolicy | AdaptablePolicy,
    params: Params,
    start: np.ndarray,
    caption: str,
) -> Clip:
    """Run one deterministic episode and film it.

    The episode is collected as everywhere else; then its actions are replayed in front of the
    camera, which repeats it bit for bit.

    Args:
        env: One simulation, which holds the task.
        trained: Who acts.
        params: Its parameters, each leaf (1, ...).
        start: Uniforms that place the start, (1, 1, S).
        caption: What the clip is called.
    """
    episodes = collect(env, trained.policy, params, noise=None, start=start)
    return replay_actions(env, start[0, 0], episodes.actions[0, 0].numpy(), caption)


def replay_actions(
    env: TaskVectorEnv, start: np.ndarray, actions: np.ndarray, caption: str
) -> Clip:
    """Repeat an episode: one picture of the start, FRAMES_PER_STEP of each control step.

    Args:
        env: One simulation, which holds the task.
        start: Uniforms that place the start, (S,).
        actions: (T, A), NaN for 0 as in training; the episode ends earlier where the simulation
            becomes unstable.
        caption: What the clip is called.
    """
    env.reset(options={"start": start[None]})
    frames, rewards, success = [*_picture(env)], [], False
    qpos = env.batch.bind("qpos")  # (1, nq), live
    for t, action in enumerate(actions):
        before, passed = qpos[0].copy(), []
        with watched(env, lambda passed=passed: passed.append(qpos[0].copy())):
            _, reward, terminated, truncated, info = env.step(without_nan(action)[None])
        if info["sim_unstable"][0]:
            caption += f", unstable in step {t}"
            break
        for earlier, later in pairwise([before, *passed]):
            for share in np.arange(1, FRAMES_PER_STEP + 1) / FRAMES_PER_STEP:
                qpos[0] = between(env, earlier, later, share)
                frames.extend(_picture(env))
        qpos[0] = passed[-1]
        # A step that settles takes as long as several: its reward comes with the last of them.
        rewards += [*[0.0] * (len(passed) - 1), float(reward[0])]
        success = bool(info["is_success"][0])
        if terminated[0] or truncated[0]:
            break
    return Clip(frames=frames, rewards=rewards, success=success, caption=caption)


@contextmanager
def watched(env: TaskVectorEnv, look: Callable[[], None]) -> Iterator[None]:
    """Let ``look`` be called as the simulation goes on, several times where it settles."""
    env.on_advance = look
    try:
        yield
    finally:
        env.on_advance = None


def between(env: TaskVectorEnv, before: np.ndarray, after: np.ndarray, share: float) -> np.ndarray:
    """Return the configuration at a share of the way, along the shortest turn of every rotation."""
    velocity, position = np.zeros(env.model.nv), before.copy()
    differentiate = mujoco.mj_differentiatePos  # pyright: ignore[reportAttributeAccessIssue]
    integrate = mujoco.mj_integratePos  # pyright: ignore[reportAttributeAccessIssue]
    differentiate(env.model, velocity, 1.0, before, after)
    integrate(env.model, position, velocity, share)
    return position


def _picture(env: TaskVectorEnv) -> tuple[Frame, ...]:
    return env.render() or ()


def pictures_for(columns: int, *, contact_forces: bool) -> Pictures:
    """Return how episodes are drawn of which so many stand side by side."""
    width, height = cell_size(columns, FRAME_WIDTH_PX, FRAME_HEIGHT_PX)
    return Pictures(width_px=width, height_px=height, contact_forces=contact_forces)


def write_clips(
    clips: Sequence[Clip], env: TaskVectorEnv, path: Path, slow_motion: float, note: str = ""
) -> None:
    """Write clips of the task that the environment holds, side by side.

    Args:
        clips: What is shown.
        env: Holds the task, which is written above.
        path: The film to write; its folder is made if missing.
        slow_motion: How much slower than the world it runs.
        note: What is to be known of the task besides.

    Raises:
        VideoError: The film could not be made.
    """
    parts = [*task_words(env), note, *force_words(env)]
    words = Words(title=film_title(env), parts=[*filter(None, parts)])
    frames = side_by_side(clips, env, words, slow_motion)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_film(frames, path, frames_per_second(env, slow_motion))


def side_by_side(
    clips: Sequence[Clip], env: TaskVectorEnv, words: Words, slow_motion: float
) -> Iterator[Frame]:
    """Return the frames of clips in one row."""
    fps = frames_per_second(env, slow_motion)
    options = {"columns": len(clips), "control_dt_s": env.control_dt_s, "fps": fps}
    return compose_film(clips, words, **options)


def frames_per_second(env: TaskVectorEnv, slow_motion: float) -> float:
    """Return how fast the frames of a clip follow each other."""
    return FRAMES_PER_STEP / (env.control_dt_s * slow_motion)


def film_title(env: TaskVectorEnv) -> str:
    """Return what is filmed: "Grip", or "Grip, greasy pads"."""
    title = family_title(env.family)
    return f"{title}, {env.variant.words}" if env.variant else title


def task_words(env: TaskVectorEnv) -> list[str]:
    """Return the task that the first simulation holds, a parameter each."""
    return describe_task(env.tasks.to_dicts()[0], units_of(env.distribution))


def units_of(distribution: TaskDistribution) -> dict[str, str]:
    """Return the unit of every task parameter."""
    return {parameter.name: parameter.unit for parameter in distribution.parameters}


def force_words(env: TaskVectorEnv) -> list[str]:
    """Say how long the arrows of contact forces are, if they are drawn."""
    if not env.pictures.contact_forces:
        return []
    return [f"arrows: contact forces, 10 cm for {0.1 / env.contact_force_m_per_n:.3g} N"]


# The film of a policy over a range of tasks: a grid of episodes, before and after adapting.


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


# The film of a task on which adapting shows, chosen from tasks that were drawn.


NUM_DRAWN = 32
"""Tasks, from the split farthest from training."""
CHOSEN = "a chosen task"
"""What is said of it in the film."""


def film_chosen_task(run: TrainedRun, path: Path) -> str:
    """Film a task on which adapting shows, and return how it was chosen, in a sentence.

    A task that is merely drawn often succeeds before adapting already. So the task whose return
    gains most is filmed, of those that fail before adapting and succeed after it, or of all.

    Args:
        run: A run on a family as it is.
        path: The film to write, see `write_film`.

    Raises:
        RunError: The run holds no algorithm that adapts.
        VideoError: ffmpeg failed.
    """
    config = RenderConfig()
    trained = find_shown_policy(run, config)
    tasks = _drawn(run)
    adapted = adapt_to(run.env_id, tasks, trained, config)
    ends = (adapted[0], adapted[max(adapted)])
    index, sentence = _choose(*(_episodes(run, tasks, trained, end, config) for end in ends))
    own = {
        number: {name: leaf[index : index + 1] for name, leaf in params.items()}
        for number, params in adapted.items()
    }
    film_adapted(run, path, tasks.rows([index]), own, config, note=CHOSEN)
    return sentence


def _drawn(run: TrainedRun) -> Tasks:
    """Draw the tasks that one is chosen from."""
    distribution = find_family(run.env_id).distribution
    rng = numpy_generator(RenderConfig().seed, 0, Phase.EVALUATION_TASKS)
    return distribution.sample(rng, NUM_DRAWN, distribution.splits[-1])


def _episodes(
    run: TrainedRun,
    tasks: Tasks,
    trained: TrainedPolicy,
    params: Params,
    config: RenderConfig,
) -> Episodes:
    """Collect the episode that would be filmed of each task, (N, 1, T)."""
    env = make_env(run.env_id, len(tasks), num_threads=1, scene_path=run.scene)
    with closing(env):
        env.set_tasks(tasks)
        start = np.repeat(shown_start(env, config), len(tasks), axis=0)
        return collect(env, trained.policy, params, noise=None, start=start)


def _choose(before: Episodes, after: Episodes) -> tuple[int, str]:
    """Return the place of the task on which adapting shows most, and say how it was chosen."""
    shows = (after.success & ~before.success)[:, 0].numpy()
    gained = (after.returns - before.returns)[:, 0].numpy()
    index = int(np.lexsort((gained, shows))[-1])
    number, drawn = int(shows.sum()), f"The task is chosen: of {len(shows)} drawn, "
    if not number:
        return index, f"{drawn}none turns from failure to success; the return gains most on this."
    turn = "turns" if number == 1 else "turn"
    return index, f"{drawn}{number} {turn} from failure to success; the return gains most on this."


# Films of the worst tasks of an evaluation, each of the episodes that it was judged by.


MOST_FILMS = 10
"""In a report."""
_POSTER_WIDTH_PX = 640


@dataclass(frozen=True)
class Film:
    """A film for a page."""

    mp4: bytes
    poster: bytes
    """JPEG of its end, which shows whether the episodes succeeded."""


@dataclass(frozen=True)
class WorstFilms:
    """What was filmed of the worst tasks."""

    films: Mapping[int, Film] = field(default_factory=dict)
    """By place in `Evaluation.worst_tasks`."""
    problem: str = ""
    """Why there are none, in one line."""


def film_worst_tasks(
    runs: Sequence[TrainedRun], evaluation: Evaluation, variant: Variant | None, most: int
) -> WorstFilms:
    """Film the worst tasks of the learner that `metarobot render` takes, or say why not.

    Args:
        runs: One run per seed.
        evaluation: What was measured of them.
        variant: What it was measured on; None for the family as it is.
        most: Films at most: of harmed tasks and of those with the lowest return by turns.
    """
    places = _chosen(evaluation, runs[0].first_learner, most) if runs[0].learners else []
    try:
        if places:
            require_opengl()
        films = _films(runs, evaluation, variant, places)
    except (OpenGLError, VideoError) as error:
        return WorstFilms(problem=str(error))
    return WorstFilms(films)


def _chosen(evaluation: Evaluation, algorithm: str, most: int) -> list[int]:
    """Return the places of the tasks that are filmed, in their order."""
    own = [p for p, task in enumerate(evaluation.worst_tasks) if task.algorithm == algorithm]
    harmed = [place for place in own if evaluation.worst_tasks[place].harmed]
    lowest = [place for place in own if place not in harmed]
    by_turns = [p for p in chain.from_iterable(zip_longest(harmed, lowest)) if p is not None]
    return sorted(by_turns[:most])


def _films(
    runs: Sequence[TrainedRun],
    evaluation: Evaluation,
    variant: Variant | None,
    places: Sequence[int],
) -> dict[int, Film]:
    films: dict[int, Film] = {}
    known: dict[tuple[int, str], tuple[TaskSet, dict[int, Params]]] = {}
    for place in places:
        worst = evaluation.worst_tasks[place]
        run = next(run for run in runs if run.seed == worst.seed)
        if (worst.seed, worst.split) not in known:  # all tasks of a split adapt at once
            config, trained = evaluation.config, run.policies[worst.algorithm]
            task_set = TaskSet.of_split(run.env_id, worst.split, config, variant, run.scene)
            numbers = sorted({0, 1, worst.adaptation_episodes})
            adapted = task_set.adapted(trained, numbers, task_set.block_size)
            known[worst.seed, worst.split] = task_set, adapted
        task_set, adapted = known[worst.seed, worst.split]
        films[place] = _film(run, worst, split_title(evaluation, worst.split), task_set, adapted)
    return films


def _film(
    run: TrainedRun,
    worst: WorstTask,
    split: str,
    task_set: TaskSet,
    adapted: Mapping[int, Params],
) -> Film:
    """Film the first test episode of a task, before and after adapting."""
    config, trained = RenderConfig(), run.policies[worst.algorithm]
    with closing(camera_env(run, config, task_set.variant, len(adapted))) as env:
        env.set_tasks(task_set.tasks.rows([worst.index]))
        start, own = task_set.first_start(env, worst.index), slice(worst.index, worst.index + 1)
        clips = [
            film(env, trained, {k: leaf[own] for k, leaf in params.items()}, start, name)
            for name, params in ((after_episodes(n), params) for n, params in adapted.items())
        ]
        words = Words(title=f"{film_title(env)}, {split.lower()}", parts=task_words(env))
        frames = [*side_by_side(clips, env, words, config.slow_motion)]
        content = mp4_bytes(frames, frames_per_second(env, config.slow_motion))
    return Film(content, _poster(Image.fromarray(frames[-1])))


def _poster(picture: Image.Image) -> bytes:
    height = round(picture.height * _POSTER_WIDTH_PX / picture.width)
    buffer = BytesIO()
    small = picture.resize((_POSTER_WIDTH_PX, height), Image.Resampling.LANCZOS)
    small.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
