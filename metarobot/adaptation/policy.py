"""A policy that acts on a robot and adapts to it: from a robot, a log, or in a session.

Its file is sealed, and holds the parameters and all that is needed to act and to adapt on. Nothing
in it is unpickled or executed; everything is checked before it is used.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from metarobot.adaptation.acting import Acting
from metarobot.adaptation.robot import Interface, Robot, read_flags, read_reward, rollout_env
from metarobot.algorithms import (
    ALGORITHMS,
    Algorithm,
    adapt_once,
    algorithm_class,
    config_from_dict,
    make_algorithm,
)
from metarobot.config import MOST_ADAPTATION_STEPS, MOST_EPISODES, MOST_SEED, TrainConfig
from metarobot.envs import FAMILIES
from metarobot.envs.checks import MOST_HORIZON, is_integer, show
from metarobot.io import (
    Count,
    most_bytes,
    open_tensors,
    parse_tensors,
    read_file,
    save_tensors,
    typed,
)
from metarobot.policies import Distribution, Params, PolicyState, log_prob, repeat_params
from metarobot.policies.gaussian import GaussianPolicy
from metarobot.rollout.collect import collect, replay
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.seeding import EpisodeDraws, Phase, draw_episodes

SUFFIX = ".safetensors"
_KIND = "policy that adapts"
_Size = Annotated[int, msgspec.Meta(ge=1, le=4096)]
_Bound = Annotated[float, msgspec.Meta(ge=-1e30, le=1e30)]
_Bounds = Annotated[tuple[_Bound, ...], msgspec.Meta(min_length=1, max_length=4096)]
PLAIN_INTERVAL_S = 1.0
"""Least time between two lines, in seconds; the last one always appears."""


@dataclass(frozen=True, eq=False)
class AdaptablePolicy:
    """A trained policy, or one that has been adapted; its parameters never change.

    Example::

        policy = mr.load("runs/grip-seed0")["latent"]
        adapted = policy.adapt(robot, episodes=5)
        adapted.begin()
        action = adapted.act(observation)
        adapted.save("adapted.safetensors")
    """

    config: TrainConfig
    """The configuration of its training."""
    params: Params
    """Parameters, each leaf in its own shape."""
    interface: Interface
    """The observations, actions and episodes of its task family."""
    adaptation_steps: int = 0
    """Adaptation steps that it has taken since training."""
    num_episodes: int = 0
    """Adaptation episodes that it has learned from since training."""

    def __repr__(self) -> str:
        who = f"{self.config.algorithm} on {self.config.env_id}, seed {self.config.seed}"
        return f"AdaptablePolicy({who}, adapted to {self.num_episodes} episodes)"

    @cached_property
    def policy(self) -> GaussianPolicy:
        """The functional module of the policy."""
        interface = self.interface
        return algorithm_class(self.config.algorithm).make_policy(
            self.config,
            interface.observation_low,
            interface.observation_high,
            interface.action_size,
        )

    @cached_property
    def algorithm(self) -> Algorithm:
        """Its algorithm, by which it adapts."""
        return make_algorithm(self.config, self.policy)

    @property
    def task_params(self) -> Params:
        """Parameters for one task, each leaf (1, ...)."""
        return repeat_params(self.params, 1)

    # Acting.

    @cached_property
    def _acting(self) -> Acting:
        return Acting(self.interface, self.policy, self.params)

    def begin(self, reward: float | np.ndarray | None = None) -> None:
        """Tell a policy that remembers that an episode of the same robot begins.

        What acting has shown of the robot may stay: call `forget` before an episode of another one.

        Args:
            reward: Reward of the last step of the episode before; None if there was none, or nobody
                measured it.

        Raises:
            ValueError: The reward is not finite.
        """
        self._acting.begin(reward)

    def forget(self) -> None:
        """Forget what acting has shown of the robot; what adaptation has learned stays."""
        self._acting.forget()

    def act(
        self, observation: np.ndarray, *, reward: float | np.ndarray | None = None
    ) -> np.ndarray:
        """Return a command, without action noise.

        A recurrent policy remembers the calls before: act on the steps of one robot, or of the same
        M robots, in their order, with the rewards, and call `begin` before each episode.  With
        another number of robots, these are others: the episode begins without memory.

        Args:
            observation: What one robot shows, (O,) in the family's units, or M ≥ 1 robots, (M, O).
                Elements beyond the family's bounds are clipped, as the family does.
            reward: Reward of the step before, or (M,); only a policy that learns from episode to
                episode reads it.  None in the first step of an episode, and where nobody measures
                it: RL² then goes on with the reward that it was told last.

        Returns:
            Action (A,) or (M, A), float32 in half action ranges, within [-1, 1].

        Raises:
            ValueError: The observation has another shape, or another number of robots than in the
                step before, or a number is not finite; the policy remembers nothing of the call.
        """
        return self._acting.act(observation, reward)

    # Adapting.

    def adapt(
        self,
        robot: Robot,
        *,
        episodes: int,
        steps: int = 1,
        seed: int = 0,
        progress: bool = True,
    ) -> AdaptablePolicy:
        """Run adaptation episodes on a robot and learn from them.

        The robot is reset and stepped by Gymnasium's rules alone, and stays open.  Actions have the
        noise of exploration and are clipped to the bounds of its action space.  The result depends
        on the seed and on the robot; call it on the result to go on with other noise.

        Args:
            robot: A ``gymnasium.Env`` or ``VectorEnv`` with the family's spaces; all robots of a
                ``VectorEnv`` hold the same task.  ``latent`` and ``rl2``, whose episodes follow
                each other, use the first of them: the others are commanded 0, the middle of the
                action range.  ``is_success`` in its infos is optional.  Rewards may be NaN where
                nobody measures them, if the algorithm can do without.
            episodes: E, episodes before each adaptation step.
            steps: Adaptation steps, with other episodes each.
            seed: Seed of the action noise, and of the robot's first reset.
            progress: Show each episode's return.

        Returns:
            The adapted policy; this one stays as it is.

        Raises:
            ValueError: A number is out of bounds, the spaces do not fit, the robot shows numbers
                that are not finite, a batch of this package holds several tasks, or the algorithm
                does not adapt.
            TypeError: The robot is neither a ``gymnasium.Env`` nor a ``VectorEnv``.
            Exception: What the robot raises, as it is; see `explore` for the episodes before.
        """
        require_count("steps", steps, MOST_ADAPTATION_STEPS)
        self._require_adapting(episodes, seed)
        with closing(EpisodeDisplay(episodes * steps, shown=progress)) as display:
            policy, numbers = self, (int(episodes), int(seed))
            for _ in range(steps):
                policy = policy.adapt_from(policy._collect(robot, *numbers, display.add))
        return policy

    def explore(
        self,
        robot: Robot,
        *,
        episodes: int,
        seed: int = 0,
        progress: bool = True,
        on_ended: Callable[[Episodes], None] | None = None,
    ) -> Episodes:
        """Run the adaptation episodes of one step of `adapt` on a robot; return them, (1, E, T).

        ``policy.adapt_from(policy.explore(...))`` is ``policy.adapt(...)``, with the same arguments
        and errors: between them one can look at the episodes.  With ``on_ended=kept.append`` those
        that have ended are kept if the robot fails: adapt from ``mr.Episodes.join(kept)``.
        """
        self._require_adapting(episodes, seed)
        with closing(EpisodeDisplay(episodes, shown=progress)) as display:
            return self._collect(robot, int(episodes), int(seed), display.add, on_ended)

    def adapt_from(self, episodes: Episodes) -> AdaptablePolicy:
        """Learn from adaptation episodes that were recorded elsewhere.

        Example::

            log = mr.Episodes.from_log(observations, actions, rewards)
            adapted = policy.adapt_from(log)

        Args:
            episodes: Episodes (1, E, T) on one task, of this policy while it explored; gradients
                are biased if another policy acted.

        Returns:
            The adapted policy; this one stays as it is.

        Raises:
            ValueError: The episodes do not fit the family or are of several tasks, the algorithm
                does not adapt, or it needs log-probabilities that the log lacks.
            TypeError: They are no `Episodes`.
        """
        if not isinstance(episodes, Episodes):
            kind = type(episodes).__name__
            raise TypeError(f"a policy adapts from Episodes, as of Episodes.from_log, got a {kind}")
        self._require_adapting(episodes.num_episodes, seed=0)
        block = fit_episodes(episodes, self.interface, self.algorithm)
        adapted = adapt_once(self.algorithm, self.task_params, block).params
        bare = {name: leaf[0].clone() for name, leaf in adapted.items()}
        if not all(bool(leaf.isfinite().all()) for leaf in bare.values()):
            raise ValueError("adapting gave numbers that are not finite: check the rewards' size")
        return replace(
            self,
            params=bare,
            adaptation_steps=self.adaptation_steps + 1,
            num_episodes=self.num_episodes + episodes.num_episodes,
        )

    def session(self, *, episodes: int, seed: int = 0) -> AdaptationSession:
        """Begin to adapt within a loop of the caller's own; see `AdaptationSession`.

        Args:
            episodes: E, adaptation episodes before each adaptation step.
            seed: Seed of the action noise.

        Raises:
            ValueError: A number is out of bounds, or the algorithm does not adapt.
        """
        self._require_adapting(episodes, seed)
        return AdaptationSession(self, int(episodes), int(seed))

    def save(self, path: str | Path) -> None:
        """Keep the policy in a sealed file, from which `metarobot.load` brings it back.

        Args:
            path: File to write, ending in .safetensors.

        Raises:
            ValueError: It ends otherwise.
            OSError: It cannot be written.
        """
        path = Path(path)
        require_suffix(path)
        interface = self.interface
        facts = {
            "kind": _KIND,
            "config": self.config.to_dict(),
            "observation_low": list(interface.observation_low),
            "observation_high": list(interface.observation_high),
            "action_size": interface.action_size,
            "horizon": interface.horizon,
            "adaptation_steps": self.adaptation_steps,
            "num_episodes": self.num_episodes,
        }
        save_tensors(path, self.params, facts)

    def _collect(
        self,
        robot: Robot,
        num_episodes: int,
        seed: int,
        on_returns: Callable[[np.ndarray], None],
        on_ended: Callable[[Episodes], None] | None = None,
    ) -> Episodes:
        """Collect the next block of adaptation episodes, (1, E, T)."""
        env = rollout_env(
            robot,
            self.interface,
            one_after_the_other=self.algorithm.in_sequence and num_episodes > 1,
            seed=seed + self.adaptation_steps,
            needs_rewards=self.algorithm.needs_rewards,
            on_episodes=on_returns,
        )
        draws = draw_exploration(self, num_episodes, seed, env.start_size)
        explorer, (start, noise) = self.algorithm.exploring_policy, draws
        return collect(env, explorer, self.task_params, noise=noise, start=start, on_ended=on_ended)

    def _require_adapting(self, episodes: int, seed: int) -> None:
        require_count("episodes", episodes, MOST_EPISODES)
        if not is_integer(seed, 0, MOST_SEED - MOST_ADAPTATION_STEPS):
            raise ValueError(f"seed must be an integer of 0 or more, got {show(seed)}")
        if not self.algorithm.adapts:
            able = ", ".join(name for name, kind in ALGORITHMS.items() if kind.adapts)
            raise ValueError(f"{self.config.algorithm} does not adapt: take one of {able}")


def require_count(name: str, value: int, most: int) -> None:
    """Refuse a number that is no integer in [1, most]."""
    if not is_integer(value, 1, most):
        raise ValueError(f"{name} must be an integer in [1, {most}], got {show(value)}")


def fit_episodes(episodes: Episodes, interface: Interface, algorithm: Algorithm[Any]) -> Episodes:
    """Check episodes (1, E, .) and return them with T steps, as the family reports them.

    Raises:
        ValueError: They are of several tasks, do not fit the family, or lack what the algorithm
            reads.
    """
    name = algorithm.config.algorithm
    if episodes.num_tasks != 1:
        raise ValueError(f"episodes must be of one task, got {episodes.num_tasks}")
    horizon, action_size = episodes.horizon, episodes.actions.shape[-1]
    if horizon > interface.horizon:
        raise ValueError(f"episodes have at most {interface.horizon} control steps, got {horizon}")
    if action_size != interface.action_size:
        raise ValueError(f"actions must have {interface.action_size} elements, got {action_size}")
    missing = (episodes.rewards.isnan() & (episodes.mask > 0)).nonzero()
    if algorithm.needs_rewards and len(missing):
        _, episode, step = missing[0].tolist()
        raise ValueError(
            f"{name} needs the rewards of the logged episodes, but that of step {step} in episode "
            f"{episode} is missing: pass it, or adapt a policy of latent, which can do without"
        )
    if algorithm.needs_log_probs and bool(episodes.log_probs.isnan().any()):
        raise ValueError(
            f"{name} needs the log-probabilities of the logged actions: pass log_probs, or "
            "train it with --inner-objective lvc"
        )
    seen = interface.observe(episodes.observations.numpy(), "observations")
    final = episodes.final_observations
    known = interface.observe(final.nan_to_num().numpy(), "observations")
    return replace(
        episodes,
        observations=torch.from_numpy(seen),
        final_observations=torch.where(final.isnan(), final, torch.from_numpy(known)),
    ).pad(interface.horizon)


class EpisodeDisplay:
    """Writes how many episodes have ended, and the last return.

    Args:
        total: Episodes to come.
        shown: Whether to write anything.
    """

    def __init__(self, total: int, *, shown: bool) -> None:
        self._total, self._shown = total, shown
        self._done, self._told_s = 0, float("-inf")

    def close(self) -> None:
        """End the line that is written over."""
        if self._shown and self._done and sys.stderr is not None and sys.stderr.isatty():
            print(file=sys.stderr)

    def add(self, returns: np.ndarray) -> None:
        """Count episodes that have ended, by their returns."""
        self._done += len(returns)
        now, last = time.monotonic(), self._done == self._total
        if not self._shown or sys.stderr is None:
            return
        if not last and now - self._told_s < PLAIN_INTERVAL_S:
            return
        self._told_s = now
        earned = "" if np.isnan(returns[-1]) else f", return {returns[-1]:.2f}"
        line = f"adapting: episode {self._done} of {self._total}{earned}"
        live = sys.stderr.isatty()
        print(f"\r{line}" if live else line, end="" if live else "\n", file=sys.stderr, flush=True)


def draw_exploration(
    policy: AdaptablePolicy, episodes: int, seed: int, start_size: int = 0
) -> EpisodeDraws:
    """Draw the starts and action noise of the policy's next block of adaptation episodes."""
    interface = policy.interface
    return draw_episodes(
        seed,
        0,
        Phase.ADAPTATION,
        tasks=[0],
        episode_shape=(episodes, interface.horizon, start_size, interface.action_size),
        adaptation_step=policy.adaptation_steps,
    )


