"""Strategy search tells a trained oracle guesses, and keeps what earned most."""

from contextlib import closing

import numpy as np
import pytest
import torch

from metarobot.algorithms import make_policy, train_config
from metarobot.algorithms.references import StrategySearch
from metarobot.envs import find_family, make_env
from metarobot.policies import repeat_params
from metarobot.rollout.collect import collect
from metarobot.rollout.seeding import Phase, draw_episodes

N, E = 3, 7
SLIDE = "metarobot/Slide-v0"


def made_of_an_oracle(env_id=SLIDE, **options):
    """A search with an oracle that was never trained, but listens."""
    config = train_config("oracle", env_id=env_id, hidden_sizes=(8,), **options)
    oracle = make_policy(config)
    params = oracle.initial_params(torch.Generator().manual_seed(0))
    params["layers.1.weight"] *= 10.0
    family = find_family(env_id)
    low, high = family.observation_bounds(observe_task=True).tolist()
    policy = StrategySearch.make_policy(config, low, high, len(family.action_elements))
    return oracle, params, StrategySearch(config, policy)


def collect_block(algorithm, params, policy=None, num_episodes=E, noisy=True):
    env = make_env(SLIDE, N, num_threads=1)
    with closing(env):
        env.set_tasks(env.distribution.sample(np.random.default_rng(0), N))
        shape = (num_episodes, env.horizon, env.start_size, 1)
        draws = draw_episodes(0, 0, Phase.EVALUATION, tasks=range(N), episode_shape=shape)
        noise = draws.noise if noisy else None
        policy = policy or algorithm.exploring_policy
        return collect(env, policy, params, noise=noise, start=draws.start)


@pytest.mark.parametrize("products", [True, False])
def test_what_is_told_acts_as_the_oracle_that_observes_it(products):
    oracle, params, algorithm = made_of_an_oracle(task_products=products)
    own = repeat_params(algorithm.beginning(params), N)
    told = torch.tensor([[0.1, 0.5], [-1.2, 0.3], [0.9, -0.4]])
    seen = torch.rand(N, 4, 3)
    found = algorithm.policy.distribution({**own, "told": told}, seen)
    with_task = torch.cat([seen, told[:, None].expand(N, 4, 2)], dim=-1)
    expected = oracle.distribution(repeat_params(params, N), with_task)
    torch.testing.assert_close(found.mean, expected.mean)
    torch.testing.assert_close(found.log_std, expected.log_std)


def test_it_begins_in_the_middle_of_all_splits_and_asks_that_first():
    _, params, algorithm = made_of_an_oracle()
    begin = algorithm.beginning(params)
    distribution = find_family(SLIDE).distribution
    low, high = torch.from_numpy(distribution.encoded_bounds).float()
    torch.testing.assert_close(begin["told"], (low + high) / 2)
    torch.testing.assert_close(algorithm.policy.guesses[0], begin["told"])
    guesses = algorithm.policy.guesses
    assert ((guesses >= low) & (guesses <= high)).all()
    assert {*begin} == {*algorithm.policy.shapes}


def test_adapting_asks_again_what_the_episodes_were_asked():
    """So the parameters after a block are those of the state that collected it."""
    _, params, algorithm = made_of_an_oracle()
    begin = repeat_params(algorithm.beginning(params), N)
    policy = algorithm.exploring_policy
    states = []
    start = policy.start
    policy.start = lambda params: states.append(start(params)) or states[0]
    block = collect_block(algorithm, begin, policy)
    for count in (1, 2, E):
        adapted = algorithm.adapt(begin, block.first(count), block.rewards[:, :count])
        asked = states[0]._params["tried"][:, :count]
        assert torch.equal(adapted["tried"][:, :count], asked)
        torch.testing.assert_close(adapted["earned"][:, :count], block.returns[:, :count])
        assert (adapted["num_tried"] == count).all()
    assert (asked[0] != asked[1]).any() or (asked[1] != asked[2]).any()


def test_two_blocks_are_one():
    _, params, algorithm = made_of_an_oracle()
    begin = repeat_params(algorithm.beginning(params), N)
    block = collect_block(algorithm, begin)
    whole = algorithm.adapt(begin, block, block.rewards)
    half = algorithm.adapt(begin, block.first(4), block.rewards)
    rest = algorithm.adapt(half, block.last(E - 4), block.rewards)
    assert all(torch.equal(rest[name], leaf) for name, leaf in whole.items())


def test_it_is_not_trained():
    _, params, algorithm = made_of_an_oracle()
    with pytest.raises(NotImplementedError, match="made of a trained oracle: train the oracle"):
        algorithm.update(params, None)
