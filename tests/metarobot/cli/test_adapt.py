"""`metarobot adapt`, on a robot of one's own and on the family's simulation."""

import gymnasium as gym
import numpy as np
import pytest
import torch

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

class Failing(Robot):
    at, error = 5, RuntimeError("driver lost\\nat port 3")  # in the second episode
    num_steps = 0

    def step(self, action):
        self.num_steps += 1
        if self.num_steps == self.at:
            raise self.error
        return super().step(action)

    def close(self):
        raise OSError("port is gone")

class FailingFirst(Failing):
    at = 2

class FailingLate(Failing):
    at = 11

class Stopped(Failing):
    error = KeyboardInterrupt()

class Absent(Robot):
    def __init__(self):
        raise RuntimeError("no robot")

for each in (Robot, Failing, FailingFirst, FailingLate, Stopped, Absent):
    gym.register(f"my/{each.__name__}-v0", each)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "slide"
    sizes = {"num_tasks": 2, "episodes_per_task": 2, "total_steps": 64, "hidden_sizes": (4,)}
    return mr.train("slide", algorithms=["maml", "rl2", "oracle"], out=folder, **sizes)


def adapt(run, out, *options):
    number = () if "--episodes" in options else ("--episodes", "2")
    return main(["adapt", str(run), *number, "--out", str(out), *options])


def test_a_robot_of_ones_own(run, tmp_path, monkeypatch):
    (tmp_path / "my_robot_module.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    env = ["--env", "my_robot_module:my/Robot-v0"]
    assert adapt(run.path, "adapted.safetensors", *env) == 0
    assert adapt("adapted.safetensors", "twice.safetensors", *env, "--steps", "2") == 0
    adapted = mr.load_policy("twice.safetensors")
    assert (adapted.adaptation_steps, adapted.num_episodes) == (3, 6)
    assert adapted.act(np.zeros(len(adapted.interface.observation_low))).shape == (
        adapted.interface.action_size,
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--env", "nowhere_module:x/Y-v0"], "--env nowhere_module:x/Y-v0: "),
        (["--env", "my/NoRobot-v0"], "--env my/NoRobot-v0: "),
        (["--env", "metarobot/Grip-v0"], "the robot's observations are of shape"),
        (["--algorithm", "promp"], "holds no promp that adapts, only maml, rl2"),
        (["--algorithm", "oracle"], "holds no oracle that adapts, only maml, rl2\n"),
        (["--task", "puck_mass_kg=99"], "puck_mass_kg"),
        (["--env", "metarobot/Slide-v0", "--task", "puck_mass_kg=0.3"], "leave it out with --env"),
        (["--steps", "0"], "steps must be an integer in"),
        (["--episodes", "all"], "--episodes takes an integer or auto, got 'all'"),
        (["--episodes", "auto"], "maml has no belief that tells when to stop: name episodes"),
        (["--compare", "1"], "compare must be an integer in [2, 10000], got 1"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(run, tmp_path, capsys, options, words):
    out = tmp_path / "adapted.safetensors"
    assert adapt(run.path, out, *options) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_robot_module.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return "my_robot_module"


def complaints(capsys):
    """What was said on stderr beside the progress."""
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if not line.startswith(("adapting: ", "comparing: "))]


def test_whether_it_has_helped_is_printed(run, module, tmp_path, capsys):
    out = tmp_path / "a.safetensors"
    assert adapt(run.path, out, "--compare", "3") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3] == f"adapted by 2 episodes: {out}"
    assert lines[-2].startswith("maml, adapted to 2 episodes, return ")
    assert lines[-1].startswith("not yet to be told after 3 pairs: ")
    assert adapt(run.path, out, "--env", f"{module}:my/FailingLate-v0", "--compare", "3") == 2
    failed = "metarobot: error: the robot failed in comparison episode 2: RuntimeError: driver lost"
    assert complaints(capsys)[-1].startswith(failed)
    assert mr.load_policy(out).num_episodes == 2
    assert (
        main(["adapt", str(run.path), "--log", "x.csv", "--out", str(out), "--compare", "3"]) == 2
    )
    assert "--compare is for a robot: leave it out with --log" in capsys.readouterr().err


def test_a_robot_that_fails_is_one_line_that_names_the_episode(run, module, capsys):
    assert adapt(run.path, "a.safetensors", "--env", f"{module}:my/FailingFirst-v0") == 2
    failed = "metarobot: error: the robot failed in adaptation episode {}: RuntimeError: driver {}"
    not_closed = "metarobot: note: the robot could not be closed: OSError: port is gone"
    assert complaints(capsys) == [not_closed, failed.format(1, "lost at port 3")]
    assert adapt(run.path, "a.safetensors", "--env", f"{module}:my/Failing-v0") == 2
    kept = "a.safetensors is adapted to the episodes that the robot completed: 1"
    expected = [f"metarobot: note: {kept}", not_closed, failed.format(2, "lost at port 3")]
    assert complaints(capsys) == expected
    assert adapt(run.path, "a.safetensors", "--env", f"{module}:my/Stopped-v0") == 130
    beside = kept.replace("a.safe", "a-partial-1.safe") + "; a.safetensors stays as it was"
    assert complaints(capsys) == [
        f"metarobot: note: {beside}",
        not_closed,
        "metarobot: interrupted",
    ]
    assert adapt(run.path, "a.safetensors", "--env", f"{module}:my/Absent-v0") == 2
    assert complaints(capsys) == [
        f"metarobot: error: --env {module}:my/Absent-v0: RuntimeError: no robot"
    ]


def test_what_a_robot_has_shown_before_it_failed_is_learned_from(run, module, tmp_path):
    """In the second episode of the first step, and of the second."""
    algorithm = "rl2"
    policy, kept = run[algorithm], []
    whole = gym.make(f"{module}:my/Robot-v0")
    policy.explore(whole, episodes=2, progress=False, on_ended=kept.append)
    out, named = tmp_path / "a.safetensors", ("--algorithm", algorithm)
    assert adapt(run.path, out, "--env", f"{module}:my/Failing-v0", *named) == 2
    assert same(mr.load_policy(out), policy.adapt_from(kept[0]))

    one_step = policy.adapt(whole, episodes=2, progress=False)
    kept.clear()
    one_step.explore(whole, episodes=2, progress=False, on_ended=kept.append)
    out.unlink()
    more = ("--env", f"{module}:my/FailingLate-v0", "--steps", "2")
    assert adapt(run.path, out, *more, *named) == 2
    assert same(mr.load_policy(out), one_step.adapt_from(kept[0]))
    assert mr.load_policy(out).num_episodes == 3


def same(one, other):
    """Whether two policies are the same, bit for bit."""
    return all(torch.equal(leaf, other.params[name]) for name, leaf in one.params.items())


def test_nowhere_to_write_is_said_before_robots_move(run, module, tmp_path, capsys, monkeypatch):
    robot = ("--env", f"{module}:my/FailingFirst-v0")
    assert adapt(run.path, tmp_path / "nodir" / "a.safetensors", *robot) == 2
    words = f"{tmp_path / 'nodir'}: there is no such folder: make it first"
    assert complaints(capsys) == [f"metarobot: error: {words}"]
    monkeypatch.setattr("os.access", lambda *_: False)
    assert adapt(run.path, tmp_path / "a.safetensors", *robot) == 2
    assert complaints(capsys) == [f"metarobot: error: {tmp_path}: Permission denied"]
