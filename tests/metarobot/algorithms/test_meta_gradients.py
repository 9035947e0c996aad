"""What every algorithm climbs, against central differences of what it says it lowers."""

import fakes
import pytest
import torch
from derivatives import numerical_gradient, relative_error, vector_of
from fakes import N, config_of, made_up_batch, made_up_episodes, small_policy
from torch.distributions import Normal
from torch.func import grad

from metarobot.algorithms import make_algorithm
from metarobot.algorithms.maml import CreditedExploration, exploration_credits
from metarobot.learning.distributed import ALONE
from metarobot.learning.inner_loop import OBJECTIVES, likelihood_ratio
from metarobot.learning.meta_update import (
    clipped_surrogates,
    kl_divergences,
    kl_estimates,
    likelihood_ratios,
)
from metarobot.policies import repeat_params

ALGORITHM_NAMES = ("maml", "maml_ppo", "promp", "e_maml", "anil", "meta_sgd")


def make(algorithm, **fields):
    config = config_of(algorithm, inner_lr=0.3, inner_kl_penalty=0.5, **fields)
    policy, params = small_policy(algorithm=algorithm)
    batch = made_up_batch(policy, params, config)
    learner = make_algorithm(config, policy)
    if algorithm == "e_maml":
        return CreditedExploration(learner, exploration_credits(batch, ALONE)), params, batch
    return learner, params, batch


def loss_at(objective, batch):
    return lambda params: objective.losses(repeat_params(params, N), batch)[0].mean()


@pytest.mark.parametrize("algorithm", ALGORITHM_NAMES)
def test_meta_gradient_agrees_with_finite_differences(algorithm, monkeypatch):
    # lvc differentiates as if its denominator were the stored probability.
    objective, params, batch = make(algorithm, num_adaptation_steps=2)
    found = vector_of(grad(loss_at(objective, batch))(params))
    monkeypatch.setitem(OBJECTIVES, "lvc", likelihood_ratio)
    assert relative_error(found, numerical_gradient(loss_at(objective, batch), params)) <= 1e-5
    if algorithm in ("maml_ppo", "promp"):  # where the first epochs have led
        moved = {name: leaf + 0.03 for name, leaf in params.items()}
        found = vector_of(grad(loss_at(objective, batch))(moved))
        assert relative_error(found, numerical_gradient(loss_at(objective, batch), moved)) <= 1e-5


def test_anil_moves_the_head_only():
    algorithm, params, batch = make("anil")
    theta = repeat_params(params, N)
    adapted = algorithm.adapt(theta, batch.pre_episodes[0], batch.pre_advantages[0])
    moved = {name for name in theta if not torch.equal(adapted[name], theta[name])}
    assert moved == {"layers.1.weight", "layers.1.bias", "log_std"}


def test_meta_sgd_takes_the_steps_that_it_has_learned():
    algorithm, params, batch = make("meta_sgd", shrink_steps=False)
    maml, *_ = make("maml", shrink_steps=False)
    episodes, advantages = batch.pre_episodes[0], batch.pre_advantages[0]
    plain = {name: leaf for name, leaf in params.items() if not name.startswith("step_sizes.")}
    whole = maml.adapt(repeat_params(plain, N), episodes, advantages)
    for name, leaf in params.items():
        if name.startswith("step_sizes."):
            leaf.fill_(-0.15 if name == "step_sizes.layers_0_bias" else 0.3)
    theta = repeat_params(params, N)
    adapted = algorithm.adapt(theta, episodes, advantages)
    for name in plain:
        share = -0.5 if name == "layers.0.bias" else 1.0
        torch.testing.assert_close(adapted[name] - theta[name], share * (whole[name] - theta[name]))
    assert all(adapted[name] is theta[name] for name in theta if name.startswith("step_sizes."))


def test_clipping_ends_the_gain_and_never_the_loss():
    algorithm, params, batch = make("maml_ppo")
    _, distribution = algorithm.losses(repeat_params(params, N), batch)
    far = distribution._replace(mean=distribution.mean + 1.0)
    post, ones = batch.post_episodes, torch.ones_like(batch.post_advantages)
    ratios = likelihood_ratios(far, post)
    assert ratios.min() < 0.8 < 1.2 < ratios.max()
    for advantages, ends in ((ones, ratios.clamp(max=1.2)), (-ones, -ratios.clamp(min=0.8))):
        found = clipped_surrogates(far, post, advantages, 0.2)
        torch.testing.assert_close(found, -(ends * post.step_weights).sum((1, 2)))


def test_the_estimate_of_the_kl_divergence_has_no_bias(monkeypatch):
    monkeypatch.setattr(fakes, "E", 2000)
    policy, params = small_policy()
    episodes, _ = made_up_episodes(policy, repeat_params(params, N), seed=1)
    old = policy.distribution(repeat_params(params, N), episodes.observations)
    new = old._replace(mean=old.mean + 0.2, log_std=old.log_std - 0.1)
    assert kl_estimates(old, episodes).abs().max() < 1e-12
    exact = kl_divergences(old, new, episodes)
    torch.testing.assert_close(kl_estimates(new, episodes), exact, rtol=0.1, atol=0.0)


def test_promp_is_charged_for_how_far_the_exploring_policy_has_moved(monkeypatch):
    monkeypatch.setattr(fakes, "E", 2000)
    promp, params, batch = make("promp")
    ppo, *_ = make("maml_ppo")
    start, moved = (
        repeat_params({name: leaf + shift for name, leaf in params.items()}, N)
        for shift in (0.0, 0.1)
    )
    charged = promp.losses(moved, batch)[0] - ppo.losses(moved, batch)[0]
    (explored,) = batch.pre_episodes
    old, new = (
        promp.exploring_policy.distribution(theta, explored.observations)
        for theta in (start, moved)
    )
    divergences = kl_divergences(old, new, explored)
    torch.testing.assert_close(charged, 0.5 * divergences, rtol=0.1, atol=0.0)


def test_e_maml_makes_episodes_that_led_far_more_likely():
    # What it adds to MAML's gradient is the score of the episodes, times what came of them.
    objective, params, batch = make("e_maml")
    maml, *_ = make("maml")
    (explored,) = batch.pre_episodes
    returns = batch.post_episodes.returns.mean(1)
    credits = (returns - returns.mean()) / returns.std(correction=0)

    def gain(params):
        policy = maml.exploring_policy
        mean, log_std = policy.distribution(repeat_params(params, N), explored.observations)[:2]
        chances = Normal(mean, log_std[:, None, None].exp()).log_prob(explored.actions).sum(-1)
        return (credits * (chances * explored.step_weights).sum((1, 2))).mean()

    added = vector_of(grad(loss_at(objective, batch))(params)) - vector_of(
        grad(loss_at(maml, batch))(params)
    )
    assert relative_error(-added, numerical_gradient(gain, params)) <= 1e-5
