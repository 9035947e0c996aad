"""Registering families: ids make the right classes; a class that is no family is refused."""

import math
import subprocess
import sys
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import pytest

from metarobot.envs import (
    FAMILIES,
    ActionScale,
    ObservationElement,
    RepeatedMotion,
    TaskEnv,
    TaskError,
    TaskVectorEnv,
    make_env,
    register_family,
)
from metarobot.envs.grip import GripVectorEnv
from metarobot.envs.physics import set_body_mass
from metarobot.envs.point_navigation import PointNavigationVectorEnv
from metarobot.envs.trial import check_family, try_family


def test_ids_make_the_single_environment_and_the_native_batch(env_id):
    single = gym.make(env_id, horizon=5)
    assert type(single.unwrapped) is TaskEnv
    assert type(single.unwrapped.vector_env) is FAMILIES[env_id]
    batch = gym.make_vec(env_id, num_envs=3, horizon=5)
    assert type(batch.unwrapped) is FAMILIES[env_id]
    assert (batch.num_envs, batch.unwrapped.horizon, single.unwrapped.horizon) == (3, 5, 5)
    spec = gym.spec(env_id)
    assert gym.envs.registration.EnvSpec.from_json(spec.to_json()) == spec
    check_family(env_id, FAMILIES[env_id])
    try_family(env_id, FAMILIES[env_id])


def test_the_prefix_alone_imports_the_package(tmp_path):
    code = (
        "import gymnasium as gym\n"
        "env = gym.make('metarobot:metarobot/Grip-v0')\n"
        "print(type(env.unwrapped.vector_env).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("GripVectorEnv\n", "")
    assert not list(tmp_path.iterdir())  # no MUJOCO_LOG.TXT


def test_an_unknown_family_is_refused_with_the_nearest_id():
    with pytest.raises(TaskError, match=r"'metarobot/Girp-v0', .*mean 'metarobot/Grip-v0'\?"):
        make_env("metarobot/Girp-v0", 1)


# The length of an episode.


def count_steps(env):
    """Control steps until every episode has ended."""
    env.reset(seed=0)
    for step in range(1, 500):
        _, _, terminated, truncated, _ = env.step(np.zeros(env.action_space.shape, np.float32))
        assert not np.any(terminated)
        if np.all(truncated):
            return step
    raise AssertionError("no episode has ended")


MAKERS = {
    "make": gym.make,
    "make_vec": lambda env_id, **kwargs: gym.make_vec(env_id, num_envs=2, **kwargs),
    "sync": lambda env_id, **kwargs: gym.make_vec(
        env_id, num_envs=2, vectorization_mode="sync", **kwargs
    ),
}
LIMITS = [(None, None), (+3, None), (None, -3), (-3, -5), (+5, +3)]
"""Horizon and Gymnasium's limit; as a change to the family's own, None for not given."""


@pytest.mark.parametrize("maker", MAKERS)
def test_the_spec_knows_how_long_episodes_are(maker):
    env_id = "metarobot/Grip-v0"
    own = FAMILIES[env_id].default_horizon
    for changes in LIMITS:
        options = dict(zip(("horizon", "max_episode_steps"), changes, strict=True))
        options = {name: own + change for name, change in options.items() if change is not None}
        env = MAKERS[maker](env_id, **options)
        length = min([options.get("horizon", own), options.get("max_episode_steps", own + 99)])
        assert count_steps(env) == length, options
        spec = env.envs[0].spec if maker == "sync" else env.spec
        if maker != "make_vec":  # Gymnasium's wrapper knows its own limit only, were it longer
            length = options.get("max_episode_steps", length)
        assert spec.max_episode_steps == length, options
        env.close()


def test_what_is_made_of_a_spec_has_episodes_of_the_same_length():
    for horizon in (None, 3, 40):
        first = gym.make("metarobot/Grip-v0", horizon=horizon)
        batch = gym.make_vec("metarobot/Grip-v0", num_envs=2, horizon=horizon)
        for spec, make in ((first.spec, gym.make), (batch.spec, gym.make_vec)):
            again = make(spec)
            assert again.spec.max_episode_steps == count_steps(again) == spec.max_episode_steps


# Classes that are refused.

NEW = "own/New-v0"
DECLARED = [
    *("family", "scene_path", "distribution", "heat_map_axes", "observation_elements"),
    *("action_elements", "default_horizon", "timestep_s", "substeps", "start_size"),
]
IMPLEMENTED = ["_apply_tasks", "_start", "_command", "_observe", "_evaluate"]


@pytest.fixture(autouse=True)
def nothing_stays():
    before = {**FAMILIES}
    yield
    assert before == FAMILIES
    assert NEW not in gym.registry


def family_without(name):
    names = {n: getattr(GripVectorEnv, n) for n in DECLARED if n != name}
    methods = {n: GripVectorEnv.__dict__[n] for n in IMPLEMENTED if n != name}
    return type("Incomplete", (TaskVectorEnv,), {**names, **methods})


def refusal(env_id, vector_class, preset=None):
    with pytest.raises(TaskError) as error:
        register_family(env_id, vector_class, preset)
    (line,) = str(error.value).splitlines()
    return line


def test_what_is_missing_is_named():
    for name in (*DECLARED, *IMPLEMENTED):
        line = refusal(NEW, family_without(name))
        assert f"it lacks: {name}{'()' if name in IMPLEMENTED else ''};" in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("distribution", {"mass": 1}),
        ("heat_map_axes", ("block_mass_kg", "colour")),
        ("heat_map_axes", ("block_mass_kg", "block_mass_kg")),
        ("observation_elements", ()),
        ("action_scales", (ActionScale("force", "N", 0.0, 1.0),) * 2),
        ("repeated_motion", RepeatedMotion(pairs=((0, 9),), error_of_action=1.0, lead_steps=0)),
    ],
)
def test_a_declaration_of_another_kind_is_refused(name, value):
    wrong = type("Wrong", (GripVectorEnv,), {name: value})
    assert f"{name} must be" in refusal(NEW, wrong)


