"""RL² remembers from episode to episode, recurrent randomisation one episode and no reward."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import FakeEnv, Targets

from metarobot.algorithms import configure, make_algorithm, make_policy, rl2, train_config
from metarobot.algorithms.rl2 import one_after_the_other, pack, side_by_side, unpack
from metarobot.config import PRESETS
from metarobot.envs import Tasks
from metarobot.learning.meta_update import MetaBatch, kl_divergences
from metarobot.learning.trpo import fisher_product
from metarobot.policies import flatten_params, log_prob, repeat_params
from metarobot.policies.recurrent import EpisodicPolicy, RecurrentPolicy
from metarobot.rollout.collect import collect
from metarobot.rollout.seeding import Phase, draw_episodes
from metarobot.training.trainer import MetaTrainer, num_simulations

N, E, T = 4, 3, 5
POLICIES = {"rl2": RecurrentPolicy, "recurrent_randomisation": EpisodicPolicy}
BOTH = pytest.mark.parametrize("name", POLICIES)
LAYOUTS = pytest.mark.parametrize("name", [*POLICIES, "reward_products"])
"""Of policies: both algorithms, and RL² with changes of the reward."""
DRAWS = draw_episodes(0, 0, Phase.POST_UPDATE, tasks=range(N), episode_shape=(2 * E, T, 2, 2))
FAULTS = {"unstable_at": {1: 3, 2: 0}, "terminated_at": {0: 1}}


def small_algorithm(name="rl2"):
    options = {"reward_products": True} if name == "reward_products" else {}
    name = "rl2" if options else name
    policy = POLICIES[name]([-1.0] * 3, [1.0] * 3, 2, (6, 5), **options).double()
    params = policy.initial_params(torch.Generator().manual_seed(0))
    params["head.weight"] *= 10.0  # a memory that shows
    return make_algorithm(
        train_config(name, hidden_sizes=(6, 5), **options), policy
    ), repeat_params(params, N)


def make_env_of(num_envs, targets=0.5, **faults):
    env = FakeEnv(num_envs, T, **faults)
    env.set_tasks(Tasks({"x": np.full(N, targets), "y": np.zeros(N)}))
    return env


def collect_trial(algorithm, params, episodes=slice(0, E), num_envs=N, **kwargs):
    """Collect episodes of a task one after the other, or side by side."""
    env = make_env_of(num_envs, **kwargs)
    noise, start = DRAWS.noise[:, episodes], DRAWS.start[:, episodes]
    return collect(env, algorithm.policy, params, noise=noise, start=start)


def batch_of(algorithm, params, block):
    advantages = algorithm.outer_advantages(params, block).double()
    return MetaBatch(
        pre_episodes=(), pre_advantages=(), post_episodes=block, post_advantages=advantages
    )


@LAYOUTS
@pytest.mark.parametrize("faults", [{}, FAULTS])
def test_unrolling_gives_the_probabilities_of_collecting(name, faults):
    algorithm, params = small_algorithm(name)
    trial = collect_trial(algorithm, params, **faults)
    mean, log_std = algorithm.adapted_distribution(params, batch_of(algorithm, params, trial))
    again = log_prob(mean, log_std[:, None, None], trial.actions)
    assert ((again - trial.log_probs).abs() * trial.mask).max() <= 1e-13
    assert trial.mask.bool().all() == (not faults)


@LAYOUTS
def test_gradient_and_fisher_products_are_those_of_finite_differences(name):
    """So the chain rule by hand may be differentiated again."""
    algorithm, params = small_algorithm(name)
    faults = {"unstable_at": {1: 3}, "terminated_at": {0: 1}}  # each task keeps some steps
    batch = batch_of(algorithm, params, collect_trial(algorithm, params, **faults))
    away = {n: leaf + 0.02 for n, leaf in params.items()}  # where ratios are not 1
    generator = torch.Generator().manual_seed(2)
    v = {n: torch.randn(leaf.shape, generator=generator).double() for n, leaf in params.items()}
    v["memory"] *= 0.0

    def moved(start, distance):
        return {n: leaf + distance * v[n] for n, leaf in start.items()}

    gradient = torch.func.grad(lambda theta: algorithm.losses(theta, batch)[0].sum())(away)
    slopes = (flatten_params(gradient) * flatten_params(v)).sum(1)
    ahead, behind = (algorithm.losses(moved(away, d), batch)[0] for d in (1e-5, -1e-5))
    torch.testing.assert_close(slopes, (ahead - behind) / 2e-5, rtol=1e-4, atol=1e-8)
    assert not gradient["memory"].any()
    old = algorithm.adapted_distribution(params, batch)

    def kl(theta):
        new = algorithm.adapted_distribution(theta, batch)
        return kl_divergences(old, new, batch.post_episodes).sum()

    found = flatten_params(fisher_product(algorithm, params, batch)(v))
    ends = [flatten_params(torch.func.grad(kl)(moved(params, d))) for d in (1e-5, -1e-5)]
    expected = (ends[0] - ends[1]) / 2e-5
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_an_episodic_memory_knows_the_steps_before_and_no_other_episode():
    algorithm, params = small_algorithm("recurrent_randomisation")
    side, row = (collect_trial(algorithm, params, num_envs=n) for n in (N * E, N))
    torch.testing.assert_close(side.actions, row.actions)
    assert torch.equal(row.actions, collect_trial(algorithm, params, targets=-0.5).actions)
    actions = side.actions.clone()
    actions[:, 0, 0] = -actions[:, 0, 0]
    found, expected = (
        algorithm.adapted_distribution(params, batch_of(algorithm, params, each)).mean
        for each in (replace(side, actions=actions), side)
    )
    assert (found[:, 0, 1:] != expected[:, 0, 1:]).any()
    assert torch.equal(found[:, 0, 0], expected[:, 0, 0])
    assert torch.equal(found[:, 1:], expected[:, 1:])


@pytest.mark.parametrize("name", ["rl2", "reward_products"])
@pytest.mark.parametrize("faults", [{}, FAULTS])
def test_adapting_is_going_on_with_the_memory(faults, name):
    algorithm, params = small_algorithm(name)
    whole = collect_trial(algorithm, params, slice(0, 2 * E), **faults)
    first = collect_trial(algorithm, params, slice(0, E), **faults)
    adapted = algorithm.adapt(params, first, algorithm.adaptation_advantages(params, first))
    rest = collect_trial(algorithm, adapted, slice(E, 2 * E), **faults)
    mask = rest.mask[..., None]
    torch.testing.assert_close(rest.actions * mask, whole.actions[:, E:] * mask)
    changed = {name for name, leaf in adapted.items() if not torch.equal(leaf, params[name])}
    assert changed == {"memory"}
    far = collect_trial(algorithm, params, slice(0, E), targets=-0.5, **faults)  # other rewards
    assert torch.equal(first.actions[:, 0, 0], far.actions[:, 0, 0])
    assert not (first.actions[0, 1:] == far.actions[0, 1:]).any()


@BOTH
def test_advantages_count_later_episodes_only_where_memory_lasts(name, monkeypatch):
    algorithm, params = small_algorithm(name)
    algorithm.scale_outer = lambda advantages, mask: advantages
    monkeypatch.setattr(rl2, "solve_ridge", lambda gram, vector: torch.zeros_like(vector))
    trial = collect_trial(algorithm, params, **FAULTS)
    rewards = trial.rewards.clone()
    rewards[3, -1, -1] += 10.0  # of the last episode of a task without faults
    before, after = (
        algorithm.outer_advantages(params, block)
        for block in (trial, replace(trial, rewards=rewards))
    )
    assert not before[trial.mask == 0].any()
    assert (after[3, -1] > before[3, -1]).all()
    assert torch.equal(before[3, :-1], after[3, :-1]) == (name != "rl2")


@pytest.mark.parametrize("order_of", [one_after_the_other, side_by_side])
def test_packing_keeps_all_steps_and_leaves_none_that_counts_behind_one_that_does_not(order_of):
    trial = collect_trial(*small_algorithm(), **FAULTS)
    order = order_of(trial)
    for block in (trial.rewards, trial.actions):
        assert torch.equal(unpack(pack(block, order), order, trial.rewards), block)
    if order_of is one_after_the_other:
        assert pack(trial.mask, order)[0].tolist() == [1.0] * 2 * E + [0.0] * 3 * E
    else:
        assert torch.equal(pack(trial.rewards, order)[:, :E], trial.rewards[:, :, 0])


@BOTH
def test_blocks_have_few_episodes_and_an_episodic_memory_never_adapts(name):
    assert train_config(name).block_shape[1] == 5
    assert train_config(name, episodes_per_task=3).block_shape[1] == 3
    algorithm, params = small_algorithm(name)
    assert algorithm.adapts == (name == "rl2")
    assert algorithm.adapts or algorithm.adapt(params, None, None) is params


def test_the_layout_follows_the_option_and_the_preset_of_a_hidden_goal_sets_it():
    preset = PRESETS["reach-hidden-goal"]
    without = preset.with_options(reward_products=False)
    for name, longer in (("rl2", 1), ("recurrent_randomisation", 0)):
        new, old = (make_policy(configure(run, name)).shapes for run in (preset, without))
        assert new["memory"][0] - old["memory"][0] == longer
        assert (new["layers.0.weight"] == old["layers.0.weight"]) == (longer == 0)


class TwoSides(Targets):
    def sample(self, rng, num_tasks, split="train"):
        return Tasks({"x": rng.choice([-0.7, 0.7], num_tasks), "y": np.zeros(num_tasks)})


class Sides(FakeEnv):
    """The hidden target lies on one of two sides."""

    distribution = TwoSides()


def test_a_trial_is_learned_in_which_only_memory_can_tell():
    sizes = {"num_tasks": 40, "episodes_per_task": 10, "hidden_sizes": (16, 16)}
    fields = {"trial_episodes": 5, "initial_std": 0.4, "max_kl": 0.05, "gae_lambda": 0.95}
    config = train_config("rl2", **sizes, **fields)
    trainer = MetaTrainer(config, Sides(num_simulations(config)))
    history = [trainer.step() for _ in range(14)]
    first, last = history[0], history[-1]
    assert last["meta/post_return"] > first["meta/post_return"] + 2.0
    assert last["meta/gain"] > 0.7
    assert abs(first["meta/gain"]) < 0.5
