"""A run gets a larger budget or further algorithms: the result is that of a run which began so."""

import contextlib
import itertools
import os
import shutil

import pytest

from metarobot.cli.main import main
from metarobot.io import read_json
from metarobot.training.run_folder import CURVE_COLUMNS, load_curve

SIZES = ["--num-tasks", "2", "--hidden-sizes", "4", "--episodes-per-task"]
TRAIN = ["train", "grip", *SIZES, "2", "--total-steps"]
COLUMNS = [name for name in CURVE_COLUMNS if not name.endswith("_s")]


class Killed(BaseException):
    """Nothing that the program could catch."""


def run_command(*arguments):
    assert main([str(argument) for argument in arguments]) == 0


def refused(capfd, *arguments):
    capfd.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    return line


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run of some algorithms that had the larger budget from the beginning."""
    run = tmp_path_factory.mktemp("straight") / "run"
    run_command(*TRAIN, 1300, "--algorithms", "maml", "oracle", "reptile", "--out", run)
    return run


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A run of two algorithms with a smaller budget."""
    run = tmp_path_factory.mktemp("short") / "run"
    run_command(*TRAIN, 200, "--algorithms", "maml", "oracle", "--out", run)
    return run


@pytest.fixture
def run(short, tmp_path):
    return shutil.copytree(short, tmp_path / "run")


def assert_same(run, other, algorithms):
    for algorithm in algorithms:
        names = ["policy.safetensors"]
        # Reptile takes fewer meta-iterations than it takes for a best policy, latent keeps none.
        if algorithm not in ("reptile", "latent"):
            names.append("checkpoints/best.safetensors")
        for name in names:
            assert (run / algorithm / name).read_bytes() == (other / algorithm / name).read_bytes()
        assert load_curve(run, algorithm, COLUMNS) == load_curve(other, algorithm, COLUMNS)
        config, done = (
            [read_json(folder / algorithm / name) for folder in (run, other)]
            for name in ("config.json", "done.json")
        )
        assert config[0]["train"] == config[1]["train"]
        for name in ("iterations", "total_steps"):
            assert done[0][name] == done[1][name]


@pytest.mark.parametrize("algorithm", ["maml", "latent"])
def test_an_extended_run_is_the_run_that_had_the_budget_from_the_beginning(algorithm, tmp_path):
    for name, budgets in (("straight", [2000]), ("extended", [300, 301, 2000])):
        command = ["train", "grip", *SIZES, "3", "--total-steps", budgets[0]]
        run_command(*command, "--algorithms", algorithm, "--out", tmp_path / name)
        for total_steps in budgets[1:]:
            run_command("train", "--resume", tmp_path / name, "--total-steps", total_steps)
    assert_same(tmp_path / "extended", tmp_path / "straight", [algorithm])


def test_algorithms_are_added_with_and_without_a_larger_budget(run, straight, capfd):
    run_command("train", "--resume", run, "--algorithms", "reptile", "maml")
    assert "trained reptile:" in capfd.readouterr().out
    run_command("train", "--resume", run, "--total-steps", 1300, "--algorithms", "reptile")
    assert_same(run, straight, ["maml", "oracle", "reptile"])


@pytest.mark.parametrize("kill_at", [1, 4])
def test_an_extension_that_is_killed_between_its_writes_goes_on(
    kill_at, run, straight, monkeypatch
):
    """Killed just before each of its first renames and removals, and resumed without options."""
    countdown = itertools.count(1)

    def dies(operation):
        def call(*arguments, **options):
            if next(countdown) == kill_at:
                raise Killed
            return operation(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dies(os.replace))
        command = [
            "train",
            "--resume",
            str(run),
            "--total-steps",
            "1300",
            "--algorithms",
            "reptile",
        ]
        with contextlib.suppress(Killed):
            main(command)
    assert main(["train", "--resume", str(run)]) == 0
    run_command(*command)
    assert_same(run, straight, ["maml", "oracle", "reptile"])
    assert not (run / ".prepared").exists()


def test_the_number_of_threads_may_change(run, monkeypatch, capfd):
    used = []
    monkeypatch.setattr(
        "metarobot.training.run.train_algorithm",
        lambda config, *_: used.append(config.num_threads),
    )
    more = ["--total-steps", 900]
    run_command("train", "--resume", run, "--num-threads", 2, *more)
    run_command("train", "--num_threads=3", *more, "--resume", run)
    run_command(*TRAIN, 900, "--num-threads", 1, "--resume", run)
    run_command("train", "--resume", run)
    assert used == [2, 2, 3, 3, 1, 1, 0, 0]
    wrong = refused(capfd, "train", "--resume", run, "--num-threads", -1, "--total-steps", 5000)
    assert "num_threads must be an integer in" in wrong
    assert read_json(run / "maml" / "config.json")["train"]["total_steps"] == 900


def test_what_a_run_cannot_become_is_refused_in_one_line(run, capfd, monkeypatch):
    before = {path: path.read_bytes() for path in run.rglob("*.json")}
    resume = ["train", "--resume", run]
    assert "budget of" in refused(capfd, *resume, "--total-steps", 100)
    assert "--algorithms expected at least one argument" in refused(capfd, *resume, "--algorithms")
    assert "did you mean 'maml'" in refused(capfd, *resume, "--algorithms", "mamel")
    assert "total_steps must be an integer in" in refused(capfd, *resume, "--total-steps", 10**30)
    for options in (["--inner-lr", "0.3"], ["--seed=1"], ["--out", "x"], ["--overwrite"]):
        line = refused(capfd, *resume, *options)
        assert "possible are --algorithms, --total-steps, --num-threads, --wandb, --module" in line
    monkeypatch.setattr("metarobot.training.run_folder.versions", lambda: {"torch": "1.0"})
    assert "cannot be extended here: torch was" in refused(capfd, *resume, "--total-steps", 999)
    assert {path: path.read_bytes() for path in run.rglob("*.json")} == before


def test_a_run_that_began_with_a_policy_gets_a_larger_budget_but_no_algorithms(
    run, tmp_path, capfd
):
    policy = run / "maml" / "policy.safetensors"
    begun = tmp_path / "begun"
    options = ["--algorithms", "maml", "--initial-policy", policy, "--out", begun]
    run_command(*TRAIN, 200, *options)
    assert "can get no further algorithms" in refused(
        capfd, "train", "--resume", begun, "--algorithms", "promp"
    )
    run_command("train", "--resume", begun, "--total-steps", 400)
