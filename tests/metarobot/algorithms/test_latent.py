"""Latent: it recognises tasks, from its own episodes and from a log."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import FakeEnv, Targets, config_of

from metarobot.algorithms import make_policy
from metarobot.algorithms.latent import anchors, transitions
from metarobot.policies import latent, repeat_params
from metarobot.policies.latent import NUM_LIKELY, UNITS, LatentState
from metarobot.rollout.collect import collect
from metarobot.rollout.seeding import Phase, draw_episodes
from metarobot.training.trainer import MetaTrainer, num_simulations

N, E = 12, 6
MANY = torch.full((N, 1), 20.0)


def make_trainer(num_iterations):
    """A trainer whose tasks are hidden targets: only rewards tell."""
    config = config_of(
        "latent",
        num_tasks=N,
        episodes_per_task=8,
        hidden_sizes=(32,),
        total_steps=N * 8 * 5 * num_iterations,
        max_kl=0.05,
        num_weighed=256,
    )
    env = FakeEnv(num_simulations(config))
    trainer = MetaTrainer(config, env)
    trainer.policy.horizon = env.horizon  # it is that of the family which the stand-in stands for
    return trainer


def finish(trainer):
    while not trainer.finished:
        trainer.step()
    trainer.finish(lambda share: None)
    return trainer


@pytest.fixture(scope="module")
def trainer():
    return finish(make_trainer(40))


def ask(trainer, num_episodes=E):
    """Adaptation episodes of fresh tasks, and the tasks' codes."""
    env, tasks = FakeEnv(N), Targets().sample(np.random.default_rng(3), N)
    env.set_tasks(tasks)
    draws = draw_episodes(
        7, 0, Phase.ADAPTATION, tasks=range(N), episode_shape=(num_episodes, 5, 2, 2)
    )
    params = repeat_params(trainer.params, N)
    explorer = trainer.algorithm.exploring_policy
    block = collect(env, explorer, params, noise=draws.noise, start=draws.start)
    return block, params, torch.tensor(tasks.values).float()


def adapt(trainer, params, block):
    advantages = trainer.algorithm.adaptation_advantages(params, block)
    return trainer.algorithm.adapt(params, block, advantages)


def estimate(trainer, params):
    policy = trainer.policy
    return policy.mean_task(policy.log_weights(policy.log_likelihood(params)))


def test_it_finds_out_the_task_from_rewards_in_one_block_or_in_parts(trainer):
    block, params, codes = ask(trainer)
    first, whole = (adapt(trainer, params, block.first(e)) for e in (1, E))
    before, after_one, after = (
        float((estimate(trainer, each) - codes).norm(dim=1).mean())
        for each in (params, first, whole)
    )
    assert after < 0.35 * before
    assert after < after_one < before
    parts = adapt(trainer, adapt(trainer, params, block.first(2)), block.last(E - 2))
    assert torch.equal(parts["num_episodes"], whole["num_episodes"])
    torch.testing.assert_close(estimate(trainer, parts), estimate(trainer, whole))
    blind = replace(block, rewards=torch.full_like(block.rewards, torch.nan))
    known = adapt(trainer, params, blind)
    assert all(leaf.isfinite().all() for leaf in known.values())
    assert (estimate(trainer, known) - estimate(trainer, params)).norm(dim=1).max() < 0.2


def test_a_doubt_of_one_in_twenty_stops_it(trainer, monkeypatch):
    policy, (_, params, _) = trainer.policy, ask(trainer, 1)

    def returns(_, told, codes):
        return -(told - codes).square().sum(-1), torch.ones_like(told[..., 0])

    monkeypatch.setattr(policy.model, "returns", returns)
    far = policy.tasks[policy.tasks.norm(dim=1).argmax()]
    order = (policy.tasks @ far).argsort(descending=True)
    likely, opposite = order[:NUM_LIKELY], order[-NUM_LIKELY:]  # telling likely ones does harm
    known, unknown = policy.log_likelihood(params), torch.full((N, 1), torch.nan)
    for doubt, allowed in ((0.03, True), (0.08, False)):
        known = known._replace(squares=torch.full_like(known.squares, 1e9))
        known.squares[:, likely] = 0.0
        known.squares[:, opposite] = 2 * math.log((1 - doubt) / doubt) / policy.likelihood_power
        may = policy.opens_gate(params, known, unknown, unknown, MANY)
        assert may.tolist() == N * [[allowed]]
        # A single episode is believed less: the same doubt is a greater one.
        assert not policy.opens_gate(params, known, unknown, unknown, MANY / 20).any()


@pytest.fixture
def doubting(monkeypatch):
    """The model's word counts nothing, and nothing is too little."""
    monkeypatch.setattr(latent, "MOST_RISK", -1.0)
    monkeypatch.setattr(latent, "MOST_HARM", 0.0)


PROOFS = {
    (-3.0, -2.0, -1.0): True,
    (-3.0, -9.0, -2.0, -3.0): True,
    (-3.0, -2.0): False,
    (-3.0, -2.0, -5.0): False,
    (-3.0, 0.0, -4.0, -3.0): False,
    (-3.0,): False,
    (torch.nan, -2.0, -1.0): False,
}


