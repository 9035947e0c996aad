"""Episodes from a log: ragged, checked, and one line for what is wrong."""

import numpy as np
import pytest
import torch

from metarobot.rollout.episodes import Episodes

LENGTHS = (3, 1, 5)


def a_log(rng=None):
    rng = rng or np.random.default_rng(0)
    sizes = [(3,), (2,), ()]
    return [[rng.normal(size=(T, *size)) for T in LENGTHS] for size in sizes]


def test_ragged_episodes_fill_a_block():
    observations, actions, rewards = a_log()
    episodes = Episodes.from_log(observations, actions, rewards, success=[True, False, True])
    assert episodes.mask.sum(-1).tolist() == [list(map(float, LENGTHS))]
    assert episodes.success.tolist() == [[True, False, True]]
    assert episodes.log_probs[0, 2].isnan().all()
    for e, T in enumerate(LENGTHS):
        expected = torch.tensor(observations[e], dtype=torch.float32)
        assert torch.equal(episodes.observations[0, e, :T], expected)
        assert not episodes.observations[0, e, T:].any()
    torch.testing.assert_close(
        episodes.returns[0], torch.tensor([r.sum() for r in rewards]).float()
    )


def test_padding_changes_nothing_that_counts():
    episodes = Episodes.from_log(*a_log()).pad(9)
    assert episodes.horizon == 9
    assert episodes.mask.sum(-1).tolist() == [list(map(float, LENGTHS))]


def test_the_observation_after_the_last_step_is_kept_where_it_is_logged():
    observations, actions, rewards = a_log()
    last = np.array([0.5, -1.0, 2.0])
    observations[0] = np.append(observations[0], last[None], axis=0)
    episodes = Episodes.from_log(observations, actions, rewards)
    assert episodes.final_observations[0, 0].tolist() == last.tolist()
    assert episodes.final_observations[0, 1:].isnan().all()
    following = episodes.pad(6).next_observations[0]
    for e, T in enumerate(LENGTHS):
        torch.testing.assert_close(following[e, : T - 1], episodes.observations[0, e, 1:T])
        assert following[e, T:].isnan().all()
    assert following[0, LENGTHS[0] - 1].tolist() == last.tolist()
    assert following[1, LENGTHS[1] - 1].isnan().all()


def test_what_comes_of_the_last_step_of_the_horizon_is_never_read():
    observations, actions, rewards = a_log()
    observations[2] = np.append(observations[2], np.ones((1, 3)), axis=0)
    episodes = Episodes.from_log(observations, actions, rewards)
    assert episodes.final_observations[0, 2].tolist() == [1.0] * 3
    assert episodes.next_observations[0, 2, -1].isnan().all()


@pytest.mark.parametrize("column", ["observations", "actions", "log_probs", "rewards"])
@pytest.mark.parametrize("damage", ["fewer", "shorter", "flat", "not finite", "empty"])
def test_what_does_not_fit_is_refused(column, damage):
    observations, actions, rewards = a_log()
    log = {"observations": observations, "actions": actions, "rewards": rewards}
    log["log_probs"] = [reward.copy() for reward in rewards]
    if damage == "fewer":
        log[column] = log[column][1:]
    elif damage == "not finite":  # of a reward, NaN means that nobody measured it
        log[column][1][0] = np.inf if column == "rewards" else np.nan
    else:
        changed = {"shorter": log[column][2][:-1], "flat": np.zeros((1, 2, 3)), "empty": []}
        log[column][2] = changed[damage]
    with pytest.raises(ValueError, match="must") as refusal:
        Episodes.from_log(**log)
    assert "\n" not in str(refusal.value)


def test_a_log_without_rewards_says_that_nobody_knows_them():
    observations, actions, _ = a_log()
    episodes = Episodes.from_log(observations, actions, None)
    assert episodes.mask.sum(-1).tolist() == [list(map(float, LENGTHS))]
    assert torch.equal(episodes.rewards.isnan(), episodes.mask > 0)


def test_a_log_may_come_from_generators():
    expected = Episodes.from_log(*a_log())
    found = Episodes.from_log(*((episode for episode in column) for column in a_log()))
    assert torch.equal(found.observations, expected.observations)
    assert torch.equal(found.rewards, expected.rewards)


@pytest.mark.parametrize("column", ["observations", "actions", "rewards"])
@pytest.mark.parametrize(
    "episode", ["words", {"a": 1}, [[1], [1, 2]], 1 + 2j, torch.zeros(3, requires_grad=True)]
)
def test_what_is_no_array_of_numbers_is_refused_in_one_line(column, episode):
    log = dict(zip(("observations", "actions", "rewards"), a_log(), strict=True))
    log[column][1] = episode
    with pytest.raises(ValueError, match=f"^{column} of episode 1 must be an array") as refusal:
        Episodes.from_log(**log)
    assert "\n" not in str(refusal.value)
    log[column] = 3
    with pytest.raises(ValueError, match=f"^{column} must hold an array for each episode, got 3$"):
        Episodes.from_log(**log)


def test_a_shape_is_said_as_it_is_needed():
    observations, actions, rewards = a_log()
    rewards[1] = rewards[1][:, None]
    with pytest.raises(ValueError, match=r"shape \(T,\) with at least one step, got \(1, 1\) in"):
        Episodes.from_log(observations, actions, rewards)
