"""References made of a trained oracle: they try candidates, or fit the task by simulation."""

from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from metarobot.algorithms import make_policy, references, train_config
from metarobot.algorithms.references import Identification, StrategySearch, fit_tasks, misfits
from metarobot.envs import find_family, make_env
from metarobot.policies import repeat_params
from metarobot.rollout.collect import collect
from metarobot.rollout.seeding import Phase, draw_episodes

N, E = 2, 7
SLIDE = "metarobot/Slide-v0"
FAMILY = find_family(SLIDE)
POINTS = np.array([[0.3, 0.7], [0.85, 0.2]])


def made_of_an_oracle(kind, **options):
    """A reference with an oracle that was never trained, but listens, and the oracle."""
    config = train_config(
        "oracle", env_id=SLIDE, hidden_sizes=(8,), num_threads=1, initial_std=0.3, **options
    )
    oracle = make_policy(config)
    params = oracle.initial_params(torch.Generator().manual_seed(0))
    params["layers.1.weight"] *= 10.0
    low, high = FAMILY.observation_bounds(observe_task=True).tolist()
    return kind(config, kind.make_policy(config, low, high, 1)), oracle, params


def collect_block(algorithm, params, num_episodes=E):
    """Episodes of two known tasks."""
    env = make_env(SLIDE, algorithm.num_simulations(N, num_episodes), num_threads=1)
    with closing(env):
        env.set_tasks(FAMILY.distribution.spread(POINTS))
        shape = (num_episodes, env.horizon, env.start_size, 1)
        draws = draw_episodes(0, 0, Phase.EVALUATION, tasks=range(N), episode_shape=shape)
        policy = algorithm.exploring_policy
        return collect(env, policy, params, noise=draws.noise, start=draws.start)


@pytest.mark.parametrize("products", [True, False])
def test_it_begins_in_the_middle_and_acts_as_the_oracle_that_observes_the_task(products):
    algorithm, oracle, params = made_of_an_oracle(StrategySearch, task_products=products)
    begin, policy = algorithm.beginning(params), algorithm.policy
    low, high = torch.from_numpy(FAMILY.distribution.encoded_bounds).float()
    torch.testing.assert_close(begin["task_code"], (low + high) / 2)
    torch.testing.assert_close(policy.candidates[0], begin["task_code"])  # which is asked first
    assert ((policy.candidates >= low) & (policy.candidates <= high)).all()
    assert {*begin} == {*policy.shapes}
    told, seen = torch.tensor([[0.1, 0.5], [-1.2, 0.3]]), torch.rand(N, 4, 3)
    found = policy.distribution({**repeat_params(begin, N), "task_code": told}, seen)
    with_task = torch.cat([seen, told[:, None].expand(N, 4, 2)], dim=-1)
    expected = oracle.distribution(repeat_params(params, N), with_task)
    torch.testing.assert_close(found.mean, expected.mean)
    torch.testing.assert_close(found.log_std, expected.log_std)
    with pytest.raises(NotImplementedError, match="made of a trained oracle: train the oracle"):
        algorithm.update(params, None)


def test_adapting_asks_again_what_the_episodes_were_asked():
    algorithm, _, params = made_of_an_oracle(StrategySearch)
    begin = repeat_params(algorithm.beginning(params), N)
    block = collect_block(algorithm, begin)
    whole = algorithm.adapt(begin, block, block.rewards)
    for count in (1, 2, E):
        part = algorithm.adapt(begin, block.first(count), block.rewards[:, :count])
        assert torch.equal(part["tried"][:, :count], whole["tried"][:, :count])
        torch.testing.assert_close(part["earned"][:, :count], block.returns[:, :count])
        assert (part["num_tried"] == count).all()
    half = algorithm.adapt(begin, block.first(4), block.rewards)
    rest = algorithm.adapt(half, block.last(E - 4), block.rewards)
    assert all(torch.equal(rest[name], leaf) for name, leaf in whole.items())
    # The actions are those of the oracle that was told each candidate.
    told = algorithm.policy.candidates[whole["tried"][:, :E].long()]
    mean = torch.stack(
        [
            algorithm.policy.distribution({**begin, "task_code": told[:, e]}, seen).mean
            for e, seen in enumerate(block.observations.unbind(1))
        ],
        dim=1,
    )
    torch.testing.assert_close(block.actions, mean)
    assert (whole["tried"][0, :E] != whole["tried"][1, :E]).any()


