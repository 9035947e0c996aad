"""What is measured, of whom, what is kept of it, and the table that it ends in."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from evaluations import headroom
from fakes import untrained_run

from metarobot.config import RunConfig
from metarobot.envs import Tasks, find_variant
from metarobot.evaluation.evaluate import (
    evaluate_runs,
    find_worst_tasks,
    variants_of,
)
from metarobot.evaluation.protocol import UNTRAINED, EvaluationConfig, in_order
from metarobot.evaluation.table import Scores
from metarobot.evaluation.task_set import TaskSet
from metarobot.io import Folder
from metarobot.training.load import load_runs
from metarobot.training.run import train_run

TINY = RunConfig(
    total_steps=64, num_tasks=2, episodes_per_task=2, hidden_sizes=(4,), options={"outer_epochs": 1}
)
TRAINED = ("maml", "domain_randomisation", "oracle")
CONFIG = EvaluationConfig(
    num_tasks=2,
    adaptation_episodes=(1, 2),
    num_blocks=2,
    episodes_per_block=2,
    heat_map_episodes=(1,),
    test_episodes=1,
    untrained=UNTRAINED,
    splits=("train", "extrapolation"),
    grid_size=2,
)
QUICK = replace(CONFIG, untrained=("random",))
"""Without the references whose search takes long."""
INSERT = "metarobot/Insert-v0"
INSERT_CONFIG = replace(QUICK, splits=("train",), heat_map=False, untrained=(), robustness=True)


def measure(runs, folder=None, config=CONFIG, variant=None):
    """Evaluate, with scores kept in a folder; when that was is left out."""
    kept = folder and Folder(folder)
    return replace(evaluate_runs(runs, config, lambda *_: None, variant, kept), created="")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
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


@pytest.fixture(scope="module")
def on_variants(tmp_path_factory):
    run = untrained_run(tmp_path_factory.mktemp("run"), INSERT, ("maml", "domain_randomisation"))
    return run, measure([run], config=INSERT_CONFIG)


def test_the_rise_of_a_training_curve_is_that_of_its_last_quarter(tmp_path):
    train_run(TINY, ("maml",), tmp_path / "run")
    file = tmp_path / "run/maml/curve.csv"
    columns = file.read_text().splitlines()[0].split(",")

    def write(returns, steps):
        table = pd.DataFrame(0.0, range(len(steps)), columns)
        table.assign(total_steps=steps, post_return=returns).to_csv(file, index=False, na_rep="nan")
        (run,) = load_runs([tmp_path / "run"])
        return run.policies["maml"].saved.rise

    steps = 1e4 * np.arange(1.0, 41.0)
    returns = np.where(steps < 3e5, steps, 3e5 + 0.02 * (steps - 3e5))
    assert write(returns, steps) == pytest.approx(2000.0)  # 0.02 a step
    assert write(np.where(steps == 3.5e5, np.nan, returns), steps) == pytest.approx(2000.0)
    assert write(returns[:8], steps[:8]) is None


def test_every_policy_has_a_row_on_every_split_at_every_stage(evaluation):
    assert [policy.algorithm for policy in evaluation.policies] == in_order(TRAINED + UNTRAINED)
    assert {*evaluation.learners} == {"maml", *UNTRAINED[1:]}
    judged = [(0, 0), (1, 1), (2, 1), (4, 2)]
    in_sequence = ("strategy_search", "identification")  # whose blocks are only more episodes
    found = {(r.split, r.algorithm, r.exploring, r.episodes, r.blocks) for r in evaluation.rows}
    expected = {
        (split, name, exploring, *stage)
        for split in CONFIG.splits
        for name in TRAINED + UNTRAINED
        for exploring in ((True,) if name == "random" else (False, True))
        for stage in (judged if name in evaluation.learners else judged[:1])
        if not exploring or stage != (1, 1)
        if name not in in_sequence or stage in (judged[:1] if exploring else judged[:3])
    }
    assert found == expected
    costs = {policy.algorithm: policy.total_steps for policy in evaluation.policies}
    assert costs["maml"] == (128, 128)
    assert {name for name, cost in costs.items() if cost} == set(TRAINED)


def test_draws_of_splits_and_heat_map_stay_as_they_were():
    """And those of the split that came later are others."""
    drawn = {
        split: TaskSet.of_split(INSERT, split, CONFIG)
        for split in ("train", "interpolation", "extrapolation", "extrapolation-one")
    }
    keys = [each.key for each in drawn.values()]
    assert keys == [0, 1, 2, 4]
    assert TaskSet(INSERT, drawn["train"].tasks, "grid", CONFIG).key == 3
    found = [each.tasks.values[0, 0] for each in drawn.values()]
    np.testing.assert_allclose(
        found,
        [-0.009251563952288721, 0.007242990754160272, -0.016128989515675905, 0.015179618020584328],
        rtol=1e-12,
    )


def test_rows_are_found_by_policy_and_split(evaluation):
    curve, blocks = evaluation.curves["maml", "train"], evaluation.blocks["maml", "train", False]
    assert [row.episodes for row in curve] == [0, 1, 2]
    assert [row.blocks for row in blocks] == [0, 1, 2]
    assert blocks[:2] == (curve[0], curve[2])
    assert evaluation.after("maml", "train", 2) is curve[2]
    assert evaluation.after_blocks("maml", "train", 2) is blocks[2]
    assert evaluation.after("maml", "train", 7) is evaluation.after_blocks("oracle", "train", 1)
    assert evaluation.curves["random", "train"][0].exploring
    assert evaluation.headline == 2


@pytest.mark.parametrize("evaluated", ["evaluation", "on_variants"])
def test_rows_sum_the_table_up(evaluated, request):
    found = request.getfixturevalue(evaluated)
    evaluation = found[1] if evaluated == "on_variants" else found
    table = evaluation.to_dataframe()
    keys = ["variant", "split", "algorithm", "exploring", "episodes", "blocks"]
    means = table.groupby(keys)[["return", "success", "captured", "worse"]].mean()
    for row in evaluation.rows:
        mean = means.loc[tuple(getattr(row, key) for key in keys)]
        assert row.return_mean.value == pytest.approx(mean["return"])
        assert row.success.value == pytest.approx(mean["success"])
        assert row.return_mean.low <= row.return_mean.value <= row.return_mean.high
        if row.captured:
            assert row.captured.value == pytest.approx(mean["captured"])
            assert len(row.captured_per_seed) == 2
        if row.worse:
            assert row.worse.value == pytest.approx(mean["worse"])


def test_heat_map_and_worst_tasks_are_of_the_table(evaluation):
    table = evaluation.to_dataframe()
    assert {*table["seed"]} == {0, 1}
    grid, heat_map = table[table["split"] == "grid"], evaluation.heat_map
    assert heat_map.x.name == "block_mass_kg"
    assert heat_map.x.values == pytest.approx([0.05, 1.8])
    assert {each.algorithm for each in heat_map.maps} == {*TRAINED, *UNTRAINED[1:]}
    for each in heat_map.maps:
        is_own = (grid["algorithm"] == each.algorithm) & (
            grid["episodes"] == each.adaptation_episodes
        )
        cells = grid[is_own].pivot_table("return", "pad_friction", "block_mass_kg")
        np.testing.assert_allclose(cells.to_numpy(), each.returns)
    for worst in evaluation.worst_tasks:
        rows = table.query(
            "algorithm == @worst.algorithm and seed == @worst.seed and split == @worst.split "
            "and task == @worst.index and episodes == @worst.adaptation_episodes and not exploring"
        )
        assert rows["return"].tolist() == [worst.return_after]
        assert rows[[*worst.task]].iloc[0].to_dict() == worst.task


def test_a_family_of_one_task_parameter_has_only_its_own_splits_and_no_heat_map(tmp_path):
    run = untrained_run(tmp_path, "metarobot/HalfCheetahDirection-v0", TRAINED)
    evaluation = measure([run], config=replace(QUICK, splits=EvaluationConfig().splits))
    assert evaluation.heat_map is None
    assert evaluation.splits == ("train",)
    assert [entry.split for entry in evaluation.headroom] == ["train"]
    assert evaluation.task_parameters[0].choices == (-1.0, 1.0)


@pytest.mark.parametrize("algorithms", [("promp",), ("rl2", "oracle")])
def test_every_policy_is_measured_with_or_without_references(algorithms, tmp_path):
    run = untrained_run(tmp_path, "metarobot/Grip-v0", algorithms)
    evaluation = measure([run], config=replace(CONFIG, untrained=()))
    assert {row.algorithm for row in evaluation.rows} == {*algorithms}
    assert evaluation.headroom == ()
    assert {entry.algorithm for entry in evaluation.heat_map.maps} == {*algorithms}


def test_a_point_does_not_depend_on_which_others_are_measured(runs):
    """But on the longest block: the draws of its episodes belong together."""

    def curve(**fields):
        config = replace(QUICK, splits=("train",), heat_map=False, **fields)
        return measure(runs[:1], config=config).curves["maml", "train"]

    many, few = curve(adaptation_episodes=(1, 2, 3)), curve(adaptation_episodes=(1, 3))
    assert [row.episodes for row in few] == [0, 1, 2, 3]  # the first of the blocks is among them
    assert many == few
    assert curve(adaptation_episodes=(0, 1, 3), num_blocks=0) == (*few[:2], few[3])


def test_what_is_measured_is_not_measured_again(evaluation, runs, folder, tmp_path, monkeypatch):
    measured, score = [], TaskSet.score
    monkeypatch.setattr(TaskSet, "score", lambda *args: measured.append(args) or score(*args))
    again = measure(runs, folder)
    assert again == evaluation
    pd.testing.assert_frame_equal(again.to_dataframe(), evaluation.to_dataframe())
    fewer = measure(runs, folder, QUICK)
    assert fewer.curves["maml", "train"] == evaluation.curves["maml", "train"]
    assert not measured
    assert measure(runs, tmp_path, replace(QUICK, seed=5)).rows != fewer.rows
    assert measured


def test_every_variant_of_the_family_is_measured_before_and_after_adapting(on_variants):
    run, evaluation = on_variants
    names = [variant.name for variant in variants_of(INSERT)]
    assert "late_commands" in names
    assert "greasy_pads" not in names
    found = [(row.variant, row.algorithm, row.episodes) for row in evaluation.rows if row.variant]
    stages = [("domain_randomisation", 0), ("maml", 0), ("maml", 1), ("maml", 5)]
    assert found == [(name, *stage) for name in names for stage in stages]
    conditions = {each.name: each for each in evaluation.robustness}
    assert [*conditions] == names
    assert conditions["worn_hole"].ranges
    assert not conditions["late_commands"].ranges
    assert measure([run], config=replace(INSERT_CONFIG, robustness=False)).robustness == ()
    on_variant = measure([run], config=INSERT_CONFIG, variant=find_variant("worn_hole"))
    assert on_variant.robustness == ()


def test_a_variant_that_leaves_the_ranges_alone_has_the_same_tasks():
    plain, late, worn = (
        TaskSet.of_split(INSERT, "train", INSERT_CONFIG, name and find_variant(name)).tasks
        for name in (None, "late_commands", "worn_hole")
    )
    assert plain == late != worn


def made_up_scores(before, after, *, split="train"):
    """Returns of one seed on 20 tasks before and after 5 episodes; those not given are 0."""
    found = []
    for episodes, given in ((0, before), (5, after)):
        returns = np.zeros((1, 20))
        for index, value in given.items():
            returns[0, index] = value
        success = (returns >= 0).astype(float)
        stage = (False, episodes, int(episodes > 0), returns, success, None)
        found.append(Scores("", split, "maml", *stage))
    return found


MASSES = Tasks({"m": np.linspace(0.1, 1.0, 20)})


def worst_of(scores, headrooms):
    tasks = dict.fromkeys(("train", "extrapolation"), MASSES)
    return find_worst_tasks("maml", [7], scores, tasks, headrooms)


def test_harmed_tasks_come_first_the_most_harmed_first():
    """The headroom is 1: a loss above 0.05 is harm."""
    scores = made_up_scores({3: -1.0, 4: -0.5, 7: -9.0}, {3: -1.1, 4: -0.9, 5: -0.04, 7: -9.0})
    worst = worst_of(scores, [headroom("train")])
    assert [(task.index, task.harmed) for task in worst] == [(4, True), (3, True), (7, False)]
    first = worst[0]
    assert first.task == {"m": MASSES["m"][4]}
    assert (first.return_before, first.return_after, first.adaptation_episodes) == (-0.5, -0.9, 5)
    assert not any(task.harmed for task in worst_of(scores, []))
    assert worst_of(scores[:1], [headroom("train")]) == []
