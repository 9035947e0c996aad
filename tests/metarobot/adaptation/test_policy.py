"""Adapting on robots that know nothing of this package, and acting on them."""

import json

import gymnasium as gym
import numpy as np
import pytest
import torch
from carts import INTERFACE, make_policy
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from robots import HIGH, HORIZON, LOW, Cart

from metarobot.adaptation import policy as policy_module
from metarobot.adaptation.policy import SessionError, load_policy_file
from metarobot.adaptation.robot import RobotEnv
from metarobot.envs import find_variant
from metarobot.rollout.episodes import Episodes

E = 5  # adaptation episodes, not divided by the number of robots


def run_session(policy, robot, steps=1, seed=3):
    """What a controller that owns the loop does; return the adapted policy and the log."""
    session, log = policy.session(episodes=E, seed=seed), ([], [], [])
    for _ in range(steps):
        while not session.complete:
            observation, _ = robot.reset(seed=seed if robot.num_episodes == 0 else None)
            session.begin()
            for column in log:
                column.append([])
            while session.running:
                action = session.act(observation)
                log[0][-1].append(observation)
                log[1][-1].append(session._steps.actions[-1][0, 0].numpy())
                observation, reward, terminated, truncated, info = robot.step(action)
                success = info["is_success"]
                session.record(
                    reward, terminated, truncated, success=success, final_observation=observation
                )
                log[2][-1].append(reward)
            log[0][-1].append(observation)
        session.adapt()
    return session.adapted, log


def assert_same_bits(first, second):
    assert first.adaptation_steps == second.adaptation_steps
    assert list(first.params) == list(second.params)
    for name, leaf in first.params.items():
        assert torch.equal(leaf, second.params[name]), name


def test_adapting_changes_what_it_says_and_leaves_the_policy_as_it_is(policy):
    before = {name: leaf.clone() for name, leaf in policy.params.items()}
    adapted = policy.adapt(Cart(), episodes=E, progress=False)
    assert (adapted.adaptation_steps, adapted.num_episodes) == (1, E)
    assert any(not torch.equal(adapted.params[name], leaf) for name, leaf in before.items())
    for name, leaf in before.items():
        assert torch.equal(policy.params[name], leaf)


def test_a_session_and_adapt_and_a_log_find_the_same_parameters_bit_for_bit(policy):
    robot = Cart()
    by_adapt = policy.adapt(robot, episodes=E, seed=3, progress=False)
    assert robot.num_episodes == E
    by_session, log = run_session(policy, other := Cart())
    assert_same_bits(by_adapt, by_session)
    np.testing.assert_array_equal(robot.commands, other.commands)
    assert_same_bits(by_adapt, policy.adapt_from(Episodes.from_log(*log)))


def test_two_steps_are_one_step_continued_and_two_rounds_of_a_session(policy):
    class Alike(Cart):  # the same start in every episode
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=0)

    at_once = policy.adapt(Alike(), episodes=E, steps=2, seed=3, progress=False)
    first = policy.adapt(robot := Alike(), episodes=E, seed=3, progress=False)
    assert_same_bits(at_once, first.adapt(robot, episodes=E, seed=3, progress=False))
    assert_same_bits(at_once, run_session(policy, Alike(), steps=2)[0])


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("num_robots", [1, 2, 3, 7])
def test_vector_environments_in_every_autoreset_mode(mode, num_robots, policy):
    robots = SyncVectorEnv([Cart] * num_robots, autoreset_mode=mode)
    adapted = policy.adapt(robots, episodes=E, progress=False)
    again = SyncVectorEnv([Cart] * num_robots, autoreset_mode=mode)
    assert_same_bits(adapted, policy.adapt(again, episodes=E, progress=False))
    if num_robots == 1:
        assert_same_bits(adapted, policy.adapt(Cart(), episodes=E, progress=False))


@pytest.mark.parametrize("ending", ["terminated", "truncated"])
@pytest.mark.parametrize("mode", AutoresetMode)
def test_episodes_of_several_robots_are_those_of_each(mode, ending):
    """Rewards up to and with the last step count; robots that are done are commanded 0."""
    robots = SyncVectorEnv([lambda: Cart(ending=ending)] * 3, autoreset_mode=mode)
    env = RobotEnv(robots, INTERFACE, seed=5)
    env.reset()
    masks = []
    for _ in range(HORIZON):
        running = env._running.copy()
        masks.append(running)
        _, rewards, _, _, info = env.step(np.full((3, 2), 0.7))
        assert (rewards[running] != 0).all()
        assert not rewards[~running].any()
        assert not info["sim_unstable"].any()
    assert np.sum(masks, axis=0).tolist() == [3, 3, 3]
    for cart in robots.envs:
        np.testing.assert_allclose(cart.unwrapped.commands[:3], 0.7)
        assert not np.any(cart.unwrapped.commands[3:])


