"""Families of Gymnasium's environments: the same episodes in any processes, and broken ones."""

import copy
import functools
import multiprocessing
import os
import signal
import threading
import time

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, VectorEnv

from metarobot.envs import (
    FAMILIES,
    SimulatorError,
    TaskDistribution,
    TaskError,
    TaskParameter,
    Tasks,
    find_family,
    find_native,
    keep_processes,
    make_env,
    register_family,
)

PULL = TaskParameter(
    name="pull",
    unit="1",
    description="pull on the cart",
    nominal=0.0,
    train=(-1.0, 1.0),
    extrapolation=((1.0, 2.0),),
    allowed=(-5.0, 5.0),
)
DISTRIBUTION = TaskDistribution((PULL,))
T = 6


class Cart(gym.Env):
    """Pushes a cart that something pulls."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, render_mode=None, pull=0.0):
        self.render_mode = render_mode
        self.observation_space = Box(-10.0, 10.0, (2,))
        self.action_space = Box(np.array([0.0]), np.array([4.0]), dtype=np.float64)
        self.pull = pull

    def set_pull(self, task):
        self.pull = task["pull"]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.pull = (options or {}).get("tasks", {"pull": self.pull})["pull"]
        self.place, self.steps = self.np_random.uniform(-1.0, 1.0), 0
        return self._seen(), {}

    def step(self, action):
        self.place += 0.1 * (action[0] - 2.0 + self.pull)
        self.steps += 1
        done = abs(self.place) > 1.2
        return self._seen(), -abs(self.place), done, False, {"success": abs(self.place) < 0.5}

    def _seen(self):
        return np.array([self.place, self.steps / T], np.float32)

    def render(self):
        return np.full((40, 60, 3), 10 * self.steps, np.uint8)


@pytest.fixture
def register():
    """Registers families, and forgets them after the test."""
    known = {*FAMILIES}

    def new(env=Cart, env_id="test/Cart-v0", **source):
        if "vector_env" not in source:
            source["env"] = env
        register_family(env_id, **{"distribution": DISTRIBUTION, "horizon": T, **source})
        return env_id

    yield new
    for env_id in {*FAMILIES} - known:
        del FAMILIES[env_id]
        gym.registry.pop(env_id, None)
    assert not multiprocessing.active_children()


def play(env, pulls, steps=T):
    """Return observations, rewards and ends of episodes under changing actions."""
    env.set_tasks({"pull": pulls})
    start = np.linspace(0.0, 0.9, env.num_envs)[:, None]
    seen = [env.reset(options={"start": start})[0]]
    rows = []
    for t in range(steps):
        actions = np.sin(np.arange(env.num_envs) + t)[:, None]
        observations, *rest, info = env.step(actions)
        seen.append(observations)
        rows.append([*rest, info["is_success"]])
    env.close()
    return np.stack(seen), np.array(rows, float)


def by_hand(pull, start, actions):
    """Return observations and rewards of an episode in the environment itself."""
    env = Cart(pull=pull)
    seen, earned = [env.reset(seed=int(start * 2**31))[0]], []
    for action in actions:
        observation, reward, done, *_ = env.step(np.array([2.0 + 2.0 * action]))
        seen.append(observation)
        earned.append(reward)
        if done:
            break
    return np.stack(seen), earned


@pytest.mark.parametrize("task_by", ["reset", "constructor", "set_pull"])
def test_episodes_are_those_of_the_environment_in_any_number_of_processes(register, task_by):
    env_id, pulls = register(task_by=task_by), np.linspace(-1.0, 1.0, 5)
    options = {"autoreset_mode": AutoresetMode.DISABLED}
    alone = play(make_env(env_id, 5, num_threads=1, **options), pulls)
    for processes in (2, 3):
        shared = play(make_env(env_id, 5, num_threads=processes, **options), pulls)
        for a, b in zip(alone, shared, strict=True):
            np.testing.assert_array_equal(a, b)
    for index, pull in enumerate(pulls):
        actions = np.sin(index + np.arange(T))
        seen, earned = by_hand(pull, np.linspace(0.0, 0.9, 5)[index], actions)
        np.testing.assert_allclose(alone[0][: len(seen), index], seen, rtol=1e-6)
        np.testing.assert_allclose(alone[1][: len(earned), 0, index], earned, rtol=1e-6)
        assert not alone[1][len(earned) :, 0, index].any()  # held after its end


def test_it_follows_the_rules_of_gymnasium(register):
    env_id = register()
    env = gym.make(env_id)
    check_env(env.unwrapped, skip_render_check=True)
    assert env.unwrapped.vector_env.control_dt_s == 0.1
    env.unwrapped.set_tasks({"pull": 0.5})
    twin = copy.deepcopy(env.unwrapped)
    assert twin.tasks == env.unwrapped.tasks
    for each in (env, twin):
        each.close()
    batch = gym.make_vec(env_id, num_envs=3)
    batch.reset(seed=0)
    ended = np.zeros(3, bool)
    for _ in range(2 * T):
        _, _, terminated, truncated, _ = batch.step(np.zeros((3, 1)))
        ended |= terminated | truncated
    assert ended.all()
    batch.close()
    assert find_family(env_id).summary() == "Pushes a cart that something pulls"


def test_a_process_that_may_have_no_children_holds_its_environments(register):
    wanted = play(make_env(register(), 2, num_threads=1), [-0.5, 0.5])
    make = functools.partial(make_here, DISTRIBUTION)
    batch = gym.vector.AsyncVectorEnv([make, make], context="spawn")
    for start, pull in ((0.0, -0.5), (0.9, 0.5)):
        options = {"start": np.array([start]), "tasks": {"pull": pull}}
        seen, _ = batch.reset(options=options)
        np.testing.assert_array_equal(seen[0], wanted[0][0, int(start > 0)])
        batch.step(np.zeros((2, 1), np.float32))
    batch.close()


def make_here(distribution):
    """Make a family of carts in another process."""
    if "test/Here-v0" not in FAMILIES:
        register_family("test/Here-v0", env=Cart, distribution=distribution, horizon=T)
    return gym.make("test/Here-v0")


def test_only_a_film_renders(register):
    env = make_env(register(), 2, num_threads=1, render_mode="rgb_array")
    env.reset(seed=0)
    env.step(np.zeros((2, 1)))
    assert [frame.tolist() for frame in env.render()] == 2 * [np.full((40, 60, 3), 10).tolist()]
    env.close()


def test_what_only_a_native_batch_can_do_says_so(register):
    env_id = register()
    with pytest.raises(TaskError, match="made of Gymnasium environments: the viewer needs a nat"):
        find_native(env_id, "the viewer")
    with pytest.raises(TaskError, match="scenes need a native family"):
        make_env(env_id, 1, scene_path="x.xml")
    with pytest.raises(TaskError, match="a window needs a native family"):
        gym.make(env_id, render_mode="human")


def test_registering_the_same_again_changes_nothing(register):
    assert register() == register()
    with pytest.raises(TaskError, match="registered already"):
        register(horizon=T + 1)


def test_listed_tasks_are_the_only_ones_and_each_comes_before_one_comes_again(register):
    own, others = Tasks({"pull": [0.1, 0.2, 0.3]}), Tasks({"pull": [0.4, 1.5]})
    listed = TaskDistribution((PULL,), listed={"train": own, "extrapolation": others})
    family = find_family(register(distribution=listed))
    assert family.distribution.splits == ("train", "extrapolation")
    drawn = listed.sample(np.random.default_rng(0), 6)["pull"]
    assert sorted(drawn[:3]) == sorted(drawn[3:]) == [0.1, 0.2, 0.3]
    assert sorted(listed.sample(np.random.default_rng(0), 2, "extrapolation")["pull"]) == [0.4, 1.5]
    for wrong, why in {"train": "must hold Tasks"}.items():
        with pytest.raises(TaskError, match=why):
            TaskDistribution((PULL,), listed={wrong: [0.1]})
    with pytest.raises(TaskError, match="pull = 9 is not allowed"):
        TaskDistribution((PULL,), listed={"train": Tasks({"pull": [9.0]})})


class Carts(VectorEnv):
    """Carts of another engine, in a loop."""

    def __init__(self, num_envs, mode):
        self.num_envs, self.metadata = num_envs, {"autoreset_mode": mode, "render_fps": 10}
        self.carts = [Cart() for _ in range(num_envs)]
        self.single_observation_space = self.carts[0].observation_space
        self.single_action_space = self.carts[0].action_space
        self.ended = np.zeros(num_envs, bool)

    def set_tasks(self, columns):
        for cart, pull in zip(self.carts, columns["pull"], strict=True):
            cart.set_pull({"pull": pull})

    def reset(self, *, seed=None, options=None):
        chosen = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        for i in np.flatnonzero(chosen):
            self.carts[i].reset(seed=seed[i])
        self.ended[chosen] = False
        return np.stack([cart._seen() for cart in self.carts]), {}

    def step(self, actions):
        mode, infos = self.metadata["autoreset_mode"], {}
        rows, success = [], []
        final = np.full(self.num_envs, None, object)
        for i, (cart, action) in enumerate(zip(self.carts, actions, strict=True)):
            if self.ended[i] and mode is AutoresetMode.NEXT_STEP:
                row, info = (cart.reset()[0], 0.0, False, False), {"success": False}
            else:
                *row, info = cart.step(action)
            self.ended[i] = row[2]
            success.append(info["success"])
            if self.ended[i] and mode is AutoresetMode.SAME_STEP:
                final[i], row[0] = row[0], cart.reset()[0]
            rows.append(row)
        infos["success"] = np.array(success)
        if mode is AutoresetMode.SAME_STEP and self.ended.any():
            infos = {"final_obs": final, "final_info": infos}
        return *(np.array(column) for column in zip(*rows, strict=True)), infos


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_vectorised_engine_gives_the_same_episodes(register, mode):
    pulls, options = np.linspace(-1.0, 1.0, 5), {"autoreset_mode": AutoresetMode.DISABLED}
    wanted = play(make_env(register(), 5, num_threads=1, **options), pulls)
    engine = register(env_id="test/Carts-v0", vector_env=functools.partial(Carts, mode=mode))
    found = play(make_env(engine, 5, **options), pulls)
    np.testing.assert_allclose(found[1], wanted[1])
    ended = np.cumsum(wanted[1][:, 1:3].any(1), axis=0) > 0
    shown = np.concatenate([np.zeros((2, 5), bool), ended[:-1]])  # of an end, the last one counts
    np.testing.assert_allclose(found[0][~shown], wanted[0][~shown])


ENGINES = {
    "set_tasks": "set_tasks(): ZeroDivisionError: of mine in ",
    "reset": "reset(): ZeroDivisionError: of mine in ",
    "step": "step(): ZeroDivisionError: of mine in ",
}


@pytest.mark.parametrize("method", ENGINES)
def test_a_broken_engine_is_one_line(register, method):
    broken = type("Broken", (Carts,), {method: raises})
    env_id = register(vector_env=functools.partial(broken, mode=AutoresetMode.DISABLED))
    with pytest.raises(TaskError) as found:
        find_family(env_id)
    assert ENGINES[method] in str(found.value)


def test_an_engine_may_give_bounds_as_arrays_and_register_again(register):
    bounds = np.full(2, -10.0), np.full(2, 10.0)
    make = functools.partial(Carts, mode=AutoresetMode.DISABLED)
    assert register(vector_env=make, observation_bounds=bounds) == register(
        vector_env=make, observation_bounds=(bounds[0].copy(), bounds[1])
    )


# Broken environments.


def ending(*faults):
    """Return a cart with a fault in some of its methods."""
    return type("Broken", (Cart,), dict(faults))


def after(steps, fault):
    """Return a step that has a fault from some step on."""

    def step(self, action):
        if self.steps >= steps:
            return fault(self, action)
        return Cart.step(self, action)

    return step


def give(index, value):
    """Return a step that gives another value at a place."""

    def step(self, action):
        row = [*Cart.step(self, action)]
        row[index] = value
        return tuple(row)

    return step


def with_spaces(**spaces):
    """Return a cart with other spaces."""

    class Other(Cart):
        def __init__(self):
            super().__init__()
            for name, space in spaces.items():
                setattr(self, name, space)

    return Other


def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def raises(*_, **__):
    raise ZeroDivisionError("of mine")


def remembers(self, **kwargs):
    _, info = Cart.reset(self, **kwargs)
    self.place += 0.01 * getattr(self, "count", 0)
    self.count = getattr(self, "count", 0) + 1
    return self._seen(), info


def draws_alone(self, **kwargs):
    Cart.reset(self, **kwargs)
    self.place = np.random.default_rng().uniform()
    return self._seen(), {}


def takes_no_task(self, *, seed=None, options=None):
    return Cart.reset(self, seed=seed)


LOCK = threading.Lock()
BROKEN = {
    "its function raises": (raises, "making environment 0: ZeroDivisionError: of mine in "),
    "its function gives nothing": (lambda: None, "must give a gymnasium.Env, got None"),
    "its function cannot be sent": (functools.partial(Cart, LOCK), "cannot be sent to other proc"),
    "making it kills": (kill, "a process of its environments has ended"),
    "reset raises": (ending(("reset", raises)), "reset() of environment 0: ZeroDivisionError"),
    "reset gives no pair": (ending(("reset", lambda *_, **__: np.zeros(2))), "return (observat"),
    "reset gives another shape": (
        ending(("_seen", lambda self: np.zeros(3))),
        "numbers of shape (2,), got float64 of shape (3,)",
    ),
    "reset gives words": (ending(("_seen", lambda self: ["a", "b"])), "must be numbers"),
    "reset gives nan": (
        ending(("_seen", lambda self: np.full(2, np.nan))),
        "reset() of environment 0 must be finite",
    ),
    "reset hangs": (ending(("reset", lambda *_, **__: time.sleep(60))), "hangs: no answer to rese"),
    "reset draws alone": (ending(("reset", draws_alone)), "observations differ between two episo"),
    "reset remembers": (ending(("reset", remembers)), "observations differ between two episodes"),
    "reset takes no task": (ending(("reset", takes_no_task)), "are the same whatever the task"),
    "step raises": (ending(("step", raises)), "step() of environment 0: ZeroDivisionError: of mi"),
    "step raises later": (ending(("step", after(4, raises))), "step() of environment 0: ZeroDiv"),
    "step gives four": (ending(("step", lambda *_: (0, 0, 0, 0))), "(observation, reward, term"),
    "step gives another shape": (ending(("step", give(0, np.zeros(3)))), "of shape (2,), got"),
    "step gives nan": (ending(("step", give(0, np.full(2, np.nan)))), "step() must be finite"),
    "the reward is nan": (ending(("step", give(1, np.nan))), "rewards of step() must be finite"),
    "the reward is nothing": (ending(("step", give(1, None))), "the reward must be a number"),
    "the reward has two": (ending(("step", give(1, np.zeros(2)))), "the reward must be a number"),
    "the end is a word": (ending(("step", give(2, "no"))), "terminated must be a number, got 'no'"),
    "the info is nothing": (ending(("step", give(4, None))), "TypeError"),
    "step hangs": (ending(("step", after(3, lambda *_: time.sleep(60)))), "hangs: no answer to st"),
    "step dies": (ending(("step", after(3, lambda *_: os._exit(7)))), "(exit code 7)"),
    "step is killed": (ending(("step", after(3, kill))), "(signal SIGKILL)"),
    "discrete actions": (with_spaces(action_space=Discrete(3)), "actions must be a Box of shape"),
    "endless actions": (with_spaces(action_space=Box(-np.inf, np.inf, (1,))), "finite bounds"),
    "observations of pictures": (
        with_spaces(observation_space=Box(0, 255, (4, 4, 3))),
        "gymnasium.wrappers has FlattenObservation",
    ),
    "observations by name": (with_spaces(observation_space=Dict(a=Discrete(2))), "must be a Box"),
    "endless observations": (
        with_spaces(observation_space=Box(-np.inf, np.inf, (2,))),
        "no bounds for element 0: a policy needs some; twice the range of random actions is obs",
    ),
    "bounds elsewhere": (
        with_spaces(observation_space=Box(20.0, 30.0, (2,))),
        "observation 0 is never within its bounds, 20 to 30, but",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_environment_is_one_line_and_leaves_nothing_running(register, fault):
    env, why = BROKEN[fault]
    env_id = register(env, timeout_s=2.0)
    with pytest.raises(TaskError) as found:
        find_family(env_id)
    assert why in str(found.value)
    assert str(found.value).startswith(env_id)
    assert "\n" not in str(found.value)
    assert not multiprocessing.active_children()


WRONG = {
    "no way to make one": ({"env": None}, "a function that makes an environment"),
    "no distribution": ({"distribution": [PULL]}, "distribution must be a TaskDistribution"),
    "no method": ({"task_by": "set task"}, "task_by must be 'reset', 'constructor' or a method"),
    "no time": ({"timeout_s": 0}, "timeout_s must be a positive number of seconds"),
    "no horizon": ({"horizon": 0}, "horizon must be an integer in [1, "),
    "other axes": ({"heat_map_axes": ("pull", "push")}, "heat_map_axes must be () or two of pull"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_argument_is_refused_when_it_is_registered(register, mistake):
    source, why = WRONG[mistake]
    with pytest.raises(TaskError) as found:
        register(**source)
    assert why in str(found.value)


UNUSABLE = {
    "limit": ({"horizon": None}, "its environment has no limit of steps: give horizon"),
    "method": ({"task_by": "set_push"}, "set_push() of environment 0: AttributeError"),
    "argument": (
        {"env": lambda: Cart(), "task_by": "constructor"},
        "making environment 0: TypeError",
    ),
    "bounds": ({"observation_bounds": (0, [1, 2, 3])}, "must be two numbers, or two arrays of 2"),
    "order": ({"observation_bounds": (1, 0)}, "observation_bounds must be finite, and the first"),
    "other engine": ({"vector_env": lambda n: Cart()}, "gymnasium.vector.VectorEnv with a method"),
}


@pytest.mark.parametrize("mistake", UNUSABLE)
def test_what_does_not_suit_the_environment_is_said_when_it_is_tried(register, mistake):
    source, why = UNUSABLE[mistake]
    env_id = register(**source)
    with pytest.raises(TaskError) as found:
        find_family(env_id)
    assert why in str(found.value)


def test_a_sparse_reward_may_hide_the_task(register):
    env_id = register(ending(("reset", takes_no_task)), task_shows=False)
    assert find_family(env_id).default_horizon == T


def test_processes_are_kept_within_a_context(register):
    env_id = register()
    find_family(env_id)
    with keep_processes():
        first = make_env(env_id, 4, num_threads=2)
        first.reset(seed=0)
        first.close()
        kept = {process.pid for process in multiprocessing.active_children()}
        for num_envs, same in ((4, True), (6, False), (4, True)):
            env = make_env(env_id, num_envs, num_threads=2)
            assert ({p.pid for p in multiprocessing.active_children()} == kept) == same
            env.set_tasks({"pull": 0.7})
            env.reset(options={"start": np.full((num_envs, 1), 0.5)})
            observation, *_ = env.step(np.zeros((num_envs, 1)))
            assert observation[:, 0] == pytest.approx(by_hand(0.7, 0.5, [0.0])[0][1, 0])
            env.close()
            kept = {process.pid for process in multiprocessing.active_children()}
    assert not multiprocessing.active_children()


def test_an_environment_that_fails_later_ends_all_processes(register):
    def fails_beyond(self, action):
        if self.pull > 1.0:
            os._exit(3)
        return Cart.step(self, action)

    env = make_env(register(ending(("step", fails_beyond))), 4, num_threads=2)
    env.set_tasks({"pull": [0.0, 0.5, 0.9, 1.5]})
    env.reset(seed=0)
    with pytest.raises(SimulatorError, match="a process of its environments has ended in step"):
        env.step(np.zeros((4, 1)))
    assert not multiprocessing.active_children()
    with pytest.raises(SimulatorError, match="its processes have ended"):
        env.step(np.zeros((4, 1)))
    env.close()


def test_pictures_need_an_argument_and_a_picture(register):
    with pytest.raises(TaskError, match="env takes no argument render_mode"):
        make_env(register(lambda: Cart()), 1, render_mode="rgb_array")
    env_id = register(ending(("render", lambda self: None)), "test/Blind-v0")
    env = make_env(env_id, 1, num_threads=1, render_mode="rgb_array")
    env.reset(seed=0)
    with pytest.raises(SimulatorError, match=r"render\(\) of environment 0: TypeError: it must"):
        env.render()
    env.close()
