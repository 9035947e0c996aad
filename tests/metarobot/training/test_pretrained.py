"""The policies that come with the package."""

import zlib
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import ship

import metarobot as mr
from metarobot.config import PRESETS
from metarobot.evaluation.table import Evaluation
from metarobot.io import read_json
from metarobot.training.load import find_run, load_run
from metarobot.training.run_folder import EVALUATION_FILE, FOLDER, RunError, pretrained_names

MOST_BYTES = 3_000_000


@pytest.mark.parametrize("name", pretrained_names())
def test_a_name_is_a_run_of_its_family(name) -> None:
    run = load_run(Path(name))
    assert {*run.policies} == {*ship.shipped_algorithms(name)}
    assert run.env_id == PRESETS[name].env_id
    assert run.seed == 0
    assert not run.unfinished


@pytest.mark.parametrize("name", pretrained_names())
def test_what_was_measured_lies_beside_it(name) -> None:
    evaluation = Evaluation.from_dict(read_json(FOLDER / name / EVALUATION_FILE))
    assert evaluation.family == PRESETS[name].env_id
    assert {policy.algorithm for policy in evaluation.policies} >= {*ship.shipped_algorithms(name)}


def test_they_are_small() -> None:
    """As they are packed in a wheel."""
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert len(files) >= 14 * len(pretrained_names()) > 0
    assert sum(len(zlib.compress(file.read_bytes())) for file in files) < MOST_BYTES


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = pretrained_names()[0]
    assert find_run(Path(name)) == FOLDER / name
    (tmp_path / name).mkdir()
    assert find_run(Path(name)) == Path(name)
    with pytest.raises(RunError, match="is not a run folder"):
        mr.load_run(name)


@pytest.mark.parametrize(
    ("seen", "done", "earned"), [(1, 1, 1), (np.rad2deg(1.0), 1, 1), (1, -1, 1), (1, 1, 100)]
)
def test_a_robot_that_no_task_explains_is_noticed(seen, done, earned) -> None:
    """Observations in degrees, actions of the other sign, rewards in another unit."""

    class Changed(gym.Wrapper):
        def reset(self, **options):
            observation, info = super().reset(**options)
            return seen * observation, info

        def step(self, action):
            observation, reward, *ended = super().step(np.float32(done * action))
            return seen * observation, earned * reward, *ended

    policy, robot = mr.load_policy("push"), Changed(gym.make("metarobot/Push-v0"))
    report = policy.adapt(robot, episodes=2, progress=False).report()
    assert report.fits == (seen == done == earned == 1)
    assert ("nothing in this family explains" in str(report)) == (not report.fits)
