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


@pytest.mark.parametrize("column", ["observations", "actions", "log_probs", "rewards"])
@pytest.mark.parametrize("damage", ["fewer", "shorter", "flat", "nan", "empty"])
def test_what_does_not_fit_is_refused(column, damage):
    observations, actions, rewards = a_log()
    log = {"observations": observations, "actions": actions, "rewards": rewards}
    log["log_probs"] = [reward.copy() for reward in rewards]
    if damage == "fewer":
        log[column] = log[column][1:]
    elif damage == "nan":
        log[column][1][0] = np.nan
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
