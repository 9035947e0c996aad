import dataclasses
import math

import numpy as np
import pytest
import torch
from derivatives import numerical_gradient, relative_error, vector_of
from fakes import N, made_up_batch, small_policy
from torch.func import grad, jacrev

from metarobot.algorithms import make_algorithm, train_config
from metarobot.learning import trpo
from metarobot.learning.distributed import ALONE
from metarobot.learning.inner_loop import INNER_OBJECTIVES, OBJECTIVES, likelihood_ratio
from metarobot.learning.meta_gradient import kl_divergences
from metarobot.learning.trpo import conjugate_gradients, fisher_product, trpo_update
from metarobot.policies import (
    flatten_params,
    repeat_params,
    unflatten_params,
)

POLICY, PARAMS = small_policy()


def make(steps=1, **fields):
    config = train_config(num_adaptation_steps=steps, inner_lr=0.3, **fields)
    return config, made_up_batch(POLICY, PARAMS, config)


def maml(config):
    return make_algorithm(config, POLICY)


def update(batch, config):
    return trpo_update(maml(config), PARAMS, batch, config.options)


def search(config, batch):
    return trpo._Search(maml(config), PARAMS, batch, config.options, ALONE)


def distribution_at(theta, batch, config):
    return maml(config).adapted_distribution(repeat_params(theta, N), batch)


def loss_of(batch, config):
    return lambda theta: maml(config).losses(repeat_params(theta, N), batch)[0].mean()


def mean_kl(old, new, episodes):
    return kl_divergences(old, new, episodes).mean()


def mean_fisher_product(batch, config):
    """v -> F v for the F of the whole meta-batch."""
    product = fisher_product(maml(config), repeat_params(PARAMS, N), batch)
    return lambda v: flatten_params(product(repeat_params(unflatten_params(v, PARAMS), N))).mean(0)


def whole_episode_ratio(log_probs, behaviour_log_probs, advantages):
    """What dice is the derivative of, where its denominator is the stored probability."""
    change = log_probs - behaviour_log_probs
    return (change.cumsum(-1).exp() - (change.cumsum(-1) - change).exp()) * advantages


# lvc and dice differentiate as if their denominator were the stored probability: they are measured
# against the functions of which that is true.
FUNCTIONS = {
    "lvc": likelihood_ratio,
    "likelihood_ratio": likelihood_ratio,
    "dice": whole_episode_ratio,
}


@pytest.mark.parametrize("objective", INNER_OBJECTIVES)
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_meta_gradient_agrees_with_finite_differences(steps, objective, monkeypatch):
    config, batch = make(steps, inner_objective=objective)
    found = vector_of(grad(loss_of(batch, config))(PARAMS))
    monkeypatch.setitem(OBJECTIVES, objective, FUNCTIONS[objective])
    expected = numerical_gradient(loss_of(batch, config), PARAMS)
    assert relative_error(found, expected) <= 1e-5


@pytest.mark.parametrize("steps", [0, 1])
def test_fisher_product_is_the_hessian_of_the_kl_divergence(steps):
    config, batch = make(steps)
    old = distribution_at(PARAMS, batch, config)

    def kl(vector):
        new = distribution_at(unflatten_params(vector, PARAMS), batch, config)
        return mean_kl(old, new, batch.post_episodes)

    theta = vector_of(PARAMS)
    v = torch.linspace(-1, 1, len(theta), dtype=torch.float64)
    found = mean_fisher_product(batch, config)(v)
    torch.testing.assert_close(found, jacrev(jacrev(kl))(theta) @ v)


def test_surrogate_at_the_behaviour_policy_is_minus_the_mean_advantage():
    config, batch = make()
    weights = batch.post_episodes.step_weights
    expected = -(weights * batch.post_advantages).sum((1, 2)).mean()
    torch.testing.assert_close(loss_of(batch, config)(PARAMS), expected)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_meta_update_improves_the_surrogate_within_the_trust_region(steps):
    config, batch = make(steps)
    params, report = update(batch, config)
    assert report.accepted
    assert report.surrogate_after < report.surrogate_before
    assert 0.1 * config.options.max_kl < report.kl <= config.options.max_kl
    assert report.surrogate_after == pytest.approx(loss_of(batch, config)(params).item())


def test_the_step_solves_the_damped_system_at_the_edge_of_the_trust_region():
    config, batch = make(0, cg_iterations=200, cg_damping=0.1)
    gradient = vector_of(grad(loss_of(batch, config))(PARAMS))
    step = search(config, batch).natural_step(gradient.numpy())
    step = torch.from_numpy(step)
    damped = mean_fisher_product(batch, config)(step) + 0.1 * step
    assert (step @ damped).item() / 2 == pytest.approx(config.options.max_kl, rel=1e-4)
    direction = -gradient
    cosine = (damped @ direction) / (damped.norm() * direction.norm())
    assert cosine.item() == pytest.approx(1.0, abs=1e-6)


def test_a_failed_line_search_restores_the_parameters():
    config, batch = make()
    uphill = vector_of(grad(loss_of(batch, config))(PARAMS)).numpy()
    old = distribution_at(PARAMS, batch, config)
    before = loss_of(batch, config)(PARAMS).item()
    params, report = search(config, batch).along(uphill, old, before)
    assert params is PARAMS
    assert not report.accepted
    assert report.line_search_steps == config.options.line_search_steps
    assert report.surrogate_after == before


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["pre_advantages", "post_advantages"])
def test_numbers_that_are_not_finite_never_reach_the_parameters(where, bad):
    config, batch = make()
    if where == "post_advantages":
        broken = batch.post_advantages.clone()
        broken[0, 0, 0] = bad
    else:
        broken = (batch.pre_advantages[0].clone(),)
        broken[0][0, 0, 0] = bad
    batch = dataclasses.replace(batch, **{where: broken})
    params, report = update(batch, config)
    assert params is PARAMS
    assert not report.accepted
    assert report.rejected_tasks == (0,)


def test_an_empty_post_update_task_is_no_part_of_the_update():
    config, batch = make(0)
    mask = batch.post_episodes.mask.clone()
    mask[2] = 0.0
    empty = dataclasses.replace(batch.post_episodes, mask=mask)
    params, report = update(dataclasses.replace(batch, post_episodes=empty), config)
    assert report.accepted
    assert all(leaf.isfinite().all() for leaf in params.values())


def test_conjugate_gradients_solve_a_positive_definite_system():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((6, 6))
    matrix, b = root @ root.T + np.eye(6), rng.standard_normal(6)
    x = conjugate_gradients(lambda v: matrix @ v, b, 30)
    np.testing.assert_allclose(matrix @ x, b, atol=1e-4)
    assert not conjugate_gradients(lambda v: matrix @ v, np.zeros(6), 30).any()


def test_the_subsample_takes_whole_episodes_of_every_task_and_block():
    _, batch = make(2)
    part = batch.first(2)
    assert part.post_episodes.rewards.shape == (N, 2, 5)
    assert [block.num_episodes for block in part.pre_episodes] == [2, 2]
    assert part.pre_advantages[1].shape == (N, 2, 5)
    np.testing.assert_array_equal(part.post_advantages, batch.post_advantages[:, :2])
