import dataclasses
import math

import numpy as np
import pytest
import torch
from derivatives import numerical_gradient, relative_error, vector_of
from fakes import N, made_up_batch, small_policy
from torch.func import grad, jacrev

from metarobot.algorithms import make_algorithm, train_config
from metarobot.config import INNER_OBJECTIVES
from metarobot.learning import trpo
from metarobot.learning.inner_loop import OBJECTIVES, likelihood_ratio
from metarobot.learning.meta_update import kl_divergences
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


def distribution_at(theta, batch, config):
    return maml(config).adapted_distribution(repeat_params(theta, N), batch)


def loss_of(batch, config):
    return lambda theta: maml(config).losses(repeat_params(theta, N), batch)[0].mean()


def mean_kl(old, new, episodes):
    return kl_divergences(old, new, episodes).mean()


def metric_at(theta, batch, config):
    """The adapted policies, with the factors that shrink the steps as they are at PARAMS."""
    metric_map = maml(config).metric_map(repeat_params(PARAMS, N), batch)
    return metric_map(repeat_params(theta, N))


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
@pytest.mark.parametrize("steps", [1, 2])
def test_meta_gradient_agrees_with_finite_differences(steps, objective, monkeypatch):
    config, batch = make(steps, inner_objective=objective)
    found = vector_of(grad(loss_of(batch, config))(PARAMS))
    monkeypatch.setitem(OBJECTIVES, objective, FUNCTIONS[objective])
    expected = numerical_gradient(loss_of(batch, config), PARAMS)
    assert relative_error(found, expected) <= 1e-5


@pytest.mark.parametrize(
    ("steps", "shrink", "adapted"),
    [
        (0, True, distribution_at),
        (1, False, distribution_at),
        (1, True, metric_at),
        (2, True, metric_at),
    ],
)
def test_fisher_product_is_the_hessian_of_the_kl_divergence(steps, shrink, adapted):
    config, batch = make(steps, shrink_steps=shrink)
    old = distribution_at(PARAMS, batch, config)

    def kl(vector):
        new = adapted(unflatten_params(vector, PARAMS), batch, config)
        return mean_kl(old, new, batch.post_episodes)

    theta = vector_of(PARAMS)
    v = torch.linspace(-1, 1, len(theta), dtype=torch.float64)
    found = mean_fisher_product(batch, config)(v)
    torch.testing.assert_close(found, jacrev(jacrev(kl))(theta) @ v)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_meta_update_improves_the_surrogate_within_the_trust_region(steps):
    # Along a descent direction of this objective the line search succeeds; of lvc, it may not.
    config, batch = make(steps, inner_objective="likelihood_ratio")
    params, report = update(batch, config)
    assert report.accepted
    assert report.surrogate_after < report.surrogate_before
    assert 0.1 * config.options.max_kl < report.kl <= config.options.max_kl
    assert report.surrogate_after == pytest.approx(loss_of(batch, config)(params).item())
    weights = batch.post_episodes.step_weights
    expected = -(weights * batch.post_advantages).sum((1, 2)).mean().item()
    assert report.surrogate_before == pytest.approx(expected)  # at the policies that acted


def test_the_step_solves_the_damped_system_at_the_edge_of_the_trust_region():
    config, batch = make(0, cg_iterations=200, cg_damping=0.1, max_kl=1e-8)
    gradient = vector_of(grad(loss_of(batch, config))(PARAMS))
    params, report = update(batch, config)
    step = vector_of(params) - vector_of(PARAMS)
    damped = mean_fisher_product(batch, config)(step) + 0.1 * step
    assert report.line_search_steps == 1  # so short a step is taken as it is
    assert (step @ damped).item() / 2 == pytest.approx(config.options.max_kl, rel=1e-4)
    cosine = -(damped @ gradient) / (damped.norm() * gradient.norm())
    assert cosine.item() == pytest.approx(1.0, abs=1e-6)


def test_a_line_search_that_fails_restores_the_parameters(monkeypatch):
    config, batch = make()

    def almost_along_the_slope(product, b, iterations):
        """A direction that is far too long once it is scaled by what it promises to win."""
        aside = np.roll(b, 1)
        return aside - b * (aside @ b) / (b @ b) + 1e-9 * b

    monkeypatch.setattr(trpo, "conjugate_gradients", almost_along_the_slope)
    params, report = update(batch, config)
    assert params is PARAMS
    assert not report.accepted
    assert report.line_search_steps == config.options.line_search_steps
    assert report.surrogate_after == loss_of(batch, config)(PARAMS).item()


@pytest.mark.parametrize("where", ["pre_advantages", "post_advantages"])
def test_numbers_that_are_not_finite_never_reach_the_parameters(where):
    config, batch = make()
    for bad in (math.nan, math.inf):
        if where == "post_advantages":
            broken = batch.post_advantages.clone()
            broken[0, 0, 0] = bad
        else:
            broken = (batch.pre_advantages[0].clone(),)
            broken[0][0, 0, 0] = bad
        params, report = update(dataclasses.replace(batch, **{where: broken}), config)
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
