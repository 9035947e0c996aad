"""References that learners are compared with.

Domain randomisation never adapts, and with memory uses the present episode alone. The oracle
observes the task. Strategy search and identification are a trained oracle with an estimate of the
task instead: the candidate with the highest return, or the one that fits best in simulation.
"""

from contextlib import closing
from dataclasses import replace
from typing import Any, NoReturn, cast

import numpy as np
import torch
from torch import Tensor

from metarobot.algorithms.base import Algorithm, TrpoLearner, sobol_points, task_grid, tasks_of
from metarobot.algorithms.options import (
    OracleOptions,
    RecurrentRandomisationOptions,
    ReferenceOptions,
)
from metarobot.algorithms.rl2 import RecurrentLearner
from metarobot.config import TrainConfig
from metarobot.envs import find_family, make_env
from metarobot.learning.meta_update import MetaBatch, UpdateReport
from metarobot.policies import Distribution, GaussianMLP, Params, PolicyState
from metarobot.policies.mlp import TaskMLP
from metarobot.policies.params import TASK_CODE
from metarobot.policies.recurrent import EpisodicPolicy
from metarobot.policies.search import SearchingPolicy, sum_of_rewards
from metarobot.rollout.collect import collect
from metarobot.rollout.episodes import Episodes


class DomainRandomisation(TrpoLearner[GaussianMLP]):
    """TRPO on the episodes of all tasks.

    Source: Schulman et al. 2015, arXiv:1502.05477; Tobin et al. 2017, arXiv:1703.06907.
    """

    title = "domain randomisation"
    adapts = False
    options_class = ReferenceOptions


class RecurrentRandomisation(RecurrentLearner):
    """TRPO on the episodes of all tasks, with a memory that is cleared as episodes begin.

    It observes no reward, and needs no adaptation episode: any gain over domain randomisation comes
    from the earlier steps of the same episode.

    Source: Peng et al. 2018, arXiv:1710.06537.
    """

    title = "domain randomisation with memory"
    adapts = False
    options_class = RecurrentRandomisationOptions
    policy_class = EpisodicPolicy


