"""A policy that is told which task it is on by a point, and the encoder that finds the point."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metarobot.policies.episode_encoder import EpisodeEncoder, transition_feature_size
from metarobot.policies.gaussian import products
from metarobot.policies.mlp import GaussianMLP
from metarobot.policies.params import Params, under_prefix, with_prefix

_ENCODER = "encoder."
KNOWN = ("prototype", "num_episodes")
"""Leaves that the episodes of a task set."""
SPREAD = ("embedding_mean", "embedding_noise", "embedding_spread")
"""Leaves that meta-training measures."""
CONTEXT = (*KNOWN, *SPREAD)
"""Leaves that are set from data, and never trained."""


class PrototypePolicy(GaussianMLP):
    """π_θ(a | o, c): a `GaussianMLP` that also sees the prototype c, and whether there is one.

    The first layer sees [o, c, known, o ⊗ c]. With the products, what a task does to the meaning of
    an observation, such as turning the frame of commands, is linear in what is seen.

    In meta-training a prototype is the mean of E* episodes. That of fewer is noisier, so it is seen
    shrunk towards the mean m of all tasks:

        c = m + s_E / s_E* (prototype - m),    s_E = S / (S + σ² / E),

    for E < E* episodes, σ² the variance of one embedding about its task, and S that of the tasks.
    s_E is the part of a deviation from m that is not noise; a policy learns to expect s_E*.

    Its parameters hold those of the encoder as well, and what is known of the task: the leaf
    `prototype` (D,), and `num_episodes` (1,), of how many episodes E it is the mean. Meta-training
    measures `embedding_mean` (D,), `embedding_noise` (1,), σ², and `embedding_spread` (1,), S, both
    summed over D; 0 while they are unknown, when nothing is shrunk.

    Source: Efron and Morris 1973, "Stein's estimation rule and its competitors: an empirical Bayes
    approach", for the shrinkage.
    """

    def __init__(
        self,
        observation_low: Sequence[float],
        observation_high: Sequence[float],
        action_size: int,
        hidden_sizes: Sequence[int] = (64, 64),
        initial_std: float = 0.5,
        embedding_size: int = 8,
        trained_episodes: int = 20,
    ) -> None:
        """Lay out the networks; the arguments but the last two are those of `GaussianMLP`.

        `embedding_size` is D, the elements of a prototype, and `trained_episodes` E*.
        """
        super().__init__(observation_low, observation_high, action_size, hidden_sizes, initial_std)
        self.trained_episodes = trained_episodes
        size, width = len(observation_low), (*hidden_sizes, action_size)[0]
        num_inputs = size + embedding_size + 1 + size * embedding_size
        feature_size = transition_feature_size(size, action_size)
        self.layers[0] = nn.Linear(num_inputs, width, device="meta")
        self.encoder = EpisodeEncoder(feature_size, embedding_size)
        self.prototype = nn.Parameter(torch.empty(embedding_size, device="meta"))
        self.num_episodes = nn.Parameter(torch.empty(1, device="meta"))
        self.embedding_mean = nn.Parameter(torch.empty(embedding_size, device="meta"))
        self.embedding_noise = nn.Parameter(torch.empty(1, device="meta"))
        self.embedding_spread = nn.Parameter(torch.empty(1, device="meta"))

    def inputs(self, observations: Tensor, params: Params) -> Tensor:
        """What the first layer sees of observations, and of what is known of the task."""
        scaled = super().inputs(observations, params)
        context = torch.cat(self._context(params), dim=-1)
        ones = [1] * (scaled.ndim - context.ndim)
        context = context.reshape(*context.shape[:-1], *ones, -1).expand(*scaled.shape[:-1], -1)
        crossed = products(scaled, context[..., :-1])
        return torch.cat([scaled, context, crossed], dim=-1)

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
        return self.with_encoder_params(params, self.encoder.initial_params(generator))

    @staticmethod
    def with_encoder_params(params: Params, encoder: Params) -> Params:
        """Return the parameters with other ones of the encoder."""
        return {**params, **with_prefix(_ENCODER, encoder)}

    @staticmethod
    def encoder_params(params: Params) -> Params:
        """Return the encoder's parameters, by the names that it gives them."""
        return under_prefix(_ENCODER, params)

    @staticmethod
    def acting_params(params: Params) -> Params:
        """Return the parameters that decide how the policy acts on what it sees."""
        return {
            name: leaf
            for name, leaf in params.items()
            if not name.startswith(_ENCODER) and name not in CONTEXT
        }