@pytest.fixture(scope="module")
def recorded():
    """Identification, its parameters before anything is known, and two episodes a task."""
    algorithm, _, params = made_of_an_oracle(Identification)
    begin = repeat_params(algorithm.beginning(params), N)
    return algorithm, begin, collect_block(algorithm, begin, 2)


def test_the_true_task_repeats_the_episodes_and_others_do_not(recorded):
    algorithm, _, block = recorded
    candidates = np.stack([POINTS, POINTS[::-1]], axis=1)
    errors, scales = misfits(algorithm.config, block, candidates)
    assert errors.shape == (N, 2)
    assert errors[:, 0].max() < 1e-9
    assert errors[:, 1].min() > 0.1
    again, same = misfits(algorithm.config, block, candidates, scales)
    assert np.array_equal(errors, again)
    assert same is scales
    log = replace(block, start=torch.zeros(N, 2, 0))
    with pytest.raises(ValueError, match=r"replays episodes from 2 numbers .* got 0: a log holds"):
        fit_tasks(algorithm.config, log)


def test_the_task_is_found_and_told_and_the_same_episodes_are_fitted_once(recorded, monkeypatch):
    algorithm, begin, block = recorded
    fitted, fit = [], references.fit_tasks
    monkeypatch.setattr(references, "fit_tasks", lambda *args: fitted.append(args[1]) or fit(*args))
    monkeypatch.setattr(references, "NUM_FITTED", 16)
    advantages = algorithm.adaptation_advantages(begin, block)
    adapted = algorithm.adapt(begin, block, advantages)
    true = torch.from_numpy(FAMILY.distribution.encode(FAMILY.distribution.spread(POINTS))).float()
    before = (begin["task_code"] - true).abs().max()
    assert (adapted["task_code"][:, 1] - true[:, 1]).abs().max() < 0.1 < before  # friction decides
    changed = {name for name, leaf in adapted.items() if not torch.equal(leaf, begin[name])}
    assert changed == {"task_code", "tried", "earned", "num_tried"}
    assert adapted["tried"][:, :2].tolist() == [[0.0, 1.0]] * N  # in the order of the design
    monkeypatch.setattr(references, "fit_tasks", lambda *args: fitted.append(args[1]) or POINTS)
    for again, count in ((block, 1), (block.first(1), 2), (block.first(1), 2), (block, 3)):
        algorithm.adapt(begin, again, advantages)
        assert len(fitted) == count


def test_an_angle_is_fitted_around_the_circle_and_a_number_up_to_its_edge(monkeypatch):
    config = train_config("oracle", env_id="metarobot/Reach-v0")
    parameters = find_family(config.env_id).distribution.parameters
    circular = np.array([parameter.circular for parameter in parameters])
    seen = []

    def misfits(config, episodes, points, scales):
        """The angle that fits is 0.98, all other numbers lie beyond their ends."""
        seen.append(points)
        away = np.where(circular, (points - 0.98 + 0.5) % 1.0 - 0.5, points - 1.2)
        return (away**2).sum(-1), scales

    monkeypatch.setattr(references, "misfits", misfits)
    monkeypatch.setattr(references, "NUM_ROUNDS", 20)
    (best,) = fit_tasks(config, SimpleNamespace(num_tasks=1))
    assert 0.0 <= np.min(seen) <= np.max(seen) < 1.0
    assert abs((best[circular] - 0.98 + 0.5) % 1.0 - 0.5).max() < 0.03
    assert best[~circular].min() > 0.95
