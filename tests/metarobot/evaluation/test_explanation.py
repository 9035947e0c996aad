"""What adaptation has sensed and changed: of a policy that was trained, and by hand."""

from dataclasses import replace

import numpy as np
import pytest

from metarobot.envs import Variant, find_family
from metarobot.evaluation.explain import Explanation, OneTask, Probe, compare_readings, explain
from metarobot.evaluation.protocol import ExplanationConfig
from metarobot.training.load import FOLDER, TrainedRun, load_run

RUN = FOLDER / "slide"
CONFIG = ExplanationConfig(num_tasks=20, adaptation_episodes=(0, 5))
PARAMETERS = ("puck_mass_kg", "table_friction")


@pytest.fixture(scope="module")
def run() -> TrainedRun:
    return load_run(RUN)


@pytest.fixture(scope="module")
def explanation(run: TrainedRun) -> Explanation:
    return explain(run, "maml", CONFIG, lambda *_: None, {"table_friction": 0.09})


def test_readings_of_every_parameter_split_and_number(explanation: Explanation) -> None:
    found = {(r.parameter, r.split, r.adaptation_episodes): r for r in explanation.readings}
    splits = ("train", "interpolation", "extrapolation")
    assert set(found) == {(p, s, n) for p in PARAMETERS for s in splits for n in (0, 5)}
    assert all(r.low <= r.r2 <= r.high for r in found.values())
    # Before adapting nothing is known, and the mass of the puck does not show in how it slides.
    assert all(r.r2 < 0.05 for key, r in found.items() if key[2] == 0 or key[0] == PARAMETERS[0])
    assert found["table_friction", "train", 5].r2 > 0.1


def test_the_oracle_follows_friction_and_not_mass(explanation: Explanation) -> None:
    mass, friction = explanation.sensitivities
    assert (mass.parameter, friction.parameter) == PARAMETERS
    assert friction.of_oracle is not None
    assert abs(mass.of_oracle or 0.0) < 0.1 < friction.of_oracle


def test_a_gradient_step_moves_layers_and_alike_tasks_alike(explanation: Explanation) -> None:
    assert {update.layer for update in explanation.updates} >= {"layers.0.weight", "layers.2.bias"}
    assert all(update.size > 0.0 for update in explanation.updates)
    distances, cosines = np.array(explanation.similarity).T
    assert len(distances) == CONFIG.num_tasks // 2
    assert (np.abs(cosines) <= 1.0 + 1e-9).all()
    assert (distances >= 0.0).all()


def test_one_task_is_read_with_its_interval(explanation: Explanation) -> None:
    task = explanation.one_task
    assert task is not None
    mass, friction = task.estimates
    assert (mass.true, friction.true) == (
        find_family(explanation.family).distribution["puck_mass_kg"].nominal,
        0.09,
    )
    assert all(each.low < each.value < each.high for each in task.estimates)
    assert task.beyond == ()
    assert [change.element for change in task.changes] == ["logarithm of the paddle's speed"]
    assert task.changes[0].before != task.changes[0].after


def test_who_moves_no_layer_has_no_updates_and_its_belief_narrows(run: TrainedRun) -> None:
    answers, stages = list[tuple[int, OneTask]](), list[str]()
    explanation = explain(
        run,
        "latent",
        CONFIG,
        lambda stage, _: stages.append(stage),
        {"table_friction": 0.09},
        lambda found: answers.append((len(stages), found)),
    )
    # The answer about the one task comes before any other task is looked at, and only once.
    ((num_stages, answer),) = answers
    assert num_stages == 1
    assert answer == explanation.one_task
    friction = answer.estimates[1]
    assert friction.low < friction.true < friction.high < 1.5 * friction.low
    assert explanation.updates == explanation.similarity == ()
    assert explanation.state_map is not None
    splits = [task.split for task in explanation.believed]
    assert splits == ["interpolation"] * 2 + ["extrapolation"] * 2
    for task in explanation.believed:
        assert len(task.bands) == len(task.is_used) == 6  # after 0 to 5 episodes
        assert all(b.low <= b.median <= b.high for stage in task.bands for b in stage)
        assert task.is_used[-1]
    mass, friction = explanation.narrowing
    assert friction.adaptation_episodes == 5
    assert friction.width < 0.2 < 0.7 < mass.width
    assert min(mass.holds_truth, friction.holds_truth) > 0.5


OILY = Variant.from_dict(
    {"family": "slide", "name": "oily", "ranges": {"table_friction": {"train": [0.04, 0.07]}}}
)
"""Other frictions than those of the family, and none held out; the puck masses are its own."""


def on_variant(run: TrainedRun) -> TrainedRun:
    """Return a run as if it had been trained on the variant."""
    policies = {
        name: replace(trained, config=replace(trained.config, variant=OILY))
        for name, trained in run.policies.items()
    }
    return replace(run, policies=policies)


def test_ranges_and_splits_are_those_of_the_variant_trained_on(run: TrainedRun) -> None:
    config = ExplanationConfig(num_tasks=10, adaptation_episodes=(0, 1))
    oily = on_variant(run)
    assert oily.distribution == OILY.distribution != run.distribution
    found = explain(oily, "maml", config, lambda *_: None, {"table_friction": 0.1})
    assert found.variant == "oily"
    assert found.parameters == OILY.distribution.parameters
    frictions = [task[1] for task in found.tasks]
    assert 0.04 <= min(frictions) <= max(frictions) <= 0.07
    assert found.one_task is not None
    assert found.one_task.beyond == ("table_friction",)
    assert {row.split for row in found.readings} == set(OILY.distribution.splits)


# By hand.

RNG = np.random.default_rng(0)
REACH = find_family("metarobot/Reach-v0").distribution


@pytest.mark.parametrize("num_elements", [3, 400])
def test_what_is_linear_is_read_exactly(num_elements) -> None:
    tasks = RNG.normal(size=(60, 2))
    mixing = RNG.normal(size=(2, num_elements))
    probe = Probe.fit(tasks[:40] @ mixing + 5.0, tasks[:40])
    np.testing.assert_allclose(
        probe.model.predict(tasks[40:] @ mixing + 5.0), tasks[40:], atol=1e-3
    )
    assert probe.error.max() < 1e-3


def test_the_truth_is_read_with_1_and_another_task_with_less() -> None:
    points = RNG.random((6, len(REACH.parameters)))
    codes = REACH.encode(REACH.spread(points))
    rows = [*compare_readings(REACH, "extrapolation", 5, codes, 0.0 * codes)]
    assert {row.parameter: row.r2 for row in rows} == pytest.approx(dict.fromkeys(REACH.names, 1.0))
    wrong = points.copy()
    wrong[:, 1] = wrong[::-1, 1]  # the payloads of other tasks
    errors = np.square(REACH.encode(REACH.spread(wrong)) - codes)
    rows = [*compare_readings(REACH, "extrapolation", 5, codes, errors)]
    found = {row.parameter: row.r2 for row in rows}
    assert found["payload_kg"] < 0.5
    assert found["frame_yaw_rad"] == pytest.approx(1.0)
    assert all(row.low <= row.r2 <= row.high for row in rows)
