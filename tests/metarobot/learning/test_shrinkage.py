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
    LEARNING_RATE,
    MEASURED,
    OBJECTIVES,
    PRIOR_EPISODES,
    STEP_SIGNAL,
    STEP_VARIANCE,
    STEPS_TAKEN,
    adapt,
    adapt_shrunk,
    learn_mean,
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


def test_a_single_episode_is_taken_for_as_much_as_it_is_on_average():
    params, episodes, advantages = episodes_of()
    alone, several = episodes.first(1), advantages[:, :1]
    step = moved_by(with_learned(params, 2.0, 0.5), alone, several)
    louder = moved_by(with_learned(params, 2.0, 0.5), alone, 10 * several)
    torch.testing.assert_close(louder, 10 * step)  # an outlier is no signal
    loss = policy_loss(POLICY, alone, several)
    whole = measured_steps(loss, params, ALPHA)[0]
    whole = torch.cat([whole[name].flatten(1) for name in PARAMS], dim=1)
    torch.testing.assert_close(step, 0.5 / (0.5 + 2.0) * whole)


def test_every_task_is_shrunk_by_what_is_known_of_it_alone():
    params, episodes, advantages = episodes_of()
    together = moved_by(with_learned(params, [0.0, 2.0, 1e9]), episodes, advantages)
    for task, learned in enumerate([0.0, 2.0]):
        expected = loop_steps(params, episodes, advantages, learned)[task]
        torch.testing.assert_close(together[task], expected)
    assert not together[2].any()


def test_an_episode_without_steps_that_count_is_no_episode():
    params, episodes, advantages = episodes_of()
    mask = episodes.mask.clone()
    mask[:, 2] = 0.0
    mask[1, 1:] = 0.0
    found = moved_by(params, dataclasses.replace(episodes, mask=mask), advantages)
    rest = [e for e in range(E) if e != 2]
    fields = {f.name: getattr(episodes, f.name)[:, rest] for f in dataclasses.fields(episodes)}
    fewer = dataclasses.replace(episodes, **fields)
    expected = moved_by(params, fewer, advantages[:, rest])
    for task in (0, 2):
        torch.testing.assert_close(found[task], expected[task])
    assert not found[1].any()  # one episode is left, and nothing was learned about its noise


def test_without_a_signal_next_to_nothing_is_taken_and_with_one_nearly_all(monkeypatch):
    monkeypatch.setattr(fakes, "E", 40)
    params, episodes, _ = episodes_of()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(episodes.rewards.shape, generator=generator, dtype=torch.float64)
    better_action = torch.tensor([1.0, -1.0], dtype=torch.float64)
    mean = POLICY.distribution(params, episodes.observations).mean
    signal = ((episodes.actions - mean) * better_action).sum(-1)

    def part_taken(advantages):
        whole = adapt(policy_loss(POLICY, episodes, advantages), params, ALPHA)
        length = torch.cat([(params[n] - whole[n]).flatten(1) for n in PARAMS], dim=1).norm(dim=1)
        return moved_by(params, episodes, advantages).norm(dim=1) / length

    assert part_taken(noise).max() < 0.35
    assert part_taken(noise).median() < 0.1
    assert part_taken(signal + 0.1 * noise).min() > 0.8


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


def test_reptile_never_moves_the_steps_taken():
    config = config_of("reptile", inner_lr=ALPHA, outer_max_kl=10.0)
    policy, params = small_policy(algorithm="reptile")
    known = {name: torch.zeros(policy.shapes[name]).double() for name in MEASURED}
    learner = make_algorithm(config, policy)
    moved, report = learner.update({**params, **known}, made_up_batch(policy, params, config))
    assert report.accepted
    assert not moved[STEPS_TAKEN].any()
    assert moved[STEP_VARIANCE].any()


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


def test_adapting_leaves_what_was_learned_alone():
    params, episodes, advantages = episodes_of()
    known = with_learned(params, 0.5, 0.2)
    adapted = adapt_shrunk(policy_loss(POLICY, episodes, advantages), known, ALPHA)
    for name in (STEP_VARIANCE, STEP_SIGNAL):
        assert adapted[name] is known[name]


def test_what_is_learned_is_a_running_mean_of_what_can_be_measured():
    first = learn_mean(torch.zeros(1), torch.tensor([1.0, 3.0, torch.nan]))
    torch.testing.assert_close(first, torch.tensor([2.0]))
    second = learn_mean(first, torch.tensor([4.0]))
    torch.testing.assert_close(second, torch.tensor([2.0 + LEARNING_RATE * 2.0]))
    assert learn_mean(second, torch.tensor([torch.nan])) is second
    nothing = learn_mean(torch.zeros(1), torch.tensor([-1.0]))  # there is no signal
    assert 0.0 < float(nothing) < 1e-9


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


def test_the_sample_variance_has_no_bias(monkeypatch):
    """The mean over many small samples is the variance of a large one."""
    few = []
    for seed in range(200):
        params = repeat_params(PARAMS, N)
        monkeypatch.setattr(fakes, "E", 2)
        episodes, advantages = made_up_episodes(POLICY, params, seed=seed)
        loss = policy_loss(POLICY, episodes, advantages)
        few.append(measured_steps(loss, params, ALPHA)[1].sample_variances()[1:])
    monkeypatch.setattr(fakes, "E", 400)
    episodes, advantages = made_up_episodes(POLICY, repeat_params(PARAMS, N), seed=1)
    loss = policy_loss(POLICY, episodes, advantages)
    many = measured_steps(loss, repeat_params(PARAMS, N), ALPHA)[1].sample_variances()[1:]
    torch.testing.assert_close(torch.cat(few).mean(), many.mean(), rtol=0.15, atol=0.0)
