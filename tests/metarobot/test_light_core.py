"""Acting, adapting and reading need no extra; all else names the extra that it lacks."""

import subprocess
import sys

import pytest

EXTRAS = {
    "train": "tensorboard torch.utils.tensorboard matplotlib jinja2 pandas sklearn",
    "film": "imageio imageio_ffmpeg",
    "sb3": "stable_baselines3",
    "play": "viser",
}
BLOCK = f"""
import sys
from pathlib import Path
for name in {" ".join(EXTRAS.values())!r}.split():
    sys.modules[name] = None
"""
CORE = """
import gymnasium as gym
import metarobot as mr
from metarobot.cli.main import main

robot = gym.make("metarobot/Grip-v0")
observation, _ = robot.reset(options={"tasks": {"block_mass_kg": 1.5}})
for algorithm in ("latent", "maml"):
    adapted = mr.load_policy("grip", algorithm).adapt(robot, episodes=2)
    action = adapted.act(observation)
    assert robot.action_space.contains(action)
adapted.save("adapted.safetensors")
assert (mr.load_policy("adapted.safetensors").act(observation) == action).all()
assert main(["list"]) == 0
assert main(["doctor"]) == 0
assert main(["adapt", "grip", "--episodes", "1", "--out", "again.safetensors"]) == 0
"""
COMMANDS = {
    "train grip --out run": "train",
    "demo --out demo": "train",
    "compare grip --out results": "train",
    "evaluate grip --out results": "train",
    "explain grip --out explained": "train",
    "diagnose demo --out diagnosed": "train",
    "render grip --out film.mp4": "film",
    "export grip --format sb3 --out model.zip": "sb3",
    "import model.zip --env-id metarobot/Grip-v0 --out policy.safetensors": "sb3",
    "play grip": "train",
}
"""Each command, and the extra that it needs first."""
CALLS = """
import metarobot as mr
for call, extra in (
    (lambda: mr.train("grip", out="run"), "train"),
    (lambda: mr.evaluate("grip", out="results"), "train"),
    (lambda: mr.render(mr.load_policy("grip", "latent"), "film.mp4"), "film"),
    (lambda: __import__("metarobot.sb3"), "sb3"),
    (lambda: __import__("metarobot.diagnosis.run"), "train"),
):
    try:
        call()
    except ImportError as error:
        assert f"pip install 'metarobot[{extra}]'" in str(error)
    else:
        raise AssertionError(extra)
"""


@pytest.fixture
def run_without_extras(tmp_path):
    def run(code):
        return subprocess.run(
            [sys.executable, "-c", BLOCK + code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_policies_are_read_act_and_adapt(run_without_extras):
    done = run_without_extras(CORE)
    assert done.returncode == 0, done.stderr


def test_every_command_names_the_extra_that_it_lacks(run_without_extras, tmp_path):
    code = f"""
from metarobot.cli.main import main
for command in {[*COMMANDS]!r}:
    assert main(command.split()) == 2, command
"""
    done = run_without_extras(code)
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert len(said) == len(COMMANDS), done.stderr
    for line, (command, extra) in zip(said, COMMANDS.items(), strict=True):
        assert f"needs `pip install 'metarobot[{extra}]'`" in line, (command, line)
    assert [*tmp_path.iterdir()] == []


def test_every_function_names_the_extra_that_it_lacks(run_without_extras, tmp_path):
    done = run_without_extras(CALLS)
    assert done.returncode == 0, done.stderr
    assert [*tmp_path.iterdir()] == []
