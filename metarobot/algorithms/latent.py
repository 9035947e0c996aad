"""Latent: a policy that observes the task code in training, and a model to estimate the code."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from metarobot.algorithms.base import (
    Belief,
    TaskCodeLearner,
    sobol_points,
    task_codes_of,
    task_grid,
)
from metarobot.algorithms.options import LatentOptions
from metarobot.config import TrainConfig
from metarobot.envs import find_family
from metarobot.learning.adam import AdamState, descend, loss_rows
from metarobot.learning.distributed import Workers, mean_over_tasks
from metarobot.learning.meta_update import MetaBatch, chunks_of_steps
from metarobot.policies import Params
from metarobot.policies.episode_encoder import shift
from metarobot.policies.latent import UNITS, ExploringState, LatentPolicy, when
from metarobot.policies.task_model import LogLikelihood, Transitions
from metarobot.rollout.collect import replay
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.seeding import Phase, torch_generator

FEWEST_CANDIDATES = 2
"""Least number of episodes with a candidate for a comparison of their returns."""


class Latent(TaskCodeLearner[LatentPolicy]):
    """Gives the policy the task code in training, and learns a model of the outcomes of tasks.

    First the policy learns to act on the code, by TRPO, as the oracle does.  Then it stays fixed,
    and the model learns from the last part of the budget: half of these episodes have the code of
    their task, the others that of another one, drawn over all splits.

    The episodes of a robot run in sequence.  In each of them the policy acts on a task that is
    likely so far.  Adapting weights the tasks by their likelihood, with rewards or without.
    """

    title = "latent"
    in_sequence = True
    needs_rewards = False
    reads_advantages = False
    finish_share = 0.4
    options_class = LatentOptions
    policy_class = LatentPolicy

    @classmethod
    def policy_options(cls, config: TrainConfig) -> dict[str, Any]:
        """Return the tasks that are weighted: they cover all splits evenly."""
        options = cast(LatentOptions, config.options)
        family = find_family(config.env_id)
        points = sobol_points(len(family.distribution.parameters), options.num_weighed)
        return {
            "tasks": task_grid(config, points),
            "horizon": family.default_horizon,
            "angles": family.distribution.encoded_angles,
            "likelihood_power": options.likelihood_power,
        }

    @property
    def exploring_policy(self) -> LatentPolicy:
        """The policy in exploration: it acts on likely tasks."""
        return self.policy.exploring()

    @torch.no_grad()
    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Weight the tasks by the outcomes of the episodes, in sequence."""
        del advantages
        state = ExploringState(self.exploring_policy, params)
        replay(state, episodes)
        known = LogLikelihood(*(part[:, 0] for part in state.known()))
        gate = self._opens_gate(params, known, torch.cat(state.returns, dim=1))
        return {
            **params,
            **known._asdict(),
            "num_episodes": params["num_episodes"] + episodes.num_episodes,
            "trust": gate.to(params["trust"].dtype),
        }

    def _opens_gate(self, params: Params, known: LogLikelihood, returns: Tensor) -> Tensor:
        """Return whether the policy may act on the posterior now, (N, 1) bool.

        The first episode has no candidate: its return is that without adapting.  The returns of
        candidates are averaged over the later half of the episodes, since one alone can be luck.
        A later block begins with candidates; there an open gate stays open.

        Args:
            params: Before this block, each leaf (N, ...).
            known: After it, (N, .) each.
            returns: Returns of its episodes, (N, E), or NaN.
        """
        begins, later = params["num_episodes"] == 0.0, returns[:, max(1, returns.shape[1] // 2) :]
        first = torch.where(begins, returns[:, :1], torch.nan)
        if later.shape[1] < FEWEST_CANDIDATES:
            later = torch.full_like(first, torch.nan)
        was_open = ~begins & (params["trust"] > 0.0)
        later = later.mean(1, keepdim=True)
        num_episodes = params["num_episodes"] + returns.shape[1]
        return was_open | self.policy.opens_gate(params, known, first, later, num_episodes)

    def adapted_state(self, before: Params, adapted: Params) -> Tensor:
        """Return mean and standard deviation of the tasks by their weights, (N, 2 C)."""
        del before
        policy, tasks = self.policy, self.policy.tasks
        log_weights = policy.log_weights(policy.log_likelihood(adapted))
        mean, weights = policy.mean_task(log_weights), log_weights.softmax(-1)
        variance = weights @ tasks.square() - (weights @ tasks).square()
        return torch.cat([mean, variance.clamp(min=0.0).sqrt()], dim=1)

    def belief(self, params: Params) -> Belief:
        """Return the tasks and their weights."""
        policy = self.policy
        log_weights = policy.log_weights(policy.log_likelihood(params))
        return Belief(policy.tasks, log_weights.softmax(-1), params["trust"][:, 0] > 0.0)

    def num_with_code(self, num_episodes: int) -> int:
        """Return the number of episodes with the task's code: all, while the policy is trained."""
        return num_episodes

    def task_codes(self, codes: Tensor, uniforms: Tensor, *, finishing: bool = False) -> Tensor:
        """Return the task's code; for the model, another one in the second half of the episodes."""
        task_codes = super().task_codes(codes, uniforms).clone()
        if finishing:
            num_true, tasks = _num_true(uniforms.shape[1]), self.policy.tasks
            task_codes[:, num_true:] = tasks[(uniforms[:, num_true:] * len(tasks)).long()]
        return task_codes

    def finish(
        self, params: Params, batches: Sequence[MetaBatch], watch: Callable[[float], None]
    ) -> Params:
        """Fit the model to the outcomes of the policy, which is fixed now."""
        params = {**params, **find_units(self.policy, batches, self.workers)}
        generator = torch_generator(self.config.seed, 0, Phase.FINISH)
        return fit_model(self.policy, params, batches, self.options, generator, self.workers, watch)


def _num_true(num_episodes: int) -> int:
    """Return the number of episodes with the task's code in the fit of the model."""
    return (num_episodes + 1) // 2


def anchors(task_codes: Tensor) -> Tensor:
    """Return the codes that the model of steps reads as those of the policy, (N, E, C).

    They are wrong for half of the episodes.  An estimated task code changes in every step, and a
    log may come from another policy: so the model must not rely on the code.
    """
    num_true, num_episodes = _num_true(task_codes.shape[1]), task_codes.shape[1]
    others = torch.arange(num_true) % (num_episodes - num_true) + num_true
    return torch.cat([task_codes[:, others], task_codes[:, num_true:]], dim=1)


def transitions(
    policy: LatentPolicy, params: Params, episodes: Episodes, task_codes: Tensor
) -> Transitions:
    """Return episodes as the model reads them, the same as `LatentState` does step by step.

    Args:
        policy: Scales the observations.
        params: The units of outcomes, each leaf (N, D) or (1, D).
        episodes: (N, E, T); rewards are NaN where they were not measured.
        task_codes: The task code of each, (N, E, C).
    """
    mask, rewards = episodes.mask, episodes.rewards
    seen, done = policy.scale_observations(episodes.observations), episodes.actions.clamp(-1.0, 1.0)
    changes = policy.scale_observations(episodes.next_observations) - seen
    raw = torch.cat([rewards[..., None], changes], dim=-1)
    outcomes, varies = policy.in_units(params, raw.nan_to_num())
    counts = ~raw.isnan() * mask[..., None] * varies
    outcomes = outcomes * counts
    step = torch.arange(mask.shape[-1], dtype=mask.dtype).expand_as(mask)
    before = shift(outcomes[..., 1:], 1), shift(done, 1)
    return Transitions(
        inputs=torch.cat([seen, done, *before, when(step)], dim=-1),
        task_codes=task_codes[:, :, None].expand(*mask.shape, -1),
        outcomes=outcomes,
        counts=counts,
    )


def find_units(policy: LatentPolicy, batches: Sequence[MetaBatch], workers: Workers) -> Params:
    """Return the units of outcomes and returns: mean and standard deviation over all tasks."""
    size = policy.model.outcome_size
    rows = torch.cat([workers.gather(_sums(policy, batch)) for batch in batches])
    means = mean_over_tasks(_finite(rows)).reshape(3, size + 1)
    count, total, squares = torch.from_numpy(means)
    mean = total / count.clamp(min=1e-12)
    std = (squares / count.clamp(min=1e-12) - mean.square()).clamp(min=0.0).sqrt()
    found = [mean[:size], std[:size], mean[size:], std[size:]]
    return {name: unit.float() for name, unit in zip(UNITS, found, strict=True)}


def _sums(policy: LatentPolicy, batch: MetaBatch) -> Tensor:
    """Return count, sum and sum of squares of each outcome and return of a task, (N, 3 (D + 1))."""
    size = policy.model.outcome_size
    plain = {"outcome_mean": torch.zeros(1, size), "outcome_std": torch.ones(1, size)}
    shown = transitions(policy, plain, batch.post_episodes, task_codes_of(batch))
    counts, outcomes = shown.counts.double(), shown.outcomes.double()
    returns = batch.post_episodes.returns.double()[..., None, None]
    pairs = (outcomes, counts), (returns, torch.ones_like(returns))
    sums = [
        torch.stack([each.sum((1, 2)) for each in (n, values * n, values.square() * n)], dim=1)
        for values, n in pairs
    ]
    return torch.cat(sums, dim=2).flatten(1)


def _finite(rows: Tensor) -> Tensor:
    """Return the rows of tasks with finite numbers only; all rows if there is no such task."""
    finite = rows.isfinite().all(1)
    return rows[finite] if finite.any() else rows


class _Data(NamedTuple):
    """Data of B meta-batches for the model; without B, of one of its steps of Adam."""

    steps: Transitions
    """(B, N, E, T, .) each."""
    task_codes: Tensor
    """Task codes of the policy, (B, N, E, C)."""
    codes: Tensor
    """The tasks, (B, N, C)."""
    returns: Tensor
    """In their unit, (B, N, E)."""

    @classmethod
    def of(cls, policy: LatentPolicy, params: Params, batches: Sequence[MetaBatch]) -> "_Data":
        """Read meta-batches in the units of the parameters."""
        units = {name: params[name][None] for name in UNITS}
        task_codes = [task_codes_of(batch) for batch in batches]
        shown = [
            transitions(policy, units, batch.post_episodes, anchors(codes))
            for batch, codes in zip(batches, task_codes, strict=True)
        ]
        returns = [policy.return_in_units(units, batch.post_episodes.returns) for batch in batches]
        return cls(
            steps=Transitions(*(torch.stack(parts) for parts in zip(*shown, strict=True))),
            task_codes=torch.stack(task_codes),
            codes=torch.stack(task_codes)[:, :, 0],
            returns=torch.stack(returns),
        )

    def drawn(self, batches: Tensor, episodes: Tensor) -> "_Data":
        """Return some episodes (e,) of each task, from the meta-batch drawn for it, (N,)."""
        tasks = batches[:, None], torch.arange(len(batches))[:, None]
        return _Data(
            steps=Transitions(*(block[(*tasks, episodes)] for block in self.steps)),
            task_codes=self.task_codes[(*tasks, episodes)],
            codes=self.codes[tasks][:, 0],
            returns=self.returns[(*tasks, episodes)],
        )


def fit_model(
    policy: LatentPolicy,
    params: Params,
    batches: Sequence[MetaBatch],
    options: LatentOptions,
    generator: torch.Generator,
    workers: Workers,
    watch: Callable[[float], None],
) -> Params:
    """Fit the model to B meta-batches; the parameters are in their own shapes, with the units.

    A step of Adam sees as many tasks as a meta-batch has: the first one of any of the meta-batches,
    the second one of any, and so on, and some episodes of each.  Tasks with numbers that are not
    finite are left out.  The generator draws the same tasks and episodes in all processes.

    Raises:
        ValueError: The numbers of all tasks of a step are not finite.
    """
    data = _Data.of(policy, params, batches)
    num_batches, num_held, num_episodes = data.returns.shape
    num_steps = options.model_epochs * num_batches * -(-num_episodes // options.model_batch)

    def gradients(model: Params, step: int) -> Tensor:
        watch(step / num_steps)
        drawn = torch.randint(num_batches, (workers.count * num_held,), generator=generator)
        episodes = torch.randperm(num_episodes, generator=generator)[: options.model_batch]
        held = drawn[workers.rank * num_held :][:num_held]
        return _finite(workers.gather(_model_rows(policy, model, data.drawn(held, episodes))))

    def rate(moments: AdamState) -> float:
        return options.model_lr * (1.0 - float(moments.num_steps) / num_steps)

    model = policy.network_params(params)
    found = descend(gradients, model, AdamState.fresh(model), num_steps, rate)
    if found is None:
        raise ValueError(
            "the model of latent cannot be fitted: the numbers of all tasks are not finite; lower "
            "model_lr"
        )
    return policy.with_network(params, found.params)


def _model_rows(policy: LatentPolicy, model: Params, data: _Data) -> Tensor:
    """Return loss and gradient of every task held here, (n, 1 + P), in chunks of tasks."""
    rows, (steps, task_codes, codes, returns) = [], data
    for tasks in chunks_of_steps(steps.counts[..., 0]):
        part = Transitions(*(block[tasks] for block in steps))
        of_returns = task_codes[tasks], codes[tasks], returns[tasks]

        def losses(theta: Params, part: Transitions = part, of_returns: Any = of_returns) -> Tensor:
            expected = policy.model.return_losses(theta, *of_returns)
            return policy.model.losses(theta, part, of_returns[1]) + expected

        rows.append(loss_rows(losses, model, len(codes[tasks])))
    return torch.cat(rows)
