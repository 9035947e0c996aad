"""The Python API, as the README shows it."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch

import metarobot as mr
from metarobot.evaluation.protocol import COMPARISON

SIZES = {"num_tasks": 2, "episodes_per_task": 3, "total_steps": 64, "hidden_sizes": (4,)}


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
    assert len(mr.__all__) <= 22
    assert set(mr.__all__) <= set(dir(mr))
    for name in set(mr.__all__) - {"__version__", "envs"}:
        assert getattr(mr, name).__doc__
    for name in ("nothing", "load"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(mr, name)


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
        (
            lambda: mr.evaluate("slide", out="x", num_task=1),
            "unknown option 'num_task': nearest is",
        ),
        (lambda: mr.compare("slide", out="x", seeds=[1, 1], algorithms=["maml"]), "seeds must be"),
        (lambda: mr.compare("slide", out="x", jobs=0), "jobs must be an integer in"),
        (lambda: mr.render("slide", "film.mp4", slow=1), "unknown option 'slow': nearest is"),
        (lambda: mr.explain("slide", "x", num_task=1), "unknown option 'num_task': nearest is"),
        (lambda: mr.export("slide", "x.pt"), "out must end in .onnx, in .zip"),
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


@pytest.mark.usefixtures("quick_pages")
def test_a_script_compares_with_no_guard_and_no_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = replace(
        COMPARISON, num_tasks=2, adaptation_episodes=(1,), num_blocks=0, splits=("train",)
    )
    again = {"algorithms": ["maml"], "seeds": [0, 1], "evaluation": few, **SIZES}
    found = mr.compare("slide", out="compared", **again)
    assert found.seeds == (0, 1)
    assert sorted(mr.load_run("compared/slide-seed1")) == ["maml"]
    assert mr.compare("slide", out="compared", **again).rows == found.rows


def test_the_families_are_a_table():
    table = mr.list_families()
    assert list(table.columns) == ["env_id", "task", "parameters", "policies"]
    assert table.loc["grip"].tolist()[::2] == ["metarobot/Grip-v0", "block_mass_kg, pad_friction"]
    assert "latent" in table.loc["panda", "policies"]
    for name, policies in table["policies"].items():
        assert not policies or sorted(policies.split(", ")) == sorted(mr.load_run(name))


def test_a_policy_and_a_run_are_exported_by_the_ending(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("stable_baselines3")
    assert mr.export(mr.load_policy("slide", "maml"), tmp_path / "policy.onnx") == "maml"
    assert mr.export(mr.load_run("slide"), tmp_path / "model.zip") == "maml"