class SessionError(RuntimeError):
    """A session was used in another order than begin, act, record, act, record, .., adapt."""


class AdaptationSession:
    """Records adaptation episodes that somebody else's loop runs, and learns from them.

    Example::

        session = policy.session(episodes=5)
        while not session.complete:
            observation = robot.home()
            session.begin()
            while session.running:
                observation, reward, done = robot.move(session.act(observation))
                session.record(reward, terminated=done, final_observation=observation)
        adapted = session.adapt()

    The adapted parameters are, bit for bit, those that ``policy.adapt`` finds in the same episodes.
    After `adapt` the session goes on with the adapted policy and another block of episodes.

    Args:
        policy: Who explores, and adapts.
        episodes: E, adaptation episodes before each adaptation step.
        seed: Seed of the action noise.
    """

    def __init__(self, policy: AdaptablePolicy, episodes: int, seed: int = 0) -> None:
        self._num_episodes, self._seed = episodes, seed
        self._adapted: AdaptablePolicy | None = None
        self._take(policy)

    @property
    def num_recorded(self) -> int:
        """Episodes that have ended since the last adaptation step."""
        return len(self._episodes)

    @property
    def complete(self) -> bool:
        """Whether there are as many as an adaptation step takes."""
        return self.num_recorded == self._num_episodes

    @property
    def running(self) -> bool:
        """Whether an episode has begun and not ended; one ends by its horizon at the latest."""
        return self._steps is not None

    @property
    def recorded(self) -> Episodes:
        """The episodes that have ended since the last adaptation step, (1, E, T).

        Raises:
            SessionError: There is none.
        """
        if not self._episodes:
            raise SessionError("no episode has ended yet: call begin, act and record")
        return Episodes.join(self._episodes)

    @property
    def adapted(self) -> AdaptablePolicy:
        """The policy as the last adaptation step has left it.

        Raises:
            SessionError: There was none.
        """
        if self._adapted is None:
            raise SessionError("nothing has been adapted yet: call adapt after the last episode")
        return self._adapted

    def begin(self) -> None:
        """Begin an episode: the robot stands at its start.

        Raises:
            SessionError: One is running, or there are enough.
        """
        if self.running:
            raise SessionError("an episode is running: record its end, or discard it, before begin")
        if self.complete:
            raise SessionError(f"all {self._num_episodes} episodes are recorded: call adapt")
        self._steps = _Steps()
        self._state.begin()

    @torch.no_grad()
    def act(self, observation: np.ndarray) -> np.ndarray:
        """Return a command, with the action noise of exploration.

        Args:
            observation: What the robot shows, (O,) in the family's units.

        Returns:
            Action (A,) float32 in half action ranges, within [-1, 1].

        Raises:
            SessionError: No episode is running, or the last action has no reward yet.
            ValueError: The observation has another shape, or numbers that are not finite.
        """
        steps = self._steps
        if steps is None:
            raise SessionError("no episode is running: call begin once the robot is at its start")
        if steps.waiting:
            raise SessionError("the last action has no reward yet: call record before act")
        seen = torch.from_numpy(self._observe(observation)).reshape(1, 1, -1)
        distribution = mean, log_std = self._state.act(seen)
        noise = torch.from_numpy(self._noise[:, [self.num_recorded], len(steps.observations)])
        action = mean + log_std.exp().unsqueeze(1) * noise
        steps.add(seen, distribution, action)
        return np.clip(action[0, 0].numpy(), -1.0, 1.0)

    @torch.no_grad()
    def record(
        self,
        reward: float | None,
        terminated: bool = False,
        truncated: bool = False,
        *,
        success: bool = False,
        final_observation: np.ndarray | None = None,
    ) -> None:
        """Record what the last action brought.

        Args:
            reward: Reward of the step, in the family's unit.  None where nobody measures it, if the
                algorithm can do without.
            terminated: Whether the episode has come to its end.
            truncated: Whether it was cut short.
            success: Whether the task is solved now.
            final_observation: What the robot shows now, (O,), read where the episode ends.  None
                where nobody knows: then what came of the last action is unknown.

        Raises:
            SessionError: There was no action.
            ValueError: The reward is no finite number, or needed and None or NaN; a flag is
                neither true nor false; or the observation has another shape, or numbers that are
                not finite.  Nothing is recorded then.
        """
        steps = self._steps
        if steps is None or not steps.waiting:
            raise SessionError("there is no action to record a reward of: call act before record")
        may_be_missing = not self._policy.algorithm.needs_rewards
        known = float(read_reward(reward, may_be_missing=may_be_missing))
        ended = read_flags("terminated", terminated) | read_flags("truncated", truncated)
        solved = bool(read_flags("success", success))
        final = self._read_final(final_observation)
        steps.rewards.append(known)
        earned = torch.full((1, 1), known, dtype=torch.float32)
        self._state.observe(steps.actions[-1], earned, torch.ones(1, 1, dtype=torch.bool))
        horizon = self._policy.interface.horizon
        if ended or len(steps.rewards) == horizon:
            self._episodes.append(steps.to_episodes(horizon, final, solved))
            self._steps = None
            if len(steps.rewards) < horizon:  # else it knows that the episode has ended
                self._state.act(final)
                nothing = torch.zeros(1, 1)
                self._state.observe(torch.zeros_like(steps.actions[-1]), nothing, nothing > 0)

    def _read_final(self, observation: np.ndarray | None) -> Tensor:
        """Return the observation after the last step, (1, 1, O); NaN if unknown."""
        interface = self._policy.interface
        if observation is None:
            return torch.full(
                (1, 1, len(interface.observation_low)), torch.nan, dtype=torch.float32
            )
        return torch.from_numpy(self._observe(observation)).reshape(1, 1, -1)

    def _observe(self, observation: np.ndarray) -> np.ndarray:
        """Return an observation of one robot, (O,), as the family reports it."""
        shown = self._policy.interface.observe(observation)
        if shown.ndim != 1:
            raise ValueError(f"observation must be of one robot, (O,), got shape {shown.shape}")
        return shown

    @torch.no_grad()
    def discard(self) -> None:
        """Discard the episode that is running, as after an emergency stop: begin it anew.

        Raises:
            SessionError: None is running.
        """
        if not self.running:
            raise SessionError("no episode is running: there is none to discard")
        self._steps = None
        self._state = self._new_state()
        for episode in self._episodes:  # which the policy remembers
            replay(self._state, episode)

    def adapt(self) -> AdaptablePolicy:
        """Take an adaptation step from the episodes, and return the adapted policy.

        Raises:
            SessionError: There are too few episodes, or one is still running.
        """
        if not self.complete:
            state = "one is still running" if self.running else "call begin for the next one"
            raise SessionError(
                f"{self.num_recorded} of {self._num_episodes} episodes are recorded: {state}"
            )
        self._adapted = self._policy.adapt_from(self.recorded)
        self._take(self._adapted)
        return self._adapted

    def _take(self, policy: AdaptablePolicy) -> None:
        """Go on with a policy, before its first episode."""
        self._policy = policy
        self._state = self._new_state()
        self._noise = draw_exploration(policy, self._num_episodes, self._seed).noise
        self._episodes: list[Episodes] = []
        self._steps: _Steps | None = None

    def _new_state(self) -> PolicyState:
        policy = self._policy
        return policy.algorithm.exploring_policy.start(policy.task_params)


