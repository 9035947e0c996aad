"""What meta-training has seen of values counts in a task's fit, as far as it predicts the task."""

import dataclasses

import torch
from fakes import N, config_of, made_up_batch, made_up_episodes, small_policy

from metarobot.algorithms import make_algorithm
from metarobot.learning.advantages import (
    LEARNING_RATE,
    STRENGTH_OF_ONE,
    STRENGTHS,
    discounted_returns,
    episode_moments,
    estimate_advantages,
    weighted_prior,
)
from metarobot.learning.distributed import running_mean
from metarobot.learning.inner_loop import VALUE_PRIOR
from metarobot.policies import repeat_params
from metarobot.policies.value_baseline import fit_values, normal_equations, value_features

POLICY, PARAMS = small_policy()
EPISODES, ADVANTAGES = made_up_episodes(POLICY, repeat_params(PARAMS, N), seed=3)
DISCOUNT, GAE_LAMBDA = 0.9, 0.8


def test_a_prior_counts_as_episodes_of_the_task():
    """Three episodes with the moments of the fourth are a fit to all four."""
    returns = discounted_returns(EPISODES.rewards, EPISODES.mask, DISCOUNT)
    observations = POLICY.scale_observations(EPISODES.observations)
    last = slice(3, None)
    prior = normal_equations(
        value_features(observations[:, last]), returns[:, last], EPISODES.mask[:, last]
    )
    few = slice(0, 3)
    found = fit_values(observations[:, few], returns[:, few], EPISODES.mask[:, few], prior)
    whole = fit_values(observations, returns, EPISODES.mask)
    torch.testing.assert_close(found, whole[:, few])


def learner_with_prior(**options):
    config = config_of("maml", inner_lr=0.3, discount=DISCOUNT, gae_lambda=GAE_LAMBDA, **options)
    moments = episode_moments(POLICY, EPISODES, DISCOUNT)
    prior = running_mean(torch.zeros(8, 9, dtype=torch.float64), moments, LEARNING_RATE)
    return make_algorithm(config, POLICY), {**PARAMS, VALUE_PRIOR: prior}


def with_values(offsets):
    """Episodes whose returns are a function of the observation and time, and an offset."""
    observations = POLICY.scale_observations(EPISODES.observations)
    rewards = torch.zeros_like(EPISODES.rewards)
    rewards[..., -1] = observations[..., 0].mean(-1) + torch.as_tensor(offsets)[:, None]
    noise = torch.randn(rewards.shape, generator=torch.Generator().manual_seed(4))
    return dataclasses.replace(EPISODES, rewards=rewards + 0.3 * noise.double())


def rows_of_episodes(episodes):
    """Features (T, 8) and returns (T,) of the steps that count, a list of episodes a task."""
    returns = discounted_returns(episodes.rewards, episodes.mask, DISCOUNT)
    features = value_features(POLICY.scale_observations(episodes.observations))
    each = range(episodes.num_episodes)
    kept = episodes.mask > 0
    return [
        [(features[n, e][kept[n, e]], returns[n, e][kept[n, e]]) for e in each] for n in range(N)
    ]


def test_moments_and_how_far_they_count_are_those_of_explicit_loops():
    episodes = with_values([0.0, 1.0, 3.0])
    prior = episode_moments(POLICY, with_values([0.0, 0.0, 0.0]), DISCOUNT).mean(0)
    found = weighted_prior(POLICY, episodes, DISCOUNT, prior.expand(N, -1, -1))
    for task, rows in enumerate(rows_of_episodes(episodes)):
        moments = [torch.cat([x.T @ x, (x.T @ y.double())[:, None]], dim=1) for x, y in rows]
        mean = torch.stack(moments).mean(0)
        torch.testing.assert_close(episode_moments(POLICY, episodes, DISCOUNT)[task], mean)
        errors = []
        for strength in STRENGTHS:
            error = 0.0
            for left_out, (x, y) in enumerate(rows):
                total = strength * prior + sum(m for e, m in enumerate(moments) if e != left_out)
                gram = total[:, :-1] + 1e-5 * torch.eye(len(total)).double()
                w = torch.linalg.solve(gram, total[:, -1])
                error += float((x @ w - y).square().sum())
            errors.append(error)
        torch.testing.assert_close(found[task], STRENGTHS[errors.index(min(errors))] * prior)


def test_a_single_episode_predicts_no_other():
    one = EPISODES.first(1)
    prior = torch.ones(N, 8, 9, dtype=torch.float64)
    assert (weighted_prior(POLICY, one, DISCOUNT, prior) == STRENGTH_OF_ONE).all()
    mask = EPISODES.mask.clone()
    mask[1, 1:] = 0.0  # three of its episodes have no step that counts
    found = weighted_prior(POLICY, dataclasses.replace(EPISODES, mask=mask), DISCOUNT, prior)
    assert (found[1] == STRENGTH_OF_ONE).all()


def test_adaptation_reads_the_prior():
    learner, params = learner_with_prior(normalise_inner=False)
    theta = repeat_params(params, N)
    expected = estimate_advantages(
        POLICY,
        EPISODES,
        discount=DISCOUNT,
        gae_lambda=GAE_LAMBDA,
        value_prior=weighted_prior(POLICY, EPISODES, DISCOUNT, theta[VALUE_PRIOR]),
    )
    found = learner.adaptation_advantages(theta, EPISODES)
    torch.testing.assert_close(found, expected)
    without = learner.adaptation_advantages(repeat_params(PARAMS, N), EPISODES)
    assert (found - without).abs().max() > 0.01
    unknown = {**theta, VALUE_PRIOR: torch.zeros_like(theta[VALUE_PRIOR])}
    torch.testing.assert_close(learner.adaptation_advantages(unknown, EPISODES), without)


def test_a_meta_update_measures_the_prior_and_a_failed_one_does_not():
    learner, _ = learner_with_prior()
    params = {**PARAMS, VALUE_PRIOR: torch.zeros(8, 9, dtype=torch.float64)}
    batch = made_up_batch(POLICY, params, learner.config)
    improved, report = learner.update(params, batch)
    assert report.accepted
    expected = episode_moments(POLICY, batch.pre_episodes[0], DISCOUNT).mean(0)
    torch.testing.assert_close(improved[VALUE_PRIOR], expected)
    nothing = dataclasses.replace(batch, post_advantages=torch.zeros_like(batch.post_advantages))
    assert learner.update(params, nothing)[0] is params
