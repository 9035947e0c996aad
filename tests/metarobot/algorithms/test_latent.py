"""Latent: it recognises tasks, from its own episodes and from a log."""

import math
from dataclasses import replace

import pytest
import torch
from fakes import FakeEnv, config_of

from metarobot.algorithms import make_algorithm
from metarobot.algorithms.latent import anchors, transitions
from metarobot.policies import latent, repeat_params
from metarobot.policies.latent import NUM_LIKELY, UNITS, LatentState
from metarobot.rollout.collect import collect
from metarobot.rollout.seeding import Phase, draw_episodes
from metarobot.training.trainer import MetaTrainer, num_simulations

N, E = 12, 6
MANY = torch.full((N, 1), 20.0)


@pytest.fixture(scope="module")
def trainer():
    """Forty meta-batches: the targets of the stand-in are hidden, and only rewards tell."""
    config = config_of(
        "latent",
        num_tasks=N,
        episodes_per_task=8,
        hidden_sizes=(32,),
        total_steps=N * 8 * 5 * 40,
        max_kl=0.05,
        num_weighed=256,
    )
    env = FakeEnv(num_simulations(config))
    trainer = MetaTrainer(config, env)
    trainer.policy.horizon = env.horizon  # it is that of the family which the stand-in stands for
    while not trainer.finished:
        trainer.step()
    trainer.conclude(lambda share: None)
    return trainer


def ask(trainer, num_episodes=E):
    """Adaptation episodes of fresh tasks, and the tasks' codes."""
    env = FakeEnv(N)
    tasks = trainer._sample_tasks()
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
    return policy.mean_task(policy.log_weights(policy.evidence(params)))


def test_it_finds_out_the_task(trainer):
    block, params, codes = ask(trainer)
    before = (estimate(trainer, params) - codes).norm(dim=1).mean()
    after = [
        float(
            (estimate(trainer, adapt(trainer, params, block.first(e))) - codes).norm(dim=1).mean()
        )
        for e in (1, E)
    ]
    assert after[1] < 0.35 * before
    assert after[1] < after[0] < before


def test_a_block_in_two_parts_tells_as_much(trainer):
    block, params, _ = ask(trainer)
    whole = adapt(trainer, params, block)
    parts = adapt(trainer, adapt(trainer, params, block.first(2)), block.last(E - 2))
    assert torch.equal(parts["num_episodes"], whole["num_episodes"])
    torch.testing.assert_close(estimate(trainer, parts), estimate(trainer, whole))


def test_without_rewards_nothing_tells_hidden_targets_apart(trainer):
    block, params, _ = ask(trainer)
    blind = replace(block, rewards=torch.full_like(block.rewards, torch.nan))
    known = adapt(trainer, params, blind)
    assert all(leaf.isfinite().all() for leaf in known.values())
    spread = (estimate(trainer, known) - estimate(trainer, params)).norm(dim=1)
    assert spread.max() < 0.2


def test_a_doubt_of_one_in_twenty_stops_it(trainer, monkeypatch):
    policy, (_, params, _) = trainer.policy, ask(trainer)

    def returns(_, told, codes):
        return -(told - codes).square().sum(-1), torch.ones_like(told[..., 0])

    monkeypatch.setattr(policy.model, "returns", returns)
    far = policy.tasks[policy.tasks.norm(dim=1).argmax()]
    order = (policy.tasks @ far).argsort(descending=True)
    likely, opposite = order[:NUM_LIKELY], order[-NUM_LIKELY:]  # telling likely ones does harm
    known, unknown = policy.evidence(params), torch.full((N, 1), torch.nan)
    for doubt, allowed in ((0.03, True), (0.08, False)):
        known = known._replace(squares=torch.full_like(known.squares, 1e9))
        known.squares[:, likely] = 0.0
        known.squares[:, opposite] = 2 * math.log((1 - doubt) / doubt) / policy.likelihood_power
        may = policy.may_act_on(params, known, unknown, unknown, MANY)
        assert may.tolist() == N * [[allowed]]
        # A single episode is believed less: the same doubt is a greater one.
        assert not policy.may_act_on(params, known, unknown, unknown, MANY / 20).any()


def distrust(monkeypatch):
    """The model's word counts nothing, and nothing is too little."""
    monkeypatch.setattr(latent, "MOST_RISK", -1.0)
    monkeypatch.setattr(latent, "MOST_HARM", 0.0)


@pytest.mark.parametrize(
    ("returns", "proven"),
    [
        ((-3.0, -2.0), False),
        ((-3.0, -2.0, -1.0), True),
        ((-3.0, -2.0, -5.0), False),
        ((-3.0, -9.0, -2.0, -3.0), True),
        ((-3.0, 0.0, -4.0, -3.0), False),
        ((-3.0,), False),
        ((torch.nan, -2.0, -1.0), False),
    ],
)
def test_what_questions_have_earned_proves_that_adapting_pays(
    trainer, monkeypatch, returns, proven
):
    """The later half of them, two at least, against the first; the model doubts all."""
    _, params, _ = ask(trainer, 1)
    distrust(monkeypatch)
    known, returns = trainer.policy.evidence(params), torch.tensor(returns).expand(N, -1)
    trusts = trainer.algorithm._may_act_on(params, known, returns)
    assert trusts.tolist() == N * [[proven]]
    later = {**params, "num_episodes": params["num_episodes"] + 1.0, "trust": trusts.float()}
    again = trainer.algorithm._may_act_on(later, known, returns)
    assert torch.equal(again, trusts)  # it begins with guesses: proves nothing


