"""A policy conditioned on the prototype of its episodes, and the encoder that computes it."""

from typing import Any

import torch
from torch import Tensor, nn

from metarobot.policies.episode_encoder import EpisodeEncoder, transition_feature_size
from metarobot.policies.gaussian import products
from metarobot.policies.mlp import ConditionedMLP, repeated
from metarobot.policies.params import Params, xavier_params

KNOWN = ("prototype", "num_episodes")
"""Leaves that the episodes of a task set."""
SPREAD = ("embedding_mean", "embedding_noise", "embedding_spread")
"""Leaves that meta-training measures."""
CONTEXT = (*KNOWN, *SPREAD)
"""Leaves that are set from data, and never trained."""


class PrototypePolicy(ConditionedMLP):
    """π_θ(a | o, c): a `ConditionedMLP` on the prototype c, which also sees whether there is one.

    In meta-training a prototype is the mean of E* episodes. That of fewer is noisier, so it is
    shrunk towards the mean m of all tasks:

        c = m + s_E / s_E* (prototype - m),    s_E = S / (S + σ² / E),

    for E < E* episodes, σ² the variance of one embedding about its task, and S that of the tasks.
    s_E is the part of a deviation from m that is not noise; a policy learns to expect s_E*.

    Its parameters hold those of the encoder, the leaf `prototype` (D,), and `num_episodes` (1,), of
    how many episodes it is the mean. Meta-training measures `embedding_mean` (D,),
    `embedding_noise` (1,), σ², and `embedding_spread` (1,), S; 0 while they are unknown, when
    nothing is shrunk.

    Source: Efron and Morris 1973, "Stein's estimation rule and its competitors: an empirical Bayes
    approach", for the shrinkage.
    """

    network = "encoder."
    measured = CONTEXT

    def __init__(
        self, *layout: Any, embedding_size: int = 8, trained_episodes: int = 20, **options: Any
    ) -> None:
        """Lay out the networks for prototypes of D = `embedding_size` elements; see `GaussianMLP`.

        In meta-training a prototype is of E* = `trained_episodes` episodes.
        """
        super().__init__(*layout, context_size=embedding_size, **options)
        self.widen(1)
        self.trained_episodes = trained_episodes
        feature_size = transition_feature_size(self.observation_centre.numel(), self.action_size)
        self.encoder = EpisodeEncoder(feature_size, embedding_size)
        for name in CONTEXT:
            size = embedding_size if name in ("prototype", "embedding_mean") else 1
            self.register_parameter(name, nn.Parameter(torch.empty(size, device="meta")))

    def inputs(self, observations: Tensor, params: Params) -> Tensor:
        """Return the inputs of the first layer for observations (N, M, O)."""
        scaled = super().inputs(observations, params)
        context, known = (repeated(each, scaled) for each in self._context(params))
        return torch.cat([scaled, context, known, products(scaled, context)], dim=-1)

    def _context(self, params: Params) -> tuple[Tensor, Tensor]:
        """Return the prototype as it is seen (..., D), and 1.0 if there is one (..., 1)."""
        prototype, mean = params["prototype"], params["embedding_mean"]
        noise, spread = params["embedding_noise"], params["embedding_spread"]
        episodes, trained = params["num_episodes"], self.trained_episodes
        shrunk = (spread > 0.0) & (episodes > 0.0) & (episodes < trained)
        total = torch.where(shrunk, episodes * spread + noise, 1.0)
        part = episodes / trained * (trained * spread + noise) / total  # s_E / s_E*
        seen = torch.where(shrunk, mean + part * (prototype - mean), prototype)
        known = (episodes > 0.0).to(prototype.dtype)
        return known * seen, known

    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw fresh parameters; no prototype is known."""
        params = super().initial_params(generator)
        return self.with_network(params, xavier_params(self.encoder, generator))
