"""Stand-ins: a vector environment that keeps the contract, and made-up episodes in float64."""

import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode

from metarobot.algorithms import ALGORITHMS, configure, make_algorithm, make_policy, train_config
from metarobot.config import COMMON_NAMES, RunConfig
from metarobot.envs import Tasks
from metarobot.learning.distributed import Workers
from metarobot.learning.inner_loop import MEASURED, PolicyLoss
from metarobot.learning.meta_update import MetaBatch
from metarobot.policies import log_prob, repeat_params
from metarobot.rollout.episodes import Episodes
from metarobot.training.load import TrainedPolicy, TrainedRun

N, E, T = 3, 4, 5  # tasks, episodes, steps of the made-up episodes


def config_of(algorithm="maml", **fields):
    """A configuration from common fields and options; those that it does not read are left out."""
    common = {name: value for name, value in fields.items() if name in COMMON_NAMES}
    options = {name: value for name, value in fields.items() if name not in COMMON_NAMES}
    return configure(RunConfig(**common, options=options), algorithm)


def small_policy(hidden_sizes=(4,), algorithm="maml", **options):
    """A policy with 2 observation and 2 action elements, and parameters that are not symmetric.

    They hold none that is measured: all can be differentiated by.
    """
    config = config_of(algorithm, hidden_sizes=hidden_sizes, inner_lr=0.3, **options)
    policy = ALGORITHMS[algorithm].make_policy(config, [-1.0, -2.0], [1.0, 2.0], 2).double()
    params = policy.initial_params(torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    return policy, {
        name: leaf + 0.3 * torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype)
        for name, leaf in params.items()
        if name not in MEASURED
    }


def untrained_run(path, env_id, algorithms=("maml",), **options):
    """A run whose policies have never learned anything; nothing of it is on the disk."""
    policies = {}
    for name in algorithms:
        config = train_config(env_id=env_id, algorithm=name, hidden_sizes=(4,), **options)
        policy = make_policy(config)
        params = policy.initial_params(torch.Generator().manual_seed(0))
        policies[name] = TrainedPolicy(policy, params, config)
    return TrainedRun(path=path, seed=0, env_id=env_id, policies=policies)


def policy_loss(policy, episodes, advantages, objective="lvc"):
    """What an adaptation step on these episodes lowers."""
    return PolicyLoss(policy, episodes, advantages, episodes.step_weights, objective)