@pytest.mark.parametrize("ends", [(1.0, 1.0), (-math.inf, math.inf), (math.nan, 1.0)])
def test_bounds_of_an_observation_that_cannot_be_scaled_are_refused(ends):
    element = ObservationElement("force", "N", *ends, "sensor")
    wrong = type("Wrong", (GripVectorEnv,), {"observation_elements": (element,)})
    assert "low and high of 'force' must be finite, low < high" in refusal(NEW, wrong)


@dataclass
class OtherPreset:
    env_id: str = "metarobot/Grip-v0"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("New-v0", GripVectorEnv), "NAMESPACE/Name-vN"),
        (("own/New-v", GripVectorEnv), "NAMESPACE/Name-vN"),
        (("a/b/New-v0", GripVectorEnv), "NAMESPACE/Name-vN"),
        ((3, GripVectorEnv), "NAMESPACE/Name-vN"),
        ((NEW, None), "must be a subclass of TaskVectorEnv"),
        ((NEW, gym.Env), "must be a subclass of TaskVectorEnv"),
        (("metarobot/Slide-v0", GripVectorEnv), "is registered already: choose another"),
        ((NEW, GripVectorEnv, OtherPreset()), "the preset of 'own/New-v0' must be"),
        ((NEW, GripVectorEnv, "grip"), "the preset of 'own/New-v0' must be"),
    ],
    ids=str,
)
def test_what_cannot_be_registered_is_refused(arguments, why):
    assert why in refusal(*arguments)


# The short episode.


def refusal_of_point(**changes):
    """Return the one line that refuses the point's family with other methods."""
    with pytest.raises(TaskError) as error:
        register_family(NEW, type("Wrong", (PointNavigationVectorEnv,), changes))
    assert NEW not in FAMILIES
    assert NEW not in gym.registry
    (line,) = str(error.value).splitlines()
    assert line.startswith("Wrong cannot be registered as 'own/New-v0': ")
    return line


def random_start(env, ids, start):
    env._qpos[ids] = np.random.default_rng().random((len(ids), 2)) / 100


def start_all(env, ids, start):
    env._qpos[:] = start[:1] / 100


def misnamed_body(env, tasks):
    set_body_mass(env.batch, "bob", tasks["goal_x_m"])


def rewards_and(solved):
    return lambda env, actions: (np.zeros(2), solved)


SOLVED = np.zeros(2, bool)


@pytest.mark.parametrize(
    ("method", "body", "why"),
    [
        ("_observe", lambda env: env._qpos[:, 0], "of shape (2, 2) for 2 simulations"),
        ("_observe", lambda env: None, "got None"),
        ("_observe", lambda env: np.full((2, 2), np.nan), "observations must be finite, got nan"),
        ("_observe", lambda env: np.random.default_rng().random((2, 2)), "observations differ"),
        ("_evaluate", lambda env, actions: np.zeros(2), "must return (rewards, solved)"),
        (
            "_evaluate",
            lambda env, actions: (np.zeros((2, 1)), SOLVED),
            "got float64 of shape (2, 1)",
        ),
        ("_evaluate", lambda env, actions: (np.full(2, np.nan), SOLVED), "rewards must be finite"),
        ("_evaluate", rewards_and(np.zeros(2)), "_evaluate() must be an array of bool"),
        ("_find_finished", lambda env: np.zeros(1, bool), "_find_finished() must be"),
        ("_start", random_start, "the starts differ between two episodes"),
        ("_start", start_all, "_start() changes simulations that are not among ids"),
        ("_apply_tasks", misnamed_body, "Invalid name 'bob'"),
    ],
)
def test_a_method_that_does_something_else_is_refused(method, body, why):
    assert why in refusal_of_point(**{method: body})


def test_an_observation_that_is_never_within_its_bounds_is_refused():
    def observing(second):
        return lambda env: np.stack([env._qpos[:, 0], second], axis=1)

    line = refusal_of_point(_observe=observing([7.0, 8.5]))
    assert "element 'position, y' is never within its bounds, -1 to 1 m: _observe() gives" in line
    assert line.endswith(" 7 to 8.5; mend its unit or its bounds")
    for second in ([7.0, 1.0], [1.0 + 1e-9] * 2):  # now and then, or by rounding
        bodies = {"_observe": observing(second)}
        try_family(NEW, type("Saturating", (PointNavigationVectorEnv,), bodies))


def test_the_method_that_fails_is_named_with_its_line():
    line = refusal_of_point(start_size=3, _start=_start)
    assert f"_start() fails in {__file__}, line " in line
    assert "could not be broadcast" in line
    assert "declares timestep_s 0.05, its scene has 0.1" in refusal_of_point(timestep_s=0.05)


def _start(env, ids, start):
    env._qpos[ids] = start


def test_nothing_is_written_to_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refusal_of_point(_command=lambda env, actions: env._qvel.fill(1e300), _observe=lambda env: None)
    assert not list(tmp_path.iterdir())
