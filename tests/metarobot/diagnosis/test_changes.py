"""What has changed: changes are variants, trials compare, and answers keep their promises."""

import numpy as np
import pytest
import torch

import metarobot as mr
from metarobot.cli.main import main
from metarobot.diagnosis import changes as module
from metarobot.diagnosis.changes import (
    CHANGES,
    UNCHANGED,
    NominalModel,
    Recogniser,
    Steps,
    WhatChanged,
    changes_of,
    run_trials,
    scores_of,
    what_changed,
)
from metarobot.envs import Variant
from metarobot.rollout.collect import hide_rewards

GRIP = CHANGES["metarobot/Grip-v0"]


def chosen(*names):
    return {name: GRIP[name] for name in (UNCHANGED, *names)}


THREE = chosen("late_commands", "noisy_opening")


@pytest.fixture(scope="module")
def policy():
    return mr.load_policy("grip", "latent")


@pytest.fixture(scope="module")
def recogniser(policy):
    return Recogniser(policy, changes=THREE, num_robots=20)


def trials(policy, changes, number=12, seed=5, **options):
    return run_trials(policy, changes, number, seed=seed, **options)


@pytest.mark.parametrize("env_id", CHANGES)
def test_every_severity_is_a_variant_of_the_family_and_only_the_first_change_is_none(env_id):
    none = Variant.from_dict({"family": env_id}, name=UNCHANGED)
    for place, (name, levels) in enumerate(changes_of(env_id).items()):
        for level in levels:
            variant = Variant.from_dict({"family": env_id, **level}, name=UNCHANGED)
            assert (variant == none) == (name == UNCHANGED) == (place == 0)


def test_rows_are_robot_by_robot_and_do_not_depend_on_the_other_changes(policy):
    episodes = trials(policy, THREE, 4)
    assert (episodes.num_tasks, episodes.num_episodes) == (12, 1)
    alone = trials(policy, chosen(), 4)
    assert torch.equal(alone.observations, episodes.observations[::3])
    hidden = trials(policy, chosen(), 4, rewards_hidden=True)
    assert not torch.equal(alone.observations, hidden.observations)


def test_steps_hold_no_rewards_and_lost_observations_are_seen_again(policy):
    episodes = trials(policy, chosen("lost_observations"), 4)
    steps, blind = (Steps.of(own, policy.interface) for own in (episodes, hide_rewards(episodes)))
    assert all((one == other).all() for one, other in zip(steps, blind, strict=True))
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
    model = NominalModel(made_up_steps(rng, 0.01))
    assert 0.0007 < model.spread[1] < 0.0013
    same, weak = (model.features(made_up_steps(rng, gain)).mean(0) for gain in (0.01, 0.005))
    # Products of the residual of axis 1 with commands, one step before: E[log residual * command].
    assert abs(same[1]) < 0.2 < -weak[1]


def test_scores_are_distances_in_which_changes_scatter_alike():
    """Axes that are scaled or mixed make no difference; one that is the same everywhere says
    nothing."""
    rng = np.random.default_rng(0)
    label = np.tile(np.arange(3), 400)
    centres = np.array([[4.0, 0.0], [0.0, 0.0], [0.0, 3.0]])
    noise = rng.standard_normal((1200, 2))
    scores = scores_of((centres[label] + noise) * [1, 100], label, centres * [1, 100])
    wanted = -0.5 * ((centres[:, None] - centres) ** 2).sum(2)
    np.testing.assert_allclose(scores, wanted, rtol=0.15, atol=0.1)
    same = np.pad(centres[label] + noise, ((0, 0), (0, 1)))
    again = scores_of(same, label, np.pad(centres, ((0, 0), (0, 1)), constant_values=9.0))
    np.testing.assert_allclose(again, scores, rtol=0.1, atol=0.1)


def test_plain_changes_are_named_and_one_that_is_not_in_the_list_is_noticed(policy, recogniser):
    answers = recogniser.judge(trials(policy, THREE))
    named = np.array([each.best for each in answers]).reshape(12, 3)
    assert (named[:, 1:] == list(THREE)[1:]).mean() >= 0.9
    assert all(np.isclose(each.probabilities.sum(), 1.0) for each in answers)
    answers = recogniser.judge(trials(policy, chosen("lost_observations")))
    noticed = np.array([each.is_changed or not each.is_known for each in answers])
    assert noticed[::2].mean() <= 0.25
    assert noticed[1::2].mean() >= 0.75


def test_an_episode_that_ended_early_is_compared_with_beginnings(policy, monkeypatch):
    """Of the steps that are left, the same is said as where nothing was simulated after them."""
    whole = trials(policy, chosen(), 1)
    length = 10
    parts = [getattr(whole, name)[0, 0] for name in ("observations", "actions", "rewards")]
    log = [[part[: length + (place == 0)].numpy()] for place, part in enumerate(parts)]
    cut = mr.Episodes.from_log(*log)
    own = Recogniser(policy, changes=THREE, num_robots=12, num_steps=length)
    of_cut, of_whole = own.judge(cut)[0], own.judge(whole)[0]
    np.testing.assert_allclose(of_cut.probabilities, of_whole.probabilities, rtol=1e-5)
    monkeypatch.setattr(module, "changes_of", lambda env_id: THREE)
    monkeypatch.setattr(module, "_LIMIT_ROBOTS", 40)
    assert what_changed(policy, cut).is_known
    short = mr.Episodes.from_log(*([part[0][:4]] for part in log))
    with pytest.raises(ValueError, match="outcome of 3 control steps, but changes are named from"):
        what_changed(policy, short)


@pytest.mark.parametrize(
    ("probabilities", "is_changed", "is_known", "wanted"),
    [
        ([0.02, 0.88, 0.10], True, True, "late commands (0.88), then noisy opening (0.10)"),
        ([0.02, 0.96, 0.02], True, True, "most like: late commands (0.96)"),
        ([0.60, 0.30, 0.10], False, True, "looks most like one of an unchanged robot (0.60)"),
        ([0.09, 0.17, 0.14], False, True, "robot (0.09); the likeliest change is late commands"),
        ([0.02, 0.88, 0.10], True, False, "none of the changes that are known"),
    ],
)
def test_one_plain_sentence(probabilities, is_changed, is_known, wanted):
    said = WhatChanged(tuple(THREE), np.array(probabilities), is_changed, is_known).sentence()
    assert wanted in said
    assert said.endswith((")", "known"))


def test_several_robots_and_policies_without_trials_or_changes_are_refused(policy):
    for refused, words in (
        (lambda: changes_of("metarobot/Slide-v0"), r"known for grip and reach only, got .*Slide"),
        (lambda: what_changed(policy, trials(policy, chosen(), 2)), "one robot, got 2"),
        (lambda: trials(mr.load_policy("grip", "oracle"), chosen(), 2), "runs no trial episodes"),
    ):
        with pytest.raises(ValueError, match=words):
            refused()


def test_the_command_says_it_and_adapts_the_same(policy, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module, "changes_of", lambda env_id: THREE)
    out, plain = (tmp_path / f"{name}.safetensors" for name in ("said", "plain"))
    command = ["adapt", "grip", "--episodes", "1", "--out"]
    assert main([*command, str(out), "--what-changed"]) == 0
    assert "the first episode" in capsys.readouterr().out
    assert main([*command, str(plain)]) == 0
    said, silent = mr.load_policy(out), mr.load_policy(plain)
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