def made_up_episodes(policy, params, seed):
    """Episodes (N, E, T) of the policies params (N, ...), with their own log-probabilities.

    Advantages are noise, and a signal: larger actions are better, so that episodes half agree.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    observations = normal(N, E, T, 2)
    mean, log_std = policy.distribution(params, observations)
    log_std = log_std[:, None, None]
    action_noise = normal(N, E, T, 2)
    actions = mean + log_std.exp() * action_noise
    mask = torch.ones(N, E, T, dtype=torch.float64)
    mask[0, E // 3, 3:] = 0.0
    episodes = Episodes(
        observations=observations,
        final_observations=torch.full((N, E, 2), torch.nan, dtype=torch.float64),
        actions=actions,
        log_probs=log_prob(mean, log_std, actions),
        rewards=normal(N, E, T),
        mask=mask,
        success=torch.zeros(N, E, dtype=torch.bool),
        unstable=torch.zeros(N, E, dtype=torch.bool),
        start=torch.zeros(N, E, 2),
    )
    return episodes, (normal(N, E, T) + action_noise.sum(-1)) * mask


def made_up_batch(policy, params, config):
    """A meta-batch whose blocks are collected by the policies that adaptation really reaches."""
    algorithm, adapted = make_algorithm(config, policy), repeat_params(params, N)
    blocks, advantages = [], []
    for k in range(config.adaptation_steps):
        block, block_advantages = made_up_episodes(policy, adapted, seed=10 + k)
        adapted = algorithm.adapt(adapted, block, block_advantages)
        blocks.append(block)
        advantages.append(block_advantages)
    post_episodes, post_advantages = made_up_episodes(policy, adapted, seed=20)
    return MetaBatch(
        pre_episodes=tuple(blocks),
        pre_advantages=tuple(advantages),
        post_episodes=post_episodes,
        post_advantages=post_advantages,
    )


class Targets:
    """Tasks are hidden targets in a square."""

    def sample(self, rng, num_tasks, split="train"):
        x, y = rng.uniform(-0.8, 0.8, (num_tasks, 2)).T
        return Tasks({"x": x, "y": y})

    def encode(self, tasks):
        return tasks.values.copy()


class FakeEnv:
    """Each step earns 1 - |clip(action) - target|²; the observation is a random spot and the time.

    `unstable_at` maps a simulation to the step in which it fails; from then on it shows NaN.
    `terminated_at` maps a simulation to the step in which its episode ends.
    It counts in `num_steps` how many steps each simulation has taken; those that have ended are
    held.
    """

    distribution = Targets()
    start_size = 2
    autoreset_mode = AutoresetMode.NEXT_STEP

    def __init__(self, num_envs, horizon=5, unstable_at=None, terminated_at=None):
        self.num_envs = num_envs
        self.horizon = horizon
        self.unstable_at = unstable_at or {}
        self.terminated_at = terminated_at or {}
        self.single_observation_space = Box(np.full(3, -1, np.float32), np.ones(3, np.float32))
        self.single_action_space = Box(-1.0, 1.0, (2,))
        self.num_steps = np.zeros(num_envs, int)
        self.spot = np.zeros((num_envs, self.start_size))
        self.set_tasks(Tasks({"x": [0.0], "y": [0.0]}))

    def set_tasks(self, tasks):
        self.targets = np.repeat(tasks.values, self.num_envs // len(tasks), axis=0)

    def reset(self, seed=None, options=None):
        self.t = 0
        chosen = options.get("reset_mask", np.ones(self.num_envs, bool))
        self.ended = ~chosen
        assert options["start"].shape == (chosen.sum(), self.start_size)
        self.spot[chosen] = options["start"] * 2 - 1
        return self._observe(), {}

    def step(self, actions):
        assert self.autoreset_mode is AutoresetMode.DISABLED
        self.num_steps += ~self.ended
        distance = ((np.clip(actions, -1, 1) - self.targets) ** 2).sum(-1)
        unstable = np.zeros(self.num_envs, bool)
        terminated = np.zeros(self.num_envs, bool)
        for sim, t in self.unstable_at.items():
            unstable[sim] = self.t >= t
        for sim, t in self.terminated_at.items():
            terminated[sim] = self.t == t
        self.t += 1
        observation = self._observe()
        observation[unstable] = np.nan
        truncated = np.full(self.num_envs, self.t >= self.horizon)
        self.ended |= terminated | truncated | unstable
        info = {"is_success": distance < 0.1, "sim_unstable": unstable}
        rewards = np.where(unstable, np.nan, 1 - distance)
        return observation, rewards, terminated, truncated, info

    def _observe(self):
        clock = np.full((self.num_envs, 1), self.t / self.horizon)
        return np.concatenate([self.spot, clock], axis=1).astype(np.float32)


class Threads(Workers):
    """Processes of a run, played by threads of one."""

    def __init__(self, rank, barrier, slots):
        super().__init__(rank, len(slots))
        self.barrier, self.slots = barrier, slots

    def gather(self, rows):
        self.slots[self.rank] = rows
        self.barrier.wait(timeout=600)
        gathered = torch.cat(self.slots)
        self.barrier.wait(timeout=600)
        return gathered


def act_alone(policy, params, observations):
    """Mean (..., A) and log_std (A,) of one perceptron policy, layer by layer, each leaf bare."""
    hidden, last = policy.inputs(observations, params), len(policy.layers) - 1
    for index in range(last + 1):
        layer = params[f"layers.{index}.weight"], params[f"layers.{index}.bias"]
        hidden = torch.nn.functional.linear(hidden, *layer)
        hidden = hidden if index == last else torch.tanh(hidden)
    return hidden, policy.log_std_of(params)