def test_episodes_of_others_and_those_cut_short_prove_nothing(trainer, monkeypatch):
    block, params, _ = ask(trainer)
    distrust(monkeypatch)
    own = adapt(trainer, params, block)["trust"]
    assert own.sum() > N / 2
    mask = block.mask.clone()
    mask[:, 0, -1] = 0.0
    assert not adapt(trainer, params, replace(block, mask=mask))["trust"].any()
    others = replace(block, actions=-block.actions.sign())
    assert not adapt(trainer, params, others)["trust"].any()
    written_down = replace(block, log_probs=torch.full_like(block.log_probs, torch.nan))
    assert torch.equal(adapt(trainer, params, written_down)["trust"], own)


def test_the_model_reads_blocks_as_it_reads_single_steps(trainer):
    block, params, _ = ask(trainer, 2)
    policy, told = trainer.policy, torch.zeros(N, 2, 2)
    shown = transitions(policy, {name: params[name] for name in UNITS}, block, told)
    seen = []

    class Spy(LatentState):
        def _choose(self, begins):
            return torch.zeros(*begins.shape[:-1], 2)

        def _weigh(self, now):
            model = self._policy.model
            summarise = model.summarise
            model.summarise = lambda p, inputs, told: (
                seen.append(inputs) or summarise(p, inputs, told)
            )
            super()._weigh(now)
            model.summarise = summarise

    state = Spy(policy, params)
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


def test_before_its_model_is_fitted_it_recognises_nothing():
    config = config_of("latent", num_tasks=N, episodes_per_task=E, num_weighed=16)
    untrained = MetaTrainer(config, FakeEnv(num_simulations(config)))
    block, params, _ = ask(untrained)
    assert torch.equal(
        estimate(untrained, adapt(untrained, params, block)), estimate(untrained, params)
    )


def test_a_task_whose_numbers_are_not_finite_is_left_out(trainer):
    """In the conclusion: the model is fitted to the others."""

    def fitted(broken):
        twin = MetaTrainer(trainer.config, FakeEnv(num_simulations(trainer.config)))
        batches = [twin._collect_batch(concluding=True)[0] for _ in range(2)]
        for batch, tasks in zip(batches, broken, strict=True):
            batch.post_episodes.rewards[tasks] = torch.nan
            batch.post_episodes.observations[tasks] = torch.inf
        return twin.params, twin.algorithm.conclude(twin.params, batches, lambda share: None)

    before, after = fitted([[3], [0, 7]])
    assert all(leaf.isfinite().all() for leaf in after.values())
    assert not torch.equal(after["model.head.weight"], before["model.head.weight"])
    with pytest.raises(ValueError, match=r"cannot be fitted: .* lower model_lr"):
        fitted([list(range(N))] * 2)


def test_at_the_end_half_of_the_episodes_are_told_the_task():
    config = config_of("latent", num_tasks=3, episodes_per_task=5, num_weighed=16)
    trainer = MetaTrainer(config, FakeEnv(num_simulations(config)))
    codes = torch.arange(6.0).view(3, 2)
    told = trainer.algorithm.tell(codes, torch.rand(3, 5), concluding=True)
    assert torch.equal(told[:, :3], codes[:, None].expand(3, 3, 2))
    assert all(
        any(torch.equal(t, z) for z in trainer.policy.tasks) for t in told[:, 3:].flatten(0, 1)
    )
    found = anchors(told)
    assert torch.equal(found[:, :3], told[:, [3, 4, 3]])
    assert torch.equal(found[:, 3:], told[:, 3:])
    plain = trainer.algorithm.tell(codes, torch.rand(3, 5))
    assert torch.equal(plain, codes[:, None].expand(3, 5, 2))


def test_the_tasks_that_are_weighed_cover_all_splits():
    config = config_of("latent", env_id="metarobot/Slide-v0")
    tasks = make_algorithm(config, trainer_policy(config)).policy.tasks
    assert tasks.shape == (1024, 2)
    assert tasks.min() < -1.2 < 1.2 < tasks.max()
    quarter = ((tasks > 0).all(1)).float().mean()
    assert abs(quarter - 0.25) < 0.05


def trainer_policy(config):
    from metarobot.algorithms import make_policy

    return make_policy(config)


def test_one_episode_a_task_is_refused():
    with pytest.raises(ValueError, match="latent needs episodes_per_task of 2 or more, got 1"):
        config_of("latent", episodes_per_task=1)
