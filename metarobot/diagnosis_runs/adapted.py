"""`Adapter`: adapts a learner to tasks, says what recordings show, and how strange they are."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from metarobot.few_shot import AdaptedModel, Examples, Learner
from metarobot.few_shot.module_loss import task_outputs
from metarobot.few_shot_diagnosis.learners import ENCODER
from metarobot.policies import Params
from metarobot.policies.params import under_prefix

Thresholds = tuple[float, float]
"""Of strangeness, in either space."""
_SMALLEST_DISTANCE = 1e-9


class Space(NamedTuple):
    """Where the examples of N tasks lie, as points (N, S, D)."""

    means: Tensor
    """Mean of the examples of each class, (N, C, D)."""
    near: Tensor
    """Mean distance between the means of two classes, (N,)."""
    usual: Tensor
    """Greatest strangeness of an example when it is left out of its class, (N,); zero where no
    class has two."""

    @classmethod
    def of(cls, points: Tensor, belongs: Tensor, weights: Tensor) -> Space:
        """Measure it on the points of examples; `belongs` and `weights` are (N, C, S)."""
        means = weights @ points
        pairs = means.shape[1] * (means.shape[1] - 1)
        between = torch.cdist(means, means).sum((1, 2)) / max(pairs, 1)
        near = between.clamp(min=_SMALLEST_DISTANCE)
        return cls(means, near, _usual(points, means, belongs) / near)

    def strangeness(self, points: Tensor) -> Tensor:
        """Return how far points (N, Q, D) are from the nearest class, (N, Q), over `near`."""
        return torch.cdist(points, self.means).amin(-1) / self.near[:, None]


class AdaptedTasks(NamedTuple):
    """N tasks whose examples were learned."""

    model: AdaptedModel
    centre: Tensor
    """What inputs are seen less of, (N, 1, ...)."""
    spaces: tuple[Space, Space]
    """Of what the network embeds examples as, and of plain statistics of its inputs.  The network
    need not see what no training has asked for; the statistics do."""

    @property
    def num_classes(self) -> int:
        """C."""
        return self.spaces[0].means.shape[1]

    @torch.no_grad()
    def log_probabilities(self, inputs: Tensor) -> Tensor:
        """Return the logarithm of the probability of each class, (N, Q, C)."""
        logits = self.model.predict(inputs - self.centre)[..., : self.num_classes]
        return torch.log_softmax(logits, dim=-1)

    def probabilities(self, inputs: Tensor) -> Tensor:
        """Return the probability of each class, (N, Q, C), of inputs (N, Q, ...)."""
        return self.log_probabilities(inputs).exp()

    @torch.no_grad()
    def strangeness(self, inputs: Tensor) -> Tensor:
        """Return how far each input is from the nearest class in both spaces, (2, N, Q).

        One is the mean distance between two of the classes.  A recording that shows none of them
        is farther from all than those that do.
        """
        own = inputs - self.centre
        seen = _embeddings(self.model.learner, self.model.params, own)
        embedded, plain = self.spaces
        return torch.stack([embedded.strangeness(seen), plain.strangeness(statistics(own))])

    def strangeness_over(self, inputs: Tensor, thresholds: Thresholds) -> Tensor:
        """Return strangeness over what is usual, (N, Q); above 1 it looks like none of the classes.

        Args:
            inputs: (N, Q, ...).
            thresholds: What recordings of known classes stay below on machines of the training, in
                either space.  The examples of a machine may be farther apart than that.
        """
        usual = torch.stack(
            [
                space.usual.clamp(min=threshold)
                for space, threshold in zip(self.spaces, thresholds, strict=True)
            ]
        )
        return (self.strangeness(inputs) / usual[..., None]).amax(0)


class Adapter(NamedTuple):
    """A learner, and whether it sees inputs less the mean of the examples."""

    learner: Learner[Any]
    centred: bool
    """Whether what all examples have in common is taken away: what is the machine's own."""

    @torch.no_grad()
    def adapt(self, support: Examples) -> AdaptedTasks:
        """Learn from the examples (N, S, ...) of N tasks, of classes 0 .. C - 1."""
        belongs = one_hot(support.targets).mT.float()  # (N, C, S)
        weights = belongs / belongs.sum(-1, keepdim=True).clamp(min=1)
        centre = self.centre(support.inputs, weights)
        own = Examples(support.inputs - centre, support.targets)
        model = self.learner.adapt(own)
        seen = _embeddings(self.learner, model.params, own.inputs)
        embedded = Space.of(seen, belongs, weights)
        plain = Space.of(statistics(own.inputs), belongs, weights)
        return AdaptedTasks(model, centre, (embedded, plain))

    def centre(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """Return the mean over classes of the mean of their examples, (N, 1, ...); or zero.

        Args:
            inputs: Examples (N, S, ...).
            weights: Share of each example in the mean of its class, (N, C, S).
        """
        if not self.centred:
            return torch.zeros_like(inputs[:, :1])
        share = weights.mean(1)  # (N, S)
        return (inputs * share.reshape(*share.shape, *[1] * (inputs.ndim - 2))).sum(1, keepdim=True)


def statistics(inputs: Tensor) -> Tensor:
    """Return mean and spread over time of all numbers that a network sees, (N, S, D)."""
    return torch.cat([inputs.mean(-1), inputs.std(-1)], dim=2).flatten(2)


def _usual(seen: Tensor, means: Tensor, belongs: Tensor) -> Tensor:
    """Return the greatest distance of an example from the nearest class, itself left out, (N,).

    Args:
        seen: Embeddings of the examples, (N, S, D).
        means: Of each class, (N, C, D).
        belongs: Which class each is of, (N, C, S).
    """
    counts = belongs.sum(-1)  # (N, C)
    own_count = (belongs * counts[..., None]).sum(1)  # (N, S)
    own_mean = belongs.mT @ means
    others = (own_mean * own_count[..., None] - seen) / (own_count - 1).clamp(min=1)[..., None]
    to_own = (seen - others).norm(dim=-1)
    to_means = torch.cdist(seen, means).masked_fill(belongs.mT > 0, torch.inf)
    nearest = torch.minimum(to_own, to_means.amin(-1))
    return nearest.masked_fill(own_count < 2, 0.0).amax(-1)


def _embeddings(learner: Learner[Any], adapted: Params, inputs: Tensor) -> Tensor:
    """Return what the adapted encoders map inputs (N, S, ...) to, (N, S, D)."""
    module: Any = learner.module
    encoder = module.get_submodule(ENCODER) if isinstance(module, nn.Sequential) else module
    return task_outputs(encoder, under_prefix(f"{ENCODER}.", adapted), inputs)
