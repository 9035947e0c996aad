"""Meta-World's benchmarks ML1 and ML10 as task families: importing this module registers them.

A task is an object's position and a goal, and in ML10 also one of Meta-World's classes ("reach-v3",
"door-open-v3").  The observation does not hold the goal.  The tasks are those of the benchmark with
the seed `BENCHMARK_SEED`: 50 for each class of a split.

Source: Yu et al. 2020, arXiv:1910.10897; McLean et al. 2025, arXiv:2505.11289 (version 3).
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

import gymnasium as gym
import numpy as np

from metarobot.envs.checks import show
from metarobot.envs.registration import register_family
from metarobot.envs.tasks import Interval, Split, TaskDistribution, TaskError, TaskParameter, Tasks
from metarobot.machine import (
    INSTALL_METAWORLD,
    MissingExtraError,
    import_mujoco,
    make_renderer,
    version_of,
)

mujoco = import_mujoco()  # Meta-World would import it with OpenGL
try:
    _BASE: Any = importlib.import_module("metaworld.sawyer_xyz_env").SawyerMocapBase
    _BENCHMARKS: Any = importlib.import_module("metaworld.env_dict")
    importlib.import_module("imageio")  # Meta-World's environments import it when they are made
except ImportError as missing:
    message = f"Meta-World needs `{INSTALL_METAWORLD}` ({str(missing).splitlines()[0]})"
    raise MissingExtraError(message) from missing

BENCHMARK_SEED = 42
"""Seed of the benchmarks' tasks."""
TASKS_PER_CLASS = 50
"""Tasks of each class in a split: Meta-World's number."""
HORIZON = 500
"""Control steps of an episode: Meta-World's number."""
REWARD_VERSION = "v2"
"""Meta-World's default: 0 to 10 each control step, dense."""
TASK_CLASS = "task_class"
"""The task parameter of ML10 that says which class a task is of."""
_HEIGHT_PX, _WIDTH_PX = 480, 480
_POSITIONS = {
    f"{body}_{axis}_m": f"{body}, {axis}" for body in ("object", "goal") for axis in "xyz"
}
"""Elements of the vector that a class takes its task by, with their descriptions."""
_ROUNDING_M = 1e-9


def provenance() -> str:
    """Return what the families' figures depend on, for a caption."""
    return (
        f"Meta-World {version_of('metaworld')} on MuJoCo {version_of('mujoco')}, "
        f"reward {REWARD_VERSION}, benchmark seed {BENCHMARK_SEED}"
    )


def _reset_mocap_welds(env: Any) -> None:
    """Reset the welds that move the hand: Meta-World's method for rows of more than 11 numbers."""
    welds = env.model.eq_type == mujoco.mjtEq.mjEQ_WELD
    env.model.eq_data[welds, :11] = [0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 5]


if mujoco.mjNEQDATA > 11:
    _BASE.reset_mocap_welds = _reset_mocap_welds


def _observation_space() -> gym.spaces.Box:
    """Return finite bounds of the observation (39,): two frames of 18 elements, and the goal.

    A frame is the hand's position (m), the gripper's opening, and position and quaternion of two
    objects.  The second object is zero where a class has one only, and the goal is always zero.
    The hand's bounds are Meta-World's.  Meta-World has none for objects: here they are the table's
    walls, 0.7 m to each side.
    """
    hand = np.array([[-0.525, 0.348, -0.0525, 0.0], [0.525, 1.025, 0.7, 1.0]])
    table = np.array([[-0.7, 0.2, -0.1], [0.7, 1.0, 0.7]])
    one = np.array([[-1.0], [1.0]])
    frame = np.hstack([hand, table, np.repeat(one, 11, axis=1)])
    low, high = np.hstack([frame, frame, np.repeat(one, 3, axis=1)])
    return gym.spaces.Box(low, high, dtype=np.float64)


class _Given:
    """Comes before one of Meta-World's classes, which then takes its task from `vectors`.

    Meta-World asks for a vector twice in a reset, and again where object and goal are too near.
    """

    vectors: Iterator[np.ndarray]
    touching_main_object = False
    """Only Meta-World's infos hold it, which `MetaWorldEnv` does not return; it took 0.4 of the
    time of Push."""

    def _get_state_rand_vec(self) -> np.ndarray:
        self._last_rand_vec = next(self.vectors).copy()
        return self._last_rand_vec


class _Drawing(_Given):
    """A class that draws tasks.  They do not depend on control steps, so it makes none."""

    def do_simulation(self, *_: Any) -> None:
        mujoco.mj_kinematics(self.model, self.data)  # type: ignore[attr-defined]


