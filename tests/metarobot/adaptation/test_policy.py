"""Adapting straight to a robot, in a session, from a log, and going on from a file."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from carts import ADAPTING, HIGH, HORIZON, LOW, Cart, make_policy
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from metarobot.adaptation import policy as policy_module
from metarobot.adaptation.episodes import Episodes
from metarobot.adaptation.policy import SessionError, load_policy_file
from metarobot.envs import find_variant

E = 5  # adaptation episodes, not divided by the number of robots


class Alike(Cart):
    """A cart with the same start in every episode."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=0)


def adapt(policy, robot=None, episodes=E, steps=1):
    return policy.adapt(robot or Alike(), episodes=episodes, steps=steps, seed=3, progress=False)


def run_session(policy, robot, steps=1):
    """Do as a controller that owns the loop; return the adapted policy and the last log."""
    session = policy.session(episodes=E, seed=3)
    for _ in range(steps):
        seen, earned = [], []
        while not session.complete:
            observation, _ = robot.reset()
            session.begin()
            seen.append([observation])
            earned.append([])
            while session.running:
                action = session.act(observation)
                observation, reward, terminated, truncated, info = robot.step(action)
                success = info["is_success"]
                session.record(
                    reward, terminated, truncated, success=success, final_observation=observation
                )
                seen[-1].append(observation)
                earned[-1].append(reward)
        taken = [
            block[: len(rewards)].numpy()
            for block, rewards in zip(session.recorded.actions[0], earned, strict=True)
        ]
        session.adapt()
    return session.adapted, Episodes.from_log(seen, taken, earned)


def assert_same_bits(first, second):
    assert first.adaptation_steps == second.adaptation_steps
    assert list(first.params) == list(second.params)
    for name, leaf in first.params.items():
        assert torch.equal(leaf, second.params[name]), name


@pytest.mark.parametrize("algorithm", ADAPTING)
def test_straight_is_in_a_session_from_a_log_continued_and_saved(algorithm, tmp_path):
    policy = make_policy(algorithm)
    before = {name: leaf.clone() for name, leaf in policy.params.items()}
    adapted = adapt(policy, robot := Alike())
    assert (adapted.adaptation_steps, adapted.num_episodes, robot.num_episodes) == (1, E, E)
    assert any(not torch.equal(adapted.params[name], leaf) for name, leaf in before.items())
    assert all(torch.equal(policy.params[name], leaf) for name, leaf in before.items())
    by_session, log = run_session(policy, other := Alike())
    assert_same_bits(adapted, by_session)
    np.testing.assert_array_equal(robot.commands, other.commands)
    assert_same_bits(adapted, policy.adapt_from(log))

    adapted.save(tmp_path / "adapted.safetensors")
    loaded = load_policy_file(tmp_path / "adapted.safetensors")
    assert_same_bits(adapted, loaded)
    assert (loaded.config, loaded.interface) == (adapted.config, adapted.interface)
    assert loaded.num_episodes == E
    np.testing.assert_array_equal(adapted.act(np.zeros(3)), loaded.act(np.zeros(3)))

    at_once = adapt(policy, steps=2)
    continued = Alike()
    continued.num_episodes = E  # whose next episode has the length of the sixth
    assert_same_bits(at_once, adapt(loaded, continued))
    assert_same_bits(at_once, run_session(policy, Alike(), steps=2)[0])


@pytest.mark.parametrize("algorithm", ["maml", "rl2"])  # rl2 adapts on the first robot alone
@pytest.mark.parametrize("mode", AutoresetMode)
def test_vector_environments_in_every_autoreset_mode(mode, algorithm):
    policy = make_policy(algorithm)
    for num_robots in (1, 3, 7):
        first, again = (
            adapt(policy, SyncVectorEnv([Cart] * num_robots, autoreset_mode=mode)) for _ in range(2)
        )
        assert_same_bits(first, again)
        if num_robots == 1:
            assert_same_bits(first, adapt(policy, Cart()))


# A session.


def test_a_session_says_what_comes_first():
    session, seen = make_policy("maml").session(episodes=2), np.zeros(3)

    def refuses(words, call, *arguments):
        with pytest.raises(SessionError, match=words):
            call(*arguments)

    refuses("no episode is running: call begin", session.act, seen)
    refuses("none to discard", session.discard)
    refuses("call act before record", session.record, 1.0)
    refuses("nothing has been adapted yet", lambda: session.adapted)
    refuses("0 of 2 episodes are recorded: call begin", session.adapt)
    session.begin()
    refuses("record its end, or discard it", session.begin)
    session.act(seen)
    refuses("call record before act", session.act, seen)
    refuses("one is still running", session.adapt)
    session.record(1.0, terminated=True)
    refuses("no episode is running", session.act, seen)
    refuses("1 of 2 episodes", session.adapt)
    session.begin()
    for _ in range(HORIZON):
        session.act(seen)
        session.record(1.0)
    assert session.complete  # the horizon ended it
    refuses("all 2 episodes are recorded: call adapt", session.begin)
    session.adapt()
    assert session.num_recorded == 0


SEEN = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 5, 3))
"""3 episodes of 5 steps."""


def run_episode(session, number, num_steps=5):
    """Run the first steps of an episode, which ends after 5; return the actions."""
    session.begin()
    actions = []
    for t in range(num_steps):
        actions.append(session.act(SEEN[number, t]))
        session.record(0.1 * t - 0.3 * number, terminated=t == 4)
    return actions


