"""The networks of a latent policy, and what is computed with them: acting if told, recognising."""

import copy
import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from metarobot.policies.evidence import Evidence
from metarobot.policies.gaussian_mlp import GaussianMLP
from metarobot.policies.params import TOLD, Params, under_prefix, with_prefix
from metarobot.policies.products import products
from metarobot.policies.task_model import TaskModel

BELIEF = ("squares", "log_variances", "num_outcomes", "num_episodes", "trust")
"""Leaves that hold what is known of the task; adaptation sets them, and nothing trains them."""
UNITS = ("outcome_mean", "outcome_std", "return_mean", "return_std")
"""Leaves that hold the units in which the model sees outcomes and returns."""

NUM_LIKELY, MOST_AHEAD = 8, math.log(30.0)
"""How far the likeliest task may be ahead of the last of so many, in logarithms of weights."""
MOST_HARM = 0.05
"""Share of what there is to win that a task may lose by acting on what is known, or forgo."""
MOST_RISK = 0.05
"""Probability of losing more at which the policy rather acts as if nothing were known."""
POWER_OF_ONE = 0.3
"""Power of the weights in this decision after one episode, twice that after two, and so on up to 1:
within an episode the model errs alike, so it is too sure of what a single one shows."""

_MODEL = "model."
CONSTANT = 1e-4
"""Standard deviation below which an element of the outcome, or the return, does not vary."""
_GOLDEN_RATIO = 0.6180339887498949


