"""A policy that acts on a robot and adapts to it: from episodes on it, a log, or in a session.

Its file is sealed, and holds the parameters and all that is needed to act and to adapt on. Nothing
in it is unpickled or executed; everything is checked before it is used.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from metarobot.adaptation.comparison import Comparison
from metarobot.adaptation.episodes import Episodes
from metarobot.adaptation.logs import Elements, MappingLike
from metarobot.adaptation.report import Report
from metarobot.adaptation.robot import Interface, Robot, read_flags, read_reward, rollout_env
from metarobot.algorithms import ALGORITHMS, algorithm_class, config_from_dict, make_algorithm
from metarobot.algorithms.base import Algorithm, adapt_once
from metarobot.config import MOST_ADAPTATION_STEPS, MOST_EPISODES, MOST_SEED, TrainConfig
from metarobot.console import StageDisplay, html_table, in_notebook, say
from metarobot.envs import FAMILIES, TaskDistribution, find_family
from metarobot.envs.checks import MOST_HORIZON, is_integer, is_number, require_integer, show
from metarobot.io import (
    Count,
    most_bytes,
    open_tensors,
    parse_tensors,
    read_file,
    save_tensors,
    typed,
)
from metarobot.policies import (
    Distribution,
    GaussianPolicy,
    Params,
    PolicyState,
    log_prob,
    repeat_params,
)
from metarobot.rollout import episodes as rollout
from metarobot.rollout.collect import collect, replay
from metarobot.rollout.seeding import EpisodeDraws, Phase, draw_episodes, numpy_generator

SUFFIX = ".safetensors"
_KIND = "policy that adapts"
_Size = Annotated[int, msgspec.Meta(ge=1, le=4096)]
_Bound = Annotated[float, msgspec.Meta(ge=-1e30, le=1e30)]
_Bounds = Annotated[tuple[_Bound, ...], msgspec.Meta(min_length=1, max_length=4096)]
Number = int | Literal["auto"]
"""Number of adaptation episodes; "auto" for as many as are expected to pay."""
AT_MOST = 20
"""Most of them by default."""
FEWEST_PAIRS, MOST_PAIRS = 2, 10_000
"""Limits of the pairs of a comparison."""
PLAIN_INTERVAL_S = 1.0
"""Least time between two lines, in seconds; the last one always appears."""


@dataclass(frozen=True, eq=False)
class AdaptablePolicy:
    """A trained policy, or one that has been adapted; its parameters never change.

    Example::

        policy = mr.load_policy("runs/grip-seed0", "latent")
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
    returns: tuple[float, ...] = ()
    """Their returns; NaN where rewards were not measured."""
    at_bounds: tuple[float, ...] = ()
    """Share of the steps of the last block of them in which each observation element was at a bound
    of the family, (O,)."""

    def __repr__(self) -> str:
        trained = f"{self.config.algorithm} on {self.config.env_id}, seed {self.config.seed}"
        return f"AdaptablePolicy({trained}, adapted to {self.num_episodes} episodes)"

    def _repr_html_(self) -> str:
        config, interface = self.config, self.interface
        variant = f", {config.variant.name}" if config.variant else ""
        rows = [
            ("family", f"{config.env_id}{variant}"),
            ("training seed", str(config.seed)),
            ("adaptation episodes so far", str(self.num_episodes)),
            ("observation elements", str(len(interface.observation_low))),
            ("action elements", str(interface.action_size)),
            ("control steps of an episode", str(interface.horizon)),
        ]
        return html_table(f"Policy of {config.algorithm}", (), rows)

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

    @cached_property
    def elements(self) -> Elements:
        """Names of the elements that it observes and commands, and its control step.

        Raises:
            ValueError: The task family is not known, or has other elements than the policy.
        """
        family, interface = find_family(self.config.env_id), self.interface
        seen = [element.quantity for element in family.observation_elements]
        if algorithm_class(self.config.algorithm).observes_task:
            seen += code_names(family.distribution)
        done = family.action_elements
        if (len(seen), len(done)) != (len(interface.observation_low), interface.action_size):
            raise ValueError(f"{self.config.env_id} has other elements here than the policy's")
        return Elements(tuple(seen), done, family.control_step_s())

    # Acting.

    @cached_property
    def _acting(self) -> Acting:
        return Acting(self.interface, self.policy, self.params)

    def begin(self, reward: float | np.ndarray | None = None) -> None:
        """Begin an episode of the same robot; call `forget` before an episode of another one.

        Args:
            reward: Reward of the last step of the episode before; None if there was none, or it was
                not measured.
        """
        self._acting.begin(reward)

    def forget(self) -> None:
        """Clear the memory of acting on the robot; adapted parameters stay."""
        self._acting.forget()

    def act(
        self, observation: np.ndarray, *, reward: float | np.ndarray | None = None
    ) -> np.ndarray:
        """Return a command, without action noise.

        A recurrent policy remembers the calls before: act on the steps of one robot, or of the same
        M robots, in their order, with the rewards, and call `begin` before each episode.  With
        another number of robots, these are others: the episode begins without memory.

        Args:
            observation: Observation of one robot, (O,) in the family's units, or of M ≥ 1 robots,
                (M, O).  Elements beyond the family's bounds are clipped, as the family does.
            reward: Reward of the step before, or (M,); only a policy that learns from episode to
                episode reads it.  None in the first step of an episode, and where it is not
                measured: RL² then goes on with the last reward that it knows.

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
        episodes: Number,
        steps: int = 1,
        at_most: int = AT_MOST,
        seed: int = 0,
        progress: bool = True,
    ) -> AdaptablePolicy:
        """Run adaptation episodes on a robot and learn from them; this policy stays as it is.

        The robot is reset and stepped by Gymnasium's rules alone, and stays open.  Actions have the
        noise of exploration and are clipped to the bounds of its action space.  The result depends
        on the seed and on the robot; call it on the result to go on with other noise.

        Args:
            robot: A ``gymnasium.Env`` or ``VectorEnv`` with the family's spaces; all robots of a
                ``VectorEnv`` hold the same task.  ``latent`` and ``rl2`` run their episodes in
                sequence on the first of them: the others are commanded 0, the middle of the
                action range.  ``is_success`` in its infos is optional.  Rewards may be NaN where
                they are not measured, if the algorithm can do without.
            episodes: E, episodes before each adaptation step.  With "auto" they end when another
                one is not expected to pay: when the policy expects less than 0.05 standard
                deviations of training's returns of being told the task, or its family does not
                explain the robot.  This needs a policy with a belief: `latent`.
            steps: Adaptation steps, with other episodes each.
            at_most: Most episodes of "auto".
            seed: Seed of the action noise, and of the robot's first reset.
            progress: Show each episode's return.

        Raises:
            ValueError: A number is out of bounds, the spaces do not fit, the robot shows numbers
                that are not finite, a batch of this package holds several tasks, or the algorithm
                does not adapt.
            TypeError: The robot is neither a ``gymnasium.Env`` nor a ``VectorEnv``.
            Exception: An error of the robot, as it is; see `explore` for the episodes before.
        """
        require_integer("steps", steps, 1, MOST_ADAPTATION_STEPS)
        number = self._require_adapting(episodes, seed, at_most)
        display = EpisodeDisplay(number * steps, shown=progress, may_end=episodes == "auto")
        with closing(display):
            policy = self
            for _ in range(steps):
                enough = policy._enough if episodes == "auto" else None
                block = policy._collect(robot, number, int(seed), display.add, enough=enough)
                policy = policy.adapt_from(block)
        return policy

    def explore(
        self,
        robot: Robot,
        *,
        episodes: Number,
        at_most: int = AT_MOST,
        seed: int = 0,
        progress: bool = True,
        exploring: bool = True,
        on_ended: Callable[[Episodes], None] | None = None,
    ) -> Episodes:
        """Run the adaptation episodes of one step of `adapt` on a robot; return them, (1, E, T).

        ``policy.adapt_from(policy.explore(...))`` is ``policy.adapt(...)``, with the same arguments
        and errors: between them one can look at the episodes.  With ``on_ended=kept.append`` those
        that have ended are kept if the robot fails: adapt from ``mr.Episodes.join(kept)``.  With
        ``exploring=False`` the episodes are demonstrations: the policy acts as `act` does.
        """
        number = self._require_adapting(episodes, seed, at_most)
        enough = self._enough if episodes == "auto" else None
        display = EpisodeDisplay(number, shown=progress, may_end=episodes == "auto")
        with closing(display):
            return self._collect(
                robot, number, int(seed), display.add, on_ended, enough=enough, exploring=exploring
            )

    def adapt_from(self, episodes: rollout.Episodes) -> AdaptablePolicy:
        """Learn from adaptation episodes that were recorded elsewhere; this policy stays as it is.

        Example::

            log = mr.Episodes.from_log(observations, actions, rewards)
            adapted = policy.adapt_from(log)

        Args:
            episodes: Episodes (1, E, T) on one task, of this policy while it explored; gradients
                are biased if another policy acted.

        Raises:
            ValueError: The episodes do not fit the family or are of several tasks, the algorithm
                does not adapt, or it needs log-probabilities that the log lacks.
            TypeError: They are no `Episodes`.
        """
        if not isinstance(episodes, rollout.Episodes):
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
            returns=(*self.returns, *block.returns[0].tolist()),
            at_bounds=self.interface.shares_at_bounds(block),
        )

    def report(self) -> Report:
        """Report what it believes about the robot that it was adapted to, and how it acts on that.

        Example::

            print(policy.adapt(robot, episodes=5).report())
        """
        return Report.of(self.algorithm, self.task_params, self.returns, self.at_bounds)

    def compare(
        self,
        robot: Robot,
        adapted: AdaptablePolicy,
        *,
        most_pairs: int = 20,
        alpha: float = 0.05,
        seed: int = 0,
        progress: bool = True,
    ) -> Comparison:
        """Run pairs of episodes on a robot, without and with adaptation, until one can be told.

        Example::

            adapted = policy.adapt(robot, episodes=5)
            print(policy.compare(robot, adapted))

        Both policies act without action noise, each without a memory of earlier episodes.  A coin
        decides which one comes first, so that a drift of the robot favours none.  The robot is
        reset with the same seed in both, so that a simulation starts alike.

        Args:
            robot: As of `adapt`; of several robots the first one acts.
            adapted: A policy of the same family, such as this one adapted.
            most_pairs: Pairs at most: with 20, a mean difference of one standard deviation is told
                in 9 of 10 cases; one of half of it takes 60.
            alpha: Probability of "helped" or "harmed" where adapting makes no difference, at most.
            seed: Seed of the coin and of the robot's resets.
            progress: Show each pair's difference.

        Raises:
            ValueError: A number is out of bounds, the policies do not go together, or a reward is
                not measured.
            Exception: An error of the robot, as it is.
        """
        require_integer("most_pairs", most_pairs, FEWEST_PAIRS, MOST_PAIRS)
        _require_seed(seed)
        if not is_number(alpha, 1e-6, 0.5):
            raise ValueError(f"alpha must be a number in [1e-6, 0.5], got {show(alpha)}")
        if not isinstance(adapted, AdaptablePolicy) or (
            (adapted.config.env_id, adapted.interface) != (self.config.env_id, self.interface)
        ):
            raise ValueError(
                f"compare needs two policies of {self.config.env_id}, got {show(adapted)}"
            )
        both = self, adapted
        comparison = Comparison(most_pairs=int(most_pairs), alpha=float(alpha))
        with closing(EpisodeDisplay(most_pairs, shown=progress, may_end=True)) as display:
            for pair in range(most_pairs):
                first = int(numpy_generator(int(seed), pair, Phase.COMPARISON).integers(2))
                returns = {
                    which: both[which]._run_alone(robot, int(seed), pair)
                    for which in (first, 1 - first)
                }
                comparison = comparison.with_pair(returns[0], returns[1])
                display.show("comparing: pair", 1, f"gain {comparison.differences[-1]:.2f}")
                if comparison.verdict != "not yet to be told":
                    break
        return comparison

    def _run_alone(self, robot: Robot, seed: int, pair: int) -> float:
        """Return the return of one episode without action noise and without a memory."""
        generator = numpy_generator(seed, pair, Phase.COMPARISON, task=1)
        reset_seed = int(generator.integers(2**31))
        env = rollout_env(robot, self.interface, one_after_the_other=False, seed=reset_seed)
        start = generator.random((1, 1, env.start_size), dtype=np.float32)
        return float(collect(env, self.policy, self.task_params, noise=None, start=start).returns)

    def _enough(self, ended: Episodes) -> bool:
        """Whether no more episodes than these are expected to pay."""
        return not self.adapt_from(ended).report().more_pays

    def read_log(self, path: str | Path, mapping: MappingLike = None) -> Episodes:
        """Read a log of this policy's elements, as `Episodes.from_file`.

        Example::

            adapted = policy.adapt_from(policy.read_log("log.mcap", "mapping.toml"))
        """
        return Episodes.from_file(path, mapping, elements=self.elements)

    def session(
        self, *, episodes: Number, at_most: int = AT_MOST, seed: int = 0
    ) -> AdaptationSession:
        """Begin to adapt within a loop of the caller's own; see `AdaptationSession`.

        Arguments are those of `adapt`.
        """
        number = self._require_adapting(episodes, seed, at_most)
        return AdaptationSession(self, number, int(seed), may_end=episodes == "auto")

    def save(self, path: str | Path) -> None:
        """Keep the policy in a sealed .safetensors file, which `metarobot.load_policy` reads."""
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
            "returns": [None if np.isnan(value) else value for value in self.returns],
            "at_bounds": list(self.at_bounds),
        }
        save_tensors(path, self.params, facts)

    def _collect(
        self,
        robot: Robot,
        num_episodes: int,
        seed: int,
        on_returns: Callable[[np.ndarray], None],
        on_ended: Callable[[Episodes], None] | None = None,
        *,
        enough: Callable[[Episodes], bool] | None = None,
        exploring: bool = True,
    ) -> Episodes:
        """Collect the next block of adaptation episodes, (1, E, T); fewer once they are enough."""
        env = rollout_env(
            robot,
            self.interface,
            one_after_the_other=self.algorithm.in_sequence and num_episodes > 1,
            seed=seed + self.adaptation_steps,
            needs_rewards=self.algorithm.needs_rewards,
        )
        draws = draw_exploration(self, num_episodes, seed, env.start_size)
        explorer, (start, noise) = self.algorithm.exploring_policy, draws
        if not exploring:
            explorer, noise = self.policy, None
        ended = list[Episodes]()

        def end(some: rollout.Episodes) -> bool:
            block = Episodes.join([some])
            ended.append(block)
            on_returns(block.returns[0].numpy())
            if on_ended:
                on_ended(block)
            return enough is not None and enough(Episodes.join(ended))

        block = collect(env, explorer, self.task_params, noise=noise, start=start, on_ended=end)
        return Episodes.join([block])

    def _require_adapting(self, episodes: Number, seed: int, at_most: int = AT_MOST) -> int:
        """Check arguments of `adapt`, and return the most episodes of a block."""
        name = self.config.algorithm
        if episodes == "auto":
            require_integer("at_most", at_most, 1, MOST_EPISODES)
            if self.algorithm.adapts and self.algorithm.belief(self.task_params) is None:
                raise ValueError(
                    f"{name} has no belief that tells when to stop: name episodes, an integer in "
                    f"[1, {MOST_EPISODES}], or adapt a policy of latent"
                )
        else:
            require_integer("episodes", episodes, 1, MOST_EPISODES)
        _require_seed(seed)
        if not self.algorithm.adapts:
            able = ", ".join(name for name, kind in ALGORITHMS.items() if kind.adapts)
            raise ValueError(f"{name} does not adapt: take one of {able}")
        return int(at_most if episodes == "auto" else episodes)


def _require_seed(seed: int) -> None:
    if not is_integer(seed, 0, MOST_SEED - MOST_ADAPTATION_STEPS):
        raise ValueError(f"seed must be an integer of 0 or more, got {show(seed)}")


def fit_episodes(
    episodes: rollout.Episodes, interface: Interface, algorithm: Algorithm[Any]
) -> rollout.Episodes:
    """Check episodes (1, E, .) and return them with T steps, as the family reports them."""
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


def code_names(distribution: TaskDistribution) -> Iterator[str]:
    """Name the elements of an encoded task, as the oracle observes it."""
    for parameter in distribution.parameters:
        if parameter.circular:
            yield from (f"cosine of {parameter.name}", f"sine of {parameter.name}")
        else:
            yield f"{parameter.name}, its training range as -1 to 1"


class EpisodeDisplay:
    """Writes how many of a total of episodes have ended, and the last return.

    Args:
        total: Number of episodes.
        shown: Whether to write anything.
        may_end: Whether there may be fewer.
    """

    def __init__(self, total: int, *, shown: bool, may_end: bool = False) -> None:
        self._total, self._shown = total, shown and sys.stderr is not None
        self._of = "of at most" if may_end else "of"
        self._done, self._written_s = 0, float("-inf")
        self._line = self._written = ""
        self._bar = StageDisplay().__enter__() if shown and in_notebook() else None

    def close(self) -> None:
        """Write the last line, if it is not there yet, and end the one that is written over."""
        if self._bar is not None:
            self._bar.__exit__()
        elif self._shown and self._done:
            if self._written != self._line:
                self._write()
            if sys.stderr.isatty():
                print(file=sys.stderr)

    def add(self, returns: np.ndarray) -> None:
        """Count episodes that have ended, by their returns."""
        earned = "" if np.isnan(returns[-1]) else f"return {returns[-1]:.2f}"
        self.show("adapting: episode", len(returns), earned)

    def show(self, stage: str, number: int, note: str) -> None:
        """Count a number of episodes, or of pairs, with a note on the last one."""
        self._done += number
        self._line = f"{stage} {self._done} {self._of} {self._total}{note and f', {note}'}"
        if self._bar is not None:
            self._bar(self._line, self._done / self._total)
            return
        now, last = time.monotonic(), self._done == self._total
        if self._shown and (last or now - self._written_s >= PLAIN_INTERVAL_S):
            self._written_s = now
            self._write()

    def _write(self) -> None:
        self._written = self._line
        live = sys.stderr.isatty()
        line = f"\r{self._line}" if live else self._line
        print(line, end="" if live else "\n", file=sys.stderr, flush=True)


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
    """Records adaptation episodes that a loop of the user's runs, and learns from them.

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
    After `adapt` the session goes on with the adapted policy and another block of episodes.  A call
    in another order is a `SessionError`.

    Args:
        policy: It explores, and adapts.
        episodes: E, adaptation episodes before each adaptation step.
        seed: Seed of the action noise.
        may_end: Whether they end once another one is not expected to pay.
    """

    def __init__(
        self, policy: AdaptablePolicy, episodes: int, seed: int = 0, *, may_end: bool = False
    ) -> None:
        self._num_episodes, self._seed, self._may_end = episodes, seed, may_end
        self._adapted: AdaptablePolicy | None = None
        self._take(policy)

    @property
    def num_recorded(self) -> int:
        """Episodes that have ended since the last adaptation step."""
        return len(self._episodes)

    @property
    def complete(self) -> bool:
        """Whether all episodes of the adaptation step are recorded."""
        return self._is_enough or self.num_recorded == self._num_episodes

    @property
    def running(self) -> bool:
        """Whether an episode has begun and not ended; it ends at the horizon at the latest."""
        return self._running

    @property
    def _waiting(self) -> bool:
        """Whether the last action has no reward yet."""
        return len(self._steps) > len(self._rewards)

    @property
    def recorded(self) -> Episodes:
        """The episodes that have ended since the last adaptation step, (1, E, T)."""
        if not self._episodes:
            raise SessionError("no episode has ended yet: call begin, act and record")
        return Episodes.join(self._episodes)

    @property
    def adapted(self) -> AdaptablePolicy:
        """The policy as the last adaptation step has left it."""
        if self._adapted is None:
            raise SessionError("nothing has been adapted yet: call adapt after the last episode")
        return self._adapted

    def begin(self) -> None:
        """Begin an episode: the robot stands at its start."""
        if self.running:
            raise SessionError("an episode is running: record its end, or discard it, before begin")
        if self.complete:
            raise SessionError(f"all {self.num_recorded} episodes are recorded: call adapt")
        self._steps, self._rewards, self._running = [], [], True
        self._state.begin()

    @torch.no_grad()
    def act(self, observation: np.ndarray) -> np.ndarray:
        """Return a command, with the action noise of exploration.

        Args:
            observation: Observation of the robot, (O,) in the family's units.

        Returns:
            Action (A,) float32 in half action ranges, within [-1, 1].
        """
        if not self.running:
            raise SessionError("no episode is running: call begin once the robot is at its start")
        if self._waiting:
            raise SessionError("the last action has no reward yet: call record before act")
        seen = torch.from_numpy(self._observe(observation)).reshape(1, 1, -1)
        distribution = mean, log_std = self._state.act(seen)
        noise = torch.from_numpy(self._noise[:, [self.num_recorded], len(self._rewards)])
        action = mean + log_std.exp().unsqueeze(1) * noise
        self._steps.append((seen, distribution, action))
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
        """Record the outcome of the last action.

        Args:
            reward: Reward of the step, in the family's unit.  None where it is not measured, if the
                algorithm can do without.
            terminated: Whether the episode has come to its end.
            truncated: Whether it was cut short.
            success: Whether the task is solved now.
            final_observation: Of the robot now, (O,), read where the episode ends; None if unknown.

        Raises:
            SessionError: There was no action.
            ValueError: The reward is no finite number, or needed and None or NaN; a flag is
                neither true nor false; or the observation has another shape, or numbers that are
                not finite.  Nothing is recorded then.
        """
        if not self._waiting:
            raise SessionError("there is no action to record a reward of: call act before record")
        may_be_missing = not self._policy.algorithm.needs_rewards
        known = float(read_reward(reward, may_be_missing=may_be_missing))
        ended = read_flags("terminated", terminated) | read_flags("truncated", truncated)
        solved = bool(read_flags("success", success))
        final = None if final_observation is None else self._observe(final_observation)
        self._rewards.append(known)
        action, horizon = self._steps[-1][2], self._policy.interface.horizon
        earned = torch.full((1, 1), known, dtype=torch.float32)
        self._state.observe(action, earned, torch.ones(1, 1, dtype=torch.bool))
        if ended or len(self._rewards) == horizon:
            self._episodes.append(self._to_episodes(final, solved))
            self._running = False
            if len(self._rewards) < horizon:  # else the horizon has ended the episode
                lost = np.full(len(self._policy.interface.observation_low), np.nan, np.float32)
                last = torch.from_numpy(lost if final is None else final)
                self._state.act(last.reshape(1, 1, -1))
                nothing = torch.zeros(1, 1)
                self._state.observe(torch.zeros_like(action), nothing, nothing > 0)
            self._is_enough = self._may_end and self._policy._enough(self.recorded)

    def _to_episodes(self, final: np.ndarray | None, success: bool) -> Episodes:
        """Return the episode that has ended, (1, 1, T)."""
        seen, distributions, actions = zip(*self._steps, strict=True)
        means = torch.stack([each.mean for each in distributions], dim=2)
        taken = torch.stack(actions, dim=2)
        log_probs = log_prob(means, distributions[-1].log_std[:, None, None], taken)
        shown = torch.cat(seen, dim=1)[0].numpy()
        episode = Episodes.from_log(
            [shown if final is None else np.concatenate([shown, final[None]])],
            [taken[0, 0].numpy()],
            [self._rewards],
            log_probs=[log_probs[0, 0].numpy()],
            success=[success],
        )
        return episode.pad(self._policy.interface.horizon)

    def _observe(self, observation: np.ndarray) -> np.ndarray:
        """Return an observation of one robot, (O,), as the family reports it."""
        shown = self._policy.interface.observe(observation)
        if shown.ndim != 1:
            raise ValueError(f"observation must be of one robot, (O,), got shape {shown.shape}")
        return shown

    @torch.no_grad()
    def discard(self) -> None:
        """Discard the episode that is running, as after an emergency stop: begin it anew."""
        if not self.running:
            raise SessionError("no episode is running: there is none to discard")
        self._steps, self._rewards, self._running = [], [], False
        self._state = self._new_state()
        for episode in self._episodes:  # rebuilds the memory of the policy
            replay(self._state, episode)

    def adapt(self) -> AdaptablePolicy:
        """Take an adaptation step from the episodes, and return the adapted policy.

        It writes `AdaptablePolicy.report` in one line on standard error.
        """
        if not self.complete:
            state = "one is still running" if self.running else "call begin for the next one"
            raise SessionError(
                f"{self.num_recorded} of {self._num_episodes} episodes are recorded: {state}"
            )
        self._adapted = self._policy.adapt_from(self.recorded)
        say(self._adapted.report().line)
        self._take(self._adapted)
        return self._adapted

    def _take(self, policy: AdaptablePolicy) -> None:
        """Go on with a policy, before its first episode."""
        self._policy = policy
        self._state = self._new_state()
        self._noise = draw_exploration(policy, self._num_episodes, self._seed).noise
        self._episodes: list[Episodes] = []
        self._steps: list[tuple[Tensor, Distribution, Tensor]] = []  # o, π(o), a
        self._rewards: list[float] = []
        self._running = self._is_enough = False

    def _new_state(self) -> PolicyState:
        policy = self._policy
        return policy.algorithm.exploring_policy.start(policy.task_params)


def require_suffix(path: Path) -> None:
    """Refuse a file name that does not end in .safetensors."""
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
    returns: tuple[float | None, ...] = ()
    at_bounds: tuple[float, ...] = ()


def load_policy_file(path: Path) -> AdaptablePolicy:
    """Read a policy that `AdaptablePolicy.save` has written.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It is damaged or no policy, or its family is to be imported first.
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
        missing = [None] * (found.num_episodes - len(found.returns))  # in a file of before
        returns = [np.nan if each is None else each for each in (*missing, *found.returns)]
        policy = AdaptablePolicy(
            config,
            {},
            interface,
            found.adaptation_steps,
            found.num_episodes,
            tuple(returns),
            found.at_bounds,
        )
        shapes = policy.policy.shapes
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} does not fit: {' '.join(str(error).split())}") from error
    params, _ = parse_tensors(path, data, shapes)
    return replace(policy, params=params)


