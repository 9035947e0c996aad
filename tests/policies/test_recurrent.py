"""Recurrent policies: their layer is torch's, unrolling is acting, and what memory knows."""

import pytest
import torch
from torch import nn

from metarobot.policies import repeat_params
from metarobot.policies.recurrent import RecurrentPolicy, gru_sequence

N, L, A = 3, 7, 2
LOW, HIGH = [-1.0, -2.0], [1.0, 2.0]


@pytest.fixture(params=[False, True], ids=["", "reward_products"])
def policy(request):
    layout = {"hidden_sizes": (5, 4), "reward_products": request.param}
    return RecurrentPolicy(LOW, HIGH, A, **layout).double()


@pytest.fixture
def params(policy):
    """Parameters that are not symmetric, and memories that differ between the tasks."""
    generator = torch.Generator().manual_seed(0)
    params = repeat_params(policy.initial_params(generator), N)
    return {
        name: leaf + 0.3 * torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype)
        for name, leaf in params.items()
    }


@pytest.fixture
def steps():
    """Two episodes one after the other: observations, actions, rewards, first."""
    generator = torch.Generator().manual_seed(1)
    observations, actions, rewards = (
        torch.randn(N, L, *size, generator=generator, dtype=torch.float64)
        for size in ((2,), (A,), ())
    )
    first = torch.zeros(N, L, dtype=torch.float64)
    first[:, [0, 4]] = 1.0
    return observations, actions, rewards, first


def act(policy, params, steps):
    """Act step by step, and be told the given actions and rewards."""
    observations, actions, rewards, first = steps
    counts = torch.ones(N, L, dtype=torch.bool)
    state, means = policy.start(params), []
    for t in range(L):
        if first[0, t]:
            state.begin()
        means.append(state.act(observations[:, [t]]).mean)
        state.observe(actions[:, [t]], rewards[:, [t]], counts[:, [t]])
    return torch.cat(means, dim=1)


def test_the_layer_is_that_of_torch_and_its_chain_rule_by_hand_is_exact():
    H, generator = 4, torch.Generator().manual_seed(0)
    shapes = [(N, L, 3 * H), (N, 1, H), (N, 3 * H, H), (N, 1, 3 * H)]
    leaves = [
        torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes
    ]
    inputs, hidden, weight, bias = leaves
    states = gru_sequence(*leaves)
    for n in range(N):
        reference = nn.GRU(3 * H, H, batch_first=True).double()
        with torch.no_grad():
            reference.weight_ih_l0.copy_(torch.eye(3 * H))  # inputs are weighted already
            reference.bias_ih_l0.zero_()
            reference.weight_hh_l0.copy_(weight[n])
            reference.bias_hh_l0.copy_(bias[n, 0])
            expected, _ = reference(inputs[[n]], hidden[[n]])
        torch.testing.assert_close(states[n, 1:], expected[0])
        torch.testing.assert_close(states[n, :1], hidden[n])
    assert torch.autograd.gradcheck(gru_sequence, leaves)


def test_unrolling_is_acting(policy, params, steps):
    unroll = policy.unroll(params, *steps)
    torch.testing.assert_close(act(policy, params, steps), unroll.mean, rtol=0, atol=1e-14)
    log_std = policy.start(params).act(steps[0][:, [0]]).log_std
    assert torch.equal(log_std, policy.log_std_of(params))
    for t in (1, 4):  # the last memory carries on
        rest = [block[:, t:] for block in steps]
        resumed = policy.unroll({**params, "memory": unroll.memories[:, t]}, *rest)
        torch.testing.assert_close(resumed.mean, unroll.mean[:, t:])
        torch.testing.assert_close(resumed.memories, unroll.memories[:, t:])
    with pytest.raises(ValueError, match="hidden_sizes must name one width at least"):
        RecurrentPolicy(LOW, HIGH, A, hidden_sizes=())


def test_the_change_of_the_reward_is_remembered_but_not_over_the_start_of_an_episode():
    policy = RecurrentPolicy(LOW, HIGH, A, hidden_sizes=(4,), reward_products=True).double()
    params = repeat_params(policy.initial_params(torch.Generator().manual_seed(0)), 1)
    observations, actions = torch.zeros(1, 5, 2).double(), torch.zeros(1, 5, A).double()
    rewards = torch.tensor([[-3.0, -2.9, -2.95, 7.0, 9.0]], dtype=torch.float64)
    first = torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.0]]).double()
    memories = policy.unroll(params, observations, actions, rewards, first).memories
    expected = torch.tensor([0.0, 1.0, -0.5, 0.0, 20.0], dtype=torch.float64).tanh()
    torch.testing.assert_close(memories[0, 1:, -2], expected)
    assert torch.equal(memories[0, 1:, -1], rewards[0])
    going_on = {**params, "memory": memories[:, 2]}
    rest = [block[:, 2:] for block in (observations, actions, rewards, first)]
    torch.testing.assert_close(policy.unroll(going_on, *rest).memories, memories[:, 2:])


@pytest.mark.parametrize("told", ["observations", "actions", "rewards", "first"])
def test_all_that_is_told_early_is_known_later_and_not_before(policy, params, steps, told):
    steps = dict(zip(("observations", "actions", "rewards", "first"), steps, strict=True))
    before = policy.unroll(params, *steps.values()).mean
    changed = steps[told].clone()
    changed[:, 1] = 0.5
    after = policy.unroll(params, *{**steps, told: changed}.values()).mean
    from_step = 1 if told in ("observations", "first") else 2
    differs = (after != before).any(-1)
    assert not differs[:, :from_step].any()
    assert differs[:, from_step:].all()
