import dataclasses

import pytest
import torch

from metarobot.rollout.episodes import Episodes


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


def test_returns_are_undiscounted_and_masked():
    episodes = make_episodes()
    episodes.mask[0, 1, 2:] = 0.0
    assert episodes.returns[0].tolist() == [0 + 1 + 2 + 3, 4 + 5, 8 + 9 + 10 + 11]


def test_step_weights_sum_to_one_for_every_task():
    episodes = make_episodes()
    episodes.mask[0, 1:] = 0.0
    assert episodes.step_weights.sum((1, 2)).tolist() == pytest.approx([1.0, 1.0])
    assert episodes.step_weights[0, 0].tolist() == [0.25] * 4


@pytest.mark.parametrize("field", ["observations", "actions", "log_probs", "mask", "success"])
def test_tensors_of_another_block_are_refused(field):
    episodes = make_episodes()
    with pytest.raises(ValueError, match=f"{field} must have shape"):
        dataclasses.replace(episodes, **{field: getattr(episodes, field)[:1]})


def test_rewards_must_have_three_dimensions():
    with pytest.raises(ValueError, match=r"rewards must have shape \(N, E, T\)"):
        dataclasses.replace(make_episodes(), rewards=torch.zeros(2, 3))
