"""A step is shrunk by its noise: against a plain loop, against differences, and at the edges."""

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
from torch.func import grad

from metarobot.algorithms import make_algorithm
from metarobot.learning.inner_loop import (
    OBJECTIVES,
    PRIOR_EPISODES,
    STEP_SIGNAL,
    STEP_VARIANCE,
    STEPS_TAKEN,
    adapt_shrunk,
    likelihood_ratio,
    measured_steps,
)
from metarobot.policies import log_prob, repeat_params

POLICY, PARAMS = small_policy()
ALPHA = 0.3


def episodes_of(num_episodes=E, monkeypatch=None):
    """Different parameters for every task, with episodes of their own."""
    if monkeypatch is not None:
        monkeypatch.setattr(fakes, "E", num_episodes)
    params = repeat_params(PARAMS, N)
    return params, *made_up_episodes(POLICY, params, seed=4)


def with_learned(params, variance, signal=0.0):
    """Parameters (N, ...) that hold what meta-training has found, a number or one for each task."""
    known = {STEP_VARIANCE: variance, STEP_SIGNAL: signal}
    rows = {name: torch.as_tensor(each).double().expand(N) for name, each in known.items()}
    return {**params, **{name: row[:, None] for name, row in rows.items()}}


def loop_steps(params, episodes, advantages, learned=0.0, signal=0.0):
    """s_n α ∇ L_n by loops over tasks and episodes, each episode differentiated alone; (N, D)."""
    shrunk = []
    for task in range(N):
        counted = [e for e in range(episodes.num_episodes) if episodes.mask[task, e].any()]
        total = episodes.mask[task].sum()
        alone = []
        for e in counted:
            leaves = {name: leaf[task].clone().requires_grad_() for name, leaf in params.items()}
            mean, log_std = act_alone(POLICY, leaves, episodes.observations[task, e])
            log_probs = log_prob(mean, log_std, episodes.actions[task, e])
            loss = -(log_probs * advantages[task, e] * episodes.mask[task, e]).sum() / total
            gradients = torch.autograd.grad(loss, list(leaves.values()))
            alone.append(ALPHA * len(counted) * torch.cat([g.flatten() for g in gradients]))
        steps = torch.stack(alone)
        mean, freedom = steps.mean(0), len(counted) - 1
        variance = steps.var(0).sum() * freedom if freedom else 0.0
        if learned > 0:
            variance, freedom = variance + PRIOR_EPISODES * learned, freedom + PRIOR_EPISODES
        noise = variance / freedom / len(counted) if freedom else torch.inf
        own, count = max(0.0, mean.square().sum() - noise), len(counted) - 1
        if signal > 0:
            own = (count * own + PRIOR_EPISODES * signal) / (count + PRIOR_EPISODES)
        elif count == 0:
            own = 0.0
        shrunk.append(own / (own + noise) * mean)
    return torch.stack(shrunk)


def moved_by(params, episodes, advantages):
    """θ_n - θ'_n of every task, (N, D)."""
    adapted = adapt_shrunk(policy_loss(POLICY, episodes, advantages), params, ALPHA)
    return torch.cat([(params[n] - adapted[n]).flatten(1) for n in PARAMS], dim=1)


@pytest.mark.parametrize(("learned", "signal"), [(0.0, 0.0), (2.0, 0.0), (2.0, 0.5)])
@pytest.mark.parametrize("num_episodes", [1, 2, 5])
def test_a_step_is_what_a_plain_loop_finds(num_episodes, learned, signal, monkeypatch):
    params, episodes, advantages = episodes_of(num_episodes, monkeypatch)
    expected = loop_steps(params, episodes, advantages, learned, signal)
    known = with_learned(params, learned, signal)
    torch.testing.assert_close(moved_by(known, episodes, advantages), expected)
    if learned == 0.0:
        torch.testing.assert_close(moved_by(params, episodes, advantages), expected)
    assert expected.any() == (num_episodes > 1 or signal > 0.0)


