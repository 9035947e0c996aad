"""Checks whether a task family can run in a user's scene.

There is no list of requirements to keep up to date.  What the family's own scene has and both name
must be of the same kind; then the family itself is run in the scene, and what it misses is what is
missing.
"""

from __future__ import annotations

import ast
import copy
import re
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np

from metarobot.envs.batch_renderer import VIDEO_CAMERA
from metarobot.envs.scene import DEFAULT_LIMITS, SceneRecord, float_arrays, load_user_scene
from metarobot.envs.scene_files import SceneError, SceneLimits
from metarobot.envs.task_parameter import nearest_name
from metarobot.envs.tasks import Tasks

if TYPE_CHECKING:
    from metarobot.envs.vector_env import TaskVectorEnv

_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""

_KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "body": ("nbody", ("body_mocapid",)),
    "joint": ("njnt", ("jnt_type",)),
    "geom": ("ngeom", ()),
    "site": ("nsite", ()),
    "camera": ("ncam", ()),
    "tendon": ("ntendon", ()),
    "actuator": (
        "nactuator",
        (
            *("actuator_trntype", "actuator_dyntype", "actuator_gaintype"),
            *("actuator_biastype", "actuator_actnum", "actuator_ctrlnum"),
        ),
    ),
    "sensor": ("nsensor", ("sensor_type", "sensor_dim", "sensor_objtype", "sensor_reftype")),
    "key": ("nkey", ()),
}
"""Kinds of elements: how many there are, and what must not differ between namesakes."""
_SAME_OPTIONS = ("timestep", "gravity", "disableactuator")
_FULL_WARNINGS = [
    _mj.mjtWarning.mjWARN_CONTACTFULL.value,
    _mj.mjtWarning.mjWARN_CNSTRFULL.value,
]
"""Contacts were left out for lack of memory."""
_TEST_ENVS = 2


def load_family_scene(
    family: type[TaskVectorEnv], scene: Path | str, sha256: str | None = None
) -> Any:
    """Load a user's scene and check that the family can use it.

    Args:
        family: The family's vector environment.
        scene: The scene, as for :func:`load_user_scene`.
        sha256: The hash that its files must have; any when None.

    Returns:
        The compiled model.

    Raises:
        SceneError: The scene is not allowed, or lacks what the family needs; the message is one
            line that begins with the path.
    """
    model = load_user_scene(scene, sha256=sha256)
    try:
        check_family_scene(family, model)
    except SceneError as error:
        raise SceneError(f"{scene}: {error}") from None
    return model


@lru_cache(maxsize=4)
def load_recorded_scene(family: type[TaskVectorEnv], record: SceneRecord) -> Any:
    """Load the scene of a run, once in a process: its hash says that it is always the same.

    Raises:
        SceneError: Its files have changed, or as in :func:`load_family_scene`.
    """
    return load_family_scene(family, record.path, record.sha256)


def check_family_scene(
    family: type[TaskVectorEnv], model: Any, limits: SceneLimits = DEFAULT_LIMITS
) -> None:
    """Refuse a compiled scene that does not do what the family's own does.

    Raises:
        SceneError: Something is missing or of another kind, a task would not act as it should, or
            the simulation is unstable or too slow.
    """
    shipped = family.compile_own_scene()
    _compare_options(family.family, model, shipped)
    for kind in _KINDS:
        _compare_namesakes(family.family, kind, model, shipped)
    for kind in family.elements_by_number:
        _compare_order(family.family, kind, model, shipped)
    try:
        with np.errstate(all="ignore"):
            _test_run(family, model, shipped, limits)
    except SceneError:
        raise
    except KeyError as error:
        raise SceneError(_missing_name(family.family, model, shipped, str(error.args[0]))) from None
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise SceneError(f"{family.family} cannot run in it: {reason}") from error


def _element_names(model: Any, kind: str) -> list[str]:
    """Return the names of a kind's elements in their order, empty for those without."""
    access = getattr(model, kind)
    return [access(index).name for index in range(getattr(model, _KINDS[kind][0]))]


