"""A policy that observes the task code in training, and estimates it on a robot."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from metarobot.policies.gaussian import Distribution, PolicyState, ReactiveState
from metarobot.policies.mlp import ConditionedMLP, conditioned
from metarobot.policies.params import TASK_CODE, Params, xavier_params
from metarobot.policies.task_model import LogLikelihood, TaskModel

POSTERIOR = ("squares", "log_variances", "num_outcomes", "num_episodes", "trust")
"""Leaves of the posterior over tasks: set by adaptation, never trained."""
UNITS = ("outcome_mean", "outcome_std", "return_mean", "return_std")
"""Leaves of the units in which the model reads outcomes and returns."""

NUM_LIKELY, MOST_AHEAD = 8, math.log(30.0)
"""Greatest lead of the likeliest task over the last of so many, in logarithms of weights."""
MOST_HARM = 0.05
"""Share of the possible gain that a task may lose by the gate, open or closed."""
MOST_RISK = 0.05
"""Greatest probability of a larger loss at which the policy still acts on the posterior."""
POWER_OF_ONE = 0.3
"""Power of the weights in this decision after one episode, twice that after two, and so on up to 1:
within an episode the errors of the model are correlated, so the weights of one are too sure."""

CONSTANT = 1e-4
"""Standard deviation below which an element of the outcome, or the return, does not vary."""
_GOLDEN_RATIO = 0.6180339887498949

NUMBERS_AT_ONCE = 2**20
"""Numbers per chunk that the model computes for all tasks before it sums them: 4 MB, which a cache
holds; larger blocks take twice the time."""
MOST_SURPRISE = 4.0
"""Greatest mean square of actions about the policy's means, in units of its noise, for which the
actions count as its own; 1 is expected."""


class LatentPolicy(ConditionedMLP):
    """π_θ(a | o, z): a `ConditionedMLP` on a task code z, and a model by which it is estimated.

    On a robot z is the mean of K tasks, spread over all splits, by their weights: the likelihood of
    all observed outcomes, updated in every step.  In exploration z is a task drawn by weight.

    The inputs also reach the action directly, through one more matrix: tanh layers level off beyond
    the tasks that they are trained on.

    The parameters are those of the perceptron, of the model (`TaskModel`), the model's units, and
    the posterior: `LogLikelihood` of the K tasks, its number of episodes (`num_episodes`), and the
    gate, whether the policy acts on it (leaf `trust`, 1.0 or 0.0).
    """

    tasks: Tensor  # (K, C)

    network = "model."
    measured = (*POSTERIOR, *UNITS)

    def __init__(
        self,
        *layout: Any,
        tasks: Tensor,
        horizon: int,
        angles: Sequence[int] = (),
        likelihood_power: float = 0.3,
        **options: Any,
    ) -> None:
        """Lay out the networks; further arguments are those of `GaussianMLP`.

        Args:
            layout: As of `GaussianMLP`.
            tasks: Codes of the K tasks that are weighted, (K, C).
            horizon: T, control steps of a whole episode.
            angles: Indices in a code at which an angle begins: its cosine, then its sine.
            likelihood_power: Power of the likelihood.
            options: As of `GaussianMLP`.
        """
        num_tasks, code_size = tasks.shape
        super().__init__(*layout, context_size=code_size, **options)
        self.register_buffer("tasks", tasks, persistent=False)
        self.angles, self.likelihood_power, self.explores = tuple(angles), likelihood_power, False
        self.horizon = horizon
        size = self.observation_centre.numel()
        self.direct = nn.Linear(self.num_inputs, self.action_size, bias=False, device="meta")
        self.model = TaskModel(size, self.action_size, code_size)
        lengths = {
            **dict.fromkeys(UNITS[:2], self.model.outcome_size),
            **dict.fromkeys(UNITS[2:], 1),
            **dict.fromkeys(POSTERIOR[:2], num_tasks),
            **dict.fromkeys(POSTERIOR[2:], 1),
        }
        for name, length in lengths.items():
            self.register_parameter(name, nn.Parameter(torch.empty(length, device="meta")))

    def exploring(self) -> Self:
        """Return the same policy as it explores."""
        return self.altered(explores=True)

    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw fresh parameters, with the posterior equal to the prior.

        All units are 0, so that no outcome varies: a model that is not fitted has no effect.
        """
        params = super().initial_params(generator)
        return self.with_network(params, xavier_params(self.model, generator))

    @staticmethod
    def log_likelihood(params: Params) -> LogLikelihood:
        """Return the log-likelihood of the parameters, (N, .) each."""
        return LogLikelihood(params["squares"], params["log_variances"], params["num_outcomes"])

    def start(self, params: Params) -> PolicyState:
        """Begin to act: by the task code in training, or else by its own estimate."""
        if TASK_CODE in params:
            return ReactiveState(self, params)
        return (ExploringState if self.explores else LatentState)(self, params)

    def inputs(self, observations: Tensor, params: Params) -> Tensor:
        """Return the first layer's inputs for observations (N, L, O), L / M steps of M episodes."""
        scaled, task_codes = super().inputs(observations, params), params[TASK_CODE]
        task_codes = task_codes.repeat_interleave(scaled.shape[1] // task_codes.shape[1], dim=1)
        return conditioned(scaled, task_codes)

    def mean(self, inputs: Tensor, params: Params) -> Tensor:
        """Return the means of the actions (N, M, A) for inputs of the first layer, (N, M, I)."""
        return super().mean(inputs, params) + inputs @ params["direct.weight"].mT

    def log_weights(self, known: LogLikelihood) -> Tensor:
        """Return the logarithm of the weight of each task, but for a constant, (..., K).

        The tasks are points, and the true one lies between them: with ever more data one wrong
        point would take all weight.  So the weights are flattened until the likeliest task leads
        the one of rank `NUM_LIKELY` by `MOST_AHEAD` at most.
        """
        log_weights = known.log_weights(self.likelihood_power)
        likely = log_weights.topk(min(NUM_LIKELY, len(self.tasks)), dim=-1).values
        ahead = likely[..., :1] - likely[..., -1:]
        return log_weights * (MOST_AHEAD / ahead.clamp(min=MOST_AHEAD))

    def mean_task(self, log_weights: Tensor) -> Tensor:
        """Return the weighted mean of the tasks, (..., C) for weights (..., K)."""
        mean = log_weights.softmax(-1) @ self.tasks
        for first in self.angles:
            before, pair, after = mean.tensor_split([first, first + 2], dim=-1)
            length = pair.norm(dim=-1, keepdim=True).clamp(min=1e-6)
            mean = torch.cat([before, pair / length, after], dim=-1)
        return mean

    def drawn_task(self, log_weights: Tensor, number: Tensor) -> Tensor:
        """Return one task drawn by weight (..., K), with numbers of the draw (...): (..., C).

        Successive draws follow the golden ratio, so that none lies near those before it.
        """
        place = torch.frac(0.5 + number * _GOLDEN_RATIO)
        up_to = log_weights.softmax(-1).cumsum(-1)
        chosen = torch.searchsorted(up_to, place[..., None]).clamp(max=len(self.tasks) - 1)
        return self.tasks[chosen[..., 0]]

    def in_units(self, params: Params, outcomes: Tensor) -> tuple[Tensor, Tensor]:
        """Return outcomes (N, ..., D) in units of their spread, and 1.0 for those that vary."""
        ones = [1] * (outcomes.ndim - 2)
        mean, std = (params[name].reshape(-1, *ones, outcomes.shape[-1]) for name in UNITS[:2])
        return (outcomes - mean) / std.clamp(min=CONSTANT), (std > CONSTANT).to(outcomes.dtype)

    @staticmethod
    def return_in_units(params: Params, returns: Tensor) -> Tensor:
        """Return returns (N, M) in the unit in which the model reads them."""
        return (returns - params["return_mean"]) / params["return_std"].clamp(min=CONSTANT)

    def opens_gate(
        self,
        params: Params,
        known: LogLikelihood,
        first: Tensor,
        later: Tensor,
        num_episodes: Tensor,
    ) -> Tensor:
        """Return whether the policy may act on the posterior, (N, 1) bool.

        Let m be the share `MOST_HARM` of the gain by the true task code over the mean of the prior,
        as the model expects it, averaged over tasks.  The gate opens if acting on the posterior
        loses more than m with a probability of `MOST_RISK` at most, and either more than m is left
        to gain over `first`, or `later` is at least `first` - m.  It also opens if `later` is at
        least `first` + m, regardless of the model: candidates are worse than the posterior.

        Args:
            params: Each leaf (N, ...).
            known: (N, .) each.
            first: Return of an episode without a candidate, (N, 1); NaN where it was not measured.
            later: Mean return of later episodes with candidates, (N, 1), or NaN.
            num_episodes: Number of episodes of the posterior, (N, 1).
        """
        log_weights = self.log_weights(known)
        weights = (log_weights * (POWER_OF_ONE * num_episodes).clamp(max=1.0)).softmax(-1)
        model = {name: leaf[:1] for name, leaf in self.network_params(params).items()}
        codes = self.tasks.expand(len(log_weights), -1, -1)

        def expected(task_codes: Tensor) -> Tensor:
            pairs = (
                each.reshape(1, -1, each.shape[-1]) for each in (task_codes.expand_as(codes), codes)
            )
            return self.model.returns(model, *pairs)[0].view(codes.shape[:2])

        before = expected(self.mean_task(torch.zeros_like(log_weights))[:, None])
        if_known = expected(codes)
        much = MOST_HARM * (if_known - before).clamp(min=0.0).mean(1, keepdim=True)
        is_harm = expected(self.mean_task(log_weights)[:, None]) < before - much
        risk = (weights * is_harm).sum(1, keepdim=True)
        most = (weights * if_known).sum(1, keepdim=True)
        first, later = self.return_in_units(params, first), self.return_in_units(params, later)
        little_to_win = (first >= most - much) & ~(later >= first - much)
        return (later >= first + much) | (risk <= MOST_RISK) & ~little_to_win


def when(step: Tensor) -> Tensor:
    """Return the model's features of the time, (..., 2), for the steps taken before, (...)."""
    return torch.stack([(step == 0).to(step.dtype), (1.0 + step).log() / 4.0], dim=-1)


class LatentState(PolicyState):
    """State in M simulations of each task; each simulation estimates the task on its own.

    The model is the same for all tasks: it is taken from the first.  The outcome of a step is
    in the weights with the next observation; where that begins an episode, by the reward alone.
    """

    def __init__(self, policy: LatentPolicy, params: Params) -> None:
        super().__init__()
        self._policy, self._params = policy, params
        self._model = {name: leaf[:1] for name, leaf in policy.network_params(params).items()}
        self._bare = {name: leaf[0] for name, leaf in self._model.items()}
        known = policy.log_likelihood(params)
        if not policy.explores:
            known = known.times(params["trust"])
        num_observations, code_size = policy.observation_centre.numel(), policy.tasks.shape[1]
        sizes = {
            "observation": num_observations,
            "change": num_observations,
            "action": policy.action_size,
            "action_before": policy.action_size,
            "task_codes": code_size,
            "total": policy.model.width,
            "step": 1,
        }
        nothing = params["trust"].new_zeros(len(params["trust"]), 1, 1)
        self.memory = {name: nothing.expand(-1, -1, size) for name, size in sizes.items()}
        self.memory |= {name: part[:, None] for name, part in known._asdict().items()}
        self._reward, self._counts, self._begins = nothing, nothing > 0.0, nothing == 0.0

    def begin(self, begins: Tensor | None = None) -> None:
        """Begin episodes in all simulations, or in some; the posterior stays."""
        self._begins = torch.tensor([[[True]]]) if begins is None else begins[..., None]

    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O); NaN if not seen."""
        shown = self._policy.scale_observations(observations)
        shape = shown.shape[:-1]
        self.memory = {name: leaf.expand(*shape, -1) for name, leaf in self.memory.items()}
        self._reward, self._counts, begins = (
            flags.expand(*shape, 1) for flags in (self._reward, self._counts, self._begins)
        )
        self._update(torch.where(begins, torch.nan, shown - self.memory["observation"]))
        for name in ("step", "total", "change", "action"):
            leaf = self.memory[name]
            self.memory[name] = torch.where(begins, torch.zeros_like(leaf), leaf)
        task_codes = self._choose(begins)
        distribution = self._policy.distribution(
            {**self._params, TASK_CODE: task_codes}, observations.nan_to_num()
        )
        self.memory |= {"observation": shown.nan_to_num(), "task_codes": task_codes}
        self._begins = torch.zeros_like(begins)
        return distribution

    def observe(self, actions: Tensor, rewards: Tensor, counts: Tensor) -> None:
        """Record the step; the next observation completes its outcome."""
        done = {"action_before": self.memory["action"], "action": actions.clamp(-1.0, 1.0)}
        self.memory |= done
        self._reward, self._counts = rewards[..., None], counts[..., None]

    def known(self) -> LogLikelihood:
        """Return the log-likelihood by now, (N, M, .) each."""
        self._update(torch.full_like(self.memory["observation"], torch.nan))
        return self._log_likelihood()

    def _log_likelihood(self) -> LogLikelihood:
        return LogLikelihood(*(self.memory[name] for name in LogLikelihood._fields))

    def _choose(self, begins: Tensor) -> Tensor:
        """Return the task codes of the policy now, (N, M, C)."""
        del begins
        return self._policy.mean_task(self._policy.log_weights(self._log_likelihood()))

    def _update(self, change: Tensor) -> None:
        """Weight the tasks by the outcome of the last step: its reward, and a change (N, M, O)."""
        policy, memory = self._policy, self.memory
        parts = [memory[name] for name in ("observation", "action", "change", "action_before")]
        inputs = _in_a_row(torch.cat([*parts, when(memory["step"][..., 0])], dim=-1))
        task_codes = _in_a_row(memory["task_codes"])
        added = policy.model.summarise(self._model, inputs, task_codes)
        total, step = memory["total"] + added.view_as(memory["total"]), memory["step"] + 1.0
        read = policy.model.read_steps(self._model, inputs, task_codes, _in_a_row(total / step))
        raw = torch.cat([self._reward, change], dim=-1)
        outcomes, varies = policy.in_units(self._params, raw.nan_to_num())
        counts = (~raw.isnan() & self._counts) * varies
        rows = read[0], task_codes[0], outcomes.flatten(0, 1), counts.flatten(0, 1)
        log_likelihood = partial(policy.model.log_likelihood, self._bare, policy.tasks)
        self._add(self._over_tasks(log_likelihood, read.shape[2], *rows))
        self.memory |= {"total": total, "step": step, "change": (outcomes * counts)[..., 1:]}
        self._counts = torch.zeros_like(self._counts)

    def _add(self, log_likelihood: LogLikelihood) -> None:
        self.memory |= self._log_likelihood().plus(log_likelihood)._asdict()

    def _over_tasks(
        self, log_likelihood: Callable[..., LogLikelihood], size: int, *rows: Tensor
    ) -> LogLikelihood:
        """Weight all tasks by rows (N M, .), some at a time, which bounds the memory; (N, M, .).

        The function makes `size` numbers for each row and task.
        """
        shape = self.memory["step"].shape[:-1]
        if torch.compiler.is_exporting():  # for any number of robots
            return log_likelihood(*rows).reshaped(*shape)
        at_once = max(2, NUMBERS_AT_ONCE // (size * len(self._policy.tasks)))
        blocks = zip(*(each.split(at_once) for each in rows), strict=True)
        parts = [log_likelihood(*block) for block in blocks]
        joined = LogLikelihood(*(torch.cat(each) for each in zip(*parts, strict=True)))
        return joined.reshaped(*shape)


class ExploringState(LatentState):
    """Explores: each episode but the first has one task code all through, drawn by weight.

    Attributes:
        returns: Return of each episode, (N, M); NaN where it is not whole, or another policy has
            acted: its task code is unknown.
    """

    def __init__(self, policy: LatentPolicy, params: Params) -> None:
        super().__init__(policy, params)
        self._number = params["num_episodes"] - 1.0  # (N, 1)
        self._waiting = False  # whether the outcome of a step is still to be seen
        self.returns: list[Tensor] = []

    def begin(self, begins: Tensor | None = None) -> None:
        """Begin episodes in all simulations; the posterior stays."""
        if self._waiting:
            self._end_episode()
        self._number = self._number + 1.0
        super().begin(begins)

    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O); NaN if not seen."""
        self._meant = super().act(observations)
        self._waiting = False
        return self._meant

    def observe(self, actions: Tensor, rewards: Tensor, counts: Tensor) -> None:
        """Record the step, and the distance of the action from its mean."""
        super().observe(actions, rewards, counts)
        mean, log_std = self._meant
        error = (self.memory["action"] - mean.clamp(-1.0, 1.0)) / log_std[:, None].exp()
        step = torch.stack([torch.ones_like(rewards), rewards, error.square().mean(-1)])
        self._sums = self._sums + torch.where(counts, step, 0.0)
        self._waiting = True

    def known(self) -> LogLikelihood:
        """Return the log-likelihood by now, (N, M, .) each."""
        if self._waiting:
            self._end_episode()
        return self._log_likelihood()

    def _end_episode(self) -> None:
        """Weight the tasks by the last outcome, and by the return of the candidate."""
        super().known()
        self._waiting = False
        num_steps, returns, surprise = self._sums
        own = (num_steps == self._policy.horizon) & (surprise <= MOST_SURPRISE * num_steps)
        self.returns.append(torch.where(own, returns, torch.nan))
        self._add(self._return_log_likelihood())

    def _choose(self, begins: Tensor) -> Tensor:
        """Return the task codes of the policy now, (N, M, C)."""
        policy, shape = self._policy, begins.shape[:-1]
        log_weights = policy.log_weights(self._log_likelihood())
        number = self._number.expand(shape)
        if bool(begins.any()):
            self._candidate = policy.drawn_task(log_weights, number)
            # Of steps, rewards, and squared distances of actions from means, in units of noise.
            self._sums = log_weights.new_zeros(3, *shape)
        return torch.where((number > 0)[..., None], self._candidate, policy.mean_task(log_weights))

    def _return_log_likelihood(self) -> LogLikelihood:
        """Return the log-likelihood of the last return, (N, M, .) each."""
        policy = self._policy
        returns = policy.return_in_units(self._params, self.returns[-1])
        varies = self._params["return_std"] > CONSTANT
        counts = (returns.isfinite() & (self._number > 0) & varies).to(returns.dtype)
        rows = (each.flatten(0, 1) for each in (self._candidate, returns.nan_to_num(), counts))
        log_likelihood = partial(policy.model.return_log_likelihood, self._model, policy.tasks)
        return self._over_tasks(log_likelihood, policy.model.width, *rows)


def _in_a_row(block: Tensor) -> Tensor:
    """Return (N, M, X) as (1, N M, X), for a model that is the same for all."""
    return block.flatten(0, 1)[None]
