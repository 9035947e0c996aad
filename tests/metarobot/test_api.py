"""The Python API, as the README shows it."""

import gymnasium as gym
import numpy as np
import pytest
import torch

import metarobot as mr

SIZES = {"num_tasks": 2, "episodes_per_task": 2, "total_steps": 64, "hidden_sizes": (4,)}


def test_train_shows_its_progress_and_returns_what_load_reads(tmp_path, capsys):
    run = mr.train("slide", algorithms=["maml"], out=tmp_path / "run", seed=3, **SIZES)
    assert "iteration" in capsys.readouterr().out
    assert list(run) == list(mr.load_run(tmp_path / "run")) == ["maml"]
    policy = run["maml"]
    adapted = policy.adapt(gym.make("metarobot/Slide-v0"), episodes=5)
    assert "adapting: episode 5 of 5" in capsys.readouterr().err
    with pytest.raises(KeyError, match="holds no 'promp', only maml"):
        run["promp"]
    adapted.save(tmp_path / "adapted.safetensors")
    seen = np.zeros(len(policy.interface.observation_low))
    loaded = mr.load_policy(tmp_path / "adapted.safetensors")
    np.testing.assert_array_equal(loaded.act(seen), adapted.act(seen))


def test_a_native_batch_is_a_robot_too():
    policy = mr.load_policy("slide", "maml")
    adapted = policy.adapt(gym.make_vec("metarobot/Slide-v0", num_envs=3), episodes=5)
    assert adapted.num_episodes == 5


def test_every_public_name_is_there_and_says_how_it_is_used():
    assert len(mr.__all__) <= 20
    assert set(mr.__all__) <= set(dir(mr))
    for name in set(mr.__all__) - {"__version__", "envs"}:
        assert getattr(mr, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mr.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mr.train("nothing"), "no preset 'nothing', allowed: reach"),
        (lambda: mr.train("slide", algorithms=["nobody"]), "must be one of maml"),
        (lambda: mr.train("slide", total_steps=0), "total_steps must be"),
        (lambda: mr.train("slide", total_step=1), "unknown field or option 'total_step': nearest"),
        (lambda: mr.train("slide", clip_ratio=0.1), "clip_ratio is read by maml_ppo, promp, none"),
        (lambda: mr.load_policy("slide", "promp"), "holds no promp, only maml, latent"),
        (lambda: mr.load_policy("slide.safetensors", best=True), "holds one policy: best goes"),
        (lambda: mr.render(None, "film.avi"), "must end in .mp4, .webp or .gif, got film.avi"),
    ],
)
def test_what_is_wrong_is_one_line(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def _train_adapt_and_act(folder) -> list[np.ndarray]:
    run = mr.train("slide", algorithms=["maml", "latent"], out=folder, seed=3, **SIZES)
    env = gym.make("metarobot/Slide-v0")
    return [_in_a_loop_of_its_own(policy, env) for policy in (run["maml"], run["latent"])]


def _in_a_loop_of_its_own(policy, env) -> np.ndarray:
    session = policy.session(episodes=2)
    while not session.complete:
        session.begin()
        seen, _ = env.reset(seed=session.num_recorded)
        while session.running:
            seen, reward, *over, _ = env.step(session.act(seen))
            session.record(float(reward), *over)
    return session.adapt().act(seen)


def test_a_default_of_the_callers_own_changes_nothing(tmp_path, double_precision):
    there = _train_adapt_and_act(tmp_path / "double")
    assert torch.get_default_dtype() == torch.float64
    torch.set_default_dtype(torch.float32)
    np.testing.assert_allclose(there, _train_adapt_and_act(tmp_path / "single"), atol=1e-6)
    double, single = (mr.load_run(tmp_path / name) for name in ("double", "single"))
    for name, policy in single.items():
        for leaf, value in policy.params.items():
            torch.testing.assert_close(double[name].params[leaf], value, rtol=0, atol=0)


def test_floating_point_errors_that_raise_are_none_of_ours():
    policy = mr.load_policy("insert", "latent")
    with np.errstate(all="raise"):
        adapted = policy.adapt(gym.make("metarobot/Insert-v0"), episodes=5)
        adapted.act(np.zeros(len(policy.interface.observation_low)))