class _Steps:
    """The steps of an episode so far."""

    def __init__(self) -> None:
        self.observations: list[Tensor] = []
        self.distributions: list[Distribution] = []
        self.actions: list[Tensor] = []
        self.rewards: list[float] = []

    @property
    def waiting(self) -> bool:
        """Whether the last action has no reward yet."""
        return len(self.actions) > len(self.rewards)

    def add(self, seen: Tensor, distribution: Distribution, action: Tensor) -> None:
        """Add what was seen, (1, 1, O), and done, (1, 1, A)."""
        self.observations.append(seen)
        self.distributions.append(distribution)
        self.actions.append(action)

    def to_episodes(self, horizon: int, final: Tensor, success: bool) -> Episodes:
        """Return the episode as a block (1, 1, T): what it lacks does not count."""
        missing = horizon - len(self.rewards)
        mask = [1.0] * len(self.rewards) + [0.0] * missing
        means, log_std = [mean for mean, _ in self.distributions], self.distributions[-1].log_std
        taken = _stack(self.actions, missing)
        return Episodes(
            observations=_stack(self.observations, missing),
            final_observations=final,
            actions=taken,
            log_probs=log_prob(_stack(means, missing), log_std[:, None, None], taken),
            rewards=torch.tensor([[self.rewards + [0.0] * missing]], dtype=torch.float32),
            mask=torch.tensor([[mask]], dtype=torch.float32),
            success=torch.tensor([[success]]),
            unstable=torch.tensor([[False]]),
            start=torch.zeros(1, 1, 0),
        )


