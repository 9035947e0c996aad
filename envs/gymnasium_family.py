"""A task family from any environment of Gymnasium, or from a vectorised one of another engine."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Space
from gymnasium.vector import AutoresetMode, VectorEnv

from metarobot.envs.checks import is_integer, is_number, read_numbers, require_integer, show
from metarobot.envs.family import ObservationElement
from metarobot.envs.registration import family_name, find_family, not_native
from metarobot.envs.task_batch import MOST_HORIZON, Outcome, TaskBatch
from metarobot.envs.tasks import TaskDistribution, TaskError, Tasks
from metarobot.envs.workers import (
    Description,
    Recipe,
    SimulatorError,
    Steps,
    Workers,
    error_words,
    success_in,
    summary_of,
)
from metarobot.machine import MOST_THREADS, choose_num_threads

_SEEDS = 2**31
"""Seeds that a start's uniform is spread over."""
_USUAL_STEP_S = 0.05
_TRIAL_STEPS, _TRIAL_TASKS = 200, 4
_WIDEST = 1e30
"""Bound of an element while its range is measured."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentSource:
    """What `register_family` is told of an environment from outside."""

    env: Callable[..., gym.Env] | None = None
    """Makes one environment.  It is called in processes of its own, with ``render_mode`` for a
    film, and with the task where ``task_by`` is ``constructor``."""
    vector_env: Callable[[int], VectorEnv] | None = None
    """Instead: makes a batch of so many environments, of any engine, with a method
    ``set_tasks(columns)``: a dictionary of arrays, (num_envs,) for each task parameter."""
    distribution: TaskDistribution
    """The task parameters, and how tasks are drawn."""
    task_by: str = "reset"
    """How an environment takes its task, a dictionary of all task parameters: ``reset`` calls
    ``reset(options={"tasks": task})``, ``constructor`` makes it anew, ``env(**task)``; any other
    name is a method, ``set_task(task)`` say, called before each reset."""
    horizon: int | None = None
    """Control steps of an episode; the environment's own limit if not given."""
    observation_bounds: tuple[Any, Any] | None = None
    """Lowest and highest value of each element of the observation, numbers or (O,): a policy sees
    them as -1 and 1, and values beyond saturate.  Those of its space if not given."""
    control_dt_s: float | None = None
    """Duration of a control step; 1 / ``render_fps`` of its metadata if not given."""
    heat_map_axes: tuple[str, str] | tuple[()] = ()
    """Two task parameters that span the heat map; no map if not given."""
    summary: str = ""
    """One sentence; that of the environment's documentation if not given."""
    envs_per_task: int = 4
    """Environments that hold the same task at the same time.  More episodes of it follow in
    rounds; each environment costs memory."""
    timeout_s: float = 60.0
    """Longest time that a process may take for an answer before it counts as hanging."""
    task_shows: bool = True
    """Whether random actions show the task, in an observation or a reward: if they do not, the
    family is refused, as its environments may not take the task.  False for sparse rewards."""

    def __post_init__(self) -> None:
        """Check each value."""
        object.__setattr__(self, "observation_bounds", _plain(self.observation_bounds))
        given = [name for name in ("env", "vector_env") if getattr(self, name) is not None]
        if len(given) != 1 or not callable(getattr(self, given[0])):
            raise TaskError(
                "a family needs a function that makes an environment (env) or a batch of them "
                f"(vector_env), not both, got {show(self.env or self.vector_env)}"
            )
        if not isinstance(self.distribution, TaskDistribution):
            raise TaskError(
                f"distribution must be a TaskDistribution, got {show(self.distribution)}"
            )
        if not isinstance(self.task_by, str) or not self.task_by.isidentifier():
            raise TaskError(
                f"task_by must be 'reset', 'constructor' or a method, got {show(self.task_by)}"
            )
        limits = {"horizon": MOST_HORIZON, "envs_per_task": MOST_HORIZON}
        for name, most in limits.items():
            value = getattr(self, name)
            if value is not None and not is_integer(value, 1, most):
                raise TaskError(f"{name} must be an integer in [1, {most}], got {show(value)}")
        for name in ("control_dt_s", "timeout_s"):
            value = getattr(self, name)
            if value is not None and not (is_number(value, 0.0, math.inf) and 0 < value < math.inf):
                raise TaskError(f"{name} must be a positive number of seconds, got {show(value)}")
        if not self.distribution.spans_map(axes := self.heat_map_axes):
            names = ", ".join(self.distribution.names)
            raise TaskError(f"heat_map_axes must be () or two of {names}, got {axes!r}")