class _Simulation(_Given):
    """A class that is simulated; all its environments in one process share one model.

    A model takes 18 MB, nearly all of it meshes and textures.  Tasks differ in the positions of
    bodies and sites alone, so `MetaWorldEnv` writes those of its task before each control step.
    Environments of one process must therefore take their control steps in one thread.
    """

    def _initialize_simulation(self) -> tuple[Any, Any]:
        path = self.fullpath  # type: ignore[attr-defined]
        if path not in _MODELS:
            model, _ = super()._initialize_simulation()  # type: ignore[misc]
            _MODELS[path] = model, _read_positions(model)
        model, compiled = _MODELS[path]
        _write_positions(model, compiled)
        return model, mujoco.MjData(model)


Positions = tuple[np.ndarray, np.ndarray]
_MODELS: dict[str, tuple[Any, Positions]] = {}
"""Compiled models by their file, with the positions of bodies and sites as compiled."""


def _read_positions(model: Any) -> Positions:
    return model.body_pos.copy(), model.site_pos.copy()


def _write_positions(model: Any, positions: Positions) -> None:
    model.body_pos[:], model.site_pos[:] = positions


@functools.cache
def _class_with(mixin: type, name: str) -> Any:
    original = _BENCHMARKS.ALL_V3_ENVIRONMENTS[name]
    return type(original.__name__, (mixin, original), {})


def _make(mixin: type, name: str, vectors: Iterator[np.ndarray]) -> Any:
    made = _class_with(mixin, name)(reward_function_version=REWARD_VERSION)
    made._set_task_called, made.vectors = True, vectors
    return made


class MetaWorldEnv(gym.Env[np.ndarray, np.ndarray]):
    """Some of Meta-World's classes as one environment; each reset names its task.

    Each reset makes Meta-World's environment anew, in about 1 ms.  So an episode depends on its
    task and its actions alone.  The seed changes nothing: Meta-World's starts are not random.

    ``info["is_success"]`` says whether any control step of the episode was a success: Meta-World
    evaluates so.

    Args:
        classes: Names of Meta-World's classes.  A task names one of several by its number.
        render_mode: ``rgb_array`` or None.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 80}  # noqa: RUF012

    def __init__(self, classes: Sequence[str], render_mode: str | None = None) -> None:
        self.classes = tuple(classes)
        self._distribution = TaskDistribution(task_parameters(self.classes))
        self.render_mode = render_mode
        self.observation_space = _observation_space()
        self.action_space = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
        self._simulation: Any = None
        self._renderer: Any = None
        self._succeeded = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode of a task.

        Args:
            seed: Changes nothing.
            options: ``{"tasks": task}``, numbers by task parameter; the others are nominal.

        Raises:
            TaskError: The task has another parameter or lies out of its class's range.
        """
        super().reset(seed=seed)
        name, vector = self._read_task((options or {}).get("tasks", {}))
        simulation = _make(_Simulation, name, iter((vector, vector)))
        try:
            observation, _ = simulation.reset()
        except StopIteration:
            text = f"object and goal of {name} are too near each other for Meta-World"
            raise TaskError(f"{text}, got {show(vector.tolist())}") from None
        if self._simulation is None or simulation.model is not self._simulation.model:
            self.close()
        self._simulation, self._succeeded = simulation, False
        self._positions = _read_positions(simulation.model)
        return self._clip(observation), {"is_success": False}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Make one control step of 12.5 ms; the action is the hand's motion and the grip."""
        _write_positions(self._simulation.model, self._positions)
        observation, reward, _, truncated, info = self._simulation.step(np.clip(action, -1, 1))
        self._succeeded |= bool(info["success"])
        observation = self._clip(observation)
        return observation, float(reward), False, truncated, {"is_success": self._succeeded}

    def render(self) -> np.ndarray:  # type: ignore[override]
        """Draw the scene: (480, 480, 3)."""
        model, data = self._simulation.model, self._simulation.data
        _write_positions(model, self._positions)
        self._renderer = self._renderer or make_renderer(model, _HEIGHT_PX, _WIDTH_PX)
        camera = mujoco.MjvCamera()  # Meta-World's own are far away or upside down
        camera.lookat[:] = 0.0, 0.65, 0.1
        camera.distance, camera.azimuth, camera.elevation = 1.7, 150.0, -30.0
        self._renderer.update_scene(data, camera)
        return self._renderer.render()

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
        self._renderer = None

    def _clip(self, observation: np.ndarray) -> np.ndarray:
        space = self.observation_space
        assert isinstance(space, gym.spaces.Box)
        return np.clip(observation, space.low, space.high)

    def _read_task(self, task: Mapping[str, float]) -> tuple[str, np.ndarray]:
        """Return the name of a task's class, and the vector that the class takes it by."""
        values = self._distribution.read(task).to_dicts()[0]
        name = self.classes[int(values.get(TASK_CLASS, 0))]
        low, high = task_range(name)
        positions = [*zip(_POSITIONS, low, high, strict=False)]
        vector = [values.get(position, float(a)) for position, a, _ in positions]
        for (position, a, b), value in zip(positions, vector, strict=True):
            if not a - _ROUNDING_M <= value <= b + _ROUNDING_M:
                raise TaskError(
                    f"{position} = {value:g} m is not allowed for {name}: "
                    f"it must lie in [{a:g}, {b:g}]"
                )
        return name, np.array(vector)


