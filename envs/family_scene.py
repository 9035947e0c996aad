"""What a user's scene must have to stand in the place of a family's own.

There is no list of it to keep up to date.  What the family's own scene has and both name must be
of the same kind; then the family itself is run in the scene, and what it misses is what is missing.
"""

from __future__ import annotations

import copy
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np

from metarobot.envs.scene import SceneError, SceneLimits
from metarobot.envs.scene_comparison import compare_scenes, element_names, missing_name
from metarobot.envs.scene_record import SceneRecord
from metarobot.envs.tasks import Tasks
from metarobot.envs.user_scene import DEFAULT_LIMITS, load_user_scene

if TYPE_CHECKING:
    from metarobot.envs.vector_env import TaskVectorEnv

_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""

VIDEO_CAMERA = "video"
"""The camera that every scene is drawn from."""

_FULL_WARNINGS = [
    _mj.mjtWarning.mjWARN_CONTACTFULL.value,
    _mj.mjtWarning.mjWARN_CNSTRFULL.value,
]
"""Contacts were left out for lack of memory."""
_TEST_ENVS = 2


def load_family_scene(
    family: type[TaskVectorEnv],
    path: Path | str,
    limits: SceneLimits = DEFAULT_LIMITS,
    sha256: str | None = None,
) -> Any:
    """Load a user's scene and check that the family can use it.

    Args:
        family: The family's vector environment.
        path: The scene, as for :func:`load_user_scene`.
        limits: How large and how slow it may be.
        sha256: What the hash of its files must be; any when None.

    Returns:
        The compiled model.

    Raises:
        SceneError: The scene is not allowed, or lacks what the family needs; the message is one
            line that begins with the path.
    """
    model = load_user_scene(path, limits, sha256)
    try:
        check_family_scene(family, model, limits)
    except SceneError as error:
        raise SceneError(f"{path}: {error}") from None
    return model


@lru_cache(maxsize=4)
def load_recorded_scene(family: type[TaskVectorEnv], record: SceneRecord) -> Any:
    """Load the scene of a run, once in a process: its hash says that it is always the same.

    Raises:
        SceneError: Its files have changed, or as in :func:`load_family_scene`.
    """
    return load_family_scene(family, record.path, sha256=record.sha256)


def check_family_scene(
    family: type[TaskVectorEnv], model: Any, limits: SceneLimits = DEFAULT_LIMITS
) -> None:
    """Refuse a compiled scene that does not do what the family's own does.

    Raises:
        SceneError: Something is missing or of another kind, a task would not act as it should, or
            the simulation is unstable or too slow.
    """
    shipped = family.compile_own_scene()
    compare_scenes(family.family, family.elements_by_number, model, shipped)
    try:
        with np.errstate(all="ignore"):
            _test_run(family, model, limits)
    except SceneError:
        raise
    except KeyError as error:
        raise SceneError(missing_name(family.family, model, shipped, str(error.args[0]))) from None
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise SceneError(f"{family.family} cannot run in it: {reason}") from error


def _test_run(family: type[TaskVectorEnv], model: Any, limits: SceneLimits) -> None:
    """Let the family use the scene as it would in training."""

    class TestRun(family):
        def _load_model(self, scene_path: Path | str | SceneRecord | None) -> Any:
            return model

    env = TestRun(_TEST_ENVS, num_threads=1)
    model.camera(VIDEO_CAMERA)
    _check_tasks(env)
    env.set_tasks(env.distribution.nominal())
    _check_episode(env, limits)
    env._paint(0, copy.copy(model))
    env.close()


