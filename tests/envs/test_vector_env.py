"""A batch and its single environment: what comes in, episodes, copies, forks; all on Grip."""

import copy
import itertools
import multiprocessing
import pickle

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ClosedEnvironmentError, ResetNeeded

from metarobot.envs import TaskEnv, TaskError, Tasks, make_env

GRIP, POINT = "metarobot/Grip-v0", "metarobot/PointNavigation-v0"
N = 4


@pytest.fixture
def grip():
    env = make_env(GRIP, N, num_threads=1)
    yield env
    env.close()


@pytest.fixture(scope="module", params=["batch", "single"])
def either(request):
    """A batch or a single environment, whose actions and starts have one axis less."""
    env = make_env(GRIP, N, num_threads=1) if request.param == "batch" else TaskEnv(GRIP)
    env.reset(seed=0)
    yield env
    env.close()


def start_shape(env):
    rows = (N,) if hasattr(env, "num_envs") else ()
    return (*rows, getattr(env, "vector_env", env).start_size)


def zeros(env):
    return np.zeros(env.action_space.shape, np.float32)


def refusal(call):
    """Return the one line with which a call is refused."""
    with pytest.raises(ValueError) as raised:  # noqa: PT011  every caller looks at the line
        call()
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 200
    return str(raised.value)


NO_NUMBERS = {
    "scalar": lambda shape: 0.5,
    "string": lambda shape: "left" * 100,
    "complex scalar": lambda shape: 1j,
    "object": lambda shape: object(),
    "ragged": lambda shape: [[0.5], [0.5, 0.5]],
    "nones": lambda shape: np.full(shape, None),
    "strings": lambda shape: np.full(shape, "0.5"),
    "complex": lambda shape: np.full(shape, 0.5 + 0.1j),
    "records": lambda shape: np.zeros(shape, [("x", float)]),
    "gradient": lambda shape: torch.full(shape, 0.5, requires_grad=True),
    "empty": lambda shape: [],
}
WRONG_SHAPES = [
    shape for size in range(4) for shape in itertools.product((0, 1, 3, 10), repeat=size)
]
NUMBERS = {
    **{t: lambda shape, t=t: np.full(shape, 0.5, t) for t in ("f2", "f4", "f8", "longdouble")},
    **{t: lambda shape, t=t: np.zeros(shape, t) for t in ("i1", "u4", "?")},
    "list": lambda shape: np.full(shape, 0.5).tolist(),
    "tensor": lambda shape: torch.full(shape, 0.5),
    "not contiguous": lambda shape: np.full((*shape, 2), 0.5)[..., 0],
    "read-only": lambda shape: np.broadcast_to(0.5, shape),
}


def give(env, what, value):
    """Step with actions, or reset with a start."""
    return env.step(value)[0] if what == "actions" else env.reset(options={"start": value})[0]


@pytest.mark.parametrize("what", ["actions", "start"])
def test_any_real_numbers_of_the_right_shape_are_taken_and_nothing_else(either, what):
    right = either.action_space.shape if what == "actions" else start_shape(either)
    for kind in NO_NUMBERS.values():
        line = refusal(lambda kind=kind: give(either, what, kind(right)))
        assert what in line
        assert str(right) in line
    for shape in [shape for shape in WRONG_SHAPES if shape != right]:
        line = refusal(lambda shape=shape: give(either, what, np.zeros(shape)))
        assert line.endswith(f" have shape {shape}, need {right}")
    for kind in NUMBERS.values():
        given = kind(right)
        either.reset(seed=0)
        observation = give(either, what, given)
        either.reset(seed=0)
        np.testing.assert_array_equal(
            observation, give(either, what, np.asarray(given, np.float64))
        )


def test_infinity_is_clipped_and_actions_are_not_written_to(either):
    for bad in (np.inf, -np.inf):
        seen = []
        for value in (bad, np.sign(bad)):
            either.reset(seed=0)
            actions = np.full(either.action_space.shape, value)
            seen.append(either.step(actions)[0])
            assert (actions == value).all()
        np.testing.assert_array_equal(*seen)


