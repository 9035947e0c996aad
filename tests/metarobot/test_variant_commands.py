"""Variants in the commands: files with mistakes, training, evaluation, video, resume."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from trained import TINY, TRAINED

from metarobot.algorithms import config_from_dict, train_config
from metarobot.cli.main import main
from metarobot.envs import find_variant
from metarobot.evaluation.evaluate import evaluate_runs
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.table import describe_settings
from metarobot.training.load import load_run
from metarobot.training.run import default_run_folder, train_run

SIZES = ["--num-tasks", "2", "--episodes-per-task", "4", "--hidden-sizes", "4"]
FEW = EvaluationConfig(
    num_tasks=2,
    adaptation_episodes=(1,),
    num_blocks=1,
    episodes_per_block=2,
    heat_map_episodes=(1,),
    test_episodes=1,
    grid_size=2,
)
FEW_OPTIONS = ["--num-tasks", "2", "--grid-size", "2", "--no-robustness"]
FEW_OPTIONS += ["--num-blocks", "0", "--test-episodes", "1"]
FEW_OPTIONS += ["--adaptation-episodes", "1", "--heat-map-episodes", "1", "--films", "0"]


@pytest.fixture(scope="module")
def runs(grip_run, tmp_path_factory) -> dict[str, Path]:
    """A run of two families, each trained on the family as it is."""
    reach = tmp_path_factory.mktemp("runs") / "reach"
    train_run(replace(TINY, env_id="metarobot/Reach-v0"), TRAINED, reach)
    return {"grip": grip_run, "reach": reach}


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_error_line(capfd) -> str:
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("metarobot: error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("line", "message"),
    {
        "train grip --variant greasy_pad": "nearest is 'greasy_pads'",
        "train grip --variant missing.toml": "missing.toml: there is no such file",
        "train reach --variant greasy_pads": "is one of metarobot/Grip-v0, not of metarobot/Reach",
        "train grip --variant": "--variant",
        "evaluate REACH --variant greasy_pads --out result": "is one of metarobot/Grip-v0, but",
        "render REACH --variant greasy_pads": "is one of metarobot/Grip-v0, but",
    }.items(),
)
def test_a_variant_that_does_not_fit_is_one_line(line, message, runs, capfd):
    words = [{"REACH": str(runs["reach"])}.get(word, word) for word in line.split()]
    assert main(words) == 2
    assert message in one_error_line(capfd)


# Evaluation.


def test_a_shipped_variant_is_evaluated(runs):
    variant = find_variant("shifting_payload")
    run = load_run(runs[variant.vector_class.family.lower()])
    few = replace(FEW, num_blocks=0)
    evaluation = evaluate_runs([run], few, lambda stage, share: None, variant)
    assert evaluation.variant.name == variant.name
    settings = describe_settings(variant.to_dict())
    assert settings.items() >= evaluation.variant.settings.items()
    means = [row.return_mean.value for row in evaluation.rows]
    assert all(map(math.isfinite, means))
    described = {p.name: p.train for p in evaluation.task_parameters}
    assert described == {p.name: p.train for p in variant.distribution.parameters}


@pytest.mark.usefixtures("quick_pages")
def test_evaluate_says_what_it_was_measured_on(runs, tmp_path, capfd):
    arguments = ["evaluate", str(runs["grip"]), "--out", "result", *FEW_OPTIONS]
    assert main([*arguments, "--variant", "greasy_pads"]) == 0
    assert "main range" in capfd.readouterr().out
    evaluation = json.loads((tmp_path / "result/evaluation.json").read_text())
    assert evaluation["variant"]["name"] == "greasy_pads"
    report = (tmp_path / "result/report.html").read_text()
    assert "<h1>Grip, greasy pads: evaluation of adaptation</h1>" in report
    assert "Measured on the variant greasy_pads (grease on the finger pads" in report
    assert "trained on the family as it is" in report
    assert "Training range" not in report
    x = evaluation["heat_map"]["y"]
    assert x["train"] == [0.25, 1.0]  # what the policies were trained on
    assert (x["values"][0], x["values"][-1]) == (0.09, 1.3)  # to the ends of both


# Training.


@pytest.mark.usefixtures("quick_pages")
def test_a_run_holds_its_whole_variant_and_is_measured_on_it(tmp_path, capfd):
    source = 'family = "grip"\n[disturbances]\naction_delay_steps = 2\n[fixed]\npad_friction = 0.4'
    (tmp_path / "slow.toml").write_text(source)
    train = ["train", "grip", "--algorithms", "maml", "--total-steps", "1", *SIZES]
    train += ["--variant", "slow.toml"]
    assert main(train) == 0
    run = Path("runs/grip-slow-seed0")
    (tmp_path / "slow.toml").unlink()
    variant = load_run(run).variant
    assert variant is not None
    assert variant.disturbances.action_delay_steps == 2
    saved = json.loads((run / "maml/config.json").read_text())["train"]
    assert saved["variant"] == variant.to_dict()
    assert main(["evaluate", str(run), "--out", "own", *FEW_OPTIONS]) == 0
    report = Path("own/report.html").read_text()
    assert "Trained and measured on the variant slow." in report
    assert "Training range" in report
    assert main(["evaluate", str(run), "--variant", "none", "--out", "base", *FEW_OPTIONS]) == 0
    assert "Measured on the family as it is. The policies were trained on the variant slow" in (
        Path("base/report.html").read_text()
    )
    capfd.readouterr()
    (tmp_path / "slow.toml").write_text(source.replace("steps = 2", "steps = 3"))
    assert main([*train, "--resume", str(run)]) == 2
    line = one_error_line(capfd)
    assert 'variant was {"name": "slow"' in line
    assert '"action_delay_steps": 3' in line


def test_runs_on_different_variants_are_not_mixed(runs, tmp_path, capfd):
    config = replace(TINY, seed=1, variant=find_variant("greasy_pads"))
    train_run(config, TRAINED, tmp_path / "greasy")
    assert main(["evaluate", str(runs["grip"]), "greasy", "--out", "result"]) == 2
    assert "greasy was trained on the variant 'greasy_pads', but" in one_error_line(capfd)


def test_a_configuration_knows_the_family_of_its_variant():
    with pytest.raises(ValueError, match="'heavy_tool' is one of metarobot/Reach-v0"):
        train_config(variant=find_variant("heavy_tool"))
    config = train_config(variant=find_variant("greasy_pads"))
    assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert default_run_folder(config) == Path("runs/grip-greasy_pads-seed0")


# Videos.
