import csv
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metarobot import training
from metarobot.config import TrainConfig
from metarobot.files import read_json
from metarobot.meta_trainer import MetaTrainer
from metarobot.run_folder import CURVE_COLUMNS, RunError, load_run
from metarobot.training import choose_num_threads, provenance, train_agent, train_run

TINY = TrainConfig(
    total_steps=200, num_tasks=2, episodes_per_task=2, hidden_sizes=(4,), cg_iterations=2
)
"""2 x 2 episodes of 16 steps: 64 steps a block of episodes."""


class Recorder:
    """A display that remembers what it was told."""

    def __init__(self):
        self.calls = []

    def begin(self, config):
        self.calls.append(f"begin {config.agent}")

    def update(self, metrics):
        self.calls.append(f"update {metrics['time/total_steps']:.0f}")

    def end(self):
        self.calls.append("end")


def test_every_agent_gets_the_same_budget_and_the_display_hears_of_it(tmp_path):
    display = Recorder()
    train_run(TINY, ["maml", "oracle", "maml"], tmp_path / "run", display)
    assert display.calls == [
        *("begin maml", "update 128", "update 256", "end"),
        *("begin oracle", "update 64", "update 128", "update 192", "update 256", "end"),
    ]
    assert sorted(entry.name for entry in (tmp_path / "run").iterdir()) == ["maml", "oracle"]


def test_what_an_agent_leaves_behind(tmp_path):
    train_agent(TINY, tmp_path)
    names = {path.name.partition(".tfevents")[0] for path in tmp_path.iterdir()}
    expected = {"config.json", "policy.safetensors", "curve.csv", "done.json", "events.out"}
    assert names == expected
    done = read_json(tmp_path / "done.json")
    assert (done["iterations"], done["total_steps"]) == (2, 256)
    assert done["seconds"] > 0
    config = read_json(tmp_path / "config.json")
    assert TrainConfig.from_dict(config["train"]) == TINY
    assert set(config) == {"train", "versions", "git_revision", "machine", "command"}


def test_curve_and_tensorboard_hold_the_same_numbers(tmp_path):
    train_agent(TINY, tmp_path)
    with (tmp_path / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    board = EventAccumulator(str(tmp_path)).Reload()
    for column, tag in CURVE_COLUMNS.items():
        events = board.Scalars(tag)
        assert [event.step for event in events] == [128, 256]
        table = [float(row[column]) for row in rows]
        assert [event.value for event in events] == pytest.approx(table, rel=1e-5)


def test_the_same_seed_gives_the_same_policy_and_another_seed_another(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_run(replace(TINY, seed=seed), ["maml"], tmp_path / name)
    a, b, c = (load_run(tmp_path / name).agents["maml"].params for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["layers.0.weight"], c["layers.0.weight"])


def test_a_run_folder_in_use_is_refused(tmp_path):
    train_run(TINY, ["maml"], tmp_path)
    with pytest.raises(RunError, match="not empty"):
        train_run(TINY, ["maml"], tmp_path)
    train_run(replace(TINY, seed=7), ["maml"], tmp_path, overwrite=True)
    assert load_run(tmp_path).seed == 7


def test_an_interruption_leaves_the_last_meta_iteration(tmp_path, monkeypatch):
    step, taken = MetaTrainer.step, []

    def interrupted_step(self):
        if len(taken) == 2:
            raise KeyboardInterrupt
        taken.append(step(self))
        return taken[-1]

    monkeypatch.setattr(MetaTrainer, "step", interrupted_step)
    with pytest.raises(KeyboardInterrupt):
        train_run(replace(TINY, total_steps=10_000), ["maml", "oracle"], tmp_path)
    run = load_run(tmp_path)
    assert run.unfinished == ("maml",)
    assert not (tmp_path / "maml" / "done.json").exists()

    monkeypatch.undo()
    train_run(replace(TINY, total_steps=256), ["maml"], tmp_path / "whole")
    whole = load_run(tmp_path / "whole").agents["maml"].params
    interrupted = run.agents["maml"].params
    assert all(torch.equal(interrupted[name], leaf) for name, leaf in whole.items())


def test_checkpoints_are_written_on_the_way(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(training, "save_policy", lambda path, params: saved.append(path.name))
    train_agent(replace(TINY, agent="oracle", total_steps=64 * 5), tmp_path)
    assert saved == ["policy.safetensors"] * 3  # after 2 and 4 meta-iterations, and at the end


@pytest.mark.parametrize(
    ("wanted", "variable", "threads"), [(3, "5", 3), (0, "5", 5), (0, "4,2", 4), (1, "x", 1)]
)
def test_threads_as_wanted_or_as_told(monkeypatch, wanted, variable, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert choose_num_threads(wanted) == threads


@pytest.mark.parametrize("variable", ["", "0", "-1", "all"])
def test_threads_default_to_physical_cores(monkeypatch, variable):
    cpuinfo = [{"physical id": "0", "core id": core} for core in ("0", "0", "1", "1")]
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    monkeypatch.setattr(training, "_cpuinfo", lambda: cpuinfo)
    monkeypatch.setattr(training.os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)
    assert choose_num_threads() == 2


def test_provenance_names_no_revision_where_git_fails(monkeypatch):
    def fail(*args, **kwargs):
        raise subprocess.CalledProcessError(128, "git")

    monkeypatch.setattr(training.subprocess, "run", fail)
    facts = provenance(threads=1)
    assert facts["git_revision"] is None
    assert facts["versions"].keys() >= {"metarobot", "torch", "mujoco", "numpy", "gymnasium"}
    assert facts["machine"]["threads"] == 1
    assert facts["command"] == sys.argv
