"""The inner loop: one gradient step on every task, all tasks in one vectorised call."""

from collections.abc import Mapping

from torch import Tensor
from torch.func import grad

from metarobot.learning.objectives import OBJECTIVES, InnerObjective
from metarobot.policies import Params, ReactivePolicy, log_prob
from metarobot.rollout.episodes import Episodes


def adapt(
    policy: ReactivePolicy,
    params: Params,
    episodes: Episodes,
    advantages: Tensor,
    step_sizes: float | Mapping[str, float | Tensor],
    objective: InnerObjective = "lvc",
    first_order: bool = False,
) -> Params:
    """Take one adaptation step on every task: θ'_n = θ_n - α ∇ L_n(θ_n; episodes_n).

    Args:
        policy: The policy's functional module.
        params: Parameters, each leaf (N, ...); stay attached to the graph.
        episodes: Pre-update episodes (N, E, T), collected with params.
        advantages: Advantages of the episodes (N, E, T).
        step_sizes: α, dimensionless: one number, or one for each leaf that adapts, which broadcasts
            with it; the others stay.
        objective: What L_n is the negative mean of.
        first_order: Treat the gradient as a constant, so that dθ'/dθ = 1.

    Returns:
        Adapted parameters, same keys and shapes as params; those of a task whose mask selects no
        step are as they came.

    Source: Finn et al. 2017, arXiv:1703.03400, Algorithm 3.
    """
    per_step = OBJECTIVES[objective]
    if not isinstance(step_sizes, Mapping):
        step_sizes = dict.fromkeys(params, step_sizes)
    adapting = {name: params[name] for name in step_sizes}
    staying = {name: leaf for name, leaf in params.items() if name not in step_sizes}

    def total_loss(adapting: Params) -> Tensor:
        """Σ_n L_n, whose gradient holds that of every task: L_n depends on the row n alone."""
        mean, log_std = policy.distribution({**adapting, **staying}, episodes.observations)
        log_probs = log_prob(mean, log_std[:, None, None], episodes.actions)
        objective = per_step(log_probs, episodes.log_probs, advantages)
        return -(episodes.step_weights * objective).sum()

    gradient = grad(total_loss)(adapting)
    if first_order:
        gradient = {name: leaf.detach() for name, leaf in gradient.items()}
    moved = {name: leaf - step_sizes[name] * gradient[name] for name, leaf in adapting.items()}
    return {name: moved.get(name, leaf) for name, leaf in params.items()}
