from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import FakeEnv, Targets, train_shared

from metarobot.algorithms import make_algorithm, make_policy, train_config
from metarobot.algorithms.rl2 import Rl2, one_after_the_other, pack, unpack
from metarobot.envs import Tasks, make_env
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.task_set import TaskSet
from metarobot.learning.distributed import ALONE
from metarobot.learning.meta_batch import MetaBatch
from metarobot.learning.meta_gradient import kl_divergences
from metarobot.learning.trpo import fisher_product
from metarobot.policies import RecurrentPolicy, flatten_params, log_prob, repeat_params
from metarobot.rollout.collect import collect
from metarobot.rollout.seeding import Phase, draw_episodes
from metarobot.training.load import TrainedPolicy
from metarobot.training.trainer import MetaTrainer, num_simulations

N, E, T = 4, 3, 5
CONFIG = train_config(algorithm="rl2", hidden_sizes=(6, 5))
DRAWS = draw_episodes(0, 0, Phase.POST_UPDATE, tasks=range(N), episode_shape=(2 * E, T, 2, 2))


def small_algorithm(dtype=torch.float64):
    policy = RecurrentPolicy([-1.0] * 3, [1.0] * 3, 2, (6, 5)).to(dtype)
    params = policy.initial_params(torch.Generator().manual_seed(0))
    params["head.weight"] *= 10.0  # a memory that shows
    return make_algorithm(CONFIG, policy), repeat_params(params, N)


def make_env_of(num_envs, targets=0.5, **faults):
    env = FakeEnv(num_envs, T, **faults)
    env.set_tasks(Tasks({"x": np.full(N, targets), "y": np.zeros(N)}))
    return env


def collect_trial(algorithm, params, episodes=slice(0, E), **kwargs):
    """Collect a trial: the episodes of a task one after the other."""
    env = make_env_of(N, **kwargs)
    noise, start = DRAWS.noise[:, episodes], DRAWS.start[:, episodes]
    return collect(env, algorithm.policy, params, noise=noise, start=start)


def batch_of(algorithm, params, trial):
    return MetaBatch(
        pre_episodes=(),
        pre_advantages=(),
        post_episodes=trial,
        post_advantages=algorithm.outer_advantages(params, trial).double(),
    )


FAULTS = [{}, {"unstable_at": {1: 3, 2: 0}, "terminated_at": {0: 1}}]