class ControlStep(nn.Module):
    """A control step of M robots, in double precision: it acts here, and is exported.

    The memory goes in and comes out; every leaf of it is (M, X), and 0 before the first step of a
    robot, also if the policy's own memory starts at other values.  In single precision the sums of
    `latent` over many steps would lose the contribution of the next one.
    """

    def __init__(self, interface: Interface, policy: GaussianPolicy, params: Params) -> None:
        super().__init__()
        self._low = torch.tensor(interface.observation_low, dtype=torch.float64)
        self._high = torch.tensor(interface.observation_high, dtype=torch.float64)
        own = {name: leaf.detach().double() for name, leaf in params.items()}
        self._state = copy.deepcopy(policy).double().start(repeat_params(own, 1))
        first = {name: leaf[0] for name, leaf in self._state.memory.items()}
        self._first = {name: leaf for name, leaf in first.items() if leaf.any()}
        sizes = {name: leaf.shape[-1] for name, leaf in first.items()}
        self.sizes = {"started": 1, "command": interface.action_size, **sizes} if sizes else {}
        """Elements of each leaf of the memory; empty for a policy without memory."""

    def blank(self, num_robots: int) -> dict[str, Tensor]:
        """Return the memory before the first step of all."""
        sizes = self.sizes.items()
        return {n: torch.zeros(num_robots, size, dtype=torch.float64) for n, size in sizes}

    def forward(
        self, observation: Tensor, reward: Tensor, begins: Tensor, memory: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Take a step.

        Args:
            observation: (M, O).
            reward: Of the step before, (M, 1); NaN where it was not measured.
            begins: 1.0 where an episode begins, (M, 1).
            memory: As `blank`, or from the step before.

        Returns:
            Actions within [-1, 1], (M, A), and the memory after the step.
        """
        state = self._state
        if memory:
            started = memory["started"] > 0.5
            for name in state.memory:
                leaf, first = memory[name], self._first.get(name)
                leaf = leaf if first is None else torch.where(started, leaf, first)
                state.memory[name] = leaf[None]
            state.observe(memory["command"][None], reward[None, :, 0], started[None, :, 0])
            state.begin(((begins > 0.5) | ~started)[None, :, 0])
        seen = observation.clamp(self._low, self._high)
        action = state.act(seen[None]).mean[0].clamp(-1.0, 1.0)
        if not memory:
            return action, {}
        after = {name: leaf[0] for name, leaf in state.memory.items()}
        return action, {"started": torch.ones_like(begins), "command": action, **after}


class Acting:
    """State of a policy that acts on one robot, or on the same M robots."""

    def __init__(self, interface: Interface, policy: GaussianPolicy, params: Params) -> None:
        self._interface = interface
        self._step = ControlStep(interface, policy, params)
        self.forget()

    def forget(self) -> None:
        """Act on other robots from now on."""
        self._memory: dict[str, Tensor] = {}
        self._robots: tuple[int, ...] | None = None  # (), or (M,), once it has acted
        self._begins, self._reward = True, np.asarray(np.nan)

    def begin(self, reward: Any = None) -> None:
        """Begin an episode; see `AdaptablePolicy.begin`."""
        if reward is not None:
            self._reward = read_reward(reward, self._robots or ())
        self._begins = True

    @torch.inference_mode()
    def act(self, observation: np.ndarray, reward: Any = None) -> np.ndarray:
        """Return a command; see `AdaptablePolicy.act`."""
        seen, size = np.asarray(observation, np.float64), len(self._interface.observation_low)
        if seen.shape[-1:] != (size,) or not np.isfinite(seen).all():
            self._interface.observe(seen)  # raises the error
        robots = seen.shape[:-1]
        if robots == (0,) or len(robots) > 1:
            raise ValueError(
                f"observation must have shape ({size},), or (M, {size}) for M robots, M at least "
                f"1, got {seen.shape}"
            )
        earned = None if reward is None else read_reward(reward, robots)
        if robots != self._robots:
            self._take(robots)
        rows = torch.from_numpy(seen.reshape(-1, size))
        before = np.broadcast_to(self._reward if earned is None else earned, robots)
        action, self._memory = self._step(
            rows,
            torch.from_numpy(before.reshape(-1, 1).copy()),
            torch.full((len(rows), 1), float(self._begins), dtype=torch.float64),
            self._memory,
        )
        self._begins, self._reward = False, np.asarray(np.nan)
        return action.numpy().reshape(*robots, -1).astype(np.float32)

    def _take(self, robots: tuple[int, ...]) -> None:
        """Start on another number of robots, with a blank memory."""
        if self._robots is not None and self._step.sizes:
            if not self._begins:
                size = len(self._interface.observation_low)
                before, now = ((*shape, size) for shape in (self._robots, robots))
                raise ValueError(
                    f"observation must have shape {before}, as in the last step, got {now}: "
                    "call begin before the first step of other robots"
                )
            self.forget()
        self._robots = robots
        self._memory = self._step.blank(robots[0] if robots else 1)
