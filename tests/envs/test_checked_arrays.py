"""Whatever comes into `step` and `reset`: taken, or refused in one line before anything changes."""

import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch

from metarobot.envs import TaskEnv, TaskError, Tasks, make_env

GRIP = "metarobot/Grip-v0"
N = 4


@pytest.fixture(params=["batch", "single"])
def either(request):
    """A batch or a single environment, whose actions and starts have one axis less."""
    env = make_env(GRIP, N, num_threads=1) if request.param == "batch" else TaskEnv(GRIP)
    env.reset(seed=0)
    yield env
    env.close()


def rows(env):
    return (N,) if hasattr(env, "num_envs") else ()


def start_shape(env):
    return (*rows(env), getattr(env, "vector_env", env).start_size)


def refusal(call):
    """The one line with which a call is refused."""
    with pytest.raises(ValueError) as raised:  # noqa: PT011  every caller looks at the line
        call()
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 200
    return str(raised.value)


NO_NUMBERS = {
    "none": lambda shape: None,
    "scalar": lambda shape: 0.5,
    "string": lambda shape: "left" * 100,
    "bytes": lambda shape: b"left",
    "complex scalar": lambda shape: 1j,
    "object": lambda shape: object(),
    "dict": lambda shape: {"action": 0.5},
    "class": lambda shape: float,
    "ragged": lambda shape: [[0.5], [0.5, 0.5]],
    "nones": lambda shape: np.full(shape, None),
    "objects": lambda shape: np.full(shape, 0.5, object),
    "strings": lambda shape: np.full(shape, "0.5"),
    "complex": lambda shape: np.full(shape, 0.5 + 0.1j),
    "times": lambda shape: np.full(shape, np.datetime64("2020-01-01")),
    "records": lambda shape: np.zeros(shape, [("x", float)]),
    "gradient": lambda shape: torch.full(shape, 0.5, requires_grad=True),
    "empty": lambda shape: [],
}
WRONG_SHAPES = [
    shape for size in range(4) for shape in itertools.product((0, 1, 2, 3, 10), repeat=size)
]
NUMBERS = {
    **{t: lambda shape, t=t: np.full(shape, 0.5, t) for t in ("f2", "f4", "f8", "longdouble")},
    **{t: lambda shape, t=t: np.zeros(shape, t) for t in ("i1", "u4", "i8", "?")},
    "list": lambda shape: np.full(shape, 0.5).tolist(),
    "tensor": lambda shape: torch.full(shape, 0.5),
    "not contiguous": lambda shape: np.full((*shape, 2), 0.5)[..., 0],
    "read-only": lambda shape: np.broadcast_to(0.5, shape),
}


def give(env, what, value):
    """Step with actions, or reset with a start."""
    return env.step(value)[0] if what == "actions" else env.reset(options={"start": value})[0]


def shape_of(env, what):
    return env.action_space.shape if what == "actions" else start_shape(env)


both = pytest.mark.parametrize("what", ["actions", "start"])


@both
@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_values_that_are_no_numbers_are_refused(either, what, kind):
    if (what, kind) != ("start", "none"):
        shape = shape_of(either, what)
        line = refusal(lambda: give(either, what, NO_NUMBERS[kind](shape)))
        assert what in line
        assert str(shape) in line


@both
def test_values_of_every_other_shape_are_refused(either, what):
    right = shape_of(either, what)
    for shape in [shape for shape in WRONG_SHAPES if shape != right]:
        line = refusal(lambda shape=shape: give(either, what, np.zeros(shape)))
        assert line.endswith(f" have shape {shape}, need {right}")


@both
@pytest.mark.parametrize("kind", NUMBERS)
def test_values_of_any_real_type_are_taken(either, what, kind):
    given = NUMBERS[kind](shape_of(either, what))
    observation = give(either, what, given)
    either.reset(seed=0)
    np.testing.assert_array_equal(observation, give(either, what, np.asarray(given, np.float64)))


def test_actions_are_not_written_to(either):
    actions = np.full(either.action_space.shape, np.inf)
    either.step(actions)
    assert np.isinf(actions).all()


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_infinity_is_clipped(either, bad):
    seen = []
    for value in (bad, np.sign(bad)):
        either.reset(seed=0)
        seen.append(either.step(np.full(either.action_space.shape, value))[0])
    np.testing.assert_array_equal(*seen)


@pytest.mark.parametrize("bad", [1.0, -1e-9, -0.5, 2.0, np.nan, np.inf, -np.inf])
def test_a_start_outside_the_unit_interval_is_refused(either, bad):
    start = np.full(start_shape(either), 0.5)
    start[..., -1] = bad
    assert "[0, 1)" in refusal(lambda: either.reset(options={"start": start}))


@pytest.mark.parametrize("options", [[], "start", 1, {"strat"}, {"strat": 0.5}, {1: 2}])
def test_options_that_reset_does_not_know_are_refused(either, options):
    line = refusal(lambda: either.reset(options=options))
    assert "start" in line
    assert "tasks" in line
    if options == {"strat": 0.5}:
        assert line.endswith("did you mean 'start'?")