def start_with(bad):
    """Options of a reset whose start has a last number of this value."""

    def options(env):
        start = np.full(start_shape(env), 0.5)
        start[..., -1] = bad
        return {"start": start}

    return options


REFUSED_RESETS = [
    *((start_with(bad), "[0, 1)") for bad in (1.0, -1e-9, np.nan, -np.inf)),
    ([], "tasks"),
    ("start", "tasks"),
    ({1: 2}, "start"),
    ({"strat": 0.5}, "did you mean 'start'?"),
    ({"tasks": {"block_mass_kg": 1.5}, "start": "x"}, "start"),
    *(
        ({"tasks": tasks}, why)
        for tasks, why in [
            (None, "tasks must be Tasks or"),
            ([1.5], "tasks must be Tasks or"),
            ({"block_mas_kg": 1.5}, "'block_mass_kg'"),
            ({1: 1.5}, "block_mass_kg"),
            ({"block_mass_kg": -1.0}, "block_mass_kg = -1 kg"),
            ({"block_mass_kg": np.nan}, "block_mass_kg"),
            ({"block_mass_kg": None}, "block_mass_kg"),
            ({"block_mass_kg": 1j}, "block_mass_kg"),
            ({"block_mass_kg": [[1.5], [1.0, 2.0]]}, "block_mass_kg"),
            ({"block_mass_kg": []}, "0 tasks"),
            ({"block_mass_kg": [0.5, 1.0, 1.5]}, "3 tasks"),
            ({"block_mass_kg": [0.5, 1.0], "pad_friction": [0.5] * 3}, "task "),
            (Tasks({"block_mass_kg": [1.5]}), "no value for"),
        ]
    ),
]


@pytest.mark.parametrize(("options", "why"), REFUSED_RESETS)
def test_a_refused_reset_leaves_seed_tasks_and_episode(either, options, why):
    options = options(either) if callable(options) else options

    def play(disturb):
        either.set_tasks(either.distribution.nominal())
        either.reset(seed=1)
        if disturb:
            assert why in refusal(lambda: either.reset(seed=9, options=options))
        stepped = either.step(np.full(either.action_space.shape, 0.5))[0]
        return stepped, either.reset()[0]

    for one, other in zip(play(False), play(True), strict=True):
        np.testing.assert_array_equal(one, other)
    if isinstance(options, dict) and [*options] == ["tasks"]:
        with pytest.raises(TaskError):
            either.set_tasks(options["tasks"])


@pytest.mark.parametrize("value", [1.5, [1.5], np.array(1.5), "tasks"], ids=repr)
def test_reset_sets_tasks_in_any_spelling(either, value):
    tasks = either.distribution.with_values({"block_mass_kg": [1.5]})
    given = tasks if isinstance(value, str) else {"block_mass_kg": value}
    observation, _ = either.reset(seed=5, options={"tasks": given, "start": None})
    assert either.tasks == tasks.repeat(len(either.tasks))
    stepped = either.step(np.full(either.action_space.shape, 0.5))
    either.set_tasks(either.distribution.nominal())
    either.set_tasks(tasks)
    np.testing.assert_array_equal(observation, either.reset(seed=5)[0])
    again = either.step(np.full(either.action_space.shape, 0.5))
    np.testing.assert_array_equal(stepped[0], again[0])
    either.reset()
    assert either.tasks == tasks.repeat(len(either.tasks))  # they stay