def test_where_nothing_is_to_be_gained_the_step_is_zero_and_its_derivatives_finite():
    params, episodes, advantages = episodes_of()
    advantages = advantages.clone()
    advantages[1] = 0.0
    known = with_learned(params, [0.0, 2.0, 0.0])

    def length(params):
        adapted = adapt_shrunk(
            policy_loss(POLICY, episodes, advantages), {**known, **params}, ALPHA
        )
        return sum((adapted[n] - params[n]).square().sum() for n in params)

    gradient = grad(length)(params)
    assert not moved_by(known, episodes, advantages)[1].any()
    assert all(leaf.isfinite().all() and not leaf[1].any() for leaf in gradient.values())
    assert any(leaf[0].any() for leaf in gradient.values())


def test_numbers_that_are_not_finite_stay_visible():
    params, episodes, advantages = episodes_of()
    for bad in (torch.nan, torch.inf):
        advantages[1, 0, 0] = bad
        moved = moved_by(params, episodes, advantages)
        assert moved[[0, 2]].isfinite().all()
        assert not moved[1].isfinite().all()


@pytest.mark.parametrize("signal", [0.0, 0.3])
@pytest.mark.parametrize("algorithm", ["maml", "promp", "e_maml", "anil", "meta_sgd"])
def test_meta_gradient_goes_through_what_is_measured_and_never_to_it(
    algorithm, signal, monkeypatch
):
    monkeypatch.setitem(OBJECTIVES, "lvc", likelihood_ratio)
    config = config_of(algorithm, inner_lr=ALPHA, num_adaptation_steps=2)
    policy, params = small_policy(algorithm=algorithm)
    variance = {
        STEP_VARIANCE: torch.ones(1, dtype=torch.float64),
        STEP_SIGNAL: torch.tensor([signal], dtype=torch.float64),
        STEPS_TAKEN: torch.zeros(1, dtype=torch.float64),
    }
    batch = made_up_batch(policy, {**params, **variance}, config)
    learner = make_algorithm(config, policy)

    def loss(params):
        theta = repeat_params({**variance, **params}, N)
        return learner.adapted_distribution(theta, batch).mean.square().sum()

    found = grad(loss)({**params, **variance})
    for name in variance:
        assert not found.pop(name).any()
    assert relative_error(vector_of(found), numerical_gradient(loss, params)) <= 1e-5
    plain = make_algorithm(config.with_options(shrink_steps=False), policy)
    other = plain.adapted_distribution(repeat_params(params, N), batch).mean
    shrunk = learner.adapted_distribution(repeat_params({**params, **variance}, N), batch).mean
    assert (other - shrunk).abs().max() > 0.01


def test_a_later_step_is_shorter_by_the_steps_taken():
    params, *block = episodes_of()
    whole = moved_by(params, *block)
    known = {**params, STEPS_TAKEN: torch.zeros(N, 1, dtype=torch.float64)}
    first = adapt_shrunk(policy_loss(POLICY, *block), known, ALPHA)
    loss = policy_loss(POLICY, *block)
    parts = measured_steps(loss, params, ALPHA)[1].factors(None)
    assert 0.1 < parts.min() < 0.9
    torch.testing.assert_close(first[STEPS_TAKEN], parts[:, None])
    for name in params:  # the first step is taken as it is
        expected = adapt_shrunk(policy_loss(POLICY, *block), params, ALPHA)[name]
        torch.testing.assert_close(first[name], expected, rtol=0, atol=0)
    # The same episodes again, from the same parameters, but after that step.
    again = adapt_shrunk(
        policy_loss(POLICY, *block), {**params, STEPS_TAKEN: first[STEPS_TAKEN]}, ALPHA
    )
    torch.testing.assert_close(again.pop(STEPS_TAKEN), 2 * parts[:, None])
    moved = torch.cat([(params[name] - again[name]).flatten(1) for name in params], dim=1)
    torch.testing.assert_close(moved, whole / (1 + parts)[:, None])


def test_step_sizes_of_single_elements_count_in_what_is_noise():
    params, episodes, advantages = episodes_of()
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
