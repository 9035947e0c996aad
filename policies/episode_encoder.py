"""Episodes as points in a small space, and the features of their steps."""

import torch
from torch import Tensor, nn

from metarobot.policies.params import Params, linear

CHANGE_UNIT = 0.01
"""Change of an observation in a control step, in half ranges, at which its logarithm sets in."""


class EpisodeEncoder(nn.Module):
    """z = tanh(C tanh(B mean_t[(U x_t + u) ∘ (V x_t + v)] + b) + c), in [-1, 1]^D.

    Tasks differ in the second moments of a step's features, which pair outcomes with actions. The
    products are a sketch of them, and the mean over the steps takes episodes of any length. Like
    `GaussianMLP`, the module is called with parameters from outside.
    """

    def __init__(self, feature_size: int, embedding_size: int, hidden_size: int = 64) -> None:
        """Lay out the network for F features, D embedding elements and `hidden_size` products."""
        super().__init__()
        self.left = nn.Linear(feature_size, hidden_size, device="meta")
        self.right = nn.Linear(feature_size, hidden_size, device="meta")
        self.hidden = nn.Linear(hidden_size, hidden_size, device="meta")
        self.last = nn.Linear(hidden_size, embedding_size, device="meta")


def embed(params: Params, features: Tensor, mask: Tensor) -> Tensor:
    """Embed every task's episodes by that task's parameters, each leaf (N, ...).

    Args:
        params: Those of an `EpisodeEncoder`.
        features: (N, E, T, F).
        mask: 1.0 where a step counts, (N, E, T).

    Returns:
        Embeddings (N, E, D); an episode without a step has the embedding of the biases alone.
    """
    weights = mask / mask.sum(-1, keepdim=True).clamp(min=1.0)
    products = linear(params, "left", features) * linear(params, "right", features)
    moments = (products * weights[..., None]).sum(-2)
    return torch.tanh(linear(params, "last", torch.tanh(linear(params, "hidden", moments))))


def transition_features(
    observations: Tensor, following: Tensor, actions: Tensor, rewards: Tensor, mask: Tensor
) -> Tensor:
    """Describe every step by its observation, its action and its outcome: (..., T, 2 O + 2 A + 3).

    [o_t, log(o_{t+1} - o_t), whether o_{t+1} was seen, a_t, a_{t-1}, log(r_t), t / T], where log
    is the symmetric logarithm sign(x) log(1 + |x|), of changes in units of 0.01: the effect
    of an action may be small, and show a step later.

    Args:
        observations: Scaled to [-1, 1], (..., T, O).
        following: Those after each step, scaled as well, (..., T, O); NaN if not seen.
        actions: In half action ranges, clipped here as the environment clips them, (..., T, A).
        rewards: (..., T).
        mask: 1.0 where a step counts, (..., T).

    Source: Hafner et al. 2023, arXiv:2301.04104, for the symmetric logarithm.
    """
    clipped = actions.clamp(-1.0, 1.0)
    change = (following - observations).nan_to_num()
    has_next = (~following.isnan()).all(-1, keepdim=True).to(mask.dtype)
    time = torch.arange(mask.shape[-1], dtype=mask.dtype) / mask.shape[-1]
    features = [
        observations,
        symlog(change / CHANGE_UNIT),
        has_next,
        clipped,
        shift(clipped, 1),
        symlog(rewards)[..., None],
        time.expand_as(mask)[..., None],
    ]
    return torch.cat(features, dim=-1)


def transition_feature_size(observation_size: int, action_size: int) -> int:
    """Return F, the number of `transition_features`."""
    return 2 * observation_size + 2 * action_size + 3


def symlog(x: Tensor) -> Tensor:
    """Return the symmetric logarithm sign(x) log(1 + |x|)."""
    return x.sign() * x.abs().log1p()


def shift(x: Tensor, steps: int) -> Tensor:
    """Move x (..., T, X) by one step, later (1) or earlier (-1), padded by 0."""
    empty = torch.zeros_like(x[..., :1, :])
    if steps > 0:
        return torch.cat([empty, x[..., :-1, :]], dim=-2)
    return torch.cat([x[..., 1:, :], empty], dim=-2)
