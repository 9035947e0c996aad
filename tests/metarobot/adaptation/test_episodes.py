"""Blocks of episodes: what counts, and logs, ragged and checked; one line for what is wrong."""

import dataclasses

import numpy as np
import pytest
import torch

from metarobot.adaptation.episodes import Episodes

LENGTHS = (3, 1, 5)


def make_episodes():
    return Episodes(
        observations=torch.zeros(2, 3, 4, 5),
        final_observations=torch.zeros(2, 3, 5),
        actions=torch.zeros(2, 3, 4, 1),
        log_probs=torch.zeros(2, 3, 4),
        rewards=torch.arange(24.0).reshape(2, 3, 4),
        mask=torch.ones(2, 3, 4),
        success=torch.zeros(2, 3, dtype=torch.bool),
        unstable=torch.zeros(2, 3, dtype=torch.bool),
        start=torch.zeros(2, 3, 6),
    )


def test_returns_are_undiscounted_and_masked_and_step_weights_sum_to_one():
    episodes = make_episodes()
    episodes.mask[0, 1, 2:] = 0.0
    assert episodes.returns[0].tolist() == [0 + 1 + 2 + 3, 4 + 5, 8 + 9 + 10 + 11]
    episodes.mask[0, 1:] = 0.0
    assert episodes.step_weights.sum((1, 2)).tolist() == pytest.approx([1.0, 1.0])
    assert episodes.step_weights[0, 0].tolist() == [0.25] * 4


def test_tensors_of_another_block_are_refused():
    episodes = make_episodes()
    for field in ("observations", "actions", "log_probs", "mask", "success"):
        with pytest.raises(ValueError, match=f"{field} must have shape"):
            dataclasses.replace(episodes, **{field: getattr(episodes, field)[:1]})
    with pytest.raises(ValueError, match=r"rewards must have shape \(N, E, T\)"):
        dataclasses.replace(episodes, rewards=torch.zeros(2, 3))


def a_log():
    """Observations (T, 3), actions (T, 2) and rewards (T,) of three episodes."""
    rng = np.random.default_rng(0)
    sizes = {"observations": (3,), "actions": (2,), "rewards": ()}
    return {name: [rng.normal(size=(T, *size)) for T in LENGTHS] for name, size in sizes.items()}


def test_ragged_episodes_fill_a_block():
    log = a_log()
    generators = {name: (episode for episode in column) for name, column in log.items()}
    episodes = Episodes.from_log(**generators, success=[True, False, True])
    assert episodes.success.tolist() == [[True, False, True]]
    assert episodes.log_probs[0, 2].isnan().all()
    returns = torch.tensor([r.sum() for r in log["rewards"]]).float()
    for block, horizon in ((episodes, 5), (episodes.pad(9), 9)):
        assert block.horizon == horizon
        assert block.mask.sum(-1).tolist() == [list(map(float, LENGTHS))]
        torch.testing.assert_close(block.returns[0], returns)
        for e, T in enumerate(LENGTHS):
            expected = torch.tensor(log["observations"][e], dtype=torch.float32)
            assert torch.equal(block.observations[0, e, :T], expected)
            assert not block.observations[0, e, T:].any()
    blind = Episodes.from_log(log["observations"], log["actions"], None)
    assert torch.equal(blind.rewards.isnan(), episodes.mask > 0)


def test_the_observation_after_the_last_step_is_kept_where_it_is_logged():
    log, last = a_log(), np.array([0.5, -1.0, 2.0])
    for e in (0, 2):
        log["observations"][e] = np.append(log["observations"][e], last[None], axis=0)
    episodes = Episodes.from_log(**log)
    assert episodes.final_observations[0, [0, 2]].tolist() == [last.tolist()] * 2
    assert episodes.final_observations[0, 1].isnan().all()
    assert episodes.next_observations[0, 2, -1].isnan().all()  # at the horizon it is never read
    following = episodes.pad(6).next_observations[0]
    for e, T in enumerate(LENGTHS):
        torch.testing.assert_close(following[e, : T - 1], episodes.observations[0, e, 1:T])
        assert following[e, T:].isnan().all()
        if e == 1:
            assert following[e, T - 1].isnan().all()
        else:
            assert following[e, T - 1].tolist() == last.tolist()


@pytest.mark.parametrize("column", ["observations", "actions", "log_probs", "rewards"])
def test_what_does_not_fit_is_refused_in_one_line(column):
    log = a_log()
    log["log_probs"] = [reward.copy() for reward in log["rewards"]]
    first, second, third = log[column]
    unknown = np.full_like(second, np.inf if column == "rewards" else np.nan)
    for damaged in (
        [second, third],
        [first, second, third[:-1]],
        [first, second, np.zeros((1, 2, 3))],
        [first, second, []],
        [first, unknown, third],  # of a reward, NaN means that nobody measured it
        *([first, what, third] for what in ("words", {"a": 1}, [[1], [1, 2]], 1 + 2j)),
        [first, torch.zeros(3, requires_grad=True), third],
        3,
    ):
        with pytest.raises(ValueError, match="must ") as refusal:
            Episodes.from_log(**{**log, column: damaged})
        assert "\n" not in str(refusal.value)
    if column == "rewards":
        with pytest.raises(ValueError, match=r"shape \(T,\) with at least one step, got \(1, 1\)"):
            Episodes.from_log(**{**log, "rewards": [first, second[:, None], third]})
