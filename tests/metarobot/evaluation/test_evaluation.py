from dataclasses import replace

import numpy as np
import pytest
import torch
from trained import TRAINED

from metarobot.algorithms import make_policy, train_config
from metarobot.envs import SPLITS
from metarobot.evaluation.evaluate import evaluate_runs
from metarobot.evaluation.protocol import UNTRAINED, EvaluationConfig
from metarobot.evaluation.references import measured_names
from metarobot.evaluation.table import _ratio
from metarobot.evaluation.task_set import UniformPolicy
from metarobot.training.load import TrainedPolicy, TrainedRun

ENV_ID = "metarobot/Grip-v0"
CONFIG = EvaluationConfig(
    num_tasks=3,
    adaptation_episodes=(1, 3),
    num_blocks=1,
    episodes_per_block=2,
    test_episodes=1,
    grid_size=2,
    heat_map_episodes=(2,),
)


def untrained_run(seed, env_id=ENV_ID, algorithms=TRAINED):
    policies = {}
    for algorithm in algorithms:
        config = train_config(env_id=env_id, algorithm=algorithm, seed=seed)
        policy = make_policy(config)
        params = policy.initial_params(torch.Generator().manual_seed(seed))
        policies[algorithm] = TrainedPolicy(policy, params, config)
    return TrainedRun(seed=seed, env_id=env_id, policies=policies)


def stages_of(evaluation):
    return {
        (curve.algorithm, point.adaptation_episodes)
        for curve in evaluation.curves
        for point in (*curve.points, *curve.blocks)
    }


@pytest.fixture(scope="module")
def evaluation():
    return evaluate_runs([untrained_run(0), untrained_run(1)], CONFIG, lambda stage, share: None)


def test_every_algorithm_stands_in_every_split(evaluation):
    by_blocks = {("random", 0, True)} | {
        (algorithm, episodes, exploring)
        for algorithm, episodes in (
            ("domain_randomisation", 0),
            ("maml", 0),
            ("maml", 2),
            ("oracle", 0),
        )
        for exploring in (False, True)
    }
    by_episodes = {point for point in by_blocks if point[1] == 0}
    by_episodes |= {("maml", 1, False), ("maml", 3, False)}
    for split in SPLITS:
        curves = [curve for curve in evaluation.curves if curve.split == split]
        for expected, points_of in (
            (by_episodes, lambda curve: curve.points),
            (by_blocks, lambda curve: curve.blocks),
        ):
            seen = {
                (curve.algorithm, point.adaptation_episodes, curve.exploring)
                for curve in curves
                for point in points_of(curve)
            }
            assert seen == expected
    assert evaluation.seeds == (0, 1)


def test_intervals_hold_their_means(evaluation):
    for curve in evaluation.curves:
        for point in (*curve.points, *curve.blocks):
            mean = point.return_mean
            assert mean.low <= mean.value <= mean.high
            assert 0.0 <= point.success.value <= 1.0
        for number, point in enumerate(curve.blocks):
            assert point.adaptation_episodes == 2 * number


def test_captured_follows_from_the_means(evaluation):
    for entry in evaluation.headroom:
        gap = entry.oracle - entry.domain_randomisation
        assert entry.gap.value == pytest.approx(gap)
        curve = evaluation.curve("maml", entry.split)
        for point in (*curve.points, *curve.blocks):
            assert len(point.captured_per_seed) == 2
            won = point.return_mean.value - entry.domain_randomisation
            assert point.captured is None or point.captured.value == pytest.approx(won / gap)


def test_without_headroom_there_is_no_fraction():
    assert (_ratio(1.0, 2.0), _ratio(1.0, 0.0)) == (0.5, None)


def test_heat_map_spans_the_extrapolation_ranges(evaluation):
    grid = evaluation.heat_map
    assert grid.x.name == "block_mass_kg"
    assert grid.x.values == pytest.approx([0.05, 1.8])
    found = [(entry.algorithm, entry.adaptation_episodes) for entry in grid.maps]
    assert found == [("domain_randomisation", 0), ("maml", 0), ("maml", 2), ("oracle", 0)]
    assert all(np.shape(entry.returns) == (2, 2) for entry in grid.maps)


def test_a_family_of_one_task_parameter_has_only_its_own_splits_and_no_heat_map():
    run = untrained_run(0, "metarobot/HalfCheetahDirection-v0")
    evaluation = evaluate_runs([run], CONFIG, lambda stage, share: None)
    assert evaluation.heat_map is None
    assert evaluation.splits == ("train",)
    assert [entry.split for entry in evaluation.headroom] == ["train"]
    assert evaluation.task_parameters[0].choices == (-1.0, 1.0)