@functools.cache
def task_range(name: str) -> np.ndarray:
    """Return lowest and highest vector of a class's tasks, (2, 3) or (2, 6), in m.

    Three numbers are the object's position; the goal follows from it.
    """
    space = _make(_Drawing, name, iter(()))._random_reset_space
    return np.stack([space.low, space.high])


def _parameter(
    name: str, unit: str, words: str, nominal: float, ends: Interval, **options: Any
) -> TaskParameter:
    return TaskParameter(
        name=name,
        unit=unit,
        description=words,
        nominal=nominal,
        train=ends,
        allowed=ends,
        **options,
    )


@functools.cache
def task_parameters(names: tuple[str, ...]) -> tuple[TaskParameter, ...]:
    """Return the task parameters of classes: of several the class, and the positions that vary.

    The nominal task is in the middle of the first class's range.
    """
    parameters = []
    if len(names) > 1:
        numbers = tuple(map(float, range(len(names))))
        ends = numbers[0], numbers[-1]
        words = "class of Meta-World"
        parameters.append(
            _parameter(TASK_CLASS, "1", words, 0.0, ends, choices=numbers, categorical=True)
        )
    for index, (position, words) in enumerate(_POSITIONS.items()):
        ranges = [each[:, index] for each in map(task_range, names) if index < each.shape[1]]
        if ranges and np.min(ranges) < np.max(ranges):
            ends = float(np.min(ranges)), float(np.max(ranges))
            parameters.append(_parameter(position, "m", words, float(ranges[0].mean()), ends))
    return tuple(parameters)


def benchmark_tasks(family: tuple[str, ...], names: Sequence[str], seed: int) -> Tasks:
    """Draw the tasks of some of a family's classes as Meta-World does, class by class.

    Where the goal follows from the object's position, the goal's parameters are nominal.
    """
    stream = np.random.RandomState(seed)  # Meta-World's generator
    parameters = task_parameters(family)
    columns: dict[str, list[float]] = {parameter.name: [] for parameter in parameters}
    for name in names:
        box = task_range(name)
        simulation = _make(_Drawing, name, (stream.uniform(*each) for each in repeat(box)))
        for _ in range(TASKS_PER_CLASS):
            simulation.reset()
            task = dict(zip(_POSITIONS, simulation._last_rand_vec.tolist(), strict=False))
            task[TASK_CLASS] = float(family.index(name))
            for parameter in parameters:
                columns[parameter.name].append(task.get(parameter.name, parameter.nominal))
    return Tasks(columns)


ML1 = {"Reach": "reach-v3", "Push": "push-v3", "PickPlace": "pick-place-v3"}
"""Classes of the ML1 families, by the family's name."""
ML10_TRAIN, ML10_TEST = (tuple(_BENCHMARKS.ML10_V3[split]) for split in ("train", "test"))
ML10 = (*ML10_TRAIN, *ML10_TEST)
"""The 10 classes that ML10 trains on, and the 5 that it is tested on."""


def ml1_tasks(name: str) -> dict[Split, Tasks]:
    """Return ML1's tasks of a class.  Meta-World draws its test tasks from the next seed."""
    seeds: dict[Split, int] = {"train": BENCHMARK_SEED, "interpolation": BENCHMARK_SEED + 1}
    return {split: benchmark_tasks((name,), (name,), seed) for split, seed in seeds.items()}


def ml10_tasks() -> dict[Split, Tasks]:
    """Return ML10's tasks: its test tasks are of other classes."""
    classes: dict[Split, tuple[str, ...]] = {"train": ML10_TRAIN, "extrapolation": ML10_TEST}
    return {split: benchmark_tasks(ML10, each, BENCHMARK_SEED) for split, each in classes.items()}


def register() -> None:
    """Register the families."""
    for family, name in ML1.items():
        _register(f"ML1-{family}", (name,), ml1_tasks(name), f"{name} of Meta-World, unknown goal")
    summary = "10 classes of Meta-World's tasks, 5 others in the test"
    _register("ML10", ML10, ml10_tasks(), summary)


def _register(
    name: str, classes: tuple[str, ...], listed: dict[Split, Tasks], summary: str
) -> None:
    register_family(
        f"metaworld/{name}-v3",
        env=functools.partial(MetaWorldEnv, classes),
        distribution=TaskDistribution(task_parameters(classes), listed=listed),
        horizon=HORIZON,
        summary=summary,
    )


register()