def _plain(bounds: Any) -> Any:
    """Return bounds as tuples, which can be compared; what is none stays as it is."""
    if not isinstance(bounds, tuple | list):
        return bounds
    return tuple(tuple(b.tolist()) if isinstance(b, np.ndarray) and b.ndim else b for b in bounds)


class Engine(Protocol):
    """M environments of any kind."""

    def describe(self, task: Mapping[str, float]) -> Description:
        """Return the facts of an environment, made for a task."""
        ...

    def reset(self, seeds: Mapping[int, int], tasks: Tasks, others_run: bool) -> np.ndarray:
        """Begin episodes; return the observations of all environments, (M, O).

        Args:
            seeds: Seeds by the index of the environment.
            tasks: The task of each of the M environments.
            others_run: Whether an episode runs in another environment.
        """
        ...

    def step(self, actions: np.ndarray, running: np.ndarray) -> Steps:
        """Step at least those that run, (M,) bool; actions are in the units of the environment."""
        ...

    def render(self) -> list[np.ndarray]:
        """Return a frame of each environment."""
        ...

    def close(self) -> None:
        """Free the environments."""
        ...


class GymnasiumVectorEnv(TaskBatch):
    """A batch of environments from outside, of one task family.

    Actions in [-1, 1] are scaled to the bounds of the environment's own.  An episode is seeded by
    its start, so it is the same in any number of processes.  A step whose observation or reward is
    not finite does not count, as of an unstable simulation.

    Args:
        num_envs: Number of environments.
        horizon: Control steps per episode T; the family's own when None.
        max_episode_steps: Upper limit of the horizon; none when None.
        num_threads: Processes that hold the environments; 0 takes one for each core.
        observe_task: Append the task parameters to the observation, as the oracle observes them.
        render_mode: ``rgb_array`` or None.
        variant: Must be None: variants need a native family.
        scene_path: Must be None, likewise.
        autoreset_mode: ``NEXT_STEP`` or ``DISABLED``, as of `TaskVectorEnv`.

    Raises:
        ValueError: An argument is out of range, or needs a native family.
        SimulatorError: An environment fails; later calls raise it too.
    """

    env_id: ClassVar[str]
    source: ClassVar[EnvironmentSource]
    action_bounds: ClassVar[np.ndarray]
    """Lowest and highest action of the environment, (2, A)."""
    start_size = 1
    _step_s: ClassVar[float]
    _summary: ClassVar[str]

    def __init__(
        self,
        num_envs: int = 1,
        *,
        horizon: int | None = None,
        max_episode_steps: int | None = None,
        num_threads: int = 0,
        observe_task: bool = False,
        render_mode: str | None = None,
        variant: Any = None,
        scene_path: Any = None,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    ) -> None:
        require_integer("num_threads", num_threads, 0, MOST_THREADS)
        for name, value in {"variants": variant, "scenes": scene_path}.items():
            if value is not None:
                raise not_native(self.env_id, f"{name} need")
        super().__init__(
            num_envs,
            horizon=horizon,
            max_episode_steps=max_episode_steps,
            observe_task=observe_task,
            render_mode=render_mode,
            autoreset_mode=autoreset_mode,
        )
        sizes = len(self.observation_elements), len(self.action_elements)
        processes = choose_num_threads(num_threads)
        self._engine = make_engine(
            self.env_id, self.source, (num_envs, *sizes), processes, render_mode
        )
        self.measured = np.zeros((num_envs, sizes[0]))  # last observations, not clipped
        self.set_tasks(self.distribution.nominal())

    @classmethod
    def control_step_s(cls) -> float:
        """Return the duration of a control step."""
        return cls._step_s

    @classmethod
    def simulation_bytes(cls) -> int:
        """Return 0: the environments are in other processes, and of unknown size."""
        return 0

    @classmethod
    def summary(cls) -> str:
        """Return a sentence that describes the task."""
        return cls._summary

    def _maker(self) -> Any:
        return _Maker(self.env_id)

    def _take_tasks(self) -> None:
        """Do nothing: an environment takes its task when it is reset."""

    def _reset_rows(self, ids: np.ndarray, start: np.ndarray) -> None:
        seeds = np.floor(start[:, 0].astype(np.float64) * _SEEDS).astype(int)
        others_run = np.delete(~self._needs_reset, ids).any()
        by_id = dict(zip(ids.tolist(), seeds.tolist(), strict=True))
        self.measured = self._engine.reset(by_id, self._tasks, bool(others_run))
        self._refuse_not_finite(ids)

    def _refuse_not_finite(self, ids: np.ndarray) -> None:
        bad = ids[~np.isfinite(self.measured[ids]).all(axis=1)]
        if bad.size:
            raise SimulatorError(
                f"{self.env_id}: the observation of reset() of environment {bad[0]} must be "
                f"finite, got {show(self.measured[bad[0]].tolist())}"
            )

    def _simulate(self, actions: np.ndarray, running: np.ndarray, held: np.ndarray) -> Outcome:
        del held
        low, high = self.action_bounds
        steps = self._engine.step(low + (high - low) * (actions + 1) / 2, running)
        self._elapsed += running
        finite = np.isfinite(steps.observations).all(axis=1) & np.isfinite(steps.rewards)
        self.measured = np.where(finite[:, None], steps.observations, 0.0)
        unstable = running & ~finite
        return Outcome(steps.rewards, steps.success, unstable, steps.terminated, steps.truncated)

    def _observe(self) -> np.ndarray:
        return self.measured

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return a frame of each environment, (height, width, 3) uint8; None without the mode."""
        return None if self.render_mode is None else tuple(self._engine.render())

    def close_extras(self, **kwargs: Any) -> None:
        """Free the environments, and end their processes."""
        self._engine.close()


@dataclass(frozen=True)
class _Maker:
    """Makes a batch by the id of its family: its class has no name to be found by."""

    env_id: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return find_family(self.env_id)(*args, **kwargs)


def make_engine(
    env_id: str,
    source: EnvironmentSource,
    shape: tuple[int, int, int],
    num_processes: int,
    render_mode: str | None,
) -> Engine:
    """Make M environments.

    Args:
        env_id: Id of the family.
        source: How they are made.
        shape: (M, O, A): environments, and elements of an observation and an action.
        num_processes: Most processes to take.
        render_mode: ``rgb_array`` or None.
    """
    if source.vector_env is not None:
        return _VectorEngine(env_id, source.vector_env, shape[0])
    make = source.env
    assert make is not None
    if render_mode is not None and not _takes(make, "render_mode"):
        raise TaskError(
            f"{env_id} cannot be drawn: its function env takes no argument render_mode, which "
            "must make an environment that renders rgb_array"
        )
    recipe = Recipe(
        env_id=env_id,
        make=make,
        task_by=source.task_by,
        timeout_s=source.timeout_s,
        render_mode=render_mode,
    )
    return Workers(recipe, shape, num_processes)


def _takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function takes an argument of this name."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # of C
        return True
    kinds = {parameter.kind for parameter in parameters.values()}
    return name in parameters or inspect.Parameter.VAR_KEYWORD in kinds


class _VectorEngine:
    """A vectorised environment of another engine, in any of Gymnasium's autoreset modes."""

    def __init__(self, env_id: str, make: Callable[[int], VectorEnv], num_envs: int) -> None:
        with _in_one_line(env_id, "making the environments"):
            env = make(num_envs)
        if not isinstance(env, VectorEnv) or not hasattr(env.unwrapped, "set_tasks"):
            raise SimulatorError(
                f"{env_id}: vector_env must give a gymnasium.vector.VectorEnv with a method "
                f"set_tasks, got {show(env)}"
            )
        if env.num_envs != num_envs:
            raise SimulatorError(f"{env_id}: vector_env({num_envs}) has {env.num_envs} of them")
        self._env_id, self._env, self._tasks = env_id, env, None
        self._mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._seen = np.zeros((num_envs, *(env.single_observation_space.shape or ())))
        self.close = env.close

    def describe(self, task: Mapping[str, float]) -> Description:
        """Return the facts of an environment."""
        del task
        spaces = self._env.single_observation_space, self._env.single_action_space
        fps = self._env.metadata.get("render_fps")
        return Description(*spaces, fps, None, summary_of(self._env))

    def reset(self, seeds: Mapping[int, int], tasks: Tasks, others_run: bool) -> np.ndarray:
        """Begin episodes; where no other runs, in all environments."""
        if self._tasks is not tasks:
            columns = {name: tasks[name].copy() for name in tasks.names}
            unwrapped: Any = self._env.unwrapped
            with _in_one_line(self._env_id, "set_tasks()"):
                unwrapped.set_tasks(columns)
            self._tasks = tasks
        if others_run and self._mode is AutoresetMode.NEXT_STEP:
            return self._seen  # the step has begun the episodes
        if others_run and self._mode is AutoresetMode.SAME_STEP:
            raise SimulatorError(
                f"{self._env_id}: an engine that resets in the same step cannot begin single "
                "episodes: set autoreset_mode to DISABLED"
            )
        number = self._env.num_envs
        chosen = np.isin(np.arange(number), [*seeds])
        options = {"reset_mask": chosen} if others_run else None
        all_seeds = [seeds.get(index, 0) for index in range(number)]
        reset: Any = self._env.reset  # Gymnasium declares an integer, and takes a list
        with _in_one_line(self._env_id, "reset()"):
            self._seen = self._read(reset(seed=all_seeds, options=options)[0])
        return self._seen

    def step(self, actions: np.ndarray, running: np.ndarray) -> Steps:
        """Step all environments."""
        del running
        with _in_one_line(self._env_id, "step()"):
            return self._step(actions)

    def _step(self, actions: np.ndarray) -> Steps:
        space = self._env.single_action_space
        answer = self._env.step(actions.astype(space.dtype))
        seen, rewards, terminated, truncated, infos = answer
        seen, final = np.array(self._read(seen)), infos
        ended = np.asarray(terminated) | np.asarray(truncated)
        if self._mode is AutoresetMode.SAME_STEP and ended.any():
            final = infos.get("final_info", {})
            for row in np.flatnonzero(ended):
                seen[row] = infos["final_obs"][row]
        self._seen = seen
        number = self._env.num_envs
        success = _success(infos, number) | (_success(final, number) & ended)
        rewards = read_numbers("the rewards", rewards, (number,))
        return Steps(seen, rewards, np.array(terminated), np.array(truncated), success)

    def render(self) -> list[np.ndarray]:
        """Return a frame of each environment."""
        with _in_one_line(self._env_id, "render()"):
            return [np.asarray(frame) for frame in self._env.render() or ()]

    def _read(self, seen: Any) -> np.ndarray:
        return read_numbers("the observations", seen, self._seen.shape)


