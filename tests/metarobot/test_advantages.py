import pytest
import torch

from metarobot.advantages import (
    discounted_returns,
    estimate_advantages,
    gae,
    normalise_per_task,
    scale_over_tasks,
)
from metarobot.episodes import Episodes
from metarobot.policies import GaussianMLP

R = torch.tensor([1.0, 2.0, 3.0])
V = torch.tensor([0.5, 1.0, 2.0])
ALL = torch.ones(3)
TWO = torch.tensor([1.0, 1.0, 0.0])


def test_discounted_returns_by_hand():
    # R_2 = 3;  R_1 = 2 + 0.5 * 3 = 3.5;  R_0 = 1 + 0.5 * 3.5 = 2.75
    assert discounted_returns(R, ALL, 0.5).tolist() == [2.75, 3.5, 3.0]
    # The third step does not count:  R_1 = 2;  R_0 = 1 + 0.5 * 2 = 2
    assert discounted_returns(R, TWO, 0.5).tolist() == [2.0, 2.0, 0.0]


def test_gae_by_hand():
    # γ = 0.5, λ = 0.5, γ λ = 0.25
    # δ_0 = 1 + 0.5 * 1 - 0.5 = 1;  δ_1 = 2 + 0.5 * 2 - 1 = 2;  δ_2 = 3 - 2 = 1
    # A_2 = 1;  A_1 = 2 + 0.25 * 1 = 2.25;  A_0 = 1 + 0.25 * 2.25 = 1.5625
    assert gae(R, V, ALL, discount=0.5, gae_lambda=0.5).tolist() == [1.5625, 2.25, 1.0]
    # Without the third step: δ_1 = 2 - 1 = 1;  A_0 = 1 + 0.25 * 1 = 1.25
    assert gae(R, V, TWO, discount=0.5, gae_lambda=0.5).tolist() == [1.25, 1.0, 0.0]


def test_gae_with_lambda_one_is_return_minus_value():
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 4, 3, 6, generator=generator)
    mask = (torch.arange(6) < torch.tensor([6, 4, 1])[:, None]).float().expand(4, 3, 6)
    expected = (discounted_returns(rewards, mask, 0.9) - values) * mask
    found = gae(rewards, values, mask, discount=0.9, gae_lambda=1.0)
    torch.testing.assert_close(found, expected)


def test_gae_with_lambda_zero_is_the_one_step_error():
    expected = R + 0.9 * torch.tensor([1.0, 2.0, 0.0]) - V
    torch.testing.assert_close(gae(R, V, ALL, discount=0.9, gae_lambda=0.0), expected)


def test_normalise_is_per_task_and_ignores_masked_steps():
    advantages = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)) * 7 + 2
    mask = torch.ones(3, 4, 5)
    mask[1, :, 2:] = 0.0
    advantages[1, :, 2:] = 1e6
    normalised = normalise_per_task(advantages, mask)
    for task in range(3):
        kept = normalised[task][mask[task] > 0]
        assert kept.mean().item() == pytest.approx(0.0, abs=1e-5)
        assert kept.std(correction=0).item() == pytest.approx(1.0, abs=1e-5)
    assert normalised[1, :, 2:].abs().max() == 0.0


def test_equal_advantages_normalise_to_zero():
    assert normalise_per_task(torch.full((1, 2, 3), 5.0), torch.ones(1, 2, 3)).abs().max() < 1e-3


def test_advantages_are_what_the_baseline_does_not_explain():
    generator = torch.Generator().manual_seed(0)
    policy = GaussianMLP([-1.0, -1.0], [1.0, 1.0], 1)
    rewards = torch.ones(2, 30, 4)
    rewards[:, :15, -1] = 3.0  # half of the episodes end better than the baseline can foresee
    episodes = Episodes(
        observations=torch.rand(2, 30, 4, 2, generator=generator),
        actions=torch.zeros(2, 30, 4, 1),
        log_probs=torch.zeros(2, 30, 4),
        rewards=rewards,
        mask=torch.ones(2, 30, 4),
        success=torch.zeros(2, 30, dtype=torch.bool),
        unstable=torch.zeros(2, 30, dtype=torch.bool),
        start=torch.zeros(2, 30, 1),
    )
    advantages = estimate_advantages(policy, episodes, discount=1.0, gae_lambda=1.0)
    assert advantages[:, :15].mean() > 0.5
    assert advantages[:, 15:].mean() < -0.5


def test_one_scale_for_all_tasks_keeps_their_proportions():
    advantages = torch.tensor([[[1.0, -1.0]], [[10.0, -10.0]]])
    mask = torch.ones(2, 1, 2)
    scaled = scale_over_tasks(advantages, mask)
    assert scaled.square().mean() == pytest.approx(1.0)
    torch.testing.assert_close(scaled[1], 10 * scaled[0])
