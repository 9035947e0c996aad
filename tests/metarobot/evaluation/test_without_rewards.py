"""Evaluations in which rewards are hidden: nobody sees one, and who needs them is left out."""

from dataclasses import replace

import pytest
from fakes import untrained_run

from metarobot.evaluation.evaluate import evaluate_runs
from metarobot.evaluation.protocol import UNTRAINED, EvaluationConfig
from metarobot.evaluation.table import Evaluation
from metarobot.policies.latent import LatentState

ENV_ID = "metarobot/Slide-v0"
SEEN = EvaluationConfig(
    num_tasks=2,
    adaptation_episodes=(1, 2),
    num_blocks=2,
    episodes_per_block=2,
    test_episodes=1,
    grid_size=2,
    heat_map_episodes=(1,),
    untrained=(),
    splits=("interpolation",),
)
HIDDEN = replace(SEEN, rewards="hidden")
NEVER_ADAPT = ("domain_randomisation", "recurrent_randomisation", "teacher_student", "oracle")


@pytest.fixture
def run_of(tmp_path):
    return lambda *algorithms: untrained_run(tmp_path, ENV_ID, algorithms)


def evaluate(run, config):
    return evaluate_runs([run], config, lambda stage, share: None)


@pytest.fixture
def shown(monkeypatch):
    """Whether each reward that a latent policy is shown, acting or adapting, is hidden."""
    found = set()
    observe = LatentState.observe

    def spied(state, actions, rewards, counts):
        found.update(rewards.isnan().flatten().tolist())
        observe(state, actions, rewards, counts)

    monkeypatch.setattr(LatentState, "observe", spied)
    return found


@pytest.mark.parametrize(("config", "hidden"), [(SEEN, False), (HIDDEN, True)])
def test_no_episode_shows_a_reward_that_is_hidden(shown, config, hidden, run_of):
    evaluation = evaluate(run_of("latent"), config)
    assert shown == {hidden}
    for row in evaluation.rows:
        assert row.return_mean.value < 0.0, "the evaluator sees them all the same"


def test_who_never_adapts_does_the_same(run_of):
    run = run_of(*NEVER_ADAPT, "latent")
    seen, hidden = evaluate(run, SEEN), evaluate(run, HIDDEN)
    for name in NEVER_ADAPT:
        assert [row for row in seen.rows if row.algorithm == name] == [
            row for row in hidden.rows if row.algorithm == name
        ]
    assert hidden.headroom == seen.headroom
    assert hidden.left_out == seen.left_out == ()


def test_who_needs_rewards_is_left_out_and_named(run_of):
    run = run_of("maml", "rl2", "latent", "domain_randomisation", "oracle")
    evaluation = evaluate(run, replace(HIDDEN, untrained=UNTRAINED))
    measured = [policy.algorithm for policy in evaluation.policies]
    assert measured == ["random", "domain_randomisation", "latent", "oracle"]
    needing = ("from_scratch", "fine_tuning", "maml", "rl2", "strategy_search", "identification")
    assert evaluation.left_out == needing
    assert Evaluation.from_dict(evaluation.to_dict()) == evaluation


def test_if_nobody_adapts_without_rewards_nothing_is_measured(run_of):
    with pytest.raises(ValueError, match=r"^rewards 'hidden' leaves .*: maml, rl2 need"):
        evaluate(run_of("maml", "rl2", "domain_randomisation"), HIDDEN)


def test_rewards_are_seen_or_hidden():
    with pytest.raises(ValueError, match="rewards must be seen or hidden, got 'none'"):
        EvaluationConfig(rewards="none")  # pyright: ignore[reportArgumentType]
