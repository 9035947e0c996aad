import copy
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metarobot.algorithms import ALGORITHMS, configure
from metarobot.config import RunConfig
from metarobot.evaluation.baselines import (
    STEP_SIZE_FACTORS,
    fine_tuning,
    from_scratch,
    with_best_step_size,
)
from metarobot.evaluation.comparison import _rows, compare
from metarobot.evaluation.evaluation import table_order
from metarobot.evaluation.protocol import EvaluationConfig, Scores, StepScores, Trial
from metarobot.files import csv_table, read_json
from metarobot.folder import Folder
from metarobot.reporting.comparison_figure import draw_comparison
from metarobot.reporting.comparison_folder import compare_to_folder
from metarobot.reporting.style import algorithm_titles
from metarobot.training.load import TrainedRun, load_run, load_runs
from metarobot.training.runs import train_run

TINY = RunConfig(
    total_steps=64, num_tasks=2, episodes_per_task=2, hidden_sizes=(4,), options={"outer_epochs": 1}
)
OPTIONS = configure(TINY, "maml").options
TRAINED = ("maml", "meta_sgd", "domain_randomisation", "oracle")
MEASURED = EvaluationConfig(
    num_tasks=2, episodes_per_step=2, num_adaptation_steps=2, test_episodes=1
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[TrainedRun]:
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        train_run(replace(TINY, seed=seed), TRAINED, folder / f"grip-seed{seed}")
    return load_runs([folder / "grip-seed0", folder / "grip-seed1"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("comparison")


@pytest.fixture(scope="module")
def comparison(runs, folder) -> dict:
    return compare_to_folder(runs, MEASURED, folder, lambda stage, share: None)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def test_everyone_has_a_place_and_a_name():
    assert set(ALGORITHMS) < set(table_order())
    assert {"random", *table_order()} == set(algorithm_titles())
    assert all(algorithm_titles().values())


def test_every_algorithm_stands_on_every_split_after_every_step(comparison):
    steps = {
        **dict.fromkeys(("random", "domain_randomisation", "oracle"), 1),
        **dict.fromkeys(("from_scratch", "fine_tuning", "maml", "meta_sgd"), 3),
    }
    assert comparison["algorithms"] == [
        name for name in ("random", *table_order()) if name in steps
    ]
    for split in ("train", "interpolation", "extrapolation"):
        rows = [row for row in comparison["rows"] if row["split"] == split]
        for name, count in steps.items():
            found = [row["adaptation_steps"] for row in rows if row["algorithm"] == name]
            assert found == list(range(count))
    assert all((row["num_seeds"], row["num_tasks"]) == (2, 2) for row in comparison["rows"])
    assert comparison["costs"]["meta_sgd"]["total_steps"] == [128, 128]
    assert set(comparison["costs"]) == set(TRAINED)


def test_the_headroom_runs_from_domain_randomisation_to_the_oracle(comparison):
    for row in comparison["rows"]:
        if row["captured"] is not None and row["algorithm"] in ("domain_randomisation", "oracle"):
            assert row["captured"] == (row["algorithm"] == "oracle")


@pytest.mark.parametrize(("oracle", "captured"), [(-1.0, 0.75), (-9.0, None), (-4.9, None)])
def test_a_fraction_is_told_only_where_the_oracle_beats_the_references(oracle, captured):
    """It must beat random actions, here -8, and domain randomisation, -5, beyond chance."""

    rng = np.random.default_rng(0)

    def stages(*means):
        scores = [Scores(rng.normal(mean, 0.5, 20), np.zeros(20)) for mean in means]
        return [[StepScores(score, score) for score in scores]] * 2

    algorithms = {
        "random": stages(-8.0),
        "domain_randomisation": stages(-5.0),
        "maml": stages(-6.0, -2.0),
        "oracle": stages(oracle),
    }
    rows = _rows("extrapolation", algorithms, EvaluationConfig())
    rows += _rows("train", {**algorithms, "oracle": stages(-1.0)}, EvaluationConfig())
    found = next(r for r in rows if r["algorithm"] == "maml" and r["adaptation_steps"] == 1)
    assert found["captured"] == (None if captured is None else pytest.approx(captured, abs=0.1))
    assert csv_table(rows).count("\n") == 1 + len(rows)


def test_the_folder_holds_numbers_table_and_figure(comparison, folder):
    assert read_json(folder / "comparison.json")["rows"] == comparison["rows"]
    lines = (folder / "comparison.csv").read_text().splitlines()
    assert len(lines) == 1 + len(comparison["rows"])
    assert "return_mean_ci_low" in lines[0]
    assert pixels(folder / "comparison.png").shape[1] == 1800


def test_what_is_measured_is_not_measured_again(comparison, runs, folder, monkeypatch):
    measured = []
    score = Trial.score
    monkeypatch.setattr(Trial, "score", lambda *args: measured.append(args) or score(*args))
    again = compare(runs, MEASURED, Folder(folder / "scores"), lambda stage, share: None)
    assert again == comparison
    assert not measured
    other = replace(MEASURED, seed=5)
    assert compare(runs, other, Folder(folder / "other"), lambda stage, share: None) != comparison
    assert measured


def test_another_policy_is_measured_again(comparison, runs, folder, tmp_path):
    config = replace(TINY, seed=0, total_steps=128 * 3)
    train_run(config, TRAINED, tmp_path / "run")
    longer = [load_run(tmp_path / "run"), runs[1]]
    again = compare(longer, MEASURED, Folder(folder / "scores"), lambda stage, share: None)
    assert again["rows"] != comparison["rows"]
    compare(runs, MEASURED, Folder(folder / "scores"), lambda stage, share: None)


def test_another_step_size_is_measured_again(comparison, runs, folder):
    trained = runs[0].policies["maml"]
    bolder = replace(trained, config=trained.config.with_options(inner_lr=3.0))
    other = [replace(runs[0], policies={**runs[0].policies, "maml": bolder}), runs[1]]
    again = compare(other, MEASURED, Folder(folder / "scores"), lambda stage, share: None)
    changed = {
        a["algorithm"] for a, b in zip(again["rows"], comparison["rows"], strict=True) if a != b
    }
    assert changed == {"maml"}
    compare(runs, MEASURED, Folder(folder / "scores"), lambda stage, share: None)


def test_fine_tuning_starts_where_domain_randomisation_ended(runs):
    trained = runs[0].policies["domain_randomisation"]
    tuned, fresh = fine_tuning(trained, OPTIONS), from_scratch(trained, OPTIONS)
    assert tuned.params is trained.params
    assert tuned.config == replace(trained.config, algorithm="maml", options=OPTIONS)
    weights = fresh.params["layers.0.weight"]
    assert not torch.equal(weights, trained.params["layers.0.weight"])
    assert torch.equal(weights, from_scratch(trained, OPTIONS).params["layers.0.weight"])


def test_a_reference_gets_the_step_size_that_suits_it(runs):
    trained = fine_tuning(runs[0].policies["domain_randomisation"], OPTIONS)
    wanted = STEP_SIZE_FACTORS[-1] * trained.config.options.inner_lr
    best = with_best_step_size(trained, lambda a: -abs(a.config.options.inner_lr - wanted))
    assert best.config.options.inner_lr == wanted
    assert best.params is trained.params
    assert best.algorithm.step_sizes(trained.params) == wanted


def test_the_figure_shows_any_number_of_algorithms(comparison, tmp_path):
    fewer = copy.deepcopy(comparison)
    fewer["algorithms"] = ["domain_randomisation"]
    fewer["rows"] = [row for row in fewer["rows"] if row["algorithm"] in fewer["algorithms"]]
    one = draw_comparison(fewer)
    many = copy.deepcopy(comparison)
    for name in ALGORITHMS:
        if name not in many["algorithms"]:
            many["algorithms"].append(name)
            many["rows"] += [
                {**row, "algorithm": name}
                for row in comparison["rows"]
                if row["algorithm"] == "maml"
            ]
    png = draw_comparison(many)
    heights = [pixels(io.BytesIO(data)).shape[0] for data in (one, png)]
    assert heights[0] < heights[1]
    assert png == draw_comparison(many)
    assert pixels(io.BytesIO(png)).std() > 10
