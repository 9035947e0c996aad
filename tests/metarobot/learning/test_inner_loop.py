"""An adaptation step by plain loops, alone and together, shrunk by its noise; derivatives."""

import dataclasses

import fakes
import pytest
import torch
from derivatives import numerical_gradient, relative_error, vector_of
from fakes import (
    E,
    N,
    act_alone,
    config_of,
    made_up_batch,
    made_up_episodes,
    policy_loss,
    small_policy,
)
from torch.func import grad, jacrev

from metarobot.algorithms import make_algorithm
from metarobot.config import INNER_OBJECTIVES
from metarobot.learning.inner_loop import (
    OBJECTIVES,
    PRIOR_EPISODES,
    STEP_SIGNAL,
    STEP_VARIANCE,
    STEPS_TAKEN,
    adapt,
    adapt_shrunk,
    likelihood_ratio,
    lvc,
    measured_steps,
)
from metarobot.policies import log_prob, repeat_params

POLICY, PARAMS = small_policy()
ALPHA = 0.3


# Objectives: a Gaussian of one number, whose mean and log standard deviation are θ.

ADVANTAGES = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
TAKEN = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64)
THETA = torch.tensor([0.2, -0.4], dtype=torch.float64)


def log_probs_of(theta):
    return -0.5 * ((TAKEN - theta[0]) * torch.exp(-theta[1])) ** 2 - theta[1]


def test_at_the_behaviour_policy_objectives_agree_up_to_the_second_derivative():
    ratio, curvature = (
        lambda theta, o=o: o(log_probs_of(theta), log_probs_of(THETA), ADVANTAGES).sum()
        for o in (likelihood_ratio, lvc)
    )

    def score(theta):
        return (log_probs_of(theta) * ADVANTAGES).sum()

    for objective in (ratio, curvature):
        torch.testing.assert_close(objective(THETA), ADVANTAGES.sum())
        torch.testing.assert_close(grad(objective)(THETA), grad(score)(THETA))
    # Their Hessian holds the term that log-probabilities alone lose.
    scores, plain = jacrev(log_probs_of)(THETA), jacrev(jacrev(score))(THETA)
    expected = plain + torch.einsum("t,ti,tj->ij", ADVANTAGES, scores, scores)
    torch.testing.assert_close(jacrev(jacrev(ratio))(THETA), expected)
    torch.testing.assert_close(jacrev(jacrev(curvature))(THETA), expected)
    assert (expected - plain).abs().max() > 0.1


def make_tasks(num_episodes=E, monkeypatch=None):
    """Different parameters for every task, with episodes of their own."""
    if monkeypatch is not None:
        monkeypatch.setattr(fakes, "E", num_episodes)
    generator = torch.Generator().manual_seed(3)
    params = {
        name: leaf + 0.1 * torch.randn(N, *leaf.shape, generator=generator, dtype=leaf.dtype)
        for name, leaf in PARAMS.items()
    }
    return params, *made_up_episodes(POLICY, params, seed=4)


def episode_steps(params, episodes, advantages, task):
    """α E ∇ L of each episode of a task alone that counts, by a loop, (E, D)."""
    counted = [e for e in range(episodes.num_episodes) if episodes.mask[task, e].any()]
    total, steps = episodes.mask[task].sum(), []
    for e in counted:
        leaves = {name: leaf[task].clone().requires_grad_() for name, leaf in params.items()}
        mean, log_std = act_alone(POLICY, leaves, episodes.observations[task, e])
        log_probs = log_prob(mean, log_std, episodes.actions[task, e])
        loss = -(log_probs * advantages[task, e] * episodes.mask[task, e]).sum() / total
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        steps.append(ALPHA * len(counted) * torch.cat([g.flatten() for g in gradients]))
    return torch.stack(steps)


def moved_by(adapted, params):
    """θ_n - θ'_n of every task, (N, D)."""
    return torch.cat([(params[n] - adapted[n]).flatten(1) for n in PARAMS], dim=1)


@pytest.mark.parametrize("objective", INNER_OBJECTIVES)
def test_one_step_is_a_policy_gradient_step_on_each_task_alone(objective):
    params, episodes, advantages = make_tasks()
    adapted = adapt(policy_loss(POLICY, episodes, advantages, objective), params, ALPHA)
    expected = [episode_steps(params, episodes, advantages, n).mean(0) for n in range(N)]
    torch.testing.assert_close(moved_by(adapted, params), torch.stack(expected))


