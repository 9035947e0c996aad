"""The learned inner loss: its step by hand, its derivatives, and that it needs no reward."""

import dataclasses

import torch
from derivatives import numerical_gradient, relative_error
from fakes import N, act_alone, config_of, made_up_batch, small_policy
from torch.func import grad

from metarobot.algorithms import make_algorithm
from metarobot.policies import repeat_params
from metarobot.policies.episode_encoder import transition_features

CONTEXT_SIZE = 3


def make(**fields):
    config = config_of("learned_loss", context_size=CONTEXT_SIZE, **fields)
    policy, params = small_policy(algorithm="learned_loss", context_size=CONTEXT_SIZE)
    return make_algorithm(config, policy), params, made_up_batch(policy, params, config)


def adapt(algorithm, params, episodes):
    advantages = algorithm.adaptation_advantages(params, episodes)
    return algorithm.adapt(repeat_params(params, N), episodes, advantages)


def context_by_hand(policy, params, episodes, task):
    """z + mean_t J_tᵀ d_t, over the steps of which it was seen what came, by a loop over them."""
    network = policy.network_params(params)

    def layer(name, inputs):
        return network[f"{name}.weight"] @ inputs + network[f"{name}.bias"]

    scaled = policy.scale_observations(episodes.observations)
    no_rewards = torch.zeros_like(episodes.rewards)
    following = policy.scale_observations(episodes.next_observations)
    came = transition_features(scaled, following, episodes.actions, no_rewards, episodes.mask)
    steps = []
    for episode in range(episodes.num_episodes):
        for t in range(episodes.horizon - 1):
            if not episodes.mask[task, episode, t + 1]:
                continue
            seen = episodes.observations[task, episode, t][None]

            def mean(context, seen=seen):
                return act_alone(policy, {**params, "context": context}, seen)[0][0]

            x = came[task, episode, t]
            products = layer("left", x) * layer("right", x)
            wanted = layer("last", torch.tanh(layer("hidden", torch.cat([products, x]))))
            jacobian = torch.autograd.functional.jacobian(mean, params["context"])
            steps.append(jacobian.T @ wanted)
    return params["context"] + torch.stack(steps).mean(0)


def test_a_step_follows_the_directions_through_the_policy():
    algorithm, params, batch = make()
    (episodes,) = batch.pre_episodes
    adapted = adapt(algorithm, params, episodes)
    for task in range(N):
        expected = context_by_hand(algorithm.policy, params, episodes, task)
        torch.testing.assert_close(adapted["context"][task], expected)
        assert (expected - params["context"]).norm() > 1e-3


def test_the_meta_gradient_agrees_with_finite_differences():
    algorithm, params, batch = make(num_adaptation_steps=2)

    def loss(theta):
        return algorithm.losses(repeat_params({**params, **theta}, N), batch)[0].mean()

    found = grad(loss)(params)
    assert all(leaf.abs().max() > 1e-7 for leaf in found.values())
    generator = torch.Generator().manual_seed(3)
    for name, leaf in params.items():
        # The network is large: each leaf is moved along a random direction.
        way = torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype)

        def along(step, name=name, leaf=leaf, way=way):
            return loss({name: leaf + step["length"] * way})

        expected = numerical_gradient(along, {"length": torch.zeros(1, dtype=leaf.dtype)})
        assert relative_error((found[name] * way).sum()[None], expected) <= 1e-5


def test_adapting_reads_neither_rewards_nor_log_probabilities():
    algorithm, params, batch = make()
    assert not algorithm.needs_rewards
    assert not algorithm.needs_log_probs
    (episodes,) = batch.pre_episodes
    unknown = torch.full_like(episodes.rewards, torch.nan)
    blind = dataclasses.replace(episodes, rewards=unknown, log_probs=unknown)
    expected = adapt(algorithm, params, episodes)["context"]
    assert torch.equal(adapt(algorithm, params, blind)["context"], expected)


def test_what_comes_after_the_end_of_an_episode_says_nothing():
    algorithm, params, batch = make()
    (episodes,) = batch.pre_episodes
    mask, observations = episodes.mask.clone(), episodes.observations.clone()
    actions = episodes.actions.clone()
    mask[:, :, 3:], mask[1, 1:], mask[2] = 0.0, 0.0, 0.0
    short = dataclasses.replace(episodes, mask=mask)
    expected = adapt(algorithm, params, short)["context"]
    observations[:, :, 3:], actions[:, :, 2:] = 9.0, 9.0  # the last action that counts led nowhere
    other = dataclasses.replace(short, observations=observations, actions=actions)
    assert torch.equal(adapt(algorithm, params, other)["context"], expected)
    assert torch.equal(expected[2], params["context"])  # no step, no change
    first = adapt(algorithm, params, short.first(1))["context"]
    torch.testing.assert_close(expected[1], first[1])


def test_training_adapts_from_few_episodes():
    for episodes, few in ((20, 5), (3, 3)):
        algorithm, *_ = make(episodes_per_task=episodes)
        assert algorithm.num_adaptation_episodes(0) == few
