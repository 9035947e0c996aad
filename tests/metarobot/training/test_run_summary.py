"""What `metarobot runs` tells of run folders."""

import json
import shutil
from pathlib import Path

import pytest

from metarobot.cli.main import main
from metarobot.config import RunConfig
from metarobot.io import Folder
from metarobot.training.run import train_run
from metarobot.training.run_folder import find_runs, summarise_run

CONFIG = RunConfig(
    env_id="metarobot/Slide-v0", total_steps=320, num_tasks=2, episodes_per_task=2, num_threads=1
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "slide"
    train_run(CONFIG, ["oracle"], run)
    return run


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "below" / "slide"))


def test_a_trained_run(run):
    (summary,) = summarise_run(run)
    done = json.loads((run / "oracle/done.json").read_text())
    assert (summary.finished, summary.training) == (True, False)
    assert summary.steps == done["total_steps"] >= CONFIG.total_steps
    assert 0 < summary.seconds <= done["seconds"]
    assert summary.post_return is not None
    assert summary.post_return < 0


def test_a_run_that_was_stopped_and_one_that_goes_on(run, capfd):
    curve = run / "oracle/curve.csv"
    rows = curve.read_text().splitlines(keepends=True)
    curve.write_text("".join(rows[:3]))
    (run / "oracle/done.json").unlink()
    (summary,) = summarise_run(run)
    assert (summary.finished, summary.training) == (False, False)
    assert summary.steps == int(rows[2].split(",")[1])
    with (Folder.named(run) / "oracle").lock():
        (held,) = summarise_run(run)
        assert held.training
        assert main(["runs", str(run)]) == 0
    part = f"{summary.steps / CONFIG.total_steps:.0%}"
    assert f"training, {part}" in capfd.readouterr().out
    assert main(["runs", str(run)]) == 0
    assert f"stopped at {part}" in capfd.readouterr().out


def test_runs_are_found_in_folders_of_folders(run, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a").write_text("b")
    (tmp_path / "link").symlink_to(run)
    assert [*find_runs(tmp_path)] == [*find_runs(run)] == [run]
    assert not [*find_runs(tmp_path, depth=1)]


def test_a_damaged_run_hides_no_other(run, tmp_path, capfd):
    damaged = Path(shutil.copytree(run, tmp_path / "damaged"))
    (damaged / "oracle/config.json").write_text("{")
    assert main(["runs", str(tmp_path)]) == 2
    output = capfd.readouterr()
    assert "slide" in output.out
    assert output.err.count("\n") == 1
    assert "damaged/oracle/config.json is not JSON" in output.err
