"""Gaussians and perceptrons: what they see, one policy a task, derivatives included."""

import math

import pytest
import torch
from fakes import act_alone
from torch.distributions import Independent, Normal
from torch.distributions import kl_divergence as reference_kl

from metarobot.algorithms import make_policy, train_config
from metarobot.envs import find_family
from metarobot.policies import GaussianMLP, entropy, kl_divergence, log_prob, repeat_params
from metarobot.policies.learned_loss import LearnedLossPolicy, directions
from metarobot.policies.mlp import TaskMLP
from metarobot.policies.params import xavier_params
from metarobot.policies.prototype import PrototypePolicy

GENERATOR = torch.Generator().manual_seed(0)
MEAN_P, MEAN_Q, ACTIONS = torch.randn(3, 7, 4, dtype=torch.float64, generator=GENERATOR)
LOG_STD_P, LOG_STD_Q = torch.randn(2, 4, dtype=torch.float64, generator=GENERATOR)
LOW, HIGH = [-1.0, -2.0], [1.0, 2.0]


def reference(mean, log_std):
    return Independent(Normal(mean, log_std.exp().expand_as(mean)), 1)


def test_gaussians_are_those_of_torch():
    p, q = reference(MEAN_P, LOG_STD_P), reference(MEAN_Q, LOG_STD_Q)
    torch.testing.assert_close(log_prob(MEAN_P, LOG_STD_P, ACTIONS), p.log_prob(ACTIONS))
    torch.testing.assert_close(entropy(LOG_STD_P), p.entropy()[0])
    found = kl_divergence(MEAN_P, LOG_STD_P, MEAN_Q, LOG_STD_Q)
    torch.testing.assert_close(found, reference_kl(p, q))


def test_kl_divergence_is_zero_and_flat_at_itself():
    for argument in range(4):
        arguments = [MEAN_P, LOG_STD_P, MEAN_P, LOG_STD_P]
        arguments[argument] = arguments[argument].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(kl_divergence(*arguments).sum(), arguments[argument])
        assert gradient.abs().max() < 1e-12


def plain(hidden_sizes=(8, 8), **options):
    return GaussianMLP([-1.0, 0.0], [1.0, 0.5], 2, hidden_sizes=hidden_sizes, **options)


def with_task(hidden_sizes=(4,)):
    low, high = [-1.0, -2.0, -1.0, 0.0], [1.0, 2.0, 1.0, 4.0]
    return TaskMLP(low, high, 2, hidden_sizes, task_size=2)


def with_context(hidden_sizes=(4,)):
    return LearnedLossPolicy(LOW, HIGH, 2, hidden_sizes, context_size=3)


def with_prototype(hidden_sizes=(4,)):
    return PrototypePolicy(LOW, HIGH, 2, hidden_sizes, embedding_size=3)


CODE = [0.1, 0.2, 0.3]
FIRST_INPUTS = {  # an observation, what the parameters hold, and what the first layer sees
    plain: ([0.5, 0.125], {}, [0.5, -0.5]),
    with_task: ([0.5, 1.0, 0.2, 2.8], {}, [0.5, 0.5, 0.2, 0.4, *(0.1, 0.2) * 2]),
    with_context: ([0.5, 1.0], {"context": CODE}, [0.5, 0.5, *CODE, *(0.05, 0.1, 0.15) * 2]),
    with_prototype: (
        [0.5, 1.0],
        {"prototype": CODE, "num_episodes": [1.0]},
        [0.5, 0.5, *CODE, 1.0, *(0.05, 0.1, 0.15) * 2],
    ),
}
each_policy = pytest.mark.parametrize("make", FIRST_INPUTS)


@each_policy
def test_the_first_layer_sees_scaled_observations_what_is_known_and_their_products(make):
    observation, known, expected = FIRST_INPUTS[make]
    twin, seen = make(hidden_sizes=()), []
    params = repeat_params(twin.initial_params(torch.Generator()), 1)
    params |= {name: torch.tensor([values]) for name, values in known.items()}
    for i in range(len(expected)):
        params["layers.0.weight"] = torch.zeros(1, 2, len(expected))
        params["layers.0.weight"][0, 0, i] = 1.0
        seen.append(twin.distribution(params, torch.tensor([[observation]])).mean[0, 0, 0])
    torch.testing.assert_close(torch.stack(seen), torch.tensor(expected))


