"""The task families and their Gymnasium ids; a class from outside is checked when it registers.

A wrong array shape would otherwise be broadcast silently, and training would use wrong numbers.
"""

from __future__ import annotations

import math
import re
import traceback
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from metarobot.envs.checks import after_number, nearest_name, show
from metarobot.envs.family import ObservationElement, TaskFamily
from metarobot.envs.scene import quiet_mujoco
from metarobot.envs.tasks import TaskDistribution, TaskError
from metarobot.envs.vector_env import TaskVectorEnv
from metarobot.machine import PACKAGE_FAMILIES, register_id


class Preset(Protocol):
    """Default configuration of a family: a `RunConfig`, which this package does not import."""

    @property
    def env_id(self) -> str:
        """Id of the family that it trains on."""
        ...


FAMILIES: dict[str, type[TaskVectorEnv]] = {}
"""Every registered family: its Gymnasium id, and its native batch."""

OUTSIDE_PRESETS: dict[str, Preset] = {}
"""Presets of families from outside the package, by id."""


def register_family(
    env_id: str, vector_class: type[TaskVectorEnv], preset: Preset | None = None
) -> None:
    """Register a task family: ``gym.make``, ``gym.make_vec`` and every command then know it.

    Call it in the module that holds the family, so that importing the module registers it::

        register_family("my/Push-v0", PushVectorEnv)

    The first call runs a short episode, which takes milliseconds, and refuses a faulty class.
    On the command line, name that module: ``metarobot train my_package.my_family:my/Push-v0``.

    Args:
        env_id: Its Gymnasium id, ``NAMESPACE/Name-vN``.
        vector_class: Its native batch, which declares and implements all of `TaskFamily`.
        preset: The `RunConfig` that suits it; the defaults of `RunConfig` when None.

    Raises:
        TaskError: The id is taken or malformed, the class lacks something, or a short episode shows
            a mistake.  Registering the same class again changes nothing.
    """
    check_family(env_id, vector_class)
    if FAMILIES.get(env_id) is vector_class:
        return
    if env_id in FAMILIES or env_id in gym.registry:
        raise TaskError(f"the id {env_id!r} is registered already: choose another")
    if preset is not None and getattr(preset, "env_id", None) != env_id:
        of = getattr(preset, "env_id", preset)
        raise TaskError(f"the preset of {env_id!r} must be a RunConfig of it, got one of {of!r}")
    try_family(env_id, vector_class)
    register_id(env_id)
    FAMILIES[env_id] = vector_class
    if preset is not None:
        OUTSIDE_PRESETS[env_id] = preset


def import_package_families() -> None:
    """Import the families of this package; their ids are registered already."""
    for env_id, place in PACKAGE_FAMILIES.items():
        module, name = place.split(":")
        FAMILIES[env_id] = getattr(import_module(f"metarobot.envs.{module}"), name)


def find_family(env_id: str) -> type[TaskVectorEnv]:
    """Return the native batch of a family; TaskError if none has that id."""
    if env_id not in FAMILIES:
        raise TaskError(
            f"no task family {env_id!r}, allowed: {', '.join(FAMILIES)}, or one of yours once "
            f"--module names its module (in Python: import it){nearest_name(env_id, FAMILIES)}"
        )
    return FAMILIES[env_id]


def short_names() -> dict[str, str]:
    """Return the id of every family by its short name, such as ``grip``.

    A family from outside never takes the name of one of the package.
    """
    names: dict[str, str] = {}
    for env_id in FAMILIES:
        names.setdefault(file_name(env_id), env_id)
    return names


def file_name(env_id: str) -> str:
    """Return a family's name for files and presets: "metarobot/GripSoft-v0" -> "grip-soft"."""
    family = env_id.rpartition("/")[2].partition("-v")[0]
    return re.sub(r"(?<!^)(?=[A-Z])", "-", family).lower()


def make_env(env_id: str, num_envs: int, **kwargs: Any) -> TaskVectorEnv:
    """Make a family's native batch.

    Args:
        env_id: Gymnasium id, such as ``metarobot/Grip-v0``.
        num_envs: Number of simulations.
        **kwargs: As for :class:`TaskVectorEnv`.

    Raises:
        TaskError: No family has that id.
        SceneError: The user's scene is not allowed or lacks elements that the family needs.
    """
    return find_family(env_id)(num_envs, **kwargs)