class Oracle(TrpoLearner[TaskMLP]):
    """Domain randomisation that observes the task parameters."""

    title = "oracle"
    adapts = False
    observes_task = True
    options_class = OracleOptions
    policy_class = TaskMLP

    @classmethod
    def policy_options(cls, config: TrainConfig) -> dict[str, Any]:
        """Return the number of task elements, and whether the first layer sees products of them."""
        task_size = find_family(config.env_id).distribution.encoded_bounds.shape[1]
        task_products = cast(OracleOptions, config.options).task_products
        return {"task_size": task_size, "task_products": task_products}

    def update(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Take a natural-gradient step; it begins as domain randomisation, without the task."""
        if self.is_careful(batch.spent):
            hidden = self.policy.hide_task(batch.post_episodes.observations)
            batch = replace(batch, post_episodes=replace(batch.post_episodes, observations=hidden))
        return super().update(params, batch)


NUM_CANDIDATES = 1024
"""Q, candidates spread over the box that holds all splits."""
DESIGN_OF_A_PARAMETER = 2
"""Number of candidates per task parameter that are tried before any is chosen."""


class StrategySearch(Algorithm[SearchingPolicy]):
    """Adapts a trained oracle by the returns of episodes with candidates as the task.

    Its configuration is the oracle's.

    Source: Yu, Liu and Turk 2019, arXiv:1810.05751, with CMA-ES as the optimiser.
    """

    title = "strategy search"
    in_sequence = True
    reads_advantages = False
    options_class = OracleOptions
    policy_class = SearchingPolicy

    @classmethod
    def policy_options(cls, config: TrainConfig) -> dict[str, Any]:
        """Return those of the oracle, and candidates that cover all splits of the tasks."""
        num_parameters = len(tasks_of(config).parameters)
        # Sobol's first point is a corner; its second is the middle.
        points = sobol_points(num_parameters, 2 * NUM_CANDIDATES)[1 : 1 + NUM_CANDIDATES]
        return {
            **Oracle.policy_options(config),
            "candidates": task_grid(config, points),
            "num_design": DESIGN_OF_A_PARAMETER * num_parameters,
        }

    def beginning(self, oracle: Params) -> Params:
        """Return parameters of the trained oracle, with the middle of all splits as task code."""
        shapes = self.policy.shapes
        state = {name: torch.zeros(shapes[name]) for name in shapes if name not in oracle}
        middle = task_grid(self.config, np.full((1, len(tasks_of(self.config).parameters)), 0.5))
        return {**oracle, **state, TASK_CODE: middle[0]}

    @property
    def exploring_policy(self) -> SearchingPolicy:
        """The policy that tries candidates."""
        return self.policy.exploring()

    @torch.no_grad()
    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Recompute the candidates of the episodes from the returns; take the best."""
        del advantages
        for rewards in (episodes.rewards * episodes.mask).unbind(1):
            params = self.policy.record(self.policy.propose(params), sum_of_rewards(rewards))
        return self.policy.finish(params)

    def update(self, params: Params, batch: MetaBatch) -> NoReturn:
        """Refuse to train."""
        raise NotImplementedError(f"{self.title} is made of a trained oracle: train the oracle")


_MOST_SIMULATIONS = 2048
"""Simulations in one batch, if one task does not need more."""
_LEAST_SCALE = 1e-6


class Replay(PolicyState):
    """A policy that repeats actions (N, E, T, A), one after the other."""

    def __init__(self, actions: Tensor) -> None:
        super().__init__()
        self._actions, self._steps = actions, 0

    def start(self, params: dict[str, Tensor]) -> "Replay":
        """Begin to act; there are no parameters."""
        del params
        return self

    def begin(self, begins: Tensor | None = None) -> None:
        """Begin episodes in all simulations."""
        del begins
        self._steps = 0

    def act(self, observations: Tensor) -> Distribution:
        """Return the recorded actions of this step."""
        del observations
        actions = self._actions[:, :, self._steps]
        self._steps += 1
        return Distribution(actions, torch.zeros(len(actions), actions.shape[-1]))


def misfits(
    config: TrainConfig, episodes: Episodes, points: np.ndarray, scales: Tensor | None = None
) -> tuple[np.ndarray, Tensor]:
    """Return the error of simulated candidates against recorded episodes.

    Args:
        config: The family, variant and scene that the episodes are from.
        episodes: Recorded episodes, (N, E, T).
        points: Candidates for each task in the box of all splits, (N, Q, P).
        scales: Units of the differences, (N, O + 1), from an earlier call; those of these
            candidates if there was none.

    Returns:
        Mean squared differences (N, Q) in their units, and the units.

    Raises:
        ValueError: The episodes do not hold their starts, as those of a log.
    """
    if episodes.start.shape[-1] != (wanted := find_family(config.env_id).start_size):
        raise ValueError(
            f"identification replays episodes from {wanted} numbers that placed their start, got "
            f"{episodes.start.shape[-1]}: a log holds none, so collect the episodes in simulation"
        )
    step = max(1, _MOST_SIMULATIONS // (points.shape[1] * episodes.num_episodes))
    parts = [slice(first, first + step) for first in range(0, episodes.num_tasks, step)]
    squares = torch.cat([_squares(config, episodes.rows(p), points[p]) for p in parts])
    if scales is None:
        scales = squares.mean(1).clamp(min=_LEAST_SCALE)
    return (squares / scales[:, None]).mean(-1).double().numpy(), scales


def _squares(config: TrainConfig, episodes: Episodes, points: np.ndarray) -> Tensor:
    """Return the mean squared difference of each observation element and the reward, (n, Q, .)."""
    num_candidates = points.shape[1]
    recorded = episodes.rows(np.repeat(np.arange(episodes.num_tasks), num_candidates).tolist())
    wanted = recorded.num_tasks * recorded.num_episodes
    env = make_env(
        config.env_id,
        find_family(config.env_id).num_side_by_side(wanted, recorded.num_tasks),
        num_threads=config.num_threads,
        variant=config.variant,
        scene_path=config.scene,
    )
    with closing(env):
        env.set_tasks(env.distribution.spread(points.reshape(-1, points.shape[-1])))
        start = recorded.start.double().numpy()
        simulated = collect(env, Replay(recorded.actions), {}, noise=None, start=start)
    seen = simulated.observations - recorded.observations
    earned = (simulated.rewards - recorded.rewards).nan_to_num()[..., None]
    both = (simulated.mask * recorded.mask)[..., None]
    squares = (torch.cat([seen, earned], dim=-1) * both).square().sum((1, 2))
    squares = squares / both.sum((1, 2)).clamp(min=1.0)
    return squares.unflatten(0, (-1, num_candidates))


NUM_FITTED = 32
"""Q, tasks that are simulated in each round of the fit."""
NUM_ROUNDS = 6
NUM_ELITES = 6
"""Candidates that the next round is drawn around."""
MOST_EPISODES = 3
"""Adaptation episodes that are replayed, the first: simulation is exact, so few are enough."""


class Identification(StrategySearch):
    """Fits the task to the recorded episodes by simulation, and gives the fit to a trained oracle.

    Its episodes have candidates that cover the box of all splits, independent of the returns: where
    only the outcome distinguishes tasks, a repeated candidate would add no information.

    It uses the simulator itself, starts and disturbances included, so it is an upper bound for
    estimates of the task from the same episodes.
    """

    title = "identification"
    _last_fit: tuple[Episodes, np.ndarray] | None = None

    @classmethod
    def policy_options(cls, config: TrainConfig) -> dict[str, Any]:
        """Return those of the search, with all candidates from the design."""
        options = super().policy_options(config)
        return {**options, "num_design": len(options["candidates"])}

    @torch.no_grad()
    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Give the oracle the task under which simulation repeats the episodes best."""
        params = super().adapt(params, episodes, advantages)  # counts the candidates
        points = self._fit(episodes.first(MOST_EPISODES))
        return {**params, TASK_CODE: task_grid(self.config, points)}

    def _fit(self, episodes: Episodes) -> np.ndarray:
        """Fit the tasks once: of 5, 10 or 20 episodes it reads the same first ones."""
        if self._last_fit:
            fitted, points = self._last_fit
            fields = ("observations", "actions", "start")
            if all(torch.equal(getattr(fitted, f), getattr(episodes, f)) for f in fields):
                return points
        self._last_fit = episodes, fit_tasks(self.config, episodes)
        return self._last_fit[1]


def fit_tasks(config: TrainConfig, episodes: Episodes) -> np.ndarray:
    """Fit tasks to episodes (N, E, T) by cross-entropy search over the box of all splits.

    Returns points (N, P) of the box, as of `TaskDistribution.spread`.

    Source: Rubinstein 1999, doi:10.1023/A:1010091220143.
    """
    from scipy.special import ndtri

    parameters = tasks_of(config).parameters
    circular = np.array([parameter.circular for parameter in parameters])
    cover = sobol_points(len(parameters), 2 * NUM_FITTED)[None, 1 : 1 + NUM_FITTED]
    points = np.repeat(cover, episodes.num_tasks, axis=0)
    steps = ndtri(points[:1])  # spread as a normal distribution, the same in all rounds
    best, least, scales = points[:, 0], np.full(len(points), np.inf), None
    for _ in range(NUM_ROUNDS):
        errors, scales = misfits(config, episodes, points, scales)
        ranked = np.argsort(errors, axis=1, kind="stable")[:, :NUM_ELITES]
        elites = np.take_along_axis(points, ranked[..., None], axis=1)
        lowest = np.take_along_axis(errors, ranked[:, :1], axis=1)[:, 0]
        best = np.where((lowest < least)[:, None], elites[:, 0], best)
        least = np.fmin(lowest, least)
        away = elites - best[:, None]
        away = np.where(circular, (away + 0.5) % 1.0 - 0.5, away)  # the short way round
        std = np.sqrt((away**2).mean(1))
        drawn = best[:, None] + std[:, None] * steps
        inside = drawn.clip(0.0, np.nextafter(1.0, 0.0))
        points = np.where(circular, drawn % 1.0, inside)  # angles go round
    return best