def _check_tasks(env: TaskVectorEnv) -> None:
    """Refuse a scene in which the task parameters would not do what they say."""
    ends = [Tasks({p.name: [p.train[end]] for p in env.distribution.parameters}) for end in (0, 1)]
    low, high = (_model_of_task(env, tasks) for tasks in ends)
    shipped = env.compile_own_scene()
    for geom in np.flatnonzero((low.geom_friction != high.geom_friction).any(axis=1)):
        _check_friction(low, high, int(geom), shipped)
    for body in np.flatnonzero(low.body_mass != high.body_mass):
        if low.body_gravcomp[body]:
            raise SceneError(
                f"body {low.body(body).name!r} has gravcomp, but its mass is the task's: "
                "it must be felt"
            )


def _model_of_task(env: TaskVectorEnv, tasks: Tasks) -> Any:
    """Return the model of a simulation that holds the one task of ``tasks``."""
    env.set_tasks(tasks)
    model = copy.copy(env.model)
    env.batch.get_model(0, model)
    for field in [name for name in dir(model) if not name.startswith("_")]:
        values = getattr(model, field)
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
            continue
        if not np.isfinite(values).all():
            raise SceneError(f"tasks make {field} infinite: what they scale must not be 0")
    return model


def _check_friction(low: Any, high: Any, geom: int, shipped: Any) -> None:
    """Refuse contacts of a geom whose friction is the task's, if another friction would count.

    Args:
        low: Model of one task.
        high: Model of another.
        geom: Index of the geom.
        shipped: The family's own scene: what outranks the geom there may do so here.
    """
    name = low.geom(geom).name
    if low.geom_condim[geom] == 1:
        raise SceneError(f"geom {name!r} has condim 1: its contacts would have no friction")
    if geom in low.pair_geom1 or geom in low.pair_geom2:
        raise SceneError(f"geom {name!r} is in a contact pair, whose friction would count")
    partners = _partners(low, geom)
    if not partners:
        raise SceneError(f"geom {name!r} can touch nothing: see contype and conaffinity")
    for other in partners:
        tasks_own = (low.geom_friction[other] != high.geom_friction[other]).any()
        meant = _outranks(shipped, low.geom(other).name, name)
        if not (tasks_own or meant) and low.geom_priority[other] >= low.geom_priority[geom]:
            raise SceneError(
                f"geom {name!r} has priority {low.geom_priority[geom]} and may touch geom "
                f"{low.geom(other).name!r} of priority {low.geom_priority[other]}: "
                "its own must be higher, or the task's friction would not count"
            )


def _outranks(model: Any, first: str, second: str) -> bool:
    """Return whether a model has both geoms, and the first has the higher priority."""
    names = element_names(model, "geom")
    if not (first and second and first in names and second in names):
        return False
    return bool(model.geom(first).priority[0] > model.geom(second).priority[0])


def _partners(model: Any, geom: int) -> list[int]:
    """Return the geoms that a geom can touch."""
    touch = (model.geom_contype & model.geom_conaffinity[geom]) | (
        model.geom_conaffinity & model.geom_contype[geom]
    )
    rigid = model.body_weldid[model.geom_bodyid]
    return [int(other) for other in np.flatnonzero((touch != 0) & (rigid != rigid[geom]))]


def _check_episode(env: TaskVectorEnv, limits: SceneLimits) -> None:
    """Refuse a scene that is unstable or too slow when nothing is commanded."""
    start = np.full((_TEST_ENVS, env.start_size), 0.5)
    observations, _ = env.reset(options={"start": start})
    begun_s = time.monotonic()
    for step in range(1, env.horizon + 1):
        observations, rewards, _, _, info = env.step(np.zeros(env.action_space.shape or ()))
        if info["sim_unstable"].any():
            raise SceneError(f"the nominal simulation is unstable in control step {step}")
        if not (np.isfinite(rewards).all() and np.isfinite(observations).all()):
            raise SceneError(f"the nominal simulation has no finite reward in control step {step}")
        if env.batch.warning[:, _FULL_WARNINGS, 1].any():
            raise SceneError("its memory is too small for its contacts: raise <size memory>")
        if time.monotonic() - begun_s > limits.test_run_s:
            raise SceneError(f"{step} control steps take more than {limits.test_run_s:g} s")