def test_first_order_takes_the_same_step_with_the_identity_as_jacobian():
    episodes, advantages = made_up_episodes(POLICY, repeat_params(PARAMS, N), seed=4)

    def bias_after(bias, first_order):
        params = repeat_params({**PARAMS, "layers.1.bias": bias}, N)
        loss = policy_loss(POLICY, episodes, advantages)
        return adapt(loss, params, ALPHA, first_order=first_order)["layers.1.bias"]

    bias = PARAMS["layers.1.bias"]
    torch.testing.assert_close(bias_after(bias, True), bias_after(bias, False))
    identity = torch.eye(2, dtype=torch.float64).expand(N, 2, 2)
    torch.testing.assert_close(jacrev(bias_after)(bias, True), identity)
    assert (jacrev(bias_after)(bias, False) - identity).abs().max() > 0.01


def test_only_the_leaves_with_a_step_size_adapt_each_by_its_own():
    params, episodes, advantages = make_tasks()
    mask = episodes.mask.clone()
    mask[1] = 0.0  # a task without steps keeps its parameters
    loss = policy_loss(POLICY, dataclasses.replace(episodes, mask=mask), advantages)
    together = adapt(loss, params, 1.0)
    sizes = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)[:, None]  # one for every task
    found = adapt(loss, params, {"layers.1.bias": sizes, "log_std": 0.5})
    assert list(found) == list(params)
    for name, leaf in params.items():
        size = {"layers.1.bias": sizes, "log_std": 0.5}.get(name, 0.0)
        torch.testing.assert_close(found[name], leaf + size * (together[name] - leaf))
        assert torch.equal(together[name][1], leaf[1])
        assert not torch.equal(together[name][0], leaf[0])


# Steps that are shrunk.


def with_learned(params, variance, signal=0.0):
    """Parameters (N, ...) that hold what meta-training has found, a number or one for each task."""
    known = {STEP_VARIANCE: variance, STEP_SIGNAL: signal}
    rows = {name: torch.as_tensor(each).double().expand(N) for name, each in known.items()}
    return {**params, **{name: row[:, None] for name, row in rows.items()}}


def shrunk_step(steps, learned, signal):
    """s α ∇ L for the steps of each episode alone, (D,)."""
    mean, freedom = steps.mean(0), len(steps) - 1
    variance = steps.var(0).sum() * freedom if freedom else 0.0
    if learned > 0:
        variance, freedom = variance + PRIOR_EPISODES * learned, freedom + PRIOR_EPISODES
    noise = variance / freedom / len(steps) if freedom else torch.inf
    own, count = max(0.0, mean.square().sum() - noise), len(steps) - 1
    if signal > 0:
        own = (count * own + PRIOR_EPISODES * signal) / (count + PRIOR_EPISODES)
    elif count == 0:
        own = 0.0
    return own / (own + noise) * mean


@pytest.mark.parametrize(("learned", "signal"), [(0.0, 0.0), (2.0, 0.0), (2.0, 0.5)])
@pytest.mark.parametrize("num_episodes", [1, 5])
def test_a_step_is_shrunk_as_a_plain_loop_finds(num_episodes, learned, signal, monkeypatch):
    params, episodes, advantages = make_tasks(num_episodes, monkeypatch)
    known = with_learned(params, learned, signal) if learned else params
    adapted = adapt_shrunk(policy_loss(POLICY, episodes, advantages), known, ALPHA)
    steps = [episode_steps(params, episodes, advantages, task) for task in range(N)]
    expected = torch.stack([shrunk_step(each, learned, signal) for each in steps])
    torch.testing.assert_close(moved_by(adapted, params), expected)
    assert expected.any() == (num_episodes > 1 or signal > 0.0)


def test_where_nothing_is_to_be_gained_the_step_is_zero_and_bad_numbers_stay_visible():
    params, episodes, advantages = make_tasks()
    advantages = advantages.clone()
    advantages[1] = 0.0
    known = with_learned(params, [0.0, 2.0, 0.0])

    def steps(params):
        loss = policy_loss(POLICY, episodes, advantages)
        return moved_by(adapt_shrunk(loss, {**known, **params}, ALPHA), params)

    gradient = grad(lambda params: steps(params).square().sum())(params)
    assert not steps(params)[1].any()
    assert all(leaf.isfinite().all() and not leaf[1].any() for leaf in gradient.values())
    assert any(leaf[0].any() for leaf in gradient.values())
    for bad in (torch.nan, torch.inf):
        advantages[1, 0, 0] = bad
        assert steps(params).isfinite().all(1).tolist() == [True, False, True]