_ID = re.compile(r"[\w-]+/[\w-]+-v\d+", re.ASCII)
_METHODS = ("_apply_tasks", "_start", "_command", "_observe", "_evaluate")
_TRIAL_ENVS, _TRIAL_STEPS = 2, 20
_SLACK = 1e-6
"""Share of the width between bounds by which rounding may carry an observation out of them."""


def _some(values: Any, kind: type) -> bool:
    return isinstance(values, tuple) and values != () and all(isinstance(v, kind) for v in values)


_DECLARED = (
    *("family", "distribution", "heat_map_axes", "observation_elements", "action_elements"),
    *("default_horizon", "timestep_s", "substeps", "start_size"),
)


def check_family(env_id: Any, vector_class: Any) -> None:
    """Raise a TaskError that names the mistake if a class is no complete task family."""
    if not isinstance(env_id, str) or not _ID.fullmatch(env_id):
        raise TaskError(f"a family's id must have the form NAMESPACE/Name-vN, got {env_id!r}")
    if not isinstance(vector_class, type) or not issubclass(vector_class, TaskVectorEnv):
        name = getattr(vector_class, "__name__", repr(vector_class))
        raise TaskError(f"the class of {env_id!r} must be a subclass of TaskVectorEnv, got {name}")
    missing = [name for name in _DECLARED if not hasattr(vector_class, name)]
    compiles = vector_class.compile_own_scene.__func__ is not TaskFamily.compile_own_scene.__func__
    if not compiles and not hasattr(vector_class, "scene_path"):
        missing.append("scene_path")
    missing += [f"{m}()" for m in _METHODS if getattr(vector_class, m) is getattr(TaskFamily, m)]
    if missing:
        raise TaskError(
            f"{vector_class.__name__} cannot be registered as {env_id!r}, it lacks: "
            f"{', '.join(missing)}; metarobot/envs/family.py describes each"
        )
    for problem in _mistakes(vector_class):
        raise TaskError(f"{vector_class.__name__} cannot be registered as {env_id!r}: {problem}")


def _mistakes(family: type[TaskVectorEnv]) -> Iterator[str]:
    """Yield the declarations that are not of their kind."""
    if not isinstance(family.distribution, TaskDistribution):
        yield f"distribution must be a TaskDistribution, got {family.distribution!r}"
    for name, kind in {"observation_elements": ObservationElement, "action_elements": str}.items():
        if not _some(values := getattr(family, name), kind):
            yield f"{name} must be a tuple of {kind.__name__}, at least one, got {values!r}"
    for e in family.observation_elements:
        if not -math.inf < e.low < e.high < math.inf:  # a policy maps them to [-1, 1]
            ends = f"got {e.low:g} and {e.high:g}"
            yield f"low and high of {e.quantity!r} must be finite, low < high, {ends}"
    scales = family.action_scales
    if scales and len(scales) != len(family.action_elements):
        yield f"action_scales must be () or one for each of action_elements, got {scales!r}"
    axes, names = family.heat_map_axes, family.distribution.names
    if axes != () and not (_some(axes, str) and len(axes) == len({*axes} & {*names}) == 2):
        yield f"heat_map_axes must be () or two of {', '.join(names)}, got {axes!r}"


def try_family(env_id: str, vector_class: type[TaskVectorEnv]) -> None:
    """Run a short episode of two tasks twice; nothing is drawn.

    Raises:
        TaskError: A method fails, returns another type or shape than `TaskFamily` declares, returns
            non-finite numbers or is not repeatable, or an observation element is never within
            its bounds.
    """
    try:
        with quiet_mujoco(), np.errstate(all="ignore"):
            _run_trial(vector_class)
    except Exception as error:
        why = str(error)
        if not isinstance(error, TaskError):
            frames = traceback.extract_tb(error.__traceback__)
            place = next(
                (
                    f"{frame.name}() fails in {frame.filename}, line {frame.lineno}"
                    for frame in reversed(frames)
                    if frame.name in (*_METHODS, "_bind", "_find_finished")
                ),
                "a short episode fails",
            )
            why = f"{place}: {type(error).__name__}: {error}"
        line = f"{vector_class.__name__} cannot be registered as {env_id!r}: {why}"
        raise TaskError(" ".join(line.split())) from error


