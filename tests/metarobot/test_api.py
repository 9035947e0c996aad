"""The Python API, as the README shows it."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

import metarobot as mr

SIZES = {"num_tasks": 2, "episodes_per_task": 2, "total_steps": 64, "hidden_sizes": (4,)}


def test_the_block_of_the_readme(tmp_path, monkeypatch, capsys, opengl):
    monkeypatch.chdir(tmp_path)
    mr.train("slide", seed=0, **SIZES)
    assert "iteration" in capsys.readouterr().out
    policy = mr.load("runs/slide-seed0")["maml"]
    robot = gym.make("metarobot/Slide-v0")
    adapted = policy.adapt(robot, episodes=5)
    assert "adapting: episode 5 of 5" in capsys.readouterr().err
    observation, _ = robot.reset()
    assert robot.action_space.contains(adapted.act(observation))
    small = {"num_tasks": 2, "episodes_per_step": 2, "deterministic_episodes": 1, "grid_size": 2}
    mr.evaluate("runs/slide-seed0", out="results/slide", num_adaptation_steps=1, **small)
    mr.render(adapted, "after.mp4")
    adapted.save("adapted.safetensors")
    again = mr.load("adapted.safetensors")
    np.testing.assert_array_equal(again.act(observation), adapted.act(observation))
    assert (tmp_path / "results/slide/report.html").exists()
    assert (tmp_path / "after.mp4").stat().st_size > 1000


def test_a_native_batch_is_a_robot_too():
    policy = mr.load("docs/results/slide/slide-seed0")["maml"]
    adapted = policy.adapt(gym.make_vec("metarobot/Slide-v0", num_envs=3), episodes=5)
    assert adapted.num_episodes == 5


def test_every_public_name_is_there_and_says_how_it_is_used():
    assert len(mr.__all__) <= 12
    assert set(mr.__all__) <= set(dir(mr))
    for name in set(mr.__all__) - {"__version__", "envs"}:
        assert getattr(mr, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mr.nothing  # noqa: B018


def test_an_import_registers_the_families_and_brings_no_torch():
    code = (
        "import sys, metarobot, gymnasium; assert 'torch' not in sys.modules;"
        "gymnasium.make('metarobot/Grip-v0').close()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mr.train("nothing"), "no preset 'nothing', allowed: reach"),
        (lambda: mr.train("slide", algorithms=["nobody"]), "must be one of maml"),
        (lambda: mr.train("slide", total_steps=0), "total_steps must be"),
        (lambda: mr.render(None, "film.avi"), "must end in .mp4, got film.avi"),
    ],
)
def test_what_is_wrong_is_one_line(call, words):
    with pytest.raises(ValueError, match=words):
        call()