@pytest.mark.parametrize("faults", FAULTS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_unrolling_a_trial_gives_the_probabilities_it_was_collected_with(faults, dtype, tolerance):
    algorithm, params = small_algorithm(dtype)
    trial = collect_trial(algorithm, params, **faults)
    mean, log_std = algorithm.adapted_distribution(params, batch_of(algorithm, params, trial))
    again = log_prob(mean, log_std[:, None, None], trial.actions)
    error = (again - trial.log_probs).abs() * trial.mask
    assert error.max() <= tolerance
    assert trial.mask.bool().all() == (not faults)


def test_the_gradient_is_that_of_finite_differences():
    algorithm, params = small_algorithm()
    trial = collect_trial(algorithm, params, unstable_at={1: 3}, terminated_at={0: 1})
    batch = batch_of(algorithm, params, trial)
    away = {name: leaf + 0.02 for name, leaf in params.items()}  # where ratios are not 1
    directions = {
        name: torch.randn(leaf.shape, generator=torch.Generator().manual_seed(1)).double()
        for name, leaf in params.items()
        if name != "memory"
    }

    def losses(distance):
        moved = {n: away[n] + distance * v for n, v in directions.items()}
        return algorithm.losses({**away, **moved}, batch)[0]

    gradient = torch.func.grad(lambda theta: algorithm.losses(theta, batch)[0].sum())(away)
    slopes = sum((gradient[n] * v).flatten(1).sum(1) for n, v in directions.items())
    differences = (losses(1e-5) - losses(-1e-5)) / 2e-5
    assert differences.abs().min() > 1e-3
    torch.testing.assert_close(slopes, differences, rtol=1e-5, atol=0)
    assert not gradient["memory"].any()


def test_fisher_products_are_those_of_finite_differences():
    """So the chain rule by hand may be differentiated again."""
    algorithm, params = small_algorithm()
    trial = collect_trial(algorithm, params, unstable_at={1: 3}, terminated_at={0: 1})
    batch = batch_of(algorithm, params, trial)
    generator = torch.Generator().manual_seed(2)
    v = {n: torch.randn(leaf.shape, generator=generator).double() for n, leaf in params.items()}
    v["memory"] *= 0.0
    old = algorithm.adapted_distribution(params, batch)

    def kl_gradient(distance):
        def kl(theta):
            new = algorithm.adapted_distribution(theta, batch)
            return kl_divergences(old, new, batch.post_episodes).sum()

        return torch.func.grad(kl)({n: leaf + distance * v[n] for n, leaf in params.items()})

    found = flatten_params(fisher_product(algorithm, params, batch)(v))
    ahead, behind = (flatten_params(kl_gradient(distance)) for distance in (1e-5, -1e-5))
    expected = (ahead - behind) / 2e-5
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_what_was_earned_in_one_episode_changes_the_next_and_not_the_next_trial():
    algorithm, params = small_algorithm()
    near, far, again = (collect_trial(algorithm, params, targets=x) for x in (0.5, -0.5, 0.5))
    assert torch.equal(near.actions[:, 0, 0], far.actions[:, 0, 0])
    assert not (near.actions[:, 1:] == far.actions[:, 1:]).any()
    assert torch.equal(near.actions, again.actions)


@pytest.mark.parametrize("faults", FAULTS)
def test_adapting_is_going_on_with_the_memory(faults):
    algorithm, params = small_algorithm()
    whole = collect_trial(algorithm, params, slice(0, 2 * E), **faults)
    first = collect_trial(algorithm, params, slice(0, E), **faults)
    adapted = algorithm.adapt(params, first, algorithm.adaptation_advantages(params, first))
    rest = collect_trial(algorithm, adapted, slice(E, 2 * E), **faults)
    mask = rest.mask[..., None]
    torch.testing.assert_close(rest.actions * mask, whole.actions[:, E:] * mask)
    changed = {name for name, leaf in adapted.items() if not torch.equal(leaf, params[name])}
    assert changed == {"memory"}


def test_episodes_side_by_side_begin_with_the_same_memory_and_part():
    algorithm, params = small_algorithm()
    trial = collect_trial(algorithm, params)
    adapted = algorithm.adapt(params, trial, algorithm.adaptation_advantages(params, trial))
    env = make_env_of(N * E)
    judged = collect(env, algorithm.policy, adapted, noise=None, start=DRAWS.start[:, :E])
    for e in range(E):
        alone = collect(
            make_env_of(N), algorithm.policy, adapted, noise=None, start=DRAWS.start[:, [e]]
        )
        torch.testing.assert_close(judged.actions[:, [e]], alone.actions)


def test_advantages_count_what_later_episodes_earn():
    algorithm, params = small_algorithm()
    trial = collect_trial(algorithm, params, **FAULTS[1])
    rewards = trial.rewards.clone()
    rewards[:, -1, -1] += 10.0  # of the last episode
    more = replace(trial, rewards=rewards)
    advantages, raised = (algorithm.outer_advantages(params, block) for block in (trial, more))
    assert advantages.shape == (N, E, T)
    assert not (advantages[:, 0, 0] == raised[:, 0, 0]).all()
    assert not advantages[trial.mask == 0].any()


def test_steps_that_do_not_count_do_not_cut_a_trial():
    trial = collect_trial(*small_algorithm(), **FAULTS[1])
    order = one_after_the_other(trial)
    mask = pack(trial.mask, order)
    assert mask[0].tolist() == [1.0] * 2 * E + [0.0] * 3 * E  # task 0 ends after two steps
    assert (mask.diff(dim=1) <= 0).all()
    assert torch.equal(pack(trial.rewards, order)[0, : 2 * E], trial.rewards[0, :, :2].flatten())
    for block in (trial.rewards, trial.actions):
        assert torch.equal(unpack(pack(block, order), order, trial.rewards), block)


class TwoSides(Targets):
    def sample(self, rng, num_tasks, split="train"):
        return Tasks({"x": rng.choice([-0.7, 0.7], num_tasks), "y": np.zeros(num_tasks)})


class Sides(FakeEnv):
    """The hidden target lies on one of two sides."""

    distribution = TwoSides()


def make_trainer(workers=ALONE, **fields):
    defaults = {
        "algorithm": "rl2",
        "num_tasks": 40,
        "episodes_per_task": 10,
        "trial_episodes": 5,
        "hidden_sizes": (16, 16),
        "initial_std": 0.4,
        "max_kl": 0.05,
        "gae_lambda": 0.95,
    }
    config = train_config(**{**defaults, **fields})
    return MetaTrainer(config, Sides(num_simulations(config, workers)), workers)


def test_a_trial_is_learned_in_which_only_memory_can_tell():
    trainer = make_trainer()
    history = [trainer.step() for _ in range(20)]
    first, last = history[0], history[-1]
    assert last["meta/post_return"] > first["meta/post_return"] + 2.0
    assert last["meta/gain"] > 0.7
    assert abs(first["meta/gain"]) < 0.5


def test_a_run_goes_on_exactly_from_its_state():
    whole, first_half, second_half = (make_trainer(num_tasks=8) for _ in range(3))
    for _ in range(4):
        whole.step()
    for _ in range(2):
        first_half.step()
    second_half.restore(first_half.state())
    for _ in range(2):
        second_half.step()
    for name, leaf in whole.state().tensors.items():
        assert torch.equal(leaf, second_half.state().tensors[name])
    assert whole.total_steps == second_half.total_steps == 4 * 8 * 5 * 5


def test_several_processes_end_at_the_parameters_of_one():
    fields = {"num_tasks": 12, "hidden_sizes": (64, 64)}
    alone, shared = train_shared(lambda workers: make_trainer(workers, **fields))
    for trainer in shared:
        assert len(trainer.tasks) == 6
        for name, leaf in alone.params.items():
            assert torch.equal(leaf, trainer.params[name]), name


def test_a_task_that_is_not_finite_stops_the_update_and_spoils_no_other():
    trainer = make_trainer(num_tasks=8)
    step = trainer.env.step

    def spoilt(actions):
        observation, rewards, *rest = step(actions)
        rewards[3] = np.nan
        return observation, rewards, *rest

    trainer.env.step = spoilt
    before = trainer.params
    metrics = trainer.step()
    assert trainer.params is before
    assert metrics["update/rejected_tasks"] == 1.0
    assert len(trainer.rejected) == 1


def measured_policy():
    """An untrained policy whose memory decides what it does, and two tasks of Grip."""
    config = train_config(env_id="metarobot/Grip-v0", algorithm="rl2", hidden_sizes=(8, 8))
    policy = make_policy(config)
    params = policy.initial_params(torch.Generator().manual_seed(0))
    params["head.weight"] *= 10.0
    tasks = make_env(config.env_id, 1).distribution.sample(np.random.default_rng(0), 2)
    return TrainedPolicy(policy, params, config), tasks


def test_an_evaluation_by_episodes_runs_one_trial_and_adapts_to_its_beginnings(monkeypatch):
    """Its episodes follow each other in one simulation for each task."""
    blocks, adapted_to = [], []
    collect, adapt = TaskSet.collect, Rl2.adapt

    def collect_block(self, *args, **options):
        episodes = collect(self, *args, **options)
        if options.get("block") is not None:
            blocks.append((options["num_envs"], episodes))
        return episodes

    def adapt_to(self, params, episodes, advantages):
        adapted_to.append(episodes)
        return adapt(self, params, episodes, advantages)

    monkeypatch.setattr(TaskSet, "collect", collect_block)
    monkeypatch.setattr(Rl2, "adapt", adapt_to)
    trained, tasks = measured_policy()
    sizes = EvaluationConfig(num_tasks=2, test_episodes=1)
    task_set = TaskSet(trained.config.env_id, tasks, "train", sizes)
    stages = task_set.score_by_episodes("rl2", trained, (0, 1, 4))
    ((num_envs, trial),) = blocks
    assert (num_envs, trial.num_episodes) == (2, 4)
    assert [stage.episodes for stage in stages] == [0, 1, 4]
    assert [episodes.num_episodes for episodes in adapted_to] == [1, 4]
    for stage, episodes in zip(stages[1:], adapted_to, strict=True):
        expected = trial.first(stage.episodes)
        assert torch.equal(episodes.actions, expected.actions)
        np.testing.assert_allclose(stage.trial_returns, expected.returns.mean(1))


def test_an_evaluation_lives_through_the_trial_episodes():
    trained, tasks = measured_policy()
    sizes = EvaluationConfig(
        num_tasks=2, adaptation_episodes=(1, 2), num_blocks=2, episodes_per_block=2, test_episodes=2
    )
    scores = TaskSet(trained.config.env_id, tasks, "train", sizes).score("rl2", trained)
    judged = {each.episodes: each.returns for each in scores if not each.exploring}
    assert [*judged] == [0, 1, 2, 4]
    returns = [judged[episodes] for episodes in (0, 2, 4)]
    assert not np.allclose(returns[0], returns[1])
