"""An algorithm without gradient steps: it shifts actions by the noise of the best episodes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metarobot.algorithms.references import DomainRandomisation, ReferenceOptions
from metarobot.config import number
from metarobot.policies import Params
from metarobot.rollout.episodes import Episodes


@dataclass(frozen=True, kw_only=True)
class EliteShiftOptions(ReferenceOptions):
    """The options of domain randomisation, and one more."""

    elite_share: float = number(0.25, 0.01, 1.0)
    """Share of a task's adaptation episodes that count as the best."""


class EliteShift(DomainRandomisation):
    """Trained as domain randomisation; adapts by one step of the cross-entropy method.

    The action noise of the best episodes, averaged over their steps, is added to all actions.
    """

    title = "elite shift"
    adapts = True
    options_class = EliteShiftOptions

    @torch.no_grad()
    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Shift the actions of every task: episodes (N, E, T), each leaf of params (N, ...)."""
        del advantages
        mean = self.policy.distribution(params, episodes.observations).mean  # (N, E, T, A)
        noise = (episodes.actions - mean) * episodes.mask[..., None]
        tried = noise.sum(2) / episodes.mask.sum(2).clamp(min=1)[..., None]  # (N, E, A)
        share = self.options.elite_share
        best = episodes.returns.topk(max(1, round(share * episodes.num_episodes)), dim=1).indices
        shift = tried.take_along_dim(best[..., None], dim=1).mean(1)  # (N, A)
        bias = f"layers.{len(self.policy.layers) - 1}.bias"
        return {**params, bias: params[bias] + shift}
