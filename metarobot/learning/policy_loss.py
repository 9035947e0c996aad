"""What an adaptation step of a policy lowers: the loss of its episodes."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor
from torch.func import grad

from metarobot.learning.objectives import OBJECTIVES, InnerObjective
from metarobot.policies import MEASURED, Params, ReactivePolicy, log_prob
from metarobot.rollout.episodes import Episodes


class PolicyLoss(NamedTuple):
    """L_n(θ_n) of a policy: the negative mean of an objective over the episodes of a task."""

    policy: ReactivePolicy
    """The policy's functional module."""
    episodes: Episodes
    """Adaptation episodes (N, E, T)."""
    advantages: Tensor
    """Their advantages (N, E, T)."""
    weights: Tensor
    """What each step counts in the mean, (N, E, T)."""
    objective: InnerObjective = "lvc"
    """What the mean is of."""

    @property
    def mask(self) -> Tensor:
        """1.0 where a step of an episode counts, (N, E, T)."""
        return self.episodes.mask

    def gradient(self, params: Params, adapting: Sequence[str]) -> Params:
        """Return ∇ L_n of every task, for the leaves (N, ...) that adapt.

        It is that of Σ_n L_n, as L_n depends on the row n alone.
        """
        per_step, episodes = OBJECTIVES[self.objective], self.episodes

        def total_loss(leaves: Params) -> Tensor:
            mean, log_std = self.policy.distribution({**params, **leaves}, episodes.observations)
            log_probs = log_prob(mean, log_std[:, None, None], episodes.actions)
            objective = per_step(log_probs, episodes.log_probs, self.advantages)
            return -(self.weights * objective).sum()

        return grad(total_loss)({name: params[name] for name in adapting})

    def gradients_of_episodes(self, params: Params, adapting: Sequence[str]) -> Params:
        """Return the part of every episode in ∇ L_n: leaves (N, E, ...), whose sums it is.

        Every episode gets its own copy of the parameters, so one reverse pass gives all parts.
        """
        shape = N, E = self.episodes.num_tasks, self.episodes.num_episodes
        copies = {
            name: leaf[:, None].expand(N, E, *leaf.shape[1:]).flatten(0, 1)
            for name, leaf in params.items()
            if name not in MEASURED
        }
        alone = self._replace(
            episodes=self.episodes.each_alone(),
            advantages=self.advantages.flatten(0, 1)[:, None],
            weights=self.weights.flatten(0, 1)[:, None],
        )
        gradients = alone.gradient(copies, adapting)
        return {name: leaf.unflatten(0, shape) for name, leaf in gradients.items()}
