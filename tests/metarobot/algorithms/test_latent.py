"""Latent: it recognises tasks, from its own episodes and from a log."""

import copy
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from fakes import FakeEnv, Targets, config_of

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.adaptation.robot import Interface
from metarobot.algorithms import make_policy
from metarobot.algorithms.latent import WIDENING, anchors, missed_tasks, transitions
from metarobot.envs import find_family
from metarobot.policies import repeat_params
from metarobot.policies.latent import UNITS, LatentState
from metarobot.rollout.collect import collect
from metarobot.rollout.seeding import Phase, draw_episodes
from metarobot.training.trainer import MetaTrainer, num_simulations

N, E = 12, 6


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


@pytest.fixture(scope="module")
def calibrated(trainer):
    twin = copy.copy(trainer)
    twin.calibrate(FakeEnv(40))
    return twin


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
    return trainer.policy.mean_task(params["candidates"], params["log_prior"][:, None])[:, 0]


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
    apart = (estimate(trainer, parts) - estimate(trainer, whole)).norm(dim=1).mean()
    assert apart < 0.1 * before  # the posterior of the first block is a normal distribution then
    blind = replace(block, rewards=torch.full_like(block.rewards, torch.nan))
    known = adapt(trainer, params, blind)
    assert all(leaf.isfinite().all() for leaf in known.values())
    assert (estimate(trainer, known) - estimate(trainer, params)).norm(dim=1).max() < 0.2


def test_the_first_episodes_of_a_block_are_read_as_a_block_of_their_own(calibrated):
    block, params, _ = ask(calibrated)
    found = calibrated.algorithm.adapt_to_first(params, block, (1, 2, E))
    for number, adapted in found.items():
        alone = adapt(calibrated, params, block.first(number))
        for name, leaf in alone.items():
            torch.testing.assert_close(adapted[name], leaf, msg=f"{name} after {number}")


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
    with monkeypatch.context() as patch:
        lost = torch.tensor([torch.nan])
        patch.setattr(twin.policy.model, "return_losses", lambda *args: lost)
        with pytest.raises(ValueError, match=r"its loss is nan in epoch 1; lower model_lr$"):
            fit(params, batches, watch)
    for batch in batches:
        batch.post_episodes.rewards[:] = torch.nan
    with pytest.raises(ValueError, match=r"cannot be fitted: the numbers of no task are finite"):
        fit(params, batches, watch)


def test_task_codes_of_training_and_of_the_model():
    config = config_of("latent", num_tasks=3, episodes_per_task=5, num_weighed=16)
    trainer = MetaTrainer(config, FakeEnv(num_simulations(config)))
    codes = torch.arange(6.0).view(3, 2)
    given = trainer.algorithm.task_codes(codes, torch.rand(3, 5), 1.0, finishing=True)
    assert torch.equal(given[:, :2], codes[:, None].expand(3, 2, 2))
    drawn = given[:, 2:4].flatten(0, 1)
    assert all(any(torch.equal(t, z) for z in trainer.policy.tasks) for t in drawn)
    assert given[:, 4:].isnan().all()
    assert torch.equal(anchors(given), given[:, [2, 3, 2, 3, 2]])
    careful = trainer.algorithm.task_codes(codes, torch.rand(3, 5), 0.1)
    assert not careful.any()
    plain = trainer.algorithm.task_codes(codes, torch.rand(3, 5), 0.9)
    assert torch.equal(plain, codes[:, None].expand(3, 5, 2))
    with pytest.raises(ValueError, match="latent needs episodes_per_task of 3 or more, got 2"):
        config_of("latent", episodes_per_task=2)


def test_the_policy_begins_without_the_task_and_keeps_what_it_was():
    trainer = make_trainer(10)
    seen = torch.randn(N, 1, 7, len(trainer.policy.observation_centre))

    def means(params, codes):
        several = repeat_params(params, N)
        return trainer.policy.distribution_of_both(several, seen[:, 0], codes.expand(N, 7, 2)).mean

    one, other, none = torch.ones(2), -torch.ones(2), torch.full((2,), torch.nan)
    while trainer.spent < trainer.algorithm.options.careful_share:
        before = trainer.params
        trainer.step()
        assert not torch.equal(before["layers.0.weight"], trainer.params["layers.0.weight"])
        assert torch.equal(means(trainer.params, one), means(trainer.params, other))
    torch.testing.assert_close(means(trainer.params, one), means(trainer.params, none))
    careful = means(trainer.params, none)
    while not trainer.finished:
        trainer.step()
    assert torch.equal(means(trainer.params, none), careful)
    assert not torch.allclose(means(trainer.params, one), means(trainer.params, other))


def test_bands_are_wider_beyond_the_training_range(calibrated):
    block, params, _ = ask(calibrated)
    adapted = adapt(calibrated, params, block)
    codes = adapted["candidates"]
    here, there = (
        calibrated.algorithm.belief({**adapted, "candidates": torch.full_like(codes, place)})
        for place in (1.0, 1.5)
    )
    assert here.band_scale.allclose(adapted["band_scale"][:, 1])  # from 5 episodes on
    assert there.band_scale.allclose((1.0 + 0.5 * WIDENING) * here.band_scale)


def test_bands_hold_the_truth_and_a_robot_of_another_family_is_noticed(calibrated):
    block, params, codes = ask(calibrated)
    adapted = adapt(calibrated, params, block)
    belief = calibrated.algorithm.belief(adapted)
    missed = missed_tasks(belief, find_family(calibrated.config.env_id).distribution, codes)
    assert 0.7 < (missed <= 1.0).float().mean() <= 1.0
    assert (belief.misfit <= 1.0).all(1).float().mean() > 0.8
    adapted = adapt(calibrated, params, replace(block, rewards=1000 * block.rewards))
    assert (adapted["misfit"] > 1.0).any(1).all()
    assert not calibrated.algorithm.belief(adapted).is_used.any()


