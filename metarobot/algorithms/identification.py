"""Identification: the task is fitted to the adaptation episodes, and the oracle is told the fit."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarobot.algorithms.spread_tasks import spread_codes, tasks_of
from metarobot.algorithms.strategy_search import StrategySearch
from metarobot.config import TrainConfig
from metarobot.learning.task_replay import misfits
from metarobot.policies import Params
from metarobot.policies.params import TOLD
from metarobot.rollout.episodes import Episodes

NUM_CANDIDATES = 32
"""Q, tasks that are tried in each round of the fit."""
NUM_ROUNDS = 6
NUM_ELITES = 6
"""Candidates that the next round is drawn around."""
MOST_EPISODES = 3
"""Adaptation episodes that are replayed, the first: simulation is exact, so few tell all."""


class Identification(StrategySearch):
    """Fits the task to what was recorded, and tells the fit to a trained oracle.

    Its episodes are told guesses that cover the box of all splits, whatever they earn: where only
    the outcome tells, as on Slide, asking the same again would tell nothing new.

    It has the simulator itself, starts and disturbances included, so it is an upper bound of what
    recognition can do with the same episodes.
    """

    title = "identification"
    _last_fit: "_Fit | None" = None

    @classmethod
    def policy_options(cls, config: TrainConfig) -> dict[str, Any]:
        """Return those of the search, with all guesses from the design."""
        options = super().policy_options(config)
        return {**options, "num_design": len(options["guesses"])}

    @torch.no_grad()
    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Tell the oracle the task under which simulation repeats the episodes best."""
        params = super().adapt(params, episodes, advantages)  # counts what was asked
        points = self._fit(episodes.first(MOST_EPISODES))
        return {**params, TOLD: spread_codes(self.config, points)}

    def _fit(self, episodes: Episodes) -> np.ndarray:
        """Fit the tasks, but only once: of 5, 10, 20 episodes it reads the same first ones."""
        last = self._last_fit
        if last is None or not _are_the_same(last.episodes, episodes):
            self._last_fit = last = _Fit(episodes, fit_tasks(self.config, episodes))
        return last.points


class _Fit(NamedTuple):
    """Tasks that were fitted."""

    episodes: Episodes
    """What they were fitted to, (N, E, T)."""
    points: np.ndarray
    """Points (N, P) of the box."""


def _are_the_same(one: Episodes, other: Episodes) -> bool:
    """Whether two blocks hold the same episodes."""
    return all(
        a.shape == b.shape and torch.equal(a, b)
        for a, b in (
            (one.observations, other.observations),
            (one.actions, other.actions),
            (one.start, other.start),
        )
    )


class _Search(NamedTuple):
    """Where a cross-entropy search stands, in coordinates of the unit box."""

    best: np.ndarray
    """The best candidate so far, (N, P)."""
    least: np.ndarray
    """Its misfit, (N,)."""
    std: np.ndarray
    """Spread of the elites, (N, P)."""


def fit_tasks(config: TrainConfig, episodes: Episodes) -> np.ndarray:
    """Fit the tasks of N blocks of episodes by cross-entropy search over the box of all splits.

    Args:
        config: The family, variant and scene that the episodes are from.
        episodes: (N, E, T), with the starts that they were placed by.

    Returns:
        Points (N, P) of the box, as of `TaskDistribution.spread`.

    Raises:
        ValueError: The episodes do not hold their starts, as those of a log.

    Source: Rubinstein 1999, doi:10.1023/A:1010091220143.
    """
    from scipy.special import ndtri
    from scipy.stats import qmc  # which takes half a second to import

    parameters = tasks_of(config).parameters
    circular = np.array([parameter.circular for parameter in parameters])
    cover = qmc.Sobol(len(parameters), scramble=False).random(2 * NUM_CANDIDATES)
    points = np.repeat(cover[None, 1 : 1 + NUM_CANDIDATES], episodes.num_tasks, axis=0)
    steps = ndtri(points[:1])  # spread as a normal distribution, the same in all rounds
    errors, scales = misfits(config, episodes, points)
    search = _narrow(points, errors, None, circular)
    for _ in range(NUM_ROUNDS - 1):
        points = _into_box(search.best[:, None] + search.std[:, None] * steps, circular)
        errors, _ = misfits(config, episodes, points, scales)
        search = _narrow(points, errors, search, circular)
    return search.best


def _narrow(
    points: np.ndarray, errors: np.ndarray, before: _Search | None, circular: np.ndarray
) -> _Search:
    """Take the best of candidates (N, Q, P) with misfits (N, Q), and the spread of the elites."""
    ranked = np.argsort(errors, axis=1, kind="stable")[:, :NUM_ELITES]
    elites = np.take_along_axis(points, ranked[..., None], axis=1)
    best, least = elites[:, 0], np.take_along_axis(errors, ranked[:, :1], axis=1)[:, 0]
    if before is not None:
        better = least < before.least
        best = np.where(better[:, None], best, before.best)
        least = np.where(better, least, before.least)
    away = elites - best[:, None]
    away = np.where(circular, (away + 0.5) % 1.0 - 0.5, away)  # the short way round
    return _Search(best, least, np.sqrt((away**2).mean(1)))


def _into_box(points: np.ndarray, circular: np.ndarray) -> np.ndarray:
    """Bring points (N, Q, P) into [0, 1): angles by going round, all else to the edge."""
    return np.where(circular, points % 1.0, points.clip(0.0, np.nextafter(1.0, 0.0)))
