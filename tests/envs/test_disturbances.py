"""Laws of the disturbances: random numbers, delay, noise, dropout, pushes, changes in between."""

import mujoco
import numpy as np
import pytest
from scipy import stats

from metarobot.envs import TaskEnv, TaskError, Variant, make_env
from metarobot.envs.disturbances import keys_of, mix, normals, uniforms

REACH, GRIP, INSERT = (f"metarobot/{name}-v0" for name in ("Reach", "Grip", "Insert"))
EVERYTHING = {
    REACH: {
        "disturbances": {
            "action_delay_steps": 2,
            "observation_dropout": 0.3,
            "sensor_noise": {"m": 0.01},
            "push": {"force_n": 30.0, "duration_s": 0.1, "probability": 0.1},
        },
        "change": {"at_step": 9, "values": {"frame_yaw_rad": 1.0}, "factors": {"payload_kg": 1.5}},
    },
    GRIP: {
        "disturbances": {
            "action_delay_steps": 1,
            "observation_dropout": 0.3,
            "sensor_noise": {"m": 0.001, "m/s": 0.01, "1": 0.02},
            "push": {"force_n": 2.0, "duration_s": 0.1, "at_steps": [3, 10]},
        },
        "change": {"at_step": 8, "factors": {"block_mass_kg": 1.4}},
    },
    INSERT: {"disturbances": {"observation_dropout": 0.3, "sensor_noise": {"m": 0.001}}},
}
"""What a variant can do to a family; Insert has random numbers of its own."""


def disturbed(env_id, num_envs=4, *, num_threads=1, observe_task=False, **tables):
    """Simulations under the given tables of a variant, on tasks drawn from the training range."""
    variant = Variant.from_dict({"family": env_id, "name": "test", **tables})
    env = make_env(
        env_id, num_envs, num_threads=num_threads, variant=variant, observe_task=observe_task
    )
    env.set_tasks(draw_tasks(env, num_envs))
    return env


def draw_tasks(env, num_tasks):
    return env.distribution.sample(np.random.default_rng(0), num_tasks)


def draw_actions(env, num_steps):
    return np.random.default_rng(1).uniform(-1, 1, (num_steps, *env.action_space.shape))


def draw_start(env, seed=2):
    return np.random.default_rng(seed).random((env.num_envs, env.start_size))


def play(env, actions, start):
    """Return observations (T + 1, N, O) and rewards (T, N) of one episode."""
    observations, rewards = [env.reset(options={"start": start})[0]], []
    for action in actions:
        observation, reward, *_ = env.step(action)
        observations.append(observation)
        rewards.append(reward)
    return np.stack(observations), np.stack(rewards)


def plain(env_id, num_envs=4):
    env = make_env(env_id, num_envs, num_threads=1)
    env.set_tasks(draw_tasks(env, num_envs))
    return env


# Counter-based random numbers.

START = np.random.default_rng(0).random((1000, 3))
KEYS, STEPS = keys_of(START), np.full(1000, 7)
ELEMENTS = np.arange(5)


