"""A family of Gymnasium's environments in the commands: as a native one, also when one dies."""

from functools import partial
from unittest.mock import patch

import gymnasium as gym
import pytest
from outside_drive import Drive

from metarobot.algorithms import train_config
from metarobot.cli.main import main
from metarobot.envs import FAMILIES, TaskDistribution, TaskParameter, register_family
from metarobot.training.trainer import num_simulations

GAIN = TaskParameter(
    name="gain",
    unit="1",
    description="gain of the drive",
    nominal=1.0,
    train=(0.5, 1.5),
    gaps=((0.8, 1.0),),
    extrapolation=((1.5, 2.0),),
    allowed=(0.1, 5.0),
)
FAMILY = "outside/Drive-v0"
SIZES = ["--num-tasks", "2", "--episodes-per-task", "6", "--hidden-sizes", "4"]


@pytest.fixture(autouse=True)
def family(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with patch.dict(FAMILIES), patch.dict(gym.registry):
        register_family(
            FAMILY,
            env=partial(Drive, tmp_path / "doomed"),
            distribution=TaskDistribution((GAIN,)),
            horizon=5,
            envs_per_task=2,
        )
        yield


@pytest.mark.usefixtures("quick_pages")
def test_every_command_takes_it():
    learners = ["latent", "maml", "rl2", "domain_randomisation", "oracle"]
    assert main(["train", FAMILY, "--algorithms", *learners, "--total-steps", "1", *SIZES]) == 0
    few = ["--num-tasks", "2", "--test-episodes", "1", "--adaptation-episodes", "1", "3"]
    run = "runs/drive-seed0"
    assert main(["evaluate", run, *few, "--num-blocks", "0", "--out", "results"]) == 0
    task = ["--task", "gain=1.7"]
    adapting = ["adapt", run, "--episodes", "2", *task, "--out", "a.safetensors"]
    assert main(adapting) == 0
    assert main(["export", run, "--out", "policy.onnx"]) == 0
    assert main(["list", FAMILY]) == 0
    assert main(["play", run]) == 2


def test_episodes_in_rounds_are_those_side_by_side():
    config = train_config(env_id=FAMILY, num_tasks=3, episodes_per_task=5)
    assert num_simulations(config) == 3 * 2  # instead of 3 x 5
    with patch.object(FAMILIES[FAMILY], "envs_per_task", 5):
        assert num_simulations(config) == 15


@pytest.mark.parametrize("algorithm", ["latent", "maml"])
def test_rounds_change_no_training(algorithm, tmp_path):
    words = ["train", FAMILY, "--algorithms", algorithm, "--total-steps", "200", *SIZES]
    assert main([*words, "--out", "rounds"]) == 0
    with patch.object(FAMILIES[FAMILY], "envs_per_task", 6):
        assert main([*words, "--out", "together", "--num-threads", "2"]) == 0
    rounds, together = (
        (tmp_path / run / algorithm / "policy.safetensors").read_bytes()
        for run in ("rounds", "together")
    )
    assert rounds == together


def test_a_process_that_dies_ends_the_run_in_one_line_and_it_goes_on(tmp_path, capsys):
    words = ["--algorithms", "maml", "--total-steps", "2400", "--num-threads", "1", *SIZES]
    (tmp_path / "doomed").touch()
    assert main(["train", FAMILY, *words, "--out", "run"]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "a process of its environments has ended in step() (exit code 1)" in line
    assert line.endswith("`metarobot train --resume run` goes on from the last checkpoint")
    (tmp_path / "doomed").unlink()
    assert main(["train", "--resume", "run"]) == 0
