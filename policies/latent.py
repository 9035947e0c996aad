"""A policy that observes the task code in training, and estimates it on a robot."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from metarobot.machine import map_on_threads
from metarobot.policies.corrections import Motion, corrected
from metarobot.policies.gaussian import Distribution, PolicyState, ReactiveState
from metarobot.policies.mlp import ConditionedMLP, GaussianMLP, conditioned
from metarobot.policies.params import TASK_CODE, Params, under_prefix, with_prefix, xavier_params
from metarobot.policies.task_model import LogLikelihood, TaskModel

POSTERIOR = ("candidates", "points", "log_prior", "num_episodes", "misfit")
"""Leaves of the posterior over tasks: set by adaptation, never trained."""
UNITS = ("outcome_mean", "outcome_std", "return_mean", "return_std")
"""Leaves of the units in which the model reads outcomes and returns."""
CALIBRATION = ("band_scale", "largest_errors", "largest_outcomes")
"""Leaves that are measured on training tasks when all else is trained."""
CORRECTIONS = ("corrections", "correcting", "motion_errors")
"""Leaves of a family that repeats a motion: set by adaptation, never trained."""
CALIBRATED = (1, 5, 20)
"""Numbers of adaptation episodes at which they are measured; others take those of the last one."""

NUM_LIKELY, MOST_AHEAD = 8, math.log(30.0)
"""Greatest lead of the likeliest task over the last of so many, in logarithms of weights."""
CAREFUL = "careful."
"""Prefix of the careful policy's leaves."""
NUM_REFERENCES = 64
"""Reference tasks of the model, the first of those that cover all splits."""
NUM_COMPARED = 64
"""Tasks, drawn by weight, over which expected returns are compared."""

UNLIMITED = 1e9
"""Largest error and size of an outcome before they are measured."""
CONSTANT = 1e-4
"""Standard deviation below which an element of the outcome, or the return, does not vary."""
_GOLDEN_RATIO = 0.6180339887498949

NUMBERS_AT_ONCE = 2**20
"""Numbers per chunk that the model computes for all tasks before it sums them: 4 MB, which a cache
holds; larger blocks take twice the time."""
CORRECTING_STD = 1e-3
"""Action noise in exploration where corrections are learned: they would learn the noise too."""
MOST_SURPRISE = 4.0
"""Greatest mean square of actions about the policy's means, in units of its noise, for which the
actions count as its own; 1 is expected."""


