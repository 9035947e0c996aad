"""The algorithms of examples/own_algorithms are the equals of those in the package."""

import json
import sys
from pathlib import Path

import pytest
import torch
from fakes import config_of, made_up_batch, small_policy
from outside_modules import copy_modules, run

import metarobot as mr
from metarobot.algorithms import ALGORITHMS, make_algorithm
from metarobot.policies import repeat_params

FOLDER = Path(__file__).parents[2] / "examples" / "own_algorithms"
OWN = ("bias_maml", "elite_shift")
MODULES = ("own_algorithms", *OWN)
SIZES = ["--num-tasks", "2", "--episodes-per-task", "4", "--hidden-sizes", "4"]
MEASURED = ["--num-tasks", "2", "--test-episodes", "1", "--episodes-per-block", "3"]
MEASURED += ["--num-blocks", "0", "--adaptation-episodes", "1", "2", "--splits", "train"]
MEASURED += ["--no-heat-map", "--no-robustness", "--films", "0"]
KNOWN = ("--module", "own_algorithms")


def forget():
    """Undo the import, as in a process that has never known the algorithms."""
    for name in OWN:
        ALGORITHMS.pop(name, None)
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    """A folder that holds the modules; what they register goes with the test."""
    copy_modules(FOLDER, [f"{name}.py" for name in MODULES], tmp_path, monkeypatch)
    forget()
    yield tmp_path
    forget()


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.syspath_prepend(".")
    import own_algorithms

    return own_algorithms


def run_fresh(capfd, *words):
    """Run a command that does not know the algorithms yet; return what it printed."""
    forget()
    return run(capfd, *words)


@pytest.mark.usefixtures("quick_pages")
def test_every_command_takes_them(working_folder, capfd):
    named = [f"own_algorithms:{name}" for name in OWN]
    sizes = ["--total-steps", "1", "--bias-factor", "2", *SIZES]
    assert (
        run_fresh(capfd, "train", "slide", "--algorithms", *named, *sizes, "--out", "run")[0] == 0
    )
    saved = json.loads((working_folder / "run" / "bias_maml" / "config.json").read_text())["train"]
    assert saved["algorithm"] == "bias_maml"
    assert saved["options"]["bias_factor"] == 2.0
    assert saved["options"]["inner_objective"] == "likelihood_ratio"  # the preset's
    other = json.loads((working_folder / "run" / "elite_shift" / "config.json").read_text())
    assert "bias_factor" not in other["train"]["options"]
    more = ("--total-steps", 320, *KNOWN)
    assert run_fresh(capfd, "train", "--resume", "run", *more)[0] == 0
    assert run_fresh(capfd, "evaluate", "run", "--out", "results", *MEASURED, *KNOWN)[0] == 0
    found = json.loads((working_folder / "results" / "evaluation.json").read_text())
    evaluation = mr.Evaluation.from_dict(found)
    for name in OWN:
        assert [row.episodes for row in evaluation.curves[name, "train"]] == [0, 1, 2]
    film = ("--algorithm", "elite_shift", "--out", "a.mp4", "--adaptation-episodes", 2, *KNOWN)
    assert run_fresh(capfd, "render", "run", *film)[0] == 0
    compared = ("--algorithms", named[0], "--seeds", 0, "--test-tasks", 2)
    compared += ("--total-steps", 1, "--bias-factor", 2, "--num-blocks", 0, *SIZES)
    compared += ("--adaptation-episodes", 2, "--splits", "train", "--out", "c")
    assert run_fresh(capfd, "compare", "slide", *compared)[0] == 0
    saved = json.loads((working_folder / "c/slide-seed0/bias_maml/config.json").read_text())
    assert saved["train"]["options"]["bias_factor"] == 2.0


def test_their_options_are_in_the_help(capfd):
    code, printed = run_fresh(capfd, "train", "slide", *KNOWN, "--help-all")
    assert code == 0
    assert "--bias-factor" in printed.out
    assert "read by bias_maml:" in printed.out


def test_a_run_of_them_says_how_it_is_read(working_folder, capfd):
    words = ("train", "slide", "--algorithms", "own_algorithms:elite_shift", *SIZES)
    assert run_fresh(capfd, *words, "--total-steps", 1, "--out", "run")[0] == 0
    for command in (["evaluate", "run", "--out", "x"], ["train", "--resume", "run"]):
        code, printed = run_fresh(capfd, *command)
        assert code == 2
        assert "--module" in printed.err
        assert "elite_shift" in printed.err
        assert len(printed.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train grip --algorithms own_algorithms:bias_mml", "did you mean 'bias_maml'?"),
        ("train grip --algorithms no_such:x", "the module no_such cannot be imported"),
        ("train grip --algorithms bias_maml", "algorithm must be one of maml"),
        ("train grip --algorithms maml --module own_algorithms --bias-factor 2", "read by bias_m"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(words, message, capfd):
    code, printed = run_fresh(capfd, *words.split())
    assert code == 2
    assert message in printed.err
    assert len(printed.err.splitlines()) == 1


def test_the_biases_alone_adapt(registered):
    policy, params = small_policy(algorithm="bias_maml")
    config = config_of("bias_maml", hidden_sizes=(4,), bias_factor=2.0)
    batch = made_up_batch(policy, params, config)
    start = repeat_params(params, 3)
    adapted = make_algorithm(config, policy).adapt(
        start, batch.pre_episodes[0], batch.pre_advantages[0]
    )
    changed = {name for name, leaf in adapted.items() if not torch.equal(leaf, start[name])}
    assert changed == {name for name in params if name.endswith(".bias")}
