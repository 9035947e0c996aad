"""What is measured, of whom, and what is kept of it; the references that need no training."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from metarobot.algorithms import ALGORITHMS
from metarobot.config import RunConfig
from metarobot.evaluation import evaluate as measurement
from metarobot.evaluation.evaluate import Protocol, _key, evaluate_runs
from metarobot.evaluation.protocol import UNTRAINED, EvaluationConfig, in_order
from metarobot.evaluation.table import summarise_split
from metarobot.evaluation.task_set import Scores, Stage, TaskSet, TaskSetScores
from metarobot.io import Folder
from metarobot.reporting.style import REFERENCE_TITLES, algorithm_title
from metarobot.training.load import TrainedRun, load_run, load_runs
from metarobot.training.run import train_run

TINY = RunConfig(
    total_steps=64, num_tasks=2, episodes_per_task=2, hidden_sizes=(4,), options={"outer_epochs": 1}
)
TRAINED = ("maml", "meta_sgd", "domain_randomisation", "oracle")
MEASURED = EvaluationConfig(
    num_tasks=2,
    adaptation_episodes=(1, 2),
    num_blocks=2,
    episodes_per_block=2,
    heat_map_episodes=(1,),
    test_episodes=1,
    untrained=UNTRAINED,
    grid_size=2,
)
QUICK = replace(MEASURED, untrained=("random",))
"""Without the references whose search takes long."""


def measure(runs, folder, config=MEASURED):
    """Evaluate with scores kept in a folder; when that was is left out."""
    evaluation = evaluate_runs(runs, config, lambda stage, share: None, None, Folder(folder))
    return replace(evaluation, created="")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[TrainedRun]:
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        train_run(replace(TINY, seed=seed), TRAINED, folder / f"grip-seed{seed}")
    return load_runs([folder / "grip-seed0", folder / "grip-seed1"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scores")


@pytest.fixture(scope="module")
def evaluation(runs, folder):
    return measure(runs, folder)


def test_everyone_has_a_place_and_a_name():
    everyone = {*ALGORITHMS, *UNTRAINED}
    assert set(in_order(everyone)) == everyone
    assert all(algorithm_title(name) for name in everyone)
    assert {*REFERENCE_TITLES, *ALGORITHMS} == everyone
    assert in_order(["oracle", "b", "random", "a"]) == ["random", "b", "a", "oracle"]


def test_every_policy_stands_on_every_split_after_all_episodes(evaluation):
    steps = {
        **dict.fromkeys(("random", "domain_randomisation", "oracle"), 1),
        **dict.fromkeys(("from_scratch", "fine_tuning"), 3),
        **dict.fromkeys(("strategy_search", "identification"), 3),
        **dict.fromkeys(("maml", "meta_sgd"), 3),
    }
    assert [policy.algorithm for policy in evaluation.policies] == in_order(TRAINED + UNTRAINED)
    for split in ("train", "interpolation", "extrapolation"):
        for name, count in steps.items():
            curve = evaluation.judged(name, split)
            numbers = [point.adaptation_episodes for point in curve.points]
            assert numbers == list(range(count))
            assert [p.adaptation_episodes for p in curve.blocks] == [0, 2, 4][:count]
    costs = {policy.algorithm: policy.total_steps for policy in evaluation.policies}
    assert costs["meta_sgd"] == (128, 128)
    assert {name for name, cost in costs.items() if cost} == set(TRAINED)


@pytest.mark.parametrize(
    ("random", "oracle", "captured"),
    [(-8.0, -1.0, 0.75), (-8.0, -9.0, None), (-8.0, -4.9, None), (-0.5, -1.0, None)],
)
def test_a_fraction_is_told_only_where_the_oracle_beats_the_references(
    evaluation, random, oracle, captured
):
    """It must beat random actions, and domain randomisation, here -5, beyond chance."""
    rng = np.random.default_rng(0)

    def stages(*means):
        scores = [Scores(rng.normal(mean, 0.5, (2, 20)), np.zeros((2, 20))) for mean in means]
        stages = [Stage(20 * k, score, score if k else None) for k, score in enumerate(scores)]
        return TaskSetScores(stages, stages, scores)

    policies = {
        "random": stages(random),
        "domain_randomisation": stages(-5.0),
        "maml": stages(-6.0, -2.0),
        "oracle": stages(oracle),
    }
    curves, headroom = summarise_split("extrapolation", policies, EvaluationConfig())
    whole = replace(evaluation, curves=tuple(curves), headroom=(headroom,), heat_map=None)
    found = whole.captured(whole.curve("maml", "extrapolation").points[1], "extrapolation")
    assert (found and found.value) == (captured and pytest.approx(captured, abs=0.1))


def test_what_is_measured_is_not_measured_again(evaluation, runs, folder, tmp_path, monkeypatch):
    measured = []
    score = TaskSet.score
    monkeypatch.setattr(TaskSet, "score", lambda *args: measured.append(args) or score(*args))
    assert measure(runs, folder) == evaluation
    fewer = measure(runs, folder, QUICK)
    assert fewer.curve("maml", "train") == evaluation.curve("maml", "train")
    assert not measured
    assert measure(runs, tmp_path, replace(QUICK, seed=5)).curves != fewer.curves
    assert measured


def test_another_policy_is_measured_again(evaluation, runs, folder, tmp_path):
    train_run(replace(TINY, total_steps=128 * 3), TRAINED, tmp_path / "run")
    again = measure([load_run(tmp_path / "run"), runs[1]], folder, QUICK)
    assert again.curve("maml", "train") != evaluation.curve("maml", "train")
    measure(runs, folder, QUICK)


def test_the_key_of_scores_holds_the_content_of_the_policy(evaluation, runs, tmp_path):
    protocol = Protocol.of(runs[0], MEASURED, None)
    shutil.copytree(runs[0].path, tmp_path / "run")
    run = replace(runs[0], path=tmp_path / "run")
    before = _key(protocol, "maml", run)
    assert before == _key(protocol, "maml", runs[0])
    (tmp_path / "run/maml/policy.safetensors").write_bytes(b"another")
    assert before != _key(protocol, "maml", run)


def test_another_version_measures_again(runs, monkeypatch):
    protocol = Protocol.of(runs[0], MEASURED, None)
    before = _key(protocol, "maml", runs[0])
    monkeypatch.setattr(measurement, "__version__", "0.0.1")
    assert before != _key(protocol, "maml", runs[0])


def test_another_step_size_is_measured_again(evaluation, runs, folder):
    trained = runs[0].policies["maml"]
    bolder = replace(trained, config=trained.config.with_options(inner_lr=3.0))
    other = [replace(runs[0], policies={**runs[0].policies, "maml": bolder}), runs[1]]
    again = measure(other, folder)
    changed = {
        one.algorithm
        for one, two in zip(again.curves, evaluation.curves, strict=True)
        if [p.return_mean for p in one.blocks] != [p.return_mean for p in two.blocks]
    }
    assert changed == {"maml"}
    measure(runs, folder)


NO_NUMBER = '{"key": "x", "scores": [{}, [[0, [["a"], [1.0]], null]]]}'


@pytest.mark.parametrize("content", ['{"key": 1}', '{"key": "x", "scores": []}', NO_NUMBER])
def test_a_file_of_scores_that_holds_something_else_is_refused(runs, tmp_path, content):
    (tmp_path / "random-seed0.json").write_text(content)
    with pytest.raises(ValueError, match=r"random-seed0\.json holds no scores"):
        measure(runs, tmp_path)
