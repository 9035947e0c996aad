import dataclasses

import numpy as np
import pytest
import torch
from fakes import FakeEnv, N, made_up_batch, small_policy

from metarobot.algorithms import make_algorithm, train_config
from metarobot.learning.prototypes import (
    embedding_moments,
    episode_counts,
    step_features,
)
from metarobot.policies import log_prob, repeat_params
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
    mask[0], mask[1, 1:] = 0.0, 0.0
    adapted = algorithm.adapt(start, dataclasses.replace(episodes, mask=mask), episodes.rewards)
    assert adapted["num_episodes"].flatten().tolist() == [0.0, 1.0, 4.0]
    assert not adapted["prototype"][0].any()
    pair = episodes.first(2)
    first, second, both = (
        algorithm.adapt(start, block, block.rewards)["prototype"]
        for block in (pair.first(1), pair.last(1), pair)
    )
    torch.testing.assert_close(adapted["prototype"][1], first[1])
    torch.testing.assert_close(both[2], (first[2] + second[2]) / 2)


def test_all_blocks_count_and_ratios_are_1_before_the_update():
    """Whatever the floor of the noise: so the surrogate is minus the mean advantage."""
    algorithm, params, batch = make(normalise_outer=True)
    stage, blocks = repeat_params(params, N), []
    for block, raw in zip(batch.pre_episodes, batch.pre_advantages, strict=True):
        mean, log_std = algorithm.exploring_policy.distribution(stage, block.observations)
        log_probs = log_prob(mean, log_std[:, None, None], block.actions)
        blocks.append(dataclasses.replace(block, log_probs=log_probs))
        stage = algorithm.adapt(stage, block, raw)
    batch = dataclasses.replace(batch, pre_episodes=tuple(blocks))
    _, report = algorithm.update(params, batch)
    post = batch.post_episodes
    terms = [(post.step_weights * batch.post_advantages).sum((1, 2))]
    for block, raw in zip(batch.pre_episodes, batch.pre_advantages, strict=True):
        scaled = algorithm.scale_outer(raw, block.mask)
        terms.append((block.step_weights * scaled).sum((1, 2)))
    assert report.surrogate_before == pytest.approx(-torch.stack(terms).mean().item())


def test_an_update_measures_embeddings_of_episodes_that_the_encoder_has_not_learned_from():
    algorithm, params, batch = make()
    blocks = batch.pre_episodes
    features = [step_features(algorithm.policy, block, block.rewards) for block in blocks]
    steps = torch.cat(features, dim=1), torch.cat([block.mask for block in blocks], dim=1)
    theta = repeat_params(algorithm.policy.network_params(params), N)
    moments = embedding_moments(embed(theta, *steps), episode_counts(steps[1]))
    new, report = algorithm.update(params, batch)
    expected = (moments.centres.mean(0), moments.noise.mean()[None], moments.spread.mean()[None])
    for name, value in zip(SPREAD, expected, strict=True):
        torch.testing.assert_close(new[name], value.clamp(min=1e-12) if len(value) == 1 else value)
    later, _ = algorithm.update(new, batch)
    assert not torch.equal(later["embedding_noise"], new["embedding_noise"])
    assert report.accepted
    assert list(new) == list(params)
    moved = {name for name in params if not torch.equal(new[name], params[name])}
    assert moved == {*params} - {*KNOWN}


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