@pytest.mark.parametrize("algorithms", [("promp",), ("rl2", "oracle"), ("domain_randomisation",)])
def test_every_policy_is_measured_with_or_without_references(algorithms):
    few = replace(CONFIG, untrained=())
    run = untrained_run(0, algorithms=algorithms)
    evaluation = evaluate_runs([run], few, lambda stage, share: None)
    found = stages_of(evaluation)
    adapts = {name: name in ("promp", "rl2") for name in algorithms}
    assert found == {(name, k) for name in algorithms for k in range(1 + 3 * adapts[name])}
    assert evaluation.headroom == ()
    assert {entry.algorithm for entry in evaluation.heat_map.maps} == set(algorithms)


def test_untrained_references_are_measured_on_request():
    untrained = UNTRAINED
    run = untrained_run(0, algorithms=("domain_randomisation", "oracle"))
    evaluation = evaluate_runs([run], replace(CONFIG, untrained=untrained), lambda *_: None)
    found = stages_of(evaluation)
    stages = {(name, k) for name in untrained[1:] for k in (0, 1, 2, 3)}
    assert found == {("random", 0), ("domain_randomisation", 0), ("oracle", 0)} | stages
    assert set(evaluation.learners) == {*untrained[1:]}


@pytest.mark.parametrize(
    ("algorithms", "expected"),
    [
        (("oracle",), {"random", "strategy_search", "identification", "oracle"}),
        (("promp", "domain_randomisation"), {"random", "fine_tuning", "from_scratch"}),
        (("promp",), {"random"}),
    ],
)
def test_a_reference_is_measured_where_the_policy_is_that_it_is_made_of(algorithms, expected):
    config = replace(CONFIG, untrained=UNTRAINED)
    names = measured_names(untrained_run(0, algorithms=algorithms), config)
    assert set(names) == expected | {*algorithms}


def test_the_same_runs_give_the_same_numbers(evaluation):
    again = evaluate_runs([untrained_run(0), untrained_run(1)], CONFIG, lambda stage, share: None)
    assert again.curves == evaluation.curves
    assert again.heat_map == evaluation.heat_map


def measured(**fields):
    """Judged curve of MAML on the training range, measured with other numbers."""
    config = replace(CONFIG, splits=("train",), heat_map=False, **fields)
    run = untrained_run(0)
    return evaluate_runs([run], config, lambda stage, share: None).curve("maml", "train")


def test_the_first_block_is_the_point_of_as_many_episodes():
    curve = measured(adaptation_episodes=(1, 2, 3), num_blocks=2)
    assert curve.blocks[1] == curve.after_episodes(2)
    assert curve.blocks[0] == curve.points[0]
    assert curve.blocks[2] not in curve.points


def test_a_point_does_not_depend_on_which_others_are_measured():
    """But on the longest block: the draws of its episodes belong together."""
    many, few = measured(adaptation_episodes=(1, 2, 3)), measured(adaptation_episodes=(1, 3))
    assert [many.after_episodes(number) for number in (0, 1, 3)] == list(few.points)
    assert measured(adaptation_episodes=(0, 1, 3)) == few


def test_without_numbers_of_episodes_or_blocks_the_others_are_there():
    blocks_alone = measured(adaptation_episodes=())
    assert [point.adaptation_episodes for point in blocks_alone.points] == [0]
    assert [point.adaptation_episodes for point in blocks_alone.blocks] == [0, 2]
    assert [point.adaptation_episodes for point in measured(num_blocks=0).blocks] == [0]


@pytest.mark.parametrize("numbers", [[1, 2], (2, 2), (5, 1), (-1, 2), (1.0,), (True,), "12", 3])
@pytest.mark.parametrize("name", ["adaptation_episodes", "heat_map_episodes"])
def test_numbers_of_episodes_increase(name, numbers):
    with pytest.raises(ValueError, match=f"{name} must be increasing integers in .0, "):
        EvaluationConfig(**{name: numbers})


def test_the_random_algorithm_plays_its_noise():
    policy = UniformPolicy(2)
    mean, log_std = policy.distribution({}, torch.zeros(4, 5, 3))
    assert mean.shape == (4, 5, 2)
    assert log_std.shape == (4, 2)
    assert not mean.any()
    assert not log_std.any()
