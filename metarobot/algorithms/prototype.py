"""Adaptation by prototypes: the mean embedding of the episodes is an input of the policy."""

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import NamedTuple, cast

import torch
from torch import Tensor

from metarobot.algorithms.base import Algorithm
from metarobot.algorithms.options import PrototypeOptions
from metarobot.config import TrainConfig
from metarobot.learning.adam import AdamState, descend
from metarobot.learning.chunks import chunks_of_steps, params_of
from metarobot.learning.distributed import ALONE, Workers, running_mean
from metarobot.learning.inner_loop import LEARNING_RATE, learn_mean
from metarobot.learning.meta_update import MetaBatch, UpdateReport, surrogates
from metarobot.learning.prototypes import (
    embed_all,
    embedding_moments,
    episode_counts,
    per_task_encoder_gradients,
    prototypes,
    step_features,
)
from metarobot.learning.trpo import trpo_update
from metarobot.machine import map_on_threads
from metarobot.policies import MIN_STD, Distribution, Params, repeat_params
from metarobot.policies.episode_encoder import embed
from metarobot.policies.prototype import CONTEXT, SPREAD, PrototypePolicy
from metarobot.rollout.episodes import Episodes


class Prototype(Algorithm[PrototypePolicy]):
    """A policy conditioned on the prototype of its episodes, with an encoder trained on distances.

    The encoder learns to embed episodes of one task close together and those of different tasks
    apart, from episodes alone; it gets no gradient from returns. Within a meta-update embeddings
    stay near their places before, so that the policy can follow. The policy learns by TRPO, in
    adaptation episodes and after them, with prototypes as data.

    Source: Snell et al. 2017, arXiv:1703.05175, for the encoder; Rakelly et al. 2019, PEARL,
    arXiv:1903.08254, for a policy conditioned on embedded episodes.
    """

    title = "prototypes"
    options_class = PrototypeOptions
    policy_class = PrototypePolicy

    def __init__(
        self, config: TrainConfig, policy: PrototypePolicy, workers: Workers = ALONE
    ) -> None:
        super().__init__(config, policy, workers)
        self.moments = AdamState.fresh(dict(policy.encoder.named_parameters()))

    @classmethod
    def policy_options(cls, config: TrainConfig) -> dict[str, int]:
        """Return the size of a prototype, and its number of episodes in meta-training."""
        options = cast(PrototypeOptions, config.options)
        trained_episodes = options.adaptation_steps * config.episodes_per_task
        return {"embedding_size": options.embedding_size, "trained_episodes": trained_episodes}

    @torch.no_grad()
    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Include the episodes in the mean of the prototype."""
        del advantages
        encoder = self.policy.network_params(params)
        parts = map_on_threads(
            lambda tasks: embed(
                params_of(encoder, tasks), *self._encoder_inputs([episodes.rows(tasks)])
            ),
            chunks_of_steps(episodes.rewards),
        )
        embeddings = torch.cat(parts)
        counts = episode_counts(episodes.mask)
        known, more = params["num_episodes"], counts.sum(1, keepdim=True)
        sums = known * params["prototype"] + more * prototypes(embeddings, counts)
        prototype = sums / (known + more).clamp(min=1.0)
        return {**params, "prototype": prototype, "num_episodes": known + more}

    def update(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Take a natural-gradient step on the policy, and Adam's steps on the encoder."""
        objective, blocks = self._policy_objective(params, batch)
        acting = self.policy.acting_params(params)
        acting, report = trpo_update(objective, acting, blocks, self.options, self.workers)
        if rows := report.rejected_tasks:
            rejected = tuple(sorted({row // len(batch.blocks) for row in rows}))
            return params, report._replace(rejected_tasks=rejected)
        steps = self._encoder_inputs(batch.pre_episodes)
        embeddings = embed_all(self.policy.network_params(params), steps)
        encoder, loss = self._train_encoder(params, steps, embeddings)
        spread = self._measure_spread(params, embeddings, steps[1])
        return {**params, **acting, **encoder, **spread}, report._replace(encoder_loss=loss)

    def _policy_objective(self, params: Params, batch: MetaBatch) -> tuple["EveryBlock", MetaBatch]:
        """Return the objective of the policy, and the episodes that it is of."""
        num_tasks, K = batch.post_episodes.num_tasks, len(batch.pre_episodes)
        stages, advantages = [repeat_params(params, num_tasks)], []
        for episodes, raw in zip(batch.pre_episodes, batch.pre_advantages, strict=True):
            stages.append(self.adapt(stages[-1], episodes, raw))
            advantages.append(self.scale_outer(raw, episodes.mask))
        context = {name: _rows([stage[name] for stage in stages]) for name in CONTEXT}
        floors = torch.tensor([self.exploring_policy.min_log_std] * K + [self.policy.min_log_std])
        objective = EveryBlock(
            policy=self.policy.with_min_std(MIN_STD),
            context=context,
            min_log_std=floors.repeat(num_tasks)[:, None],
        )
        blocks = MetaBatch(
            pre_episodes=(),
            pre_advantages=(),
            post_episodes=Episodes(
                **{
                    field.name: _rows([getattr(block, field.name) for block in batch.blocks])
                    for field in fields(Episodes)
                }
            ),
            post_advantages=_rows([*advantages, batch.post_advantages]),
        )
        return objective, blocks

    def _train_encoder(
        self, params: Params, steps: tuple[Tensor, Tensor], anchors: Tensor
    ) -> tuple[Params, float]:
        """Take the epochs of one meta-batch, of features (n, E, T, F) and mask (n, E, T).

        Anchors are their embeddings by these parameters, (n, E, D). Returns the encoder's leaves,
        and its loss before the first epoch, which has no anchor term yet.
        """
        encoder, options = self.policy.network_params(params), self.options

        def gradients(encoder: Params, step: int) -> Tensor:
            del step
            return per_task_encoder_gradients(encoder, steps, anchors, self.workers)

        found = descend(
            gradients, encoder, self.moments, options.encoder_epochs, lambda _: options.outer_lr
        )
        if found is None:  # not finite: the encoder stays as it was
            return {}, math.nan
        self.moments = found.moments
        return self.policy.with_network({}, found.params), found.losses[0]

    def _measure_spread(self, params: Params, embeddings: Tensor, mask: Tensor) -> Params:
        """Return `SPREAD` after one more meta-batch, before its embeddings are trained on."""
        counts = self.workers.gather(episode_counts(mask))
        moments = embedding_moments(self.workers.gather(embeddings), counts)
        mean, noise, spread = (params[name] for name in SPREAD)
        learned = (
            running_mean(mean, moments.centres, LEARNING_RATE),
            learn_mean(noise, moments.noise),
            learn_mean(spread, moments.spread),
        )
        return dict(zip(SPREAD, learned, strict=True))

    def _encoder_inputs(self, blocks: Sequence[Episodes]) -> tuple[Tensor, Tensor]:
        """Return features (N, E, T, F) and mask (N, E, T) of the episodes of all blocks."""
        features = []
        for block in blocks:
            parts = [block.rows(tasks) for tasks in chunks_of_steps(block.rewards)]
            features.append(torch.cat([step_features(self.policy, b, b.rewards) for b in parts]))
        return torch.cat(features, dim=1), torch.cat([block.mask for block in blocks], dim=1)


class EveryBlock(NamedTuple):
    """Objective of the policy: the surrogate of every block of every task, as if each were a task.

    So adaptation episodes count as much as those after them, in the trust region as well. Rows are
    in the order of the tasks, all blocks of a task together.
    """

    policy: PrototypePolicy
    context: Params
    """Context of the policy in each row: leaves (N (K + 1), ...)."""
    min_log_std: Tensor
    """Floor of the action noise in each row, (N (K + 1), 1)."""

    def adapted_distribution(self, params: Params, batch: MetaBatch) -> Distribution:
        """θ_n -> π_θ given the prototypes."""
        observations = batch.post_episodes.observations
        mean, log_std = self.policy.distribution({**params, **self.context}, observations)
        return Distribution(mean, log_std.clamp(min=self.min_log_std))

    def metric_map(self, params: Params, batch: MetaBatch) -> Callable[[Params], Distribution]:
        """Return θ_n -> π_θ given the prototypes, whose Jacobian at θ makes the metric of TRPO."""
        del params
        return lambda theta: self.adapted_distribution(theta, batch)

    def losses(self, params: Params, batch: MetaBatch) -> tuple[Tensor, Distribution]:
        """θ_n -> surrogate of every row, and π_θ given the prototypes."""
        distribution = self.adapted_distribution(params, batch)
        return surrogates(distribution, batch.post_episodes, batch.post_advantages), distribution

    def of_tasks(self, tasks: slice) -> "EveryBlock":
        """Return the objective of some rows, with their contexts."""
        return self._replace(
            context=params_of(self.context, tasks), min_log_std=self.min_log_std[tasks]
        )


def _rows(blocks: Sequence[Tensor]) -> Tensor:
    """Join K + 1 blocks (N, ...) to rows (N (K + 1), ...), all blocks of a task together."""
    return torch.stack(list(blocks), dim=1).flatten(0, 1)
