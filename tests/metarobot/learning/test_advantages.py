import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from metarobot.learning.advantages import (
    discounted_returns,
    estimate_advantages,
    gae,
    normalise_per_task,
    scale_over_tasks,
)
from metarobot.policies import GaussianMLP
from metarobot.rollout.episodes import Episodes

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


def test_advantages_are_what_the_baseline_does_not_explain():
    generator = torch.Generator().manual_seed(0)
    policy = GaussianMLP([-1.0, -1.0], [1.0, 1.0], 1)
    rewards = torch.ones(2, 30, 4)
    rewards[:, :15, -1] = 3.0  # half of the episodes end better than the baseline can foresee
    episodes = Episodes(
        observations=torch.rand(2, 30, 4, 2, generator=generator),
        final_observations=torch.zeros(2, 30, 2),
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


LAW = settings(max_examples=50, deadline=None)
NUMBERS = st.floats(-100, 100, allow_subnormal=False)
FRACTIONS = st.floats(0, 1)


@st.composite
def blocks(draw):
    """Rewards, values and a mask of ones and then zeros, (2, 3, T) each, in float64."""
    horizon = draw(st.integers(1, 6))
    shape = (2, 3, horizon)
    numbers = st.lists(NUMBERS, min_size=6 * horizon, max_size=6 * horizon)
    rewards, values = (torch.tensor(draw(numbers), dtype=torch.float64) for _ in range(2))
    lengths = torch.tensor(draw(st.lists(st.integers(0, horizon), min_size=6, max_size=6)))
    mask = torch.arange(horizon) < lengths[:, None]
    return rewards.reshape(shape), values.reshape(shape), mask.double().reshape(shape)


@LAW
@given(block=blocks(), discount=FRACTIONS)
def test_a_return_is_its_reward_and_the_discounted_return_that_follows(block, discount):
    r_t, _, mask_t = block
    returns = discounted_returns(r_t, mask_t, discount)
    following = torch.cat([returns[..., 1:], torch.zeros(2, 3, 1, dtype=torch.float64)], dim=-1)
    torch.testing.assert_close(returns, mask_t * (r_t + discount * following))
    assert (returns[mask_t == 0] == 0).all()


@LAW
@given(block=blocks(), discount=FRACTIONS, gae_lambda=FRACTIONS)
def test_what_happens_after_the_mask_changes_no_advantage(block, discount, gae_lambda):
    r_t, v_t, mask_t = block
    options = {"discount": discount, "gae_lambda": gae_lambda}
    advantages = gae(r_t, v_t, mask_t, **options)
    elsewhere = gae(r_t + 7 * (1 - mask_t), v_t - 3 * (1 - mask_t), mask_t, **options)
    torch.testing.assert_close(advantages, elsewhere)
    assert (advantages[mask_t == 0] == 0).all()


@LAW
@given(block=blocks(), discount=FRACTIONS)
def test_advantages_are_what_values_do_not_foresee(block, discount):
    r_t, v_t, mask_t = block
    returns = discounted_returns(r_t, mask_t, discount)
    for gae_lambda in (0.0, 0.7, 1.0):
        exact = gae(r_t, returns, mask_t, discount=discount, gae_lambda=gae_lambda)
        assert exact.abs().max() < 1e-9
    found = gae(r_t, v_t, mask_t, discount=discount, gae_lambda=1.0)
    torch.testing.assert_close(found, (returns - v_t) * mask_t)


@LAW
@given(block=blocks(), shift=NUMBERS, scale=st.floats(0.1, 10))
def test_normalised_advantages_do_not_know_the_unit_of_the_reward(block, shift, scale):
    a_t, _, mask = block
    assume(
        all(a[m > 0].numel() > 1 and a[m > 0].std() > 0.1 for a, m in zip(a_t, mask, strict=True))
    )
    normalised = normalise_per_task(a_t * mask, mask)
    torch.testing.assert_close(normalised, normalise_per_task((scale * a_t + shift) * mask, mask))
    count = mask.sum((1, 2))
    torch.testing.assert_close(normalised.sum((1, 2)) / count, torch.zeros(2, dtype=torch.float64))
    variance = normalised.square().sum((1, 2)) / count
    torch.testing.assert_close(variance, torch.ones(2, dtype=torch.float64))


@LAW
@given(block=blocks(), scale=st.floats(0.1, 10))
def test_a_common_scale_keeps_signs_and_proportions(block, scale):
    a_t, _, mask = block
    a_t = a_t * mask
    assume(a_t.abs().max() > 0.1)
    scaled = scale_over_tasks(a_t, mask)
    assert (scaled.square().sum() / mask.sum()).item() == pytest.approx(1.0)
    torch.testing.assert_close(scaled * a_t.abs().max(), a_t * scaled.abs().max())
    torch.testing.assert_close(scale_over_tasks(scale * a_t, mask), scaled)
    broken = torch.cat([a_t, torch.full_like(a_t[:1], torch.nan)])
    others = scale_over_tasks(broken, torch.cat([mask, torch.ones_like(mask[:1])]))
    torch.testing.assert_close(others[:2], scaled)
    assert others[2].isnan().all()
