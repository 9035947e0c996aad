"""Domain randomisation with memory remembers one episode, and no reward."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import FakeEnv

from metarobot.algorithms import make_algorithm, train_config
from metarobot.algorithms.rl2 import pack, side_by_side, unpack
from metarobot.envs import Tasks
from metarobot.learning.meta_batch import MetaBatch
from metarobot.learning.meta_gradient import kl_divergences
from metarobot.learning.trpo import fisher_product
from metarobot.policies import EpisodicPolicy, flatten_params, log_prob, repeat_params
from metarobot.rollout.collect import collect
from metarobot.rollout.seeding import Phase, draw_episodes
from metarobot.training.trainer import MetaTrainer, num_simulations

N, E, T = 3, 4, 5
CONFIG = train_config("recurrent_randomisation", hidden_sizes=(6, 5))
DRAWS = draw_episodes(0, 0, Phase.POST_UPDATE, tasks=range(N), episode_shape=(E, T, 2, 2))
FAULTS = [{}, {"unstable_at": {1: 3, 2: 0}, "terminated_at": {0: 1}}]


def small_algorithm():
    policy = EpisodicPolicy([-1.0] * 3, [1.0] * 3, 2, (6, 5)).double()
    params = policy.initial_params(torch.Generator().manual_seed(0))
    params["head.weight"] *= 10.0  # a memory that shows
    return make_algorithm(CONFIG, policy), repeat_params(params, N)


def collect_block(algorithm, params, num_envs=N * E, targets=0.5, **faults):
    env = FakeEnv(num_envs, T, **faults)
    env.set_tasks(Tasks({"x": np.full(N, targets), "y": np.zeros(N)}))
    return collect(env, algorithm.policy, params, noise=DRAWS.noise, start=DRAWS.start)


def batch_of(algorithm, params, block):
    advantages = algorithm.outer_advantages(params, block).double()
    return MetaBatch(
        pre_episodes=(), pre_advantages=(), post_episodes=block, post_advantages=advantages
    )


@pytest.mark.parametrize("faults", FAULTS)
def test_unrolling_a_block_gives_the_probabilities_it_was_collected_with(faults):
    algorithm, params = small_algorithm()
    block = collect_block(algorithm, params, **faults)
    mean, log_std = algorithm.adapted_distribution(params, batch_of(algorithm, params, block))
    again = log_prob(mean, log_std[:, None, None], block.actions)
    assert ((again - block.log_probs).abs() * block.mask).max() <= 1e-13


def test_episodes_do_not_know_of_each_other():
    """Whether they run side by side or one after the other, they are the same."""
    algorithm, params = small_algorithm()
    side, row = (collect_block(algorithm, params, num_envs) for num_envs in (N * E, N))
    torch.testing.assert_close(side.actions, row.actions)


def test_rewards_change_nothing():
    algorithm, params = small_algorithm()
    near, far = (collect_block(algorithm, params, targets=x) for x in (0.5, -0.5))
    assert not torch.equal(near.rewards, far.rewards)
    assert torch.equal(near.actions, far.actions)


def test_the_steps_before_in_the_episode_change_what_it_does():
    algorithm, params = small_algorithm()
    block = collect_block(algorithm, params)
    actions = block.actions.clone()
    actions[:, 0, 0] = -actions[:, 0, 0]
    other = replace(block, actions=actions)
    found, expected = (
        algorithm.adapted_distribution(params, batch_of(algorithm, params, each)).mean
        for each in (other, block)
    )
    assert (found[:, 0, 1:] != expected[:, 0, 1:]).any()
    assert torch.equal(found[:, 0, 0], expected[:, 0, 0])
    assert torch.equal(found[:, 1:], expected[:, 1:])


def test_the_gradient_and_fisher_products_are_those_of_finite_differences():
    algorithm, params = small_algorithm()
    batch = batch_of(algorithm, params, collect_block(algorithm, params, **FAULTS[1]))
    generator = torch.Generator().manual_seed(2)
    v = {n: torch.randn(leaf.shape, generator=generator).double() for n, leaf in params.items()}
    v["memory"] *= 0.0
    old = algorithm.adapted_distribution(params, batch)

    def moved(distance):
        return {n: leaf + distance * v[n] for n, leaf in params.items()}

    def kl_gradient(distance):
        def kl(theta):
            new = algorithm.adapted_distribution(theta, batch)
            return kl_divergences(old, new, batch.post_episodes).sum()

        return flatten_params(torch.func.grad(kl)(moved(distance)))

    found = flatten_params(fisher_product(algorithm, params, batch)(v))
    expected = (kl_gradient(1e-5) - kl_gradient(-1e-5)) / 2e-5
    assert (found - expected).norm() <= 1e-5 * expected.norm()
    gradient = torch.func.grad(lambda theta: algorithm.losses(theta, batch)[0].sum())(params)
    slopes = (flatten_params(gradient) * flatten_params(v)).sum(1)
    ends = [algorithm.losses(moved(distance), batch)[0] for distance in (1e-5, -1e-5)]
    torch.testing.assert_close(slopes, (ends[0] - ends[1]) / 2e-5, rtol=1e-4, atol=1e-8)


def test_steps_of_all_episodes_stand_side_by_side():
    algorithm, params = small_algorithm()
    block = collect_block(algorithm, params)
    order = side_by_side(block)
    packed = pack(block.rewards, order)
    assert torch.equal(packed[:, :E], block.rewards[:, :, 0])
    assert torch.equal(unpack(packed, order, block.rewards), block.rewards)


def test_each_episode_has_its_own_returns():
    algorithm, params = small_algorithm()
    block = collect_block(algorithm, params)
    rewards = block.rewards.clone()
    rewards[:, -1, -1] += 10.0  # of the last episode
    fields = {"normalise_outer": False, "gae_lambda": 1.0}
    algorithm.config = replace(algorithm.config, **fields)
    algorithm.scale_outer = lambda advantages, mask: advantages
    algorithm._fit_values = lambda params, episodes, returns: torch.zeros_like(returns)
    before, after = (
        algorithm.outer_advantages(params, each)
        for each in (block, replace(block, rewards=rewards))
    )
    assert torch.equal(before[:, :-1], after[:, :-1])
    assert (after[:, -1] > before[:, -1]).all()


def test_it_takes_few_episodes_and_never_adapts():
    assert CONFIG.block_shape[1] == 5
    assert train_config("recurrent_randomisation", episodes_per_task=3).block_shape[1] == 3
    algorithm, params = small_algorithm()
    assert not algorithm.adapts
    assert algorithm.adapt(params, None, None) is params


class Turned(FakeEnv):
    """A step moves the spot by the action, turned round in half of the tasks; near 0 it is best."""

    class distribution:  # noqa: N801
        @staticmethod
        def sample(rng, num_tasks, split="train"):
            return Tasks({"x": rng.choice([-1.0, 1.0], num_tasks), "y": np.zeros(num_tasks)})

        @staticmethod
        def encode(tasks):
            return tasks.values.copy()

    def step(self, actions):
        self.spot = self.spot + 0.5 * self.targets[:, :1] * np.clip(actions, -1, 1)
        observation, _, *rest = super().step(actions)
        return observation.clip(-3, 3), 1 - (self.spot**2).sum(1), *rest


def test_what_the_episode_shows_is_learned():
    config = train_config(
        "recurrent_randomisation",
        num_tasks=20,
        hidden_sizes=(16, 16),
        initial_std=0.4,
        max_kl=0.05,
        gae_lambda=0.95,
    )
    trainer = MetaTrainer(config, Turned(num_simulations(config), horizon=8))
    returns = [trainer.step()["meta/post_return"] for _ in range(30)]
    assert returns[-1] > returns[0] + 3.0
