import math

import pytest
import torch
from fakes import act_alone

from metarobot.policies import GaussianMLP

LOW, HIGH = [-1.0, 0.0, 10.0], [1.0, 0.5, 30.0]


def make_params(seed=0, **kwargs):
    policy = GaussianMLP(LOW, HIGH, 2, hidden_sizes=(8, 8), **kwargs)
    return policy, policy.initial_params(torch.Generator().manual_seed(seed))


def test_observations_are_scaled_by_their_bounds():
    policy, _ = make_params()
    scaled = policy.scale_observations(torch.tensor([LOW, HIGH, [0.0, 0.25, 20.0]]))
    torch.testing.assert_close(scaled, torch.tensor([[-1.0] * 3, [1.0] * 3, [0.0] * 3]))


def test_every_task_is_evaluated_with_its_own_parameters():
    policy, _ = make_params()
    trees = [policy.initial_params(torch.Generator().manual_seed(seed)) for seed in range(3)]
    trees[1]["log_std"] += 0.3
    params = {name: torch.stack([tree[name] for tree in trees]) for name in trees[0]}
    observations = torch.rand(3, 4, 5, 3)
    mean, log_std = policy.distribution(params, observations)
    assert mean.shape == (3, 4, 5, 2)
    assert log_std.shape == (3, 2)
    for task, tree in enumerate(trees):
        task_mean, task_log_std = act_alone(policy, tree, observations[task])
        torch.testing.assert_close(mean[task], task_mean)
        torch.testing.assert_close(log_std[task], task_log_std)


def test_initial_params_are_reproducible_and_differ_between_seeds():
    _, params = make_params(seed=3)
    _, same = make_params(seed=3)
    _, other = make_params(seed=4)
    assert all(torch.equal(params[name], same[name]) for name in params)
    assert not torch.equal(params["layers.0.weight"], other["layers.0.weight"])
    assert not any(leaf.requires_grad for leaf in params.values())


def test_initial_std_and_its_floor():
    policy, params = make_params(initial_std=0.6)
    assert params["log_std"].exp().tolist() == pytest.approx([0.6, 0.6])
    params["log_std"] = torch.full((2,), -50.0)
    _, log_std = act_alone(policy, params, torch.zeros(3))
    assert log_std.tolist() == pytest.approx([math.log(0.02)] * 2)
    _, log_std = act_alone(policy.with_min_std(0.1), params, torch.zeros(3))
    assert log_std.tolist() == pytest.approx([math.log(0.1)] * 2)


@pytest.mark.parametrize(
    ("low", "high"), [([0.0], [0.0]), ([-math.inf], [1.0]), ([0.0], [math.nan])]
)
def test_bounds_must_be_finite_and_ordered(low, high):
    with pytest.raises(ValueError, match="observation bounds"):
        GaussianMLP(low, high, 1)


def test_initial_std_below_the_floor_is_refused():
    with pytest.raises(ValueError, match=r"initial_std must be at least 0\.02, got 0"):
        GaussianMLP([0.0], [1.0], 1, initial_std=0.0)


def test_the_tasks_together_give_the_numbers_of_each_alone_derivatives_included():
    policy, params = make_params()
    generator = torch.Generator().manual_seed(1)
    params = {
        name: leaf + 0.1 * torch.randn(3, *leaf.shape, generator=generator)
        for name, leaf in params.items()
    }
    observations = torch.rand(3, 4, 5, 3, generator=generator) * 30
    weights = torch.randn(3, 4, 5, 2, generator=generator)

    def each_alone(params):
        call = torch.func.vmap(lambda tree, o: act_alone(policy, tree, o))
        return call(params, observations)

    def together(params):
        return policy.distribution(params, observations)

    def slope(params, distribution):
        mean, log_std = distribution(params)
        return (weights * mean).sum() + log_std.sum()

    def curvature(params, distribution):
        gradient = torch.func.grad(slope)(params, distribution)
        return sum(leaf.square().sum() for leaf in gradient.values())

    def derivatives(distribution):
        return [torch.func.grad(f)(params, distribution) for f in (slope, curvature)]

    for one, other in zip(together(params), each_alone(params), strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(derivatives(together), derivatives(each_alone))
