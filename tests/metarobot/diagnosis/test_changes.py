"""What has changed: changes are variants, trials compare, and answers keep their promises."""

import numpy as np
import pytest
import torch

import metarobot as mr
from metarobot.cli.main import main
from metarobot.diagnosis import changes as module
from metarobot.diagnosis.changes import (
    CHANGES,
    GRIP_CHANGES,
    UNCHANGED,
    Discriminant,
    NominalModel,
    Recogniser,
    Steps,
    Trials,
    WhatChanged,
    changes_of,
    what_changed,
)
from metarobot.rollout.hidden_rewards import hide_rewards

BY_NAME = {change.name: change for change in GRIP_CHANGES}
CHOSEN = tuple(BY_NAME[name] for name in ("unchanged", "late_commands", "noisy_opening"))
NAMES = tuple(change.name for change in CHOSEN)


@pytest.fixture(scope="module")
def policy():
    return mr.load("grip")["latent"]


@pytest.fixture(scope="module")
def recogniser(policy):
    return Recogniser(policy, changes=CHOSEN, num_robots=20)


@pytest.mark.parametrize("env_id", CHANGES)
def test_every_severity_is_a_variant_of_the_family_and_only_one_change_is_none(env_id):
    changes = changes_of(env_id)
    names = [change.name for change in changes]
    assert len(set(names)) == len(names)
    assert names[0] == UNCHANGED
    assert [change.held_out for change in changes] == [False] * (len(names) - 5) + [True] * 5
    for change in changes:
        for variant in change.variants(env_id):
            assert (variant is None) == (change.name == UNCHANGED)
            assert variant is None or variant.env_id == env_id


def test_a_family_without_known_changes_is_refused():
    with pytest.raises(ValueError, match=r"known for grip and reach only, got .*Slide-v0"):
        changes_of("metarobot/Slide-v0")


def test_rows_are_robot_by_robot_and_do_not_depend_on_the_other_changes(policy):
    episodes = Trials(policy=policy, num_robots=4).run(CHOSEN)
    assert (episodes.num_tasks, episodes.num_episodes) == (12, 1)
    alone = Trials(policy=policy, num_robots=4).run(CHOSEN[:1])
    assert torch.equal(alone.observations, episodes.observations[::3])
    hidden = Trials(policy=policy, num_robots=4, rewards_hidden=True).run(CHOSEN[:1])
    assert not torch.equal(alone.observations, hidden.observations)


def test_only_what_changes_differs_between_a_robot_and_itself_unchanged(policy, monkeypatch):
    tasks, make_env = [], module.make_env

    def watched(*args, **options):
        env = make_env(*args, **options)
        monkeypatch.setattr(
            env, "set_tasks", lambda own, set=env.set_tasks: (tasks.append(own), set(own))
        )
        return env

    monkeypatch.setattr(module, "make_env", watched)
    chosen = BY_NAME["unchanged"], BY_NAME["greasy_pads"]
    Trials(policy=policy, num_robots=4, split="interpolation").run(chosen)
    own, greasy = tasks
    assert (own["block_mass_kg"] == greasy["block_mass_kg"]).all()
    assert ((greasy["pad_friction"] >= 0.06) & (greasy["pad_friction"] <= 0.16)).all()
    assert (own["pad_friction"] >= 0.35).all()


def test_steps_hold_no_rewards_and_lost_observations_are_seen_again(policy):
    chosen = BY_NAME["unchanged"], BY_NAME["lost_observations"]
    episodes = Trials(policy=policy, num_robots=4).run(chosen)
    steps = Steps.of(episodes, policy.interface)
    blind = Steps.of(hide_rewards(episodes), policy.interface)
    assert all((one == other).all() for one, other in zip(steps, blind, strict=True))
    assert steps.change.shape == (8, policy.interface.horizon - 1, 5)
    again = (steps.change == 0).mean((1, 2))
    assert again[1::2].mean() > again[::2].mean()


def made_up_steps(rng, gain, number=50):
    """A robot with one axis that moves by gain times the last command, and one that rests."""
    action = rng.uniform(-1, 1, (number, 20, 1))
    moved = np.pad(action[:, :-1], ((0, 0), (1, 0), (0, 0)))
    change = gain * np.concatenate([moved, 0 * moved], axis=2)
    change += 0.001 * rng.standard_normal(change.shape)
    observation = np.cumsum(change, axis=1) - change
    return Steps(observation, change, action)


def test_the_nominal_model_leaves_noise_of_unchanged_robots_and_what_a_weak_drive_lacks():
    rng = np.random.default_rng(0)
    model = NominalModel.fit(made_up_steps(rng, 0.01))
    assert 0.0007 < model.spread[1] < 0.0013
    same, weak = (model.features(made_up_steps(rng, gain)).mean(0) for gain in (0.01, 0.005))
    # Products of the residual of axis 1 with commands, one step before: E[log residual * command].
    assert abs(same[1]) < 0.2 < -weak[1]


def test_scores_are_the_log_likelihoods_of_the_two_covariance_model():
    rng = np.random.default_rng(0)
    label = np.tile(np.arange(3), 400)
    centres = np.array([[2.0, 0.0], [0.0, 0.0], [-2.0, 0.0]])
    features = centres[label] + rng.standard_normal((1200, 2))
    own = Discriminant.fit(features, label)
    # Along axis 2, changes differ by what is left for all directions; axis 1 has the rest.
    np.testing.assert_allclose(np.sort(own.variances), [0.2, 3.8], rtol=0.2)
    few, known = features[:6], label[:6]
    scores = own.scores(few, known, features[6:9])
    place = (features - own.mean) @ own.axes
    for change in range(3):
        n, mean = 2, place[:6][known == change].mean(0)
        middle = n * own.variances / (n * own.variances + 1) * mean
        spread = 1 + own.variances / (n * own.variances + 1)
        wanted = -0.5 * ((place[6:9] - middle) ** 2 / spread + np.log(spread)).sum(1)
        np.testing.assert_allclose(scores[:, change], wanted)


