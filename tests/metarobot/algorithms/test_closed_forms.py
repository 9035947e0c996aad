"""Reptile and first-order MAML on a quadratic, where every adaptation step is known in closed form.

The inner objective is made the log-probability itself, and only the bias of a linear policy adapts:
L_n(b) = ½ E_t[((a - W o - b) / σ)²], so that a step is b - α / σ² (b - m), with m = E_t[a - W o].
"""

import pytest
import torch
from fakes import N, config_of, made_up_batch, small_policy
from torch.func import grad

from metarobot.algorithms import make_algorithm, reptile
from metarobot.algorithms.maml import GradientLearner
from metarobot.learning.inner_loop import OBJECTIVES
from metarobot.policies import repeat_params

BIAS, ALPHA, BETA = "layers.0.bias", 0.1, 0.7


@pytest.fixture(autouse=True)
def quadratic(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "lvc", lambda log_probs, behaviour, advantages: log_probs)
    monkeypatch.setattr(GradientLearner, "step_sizes", lambda self, params: {BIAS: ALPHA})


def make(algorithm, **fields):
    config = config_of(algorithm, reptile_rate=BETA, shrink_steps=False, **fields)
    policy, params = small_policy(hidden_sizes=(), algorithm=algorithm)
    algorithm = make_algorithm(config, policy)
    return algorithm, params, made_up_batch(policy, params, config)


def optimum(params, episodes):
    """m of every task, (N, A)."""
    scaled = episodes.observations / torch.tensor([1.0, 2.0], dtype=torch.float64)
    residual = episodes.actions - scaled @ params["layers.0.weight"].T
    return (residual * episodes.step_weights[..., None]).sum((1, 2))


def steps_from(params, blocks):
    """b of every task after a step on each block, (N, A)."""
    b, variance = params[BIAS].expand(N, -1), params["log_std"].mul(2).exp()
    for episodes in blocks:
        b = b - ALPHA / variance * (b - optimum(params, episodes))
    return b


def test_reptile_moves_to_the_mean_end_of_its_steps():
    algorithm, params, batch = make("reptile", reptile_steps=3)
    assert len(batch.blocks) == 3
    new, report = algorithm.update(params, batch)
    expected = params[BIAS] + BETA * (steps_from(params, batch.blocks) - params[BIAS]).mean(0)
    assert (new[BIAS] - expected).norm() <= 1e-5 * (expected - params[BIAS]).norm()
    assert all(torch.equal(new[name], params[name]) for name in params if name != BIAS)
    assert report.accepted
    assert report.kl > 0


def test_reptile_halves_a_move_that_leads_too_far_and_stays_where_none_is_short(monkeypatch):
    algorithm, params, batch = make("reptile", reptile_steps=3)
    whole_move, whole = algorithm.update(params, batch)
    half_move = params[BIAS] + (whole_move[BIAS] - params[BIAS]) / 2
    bounded, _, _ = make("reptile", reptile_steps=3, outer_max_kl=whole.kl / 2)
    found, report = bounded.update(params, batch)
    torch.testing.assert_close(found[BIAS], half_move)
    assert report.kl <= whole.kl / 2
    assert report.accepted
    assert (whole.line_search_steps, report.line_search_steps) == (1, 2)
    monkeypatch.setattr(reptile, "MOST_RATES", 1)
    found, report = bounded.update(params, batch)
    assert found is params
    assert not report.accepted
    assert not report.rejected_tasks


def post_gradient(params, batch):
    """∇_b' of the post-update surrogate at the policies that took the episodes, (N, A)."""
    post, variance = batch.post_episodes, params["log_std"].mul(2).exp()
    scaled = post.observations / torch.tensor([1.0, 2.0], dtype=torch.float64)
    b = steps_from(params, batch.pre_episodes)[:, None, None]
    score = (post.actions - scaled @ params["layers.0.weight"].T - b) / variance
    weights = (post.step_weights * batch.post_advantages)[..., None]
    return -(weights * score).sum((1, 2))


@pytest.mark.parametrize(("algorithm", "second_order"), [("fomaml", 0.0), ("maml", 1.0)])
def test_first_order_maml_takes_the_adaptation_for_a_shift(algorithm, second_order):
    steps = 2
    algorithm, params, batch = make(algorithm, num_adaptation_steps=steps)

    def loss(params):
        return algorithm.losses(repeat_params(params, N), batch)[0].mean()

    shrinkage = (1 - second_order * ALPHA / params["log_std"].mul(2).exp()) ** steps
    expected = shrinkage * post_gradient(params, batch).mean(0)
    found = grad(loss)(params)[BIAS]
    assert (found - expected).norm() <= 1e-5 * expected.norm()
