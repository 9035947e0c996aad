import pytest
import torch

from metarobot.policies import RecurrentPolicy, repeat_params

N, L, A = 3, 7, 2
LOW, HIGH = [-1.0, -2.0], [1.0, 2.0]


@pytest.fixture
def policy():
    return RecurrentPolicy(LOW, HIGH, A, hidden_sizes=(5, 4)).double()


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


def act(policy, params, steps, counts=None):
    """Act step by step, and be told the given actions and rewards."""
    observations, actions, rewards, first = steps
    counts = torch.ones(N, L, dtype=torch.bool) if counts is None else counts
    state, means = policy.start(params), []
    for t in range(L):
        if first[0, t]:
            state.begin()
        means.append(state.act(observations[:, [t]]).mean)
        state.observe(actions[:, [t]], rewards[:, [t]], counts[:, [t]])
    return torch.cat(means, dim=1)


def test_unrolling_is_acting(policy, params, steps):
    unroll = policy.unroll(params, *steps)
    torch.testing.assert_close(act(policy, params, steps), unroll.mean, rtol=0, atol=1e-14)
    log_std = policy.start(params).act(steps[0][:, [0]]).log_std
    assert torch.equal(log_std, policy.log_std_of(params))


def test_the_last_memory_carries_on(policy, params, steps):
    unroll = policy.unroll(params, *steps)
    for t in range(1, L):
        rest = [block[:, t:] for block in steps]
        resumed = policy.unroll({**params, "memory": unroll.memories[:, t]}, *rest)
        torch.testing.assert_close(resumed.mean, unroll.mean[:, t:])
        torch.testing.assert_close(resumed.memories, unroll.memories[:, t:])


def test_steps_that_do_not_count_leave_no_trace(policy, params, steps):
    counts = torch.ones(N, L, dtype=torch.bool)
    counts[:, [2, 3]] = False
    kept = [0, 1, 4, 5, 6]
    expected = policy.unroll(params, *(block[:, kept] for block in steps)).mean
    torch.testing.assert_close(act(policy, params, steps, counts)[:, kept], expected)


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


def test_actions_are_remembered_as_the_environment_takes_them(policy, params, steps):
    observations, actions, rewards, first = steps
    clipped = policy.unroll(params, observations, actions.clamp(-1, 1), rewards, first)
    assert torch.equal(clipped.mean, policy.unroll(params, *steps).mean)


def test_a_small_change_is_seen_within_an_episode_and_none_where_one_begins(policy, params, steps):
    observations, actions, rewards, _ = steps

    def embed(last_observation, first):
        last_step = policy.remember(last_observation, actions[:, :1], rewards[:, :1])
        return policy._embed(
            params, policy.scale_observations(observations[:, :1]), last_step, first
        )

    here, near = observations[:, :1], observations[:, :1] + 0.005
    goes_on, begins = torch.zeros(N, 1, dtype=torch.float64), torch.ones(N, 1, dtype=torch.float64)
    assert (embed(near, goes_on) - embed(here, goes_on)).abs().max() > 0.05
    assert torch.equal(embed(near, begins), embed(here, begins))


def test_what_actions_do_and_what_is_known_are_told_as_products(policy, params, steps):
    """Of the heads' inputs, the last H O are products of memory and observation, and so on."""
    unroll = policy.unroll(params, *steps)
    head = params["head.weight"]
    names = ("layers.0.weight", "head.weight")
    without = {n: params[n].clone() for n in names}
    without["layers.0.weight"][..., -2 * A :] = 0.0
    without["head.weight"][..., -4 * 2 :] = 0.0
    products = policy.unroll({**params, "head.weight": head - without["head.weight"]}, *steps).mean
    states, scaled = unroll.memories[:, 1:, :4], policy.scale_observations(steps[0])
    outer = torch.einsum("nlh,nlo->nlho", states, scaled).flatten(-2)
    expected = outer @ head[..., -4 * 2 :].mT + params["head.bias"][:, None]
    torch.testing.assert_close(products, expected)
    effects = policy.unroll({**params, "layers.0.weight": without["layers.0.weight"]}, *steps).mean
    assert torch.equal(effects[:, 0], unroll.mean[:, 0])
    assert not (effects[:, 1] == unroll.mean[:, 1]).any()


def test_where_memory_begins_is_not_trained(policy, params, steps):
    def total(params):
        return policy.unroll(params, *steps).mean.square().sum()

    gradient = torch.func.grad(total)(params)
    assert not gradient["memory"].any()
    assert all(leaf.any() for name, leaf in gradient.items() if name not in ("memory", "log_std"))


def test_initial_params_are_reproducible_and_begin_without_memory(policy):
    first, same, other = (
        policy.initial_params(torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["unit.weight_hh"], other["unit.weight_hh"])
    assert {name: tuple(leaf.shape) for name, leaf in first.items()} == policy.shapes
    assert first["memory"].shape == (4 + 2 + A + 1,)
    assert not first["memory"].any()


def test_a_memory_without_a_width_is_refused():
    with pytest.raises(ValueError, match="hidden_sizes must name one width at least"):
        RecurrentPolicy(LOW, HIGH, A, hidden_sizes=())