@pytest.mark.parametrize("algorithm", ["maml", "anil", "meta_sgd"])
def test_meta_gradient_goes_through_what_is_measured_and_never_to_it(algorithm, monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "lvc", likelihood_ratio)
    config = config_of(algorithm, inner_lr=ALPHA, num_adaptation_steps=2)
    policy, params = small_policy(algorithm=algorithm)
    known = {STEP_VARIANCE: 1.0, STEP_SIGNAL: 0.3, STEPS_TAKEN: 0.0}
    known = {name: torch.tensor([value]).double() for name, value in known.items()}
    batch = made_up_batch(policy, {**params, **known}, config)
    learner = make_algorithm(config, policy)

    def loss(params):
        theta = repeat_params({**known, **params}, N)
        return learner.adapted_distribution(theta, batch).mean.square().sum()

    found = grad(loss)({**params, **known})
    for name in known:
        assert not found.pop(name).any()
    assert relative_error(vector_of(found), numerical_gradient(loss, params)) <= 1e-5
    plain = make_algorithm(config.with_options(shrink_steps=False), policy)
    other = plain.adapted_distribution(repeat_params(params, N), batch).mean
    shrunk = learner.adapted_distribution(repeat_params({**params, **known}, N), batch).mean
    assert (other - shrunk).abs().max() > 0.01


def test_a_later_step_is_shorter_by_the_steps_taken():
    params, *block = make_tasks()
    loss = policy_loss(POLICY, *block)
    alone = adapt_shrunk(loss, params, ALPHA)
    first = adapt_shrunk(loss, {**params, STEPS_TAKEN: torch.zeros(N, 1).double()}, ALPHA)
    parts = measured_steps(loss, params, ALPHA)[1].factors(None)
    assert 0.1 < parts.min() < 0.9
    torch.testing.assert_close(first[STEPS_TAKEN], parts[:, None])
    assert all(torch.equal(first[name], alone[name]) for name in params)  # taken as it is
    # The same episodes again, from the same parameters, but after that step.
    again = adapt_shrunk(loss, {**params, STEPS_TAKEN: first[STEPS_TAKEN]}, ALPHA)
    torch.testing.assert_close(again[STEPS_TAKEN], 2 * parts[:, None])
    expected = moved_by(alone, params) / (1 + parts)[:, None]
    torch.testing.assert_close(moved_by(again, params), expected)


def test_step_sizes_of_single_elements_count_in_what_is_noise():
    params, episodes, advantages = make_tasks()
    loss = policy_loss(POLICY, episodes, advantages)
    steps, moments = measured_steps(loss, params, {"log_std": ALPHA})
    sizes = ALPHA * torch.ones(N, 2, dtype=torch.float64)
    same_steps, same = measured_steps(loss, params, {"log_std": sizes})
    torch.testing.assert_close(same_steps, steps)
    torch.testing.assert_close(same.factors(None), moments.factors(None))
    sizes[:, 0] = 0.0  # what does not move has no noise
    _, fewer = measured_steps(loss, params, {"log_std": sizes})
    assert (fewer.sample_variances() < moments.sample_variances()).all()


def test_a_meta_update_measures_the_steps_and_a_failed_one_does_not():
    config = config_of("maml", inner_lr=ALPHA)
    unknown = torch.zeros(1, dtype=torch.float64)
    params = {**PARAMS, STEP_VARIANCE: unknown, STEP_SIGNAL: unknown}
    batch = made_up_batch(POLICY, params, config)
    learner = make_algorithm(config, POLICY)
    improved, report = learner.update(params, batch)
    assert report.accepted
    episodes, advantages = batch.pre_episodes[0], batch.pre_advantages[0]
    loss = policy_loss(learner.exploring_policy, episodes, advantages)
    _, moments = measured_steps(loss, repeat_params(params, N), ALPHA)
    torch.testing.assert_close(improved[STEP_VARIANCE], moments.sample_variances().mean()[None])
    signals = (moments.length - moments.sample_variances() / E).mean()
    torch.testing.assert_close(improved[STEP_SIGNAL], signals.clamp(min=1e-12)[None])
    nothing = dataclasses.replace(batch, post_advantages=torch.zeros_like(batch.post_advantages))
    assert learner.update(params, nothing)[0] is params