def several(policy, num_tasks=3):
    """Parameters that differ from task to task, observations, and a generator for more."""
    generator = torch.Generator().manual_seed(2)
    params = {
        name: leaf + 0.3 * torch.rand(leaf.shape, generator=generator)
        for name, leaf in repeat_params(policy.initial_params(generator), num_tasks).items()
    }
    size = policy.observation_centre.numel()
    return params, torch.randn(num_tasks, 4, 5, size, generator=generator), generator


@each_policy
def test_every_task_is_evaluated_with_its_own_parameters(make):
    policy = make()
    params, observations, _ = several(policy)
    mean, log_std = policy.distribution(params, observations)
    assert (mean.shape, log_std.shape) == ((3, 4, 5, 2), (3, 2))
    for task in range(3):
        own = {name: leaf[task] for name, leaf in params.items()}
        task_mean, task_log_std = act_alone(policy, own, observations[task])
        torch.testing.assert_close(mean[task], task_mean)
        torch.testing.assert_close(log_std[task], task_log_std)
    alike = policy.distribution(params, observations[[1, 1, 1]]).mean
    assert not torch.allclose(mean[0], alike[0])


def test_the_tasks_together_give_the_numbers_of_each_alone_derivatives_included():
    policy = plain()
    params, observations, generator = several(policy)
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


def test_initial_params_are_reproducible_and_differ_between_seeds():
    policy = plain(initial_std=0.6)
    params, same, other = (
        policy.initial_params(torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert all(torch.equal(params[name], same[name]) for name in params)
    assert not torch.equal(params["layers.0.weight"], other["layers.0.weight"])
    assert not any(leaf.requires_grad for leaf in params.values())
    assert params["log_std"].exp().tolist() == pytest.approx([0.6, 0.6])
    params["log_std"] = torch.full((2,), -50.0)
    for acting, floor in ((policy, 0.02), (policy.with_min_std(0.1), 0.1)):
        _, log_std = act_alone(acting, params, torch.zeros(2))
        assert log_std.tolist() == pytest.approx([math.log(floor)] * 2)


def test_bounds_and_noise_that_make_no_sense_are_refused():
    for low, high in ([0.0], [0.0]), ([-math.inf], [1.0]), ([0.0], [math.nan]):
        with pytest.raises(ValueError, match="observation bounds"):
            GaussianMLP(low, high, 1)
    with pytest.raises(ValueError, match=r"initial_std must be at least 0\.02, got 0"):
        GaussianMLP([0.0], [1.0], 1, initial_std=0.0)


def test_the_oracle_knows_which_of_its_elements_are_the_task():
    for env_id, task_size in {"metarobot/Reach-v0": 6, "metarobot/Slide-v0": 2}.items():
        policy = make_policy(train_config("oracle", env_id=env_id))
        assert policy.task_size == task_size
        size = len(find_family(env_id).observation_elements)
        assert policy.shapes["layers.0.weight"] == (64, size + task_size + size * task_size)
    policy = make_policy(train_config("oracle", env_id="metarobot/Slide-v0", task_products=False))
    perceptron = GaussianMLP(*find_family(env_id).observation_bounds(True).tolist(), 1)
    assert policy.shapes == perceptron.shapes
    params = repeat_params(policy.initial_params(torch.Generator().manual_seed(0)), 1)
    found, expected = (
        each.distribution(params, torch.full((1, 7, 5), 0.3)) for each in (policy, perceptron)
    )
    assert torch.equal(found.mean, expected.mean)


def test_directions_are_of_each_task_and_do_not_begin_at_zero():
    generator = torch.Generator().manual_seed(3)
    network = with_context().direction
    drawn = [xavier_params(network, generator) for _ in range(2)]
    params = {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}
    features = torch.randn(2, 5, 6, network.left.in_features, generator=generator)
    found = directions(params, features)
    for task, own in enumerate(drawn):
        x = features[task]
        left, right = (x @ own[f"{n}.weight"].T + own[f"{n}.bias"] for n in ("left", "right"))
        seen = torch.cat([left * right, x], dim=-1)
        hidden = torch.tanh(seen @ own["hidden.weight"].T + own["hidden.bias"])
        torch.testing.assert_close(found[task], hidden @ own["last.weight"].T + own["last.bias"])
    assert found.std() > 0.1
