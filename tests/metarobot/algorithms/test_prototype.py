import dataclasses

import numpy as np
import pytest
import torch
from fakes import FakeEnv, N, made_up_batch, small_policy
from torch.func import grad

from metarobot.algorithms import make_algorithm, train_config
from metarobot.learning.prototypes import (
    embedding_moments,
    episode_counts,
)
from metarobot.policies import flatten_params, repeat_params, unflatten_params
from metarobot.policies.episode_encoder import embed
from metarobot.policies.prototype import CONTEXT, KNOWN, SPREAD
from metarobot.training.trainer import MetaTrainer


def make(**fields):
    config = train_config(
        algorithm="prototype", num_adaptation_steps=2, adaptation_min_std=0.9, **fields
    )
    policy, params = small_policy(algorithm="prototype")
    params = {**params, **{name: torch.zeros_like(params[name]) for name in CONTEXT}}
    algorithm = make_algorithm(config, policy)
    return algorithm, params, made_up_batch(policy, params, config)


def test_the_prototype_of_two_blocks_is_that_of_all_their_episodes():
    algorithm, params, batch = make()
    start = repeat_params(params, N)
    one, other = batch.pre_episodes
    whole = dataclasses.replace(
        one,
        **{
            field.name: torch.cat([getattr(one, field.name), getattr(other, field.name)], dim=1)
            for field in dataclasses.fields(one)
        },
    )
    twice = algorithm.adapt(algorithm.adapt(start, one, one.rewards), other, other.rewards)
    once = algorithm.adapt(start, whole, whole.rewards)
    for name in params:
        torch.testing.assert_close(twice[name], once[name])
    assert (once["num_episodes"] == 2 * one.num_episodes).all()
    assert once["prototype"].std(0).min() > 0.0


def test_episodes_without_a_step_are_no_evidence():
    algorithm, params, batch = make()
    episodes, start = batch.pre_episodes[0], repeat_params(params, N)
    mask = episodes.mask.clone()
    mask[0], mask[1, 2:] = 0.0, 0.0
    adapted = algorithm.adapt(start, dataclasses.replace(episodes, mask=mask), episodes.rewards)
    assert adapted["num_episodes"].flatten().tolist() == [0.0, 2.0, 4.0]
    assert not adapted["prototype"][0].any()
    first = algorithm.adapt(start, episodes.first(2), episodes.rewards)
    torch.testing.assert_close(adapted["prototype"][1], first["prototype"][1])


def test_the_policys_gradient_agrees_with_finite_differences():
    algorithm, params, batch = make()
    objective, blocks = algorithm._policy_objective(params, batch)
    acting = algorithm.policy.acting_params(params)
    # Away from the floors of the noise: two of them lie on log_std itself.
    acting = {**acting, "log_std": acting["log_std"] + 0.4}
    rows = blocks.post_episodes.num_tasks
    assert rows == 3 * N

    def loss(vector):
        theta = repeat_params(unflatten_params(vector, acting), rows)
        return objective.losses(theta, blocks)[0].mean()

    centre = flatten_params(repeat_params(acting, 1))[0]
    found = grad(loss)(centre)
    offsets = 1e-5 * torch.eye(len(centre), dtype=torch.float64)
    expected = torch.stack([(loss(centre + o) - loss(centre - o)) / 2e-5 for o in offsets])
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_rows_are_the_policies_that_acted():
    """So all probability ratios are 1 before the update, whatever the floor of the noise."""
    algorithm, params, batch = make(normalise_outer=True)
    objective, blocks = algorithm._policy_objective(params, batch)
    theta = repeat_params(algorithm.policy.acting_params(params), 3 * N)
    mean, log_std = objective.adapted_distribution(theta, blocks)
    post = algorithm.adapt(
        algorithm.adapt(repeat_params(params, N), batch.pre_episodes[0], batch.pre_advantages[0]),
        batch.pre_episodes[1],
        batch.pre_advantages[1],
    )
    torch.testing.assert_close(objective.context["prototype"][2::3], post["prototype"])
    assert not objective.context["num_episodes"][0::3].any()
    assert torch.equal(blocks.post_episodes.actions[1::3], batch.pre_episodes[1].actions)
    assert mean.shape == blocks.post_episodes.actions.shape
    floors = torch.tensor([0.9, 0.9, 0.02]).log().repeat(N)
    expected = params["log_std"].clamp(min=floors[:, None])
    torch.testing.assert_close(log_std, expected.double(), rtol=1e-6, atol=0.0)


def test_an_update_trains_policy_and_encoder_and_leaves_what_is_known():
    algorithm, params, batch = make()
    new, report = algorithm.update(params, batch)
    assert report.accepted
    assert list(new) == list(params)
    assert all(torch.equal(new[name], params[name]) for name in KNOWN)
    moved = [name for name in params if not torch.equal(new[name], params[name])]
    assert len(moved) == len(params) - len(KNOWN)


def test_an_update_measures_embeddings_of_episodes_that_the_encoder_has_not_learned_from():
    algorithm, params, batch = make()
    steps = algorithm._encoder_inputs(batch.pre_episodes)
    theta = repeat_params(algorithm.policy.network_params(params), N)
    moments = embedding_moments(embed(theta, *steps), episode_counts(steps[1]))
    new, _ = algorithm.update(params, batch)
    expected = (moments.centres.mean(0), moments.noise.mean()[None], moments.spread.mean()[None])
    for name, value in zip(SPREAD, expected, strict=True):
        torch.testing.assert_close(new[name], value.clamp(min=1e-12) if len(value) == 1 else value)
    later, _ = algorithm.update(new, batch)
    assert not torch.equal(later["embedding_noise"], new["embedding_noise"])


def test_a_task_that_is_not_finite_stops_the_update():
    algorithm, params, batch = make()
    advantages = batch.post_advantages.clone()
    advantages[1, 0, 0] = torch.nan
    broken = dataclasses.replace(batch, post_advantages=advantages)
    new, report = algorithm.update(params, broken)
    assert new is params
    assert report.rejected_tasks == (1,)
    assert algorithm.state()["num_steps"] == 0


def test_one_adaptation_episode_cannot_be_compared():
    with pytest.raises(ValueError, match=r"must be at least 2, got 1 x 1"):
        train_config(algorithm="prototype", episodes_per_task=1)


def test_hidden_targets_are_recognised():
    config = train_config(
        algorithm="prototype",
        num_tasks=8,
        episodes_per_task=10,
        hidden_sizes=(16,),
        initial_std=0.4,
        adaptation_min_std=0.3,
        max_kl=0.05,
    )
    trainer = MetaTrainer(config, FakeEnv(80))
    log = [trainer.step() for _ in range(24)]
    gains = np.array([metrics["meta/gain"] for metrics in log])
    losses = np.array([metrics["update/encoder_loss"] for metrics in log])
    assert losses[-5:].mean() < np.log(config.num_tasks) - 0.2  # by chance: log(num_tasks)
    assert gains[-5:].mean() > gains[:5].mean() + 1.0
    assert gains[-5:].mean() > 1.0
