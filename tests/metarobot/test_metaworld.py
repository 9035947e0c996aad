"""Meta-World behind the environment's interface; skipped where Meta-World is not installed."""

import importlib
import pickle
import sys
from importlib.metadata import version

import numpy as np
import pytest

from metarobot.envs import TaskError
from metarobot.machine import MissingExtraError

pytest.importorskip("metaworld", reason="needs Meta-World")
import metaworld
from metaworld.policies import ENV_POLICY_MAP

with pytest.MonkeyPatch.context() as patch:  # other tests count the families
    patch.setattr("metarobot.envs.registration.register_family", lambda *_, **__: None)
    module = importlib.import_module("metarobot.metaworld")

BENCHMARK_SEED, HORIZON, ML1, ML10 = (
    module.BENCHMARK_SEED,
    module.HORIZON,
    module.ML1,
    module.ML10,
)
MetaWorldEnv, ml1_tasks, ml10_tasks = module.MetaWorldEnv, module.ml1_tasks, module.ml10_tasks
SPLIT_OF = {"interpolation": "test", "extrapolation": "test", "train": "train"}


@pytest.fixture(scope="module")
def rows():
    return {split: tasks.to_dicts() for split, tasks in ml10_tasks().items()}


def roll_out(env, task, actions, seed=0):
    observations, rewards = [env.reset(seed=seed, options={"tasks": task})[0]], []
    for action in actions:
        observation, reward, *_ = env.step(action)
        observations.append(observation)
        rewards.append(reward)
    return np.array(observations), np.array(rewards)


def random_actions(steps, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, 4))


@pytest.mark.filterwarnings("ignore:Constant")  # the expert's, about its own gains
@pytest.mark.parametrize("name", ML1.values())
@pytest.mark.parametrize("split", ["train", "interpolation"])
def test_the_scripted_expert_succeeds(name, split):
    env, expert = MetaWorldEnv([name]), ENV_POLICY_MAP[name]()
    for task in ml1_tasks(name)[split].rows([0, 1]).to_dicts():
        observation, info = env.reset(options={"tasks": task})
        for step in range(HORIZON):
            assert env.observation_space.contains(observation)
            assert not observation[36:].any()  # the goal is hidden, but not from the expert
            observation[36:] = env._simulation._target_pos
            action = np.clip(expert.get_action(observation), -1, 1)
            observation, reward, terminated, truncated, info = env.step(action)
            assert isinstance(reward, float)
            assert truncated == (step + 1 == HORIZON)
            assert not terminated
        assert info["is_success"] is True


@pytest.mark.parametrize("name", ML1.values())
def test_tasks_of_ml1_are_the_benchmarks_own(name):
    benchmark, env = metaworld.ML1(name, seed=BENCHMARK_SEED), MetaWorldEnv([name])
    for split, tasks in ml1_tasks(name).items():
        check_tasks(env, tasks.to_dicts(), getattr(benchmark, f"{SPLIT_OF[split]}_tasks"))


def test_tasks_of_ml10_are_the_benchmarks_own(rows):
    benchmark, env = metaworld.ML10(seed=BENCHMARK_SEED), MetaWorldEnv(ML10)
    for split, tasks in rows.items():
        check_tasks(env, tasks, getattr(benchmark, f"{SPLIT_OF[split]}_tasks"))
    assert {row["task_class"] for row in rows["train"]} == set(range(10))
    assert {row["task_class"] for row in rows["extrapolation"]} == set(range(10, 15))


def check_tasks(env, tasks, theirs):
    for task, their in zip(tasks, theirs, strict=True):
        name, vector = env._read_task(task)
        assert name == their.env_name
        np.testing.assert_array_equal(vector, pickle.loads(their.data)["rand_vec"])  # noqa: S301


@pytest.mark.parametrize("split", ["train", "extrapolation"])
def test_an_episode_is_meta_worlds_own_whatever_ran_before(rows, split):
    """Two environments take turns, so that a shared model would show."""
    benchmark = metaworld.ML10(seed=BENCHMARK_SEED)
    theirs = {"train": benchmark.train_tasks, "extrapolation": benchmark.test_tasks}[split]
    env, other, actions = MetaWorldEnv(ML10), MetaWorldEnv(ML10), random_actions(20)
    for index in range(0, len(theirs), 50):
        task, same_class = rows[split][index], rows[split][index + 7]
        name = theirs[index].env_name
        original = {**benchmark.train_classes, **benchmark.test_classes}[name]()
        original.set_task(theirs[index])
        expected = [original.reset()[0]]
        observed = [env.reset(options={"tasks": task})[0]]
        other.reset(options={"tasks": same_class})
        for action in actions:
            expected_observation, expected_reward, *_ = original.step(action)
            other.step(-action)
            observation, reward, *_ = env.step(action)
            expected.append(expected_observation)
            observed.append(observation)
            assert reward == expected_reward, name
        np.testing.assert_array_equal(observed, expected, err_msg=name)


