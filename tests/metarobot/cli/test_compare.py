"""`metarobot compare`: trainings in parallel, here and on a cluster, give the same bits."""

import json
from pathlib import Path

import pytest

import metarobot
from metarobot.cli.main import main
from metarobot.evaluation.table import Evaluation

SIZES = ["--num-tasks", "2", "--episodes-per-task", "3", "--hidden-sizes", "4", "4"]
MEASURED = ["--test-tasks", "2", "--episodes-per-block", "2", "--test-episodes", "1"]
MEASURED += ["--adaptation-episodes", "1", "--splits", "train"]
TRAINED = ["--algorithms", "maml", "--seeds", "0", "1", "--total-steps", "640"]
COMPARE = ["compare", "grip", *TRAINED, *SIZES, *MEASURED, "--num-blocks", "1"]
ROOT = str(Path(metarobot.__file__).parents[1])


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch, quick_pages):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ROOT)  # of the processes that train
    return tmp_path


def policies(folder):
    found = sorted(folder.glob("grip-seed*/*/policy.safetensors"))
    return {path.relative_to(folder): path.read_bytes() for path in found}


def measured(folder):
    evaluation = Evaluation.from_dict(json.loads((folder / "evaluation.json").read_text()))
    return evaluation.rows, evaluation.headroom


def assert_same(folder, other):
    assert len(policies(folder)) == 2
    assert policies(folder) == policies(other)
    assert measured(folder) == measured(other)


def one_error_line(capfd):
    error = capfd.readouterr().err
    assert error.startswith("metarobot: error: ")
    assert error.count("\n") == 1
    return error


def test_what_is_trained_is_kept(tmp_path, capfd):
    assert main([*COMPARE, "--out", "out"]) == 0
    before = policies(tmp_path / "out")
    capfd.readouterr()
    assert main([*COMPARE, "--out", "out"]) == 0
    assert policies(tmp_path / "out") == before
    assert "of 2 trained" not in capfd.readouterr().out
    assert main([*COMPARE, "--discount", "0.5", "--out", "out"]) == 2
    assert "discount was 0.6, is 0.5" in one_error_line(capfd)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--seed 3", "--seeds"),
        ("--resume run", "--resume"),
        ("--overwrite", "--overwrite"),
        ("--jobs 0", "jobs must be an integer in [1, 1000]"),
        ("--sed 3", "--sed"),
        ("--jobs x", "--jobs"),
    ],
)
def test_options_that_do_not_go_with_it_are_refused_in_one_line(option, said, capfd):
    assert main([*COMPARE, "--out", "out", *option.split()]) == 2
    assert said in one_error_line(capfd)


def test_it_takes_the_options_of_a_training_and_hides_rewards(tmp_path):
    one = ["--algorithms", "maml", "latent", "--seeds", "1", "--total-steps", "1", *SIZES]
    options = ["--variant", "greasy_pads", "--discount", "0.5", "--inner-lr=0.2"]
    hidden = [*MEASURED, "--num-blocks", "0", "--rewards", "hidden"]
    assert main(["compare", "grip", *one, *options, *hidden, "--out", "out"]) == 0
    saved = json.loads((tmp_path / "out/grip-seed1/maml/config.json").read_text())["train"]
    assert (saved["seed"], saved["discount"], saved["options"]["inner_lr"]) == (1, 0.5, 0.2)
    evaluation = Evaluation.from_dict(json.loads(Path("out/evaluation.json").read_text()))
    assert evaluation.variant.name == "greasy_pads"
    assert evaluation.variant == evaluation.trained_on
    assert evaluation.config.rewards == "hidden"
    assert evaluation.left_out == ("maml",)
    assert evaluation.learners == ("latent",)


def test_where_nobody_adapts_without_rewards_nobody_is_trained(tmp_path, capfd):
    assert main([*COMPARE, "--rewards", "hidden", "--out", "out"]) == 2
    assert "rewards 'hidden' leaves no policy that adapts: " in one_error_line(capfd)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.stress
def test_two_jobs_and_a_cluster_give_the_same_bits(tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs metarobot[cluster]")
    assert main([*COMPARE, "--out", "one"]) == 0
    assert main([*COMPARE, "--out", "jobs", "--jobs", "2"]) == 0
    assert_same(tmp_path / "jobs", tmp_path / "one")
    settings = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**settings) as cluster:
        assert main([*COMPARE, "--cluster", cluster.scheduler_address, "--out", "cluster"]) == 0
    assert_same(tmp_path / "cluster", tmp_path / "one")


@pytest.mark.stress
def test_a_training_that_fails_ends_all_in_one_line(tmp_path, capfd):
    blocked = tmp_path / "out" / "grip-seed1"
    blocked.mkdir(parents=True)
    (blocked / "note.txt").write_text("somebody else's")
    long = [word.replace("640", "100000000") for word in COMPARE]
    assert main([*long, "--out", "out", "--jobs", "4"]) == 2
    assert "grip-seed1" in one_error_line(capfd)
    assert not (tmp_path / "out" / "evaluation.json").exists()