@contextmanager
def _in_one_line(env_id: str, doing: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever the engine raises
        raise SimulatorError(f"{env_id}: {doing}: {error_words(error)}") from error


def _success(infos: Mapping[str, Any], number: int) -> np.ndarray:
    return np.broadcast_to(np.asarray(success_in(infos), bool), number)


def make_family(env_id: str, source: EnvironmentSource) -> type[TaskBatch]:
    """Make the family of environments from outside, and try it.

    Raises:
        TaskError: An environment fails, its spaces do not suit, or its episodes do not repeat.
    """
    try:
        facts = _describe(env_id, source)
        low, high = _bounds_of(env_id, source, facts)
        missing = ~(np.isfinite(low) & np.isfinite(high) & (low < high))
        if missing.any():
            raise _propose_bounds(env_id, source, facts, missing)
        family = _declare(env_id, source, facts, low, high)
        _try(family)
    except SimulatorError as error:
        raise TaskError(str(error)) from error
    return family


def _describe(env_id: str, source: EnvironmentSource) -> Description:
    """Return the facts of an environment, and refuse one whose spaces do not suit."""
    engine = make_engine(env_id, source, (1, 1, 1), 1, None)
    try:
        facts = engine.describe(source.distribution.nominal().to_dicts()[0])
    finally:
        engine.close()
    for name, space in {
        "observations": facts.observation_space,
        "actions": facts.action_space,
    }.items():
        if not isinstance(space, Box) or len(space.shape) != 1 or not space.shape[0]:
            raise TaskError(
                f"{env_id}: {name} must be a Box of shape (n,), got {_space_words(space)}: "
                "gymnasium.wrappers has FlattenObservation and others that change it"
            )
    if facts.action_space.dtype.kind != "f" or not facts.action_space.is_bounded():
        raise TaskError(
            f"{env_id}: actions must be floats with finite bounds, got "
            f"{_space_words(facts.action_space)}"
        )
    return facts


def _space_words(space: Space) -> str:
    return " ".join(str(space).split())[:200]


def _bounds_of(
    env_id: str, source: EnvironmentSource, facts: Description
) -> tuple[np.ndarray, np.ndarray]:
    """Return lowest and highest observation, (O,) each: as given, or else of the space."""
    space, given = facts.observation_space, source.observation_bounds
    try:
        low, high = (
            np.broadcast_to(np.asarray(bound, np.float64), space.shape)
            for bound in given or (space.low, space.high)
        )
    except (TypeError, ValueError):
        raise TaskError(
            f"{env_id}: observation_bounds must be two numbers, or two arrays of "
            f"{space.shape[0]}, got {show(given)}"
        ) from None
    finite = np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()
    if given is not None and not finite:
        raise TaskError(f"{env_id}: observation_bounds must be finite, and the first the lower")
    return low, high


def _propose_bounds(
    env_id: str, source: EnvironmentSource, facts: Description, missing: np.ndarray
) -> TaskError:
    """Return the error of a space without some bounds, (O,) bool: it proposes twice those seen."""
    space = facts.observation_space
    widest = np.full(space.shape, _WIDEST)
    seen = _play(_declare(env_id, source, facts, -widest, widest))[0].observations
    least, most = seen.min((0, 1)), seen.max((0, 1))
    centre, half = (least + most) / 2, np.maximum(most - least, 1e-3)
    pairs = (space.low, centre - half), (space.high, centre + half)
    proposed = tuple(
        [float(f"{value:.2g}") for value in np.where(missing, wide, own)] for own, wide in pairs
    )
    return TaskError(
        f"{env_id}: the space of observations has no bounds for element "
        f"{np.flatnonzero(missing)[0]}: a policy needs some; twice the range of random actions is "
        f"observation_bounds={proposed}"
    )


def _declare(
    env_id: str, source: EnvironmentSource, facts: Description, low: np.ndarray, high: np.ndarray
) -> type[GymnasiumVectorEnv]:
    """Return the class of a family whose observations lie between `low` and `high`, (O,)."""
    horizon, actions = source.horizon or facts.horizon, facts.action_space
    if horizon is None:
        raise TaskError(f"{env_id}: its environment has no limit of steps: give horizon")
    usual_s = 1 / facts.render_fps if facts.render_fps else _USUAL_STEP_S
    summary = source.summary or facts.summary
    declared = {
        "__doc__": summary,
        "env_id": env_id,
        "source": source,
        "family": family_name(env_id),
        "distribution": source.distribution,
        "heat_map_axes": source.heat_map_axes,
        "observation_elements": tuple(
            ObservationElement(f"observation {i}", "1", float(a), float(b), f"observation[{i}]")
            for i, (a, b) in enumerate(zip(low, high, strict=True))
        ),
        "action_elements": tuple(f"action {i}" for i in range(actions.shape[0])),
        "action_bounds": np.stack([actions.low, actions.high]).astype(np.float64),
        "default_horizon": horizon,
        "envs_per_task": source.envs_per_task,
        "_step_s": source.control_dt_s or usual_s,
        "_summary": summary or f"environments of {env_id}",
    }
    return type("GymnasiumVectorEnv", (GymnasiumVectorEnv,), declared)


def _try(family: type[GymnasiumVectorEnv]) -> None:
    """Run short episodes of several tasks with the same random actions.

    They must be the same again when each task is held by another environment, after another task.

    Raises:
        TaskError: They are not, or do not show the task, or an observation is out of its bounds.
    """
    first, again = _play(family)
    for name, values in first._asdict().items():
        if not np.array_equal(values, getattr(again, name)[:, ::-1]):
            raise TaskError(
                f"{family.env_id}: {name} differ between two episodes of the same task, seed and "
                "actions: reset() must set all that the environment remembers, and draw from "
                "self.np_random alone"
            )
    alike = all((values == values[:, :1]).all() for values in first)
    if alike and family.source.task_shows:
        raise TaskError(
            f"{family.env_id}: {len(first.rewards)} random steps are the same whatever the task: "
            f"does the environment take it ({family.source.task_by})? If random actions cannot "
            "show it, register the family with task_shows=False"
        )
    for index, element in enumerate(family.observation_elements):
        values = first.observations[..., index]
        if not element.is_ever_within(values):
            raise TaskError(
                f"{family.env_id}: {element.quantity} is never within its bounds, "
                f"{element.low:g} to {element.high:g}, but {values.min():g} to {values.max():g}"
            )


class _Played(NamedTuple):
    """A short episode of N tasks."""

    observations: np.ndarray
    """(T + 1, N, O), not clipped."""
    rewards: np.ndarray
    """(T, N)."""


def _play(family: type[GymnasiumVectorEnv]) -> tuple[_Played, _Played]:
    """Run an episode of several tasks, then one of the same tasks in the opposite order."""
    rng = np.random.default_rng(0)
    tasks = family.distribution.sample(rng, _TRIAL_TASKS)
    steps = min(family.default_horizon, _TRIAL_STEPS)
    actions = rng.uniform(-1, 1, (steps, len(family.action_elements)))
    env = family(_TRIAL_TASKS, num_threads=1, autoreset_mode=AutoresetMode.DISABLED)
    try:
        opposite = tasks.rows(np.arange(_TRIAL_TASKS)[::-1])
        return _run(env, tasks, actions), _run(env, opposite, actions)
    finally:
        env.close()


def _run(env: GymnasiumVectorEnv, tasks: Tasks, actions: np.ndarray) -> _Played:
    """Run an episode of the same start on every task; where one has ended, it stands still."""
    env.set_tasks(tasks)
    env.reset(options={"start": np.full((len(tasks), 1), 0.5)})
    seen, earned = [env.measured.copy()], []
    for action in actions:
        _, rewards, _, _, info = env.step(np.tile(action, (len(tasks), 1)))
        if info["sim_unstable"].any():
            raise TaskError(f"{env.env_id}: observations and rewards of step() must be finite")
        seen.append(env.measured.copy())
        earned.append(rewards)
    return _Played(np.stack(seen), np.stack(earned))
