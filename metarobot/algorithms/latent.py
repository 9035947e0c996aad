"""Latent: a policy that observes the task code in training, and a model to estimate the code."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from metarobot.algorithms.base import (
    Belief,
    TaskCodeLearner,
    sobol_points,
    task_codes_of,
    task_grid,
    tasks_of,
)
from metarobot.algorithms.options import LatentOptions
from metarobot.config import TrainConfig
from metarobot.envs import TaskDistribution, find_family
from metarobot.learning.distributed import Workers
from metarobot.learning.meta_update import MetaBatch
from metarobot.machine import map_on_threads
from metarobot.policies import Params, repeat_params
from metarobot.policies.corrections import mean_square_error
from metarobot.policies.episode_encoder import shift
from metarobot.policies.latent import (
    CALIBRATED,
    CONSTANT,
    CORRECTIONS,
    NUMBERS_AT_ONCE,
    UNITS,
    ExploringState,
    LatentPolicy,
    flattened,
    when,
)
from metarobot.policies.posterior import Candidates, refine
from metarobot.policies.task_model import LogLikelihood, Transitions
from metarobot.rollout.collect import replay
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.seeding import Phase, torch_generator

MOST_STD = 0.1
"""Largest action noise when the policy is trained: noisy episodes tell less of the task."""
MOST_STEPS = 256
"""Control steps at most from which new candidates are weighed."""
CALIBRATION_SHARE, FEWEST_CALIBRATION_TASKS, MOST_CALIBRATION_TASKS = 0.05, 4, 48
"""Control steps for calibration as a share of the budget, and limits of its number of tasks."""
NOISY_SHARE, NOISE_LEVELS = 0.25, (0.01, 1.0)
"""Share of the episodes with sensor noise in the fit of the model, and limits of its level."""
BAND = 0.9
"""Probability that a band holds the true value."""
WIDENING = 8.0
"""Growth of the bands for each half training range by which the mean task lies beyond it, averaged
over its elements: the model extrapolates there, and errs more than on training tasks."""
FALLING = 0.8
"""Mean square error of a repeated motion, as a share of that before, up to which it still falls."""
MARGIN = 10.0
"""Largest error that still fits, as a multiple of a large one on training tasks: beyond them the
model predicts worse, in a few tasks by this factor."""


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
        """Return the first candidates: they cover all splits evenly."""
        options = cast(LatentOptions, config.options)
        family = find_family(config.env_id)
        points = sobol_points(len(family.distribution.parameters), options.num_weighed)
        return {
            "tasks": task_grid(config, points),
            "points": torch.from_numpy(points).float(),
            "horizon": family.default_horizon,
            "angles": family.distribution.encoded_angles,
            "likelihood_power": options.likelihood_power,
            "motion": family.repeated_motion,
        }

    @property
    def exploring_policy(self) -> LatentPolicy:
        """The policy in exploration: it acts on likely tasks."""
        return self.policy.exploring()

    @torch.no_grad()
    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Weight the tasks by the outcomes of the episodes, in sequence."""
        del advantages
        return self._adapted(params, episodes, self._read(params, episodes))

    @torch.no_grad()
    def adapt_to_first(
        self, params: Params, episodes: Episodes, numbers: Sequence[int]
    ) -> dict[int, Params]:
        """Adapt to the first episodes of a block, which are read once for all numbers."""
        outcomes = self._read(params, episodes.first(max(numbers)))
        return {
            number: self._adapted(params, episodes.first(number), outcomes.first(number))
            for number in numbers
        }

    def _adapted(self, params: Params, episodes: Episodes, outcomes: "_Outcomes") -> Params:
        """Return the parameters after the episodes (N, E, T) with these outcomes."""
        posterior = self._posterior(params, outcomes)
        stage = _stage(episodes.num_episodes)
        errors = outcomes.errors(self.policy, params, posterior)
        misfit = torch.maximum(
            errors / params["largest_errors"][:, stage],
            outcomes.sizes / params["largest_outcomes"][:, stage],
        )
        adapted = {**params, **posterior, "misfit": misfit}
        return {**adapted, **self._corrections(params, adapted, episodes)}

    def _corrections(self, params: Params, adapted: Params, episodes: Episodes) -> Params:
        """Return the leaves of corrections, if a motion is repeated, after the episodes.

        After a single episode they have not acted yet, and do where the family explains the robot.
        Later they act where they have made the errors clearly smaller, and have earned more than
        the model expects of the task code.
        """
        motion, policy = self.policy.motion, self.policy
        if motion is None:
            return {}
        corrections, errors = params["corrections"], params["motion_errors"]
        for number in range(episodes.num_episodes):
            shown, mask = episodes.observations[:, number], episodes.mask[:, number]
            error = mean_square_error(motion, shown, mask)[:, None]
            is_first = params["num_episodes"] + number == 0.0
            first, before = (torch.where(is_first, error, errors[:, [at]]) for at in (0, 2))
            errors = torch.cat([first, before, error], dim=1)
            corrections = policy.correct(
                corrections, shown, episodes.actions[:, number], mask > 0.0
            )
        candidates, log_weights = adapted["candidates"], adapted["log_prior"][:, None]
        model = {name: leaf[:1] for name, leaf in policy.network_params(params).items()}
        codes = policy.mean_task(candidates, log_weights)
        gains = policy.gains(model, candidates, log_weights, codes)[:, 0]
        expected = policy.expected_returns(model, candidates, log_weights, codes)[:, 0]
        fits, earned = (
            policy.fits(adapted),
            policy.return_in_units(params, episodes.returns[:, -1:]),
        )
        told = fits & (gains > 0.0) & ~(earned > expected)
        pay = (errors[:, 2:] < FALLING * errors[:, :1]) & ~told
        correcting = torch.where(adapted["num_episodes"] > 1.0, pay, fits).to(errors.dtype)
        return dict(zip(CORRECTIONS, (corrections, correcting, errors), strict=True))

    def _read(self, params: Params, episodes: Episodes) -> "_Outcomes":
        """Read episodes (N, E, T) as the exploring policy does."""
        state = ExploringState(self.exploring_policy, params)
        replay(state, episodes)
        state.known()
        return _Outcomes.of(self.policy, params, episodes, state)

    def _posterior(self, params: Params, outcomes: "_Outcomes") -> Params:
        """Return the posterior that follows from outcomes, but for the misfit."""
        tasks = range(len(outcomes.returns))
        rows = map_on_threads(lambda task: self._refined(params, outcomes, task), tasks)
        points, log_weights, candidates = map(torch.stack, zip(*rows, strict=True))
        return {
            "candidates": candidates,
            "points": points,
            "log_prior": flattened(log_weights),
            "num_episodes": params["num_episodes"] + outcomes.returns.shape[1],
        }

    def _refined(
        self, params: Params, outcomes: "_Outcomes", task: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return points (K, P), log-weights (K,) and codes (K, C) of a task's new candidates."""
        model = {name: leaf[0] for name, leaf in self.policy.network_params(params).items()}
        one = outcomes.task(task)

        def log_likelihood(points: np.ndarray) -> np.ndarray:
            codes = task_grid(self.config, points)
            known = one.log_likelihood(self.policy, model, codes)
            return known.log_weights(self.policy.likelihood_power).double().numpy()

        points = params["points"][task].double().numpy()
        found = refine(
            Candidates(points, params["log_prior"][task].double().numpy()),
            log_likelihood,
            ndtri(sobol_points(points.shape[1], 2 * len(points))[1 : 1 + len(points)]),
            [parameter.circular for parameter in tasks_of(self.config).parameters],
            uniform=bool(params["num_episodes"][task] == 0.0),
        )
        codes = task_grid(self.config, found.points)
        numbers = torch.from_numpy(found.points), torch.from_numpy(found.log_weights)
        return numbers[0].to(codes.dtype), numbers[1].to(codes.dtype), codes

    def adapted_state(self, before: Params, adapted: Params) -> Tensor:
        """Return mean and standard deviation of the candidates by their weights, (N, 2 C)."""
        del before
        candidates, log_weights = adapted["candidates"], adapted["log_prior"][:, None]
        mean = self.policy.mean_task(candidates, log_weights)[:, 0]
        weights = log_weights.softmax(-1)
        variance = weights @ candidates.square() - (weights @ candidates).square()
        return torch.cat([mean, variance[:, 0].clamp(min=0.0).sqrt()], dim=1)

    def belief(self, params: Params) -> Belief:
        """Return the candidates and their weights."""
        policy, candidates = self.policy, params["candidates"]
        log_weights = flattened(params["log_prior"])[:, None]
        model = {name: leaf[:1] for name, leaf in policy.network_params(params).items()}
        task_codes = policy.mean_task(candidates, log_weights)
        gains, worth = policy.prospects(model, candidates, log_weights, task_codes)
        is_used = (gains[:, 0] > 0.0) & policy.fits(params)[:, 0]
        corrects, errors_fall = torch.zeros(2, len(is_used), dtype=torch.bool)
        if policy.motion:
            corrects = params["correcting"][:, 0] > 0.0
            _, before, last = params["motion_errors"].unbind(1)
            errors_fall = (last < FALLING * before) | (params["num_episodes"][:, 0] == 1.0)
            is_used = is_used & ~corrects
        stages = [_stage(int(number)) for number in params["num_episodes"][:, 0]]
        beyond = (task_codes[:, 0].abs() - 1.0).clamp(min=0.0).mean(-1, keepdim=True)
        return Belief(
            codes=candidates,
            weights=log_weights[:, 0].softmax(-1),
            is_used=is_used,
            misfit=params["misfit"],
            band_scale=params["band_scale"][torch.arange(len(stages)), stages]
            * (1.0 + WIDENING * beyond),
            gain=(gains * params["return_std"])[:, 0],
            worth_of_knowing=(worth * params["return_std"])[:, 0],
            training_returns=torch.cat([params["return_mean"], params["return_std"]], dim=1),
            corrects=corrects,
            errors_fall=errors_fall,
        )

    @classmethod
    def calibration_shape(cls, total_steps: int, horizon: int) -> tuple[int, int]:
        """Return the training tasks, and the adaptation episodes on each."""
        num_episodes = CALIBRATED[-1]
        affordable = int(CALIBRATION_SHARE * total_steps / (num_episodes * horizon))
        return min(max(affordable, FEWEST_CALIBRATION_TASKS), MOST_CALIBRATION_TASKS), num_episodes

    def calibrate(self, params: Params, codes: Tensor, episodes: Episodes) -> Params:
        """Measure how far bands miss the tasks, and how large outcomes and the model's errors are.

        A band is widened so that it holds the truth on as many training tasks as it should; see
        Vovk et al. 2005, doi:10.1007/b106715, for the rank of n errors. It is never narrowed: the
        belief also covers tasks beyond the training range.
        """
        distribution = find_family(self.config.env_id).distribution
        scales, errors, sizes = list[Tensor](), list[Tensor](), list[Tensor]()
        n = episodes.num_tasks
        rank = min(n, math.ceil(BAND * (n + 1))) - 1
        tasks = repeat_params(params, n)
        read = self._read(tasks, episodes)
        for number in CALIBRATED:
            outcomes = read.first(number)
            posterior = self._posterior(tasks, outcomes)
            belief = self.belief({**tasks, **posterior})
            missed = missed_tasks(belief, distribution, codes)
            scales.append(missed.sort(dim=0).values[rank].clamp(min=1.0))
            errors.append(_largest(outcomes.errors(self.policy, tasks, posterior), rank))
            sizes.append(_largest(outcomes.sizes, rank))
        return {
            **params,
            "band_scale": torch.stack(scales),
            "largest_errors": MARGIN * torch.stack(errors),
            "largest_outcomes": MARGIN * torch.stack(sizes),
        }

    def num_with_code(self, num_episodes: int) -> int:
        """Return the number of episodes with the task's code: all, while the policy is trained."""
        return num_episodes

    def task_codes(
        self, codes: Tensor, uniforms: Tensor, spent: float, *, finishing: bool = False
    ) -> Tensor:
        """Return the task codes: none while the careful policy is trained, then those of tasks.

        For the model, half of the episodes have the code of their task, the others that of another
        one, but for a few that have none.
        """
        task_codes = super().task_codes(codes, uniforms, spent).clone()
        if self.is_careful(spent):
            return torch.zeros_like(task_codes)  # the policy ignores it so far
        if finishing:
            tasks = self.policy.tasks
            _, other, careful = _parts(uniforms.shape[1])
            task_codes[:, other] = tasks[(uniforms[:, other] * len(tasks)).long()]
            task_codes[:, careful] = torch.nan
        return task_codes

    def end_careful(self, params: Params) -> Params:
        """Return the parameters with which the policy begins to be told; it keeps what it was."""
        return super().end_careful(self.policy.with_careful(params))

    def begin_finish(self, params: Params) -> Params:
        """Limit the action noise, in the fit of the model and in exploration."""
        return {**params, "log_std": params["log_std"].clamp(max=math.log(MOST_STD))}

    def finish(
        self, params: Params, batches: Sequence[MetaBatch], watch: Callable[[float], None]
    ) -> Params:
        """Fit the model to the outcomes of the policy, which is fixed now."""
        blocks = [_Block.of(batch, self.workers) for batch in batches]
        params = {**params, **find_units(self.policy, blocks)}
        generator = torch_generator(self.config.seed, 0, Phase.FINISH)
        return fit_model(self.policy, params, blocks, self.options, generator, watch)


class _Outcomes(NamedTuple):
    """Outcomes of adaptation episodes, read by the model for any candidates."""

    read: Tensor
    """The weights that steps make, (N, S, J + 2 D, C + 1) for S = E T steps."""
    anchors: Tensor
    """Task codes that they were read with, (N, S, C)."""
    outcomes: Tensor
    """(N, S, D)."""
    counts: Tensor
    """(N, S, D)."""
    given: Tensor
    """Task codes of whole episodes, (N, E, C); NaN where the careful policy acted."""
    returns: Tensor
    """In their unit, (N, E); NaN where they do not count."""

    @classmethod
    def of(
        cls, policy: LatentPolicy, params: Params, episodes: Episodes, state: ExploringState
    ) -> "_Outcomes":
        """Read episodes (N, E, T) with the task codes by which a state has replayed them."""
        last = episodes.horizon - 1
        anchors = torch.stack(
            [
                torch.cat([codes[min(t, len(codes) - 1)] for t in range(last + 1)], dim=1)
                for codes in state.anchors
            ],
            dim=1,
        )
        steps = transitions(policy, params, episodes, anchors)
        read = policy.model.read_episodes(policy.network_params(params), steps)
        returns = policy.return_in_units(params, torch.cat(state.counted_returns, dim=1))
        return cls(
            read=read.flatten(1, 2),
            anchors=anchors.flatten(1, 2),
            outcomes=steps.outcomes.flatten(1, 2),
            counts=steps.counts.flatten(1, 2),
            given=torch.cat(state.given, dim=1),
            returns=torch.where(params["return_std"] > CONSTANT, returns, torch.nan),
        )

    def first(self, num_episodes: int) -> "_Outcomes":
        """Return those of the first episodes."""
        num_steps = self.read.shape[1] // self.returns.shape[1] * num_episodes
        return _Outcomes(
            *(part[:, :num_steps] for part in self[:4]),
            *(part[:, :num_episodes] for part in self[4:]),
        )

    def task(self, index: int) -> "_Outcomes":
        """Return those of one task, without the first dimension."""
        return _Outcomes(*(part[index] for part in self))

    @property
    def sizes(self) -> Tensor:
        """The largest size of each outcome, in its unit, (N, D)."""
        return (self.outcomes.abs() * self.counts).amax(1)

    def errors(self, policy: LatentPolicy, params: Params, posterior: Params) -> Tensor:
        """Return the error of each outcome at the mean of the posterior, (N, D).

        It is the geometric mean over the steps of predicted variance and squared error: it grows
        with errors that the model does not expect, and with those that it does, such as noise, but
        little with a single large one.
        """
        log_weights = posterior["log_prior"][:, None]
        codes, found = policy.mean_task(posterior["candidates"], log_weights), list[Tensor]()
        model = {name: leaf[0] for name, leaf in policy.network_params(params).items()}
        for index, code in enumerate(codes):
            one = self.task(index)
            shape = len(one.read), -1, -1
            mean, variance = (
                part[..., 0]
                for part in policy.model.predict(model, code.expand(*shape), one.read, one.anchors)
            )
            size = (variance + (one.outcomes - mean).square()).log()
            number = one.counts.sum(0)
            error = (size * one.counts).sum(0) / number.clamp(min=1.0)
            found.append(torch.where(number > 0, error, -torch.inf))
        return torch.stack(found).exp()

    def log_likelihood(self, policy: LatentPolicy, params: Params, codes: Tensor) -> LogLikelihood:
        """Return the log-likelihood of candidates (K, C), (.,) each, for one task's outcomes.

        Of many steps it reads `MOST_STEPS` at most, evenly spaced: their errors are correlated.
        """
        model, total = policy.model, LogLikelihood.none(len(codes))
        every = -(-len(self.read) // MOST_STEPS)
        at_once = max(2, NUMBERS_AT_ONCE // (self.read.shape[1] * len(codes)))
        steps = self.read, self.anchors, self.outcomes, self.counts
        rows = [part[::every] for part in steps]
        for block in zip(*(part.split(at_once) for part in rows), strict=True):
            total = total.plus(
                model.log_likelihood(params, policy.references, codes, *block).summed()
            )
        total = total.times(torch.tensor(float(every)))
        counts = self.returns.isfinite().to(codes.dtype)
        of_returns = model.return_log_likelihood(
            {name: leaf[None] for name, leaf in params.items()},
            policy.references,
            codes,
            self.given,
            self.returns.nan_to_num(),
            counts,
        )
        return total.plus(of_returns.summed())


def _largest(values: Tensor, rank: int) -> Tensor:
    """Return limits (D,) that no task exceeds in any element; values (N, D).

    All elements have the limit of the worst task, in units of a large value of each: a limit for
    each element alone would be exceeded in one of them more often than by chance.
    """
    large = values.sort(dim=0).values[rank].clamp(min=CONSTANT)
    return large * (values / large).max()


def _stage(num_episodes: int) -> int:
    """Return the index of the number of episodes in `CALIBRATED` whose measurements hold."""
    return sum(number <= num_episodes for number in CALIBRATED[1:])


def missed_tasks(belief: Belief, distribution: TaskDistribution, codes: Tensor) -> Tensor:
    """Return the errors of medians in half-widths of their bands, (N, P)."""
    tasks = distribution.decode(codes.double().numpy())
    missed = []
    for name, band in belief.bands(distribution).items():
        parameter = distribution[name]
        if parameter.circular:
            error = (tasks[name] - band[:, 1] + np.pi) % (2 * np.pi) - np.pi
            width = band[:, 2] - band[:, 0]
        else:
            low, middle, high, true = map(parameter.scale, (*band.T, tasks[name]))
            error, width = true - middle, high - low
        missed.append(torch.from_numpy(np.abs(error) / np.maximum(width / 2, 1e-9)).float())
    return torch.stack(missed, dim=1)


def _parts(num_episodes: int) -> tuple[slice, slice, slice]:
    """Return the episodes with the task's code, with another one, and without, for the model.

    One in ten is without: only its return is learned.
    """
    second = num_episodes - max(1, num_episodes // 10)
    first = (second + 1) // 2
    return slice(first), slice(first, second), slice(second, None)


def anchors(task_codes: Tensor) -> Tensor:
    """Return the codes that the model of steps reads as those of the policy, (N, E, C).

    They are those of other tasks, for all episodes in turn.  An estimated task code changes in
    every step, the careful policy has none, and a log may come from another policy: so the model
    must not rely on the code.
    """
    others = task_codes[:, _parts(task_codes.shape[1])[1]]
    return others[:, torch.arange(task_codes.shape[1]) % others.shape[1]]


def transitions(
    policy: LatentPolicy, params: Params, episodes: Episodes, task_codes: Tensor
) -> Transitions:
    """Return episodes as the model reads them, the same as `LatentState` does step by step.

    Args:
        policy: Scales the observations.
        params: The units of outcomes, each leaf (N, D) or (1, D).
        episodes: (N, E, T); rewards are NaN where they were not measured.
        task_codes: The task code of each episode, (N, E, C), or of each step, (N, E, T, C).
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
        task_codes=task_codes.expand(*mask.shape, -1)
        if task_codes.ndim == 4
        else task_codes[:, :, None].expand(*mask.shape, -1),
        outcomes=outcomes,
        counts=counts,
    )


def noisy(
    policy: LatentPolicy, params: Params, episodes: Episodes, generator: torch.Generator
) -> Episodes:
    """Return episodes, a share `NOISY_SHARE` of them with white noise in their observations.

    So the model learns to doubt sensors, by how noisy they seem. The standard deviation of each
    element is between the two `NOISE_LEVELS`, in those of its change from step to step.

    Args:
        policy: Scales the observations.
        params: The units of outcomes, each leaf (1, D).
        episodes: (N, E, T).
        generator: Source of the noise.
    """
    N, E, _, O = episodes.observations.shape  # noqa: E741
    spread = params["outcome_std"][0, 1:] * policy.observation_half_range
    low, high = (math.log(level) for level in NOISE_LEVELS)
    levels = torch.exp(low + (high - low) * torch.rand(N, E, O, generator=generator))
    is_noisy = torch.rand(N, E, 1, generator=generator) < NOISY_SHARE
    std = torch.where(is_noisy, levels * spread, 0.0)

    def disturbed(block: Tensor, std: Tensor) -> Tensor:
        return block + std * torch.randn(block.shape, generator=generator)

    return replace(
        episodes,
        observations=disturbed(episodes.observations, std[:, :, None]),
        final_observations=disturbed(episodes.final_observations, std),
    )


class _Block(NamedTuple):
    """Episodes of one meta-batch for the model, of the tasks of all processes.

    Each process fits the model to all of them, so that the number of processes changes nothing.
    """

    episodes: Episodes
    """(N, E, T)."""
    task_codes: Tensor
    """Task codes of the policy, (N, E, C); the first one is that of the task."""

    @classmethod
    def of(cls, batch: MetaBatch, workers: Workers) -> "_Block":
        """Gather a meta-batch; tasks with numbers that are not finite are left out."""
        episodes = batch.post_episodes.of_each(workers.gather)
        numbers = episodes.observations.sum((2, 3)) + episodes.actions.sum((2, 3))
        finite = (numbers + episodes.returns).isfinite().all(1)
        return cls(episodes.rows(finite), workers.gather(task_codes_of(batch))[finite])


def find_units(policy: LatentPolicy, blocks: Sequence[_Block]) -> Params:
    """Return the units of outcomes and returns: mean and standard deviation over all tasks."""
    sums = torch.stack([_sums(policy, block) for block in blocks]).sum(0)
    count, total, squares = sums  # (D + 1,) each
    mean = total / count.clamp(min=1e-12)
    std = (squares / count.clamp(min=1e-12) - mean.square()).clamp(min=0.0).sqrt()
    found = [mean[:-1], std[:-1], mean[-1:], std[-1:]]
    return {name: unit.float() for name, unit in zip(UNITS, found, strict=True)}


def _sums(policy: LatentPolicy, block: _Block) -> Tensor:
    """Return count, sum and sum of squares of each outcome, and of the return, (3, D + 1)."""
    size = policy.model.outcome_size
    plain = {"outcome_mean": torch.zeros(1, size), "outcome_std": torch.ones(1, size)}
    shown = transitions(policy, plain, block.episodes, block.task_codes)
    counts, outcomes = shown.counts.double(), shown.outcomes.double()
    returns = block.episodes.returns.double()
    columns = [counts, outcomes * counts, outcomes.square() * counts]
    of_returns = [torch.ones_like(returns), returns, returns.square()]
    return torch.cat(
        [
            torch.stack([each.sum((0, 1, 2)) for each in columns]),
            torch.stack([each.sum() for each in of_returns])[:, None],
        ],
        dim=1,
    )


class _Data(NamedTuple):
    """R episodes for the model, or those of one of its steps of Adam."""

    steps: Transitions
    """(R, T, .) each."""
    task_codes: Tensor
    """Task codes of the policy, (R, C)."""
    codes: Tensor
    """The tasks, (R, C)."""
    returns: Tensor
    """In their unit, (R,)."""

    @classmethod
    def of(
        cls,
        policy: LatentPolicy,
        params: Params,
        blocks: Sequence[_Block],
        generator: torch.Generator,
    ) -> "_Data":
        """Read episodes in the units of the parameters, some of them with sensor noise."""
        units = {name: params[name][None] for name in UNITS}
        shown = [
            transitions(
                policy,
                units,
                noisy(policy, units, block.episodes, generator),
                anchors(block.task_codes),
            )
            for block in blocks
        ]
        task_codes = [block.task_codes for block in blocks]
        codes = [each[:, :1].expand(each.shape) for each in task_codes]
        returns = [policy.return_in_units(units, block.episodes.returns) for block in blocks]

        def in_a_row(parts: Sequence[Tensor]) -> Tensor:
            return torch.cat([part.flatten(0, 1) for part in parts])

        return cls(
            Transitions(*map(in_a_row, zip(*shown, strict=True))),
            *map(in_a_row, (task_codes, codes, returns)),
        )

    def rows(self, chosen: Tensor) -> "_Data":
        """Return some episodes, as the only set of them."""
        steps, *others = self
        return _Data(
            Transitions(*(block[chosen][None] for block in steps)),
            *(block[chosen][None] for block in others),
        )


def fit_model(
    policy: LatentPolicy,
    params: Params,
    blocks: Sequence[_Block],
    options: LatentOptions,
    generator: torch.Generator,
    watch: Callable[[float], None],
) -> Params:
    """Fit the model to episodes; the parameters are in their own shapes, with the units.

    An epoch of Adam goes through all episodes in a drawn order.

    Raises:
        ValueError: No task has finite numbers, or the fit diverges.
    """
    data = _Data.of(policy, params, blocks, generator)
    num_rows = len(data.returns)
    if num_rows == 0:
        raise ValueError("the model of latent cannot be fitted: the numbers of no task are finite")
    size = options.model_batch * max(len(block.task_codes) for block in blocks)
    model = {
        name: leaf[None].clone().requires_grad_()
        for name, leaf in policy.network_params(params).items()
    }
    optimiser = torch.optim.Adam(model.values(), lr=options.model_lr)
    num_steps = options.model_epochs * -(-num_rows // size)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=num_steps)
    for epoch in range(options.model_epochs):
        order = torch.randperm(num_rows, generator=generator)
        for rows in order.split(size):
            watch(schedule.last_epoch / num_steps)
            shares = rows.tensor_split(min(_SHARES, len(rows)))
            loss = _descend(policy, model, [data.rows(share) for share in shares])
            if not math.isfinite(loss):
                raise ValueError(
                    f"the model of latent cannot be fitted: its loss is {loss} in epoch "
                    f"{epoch + 1}; lower model_lr"
                )
            optimiser.step()
            schedule.step()
    fitted = {name: leaf.detach()[0] for name, leaf in model.items()}
    return policy.with_network(params, fitted)


_SHARES = 2
"""Shares of the episodes of a step, each on a thread; fixed, as sums depend on it."""


def _descend(policy: LatentPolicy, model: Params, shares: Sequence[_Data]) -> float:
    """Set the gradient of the leaves to that of the mean loss of all shares; return this loss."""

    def gradients(share: _Data) -> tuple[Tensor, ...]:
        loss = _model_loss(policy, model, share)
        return loss.detach(), *torch.autograd.grad(loss, [*model.values()], materialize_grads=True)

    parts = zip(*map_on_threads(gradients, shares), strict=True)
    loss, *means = (torch.stack(each).mean(0) for each in parts)
    for leaf, gradient in zip(model.values(), means, strict=True):
        leaf.grad = gradient
    return float(loss)


def _model_loss(policy: LatentPolicy, model: Params, data: _Data) -> Tensor:
    """Return the loss on episodes, by the outcomes of their steps and by their returns."""
    steps, task_codes, codes, returns = data
    of_steps = policy.model.losses(model, steps, codes)
    return (of_steps + policy.model.return_losses(model, task_codes, codes, returns)).sum()