@pytest.mark.parametrize("algorithm", ["maml", "latent", "rl2"])
def test_a_discarded_episode_leaves_no_trace(algorithm):
    """Counters, actions, episodes and the adapted parameters are those without it."""
    policy = make_policy(algorithm)
    session, undisturbed = (policy.session(episodes=3, seed=1) for _ in range(2))
    for number in range(3):
        run_episode(session, 2 - number, num_steps=3)
        if number == 1:
            session.act(SEEN[0, 0])  # whose reward never comes
        session.discard()
        assert (session.num_recorded, session.running) == (number, False)
        found, expected = (run_episode(each, number) for each in (session, undisturbed))
        np.testing.assert_array_equal(found, expected)
    assert torch.equal(session.recorded.log_probs, undisturbed.recorded.log_probs)
    assert_same_bits(session.adapt(), undisturbed.adapt())


def test_what_a_session_cannot_record_is_refused_and_not_recorded():
    session = make_policy("maml").session(episodes=1)
    session.begin()
    session.act(SEEN[0, 0])
    for name in ("terminated", "truncated", "success"):
        for flag in (None, "False", np.nan, [True], 2, [[1], [1, 2]]):
            with pytest.raises(ValueError, match=f"^{name} must be true or false, got") as refusal:
                session.record(0.5, **{name: flag})
            assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match="reward must be a finite number, got None"):
        session.record(None)
    session.record(0.5, terminated=np.bool_(False), truncated=0)
    session.act(SEEN[0, 1])
    session.record(0.25, terminated=1, success=torch.tensor(True))
    assert session.recorded.rewards[0, 0, :2].tolist() == [0.5, 0.25]
    assert session.recorded.success.all()


# A log.


@pytest.mark.parametrize("algorithm", ["maml", "learned_loss", "latent"])
@pytest.mark.parametrize("missing", [np.nan, None])
def test_a_log_and_a_session_lack_a_single_reward_alike(algorithm, missing):
    """Adapting to either is the same, bit for bit; or an error says which reward is missing."""
    policy, seen = make_policy(algorithm), np.random.default_rng(0).uniform(LOW, HIGH, (2, 5, 3))
    rewards = [[0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.4, missing, 0.2, 0.1]]
    blind = not policy.algorithm.needs_rewards
    session = policy.session(episodes=2, seed=1)
    for observations, earned in zip(seen, rewards, strict=True):
        session.begin()
        for t, reward in enumerate(earned):
            session.act(observations[t])
            session.record(reward if blind else 0.3, t == 4)
    log = Episodes.from_log(seen, session.recorded.actions[0, :, :5].numpy(), rewards)
    assert log.rewards.isnan().nonzero().tolist() == [[0, 1, 2]]
    if blind:
        assert_same_bits(policy.adapt_from(log), session.adapt())
    else:
        with pytest.raises(ValueError, match=r"^maml needs the rewards .* step 2 in episode 1 is"):
            policy.adapt_from(log)


def test_a_log_that_does_not_fit_is_refused():
    policy = make_policy("maml", inner_objective="likelihood_ratio")
    shapes = {"observations": (4, 3), "actions": (4, 2), "rewards": (4,), "log_probs": (4,)}
    for changes, words in (
        ({}, ""),
        ({"observations": (4, 2)}, "observations must have 3"),
        ({"actions": (4, 1)}, "actions must have 2 elements"),
        ({name: (99, *shape[1:]) for name, shape in shapes.items()}, "at most 12 control steps"),
        ({"log_probs": None}, "maml needs the log-probabilities of the logged actions"),
    ):
        columns = {**shapes, **changes}.items()
        log = Episodes.from_log(**{n: s and [np.full(s, 0.3)] for n, s in columns})
        with pytest.raises(ValueError, match=words) if words else nullcontext():
            policy.adapt_from(log)
    with pytest.raises(TypeError, match=r"from Episodes, as of Episodes\.from_log, got a list"):
        policy.adapt_from([1, 2])


# Files.


def test_a_file_that_was_changed_is_refused(tmp_path):
    path = tmp_path / "adapted.safetensors"
    make_policy("maml").save(path)
    data = path.read_bytes()
    for place in range(8, len(data), 997):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(ValueError, match="damaged"):
            load_policy_file(path)
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        make_policy("maml").save(tmp_path / "adapted.pt")


@pytest.mark.parametrize("name", ["observation_low", "action_size", "horizon", "adaptation_steps"])
def test_facts_that_do_not_fit_are_refused(tmp_path, monkeypatch, name):
    def save(path, tensors, facts):
        real(path, tensors, {**facts, **wrong})

    wrong, real, path = {}, policy_module.save_tensors, tmp_path / "adapted.safetensors"
    monkeypatch.setattr(policy_module, "save_tensors", save)
    for value in (None, -1, 10**9, "x", [float(10**30)] * 3):
        wrong[name] = value
        make_policy("maml").save(path)
        with pytest.raises(ValueError, match="does not fit"):
            load_policy_file(path)


@pytest.mark.parametrize("variant", [None, "greasy_pads"])
def test_a_file_of_a_family_that_is_not_imported_says_so_first(tmp_path, monkeypatch, variant):
    """Whether its policy asks for the family, or its variant does."""

    def save(path, tensors, facts):
        config = json.dumps(facts["config"]).replace("metarobot/Grip-v0", "my/Lever-v0")
        real(path, tensors, {**facts, "config": json.loads(config)})

    real, path = policy_module.save_tensors, tmp_path / "adapted.safetensors"
    monkeypatch.setattr(policy_module, "save_tensors", save)
    family = {"env_id": "metarobot/Grip-v0", "variant": variant and find_variant(variant)}
    make_policy("maml" if variant else "latent", **family).save(path)
    with pytest.raises(ValueError, match="is not registered") as refusal:
        load_policy_file(path)
    assert str(refusal.value) == (
        f"{path} is of 'my/Lever-v0', a task family that is not registered: name its module with "
        "--module (in Python: import it)"
    )
