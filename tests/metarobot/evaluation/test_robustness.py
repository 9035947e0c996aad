"""Policies under the shipped variants: on the same tasks, before and after adapting."""

from dataclasses import replace

import pytest
from fakes import untrained_run

from metarobot.envs import find_variant
from metarobot.evaluation.evaluate import evaluate_runs, variants_of, who_is_measured
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.task_set import TaskSet

INSERT = "metarobot/Insert-v0"
CONFIG = EvaluationConfig(
    num_tasks=2,
    adaptation_episodes=(1,),
    num_blocks=0,
    episodes_per_block=2,
    test_episodes=1,
    splits=("train",),
    heat_map=False,
    untrained=(),
    robustness=True,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    names = ("maml", "domain_randomisation")
    return untrained_run(tmp_path_factory.mktemp("run"), INSERT, names)


def test_every_variant_of_the_family_is_measured_before_and_after_adapting(run):
    stages = []
    evaluation = evaluate_runs([run], CONFIG, lambda stage, share: stages.append((stage, share)))
    names = [variant.name for variant in variants_of(INSERT)]
    assert "late_commands" in names
    assert "greasy_pads" not in names
    found = {(entry.variant, entry.algorithm): entry for entry in evaluation.robustness}
    assert list(found) == [(v, p) for v in names for p in who_is_measured(run, CONFIG)]
    for (_, algorithm), entry in found.items():
        episodes = [point.adaptation_episodes for point in entry.points]
        assert episodes == ([0, 1, 5] if algorithm == "maml" else [0])
    assert found["worn_hole", "maml"].other_tasks
    assert not found["late_commands", "maml"].other_tasks
    assert max(share for _, share in stages) == 1.0


def test_it_is_not_measured_unless_asked_for_nor_on_a_variant(run):
    plain = evaluate_runs([run], replace(CONFIG, robustness=False), lambda *_: None)
    assert plain.robustness == ()
    on_variant = evaluate_runs([run], CONFIG, lambda *_: None, find_variant("worn_hole"))
    assert on_variant.robustness == ()


def test_a_variant_that_leaves_the_ranges_alone_has_the_same_tasks_and_starts():
    plain = TaskSet.of_split(INSERT, "train", CONFIG)
    late = TaskSet.of_split(INSERT, "train", CONFIG, find_variant("late_commands"))
    assert plain.tasks == late.tasks
    worn = TaskSet.of_split(INSERT, "train", CONFIG, find_variant("worn_hole"))
    assert plain.tasks != worn.tasks