def _run_trial(family: type[TaskVectorEnv]) -> None:
    """Run the family, and check every return value of its methods before it is used."""
    measured: list[np.ndarray] = []

    class Trial(family):
        def _observe(self) -> np.ndarray:
            values = super()._observe()
            _check_array("_observe()", values, (_TRIAL_ENVS, len(family.observation_elements)))
            measured.append(values.astype(np.float64))
            return values

        def _evaluate(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            pair = super()._evaluate(actions)
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise TaskError(f"_evaluate() must return (rewards, solved), got {show(pair)}")
            _check_array("the rewards of _evaluate()", pair[0], (_TRIAL_ENVS,))
            _check_array("the solved flags of _evaluate()", pair[1], (_TRIAL_ENVS,), "b")
            return pair

        def _find_finished(self) -> np.ndarray:
            ended = super()._find_finished()
            _check_array("_find_finished()", ended, (_TRIAL_ENVS,), "b")
            return ended

    steps = min(family.default_horizon, _TRIAL_STEPS)
    env = Trial(_TRIAL_ENVS, horizon=steps, num_threads=1)
    try:
        rng = np.random.default_rng(0)
        env.set_tasks(env.distribution.sample(rng, _TRIAL_ENVS))
        actions = rng.uniform(-1, 1, (steps, *(env.action_space.shape or ())))
        first, again = _play(env, actions), _play(env, actions)
        for name, values in first.items():
            if not np.array_equal(values, again[name], equal_nan=True):
                raise TaskError(
                    f"{name} differ between two episodes of the same start and the same commands: "
                    "let _start() set all that the family remembers, and draw from start alone"
                )
        before = env.batch.state[1].copy()
        env.reset(options={"reset_mask": np.arange(_TRIAL_ENVS) == 0})
        if not np.array_equal(before, env.batch.state[1], equal_nan=True):
            raise TaskError(
                "_start() changes simulations that are not among ids: write to rows [ids]"
            )
        _check_bounds(family, np.concatenate(measured))
    finally:
        env.close()


def _check_array(name: str, values: Any, shape: tuple[int, ...], kinds: str = "fiub") -> None:
    """Refuse a return value that is no array of this shape."""
    is_array = isinstance(values, np.ndarray)
    if not is_array or values.dtype.kind not in kinds or values.shape != shape:
        raise TaskError(
            f"{name} must be an array of {'bool' if kinds == 'b' else 'real numbers'} of shape "
            f"{shape} for {_TRIAL_ENVS} simulations, a row for each, got "
            + (f"{values.dtype} of shape {values.shape}" if is_array else show(values))
        )


def _play(env: TaskVectorEnv, actions: np.ndarray) -> dict[str, np.ndarray]:
    """Run an episode from seed 0; return its starts, observations and rewards."""
    seen, earned = [env.reset(seed=0)[0]], []
    starts = env.batch.state.copy()
    for action in actions:
        observations, rewards, terminated, truncated, _ = env.step(action)
        seen.append(observations)
        earned.append(rewards)
        if (terminated | truncated).any():
            break
    played = {"observations": np.stack(seen), "rewards": np.stack(earned)}
    for name, values in played.items():
        if not np.isfinite(values).all():
            raise TaskError(f"{name} must be finite, got {values[~np.isfinite(values)][0]}")
    return {"the starts": starts, **played}


def _check_bounds(family: type[TaskVectorEnv], measured: np.ndarray) -> None:
    """Refuse an element that is clipped in all measurements (R, O): it is a constant."""
    for e, values in zip(family.observation_elements, measured.T, strict=True):
        slack = _SLACK * (e.high - e.low)
        if not ((values >= e.low - slack) & (values <= e.high + slack)).any():
            raise TaskError(
                f"the observation element {e.quantity!r} is never within its bounds, "
                f"{e.low:g} to {e.high:g}{after_number(e.unit)}: _observe() gives "
                f"{values.min():g} to {values.max():g}; mend its unit or its bounds"
            )
