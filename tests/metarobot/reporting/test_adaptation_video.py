from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import act_alone

from metarobot.algorithms import make_policy, train_config
from metarobot.envs import FAMILIES, TaskError, make_env
from metarobot.envs.grip import DISTRIBUTION
from metarobot.policies import repeat_params
from metarobot.reporting import films
from metarobot.reporting import films as rendering
from metarobot.reporting.films import (
    FRAMES_PER_STEP,
    RenderConfig,
    adapt_to,
    choose_task,
    film,
)
from metarobot.training.load import TrainedPolicy, TrainedRun
from metarobot.training.run_folder import RunError

GRIP = "metarobot/Grip-v0"


@pytest.fixture
def trained() -> TrainedPolicy:
    # Untrained, it knows nothing of its noise, of which so few episodes would leave nothing.
    config = train_config(env_id=GRIP, hidden_sizes=(4,), shrink_steps=False)
    policy = make_policy(config)
    params = policy.initial_params(torch.Generator().manual_seed(0))
    return TrainedPolicy(policy, params, config)


@pytest.fixture
def camera(monkeypatch) -> list[np.ndarray]:
    """Where pictures would be taken, the configuration is noted instead: no OpenGL is needed."""
    seen = []

    def note(env):
        seen.append(env.batch.bind("qpos")[0].copy())
        return (np.zeros((2, 2, 3), np.uint8),)

    monkeypatch.setattr(films, "_picture", note)
    return seen


def test_a_drawn_task_is_held_out_and_a_given_one_is_completed_with_nominal_values():
    drawn = choose_task(DISTRIBUTION, RenderConfig(seed=3), None)
    for parameter in DISTRIBUTION.parameters:
        value = drawn[parameter.name][0]
        assert any(low <= value <= high for low, high in parameter.extrapolation)
    assert choose_task(DISTRIBUTION, RenderConfig(seed=3), None) == drawn
    given = choose_task(DISTRIBUTION, RenderConfig(), {"block_mass_kg": 1.5})
    assert given.to_dicts() == [{"block_mass_kg": 1.5, "pad_friction": 0.5}]
    with pytest.raises(TaskError, match="block_mass_kg"):
        choose_task(DISTRIBUTION, RenderConfig(), {"block_mas_kg": 1.5})


def test_a_task_is_drawn_from_the_last_split_there_is():
    cheetah = FAMILIES["metarobot/HalfCheetahDirection-v0"].distribution
    assert cheetah["direction"].name in choose_task(cheetah, RenderConfig(), None).names
    with pytest.raises(TaskError, match="direction has no extrapolation split, allowed: train"):
        choose_task(cheetah, RenderConfig(split="extrapolation"), None)


def test_the_filmed_episode_is_the_collected_one(trained, camera):
    env = make_env(GRIP, 1, num_threads=1)
    start = np.full((1, 1, env.start_size), 0.3)
    clip = film(env, trained, repeat_params(trained.params, 1), start, "before")
    assert len(clip.frames) == 1 + FRAMES_PER_STEP * env.horizon
    end = camera[-1]

    with torch.no_grad():
        observation, _ = env.reset(options={"start": start[0]})
        rewards = []
        for _ in range(env.horizon):
            mean = act_alone(trained.policy, trained.params, torch.from_numpy(observation))[0]
            observation, reward, *_ = env.step(mean.numpy())
            rewards.append(reward[0])
    assert clip.rewards == pytest.approx(rewards, abs=1e-6)
    assert end == pytest.approx(env.batch.bind("qpos")[0], abs=1e-6)