@pytest.mark.parametrize("options", [None, {}, {"start": None}])
def test_no_options_are_no_options(either, options):
    plain, _ = either.reset(seed=3)
    same, _ = either.reset(seed=3, options=options)
    np.testing.assert_array_equal(plain, same)


# Tasks by way of reset.


def spell(env, spelling):
    """One task in the words of one who calls."""
    if spelling == "tasks":
        return env.distribution.with_values({"block_mass_kg": [1.5]})
    values = {"number": 1.5, "list": [1.5], "array": np.array([1.5]), "zero axes": np.array(1.5)}
    return {"block_mass_kg": values[spelling]}


@pytest.mark.parametrize("spelling", ["tasks", "number", "list", "array", "zero axes"])
def test_reset_sets_tasks_in_any_spelling(either, spelling):
    observation, _ = either.reset(seed=5, options={"tasks": spell(either, spelling)})
    tasks = either.distribution.with_values({"block_mass_kg": [1.5]})
    assert either.tasks == tasks.repeat(len(either.tasks))
    stepped = either.step(np.full(either.action_space.shape, 0.5))
    either.set_tasks(either.distribution.nominal())
    either.set_tasks(tasks)
    np.testing.assert_array_equal(observation, either.reset(seed=5)[0])
    again = either.step(np.full(either.action_space.shape, 0.5))
    np.testing.assert_array_equal(stepped[0], again[0])
    either.reset()
    assert either.tasks == tasks.repeat(len(either.tasks))  # they stay


def test_a_batch_takes_a_column_of_tasks():
    env = make_env(GRIP, N, num_threads=1)
    env.reset(options={"tasks": {"block_mass_kg": [1.5, 0.5]}})
    np.testing.assert_array_equal(env.tasks["block_mass_kg"], [1.5, 1.5, 0.5, 0.5])


def test_tasks_reach_through_the_wrappers_of_gym_make():
    env = gym.make(GRIP)
    env.reset(options={"tasks": {"block_mass_kg": 1.5}})
    assert env.unwrapped.tasks["block_mass_kg"] == [1.5]
    env.unwrapped.set_tasks({"block_mass_kg": 0.5})
    assert env.unwrapped.tasks["block_mass_kg"] == [0.5]


def test_tasks_reach_environments_that_are_stacked():
    env = gym.make_vec(GRIP, num_envs=2, vectorization_mode="sync")
    env.reset(options={"tasks": {"block_mass_kg": 1.5}})
    assert [single.unwrapped.tasks["block_mass_kg"][0] for single in env.envs] == [1.5, 1.5]


@pytest.mark.parametrize(
    "tasks",
    [
        None,
        1.5,
        "block_mass_kg",
        [1.5],
        {"block_mas_kg": 1.5},
        {1: 1.5},
        {"block_mass_kg": -1.0},
        {"block_mass_kg": np.nan},
        {"block_mass_kg": None},
        {"block_mass_kg": "heavy"},
        {"block_mass_kg": 1j},
        {"block_mass_kg": [[1.5]]},
        {"block_mass_kg": [[1.5], [1.0, 2.0]]},
        {"block_mass_kg": []},
        {"block_mass_kg": [0.5, 1.0, 1.5]},
        {"block_mass_kg": [0.5, 1.0], "pad_friction": [0.5, 0.5, 0.5]},
        Tasks({"block_mass_kg": [1.5]}),
    ],
    ids=str,
)
def test_tasks_that_are_refused_change_nothing(either, tasks):
    before = either.tasks
    assert "block_mass_kg" in (
        line := refusal(lambda: either.reset(seed=9, options={"tasks": tasks}))
    ) or line.startswith(("tasks must be Tasks or", "3 tasks", "0 tasks", "no value for", "task "))
    with pytest.raises(TaskError):
        either.set_tasks(tasks)
    assert either.tasks == before


def test_tasks_are_not_set_in_some_simulations():
    env = make_env(GRIP, N, num_threads=1)
    mask = np.array([True, False, True, False])
    options = {"reset_mask": mask, "tasks": {"block_mass_kg": 1.5}}
    assert "leave out reset_mask" in refusal(lambda: env.reset(options=options))


@pytest.mark.parametrize(
    "options",
    [
        {"start": 2.0},
        {"strat": 1},
        {"tasks": None},
        {"tasks": {"block_mass_kg": 1.5}, "start": "x"},
    ],
    ids=str,
)
def test_a_refused_reset_leaves_seed_tasks_and_episode(either, options):
    def play(disturb):
        either.set_tasks(either.distribution.nominal())
        either.reset(seed=1)
        if disturb:
            refusal(lambda: either.reset(seed=9, options=options))
        stepped = either.step(np.full(either.action_space.shape, 0.5))[0]
        return stepped, either.reset()[0]

    for one, other in zip(play(False), play(True), strict=True):
        np.testing.assert_array_equal(one, other)
