"""The inner loop: one gradient step on every task, all tasks in one vectorised call.

`PolicyLoss` is the loss of a policy on its episodes; few-shot learners have that of any module.

Shrinkage of a step
-------------------
The step d of a task is the mean of the steps d_e of its E episodes, so their spread measures its
noise. Of a noisy step, the part

    s = S / (S + V),    V = σ² / E,    σ² the variance of a d_e, summed over parameters,

comes nearest to the step without noise, where S is the squared length of the latter: Wiener's
factor. With a task's
own estimate max(0, |d|² - V) of S, s is the factor of James and Stein: where V exceeds |d|², no
step is taken. A few episodes estimate σ² and S badly, so the estimates of meta-training over all
tasks count as `PRIOR_EPISODES` additional episodes.

A later step starts nearer to the optimum than the first, but with normalised advantages it is as
long. So it is divided by 1 + the sum of all s before. If every s is 1, the result is the mean of
the ends of all steps, which averages out their noise.

Source: James and Stein 1961, "Estimation with quadratic loss"; Efron and Morris 1973, "Stein's
estimation rule and its competitors: an empirical Bayes approach", for the estimates from all
tasks; the pooled variance, Smyth 2004, doi:10.2202/1544-6115.1027; Robbins and Monro 1951, "A
stochastic approximation method", for the decay of the step length.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.func import grad

from metarobot.config import InnerObjective
from metarobot.learning.distributed import running_mean
from metarobot.policies import Params, ReactivePolicy, log_prob
from metarobot.rollout.episodes import Episodes

STEP_VARIANCE = "step_variance"
"""Leaf (1,): variance of the adaptation step of a single episode, summed over the
parameters that adapt. 0 while it is unknown."""

STEP_SIGNAL = "step_signal"
"""Leaf (1,): squared length that an adaptation step would have without noise, the mean over all
tasks. 0 while it is unknown."""

STEPS_TAKEN = "steps_taken"
"""Leaf (1,): adaptation steps taken so far, each counted by its factor s. 0 before adapting."""

VALUE_PRIOR = "value_prior"
"""Leaf (F, F + 1): XᵀX and XᵀR of the value baseline's fit to one episode, side by side, the mean
over all tasks. 0 while it is unknown."""

MEASURED = (STEP_VARIANCE, STEP_SIGNAL, STEPS_TAKEN, VALUE_PRIOR)


def likelihood_ratio(log_probs: Tensor, behaviour_log_probs: Tensor, advantages: Tensor) -> Tensor:
    """π_θ(a|o) / π_behaviour(a|o) · A, to be maximised; all (..., T).

    Its gradient is weighted by importance, and its derivatives remain those of the function that it
    computes, so that a small enough step along a descent direction always passes a line search.
    """
    return torch.exp(log_probs - behaviour_log_probs) * advantages


def lvc(log_probs: Tensor, behaviour_log_probs: Tensor, advantages: Tensor) -> Tensor:
    """π_θ(a|o) / ⊥(π_θ(a|o)) · A, where ⊥ stops the gradient: low-variance curvature.

    Its gradient is the score function without importance weights, at any θ.  It is meant for fresh
    episodes; a line search then follows another function than the one differentiated.

    Source: Rothfuss et al. 2019, ProMP, arXiv:1810.06784, sections 5 and 6.
    """
    del behaviour_log_probs
    return torch.exp(log_probs - log_probs.detach()) * advantages


def dice(log_probs: Tensor, behaviour_log_probs: Tensor, advantages: Tensor) -> Tensor:
    """(☐_t - ☐_{t-1}) A_t with ☐_t = exp(Σ_{i ≤ t} (log π_i - ⊥ log π_i)) of value 1.

    It has the gradient of `lvc`, and a Hessian that includes the effect of an action on the odds of
    later actions: unbiased over whole episodes, where the others leave out products of different
    steps, but with more variance.

    Source: Foerster et al. 2018, DiCE, arXiv:1802.05098, with advantages as in Farquhar et al.
    2019, Loaded DiCE, arXiv:1909.10549.
    """
    del behaviour_log_probs
    change = log_probs - log_probs.detach()  # 0, but its derivatives are not
    until_now = change.cumsum(-1)
    return (torch.exp(until_now) - torch.exp(until_now - change)) * advantages


# All have the gradient ∇ log π_θ · A at the parameters that collected the episodes.  They differ in
# their Hessians, where ∇² log π · A alone would be biased, and at other θ, as in a line search.
OBJECTIVES: dict[InnerObjective, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "lvc": lvc,
    "likelihood_ratio": likelihood_ratio,
    "dice": dice,
}


class PolicyLoss(NamedTuple):
    """L_n(θ_n) of a policy: the negative mean of an objective over the episodes of a task."""

    policy: ReactivePolicy
    """The policy's functional module."""
    episodes: Episodes
    """Adaptation episodes (N, E, T)."""
    advantages: Tensor
    """Their advantages (N, E, T)."""
    weights: Tensor
    """Weight of each step in the mean, (N, E, T)."""
    objective: InnerObjective = "lvc"
    """Objective of a step."""

    def __call__(self, params: Params) -> Tensor:
        """Return Σ_n L_n, for leaves (N, ...)."""
        mean, log_std = self.policy.distribution(params, self.episodes.observations)
        log_probs = log_prob(mean, log_std[:, None, None], self.episodes.actions)
        per_step = OBJECTIVES[self.objective]
        objective = per_step(log_probs, self.episodes.log_probs, self.advantages)
        return -(self.weights * objective).sum()

    def gradients_of_episodes(self, params: Params, adapting: Sequence[str]) -> Params:
        """Return the part of every episode in ∇ L_n, leaves (N, E, ...), with ∇ L_n as their sum.

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
        gradients = _gradient(alone, copies, adapting)
        return {name: leaf.unflatten(0, shape) for name, leaf in gradients.items()}


PRIOR_EPISODES = 4.0
"""Degrees of freedom of the learned variance and signal; E episodes have E - 1."""

LEARNING_RATE = 0.1
"""Weight of a new meta-batch in the estimates: they follow θ within about ten meta-batches."""

_LEAST = 1e-12
"""Least learned value: 0 stands for unknown."""


class StepMoments(NamedTuple):
    """Moments of the steps of every task's episodes, (N,) each."""

    num_episodes: Tensor
    """E, episodes with a step that counts."""
    length: Tensor
    """|d|², squared length of the step."""
    deviations: Tensor
    """Σ_e |d_e - d|²; 0 for a single episode."""

    @classmethod
    def of(cls, parts: Params, whole: Params, mask: Tensor) -> Self:
        """Measure steps d_e / E, leaves (N, E, ...), and their sums d (N, ...), by a mask."""
        count = (mask.sum(-1) > 0).to(mask.dtype).sum(1)
        squares = _sum_of_each([leaf.square().flatten(2).sum(2).sum(1) for leaf in parts.values()])
        length = _sum_of_each([leaf.square().flatten(1).sum(1) for leaf in whole.values()])
        deviations = count * (count * squares - length)
        return cls(count, length, torch.where(count > 1.0, deviations, 0.0))

    def sample_variances(self) -> Tensor:
        """Return σ² without bias, (N,); NaN where fewer than two episodes count."""
        freedom = self.num_episodes - 1.0
        return torch.where(freedom > 0.0, self.deviations / freedom, torch.nan)

    def sample_signals(self) -> Tensor:
        """Return S without bias, (N,), which can be negative; NaN for fewer than two episodes."""
        return self.length - self.sample_variances() / self.num_episodes

    def factors(self, variance: Tensor | None = None, signal: Tensor | None = None) -> Tensor:
        """Return s of every task, (N,); 0 where σ² is unknown.

        `variance` σ² and `signal` S are from meta-training (N, 1), 0 where unknown, or None.
        """
        freedom = (self.num_episodes - 1.0).clamp(min=0.0)
        deviations, known = _with_learned(self.deviations, freedom, variance)
        noise = deviations / (known * self.num_episodes).clamp(min=1.0)
        own = torch.relu(self.length - noise)
        total, weight = _with_learned(freedom * own, freedom, signal)
        share = total / weight.clamp(min=1.0)
        # `where` differentiates both of its branches: the unused one must stay finite.
        learned = (known > 0.0) & (share > 0.0)
        return torch.where(learned, share / torch.where(learned, share + noise, 1.0), 0.0)


