"""A latent policy at work: it acts, sees what comes of it, and weighs the tasks by that."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from metarobot.policies.evidence import Evidence
from metarobot.policies.gaussian import Distribution
from metarobot.policies.latent_networks import CONSTANT, LatentNetworks, when
from metarobot.policies.params import TOLD, Params

NUMBERS_AT_ONCE = 2**23
"""Numbers that the model makes of steps for all tasks before it sums them up: 32 MB."""

MOST_SURPRISE = 4.0
"""Mean square, in units of its noise, by which actions may differ from what the policy meant to do;
1 is expected of its own."""


class LatentActor:
    """Acts in M simulations of each task, each of which finds out the task by itself.

    The model is the same for all tasks: it is taken from the first.

    Attributes:
        returns: Of an asking policy, what each episode has returned, (N, M); NaN where it is not
            whole, or another policy has acted: of a log of that nobody knows what it was told.
    """

    def __init__(self, policy: LatentNetworks, params: Params) -> None:
        self._policy, self._params = policy, params
        self._model = {name: leaf[:1] for name, leaf in policy.model_params(params).items()}
        self._bare = {name: leaf[0] for name, leaf in self._model.items()}
        known = policy.evidence(params)
        if not policy.asks:
            known = known.times(params["trust"])
        self._known = Evidence(*(part[:, None] for part in known))  # (N, M, .) after a step
        self._question = params["num_episodes"] - 1.0  # (N, 1)
        self._waiting = False  # whether the outcome of a step is still to be seen
        self.returns: list[Tensor] = []

    def begin(self) -> None:
        """Begin episodes in all simulations; what has been found out stays."""
        if self._waiting:
            self._end_episode()
        self._step = 0
        self._question = self._question + 1.0

    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O); NaN if not seen."""
        shown = self._policy.scale_observations(observations)
        seen = shown.nan_to_num()
        if self._waiting:
            self._weigh(shown)
        elif self._step == 0:
            self._forget(seen)
        self._seen = seen
        self._told = self._choose(seen.shape[:-1])
        told = {**self._params, TOLD: self._told}
        self._meant = self._policy.distribution(told, observations.nan_to_num())
        return self._meant

    def learn(self, actions: Tensor, rewards: Tensor, counts: Tensor) -> None:
        """Take note of the step; the rest of its outcome shows with the next observation."""
        self._done_before, self._done = self._done, actions.clamp(-1.0, 1.0)
        self._rewards, self._counts = rewards, counts
        error = (self._done - self._meant.mean.clamp(-1.0, 1.0)) / self._meant.log_std[
            :, None
        ].exp()
        self._sums = self._sums + torch.where(
            counts, torch.stack([torch.ones_like(rewards), rewards, error.square().mean(-1)]), 0.0
        )
        self._waiting = True

    def known(self) -> Evidence:
        """Return what has been found out by now, (N, M, .) each."""
        if self._waiting:
            self._end_episode()
        return self._known

    def _end_episode(self) -> None:
        """Weigh the tasks by the last outcome, and by what a question has returned.

        A question is told one task all through the episode: what that earns tells something, too.
        """
        self._weigh(None)
        if not self._policy.asks:
            return
        num_steps, returns, surprise = self._sums
        own = (num_steps == self._policy.horizon) & (surprise <= MOST_SURPRISE * num_steps)
        self.returns.append(torch.where(own, returns, torch.nan))
        self._known = self._known.plus(self._weighed_by_returns())

    def _choose(self, shape: torch.Size) -> Tensor:
        """Return what the policy is told now, (N, M, C)."""
        policy = self._policy
        log_weights = policy.log_weights(self._known).expand(*shape, -1)
        mean = policy.mean_task(log_weights)
        if not policy.asks:
            return mean
        question = self._question.expand(shape)
        if self._step == 0:
            self._asked = policy.drawn_task(log_weights, question)
        return torch.where((question > 0)[..., None], self._asked, mean)

    def _forget(self, seen: Tensor) -> None:
        """Forget the episode before, but for what it has told."""
        self._done = seen.new_zeros(*seen.shape[:-1], self._policy.action_size)
        self._change = torch.zeros_like(seen)
        self._sum: Tensor | float = 0.0
        # Of steps, rewards, and squared distances from what it meant to do, in units of its noise.
        self._sums = seen.new_zeros(3, *seen.shape[:-1])

    def _weigh(self, seen: Tensor | None) -> None:
        """Weigh the tasks by the outcome of the last step; None where the episode has ended."""
        model = self._policy.model
        when_now = when(torch.full_like(self._rewards, float(self._step)))
        parts = [self._seen, self._done, self._change, self._done_before, when_now]
        inputs, told = _in_a_row(torch.cat(parts, dim=-1)), _in_a_row(self._told)
        self._sum = self._sum + model.summarise(self._model, inputs, told)
        self._step += 1
        read = model.read_steps(self._model, inputs, told, self._sum / self._step)
        outcomes, counts = self._outcomes(seen)
        rows = read[0], told[0], outcomes.flatten(0, 1), counts.flatten(0, 1)
        weigh = partial(model.weigh, self._bare, self._policy.tasks)
        self._known = self._known.plus(self._held_against_tasks(weigh, read.shape[2], *rows))
        self._change = (outcomes * counts)[..., 1:]
        self._waiting = False

    def _weighed_by_returns(self) -> Evidence:
        """Hold what the last question has returned against all tasks, (N, M, .)."""
        policy = self._policy
        returns = policy.return_in_units(self._params, self.returns[-1])
        varies = self._params["return_std"] > CONSTANT
        tells = (returns.isfinite() & (self._question > 0) & varies).to(returns.dtype)
        rows = (each.flatten(0, 1) for each in (self._asked, returns.nan_to_num(), tells))
        weigh = partial(policy.model.weigh_returns, self._model, policy.tasks)
        return self._held_against_tasks(weigh, policy.model.width, *rows)

    def _held_against_tasks(
        self, weigh: Callable[..., Evidence], size: int, *rows: Tensor
    ) -> Evidence:
        """Weigh all tasks by N M rows, some at a time, which bounds the memory; (N, M, .).

        Args:
            weigh: Maps rows to evidence.
            size: Numbers that it makes for each row and task.
            rows: (N M, .) each.
        """
        at_once = max(2, NUMBERS_AT_ONCE // (size * len(self._policy.tasks)))
        blocks = zip(*(each.split(at_once) for each in rows), strict=True)
        parts = [weigh(*block) for block in blocks]
        joined = Evidence(*(torch.cat(each) for each in zip(*parts, strict=True)))
        return joined.reshaped(*self._rewards.shape)

    def _outcomes(self, seen: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return what came of the last step, and 1.0 for what was seen of it, (N, M, D) each."""
        change = torch.full_like(self._seen, torch.nan) if seen is None else seen - self._seen
        raw = torch.cat([self._rewards[..., None], change], dim=-1)
        outcomes, varies = self._policy.in_units(self._params, raw.nan_to_num())
        return outcomes, (~raw.isnan() & self._counts[..., None]) * varies


def _in_a_row(block: Tensor) -> Tensor:
    """Return (N, M, X) as (1, N M, X), for a model that is the same for all."""
    return block.flatten(0, 1)[None]