def test_tasks_reach_batches_and_wrappers(grip):
    grip.reset(options={"tasks": {"block_mass_kg": [1.5, 0.5]}})
    np.testing.assert_array_equal(grip.tasks["block_mass_kg"], [1.5, 1.5, 0.5, 0.5])
    wrapped = gym.make(GRIP)
    wrapped.reset(options={"tasks": {"block_mass_kg": 1.5}})
    assert wrapped.unwrapped.tasks["block_mass_kg"] == [1.5]
    stacked = gym.make_vec(GRIP, num_envs=2, vectorization_mode="sync")
    stacked.reset(options={"tasks": {"block_mass_kg": 1.5}})
    assert [single.unwrapped.tasks["block_mass_kg"][0] for single in stacked.envs] == [1.5, 1.5]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"num_envs": 0}, "num_envs must be an integer in"),
        ({"num_threads": -1}, "num_threads must be an integer in"),
        ({"horizon": 0}, "horizon must be an integer in"),
        ({"render_mode": "human"}, "render_mode 'human' is not allowed: use 'rgb_array'"),
        ({"max_episode_steps": 0}, "max_episode_steps must be at least 1, got 0"),
        ({"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}, "must be NEXT_STEP or DISABLED"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, why):
    assert why in refusal(lambda: make_env(GRIP, **{"num_envs": 1, **arguments}))


def test_seeds_may_be_given_one_by_one(grip):
    for seed in ([5, 6, 7, 8], np.arange(5, 9), (np.int64(5), 6, 7, 8)):
        starts = [grip.reset(seed=given) and grip.batch.state.copy() for given in (5, seed)]
        np.testing.assert_array_equal(*starts)
    for seed in (1.5, "ab", -1, True, [1, 2.5, 3, 4], [1, -1, 2, 3], [1, 2]):
        line = refusal(lambda seed=seed: grip.reset(seed=seed))
        assert line.startswith("seed must be an integer of 0 or more")


def test_masks_that_choose_none_or_are_none_are_refused(grip):
    for mask in (np.zeros(4, bool), np.ones(3, bool), np.ones(4), [0, 1]):
        line = refusal(lambda mask=mask: grip.reset(options={"reset_mask": mask}))
        assert "reset_mask must be (4,) bool and choose a simulation" in line
    options = {"reset_mask": np.arange(N) < 2, "tasks": {"block_mass_kg": 1.5}}
    assert "leave out reset_mask" in refusal(lambda: grip.reset(options=options))


def test_every_episode_lasts_the_horizon_and_the_autoreset_ignores_its_action():
    env, seen = make_env(GRIP, 2, horizon=3, num_threads=1), []
    for action in (0.3, 0.9):
        env.reset(seed=0)
        steps = [env.step(np.full((2, 1), action if step == 3 else 0.3)) for step in range(8)]
        *columns, infos = zip(*steps, strict=True)
        observations, rewards, terminated, truncated = map(np.array, columns)
        assert not terminated.any()
        np.testing.assert_array_equal(truncated[:, 0], [0, 0, 1, 0, 0, 0, 1, 0])
        np.testing.assert_array_equal(rewards[3], 0)
        assert not infos[3]["is_success"].any()
        seen.append(observations)
    np.testing.assert_array_equal(*seen)


def test_an_action_that_is_nan_is_refused_and_changes_nothing(either):
    either.reset(seed=0)
    action = zeros(either)
    action[..., -1] = np.nan
    batch = getattr(either, "vector_env", either)
    before = batch.batch.state.copy()
    line = refusal(lambda: either.step(action))
    assert line.startswith("actions of Grip must be")
    assert line.endswith("got nan in simulation 0, element 0")
    np.testing.assert_array_equal(batch.batch.state, before)


def test_a_closed_environment_is_refused(grip):
    for env in (grip, gym.make(GRIP)):
        env.reset(seed=0)
        env.close()
        env.close()
        nominal = env.unwrapped.distribution.nominal()
        for call in (lambda env=env: env.step(zeros(env)), env.reset):
            with pytest.raises(ClosedEnvironmentError, match=r"^this .* is closed: make another$"):
                call()
        with pytest.raises(ClosedEnvironmentError):
            env.unwrapped.set_tasks(nominal)


# Copies are new environments with the same arguments and tasks.

WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),  # noqa: S301
    "cloudpickle": lambda env: pickle.loads(cloudpickle.dumps(env)),  # noqa: S301
}
MAKERS = {
    "batch": lambda **kwargs: make_env(GRIP, N, num_threads=1, **kwargs),
    "gym.make": lambda **kwargs: gym.make(GRIP, **kwargs),
}