def _with_learned(total: Tensor, freedom: Tensor, learned: Tensor | None) -> tuple[Tensor, Tensor]:
    """Add the learned value, where known, to a sum and to its degrees of freedom, (N,) each."""
    if learned is None:
        return total, freedom
    prior = learned.detach().squeeze(1)
    more = PRIOR_EPISODES * (prior > 0.0)
    return total + more * prior, freedom + more


def _sum_of_each(leaves: list[Tensor]) -> Tensor:
    """Add numbers (N,) of all leaves, along rows: then the order does not depend on N."""
    return torch.stack(leaves, dim=1).sum(1)


def learn_mean(learned: Tensor, samples: Tensor) -> Tensor:
    """Return a learned number (1,), 0 while unknown, after one more meta-batch of samples (N,)."""
    return running_mean(learned, samples[:, None], LEARNING_RATE, _LEAST)


StepSizes = float | Mapping[str, float | Tensor]
"""α, dimensionless: one number, or one for each leaf that adapts, which broadcasts with it."""


def adapt(
    loss: Callable[[Params], Tensor],
    params: Params,
    step_sizes: StepSizes,
    *,
    first_order: bool = False,
) -> Params:
    """Take one adaptation step on every task: θ'_n = θ_n - α ∇ L_n(θ_n).

    Args:
        loss: Σ_n L_n(θ_n), where L_n depends on the row n of each leaf alone.
        params: Parameters, each leaf (N, ...); stay attached to the graph.
        step_sizes: α; leaves without one stay.
        first_order: Treat the step as a constant, so that dθ'/dθ = 1.

    Source: Finn et al. 2017, arXiv:1703.03400, Algorithms 1 and 3.
    """
    sizes = _size_of_each(params, step_sizes)
    gradient = _gradient(loss, params, [*sizes])
    steps = {name: size * gradient[name] for name, size in sizes.items()}
    return _moved(params, steps, first_order)