def test_mix_is_splitmix64():
    """The first numbers of Java's SplittableRandom(0): its state grows by the golden ratio."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    states = np.array([0, golden], np.uint64)
    assert [hex(int(word)) for word in mix(states)] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4"]


def test_a_number_depends_on_its_address_alone():
    whole = uniforms(KEYS, STEPS, 2, ELEMENTS)
    rows = np.array([5, 999])
    np.testing.assert_array_equal(uniforms(KEYS[rows], STEPS[rows], 2, ELEMENTS), whole[rows])
    np.testing.assert_array_equal(uniforms(KEYS, STEPS, 2, np.array([3])), whole[:, [3]])
    assert not np.array_equal(uniforms(KEYS, STEPS, 3, ELEMENTS), whole)
    assert not np.array_equal(uniforms(KEYS, STEPS + 1, 2, ELEMENTS), whole)
    assert len(np.unique(KEYS)) == len(KEYS)
    assert not (keys_of(START[:, [1, 0, 2]]) == KEYS).any()


@pytest.mark.parametrize(("draw", "name"), [(uniforms, "uniform"), (normals, "norm")])
def test_numbers_are_uniform_or_normal_and_independent(draw, name):
    numbers = np.stack([draw(KEYS, STEPS + step, 3, ELEMENTS) for step in range(20)])
    assert stats.kstest(numbers.ravel(), name).pvalue > 0.01
    columns = [numbers[:, :, element].ravel() for element in ELEMENTS]
    correlations = np.corrcoef([*columns, np.roll(columns[0], 1000)])  # the last: a step later
    assert np.abs(correlations - np.eye(6)).max() < 0.03
    assert np.isfinite(numbers).all()
    assert name == "norm" or ((numbers > 0) & (numbers < 1)).all()


# Rows, episodes.


@pytest.mark.parametrize("env_id", EVERYTHING)
def test_rows_are_single_environments_and_episodes_repeat_from_their_start(env_id):
    env = disturbed(env_id, **EVERYTHING[env_id])
    actions, start = draw_actions(env, env.horizon), draw_start(env)
    observations, rewards = play(env, actions, start)
    for sim in (0, 3):
        single = TaskEnv(env_id, num_threads=1, variant=env.variant)
        single.set_tasks(env.tasks.rows([sim]))
        single.reset(options={"start": start[sim]})
        for step, action in enumerate(actions[:, sim]):
            observation, reward, *_ = single.step(action)
            np.testing.assert_array_equal(observation, observations[step + 1, sim])
            assert reward == rewards[step, sim]
    play(env, actions[: env.horizon // 2], draw_start(env, seed=3))  # left in the middle
    again = play(env, actions, start)
    for one, other in zip((observations, rewards), again, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("env_id", [REACH, "metarobot/Slide-v0"])
def test_a_command_acts_so_many_steps_later_and_zeros_before(env_id):
    delay = 3
    late, base = disturbed(env_id, disturbances={"action_delay_steps": delay}), plain(env_id)
    actions, start = draw_actions(late, late.horizon), draw_start(late)
    shifted = np.concatenate([np.zeros((delay, *actions.shape[1:])), actions[:-delay]])
    for one, other in zip(play(late, actions, start), play(base, shifted, start), strict=True):
        np.testing.assert_array_equal(one, other)


def test_noise_has_the_standard_deviation_of_its_unit_and_leaves_physics_and_rewards_alone():
    env = disturbed(GRIP, 200, disturbances={"sensor_noise": {"m/s": 0.02, "m": 1e-4}})
    base = plain(GRIP, 200)
    actions, start = draw_actions(env, 4), draw_start(env)
    (noisy, rewards), (exact, base_rewards) = (play(e, actions, start) for e in (env, base))
    np.testing.assert_array_equal(rewards, base_rewards)
    noise = noisy - exact  # (5, N, O)
    velocity = noise[..., 3].ravel()
    assert velocity.std() == pytest.approx(0.02, rel=0.1)
    assert abs(velocity.mean()) < 0.002
    assert abs(np.corrcoef(noise[1, :, 3], noise[2, :, 3])[0, 1]) < 0.2
    units = [element.unit for element in env.observation_elements]
    dimensionless = [index for index, unit in enumerate(units) if unit == "1"]
    np.testing.assert_array_equal(noise[..., dimensionless], 0)
    assert env.observation_space.contains(noisy[-1])


def test_observations_are_lost_at_the_rate_given_and_the_last_one_is_seen_again():
    env = disturbed(REACH, 100, disturbances={"observation_dropout": 0.25})
    base = plain(REACH, 100)
    actions, start = draw_actions(env, 30), draw_start(env)
    seen, there = play(env, actions, start)[0], play(base, actions, start)[0]
    np.testing.assert_array_equal(seen[0], there[0])
    repeated = (seen[1:] == seen[:-1]).all(axis=2)  # (T, N)
    fresh = (seen[1:] == there[1:]).all(axis=2)
    assert (repeated ^ fresh).all()
    assert repeated.mean() == pytest.approx(0.25, abs=0.04)


def test_a_push_adds_its_impulse_to_a_free_body():
    """Force times duration is the momentum of a block that nothing holds."""
    push = {"force_n": 0.5, "duration_s": 0.1, "at_steps": [1]}  # 1 2/3 control steps
    env = disturbed(GRIP, disturbances={"push": push})
    base = plain(GRIP)
    momenta = []
    for one in (env, base):
        one.reset(options={"start": draw_start(one)})
        block = one.model.joint("block")
        qpos, qvel = one.batch.bind("qpos"), one.batch.bind("qvel")
        qpos[:, block.qposadr[0] + 2] += 1.0  # above the hand: it falls freely
        qpos[:, block.qposadr[0]] += 0.3
        for _ in range(4):
            one.step(np.full((4, 1), -1.0))
        velocity = qvel[:, block.dofadr[0] + np.arange(3)]
        momenta.append(one.tasks["block_mass_kg"][:, None] * velocity)
    impulse = momenta[0] - momenta[1]  # N s
    np.testing.assert_allclose(np.linalg.norm(impulse[:, :2], axis=1), 0.5 * 0.1, rtol=1e-8)
    np.testing.assert_allclose(impulse[:, 2], 0, atol=1e-12)
    assert len(np.unique(np.sign(impulse[:, :2]), axis=0)) > 1  # not all in one direction


def test_pushes_begin_at_the_rate_given_and_last_as_long():
    push = {"force_n": 5.0, "duration_s": 3 * 0.048, "probability": 0.1}
    env = disturbed(REACH, 100, disturbances={"push": push})
    env.reset(options={"start": draw_start(env)})
    force = env.batch.bind("xfrc_applied")[:, env.model.body(env.push_body).id]
    sizes = []
    for _ in range(env.horizon):
        env.step(np.zeros(env.action_space.shape))
        sizes.append(np.linalg.norm(force, axis=1))
    pushed = np.stack(sizes) > 0  # (T, N)
    np.testing.assert_allclose(np.stack(sizes)[pushed], 5.0)
    idle = ~pushed[:-1]
    assert (pushed[1:] & idle).sum() / idle.sum() == pytest.approx(0.1, abs=0.02)
    begins = pushed & ~np.roll(pushed, 1, axis=0)
    begins[0] = pushed[0]
    for later in (1, 2):
        assert pushed[later:][begins[: env.horizon - later]].all()
    reset_force = env.batch.bind("xfrc_applied")
    env.reset(options={"start": draw_start(env)})
    np.testing.assert_array_equal(reset_force, 0)


@pytest.mark.parametrize("env_id", [REACH, GRIP])
def test_after_a_change_the_episode_goes_on_as_in_the_other_task(env_id):
    step = 8
    changes = {
        REACH: {
            "values": {"frame_yaw_rad": -2.0, "payload_kg": 3.0},
            "factors": {"drive_strength": 0.7},
        },
        GRIP: {"values": {"pad_friction": 0.3}, "factors": {"block_mass_kg": 1.5}},
    }
    env = disturbed(env_id, change={"at_step": step, **changes[env_id]})
    other = plain(env_id)
    changed = env.variant.disturbances.change.apply(env.tasks)
    other.set_tasks(changed)
    actions, start = draw_actions(env, env.horizon), draw_start(env)
    for one in (env, other):
        one.reset(options={"start": start})
    for action in actions[:step]:
        env.step(action)
        other.step(action)
    before = env.tasks
    other.batch.state[:] = env.batch.state
    other.batch.forward(stage=mujoco.mjtStage.mjSTAGE_VEL)
    for action in actions[step:]:
        env.step(action)
        other.step(action)
        np.testing.assert_array_equal(env.batch.state, other.batch.state)
    assert env.tasks == before


def test_the_physics_is_back_at_the_next_reset():
    env = disturbed(GRIP, change={"at_step": 2, "factors": {"block_mass_kg": 1.6}})
    env.reset(seed=0)
    masses = env.batch.expand("body_mass")[:, env.model.body("block").id]
    own = env.tasks["block_mass_kg"]
    for step in range(env.horizon):
        np.testing.assert_allclose(masses, own if step <= 2 else 1.6 * own)
        env.step(np.zeros((4, 1)))
    env.step(np.zeros((4, 1)))  # the autoreset
    np.testing.assert_array_equal(masses, own)
    with pytest.raises(TaskError, match=r"block_mass_kg = 4.8 kg is not allowed"):
        env.set_tasks(env.distribution.with_values({"block_mass_kg": [3.0]}))


def test_an_oracle_reads_the_tasks_of_a_variant_on_the_familys_scale():
    ranges = {"block_mass_kg": {"train": [1.0, 2.5]}}
    env = disturbed(GRIP, observe_task=True, ranges=ranges)
    base = make_env(GRIP, 4, num_threads=1, observe_task=True)
    assert env.single_observation_space == base.single_observation_space
    tasks = env.distribution.with_values({"block_mass_kg": [0.9, 1.2, 1.8, 2.5]})
    for one in (env, base):
        one.set_tasks(tasks)
    seen, expected = (one.reset(seed=0)[0] for one in (env, base))
    np.testing.assert_array_equal(seen, expected)
    assert seen[2, 5] == seen[3, 5] == env.single_observation_space.high[5]  # saturated