def play(env, steps=3):
    """Return what is seen in the first steps of a seeded episode."""
    seen = [env.reset(seed=3)[0]]
    for step in range(steps):
        seen += env.step(np.full(env.action_space.shape, 0.3 * step, np.float32))[:2]
    return seen


@pytest.mark.parametrize(
    ("maker", "way"),  # a shallow copy of a wrapper is of the wrapper alone
    [(maker, way) for maker in MAKERS for way in WAYS if (maker, way) != ("gym.make", "copy")],
)
def test_a_copy_plays_as_the_first_does(maker, way):
    env = MAKERS[maker](horizon=7, observe_task=True)
    with pytest.raises(ResetNeeded):
        env.step(zeros(env))
    held, rng = env.unwrapped.tasks, np.random.default_rng(1)
    tasks = env.unwrapped.distribution.sample(rng, len(held))
    env.unwrapped.set_tasks(tasks)
    expected = play(env)
    again = WAYS[way](env)  # within an episode
    assert again.unwrapped is not env.unwrapped
    assert type(again) is type(env)
    assert again.unwrapped.tasks == tasks
    assert again.unwrapped.spec == env.unwrapped.spec
    with pytest.raises(ResetNeeded, match="reset"):
        again.step(zeros(env))
    going_on = env.step(zeros(env))[0]
    for one, other in zip(play(again), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    play(env)
    np.testing.assert_array_equal(going_on, env.step(zeros(env))[0])


def test_a_copy_keeps_what_only_its_family_takes():
    env = TaskEnv("metarobot/Push-v0", look_every_steps=2, variant="lopsided_boxes")
    again = WAYS["cloudpickle"](env)
    assert again.vector_env.variant == env.vector_env.variant
    for one, other in zip(play(env), play(again), strict=True):
        np.testing.assert_array_equal(one, other)


# A process that was forked has its parent's batches without their threads: it must not wait.

forks = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork"
)

USES = {
    "reset": lambda env: env.reset(),
    "step": lambda env: env.step(np.zeros((4, 2))),
    "set_tasks": lambda env: env.set_tasks(env.distribution.nominal()),
    "close": lambda env: env.close(),
    "make anew": lambda env: make_env(POINT, 4, num_threads=2).reset(seed=0),
}


def use_in_child(env, use, outcome):
    try:
        USES[use](env)
        outcome.put("done")
    except RuntimeError as error:
        outcome.put(str(error))


@forks
@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_child_uses_what_it_can_and_is_told_of_the_rest(threads):
    env, context = make_env(POINT, 4, num_threads=threads), multiprocessing.get_context("fork")
    env.reset(seed=0)
    for use in USES:
        outcome = context.SimpleQueue()
        process = context.Process(target=use_in_child, args=(env, use, outcome))
        process.start()
        process.join(20)
        assert process.exitcode == 0, use
        if threads > 1 and use in ("reset", "step", "set_tasks"):
            assert "use num_threads=1" in outcome.get()
        else:
            assert outcome.get() == "done", use
    env.step(np.zeros((4, 2)))  # the parent goes on
    env.close()


@forks
def test_gymnasium_may_run_environments_in_forked_processes():
    batch = gym.make_vec(POINT, num_envs=4, num_threads=2)
    batch.reset(seed=0)
    batch.step(batch.action_space.sample())
    actions, seen = np.full((2, 2), 0.5), []
    for mode in ("async", "sync"):
        env = gym.make_vec(POINT, num_envs=2, vectorization_mode=mode)
        first, _ = env.reset(seed=0)
        seen.append((first, *env.step(actions)[:2]))
        env.close()
    for one, other in zip(*seen, strict=True):
        np.testing.assert_array_equal(one, other)