def test_reset_repeats_an_episode_with_any_seed_and_after_any_class(rows):
    env, actions = MetaWorldEnv(ML10), random_actions(30)
    first, other = rows["train"][120], rows["extrapolation"][3]
    observations, rewards = roll_out(env, first, actions, seed=1)
    roll_out(env, other, random_actions(30, seed=1))
    for seed in (1, 2):
        repeated = roll_out(env, first, actions, seed=seed)
        np.testing.assert_array_equal(repeated[0], observations)
        np.testing.assert_array_equal(repeated[1], rewards)


def test_success_is_of_any_step_of_the_episode():
    env, task = MetaWorldEnv(["reach-v3"]), ml1_tasks("reach-v3")["train"].rows([0]).to_dicts()[0]
    env.reset(options={"tasks": task})
    env._simulation.evaluate_state = lambda observation, action: (0.0, {"success": 1.0})
    assert env.step(np.zeros(4))[4] == {"is_success": True}
    env._simulation.evaluate_state = lambda observation, action: (0.0, {"success": 0.0})
    assert env.step(np.zeros(4))[4] == {"is_success": True}
    assert env.reset(options={"tasks": task})[1] == {"is_success": False}
    env._simulation.evaluate_state = lambda observation, action: (0.0, {"success": 0.0})
    assert env.step(np.zeros(4))[4] == {"is_success": False}


@pytest.mark.parametrize(
    ("classes", "task", "message"),
    [
        (["reach-v3"], {"gaol_x_m": 0.0}, "did you mean 'goal_x_m'"),
        (["reach-v3"], {"goal_x_m": 0.5}, r"goal_x_m = 0.5 m is not allowed"),
        (["push-v3"], {"object_y_m": 0.7, "goal_y_m": 0.8}, "too near each other"),
        (ML10, {"task_class": 15.0}, "task_class = 15 is not allowed"),
        (ML10, {"task_class": 3.0, "object_x_m": -0.05}, "not allowed for door-open-v3"),
    ],
)
def test_an_unknown_task_is_one_line(classes, task, message):
    with pytest.raises(TaskError, match=message) as error:
        MetaWorldEnv(classes).reset(options={"tasks": task})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("classes", [["reach-v3"], ["door-open-v3"], ML10])
def test_the_nominal_task_is_one_of_the_first_class(classes):
    observation, _ = MetaWorldEnv(classes).reset()
    assert observation.shape == (39,)


def test_every_task_of_ml10_is_in_the_bounds(rows):
    env = MetaWorldEnv(ML10)
    for task in rows["train"][::25] + rows["extrapolation"][::25]:
        observation, _ = env.reset(options={"tasks": task})
        unclipped = env._simulation._get_obs()
        np.testing.assert_array_equal(observation[:18], unclipped[:18])
        assert env.observation_space.contains(observation)


def test_it_can_be_pickled_before_its_first_reset(rows):
    env, copy = MetaWorldEnv(ML10), pickle.loads(pickle.dumps(MetaWorldEnv(ML10)))  # noqa: S301
    actions = random_actions(3)
    np.testing.assert_array_equal(
        roll_out(env, rows["train"][0], actions)[0], roll_out(copy, rows["train"][0], actions)[0]
    )


def test_pictures_follow_the_class(rows, opengl):
    env = MetaWorldEnv(ML10, render_mode="rgb_array")
    pictures = []
    for index in (0, 170):
        env.reset(options={"tasks": rows["train"][index]})
        pictures.append(env.render())
    assert {(picture.shape, picture.dtype.name) for picture in pictures} == {
        ((480, 480, 3), "uint8")
    }
    assert (pictures[0] != pictures[1]).any()
    env.close()
    env.close()


def test_every_benchmark_registers_with_its_tasks(monkeypatch):
    families = {}

    def register_family(env_id, **given):
        families[env_id] = given

    monkeypatch.setattr(module, "register_family", register_family)
    module.register()
    assert [*families] == [
        *(f"metaworld/ML1-{name}-v3" for name in ("Reach", "Push", "PickPlace")),
        "metaworld/ML10-v3",
    ]
    for given in families.values():
        env = pickle.loads(pickle.dumps(given["env"]))(render_mode=None)  # noqa: S301
        for tasks in given["distribution"].listed.values():
            given["distribution"].validate(tasks)
            env.reset(options={"tasks": tasks.to_dicts()[-1]})
        assert given["horizon"] == 500


def test_provenance_names_what_the_figures_depend_on():
    text = module.provenance()
    assert f"Meta-World {version('metaworld')} on MuJoCo {version('mujoco')}" in text
    assert "reward v2" in text
    assert "benchmark seed 42" in text


def test_without_meta_world_the_error_names_the_installation(monkeypatch):
    monkeypatch.delitem(sys.modules, "metarobot.metaworld")
    monkeypatch.setitem(sys.modules, "metaworld.sawyer_xyz_env", None)
    with pytest.raises(MissingExtraError, match="pip install --no-deps metaworld==") as error:
        importlib.import_module("metarobot.metaworld")
    assert "\n" not in str(error.value)