class LatentPolicy(ConditionedMLP):
    """π_θ(a | o, z): a `ConditionedMLP` on a task code z, and a model by which it is estimated.

    On a robot z is the mean of K tasks, spread over all splits, by their weights: the likelihood of
    all observed outcomes, updated in every step.  In exploration z is a task drawn by weight.

    The policy began as one without a task code, the careful policy, which is kept (`CAREFUL`).  It
    acts where the model expects a higher return of it than of z, on average over likely tasks; and
    in training, where the code is NaN.

    The inputs also reach the action directly, through one more matrix: tanh layers level off beyond
    the tasks that they are trained on.

    The parameters are those of both perceptrons, of the model (`TaskModel`), the model's units, and
    the posterior: candidates as codes and as `points` of the box of all splits, logarithms of their
    weights (`log_prior`), the number of episodes (`num_episodes`), and how large each outcome and
    the error of the model on it are, as a share of what still fits (`misfit`). Above 1 the family
    does not explain the robot, and the careful policy acts.

    In a family that repeats a motion, iterative learning control goes on from the first episode:
    its actions are corrected by its errors, and so on.  `corrections`, (T, A), are the actions of
    the next episode, which act where `correcting` is 1; `motion_errors` are the mean square errors
    of the first, the last but one and the last episode.
    """

    tasks: Tensor  # (K, C)

    network = "model."
    measured = (*POSTERIOR, *UNITS, *CALIBRATION, *CORRECTIONS)

    def __init__(
        self,
        *layout: Any,
        tasks: Tensor,
        points: Tensor,
        horizon: int,
        angles: Sequence[int] = (),
        likelihood_power: float = 0.3,
        motion: Motion | None = None,
        **options: Any,
    ) -> None:
        """Lay out the networks; further arguments are those of `GaussianMLP`.

        Args:
            layout: As of `GaussianMLP`.
            tasks: Codes of the K candidates before any data, spread over all splits, (K, C).
            points: The same tasks as points of the unit box that holds all splits, (K, P).
            horizon: T, control steps of a whole episode.
            angles: Indices in a code at which an angle begins: its cosine, then its sine.
            likelihood_power: Power of the likelihood.
            motion: The motion that every episode repeats, if any.
            options: As of `GaussianMLP`.
        """
        code_size = tasks.shape[1]
        super().__init__(*layout, context_size=code_size, **options)
        self.register_buffer("tasks", tasks, persistent=False)
        self._points = points
        self.angles, self.likelihood_power, self.explores = tuple(angles), likelihood_power, False
        self.horizon, self.motion = horizon, motion
        elements = {element for _, element in motion.pairs} if motion else ()
        self.is_corrected = torch.tensor([each in elements for each in range(self.action_size)])
        size = self.observation_centre.numel()
        self.direct = nn.Linear(self.num_inputs, self.action_size, bias=False, device="meta")
        self.careful = GaussianMLP(*layout, **options)
        self.careful.direct = nn.Linear(size, self.action_size, bias=False, device="meta")
        self.model = TaskModel(size, self.action_size, code_size)
        shapes = {
            **dict.fromkeys(UNITS[:2], (self.model.outcome_size,)),
            **dict.fromkeys(UNITS[2:], (1,)),
            "candidates": tasks.shape,
            "points": points.shape,
            "log_prior": (len(tasks),),
            "num_episodes": (1,),
            "misfit": (self.model.outcome_size,),
            "band_scale": (len(CALIBRATED), points.shape[1]),
            "largest_errors": (len(CALIBRATED), self.model.outcome_size),
            "largest_outcomes": (len(CALIBRATED), self.model.outcome_size),
        }
        if motion:
            sizes = (horizon, self.action_size), (1,), (3,)
            shapes |= dict(zip(CORRECTIONS, sizes, strict=True))
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device="meta")))

    @property
    def references(self) -> Tensor:
        """Tasks that the model compares outcomes by, (R, C); see `LogLikelihood`."""
        return self.tasks[:NUM_REFERENCES]

    def exploring(self) -> Self:
        """Return the same policy as it explores."""
        return self.altered(explores=True)

    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw fresh parameters, with the posterior equal to the prior.

        The task code has no effect yet.  All units are 0, so that no outcome varies: a model that
        is not fitted has no effect.
        """
        params = super().initial_params(generator)
        for name in ("layers.0.weight", "direct.weight"):
            params[name][:, self.observation_centre.numel() :] = 0.0
        params |= {"candidates": self.tasks.clone(), "points": self._points.clone()}
        params["band_scale"].fill_(1.0)
        params["largest_errors"].fill_(UNLIMITED)
        params["largest_outcomes"].fill_(UNLIMITED)
        params = self.with_network(params, xavier_params(self.model, generator))
        return self.with_careful(params)

    def with_careful(self, params: Params) -> Params:
        """Return parameters, in their own shapes, with the present policy as the careful one."""
        size = self.observation_centre.numel()
        careful = {
            name: (leaf[:, :size] if name in ("layers.0.weight", "direct.weight") else leaf).clone()
            for name, leaf in self.acting_params(params).items()
        }
        return {**params, **with_prefix(CAREFUL, careful)}

    @classmethod
    def acting_params(cls, params: Params) -> Params:
        """Return the parameters that decide how the policy acts, given a task code."""
        acting = super().acting_params(params)
        return {name: leaf for name, leaf in acting.items() if not name.startswith(CAREFUL)}

    def start(self, params: Params) -> PolicyState:
        """Begin to act: by the task code in training, or else by its own estimate."""
        if TASK_CODE in params:
            return _TrainingState(self, params)
        return (ExploringState if self.explores else LatentState)(self, params)

    def distribution_of_both(
        self, params: Params, observations: Tensor, task_codes: Tensor
    ) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for task codes (N, M, C).

        Where a code is NaN, the careful policy acts.
        """
        told = self.distribution({**params, TASK_CODE: task_codes.nan_to_num()}, observations)
        scaled = self.scale_observations(observations)
        careful = self.mean(scaled, under_prefix(CAREFUL, params))
        is_careful = task_codes.isnan().any(-1, keepdim=True)
        return told._replace(mean=torch.where(is_careful, careful, told.mean))

    def inputs(self, observations: Tensor, params: Params) -> Tensor:
        """Return the first layer's inputs for observations (N, L, O), L / M steps of M episodes."""
        scaled, task_codes = super().inputs(observations, params), params[TASK_CODE]
        task_codes = task_codes.repeat_interleave(scaled.shape[1] // task_codes.shape[1], dim=1)
        return conditioned(scaled, task_codes)

    def mean(self, inputs: Tensor, params: Params) -> Tensor:
        """Return the means of the actions (N, M, A) for inputs of the first layer, (N, M, I)."""
        return super().mean(inputs, params) + inputs @ params["direct.weight"].mT

    def log_weights(self, params: Params, known: LogLikelihood) -> Tensor:
        """Return the logarithms of the weights of candidates, but for a constant, (N, M, K).

        The candidates are points, and the true task lies between them: with ever more data one
        wrong point would take all weight.  So the weights are flattened until the likeliest
        candidate leads the one of rank `NUM_LIKELY` by `MOST_AHEAD` at most.

        Args:
            params: Each leaf (N, ...).
            known: Of outcomes since the candidates were drawn, (N, M, .) each.
        """
        return flattened(params["log_prior"][:, None] + known.log_weights(self.likelihood_power))

    def mean_task(self, candidates: Tensor, log_weights: Tensor) -> Tensor:
        """Return the weighted mean of candidates (N, K, C), (N, M, C) for weights (N, M, K)."""
        mean = log_weights.softmax(-1) @ candidates
        for first in self.angles:
            before, pair, after = mean.tensor_split([first, first + 2], dim=-1)
            length = pair.norm(dim=-1, keepdim=True).clamp(min=1e-6)
            mean = torch.cat([before, pair / length, after], dim=-1)
        return mean

    @staticmethod
    def drawn_task(candidates: Tensor, log_weights: Tensor, number: Tensor) -> Tensor:
        """Return one of the candidates (N, K, C) drawn by weight (N, M, K), (N, M, C).

        Successive draws, numbered (N, M), follow the golden ratio, so that none lies near those
        before it.
        """
        place = torch.frac(0.5 + number * _GOLDEN_RATIO)
        return _drawn(candidates, log_weights, place[..., None])[..., 0, :]

    def in_units(self, params: Params, outcomes: Tensor) -> tuple[Tensor, Tensor]:
        """Return outcomes (N, ..., D) in units of their spread, and 1.0 for those that vary."""
        ones = [1] * (outcomes.ndim - 2)
        mean, std = (params[name].reshape(-1, *ones, outcomes.shape[-1]) for name in UNITS[:2])
        return (outcomes - mean) / std.clamp(min=CONSTANT), (std > CONSTANT).to(outcomes.dtype)

    @staticmethod
    def return_in_units(params: Params, returns: Tensor) -> Tensor:
        """Return returns (N, M) in the unit in which the model reads them."""
        return (returns - params["return_mean"]) / params["return_std"].clamp(min=CONSTANT)

    @staticmethod
    def fits(params: Params) -> Tensor:
        """Return whether the family explains the adaptation episodes, (N, 1) bool."""
        return (params["misfit"] <= 1.0).all(-1, keepdim=True)

    def correct(
        self, corrections: Tensor, observations: Tensor, actions: Tensor, counts: Tensor
    ) -> Tensor:
        """Return the actions of the next episode, (N, T, A), after one of L ≤ T steps.

        Args:
            corrections: Those before it, (N, T, A): they stay in steps that do not count.
            observations: Before each step, (N, L, O).
            actions: (N, L, A).
            counts: Whether a step counts, (N, L) bool.
        """
        assert self.motion is not None
        length, counted = counts.shape[1], counts[..., None]
        taken = torch.where(counted, actions.clamp(-1.0, 1.0), corrections[:, :length])
        taken = torch.cat([taken, corrections[:, length:]], dim=1)
        return corrected(self.motion, taken, torch.where(counted, observations, 0.0))

    def gains(
        self, params: Params, candidates: Tensor, log_weights: Tensor, task_codes: Tensor
    ) -> Tensor:
        """Return the gain in return that the model expects of task codes, (N, M, 1).

        It is the difference from the return of the careful policy, as the model reads returns, on
        average over tasks drawn by weight.

        Args:
            params: Of one model, each leaf (1, ...).
            candidates: (N, K, C).
            log_weights: (N, M, K).
            task_codes: (N, M, C).
        """
        tasks = _likely(candidates, log_weights)
        told, careful = (
            self._expected(params, codes, tasks)
            for codes in (task_codes[..., None, :], tasks.new_tensor(torch.nan))
        )
        return (told - careful).mean(-1, keepdim=True)

    def expected_returns(
        self, params: Params, candidates: Tensor, log_weights: Tensor, task_codes: Tensor
    ) -> Tensor:
        """Return the returns that the model expects of task codes, (N, M, 1), in their unit.

        Arguments are those of `gains`.
        """
        tasks = _likely(candidates, log_weights)
        return self._expected(params, task_codes[..., None, :], tasks).mean(-1, keepdim=True)

    def prospects(
        self, params: Params, candidates: Tensor, log_weights: Tensor, task_codes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return `gains`, and the worth of knowing the task, (N, M) each.

        The latter is the value of perfect information: the mean over tasks of the best return when
        each is known, less the best that one choice for all of them earns.

        Source: Howard 1966, doi:10.1109/TSSC.1966.300074.
        """
        tasks = _likely(candidates, log_weights)
        known, told, careful = (
            self._expected(params, codes, tasks)
            for codes in (tasks, task_codes[..., None, :], tasks.new_tensor(torch.nan))
        )
        gains = (told - careful).mean(-1)
        best = (torch.maximum(known, careful) - careful).mean(-1)
        return gains, (best - gains.clamp(min=0.0)).clamp(min=0.0)

    def _expected(self, params: Params, codes: Tensor, tasks: Tensor) -> Tensor:
        """Return the returns that the model expects of task codes in tasks (N, M, Q, C)."""
        pairs = (each.expand(tasks.shape).flatten(0, -2)[None] for each in (codes, tasks))
        return self.model.returns(params, *pairs)[0].view(tasks.shape[:-1])


def _likely(candidates: Tensor, log_weights: Tensor) -> Tensor:
    """Return tasks drawn by weight, (N, M, `NUM_COMPARED`, C)."""
    places = (torch.arange(NUM_COMPARED, dtype=log_weights.dtype) + 0.5) / NUM_COMPARED
    return _drawn(candidates, log_weights, places.expand(*log_weights.shape[:-1], -1))


def flattened(log_weights: Tensor) -> Tensor:
    """Limit the lead of the likeliest candidate, (..., K); see `LatentPolicy.log_weights`."""
    likely = log_weights.topk(min(NUM_LIKELY, log_weights.shape[-1]), dim=-1).values
    ahead = likely[..., :1] - likely[..., -1:]
    return log_weights * (MOST_AHEAD / ahead.clamp(min=MOST_AHEAD))


def _drawn(candidates: Tensor, log_weights: Tensor, places: Tensor) -> Tensor:
    """Return the candidates (N, K, C) at quantiles (N, M, Q) of their weights: (N, M, Q, C)."""
    up_to = log_weights.softmax(-1).cumsum(-1)
    if torch.compiler.is_exporting():  # ONNX has no searchsorted, and one robot needs little memory
        index = (up_to[..., None, :] < places[..., None]).sum(-1)
    else:
        index = torch.searchsorted(up_to, places.contiguous())
    index = index.clamp(max=up_to.shape[-1] - 1)
    drawn = candidates.gather(1, index.flatten(1)[..., None].expand(-1, -1, candidates.shape[-1]))
    return drawn.unflatten(1, index.shape[1:])


def when(step: Tensor) -> Tensor:
    """Return the model's features of the time, (..., 2), for the steps taken before, (...)."""
    return torch.stack([(step == 0).to(step.dtype), (1.0 + step).log() / 4.0], dim=-1)


class _TrainingState(ReactiveState):
    """State in training, with a given task code; the careful policy where it is NaN."""

    def __init__(self, policy: LatentPolicy, params: Params) -> None:
        super().__init__(policy, params)
        self._latent = policy

    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O)."""
        return self._latent.distribution_of_both(
            self._params, observations, self._params[TASK_CODE]
        )


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
        self._candidates = params["candidates"]
        known = LogLikelihood.none(len(self._candidates), 1, self._candidates.shape[1])
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
        nothing = params["num_episodes"].new_zeros(len(params["num_episodes"]), 1, 1)
        self.memory = {name: nothing.expand(-1, -1, size) for name, size in sizes.items()}
        self.memory |= {name: part.to(nothing.dtype) for name, part in known._asdict().items()}
        self._reward, self._counts, self._begins = nothing, nothing > 0.0, nothing == 0.0
        self._corrections = params["corrections"] if policy.motion else None

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
        log_weights = self._policy.log_weights(self._params, self._log_likelihood())
        task_codes, is_careful = self._choose(log_weights, begins)
        distribution = self._policy.distribution_of_both(
            self._params,
            observations.nan_to_num(),
            torch.where(is_careful, torch.nan, task_codes),
        )
        if self._corrections is not None:
            distribution = self._repeated(distribution, self._corrections)
        self.memory |= {"observation": shown.nan_to_num(), "task_codes": task_codes}
        self._begins = torch.zeros_like(begins)
        return distribution

    def observe(self, actions: Tensor, rewards: Tensor, counts: Tensor) -> None:
        """Record the step; the next observation completes its outcome."""
        done = {"action_before": self.memory["action"], "action": actions.clamp(-1.0, 1.0)}
        self.memory |= done
        self._reward, self._counts = rewards[..., None], counts[..., None]

    def _repeated(self, distribution: Distribution, corrections: Tensor) -> Distribution:
        """Return the distribution about the corrections of this step, where they act."""
        step = self.memory["step"].long().clamp(max=corrections.shape[1] - 1)
        actions = corrections.gather(1, step.expand(-1, -1, corrections.shape[2]))
        where = self._corrects[..., None] & self._policy.is_corrected
        return distribution._replace(mean=torch.where(where, actions, distribution.mean))

    @property
    def _corrects(self) -> Tensor:
        """Whether corrections act, (N, 1) bool."""
        return self._params["correcting"] > 0.0

    def known(self) -> LogLikelihood:
        """Return the log-likelihood by now, (N, M, .) each."""
        self._update(torch.full_like(self.memory["observation"], torch.nan))
        return self._log_likelihood()

    def _log_likelihood(self) -> LogLikelihood:
        return LogLikelihood(*(self.memory[name] for name in LogLikelihood._fields))

    def _choose(self, log_weights: Tensor, begins: Tensor) -> tuple[Tensor, Tensor]:
        """Return the task codes now, (N, M, C), and where the careful policy acts, (N, M, 1)."""
        del begins
        policy, candidates = self._policy, self._candidates
        task_codes = policy.mean_task(candidates, log_weights)
        gains = policy.gains(self._model, candidates, log_weights, task_codes)
        return task_codes, (gains < 0.0) | ~policy.fits(self._params)[:, None]

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
        candidates = self._candidates_of(outcomes.shape[:2])
        rows = candidates, read[0], task_codes[0], outcomes.flatten(0, 1), counts.flatten(0, 1)
        log_likelihood = partial(policy.model.log_likelihood, self._bare, policy.references)
        self._add(self._over_tasks(log_likelihood, read.shape[2], *rows))
        self.memory |= {"total": total, "step": step, "change": (outcomes * counts)[..., 1:]}
        self._counts = torch.zeros_like(self._counts)

    def _candidates_of(self, shape: Sequence[int]) -> Tensor:
        """Return the candidates of each simulation, (N M, K, C)."""
        return self._candidates[:, None].expand(*shape, -1, -1).flatten(0, 1)

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
        parts = map_on_threads(lambda block: log_likelihood(*block), list(blocks))
        joined = LogLikelihood(*(torch.cat(each) for each in zip(*parts, strict=True)))
        return joined.reshaped(*shape)


class ExploringState(LatentState):
    """Explores: each episode but the first has one task code all through, drawn by weight.

    Where a motion is repeated, those others repeat the episode before, corrected by its errors.

    Attributes:
        returns: Return of each episode, (N, M); NaN where it is not whole, or another policy has
            acted: its task code is unknown.
        given: Task code of each episode, (N, M, C); NaN where the careful policy acted.
        anchors: Task codes that the steps of each episode were read with, (N, M, C) each.
    """

    def __init__(self, policy: LatentPolicy, params: Params) -> None:
        super().__init__(policy, params)
        self._number = params["num_episodes"] - 1.0  # (N, 1)
        self._waiting = False  # whether the outcome of a step is still to be seen
        self.returns: list[Tensor] = []
        self.counted_returns: list[Tensor] = []
        self.given: list[Tensor] = []
        self.anchors: list[list[Tensor]] = []
        self._steps: list[tuple[Tensor, Tensor, Tensor]] = []  # o, a, counts

    def begin(self, begins: Tensor | None = None) -> None:
        """Begin episodes in all simulations; the posterior stays."""
        if self._waiting:
            self._end_episode()
        if self._corrections is not None and self._steps:
            shown = [torch.cat(part, dim=1) for part in zip(*self._steps, strict=True)]
            self._corrections = self._policy.correct(self._corrections, *shown)
        self._number, self._steps = self._number + 1.0, []
        self.anchors.append([])
        super().begin(begins)

    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O); NaN if not seen."""
        self._meant = super().act(observations)
        if self._corrections is not None:
            quiet = self._meant.log_std.clamp(max=math.log(CORRECTING_STD))
            self._meant = self._meant._replace(log_std=quiet)
        self._waiting, self._shown = False, observations
        self.anchors[-1].append(self.memory["task_codes"])
        return self._meant

    def observe(self, actions: Tensor, rewards: Tensor, counts: Tensor) -> None:
        """Record the step, and the distance of the action from its mean."""
        super().observe(actions, rewards, counts)
        mean, log_std = self._meant
        error = (self.memory["action"] - mean.clamp(-1.0, 1.0)) / log_std[:, None].exp()
        step = torch.stack([torch.ones_like(rewards), rewards, error.square().mean(-1)])
        self._sums = self._sums + torch.where(counts, step, 0.0)
        self._steps.append((self._shown, actions, counts))
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
        self.counted_returns.append(torch.where(own & self._has_code, returns, torch.nan))
        self.given.append(torch.where(self._is_careful, torch.nan, self._candidate))
        self._add(self._return_log_likelihood())

    def _choose(self, log_weights: Tensor, begins: Tensor) -> tuple[Tensor, Tensor]:
        """Return the task codes now, (N, M, C), and where the careful policy acts, (N, M, 1)."""
        policy, shape = self._policy, begins.shape[:-1]
        number = self._number.expand(shape)
        if bool(begins.any()):
            self._candidate = policy.drawn_task(self._candidates, log_weights, number)
            # Of steps, rewards, and squared distances of actions from means, in units of noise.
            self._sums = log_weights.new_zeros(3, *shape)
            self._is_careful = torch.ones_like(begins)
        if bool((number > 0).all()):
            self._is_careful = torch.zeros_like(self._is_careful)
            return self._candidate, self._is_careful
        is_first = (number == 0)[..., None]
        task_codes, is_careful = super()._choose(log_weights, begins)
        is_careful = is_careful & is_first
        self._is_careful = self._is_careful & is_careful
        return torch.where(is_first, task_codes, self._candidate), is_careful

    @property
    def _corrects(self) -> Tensor:
        """Whether corrections act, (N, 1) bool: in all episodes but the first of all."""
        return self._number > 0.0

    @property
    def _has_code(self) -> Tensor:
        """Whether one task code, or none, was given all through the episode, (N, M) bool."""
        return ((self._number > 0) & (self._corrections is None)) | self._is_careful[..., 0]

    def _return_log_likelihood(self) -> LogLikelihood:
        """Return the log-likelihood of the last return, (N, M, .) each."""
        policy = self._policy
        returns = policy.return_in_units(self._params, self.counted_returns[-1])
        varies = self._params["return_std"] > CONSTANT
        counts = (returns.isfinite() & varies).to(returns.dtype)
        given = self.given[-1], returns.nan_to_num(), counts
        rows = self._candidates_of(returns.shape), *(each.flatten(0, 1) for each in given)
        log_likelihood = partial(policy.model.return_log_likelihood, self._model, policy.references)
        return self._over_tasks(log_likelihood, policy.model.width, *rows)


def _in_a_row(block: Tensor) -> Tensor:
    """Return (N, M, X) as (1, N M, X), for a model that is the same for all."""
    return block.flatten(0, 1)[None]