class LatentNetworks(GaussianMLP):
    """π_θ(a | o, z): a `GaussianMLP` that is told a task z, and a model by which it is recognised.

    The first layer sees [o, z, o ⊗ z].  What it sees also reaches the action directly, through one
    more matrix: tanh layers level off beyond the tasks that they are trained on.

    Of K tasks, spread over all splits, each has a weight, the likelihood of what has been seen.

    The parameters are those of the perceptron, of the model (`TaskModel`), the model's units, and
    what is known: `Evidence` for the K tasks, from how many episodes it comes (`num_episodes`), and
    whether the policy acts on it (`trust`, 1.0 or 0.0).
    """

    tasks: Tensor  # (K, C)

    def __init__(
        self,
        observation_low: Sequence[float],
        observation_high: Sequence[float],
        action_size: int,
        hidden_sizes: Sequence[int] = (64, 64),
        initial_std: float = 0.5,
        *,
        tasks: Tensor,
        horizon: int,
        angles: Sequence[int] = (),
        likelihood_power: float = 0.3,
    ) -> None:
        """Lay out the networks; positional arguments are those of `GaussianMLP`.

        Args:
            observation_low: (O,).
            observation_high: (O,).
            action_size: A.
            hidden_sizes: Width of each tanh layer.
            initial_std: In half action ranges.
            tasks: The K tasks that are weighed, encoded, (K, C).
            horizon: T, control steps of a whole episode.
            angles: Where in a code an angle begins, which is its cosine and its sine.
            likelihood_power: Power of the likelihood of what is seen.
        """
        super().__init__(observation_low, observation_high, action_size, hidden_sizes, initial_std)
        size, width = len(observation_low), (*hidden_sizes, action_size)[0]
        num_tasks, code_size = tasks.shape
        self.register_buffer("tasks", tasks, persistent=False)
        self.angles, self.likelihood_power, self.asks = tuple(angles), likelihood_power, False
        self.horizon = horizon
        num_inputs = size + code_size * (1 + size)
        self.layers[0] = nn.Linear(num_inputs, width, device="meta")
        self.direct = nn.Linear(num_inputs, action_size, bias=False, device="meta")
        self.model = TaskModel(size, action_size, code_size)
        lengths = {
            **dict.fromkeys(UNITS[:2], self.model.outcome_size),
            **dict.fromkeys(UNITS[2:], 1),
            **dict.fromkeys(BELIEF[:2], num_tasks),
            **dict.fromkeys(BELIEF[2:], 1),
        }
        for name, length in lengths.items():
            self.register_parameter(name, nn.Parameter(torch.empty(length, device="meta")))

    def asking(self) -> Self:
        """Return the same policy as it explores; all else is shared."""
        twin = copy.copy(self)
        twin.asks = True
        return twin

    # Its parameters.

    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw fresh parameters; nothing is known of the task.

        All units are 0, so that nothing seems to vary: a model that is not fitted tells nothing.
        """
        params = super().initial_params(generator)
        return self.with_model_params(params, self.model.initial_params(generator))

    @staticmethod
    def with_model_params(params: Params, model: Params) -> Params:
        """Return the parameters with other ones of the model."""
        return {**params, **with_prefix(_MODEL, model)}

    @staticmethod
    def model_params(params: Params) -> Params:
        """Return the model's parameters, by the names that it gives them."""
        return under_prefix(_MODEL, params)

    @staticmethod
    def acting_params(params: Params) -> Params:
        """Return the parameters that decide how the policy acts on what it is told."""
        others = (*BELIEF, *UNITS, TOLD)
        return {
            name: leaf
            for name, leaf in params.items()
            if not name.startswith(_MODEL) and name not in others
        }

    @staticmethod
    def evidence(params: Params) -> Evidence:
        """Return what has been found out, (N, .) each."""
        return Evidence(params["squares"], params["log_variances"], params["num_outcomes"])

    # Acting.

    def inputs(self, observations: Tensor, params: Params) -> Tensor:
        """What the first layer sees of observations (N, L, O) of M episodes, L / M steps each."""
        scaled, told = super().inputs(observations, params), params[TOLD]
        told = told.repeat_interleave(scaled.shape[1] // told.shape[1], dim=1)
        return torch.cat([scaled, told, products(scaled, told)], dim=-1)

    def mean(self, inputs: Tensor, params: Params) -> Tensor:
        """Return the means of the actions (N, M, A) for what the first layer sees, (N, M, I)."""
        return super().mean(inputs, params) + inputs @ params["direct.weight"].mT

    def log_weights(self, known: Evidence) -> Tensor:
        """Return the logarithm of the weight of each task, but for a constant, (..., K).

        The tasks are points, and the true one lies between them.  The better it is known, the
        fewer points explain what was seen, in the end a single one, which is not it.  So the
        weights are levelled, until the likeliest task is no farther ahead of some others than
        `MOST_AHEAD`.
        """
        log_weights = known.log_weights(self.likelihood_power)
        likely = log_weights.topk(min(NUM_LIKELY, len(self.tasks)), dim=-1).values
        ahead = likely[..., :1] - likely[..., -1:]
        return log_weights * (MOST_AHEAD / ahead.clamp(min=MOST_AHEAD))

    def mean_task(self, log_weights: Tensor) -> Tensor:
        """Return the weighted mean of the tasks, (..., C) for weights (..., K)."""
        mean = log_weights.softmax(-1) @ self.tasks
        for first in self.angles:
            pair = mean[..., first : first + 2]
            mean[..., first : first + 2] = pair / pair.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        return mean

    def drawn_task(self, log_weights: Tensor, question: Tensor) -> Tensor:
        """Return one task drawn by weight, (..., C).

        Successive draws follow the golden ratio, so that none lies near those before it.

        Args:
            log_weights: (..., K).
            question: Number of the draw, (...).
        """
        place = torch.frac(0.5 + question * _GOLDEN_RATIO)
        up_to = log_weights.softmax(-1).cumsum(-1)
        chosen = torch.searchsorted(up_to, place[..., None]).clamp(max=len(self.tasks) - 1)
        return self.tasks[chosen[..., 0]]

    # Recognising.

    def in_units(self, params: Params, outcomes: Tensor) -> tuple[Tensor, Tensor]:
        """Return outcomes (N, ..., D) in units of their spread, and 1.0 for those that vary."""
        ones = [1] * (outcomes.ndim - 2)
        mean, std = (params[name].reshape(-1, *ones, outcomes.shape[-1]) for name in UNITS[:2])
        return (outcomes - mean) / std.clamp(min=CONSTANT), (std > CONSTANT).to(outcomes.dtype)

    @staticmethod
    def return_in_units(params: Params, returns: Tensor) -> Tensor:
        """Return returns (N, M) in the unit in which the model sees them."""
        return (returns - params["return_mean"]) / params["return_std"].clamp(min=CONSTANT)

    def may_act_on(
        self, params: Params, known: Evidence, first: Tensor, later: Tensor, num_episodes: Tensor
    ) -> Tensor:
        """Return whether the policy may act on what is known, (N, 1) bool.

        It may not where that would be worse than what it does without, and by more than `MOST_HARM`
        of what telling the task would win, with a probability above `MOST_RISK`; nor where there is
        no more than that to win, unless the questions have won as much.  Where they have won that
        much more it may, whatever the model expects: they were guesses, and it knows better now.

        Args:
            params: Each leaf (N, ...).
            known: (N, .) each.
            first: What an episode has returned in which nothing was known, (N, 1); NaN where
                nobody measured it.
            later: Mean of what later questions have returned, (N, 1), or NaN.
            num_episodes: From how many episodes that is known, (N, 1).
        """
        log_weights = self.log_weights(known)
        weights = (log_weights * (POWER_OF_ONE * num_episodes).clamp(max=1.0)).softmax(-1)
        model = {name: leaf[:1] for name, leaf in self.model_params(params).items()}
        codes = self.tasks.expand(len(log_weights), -1, -1)

        def expected(told: Tensor) -> Tensor:
            pairs = (each.reshape(1, -1, each.shape[-1]) for each in (told.expand_as(codes), codes))
            return self.model.returns(model, *pairs)[0].view(codes.shape[:2])

        before = expected(self.mean_task(torch.zeros_like(log_weights))[:, None])
        if_told = expected(codes)
        much = MOST_HARM * (if_told - before).clamp(min=0.0).mean(1, keepdim=True)
        is_harm = expected(self.mean_task(log_weights)[:, None]) < before - much
        risk = (weights * is_harm).sum(1, keepdim=True)
        most = (weights * if_told).sum(1, keepdim=True)
        first, later = self.return_in_units(params, first), self.return_in_units(params, later)
        little_to_win = (first >= most - much) & ~(later >= first - much)
        return (later >= first + much) | (risk <= MOST_RISK) & ~little_to_win


def when(step: Tensor) -> Tensor:
    """Return what the model is told of the time, (..., 2), for the steps taken before, (...)."""
    return torch.stack([(step == 0).to(step.dtype), (1.0 + step).log() / 4.0], dim=-1)
