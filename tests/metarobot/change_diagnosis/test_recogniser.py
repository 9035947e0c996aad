"""`what_changed`: names changes, leaves unchanged robots alone, and says when it knows none."""

import numpy as np
import pytest

import metarobot as mr
from metarobot.change_diagnosis import recogniser
from metarobot.change_diagnosis.changes import GRIP_CHANGES
from metarobot.change_diagnosis.recogniser import Recogniser, WhatChanged, what_changed
from metarobot.change_diagnosis.trials import Trials
from metarobot.cli.main import main

BY_NAME = {change.name: change for change in GRIP_CHANGES}
CHOSEN = tuple(BY_NAME[name] for name in ("unchanged", "late_commands", "noisy_opening"))
NAMES = tuple(change.name for change in CHOSEN)


@pytest.fixture(scope="module")
def policy():
    return mr.load("grip")["latent"]


def test_plain_changes_are_named_on_robots_that_are_not_among_the_examples(policy):
    own = Recogniser(policy, changes=CHOSEN, num_robots=12)
    answers = own.judge(Trials(policy, num_robots=8, seed=5).run(CHOSEN))
    named = np.array([each.best for each in answers]).reshape(8, 3)
    assert (named[:, 1:] == NAMES[1:]).mean() >= 0.75
    assert np.mean([each.is_changed for each in answers[::3]]) <= 0.25
    assert all(np.isclose(each.probabilities.sum(), 1.0) for each in answers)


@pytest.mark.parametrize(
    ("probabilities", "is_changed", "is_known", "wanted"),
    [
        (
            [0.02, 0.88, 0.10],
            True,
            True,
            "late commands (0.88), then noisy opening (0.10)",
        ),
        ([0.02, 0.96, 0.02], True, True, "most like: late commands (0.96)"),
        ([0.60, 0.30, 0.10], False, True, "looks most like one of an unchanged robot (0.60)"),
        (
            [0.09, 0.17, 0.14],
            False,
            True,
            "cannot be told from one of an unchanged robot (0.09); the likeliest change is late "
            "commands (0.17)",
        ),
        ([0.02, 0.88, 0.10], True, False, "none of the changes that are known"),
    ],
)
def test_one_plain_sentence(probabilities, is_changed, is_known, wanted):
    said = WhatChanged(NAMES, np.array(probabilities), is_changed, is_known).sentence()
    assert wanted in said
    assert said.endswith((")", "known"))


def test_an_episode_that_ended_early_is_compared_with_beginnings(policy):
    """Of the steps that are left, the same is told as where nothing was simulated after them."""
    whole = Trials(policy, num_robots=1, seed=5).run(CHOSEN[:1])
    length = 10
    parts = [getattr(whole, name)[0, 0] for name in ("observations", "actions", "rewards")]
    log = [[part[: length + (place == 0)].numpy()] for place, part in enumerate(parts)]
    cut = mr.Episodes.from_log(*log)
    own = Recogniser(policy, changes=CHOSEN, num_robots=12, num_steps=length)
    of_cut, of_whole = own.judge(cut)[0], own.judge(whole)[0]
    np.testing.assert_allclose(of_cut.probabilities, of_whole.probabilities, rtol=1e-5)
    assert what_changed(policy, cut).is_known
    short = [[part[0][:4]] for part in log]
    with pytest.raises(ValueError, match="what came of 3 control steps, but changes are told from"):
        what_changed(policy, mr.Episodes.from_log(*short))


def test_episodes_of_several_robots_are_refused(policy):
    with pytest.raises(ValueError, match="one robot, got 2"):
        what_changed(policy, Trials(policy, num_robots=2).run(CHOSEN[:1]))


@pytest.mark.parametrize(("missing", "hidden"), [(0, False), (1, False), (None, True)])
def test_one_missing_reward_does_not_hide_all(policy, monkeypatch, missing, hidden):
    """The robots that it is compared with explore as this one did."""
    told, episodes = [], Trials(policy, num_robots=1).run(CHOSEN[:1])
    episodes.rewards[:, :, :missing] = np.nan

    class Stub:
        def __init__(self, policy, *, num_steps, rewards_hidden, seed):
            told.append(rewards_hidden)

        def judge(self, episodes):
            return [None]

    monkeypatch.setattr(recogniser, "Recogniser", Stub)
    what_changed(policy, episodes)
    assert told == [hidden]


def test_the_command_says_it_and_adapts_the_same(policy, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(recogniser, "changes_of", lambda env_id: CHOSEN)
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
