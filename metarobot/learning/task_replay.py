"""Replay recorded actions under other tasks, and measure how far what comes of them differs."""

from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from metarobot.config import TrainConfig
from metarobot.envs import find_family, make_env
from metarobot.policies import Distribution, PolicyState
from metarobot.rollout.collect import collect
from metarobot.rollout.episodes import Episodes

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
        """Return the actions of this step, whatever is seen."""
        del observations
        actions = self._actions[:, :, self._steps]
        self._steps += 1
        return Distribution(actions, torch.zeros(len(actions), actions.shape[-1]))


def misfits(
    config: TrainConfig, episodes: Episodes, points: np.ndarray, scales: Tensor | None = None
) -> tuple[np.ndarray, Tensor]:
    """Return how far simulation of candidates differs from what was recorded.

    Args:
        config: The family, variant and scene that the episodes are from.
        episodes: What was recorded, (N, E, T).
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
    env = make_env(
        config.env_id,
        recorded.num_tasks * recorded.num_episodes,
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
