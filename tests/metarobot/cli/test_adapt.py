"""`metarobot adapt`, on a robot of one's own and on the family's simulation."""

import shutil

import numpy as np
import pytest

import metarobot as mr
from metarobot.cli.main import main

MODULE = """
import gymnasium as gym, numpy as np
from metarobot.envs import FAMILIES

class Robot(gym.Env):
    def __init__(self):
        like = gym.make("metarobot/Slide-v0")
        self.observation_space, self.action_space = like.observation_space, like.action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.observation_space.high.copy(), {}

    def step(self, action):
        self.t += 1
        reward = -float(np.abs(action).sum())
        return self.observation_space.low.copy(), reward, self.t == 3, False, {}

gym.register("my/Robot-v0", Robot)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "slide"
    sizes = {"num_tasks": 2, "episodes_per_task": 2, "total_steps": 64, "hidden_sizes": (4,)}
    return mr.train("slide", algorithms=["maml", "rl2", "oracle"], out=folder, **sizes)


def adapt(run, out, *options):
    return main(["adapt", str(run), "--episodes", "2", "--out", str(out), *options])


def test_a_robot_of_ones_own(run, tmp_path, monkeypatch):
    (tmp_path / "my_robot_module.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    env = ["--env", "my_robot_module:my/Robot-v0"]
    assert adapt(run.path, "adapted.safetensors", *env) == 0
    assert adapt("adapted.safetensors", "twice.safetensors", *env, "--steps", "2") == 0
    adapted = mr.load("twice.safetensors")
    assert (adapted.adaptation_steps, adapted.num_episodes) == (3, 6)
    assert adapted.act(np.zeros(len(adapted.interface.observation_low))).shape == (
        adapted.interface.action_size,
    )


def test_who_adapts_is_said_where_several_could(run, tmp_path, capsys):
    task, out = ("--task", "puck_mass_kg=0.3"), tmp_path / "adapted.safetensors"
    assert adapt(run.path, out, *task) == 0
    assert mr.load(out).config.algorithm == "maml"
    assert "maml adapts; --algorithm takes another: rl2" in capsys.readouterr().out.splitlines()
    assert adapt(run.path, out, *task, "--algorithm", "maml") == 0
    assert adapt(out, tmp_path / "again.safetensors", *task) == 0
    assert "--algorithm" not in capsys.readouterr().out


def test_a_run_in_which_nobody_adapts_is_one_line(run, tmp_path, capsys):
    shutil.copytree(run.path / "oracle", tmp_path / "alone" / "oracle")
    assert adapt(tmp_path / "alone", tmp_path / "adapted.safetensors") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("alone holds no algorithm that adapts, only oracle")


@pytest.mark.parametrize("algorithm", ["maml", "rl2"])
def test_a_task_of_the_family(run, tmp_path, algorithm):
    out = tmp_path / "adapted.safetensors"
    assert adapt(run.path, out, "--algorithm", algorithm, "--task", "puck_mass_kg=0.3") == 0
    assert mr.load(out).num_episodes == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--env", "nowhere_module:x/Y-v0"], "--env nowhere_module:x/Y-v0: "),
        (["--env", "my/NoRobot-v0"], "--env my/NoRobot-v0: "),
        (["--env", "metarobot/Grip-v0"], "the robot's observations are of shape"),
        (["--algorithm", "promp"], "holds no promp, only maml, rl2, oracle"),
        (["--algorithm", "oracle"], "oracle does not adapt: take one of"),
        (["--task", "puck_mass_kg=99"], "puck_mass_kg"),
        (["--env", "metarobot/Slide-v0", "--task", "puck_mass_kg=0.3"], "leave it out with --env"),
        (["--steps", "0"], "steps must be an integer in"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(run, tmp_path, capsys, options, words):
    out = tmp_path / "adapted.safetensors"
    assert adapt(run.path, out, *options) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not out.exists()