def test_pictures_between_steps_lie_between(trained, camera):
    env = make_env(GRIP, 1, num_threads=1)
    start = np.full((1, 1, env.start_size), 0.3)
    film(env, trained, repeat_params(trained.params, 1), start, "before")
    tool = np.array(camera)[:, env.model.joint("finger_left").qposadr[0]]
    for index in range(0, len(tool) - 1, FRAMES_PER_STEP):
        piece = tool[index : index + FRAMES_PER_STEP + 1]
        assert piece == pytest.approx(np.linspace(piece[0], piece[-1], len(piece)), abs=1e-9)
    block = env.model.joint("block").qposadr[0]
    turns = np.array(camera)[:, block + 3 : block + 7]
    assert np.linalg.norm(turns, axis=1) == pytest.approx(1.0, abs=1e-6)


def test_adaptation_changes_the_policy_and_is_repeatable(trained):
    tasks = choose_task(DISTRIBUTION, RenderConfig(), {"block_mass_kg": 1.5})
    config = RenderConfig(adaptation_episodes=(2, 4))
    adapted, again = (adapt_to(GRIP, tasks, trained, config) for _ in range(2))
    two, four = adapted[2], adapted[4]
    assert [*adapted] == [0, 2, 4]
    assert all(torch.equal(four[name], again[4][name]) for name in four)
    assert not torch.equal(four["log_std"], trained.params["log_std"][None])
    assert not torch.equal(four["log_std"], two["log_std"])


def test_a_policy_with_a_memory_is_adapted_and_filmed(camera):
    config = train_config(env_id=GRIP, algorithm="rl2", hidden_sizes=(4, 4))
    env = make_env(GRIP, 1, num_threads=1)
    policy = make_policy(config)
    params = policy.initial_params(torch.Generator().manual_seed(0))
    params["head.weight"] *= 30.0
    trained = TrainedPolicy(policy, params, config)
    tasks = choose_task(DISTRIBUTION, RenderConfig(), {"block_mass_kg": 1.5})
    adapted = adapt_to(GRIP, tasks, trained, RenderConfig(adaptation_episodes=(2,)))[2]
    assert adapted["memory"].any()
    env.set_tasks(tasks)
    start = np.full((1, 1, env.start_size), 0.3)
    before, after = (
        film(env, trained, tree, start, "") for tree in (repeat_params(params, 1), adapted)
    )
    assert before.rewards != after.rewards


def test_a_run_without_the_algorithm_that_adapts(trained, tmp_path):
    oracle = replace(trained, config=replace(trained.config, algorithm="oracle"))
    run = TrainedRun(path=tmp_path, seed=0, env_id=GRIP, policies={"oracle": oracle})
    with pytest.raises(RunError, match=r"holds no algorithm that adapts, only oracle$"):
        rendering.render_adaptation(run, tmp_path / "film.mp4")
    run.policies.update(promp=trained, rl2=trained)
    for name in ("maml", "oracle"):
        words = rf"holds no {name} that adapts: --algorithm shows one of promp,"
        with pytest.raises(RunError, match=words):
            rendering.render_adaptation(run, tmp_path / "film.mp4", RenderConfig(algorithm=name))


@pytest.mark.parametrize("algorithm", ["promp", None])
def test_any_algorithm_that_adapts_is_filmed(trained, camera, tmp_path, monkeypatch, algorithm):
    shown = []
    monkeypatch.setattr(rendering, "write_clips", lambda clips, *_: shown.extend(clips))
    run = TrainedRun(path=tmp_path, seed=0, env_id=GRIP, policies={"promp": trained})
    config = RenderConfig(algorithm=algorithm)
    result = rendering.render_adaptation(run, tmp_path / "film.mp4", config)
    captions = [clip.caption for clip in shown]
    assert captions == ["before adapting", "after 1 episode", "after 5 episodes"]
    assert tuple(float(np.sum(clip.rewards)) for clip in shown) == result.returns


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("adaptation_episodes", numbers) for numbers in [(), (-1,), (1, 2, 3, 4), (1.5,), 5]),
        ("seed", -1),
        ("slow_motion", float("nan")),
        ("contact_forces", 1),
    ],
)
def test_bad_numbers_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        RenderConfig(**{field: value})