def _gradient(loss: Callable[[Params], Tensor], params: Params, adapting: Sequence[str]) -> Params:
    """Return the gradient of a loss by those leaves that adapt."""
    chosen = {name: params[name] for name in adapting}
    return grad(lambda leaves: loss({**params, **leaves}))(chosen)


def adapt_shrunk(
    loss: PolicyLoss, params: Params, step_sizes: StepSizes, *, first_order: bool = False
) -> Params:
    """Take one shrunk step on every task: θ'_n = θ_n - s_n α ∇ L_n(θ_n); arguments as of `adapt`.

    s_n shrinks the step by its noise and by the steps already taken, see above.  The leaves
    `STEP_VARIANCE` and `STEP_SIGNAL` hold the estimates of meta-training, and `STEPS_TAKEN` the
    steps taken, if there are such leaves.  A task without a counted step stays as it was.
    """
    steps, moments = measured_steps(loss, params, step_sizes)
    lengths, counted = _lengths(params, moments)
    steps = {name: _of_tasks(lengths, leaf) * leaf for name, leaf in steps.items()}
    return {**_moved(params, steps, first_order), **counted}


def adapt_shrunk_by(
    lengths: Tensor,
    loss: PolicyLoss,
    params: Params,
    step_sizes: StepSizes,
    *,
    first_order: bool = False,
) -> Params:
    """Take one step shrunk by known factors s_n (N,): as `adapt_shrunk`, but they are constants.

    Where s_n need not be differentiated, no gradient of a single episode is needed.
    """
    sizes = {
        name: _of_tasks(lengths, params[name]) * size
        for name, size in _size_of_each(params, step_sizes).items()
    }
    return adapt(loss, params, sizes, first_order=first_order)


@torch.no_grad()
def step_lengths(loss: PolicyLoss, params: Params, step_sizes: StepSizes) -> Tensor:
    """Return the s_n of `adapt_shrunk`, (N,); arguments as of `adapt`."""
    return _lengths(params, measured_steps(loss, params, step_sizes)[1])[0]


def _lengths(params: Params, moments: StepMoments) -> tuple[Tensor, Params]:
    """Return s_n (N,) of a step, and the leaf that counts the steps taken, if there is one."""
    factors = moments.factors(params.get(STEP_VARIANCE), params.get(STEP_SIGNAL))
    if STEPS_TAKEN not in params:
        return factors, {}
    # The derivative of relu at 0 is 0: meta-training, which begins there, never moves it.
    taken = torch.relu(params[STEPS_TAKEN].squeeze(1))
    return factors / (1.0 + taken), {STEPS_TAKEN: (taken + factors)[:, None]}


def _of_tasks(numbers: Tensor, leaf: Tensor) -> Tensor:
    """Return a number of each task, (N,), in the shape of a leaf (N, ...), to be broadcast."""
    return numbers.reshape(-1, *[1] * (leaf.ndim - 1))


def _moved(params: Params, steps: Params, first_order: bool) -> Params:
    """Return θ_n - step, each leaf (N, ...); leaves without a step stay."""
    if first_order:
        steps = {name: leaf.detach() for name, leaf in steps.items()}
    return {**params, **{name: params[name] - step for name, step in steps.items()}}


def measured_steps(
    loss: PolicyLoss, params: Params, step_sizes: StepSizes
) -> tuple[Params, StepMoments]:
    """Return α ∇ L_n of every task, leaves (N, ...), and the moments of its episodes' steps.

    Lengths are those of steps, not of gradients: with a different α for each leaf, the movement
    counts.
    """
    parts = loss.gradients_of_episodes(params, [*(sizes := _size_of_each(params, step_sizes))])
    for name, size in sizes.items():
        if isinstance(size, Tensor):  # one for each element, and so for those of all episodes
            size = size.expand_as(params[name])[:, None]
        parts[name] = size * parts[name]
    steps = {name: leaf.sum(1) for name, leaf in parts.items()}
    return steps, StepMoments.of(parts, steps, loss.episodes.mask)


def _size_of_each(params: Params, step_sizes: StepSizes) -> Mapping[str, float | Tensor]:
    """Return α by leaf, of those that adapt."""
    if isinstance(step_sizes, Mapping):
        return step_sizes
    return {name: step_sizes for name in params if name not in MEASURED}