def test_plain_changes_are_named_on_robots_that_are_not_among_the_examples(policy, recogniser):
    answers = recogniser.judge(Trials(policy=policy, num_robots=12, seed=5).run(CHOSEN))
    named = np.array([each.best for each in answers]).reshape(12, 3)
    assert (named[:, 1:] == NAMES[1:]).mean() >= 0.9
    assert np.mean([each.is_changed for each in answers[::3]]) <= 0.25
    assert all(np.isclose(each.probabilities.sum(), 1.0) for each in answers)


def test_a_change_that_is_not_in_the_list_is_noticed(policy, recogniser):
    lost = BY_NAME["unchanged"], BY_NAME["lost_observations"]
    answers = recogniser.judge(Trials(policy=policy, num_robots=12, seed=5).run(lost))
    noticed = np.array([each.is_changed or not each.is_known for each in answers])
    assert noticed[::2].mean() <= 0.25
    assert noticed[1::2].mean() >= 0.75


def test_an_episode_that_ended_early_is_compared_with_beginnings(policy):
    """Of the steps that are left, the same is said as where nothing was simulated after them."""
    whole = Trials(policy=policy, num_robots=1, seed=5).run(CHOSEN[:1])
    length = 10
    parts = [getattr(whole, name)[0, 0] for name in ("observations", "actions", "rewards")]
    log = [[part[: length + (place == 0)].numpy()] for place, part in enumerate(parts)]
    cut = mr.Episodes.from_log(*log)
    own = Recogniser(policy, changes=CHOSEN, num_robots=12, num_steps=length)
    of_cut, of_whole = own.judge(cut)[0], own.judge(whole)[0]
    np.testing.assert_allclose(of_cut.probabilities, of_whole.probabilities, rtol=1e-5)
    assert what_changed(policy, cut).is_known
    short = mr.Episodes.from_log(*([part[0][:4]] for part in log))
    with pytest.raises(
        ValueError, match="what came of 3 control steps, but changes are named from"
    ):
        what_changed(policy, short)


@pytest.mark.parametrize(
    ("probabilities", "is_changed", "is_known", "wanted"),
    [
        ([0.02, 0.88, 0.10], True, True, "late commands (0.88), then noisy opening (0.10)"),
        ([0.02, 0.96, 0.02], True, True, "most like: late commands (0.96)"),
        ([0.60, 0.30, 0.10], False, True, "looks most like one of an unchanged robot (0.60)"),
        (
            [0.09, 0.17, 0.14],
            False,
            True,
            "an unchanged robot (0.09); the likeliest change is late commands (0.17)",
        ),
        ([0.02, 0.88, 0.10], True, False, "none of the changes that are known"),
    ],
)
def test_one_plain_sentence(probabilities, is_changed, is_known, wanted):
    said = WhatChanged(NAMES, np.array(probabilities), is_changed, is_known).sentence()
    assert wanted in said
    assert said.endswith((")", "known"))


@pytest.mark.parametrize(("missing", "hidden"), [(0, False), (1, False), (None, True)])
def test_one_missing_reward_does_not_hide_all(policy, monkeypatch, missing, hidden):
    """The robots that it is compared with explore as this one did."""
    seen, episodes = [], Trials(policy=policy, num_robots=1).run(CHOSEN[:1])
    episodes.rewards[:, :, :missing] = np.nan

    class Stub:
        def __init__(self, policy, *, num_steps, rewards_hidden, seed):
            seen.append(rewards_hidden)

        def judge(self, episodes):
            return [None]

    monkeypatch.setattr(module, "Recogniser", Stub)
    what_changed(policy, episodes)
    assert seen == [hidden]


def test_several_robots_and_policies_without_trials_are_refused(policy):
    with pytest.raises(ValueError, match="one robot, got 2"):
        what_changed(policy, Trials(policy=policy, num_robots=2).run(CHOSEN[:1]))
    with pytest.raises(ValueError, match="runs no trial episodes"):
        Trials(policy=mr.load("grip")["oracle"], num_robots=2).run(CHOSEN)


def test_the_command_says_it_and_adapts_the_same(policy, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module, "changes_of", lambda env_id: CHOSEN)
    out, plain = (tmp_path / f"{name}.safetensors" for name in ("said", "plain"))
    command = ["adapt", "grip", "--episodes", "1", "--out"]
    assert main([*command, str(out), "--what-changed"]) == 0
    assert "the first episode" in capsys.readouterr().out
    assert main([*command, str(plain)]) == 0
    said, silent = mr.load(out), mr.load(plain)
    assert all((said.params[name] == silent.params[name]).all() for name in said.params)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["slide", "--what-changed"], "metarobot/Slide-v0"),
        (["grip", "--what-changed", "--steps", "2"], "--steps"),
        (["grip", "--variant", "late_network"], "late_network"),
        (["grip", "--variant", "greasy_pads", "--env", "my:my/Robot-v0"], "--variant"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments, wanted, tmp_path, capsys):
    out = tmp_path / "adapted.safetensors"
    assert main(["adapt", *arguments, "--episodes", "1", "--out", str(out)]) == 2
    complaint = capsys.readouterr().err.strip()
    assert wanted in complaint.splitlines()[-1]