class LastStepCart(Cart):
    """A cart whose last step alone says whether it succeeded, and whose resets say the contrary."""

    def __init__(self, success):
        super().__init__()
        self.success = success

    def reset(self, **kwargs):
        return super().reset(**kwargs)[0], {"is_success": not self.success}

    def step(self, action):
        *step, _ = super().step(action)
        return *step, {"is_success": self.success and step[2]}


@pytest.mark.parametrize("mode", AutoresetMode)
def test_success_is_that_of_the_episode_that_ends_not_of_the_one_that_begins(mode):
    outcomes = [True, False, True]
    carts = [lambda success=success: LastStepCart(success) for success in outcomes]
    env = RobotEnv(SyncVectorEnv(carts, autoreset_mode=mode), INTERFACE, seed=5)
    env.reset()
    seen = [env.step(np.zeros((3, 2)))[4]["is_success"] for _ in range(3)]
    assert np.array(seen).tolist() == [[False] * 3, [False] * 3, outcomes]


@pytest.mark.parametrize(
    ("spaces", "words"),
    [
        ({"observation_space": gym.spaces.Box(-1, 1, (4,))}, "observations are of shape (4,)"),
        (
            {"observation_space": gym.spaces.Box(-1, 2, (3,))},
            "needs observations of shape (3,)",
        ),
        ({"observation_space": gym.spaces.Discrete(3)}, "observations are a Discrete"),
        ({"action_space": gym.spaces.Box(-9, 9, (2,))}, "actions are of shape (2,) in [-9. -9.]"),
        ({"action_space": gym.spaces.Box(-1, 1, (3,))}, "the policy gives actions of shape (2,)"),
        ({"action_space": gym.spaces.Box(-9, 9, (2,))}, "wrappers.RescaleAction turns these"),
        ({"action_space": gym.spaces.Box(-1, 1, (3,))}, "a gymnasium.ActionWrapper of yours turns"),
        ({"action_space": gym.spaces.Box(-1, 1, (2,), np.int8)}, "actions are int8 of shape (2,)"),
        ({"action_space": gym.spaces.Box(-1, 1, (2,), np.int64)}, "ActionWrapper of yours turns"),
        ({"action_space": gym.spaces.Discrete(3)}, "ActionWrapper of yours turns these into those"),
    ],
)
def test_spaces_that_do_not_fit_are_refused_in_one_line(spaces, words):
    robot = Cart()
    vars(robot).update(spaces)
    with pytest.raises(ValueError, match=r"^the robot's") as refusal:
        make_policy("maml").adapt(robot, episodes=1)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert robot.num_episodes == 0


def test_what_is_no_robot_and_who_does_not_adapt():
    with pytest.raises(TypeError, match=r"adapts to a gymnasium\.Env or VectorEnv, got a str"):
        make_policy("maml").adapt("robot", episodes=1)
    with pytest.raises(ValueError, match="domain_randomisation does not adapt: take one of maml"):
        make_policy("domain_randomisation").adapt(Cart(), episodes=1)
    for episodes in (0, -1, 1.5, None):
        with pytest.raises(ValueError, match=r"episodes must be an integer in \[1,"):
            make_policy("maml").adapt(Cart(), episodes=episodes)


# Acting.


@pytest.mark.parametrize("algorithm", ["maml", "latent", "rl2"])
@pytest.mark.parametrize("shape", [(1, 1, 3), (0, 3), (2, 1, 3), (0, 2, 3)])
def test_acting_is_on_one_robot_or_on_several_in_a_row(algorithm, shape):
    policy = make_policy(algorithm)
    with pytest.raises(ValueError, match=r"^observation must have shape \(3,\), or \(M, 3\)") as no:
        policy.act(np.zeros(shape))
    assert str(no.value).endswith(f"M at least 1, got {shape}")
    assert policy.act(np.zeros((1, 3))).shape == (1, 2)


# Sessions.


def test_a_session_says_what_comes_first():
    session, seen = make_policy("maml").session(episodes=2), np.zeros(3)

    def refuses(words, call, *arguments):
        with pytest.raises(SessionError, match=words):
            call(*arguments)

    refuses("no episode is running: call begin", session.act, seen)
    refuses("call act before record", session.record, 1.0)
    refuses("nothing has been adapted yet", lambda: session.adapted)
    refuses("0 of 2 episodes are recorded: call begin", session.adapt)
    session.begin()
    refuses("an episode is running", session.begin)
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