def test_the_tasks_that_are_weighed_cover_all_splits():
    tasks = make_policy(config_of("latent", env_id="metarobot/Slide-v0")).tasks
    assert tasks.shape == (1024, 2)
    assert tasks.min() < -1.2 < 1.2 < tasks.max()
    assert abs(((tasks > 0).all(1)).float().mean() - 0.25) < 0.05


# On a robot: a report, as many episodes as pay, and whether it has helped.


class Robot(gym.Env):
    """`FakeEnv` as a robot whose target is hidden; its rewards may be of another unit."""

    def __init__(self, target, unit=1.0):
        self.env, self.target, self.unit = FakeEnv(1), np.array(target), unit
        self.observation_space = self.env.single_observation_space
        self.action_space = self.env.single_action_space
        self.num_begun = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.num_begun, self.t = self.num_begun + 1, 0
        self.env.spot[0] = self.np_random.uniform(-1, 1, 2)
        self.env.t = 0
        return self.env._observe()[0], {}

    def step(self, action):
        self.env.t += 1
        earned = self.unit * (1 - float(((action - self.target) ** 2).sum()))
        return self.env._observe()[0], earned, False, self.env.t == 5, {}


@pytest.fixture(scope="module")
def policy(calibrated):
    low = tuple(calibrated.policy.observation_centre - calibrated.policy.observation_half_range)
    interface = Interface(tuple(map(float, low)), (1.0, 1.0, 1.0), action_size=2, horizon=5)
    found = AdaptablePolicy(calibrated.config, calibrated.params, interface)
    found.policy.horizon = 5
    return found


def run_session(policy, robot, seed=1, **options):
    session = policy.session(seed=seed, **options)
    while not session.complete:
        seen, _ = robot.reset(seed=seed if robot.num_begun == 0 else None)
        session.begin()
        while session.running:
            seen, reward, _, ended, _ = robot.step(session.act(seen))
            session.record(reward, truncated=ended, final_observation=seen)
    return session.adapt()


def test_auto_is_as_many_episodes_as_pay(policy, capsys):
    options = {"seed": 2, "progress": False}
    robot = Robot([0.5, -0.6])
    adapted = policy.adapt(robot, episodes="auto", **options)
    number = adapted.num_episodes
    assert 1 < number == robot.num_begun < 20
    assert not adapted.report().more_pays
    assert policy.adapt(Robot([0.5, -0.6]), episodes=1, **options).report().more_pays
    named = policy.adapt(Robot([0.5, -0.6]), episodes=number, **options)
    by_session = run_session(policy, Robot([0.5, -0.6]), seed=2, episodes="auto")
    assert named.report() == adapted.report() == by_session.report()
    assert adapted.report().line in capsys.readouterr().err
    for other in (named, by_session):
        assert all(torch.equal(leaf, other.params[name]) for name, leaf in adapted.params.items())
    assert policy.adapt(Robot([0.5, -0.6]), episodes="auto", at_most=1, **options).num_episodes == 1
    with pytest.raises(ValueError, match=r"at_most must be an integer in \[1, "):
        policy.adapt(robot, episodes="auto", at_most=0, **options)
    with pytest.raises(ValueError, match=r"episodes must be an integer in \[1, .*, got 'all'"):
        policy.adapt(robot, episodes="all", **options)


def test_the_report_says_what_is_believed_and_whether_it_helps(policy, tmp_path):
    robot = Robot([0.5, -0.6])
    adapted = policy.adapt(robot, episodes=5, progress=False)
    report, distribution = adapted.report(), find_family(policy.config.env_id).distribution
    true = distribution.decode(np.array([[0.5, -0.6]])).to_dicts()[0]
    for each in report.estimates:
        assert each.is_told
        assert abs(true[each.name] - each.median) < each.high - each.low
    assert report.acts_on_belief
    assert report.fits
    gain = np.mean([1 - (0.5**2 + 0.6**2)]) * 5  # of a policy that stays at 0: 5 steps
    assert 0.3 * (5 - gain) < report.expected_gain < 2 * (5 - gain)
    assert "acts:" in str(report)
    assert "expected gain in return" in report.line
    assert "cannot tell" not in str(report)
    adapted.save(tmp_path / "adapted.safetensors")
    before = policy.report()
    assert (before.estimates, before.acts_on_belief) == ((), False)
    assert str(before) == before.line == "latent, before any adaptation episode"
    found = policy.compare(robot, adapted, progress=False)
    assert found.verdict == "helped"
    assert abs(found.differences.mean() - report.expected_gain) < 0.5 * report.expected_gain


def test_the_report_says_what_the_episodes_do_not_tell_and_what_fits_nowhere(policy):
    unseen = policy.adapt(Robot([0.5, -0.6], unit=np.nan), episodes=3, progress=False).report()
    assert not any(each.is_told for each in unseen.estimates)
    assert str(unseen).count("the episodes cannot tell it") == 2
    strange = policy.adapt(Robot([0.5, -0.6], unit=100.0), episodes="auto", progress=False).report()
    assert not strange.fits
    assert not strange.acts_on_belief
    assert strange.worst_channel == "reward"
    for text in (str(strange), strange.line, strange._repr_html_()):
        assert "nothing in this family explains what this robot does" in text
        assert "unit and sign of the reward" in text
        assert "acts" in text
