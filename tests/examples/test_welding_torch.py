"""A user's scene is trained in, evaluated and filmed; it stays the scene that it was."""

import json
import shutil
from pathlib import Path

import pytest

from metarobot.cli.main import main
from metarobot.config import RunConfig
from metarobot.envs import SceneError, SceneRecord, TaskVectorEnv, make_env
from metarobot.envs.scene import load_recorded_scene
from metarobot.training.load import find_scene, load_run
from metarobot.training.run import train_run

FOLDER = Path(__file__).parents[2] / "examples" / "welding_torch"
REACH = "metarobot/Reach-v0"
SIZES = ["--num-tasks", "2", "--episodes-per-task", "2", "--hidden-sizes", "4"]
FEW_TASKS = ["--num-tasks", "2", "--grid-size", "2", "--test-episodes", "1"]
MEASURED = [*FEW_TASKS, "--num-blocks", "0", "--no-heat-map", "--no-robustness"]
MEASURED += ["--adaptation-episodes", "1"]
MEASURED += ["--splits", "extrapolation"]


@pytest.fixture
def torch_folder(tmp_path, monkeypatch):
    """A copy of the scene, and the folder that commands run in."""
    shutil.copytree(FOLDER, tmp_path / "welding")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def scenes(monkeypatch):
    """What every environment that is made loads."""
    seen = []
    load = TaskVectorEnv._load_model

    def noted(env, scene):
        seen.append(scene)
        return load(env, scene)

    monkeypatch.setattr(TaskVectorEnv, "_load_model", noted)
    return seen


def one_error_line(capfd):
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("metarobot: error: ")
    return line


@pytest.mark.usefixtures("quick_pages")
def test_every_command_stays_in_the_scene(torch_folder, scenes, capfd):
    train = ["train", "reach", "--scene", "welding/scene.xml", "--total-steps", "1", *SIZES]
    train += ["--algorithms", "maml"]
    assert main([*train, "--out", "run"]) == 0
    record = SceneRecord.of("welding/scene.xml")
    saved = json.loads((torch_folder / "run" / "maml" / "config.json").read_text())
    assert saved["train"]["scene"] == record.to_dict()
    assert main(["train", "--resume", "run", "--total-steps", "161"]) == 0
    assert main(["evaluate", "run", "--out", "results", *MEASURED, "--films", "0"]) == 0
    assert main(["render", "run", "--out", "a.mp4", "--adaptation-episodes", "2"]) == 0
    assert {*scenes} == {record}

    shutil.move("welding", "moved")
    load_recorded_scene.cache_clear()  # as in another process
    capfd.readouterr()
    assert main(["render", "run", "--out", "b.mp4"]) == 2
    assert "welding/scene.xml" in one_error_line(capfd)
    moved = find_scene(load_run(Path("run")), Path("moved/scene.xml"))
    make_env(REACH, 1, num_threads=1, scene_path=moved.scene).close()


def test_a_scene_that_has_changed_is_refused(torch_folder, capfd):
    record = SceneRecord.of("welding/scene.xml")
    config = RunConfig(env_id=REACH, total_steps=1, num_tasks=2, episodes_per_task=2)
    config = RunConfig(**{**vars(config), "scene": record})
    train_run(config, ["maml"], torch_folder / "run")
    assert load_run(torch_folder / "run").scene == record
    path = torch_folder / "welding" / "torch.xml"  # which the scene only includes
    path.write_text(path.read_text().replace("0.", "0.0", 1))
    with pytest.raises(SceneError, match="has changed since the run recorded it"):
        make_env(REACH, 1, scene_path=SceneRecord(path=record.path, sha256=record.sha256[::-1]))
    assert main(["render", "run", "--scene", "welding/scene.xml"]) == 2
    assert "another scene than that of the run" in one_error_line(capfd)


def test_a_run_in_the_familys_own_scene_takes_no_other(torch_folder, capfd):
    config = RunConfig(env_id=REACH, total_steps=1, num_tasks=2, episodes_per_task=2)
    train_run(config, ["maml"], torch_folder / "run")
    assert main(["render", "run", "--scene", "welding/scene.xml"]) == 2
    assert "was trained in the family's own scene" in one_error_line(capfd)