def _compare_options(family: str, model: Any, shipped: Any) -> None:
    """Refuse other options than those that the family's code takes for granted."""
    for name in _SAME_OPTIONS:
        given, needed = getattr(model.opt, name), getattr(shipped.opt, name)
        if not np.array_equal(given, needed):
            raise SceneError(f"option {name} is {given}, {family} needs {needed}")
    for flags, field in (
        (_mj.mjtDisableBit, "disableflags"),
        (_mj.mjtEnableBit, "enableflags"),
    ):
        given, needed = getattr(model.opt, field), getattr(shipped.opt, field)
        for flag in flags.__members__.values():
            if (given ^ needed) & flag.value:
                enabled = bool(needed & flag.value) == (field == "enableflags")
                name, value = flag.name.split("_", 1)[1].lower(), "enable" if enabled else "disable"
                raise SceneError(f'{family} needs <option> <flag {name}="{value}"/>')


def _compare_namesakes(family: str, kind: str, model: Any, shipped: Any) -> None:
    """Refuse an element that is of another kind than its namesake in the family's own scene."""
    given, needed = _element_names(model, kind), _element_names(shipped, kind)
    for name in filter(None, needed):
        if name not in given:
            continue
        for field in _KINDS[kind][1]:
            has = int(getattr(model, field)[given.index(name)])
            needs = int(getattr(shipped, field)[needed.index(name)])
            if field == "body_mocapid":
                has, needs = has >= 0, needs >= 0
            if has != needs:
                raise SceneError(
                    f"{kind} {name!r} is of another kind than in {family}'s own scene: "
                    f"{field} is {has}, not {needs}"
                )


def _compare_order(family: str, kind: str, model: Any, shipped: Any) -> None:
    """Refuse other elements, or in another order, than those in the family's own scene."""
    given, needed = _element_names(model, kind), _element_names(shipped, kind)
    if given != needed:
        raise SceneError(
            f"{family} needs exactly these {kind}s in this order: {', '.join(needed)}; "
            f"got {', '.join(given) or 'none'}"
        )


def _missing_name(family: str, model: Any, shipped: Any, complaint: str) -> str:
    """Translate MuJoCo's complaint about a name into what is missing and what there is."""
    match = re.fullmatch(r"Invalid name '(.*)'\. Valid names: (\[.*\])", complaint, re.DOTALL)
    if match is None:
        return f"{family} cannot run in it: no {complaint}"
    name, valid = match[1], ast.literal_eval(match[2])
    kinds = [
        kind
        for kind in _KINDS
        if name in _element_names(shipped, kind)
        and sorted(filter(None, _element_names(model, kind))) == sorted(valid)
    ]
    kind = kinds[0] if kinds else "element"
    there = ", ".join(valid) or "none"
    return f"{family} needs the {kind} {name!r}; there is {there}{nearest_name(name, valid)}"


def _test_run(family: type[TaskVectorEnv], model: Any, shipped: Any, limits: SceneLimits) -> None:
    """Let the family use the scene as it would in training."""

    class TestRun(family):
        def _load_model(self, scene_path: Path | str | SceneRecord | None) -> Any:
            return model

    env = TestRun(_TEST_ENVS, num_threads=1)
    model.camera(VIDEO_CAMERA)
    _check_tasks(env, shipped)
    env.set_tasks(env.distribution.nominal())
    _check_episode(env, limits)
    env._paint(0, copy.copy(model))
    env.close()


def _check_tasks(env: TaskVectorEnv, shipped: Any) -> None:
    """Refuse a scene in which the task parameters would not do what they say."""
    ends = [Tasks({p.name: [p.train[end]] for p in env.distribution.parameters}) for end in (0, 1)]
    low, high = (_model_of_task(env, tasks) for tasks in ends)
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
    for field, values in float_arrays(model):
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
    names = _element_names(model, "geom")
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
