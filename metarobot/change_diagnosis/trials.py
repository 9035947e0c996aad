"""Trials: exploratory adaptation episodes of one policy on robots with and without changes.

Every robot has every change once.  All robots with one severity of a change are one native batch.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import fields

import numpy as np
import torch

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.change_diagnosis.changes import Change
from metarobot.envs import Tasks, Variant, find_family, make_env
from metarobot.envs.tasks import Split
from metarobot.policies import repeat_params
from metarobot.rollout.collect import collect
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.hidden_rewards import RewardBlindPolicy
from metarobot.rollout.seeding import Phase, draw_episodes, numpy_generator


class Trials:
    """Simulates adaptation episodes of a policy on R robots.

    Args:
        policy: Who explores.
        num_robots: R, tasks of the family.
        split: Where the robots' task parameters come from.
        seed: Of robots, starts and noise.
        num_episodes: E, of every robot with every change.
        rewards_hidden: Whether the policy explores without rewards.

    Raises:
        ValueError: As `require_explorer`.
    """

    def __init__(
        self,
        policy: AdaptablePolicy,
        *,
        num_robots: int,
        split: Split = "train",
        seed: int = 0,
        num_episodes: int = 1,
        rewards_hidden: bool = False,
    ) -> None:
        require_explorer(policy)
        config = policy.config
        self._policy, self._seed, self._num_episodes = policy, seed, num_episodes
        explorer = policy.algorithm.exploring_policy
        self._explorer = RewardBlindPolicy(explorer) if rewards_hidden else explorer
        distribution = find_family(config.env_id).distribution
        rng = numpy_generator(seed, 0, Phase.EVALUATION_TASKS)
        self._robots = distribution.sample(rng, num_robots, split)

    def run(self, changes: tuple[Change, ...]) -> Episodes:
        """Return the episodes of R robots with C changes, (R C, E, T): robot by robot."""
        blocks = [self._with_change(place, change) for place, change in enumerate(changes)]
        count = len(self._robots)
        # Change by change -> robot by robot.
        order = np.arange(len(changes) * count).reshape(len(changes), count).T.ravel()
        return stacked(blocks).rows(order.tolist())

    def _with_change(self, place: int, change: Change) -> Episodes:
        """Return the episodes of all robots with one change, (R, E, T)."""
        variants, count = change.variants(self._policy.config.env_id), len(self._robots)
        turns = [np.arange(level, count, len(variants)) for level in range(len(variants))]
        pairs = zip(variants, turns, strict=True)
        blocks = [self._in_one_batch(place, variant, own) for variant, own in pairs if len(own)]
        order = np.argsort(np.concatenate(turns))
        return stacked(blocks).rows(order.tolist())

    def _in_one_batch(self, place: int, variant: Variant | None, robots: np.ndarray) -> Episodes:
        """Return the episodes of some robots with one severity of the change at a place."""
        policy, count = self._policy, len(robots)
        algorithm, E = policy.algorithm, self._num_episodes
        num_envs = algorithm.num_simulations(count, E)
        env = make_env(policy.config.env_id, num_envs, num_threads=1, variant=variant)
        with closing(env):
            env.set_tasks(self._tasks(place, variant, robots))
            draws = draw_episodes(
                self._seed,
                1 + place,
                Phase.ADAPTATION,
                tasks=robots.tolist(),
                episode_shape=(E, env.horizon, env.start_size, policy.interface.action_size),
            )
            params = repeat_params(policy.params, count)
            return collect(env, self._explorer, params, noise=draws.noise, start=draws.start)

    def _tasks(self, place: int, variant: Variant | None, robots: np.ndarray) -> Tasks:
        """Return robots as they are but for what a change makes of their task parameters."""
        own = self._robots.rows(robots)
        if variant is None:
            return own
        family = find_family(self._policy.config.env_id).distribution
        rng = numpy_generator(self._seed, 1 + place, Phase.EVALUATION_TASKS)
        columns = {name: own[name] for name in own.names}
        for parameter in variant.distribution.parameters:
            if parameter != family[parameter.name]:
                columns[parameter.name] = parameter.sample(rng, len(robots), "train")
        return Tasks(columns)


def require_explorer(policy: AdaptablePolicy) -> None:
    """Refuse a policy whose trial episodes on changed robots cannot be simulated.

    Raises:
        ValueError: It does not adapt, has adapted before, or was trained on a variant or in a scene
            of one's own, whose changes nobody knows.
    """
    config = policy.config
    if not policy.algorithm.adapts:
        raise ValueError(f"{config.algorithm} does not adapt, so it runs no trial episodes")
    if policy.adaptation_steps:
        raise ValueError("trial episodes are those of a policy before it adapts: take that one")
    if config.variant is not None or config.scene is not None:
        raise ValueError("changes are known of the families as they are, not of variants or scenes")


def stacked(blocks: list[Episodes]) -> Episodes:
    """Return the tasks of all blocks as one block, (sum of N, E, T)."""
    return Episodes(
        **{
            field.name: torch.cat([getattr(block, field.name) for block in blocks])
            for field in fields(Episodes)
        }
    )