def _stack(steps: list[Tensor], missing: int) -> Tensor:
    """Join steps (1, 1, X) and 0 for those that are missing: (1, 1, T, X)."""
    return torch.stack([*steps, *[torch.zeros_like(steps[0])] * missing], dim=2)


def require_suffix(path: Path) -> None:
    """Refuse a file of another kind.

    Raises:
        ValueError: Its name does not end in .safetensors.
    """
    if path.suffix != SUFFIX:
        raise ValueError(f"a policy's file must end in {SUFFIX}, got {path}")


class _Facts(msgspec.Struct):
    """Contents of a policy's file besides its parameters."""

    config: dict[str, Any]
    observation_low: _Bounds
    observation_high: _Bounds
    action_size: _Size
    horizon: Annotated[int, msgspec.Meta(ge=1, le=MOST_HORIZON)]
    adaptation_steps: Annotated[int, msgspec.Meta(ge=0, le=10**6)]
    num_episodes: Count


def load_policy_file(path: Path) -> AdaptablePolicy:
    """Read a policy that `AdaptablePolicy.save` has written.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It is damaged, holds something else, or numbers that do not fit together, or
            its family is to be imported first.
    """
    data = read_file(path, most_bytes())
    _, facts = open_tensors(path, data)
    if facts.get("kind") != _KIND:
        raise ValueError(f"{path} holds no policy that was saved: load the run's folder instead")
    found = typed(facts, _Facts, path)
    env_id = found.config.get("env_id")
    if isinstance(env_id, str) and env_id not in FAMILIES:
        raise ValueError(
            f"{path} is of {show(env_id)}, a task family that is not registered: name its module "
            "with --module (in Python: import it)"
        )
    interface = Interface(
        found.observation_low, found.observation_high, found.action_size, found.horizon
    )
    try:
        config = config_from_dict(found.config)
        policy = AdaptablePolicy(config, {}, interface, found.adaptation_steps, found.num_episodes)
        shapes = policy.policy.shapes
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} does not fit: {' '.join(str(error).split())}") from error
    params, _ = parse_tensors(path, data, shapes)
    return replace(policy, params=params)
