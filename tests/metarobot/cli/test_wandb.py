"""`metarobot train --wandb`, with a stand-in for the package that keeps what it is told."""

import csv
import sys
from itertools import chain
from types import SimpleNamespace

import pytest

from metarobot.cli.main import main

OPTIONS = {"--algorithms": "domain_randomisation", "--num-tasks": "2", "--episodes-per-task": "2"}
TRAIN = ["train", "slide", "--num-threads", "1", *chain.from_iterable(OPTIONS.items())]


class Recorder:
    """The part of wandb's interface that is used."""

    def __init__(self) -> None:
        self.runs = []

    def init(self, **facts):
        self.runs.append(SimpleNamespace(facts=facts, rows=[], finished=0))
        run = self.runs[-1]

        def finish():
            run.finished += 1

        def log(row, step):
            run.rows.append((step, row))

        return SimpleNamespace(log=log, finish=finish)


@pytest.fixture
def recorder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "wandb", recorder)
    return recorder


def test_what_is_logged_is_sent_too(recorder, tmp_path):
    assert main([*TRAIN, "--total-steps", "96", "--out", "run", "--wandb"]) == 0
    (tracked,) = recorder.runs
    assert tracked.finished == 1
    assert tracked.facts["project"] == "metarobot"
    assert tracked.facts["name"] == "run/domain_randomisation"
    assert tracked.facts["config"]["total_steps"] == 96
    with open(tmp_path / "run/domain_randomisation/curve.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [step for step, _ in tracked.rows] == [int(row["total_steps"]) for row in rows]
    sent = [f"{row['meta/post_return']:.9g}" for _, row in tracked.rows]
    assert sent == [row["post_return"] for row in rows]


def test_a_training_goes_on_where_it_was(recorder):
    assert main([*TRAIN, "--total-steps", "32", "--out", "run", "--wandb"]) == 0
    assert main(["train", "--resume", "run", "--total-steps", "64", "--wandb"]) == 0
    first, second = recorder.runs
    assert first.facts["id"] == second.facts["id"]
    assert second.rows[0][0] > first.rows[-1][0]


def test_nothing_is_sent_unless_asked_for(recorder):
    assert main([*TRAIN, "--total-steps", "32", "--out", "run"]) == 0
    assert not recorder.runs


def test_without_the_package_it_says_what_to_install(monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert main([*TRAIN, "--out", "run", "--wandb"]) == 2
    assert capfd.readouterr().err == (
        "metarobot: error: --wandb needs `pip install 'metarobot[wandb]'`\n"
    )
    assert not (tmp_path / "run").exists()