@pytest.mark.usefixtures("doubting")
def test_what_questions_have_earned_proves_that_adapting_pays(trainer, monkeypatch):
    """The later half of them, two at least, against the first; the model doubts all."""
    monkeypatch.setattr(latent, "MOST_SURPRISE", 1e9)  # these rewards lead to other questions
    whole, params, _ = ask(trainer, 4)
    for returns, proven in PROOFS.items():
        block = whole.first(len(returns))
        rewards = torch.zeros_like(block.rewards)
        rewards[..., 0] = torch.tensor(returns)
        adapted = adapt(trainer, params, replace(block, rewards=rewards))
        assert adapted["trust"].tolist() == N * [[proven]], returns
        later = {**params, "num_episodes": params["num_episodes"] + 1.0}
        for trust in (0.0, 1.0):  # a later block begins with guesses: it proves nothing
            later["trust"] = torch.full_like(params["trust"], trust)
            again = adapt(trainer, later, replace(block, rewards=rewards))["trust"]
            assert again.tolist() == N * [[trust]]


@pytest.mark.usefixtures("doubting")
def test_episodes_of_others_and_those_cut_short_prove_nothing(trainer):
    block, params, _ = ask(trainer)
    own = adapt(trainer, params, block)["trust"]
    assert own.sum() > N / 2
    mask = block.mask.clone()
    mask[:, 0, -1] = 0.0
    assert not adapt(trainer, params, replace(block, mask=mask))["trust"].any()
    others = replace(block, actions=-block.actions.sign())
    assert not adapt(trainer, params, others)["trust"].any()


def test_the_model_reads_blocks_as_it_reads_single_steps(trainer, monkeypatch):
    block, params, _ = ask(trainer, 2)
    policy, told, seen = trainer.policy, torch.zeros(N, 2, 2), []
    shown = transitions(policy, {name: params[name] for name in UNITS}, block, told)
    summarise = policy.model.summarise

    def spy(leaves, inputs, told):
        seen.append(inputs)
        return summarise(leaves, inputs, told)

    monkeypatch.setattr(policy.model, "summarise", spy)
    state = LatentState(policy, params)
    for episode in range(2):
        state.begin()
        for t in range(5):
            step = slice(None), slice(episode, episode + 1), t
            state.act(block.observations[step])
            state.observe(block.actions[step], block.rewards[step], block.mask[step] > 0)
    state.known()
    stepwise = torch.stack(seen[1:], dim=1)  # before the first step, none was to be weighed
    stepwise = stepwise.view(1, 2, 5, N, -1)[0].permute(2, 0, 1, 3)
    torch.testing.assert_close(stepwise, shown.inputs)


def test_a_task_whose_numbers_are_not_finite_is_left_out_of_the_fit(monkeypatch):
    twin, given = make_trainer(3), []
    before = twin.params  # of a model that is not fitted
    block, params, _ = ask(twin)
    assert torch.equal(estimate(twin, adapt(twin, params, block)), estimate(twin, params))
    fit = twin.algorithm.finish
    monkeypatch.setattr(twin.algorithm, "finish", lambda *args: given.append(args) or args[0])
    finish(twin)
    ((params, batches, watch),) = given
    for number, batch in enumerate(batches):
        batch.post_episodes.rewards[[0, 7][: number + 1]] = torch.nan
        batch.post_episodes.observations[3] = torch.inf
    after = fit(params, batches, watch)
    assert all(leaf.isfinite().all() for leaf in after.values())
    assert not torch.equal(after["model.head.weight"], before["model.head.weight"])
    for batch in batches:
        batch.post_episodes.rewards[:] = torch.nan
        batch.post_episodes.observations[:] = torch.nan
    with pytest.raises(ValueError, match=r"cannot be fitted: .* lower model_lr"):
        fit(params, batches, watch)


def test_at_the_end_half_of_the_episodes_are_told_the_task():
    config = config_of("latent", num_tasks=3, episodes_per_task=5, num_weighed=16)
    trainer = MetaTrainer(config, FakeEnv(num_simulations(config)))
    codes = torch.arange(6.0).view(3, 2)
    told = trainer.algorithm.task_codes(codes, torch.rand(3, 5), finishing=True)
    assert torch.equal(told[:, :3], codes[:, None].expand(3, 3, 2))
    drawn = told[:, 3:].flatten(0, 1)
    assert all(any(torch.equal(t, z) for z in trainer.policy.tasks) for t in drawn)
    found = anchors(told)
    assert torch.equal(found[:, :3], told[:, [3, 4, 3]])
    assert torch.equal(found[:, 3:], told[:, 3:])
    plain = trainer.algorithm.task_codes(codes, torch.rand(3, 5))
    assert torch.equal(plain, codes[:, None].expand(3, 5, 2))
    with pytest.raises(ValueError, match="latent needs episodes_per_task of 2 or more, got 1"):
        config_of("latent", episodes_per_task=1)


def test_the_tasks_that_are_weighed_cover_all_splits():
    tasks = make_policy(config_of("latent", env_id="metarobot/Slide-v0")).tasks
    assert tasks.shape == (1024, 2)
    assert tasks.min() < -1.2 < 1.2 < tasks.max()
    assert abs(((tasks > 0).all(1)).float().mean() - 0.25) < 0.05