# Files.


def test_a_saved_policy_acts_and_adapts_as_before(policy, tmp_path):
    adapted = policy.adapt(Cart(), episodes=E, progress=False)
    adapted.save(tmp_path / "adapted.safetensors")
    loaded = load_policy_file(tmp_path / "adapted.safetensors")
    assert_same_bits(adapted, loaded)
    assert (loaded.config, loaded.interface) == (adapted.config, adapted.interface)
    assert loaded.num_episodes == E
    assert_same_bits(
        adapted.adapt(Cart(), episodes=E, progress=False),
        loaded.adapt(Cart(), episodes=E, progress=False),
    )
    np.testing.assert_array_equal(adapted.act(np.zeros(3)), loaded.act(np.zeros(3)))


def test_a_file_that_was_changed_is_refused(tmp_path):
    path = tmp_path / "adapted.safetensors"
    make_policy("maml").save(path)
    data = path.read_bytes()
    for place in range(8, len(data), 97):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(ValueError, match="damaged"):
            load_policy_file(path)
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        make_policy("maml").save(tmp_path / "adapted.pt")


@pytest.mark.parametrize("name", ["observation_low", "action_size", "horizon", "adaptation_steps"])
@pytest.mark.parametrize("value", [None, -1, 10**9, "x", [], [float(10**30)] * 3, [None]])
def test_facts_that_do_not_fit_are_refused(tmp_path, monkeypatch, name, value):
    def save(path, tensors, facts):
        real(path, tensors, {**facts, name: value})

    real, path = policy_module.save_tensors, tmp_path / "adapted.safetensors"
    monkeypatch.setattr(policy_module, "save_tensors", save)
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


def test_an_algorithm_that_needs_log_probs_says_so():
    policy = make_policy("maml", inner_objective="likelihood_ratio")
    log = [[np.zeros((4, 3))], [np.full((4, 2), 0.3)], [np.arange(4.0)]]
    with pytest.raises(ValueError, match="maml needs the log-probabilities of the logged actions"):
        policy.adapt_from(Episodes.from_log(*log))
    policy.adapt_from(Episodes.from_log(*log, log_probs=[np.full(4, -1.0)]))


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ([[np.zeros((4, 2))], [np.zeros((4, 2))], [np.zeros(4)]], "observations must have 3"),
        ([[np.zeros((4, 3))], [np.zeros((4, 1))], [np.zeros(4)]], "actions must have 2 elements"),
        ([[np.zeros((99, 3))], [np.zeros((99, 2))], [np.zeros(99)]], "at most 12 control steps"),
    ],
)
def test_a_log_of_another_family_is_refused(log, words):
    with pytest.raises(ValueError, match=words):
        make_policy("maml").adapt_from(Episodes.from_log(*log))


@pytest.mark.parametrize("missing", [np.nan, None])
def test_a_log_and_a_session_lack_a_single_reward_alike(policy, missing):
    """Adapting to either is the same, bit for bit; who needs it says which one is missing."""
    seen = np.random.default_rng(0).uniform(LOW, HIGH, (2, 5, 3))
    rewards = [[0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.4, missing, 0.2, 0.1]]
    blind = not policy.algorithm.needs_rewards
    session = policy.session(episodes=2, seed=1)
    for observations, earned in zip(seen, rewards, strict=True):
        session.begin()
        for t, reward in enumerate(earned):
            session.act(observations[t])
            session.record(reward if blind else 0.3, t == 4)
    actions = session.recorded.actions[0, :, :5].numpy()
    log = Episodes.from_log(seen, actions, rewards)
    assert log.rewards.isnan().nonzero().tolist() == [[0, 1, 2]]
    if blind:
        assert_same_bits(policy.adapt_from(log), session.adapt())
        return
    name = policy.config.algorithm
    with pytest.raises(ValueError, match=rf"^{name} needs the rewards .* step 2 in episode 1 is"):
        policy.adapt_from(log)


def test_a_session_without_rewards():
    robot, session = Cart(), make_policy("latent").session(episodes=1)
    observation, _ = robot.reset(seed=0)
    session.begin()
    while session.running:
        observation, _, terminated, truncated, _ = robot.step(session.act(observation))
        session.record(None, terminated, truncated)
    assert session.adapt().num_episodes == 1
    session = make_policy("maml").session(episodes=1)
    session.begin()
    session.act(robot.reset(seed=0)[0])
    with pytest.raises(ValueError, match="reward must be a finite number, got None"):
        session.record(None)
