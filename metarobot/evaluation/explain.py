"""Measure how adaptation identifies tasks and changes the policy, on held-out tasks.

Letters: N tasks, P task parameters, C elements of encoded tasks, K weighed tasks, A elements of
actions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from metarobot.algorithms.base import Belief
from metarobot.algorithms.references import fit_tasks
from metarobot.envs import TaskDistribution, TaskParameter, Tasks, find_family
from metarobot.envs.tasks import ONE_BEYOND, Split
from metarobot.evaluation.protocol import ORACLE, EvaluationConfig, ExplanationConfig
from metarobot.evaluation.table import headline_episodes
from metarobot.evaluation.task_set import TaskSet
from metarobot.machine import extra
from metarobot.policies import Params, repeat_params
from metarobot.rollout.episodes import Episodes
from metarobot.training.load import TrainedPolicy, TrainedRun

_FOLLOWED_TASKS = 4
"""Number of held-out tasks with a belief for every episode."""
_MOST_FOLLOWED = 20
"""Most adaptation episodes of these beliefs."""
_STRENGTHS = np.logspace(-6, 2, 25)
"""Candidate ridge strengths of a probe, as parts of the mean squared length of a state."""
_NUM_RESAMPLES = 500
_BAND = ("low", "median", "high")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Accuracy of a task parameter's estimate, from the adapted state or by simulation."""

    parameter: str
    """Its name."""
    split: Split
    """Where the tasks are from."""
    adaptation_episodes: int
    """Adaptation episodes that it was adapted by."""
    r2: float
    """1 - (squared error of the estimate) / (variance of the parameter), at most 1."""
    low: float
    """Lower end of its 95 % interval over tasks."""
    high: float
    """Upper end."""


@dataclass(frozen=True, kw_only=True)
class Band:
    """Belief about a task parameter, in its own unit."""

    low: float
    """Quantile 0.05."""
    median: float
    """Quantile 0.5."""
    high: float
    """Quantile 0.95."""


@dataclass(frozen=True, kw_only=True)
class TaskBelief:
    """Belief about one held-out task, episode by episode."""

    split: Split
    """Split of the task."""
    true: tuple[float, ...]
    """True values of the parameters that vary, (P,)."""
    bands: tuple[tuple[Band, ...], ...]
    """After 0, 1, 2, .. adaptation episodes, for each of them."""
    is_used: tuple[bool, ...]
    """Whether the policy acts on the belief, after 0, 1, 2, .. episodes."""


@dataclass(frozen=True, kw_only=True)
class Narrowing:
    """Width and coverage of the belief about a parameter, over all held-out tasks."""

    parameter: str
    """Its name."""
    adaptation_episodes: int
    """Adaptation episodes that it was adapted by."""
    width: float
    """Mean width of the band as a part of that before adapting, on the parameter's scale."""
    holds_truth: float
    """Share of the tasks with the true value in the band."""


@dataclass(frozen=True, kw_only=True)
class StateMap:
    """Adapted states of all tasks, on their first two principal components."""

    adaptation_episodes: int
    """Adaptation episodes that it was adapted by."""
    places: tuple[tuple[float, float], ...]
    """(N, 2)."""
    shares: tuple[float, float]
    """Part of the variance along each direction."""


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Effect of a task parameter on an element of the action, after adaptation."""

    parameter: str
    """Name of the parameter."""
    element: str
    """Name of the element."""
    change: float
    """Change of the element's mean over an episode, in half action ranges, from the parameter's
    lowest training value to its highest, all else equal."""
    of_oracle: float | None
    """Change of the oracle; None without one."""


@dataclass(frozen=True, kw_only=True)
class LayerUpdate:
    """Size of a layer's change by adaptation."""

    layer: str
    """Name of the leaf."""
    size: float
    """Norm of the change, as a part of the norm of the leaf; mean over tasks."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Estimate of a parameter after adaptation to one task, in its own unit."""

    parameter: str
    """Its name."""
    true: float
    """Its value in the simulation."""
    value: float
    """Estimated value."""
    low: float
    """Lower end of its interval: quantile 0.05 of the belief, or the probe's 95 % interval."""
    high: float
    """Upper end of the interval."""


@dataclass(frozen=True, kw_only=True)
class ActionChange:
    """Change of an element of the action by adaptation to one task, in half ranges."""

    element: str
    """Its name."""
    before: float
    """Mean over an episode, before adapting."""
    after: float
    """Mean over an episode after adapting."""


@dataclass(frozen=True, kw_only=True)
class OneTask:
    """Explanation of adaptation to one task."""

    adaptation_episodes: int
    """Adaptation episodes that it was adapted by."""
    estimates: tuple[Estimate, ...] = ()
    """By parameter."""
    changes: tuple[ActionChange, ...] = ()
    """By element of the action."""
    beyond: tuple[str, ...] = ()
    """Names of the parameters whose true values lie beyond the training range."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Explanation of how one policy adapts."""

    family: str
    """Id of the family."""
    variant: str | None
    """Description of the variant trained on, if any; ranges and splits are those of the variant."""
    parameters: tuple[TaskParameter, ...]
    """The task parameters, with the ranges trained on."""
    algorithm: str
    """Name of the algorithm."""
    config: ExplanationConfig
    """Extent of the measurement."""
    tasks: tuple[tuple[float, ...], ...]
    """The test tasks of the training range, (N, P), each parameter that varies in its own unit."""
    readings: tuple[Reading, ...]
    """By parameter, split and adaptation episodes."""
    identified: tuple[Reading, ...]
    """Readings of simulation fitted to the same episodes, on the first tasks of each held-out
    split, after the headline number of episodes only; empty if not requested."""
    believed: tuple[TaskBelief, ...]
    """Beliefs about a few held-out tasks; empty for a policy without a belief."""
    narrowing: tuple[Narrowing, ...]
    """By parameter, after the headline number of episodes; empty likewise."""
    state_map: StateMap | None
    """Map after the headline number of episodes: few enough for a real robot."""
    sensitivities: tuple[Sensitivity, ...]
    """By parameter and element of the action."""
    updates: tuple[LayerUpdate, ...]
    """By layer; empty if adaptation changes no layer."""
    one_task: OneTask | None
    """Explanation of the requested task, if any."""
    similarity: tuple[tuple[float, float], ...]
    """For pairs of tasks in the training range: their distance and the cosine between their
    updates; empty if adaptation changes no layer."""

    @property
    def varying(self) -> tuple[TaskParameter, ...]:
        """The task parameters that differ between tasks."""
        return tuple(parameter for parameter in self.parameters if parameter.varies)


Progress = Callable[[str, float], None]
"""Called with a stage and the share of the work done."""


def explain(
    run: TrainedRun,
    algorithm: str,
    config: ExplanationConfig,
    progress: Progress,
    task: Mapping[str, float] | None = None,
    answer: Callable[[OneTask], None] = lambda _: None,
) -> Explanation:
    """Measure how adaptation of one policy identifies tasks and changes actions.

    Args:
        run: The run of the policy; its oracle is the reference.
        algorithm: Name of the policy's algorithm.
        config: Extent of the measurement.
        progress: Called with a stage and the share of the work done.
        task: Parameters of one task to explain in detail, all others nominal.
        answer: Called with what is known of that task as soon as it is: the changes of the actions
            and the belief at once; the estimates of a policy without a belief after the probes.

    Raises:
        TaskError: The family does not allow the task.
    """
    distribution, trained = run.distribution, run.policies[algorithm]
    columns = {name: [value] for name, value in (task or {}).items()}
    varying = tuple(parameter for parameter in distribution.parameters if parameter.varies)
    numbers = tuple(sorted({0, *config.adaptation_episodes}))
    few = headline_episodes(numbers) or 0
    # Each split is an equal share of the work, and so is fitting simulation to it.
    splits: list[Split] = [s for s in distribution.splits if s != ONE_BEYOND]
    share = 0.9 / (len(splits) * (2 if config.num_identified else 1))
    protocol = EvaluationConfig(num_tasks=config.num_tasks, seed=config.seed)

    one_task = adapted_to_one = None
    if columns:
        progress("the one task", 0.0)
        tasks = distribution.with_values(columns)
        task_set = TaskSet(run.env_id, tasks, "train", protocol, run.variant, run.scene)
        adapted_to_one = AdaptedTasks(task_set, trained, (0, few))
        one_task = _one_task(distribution, adapted_to_one, few)
        answer(one_task)
    judged: dict[Split, AdaptedTasks] = {}
    for split in splits:
        progress(f"tasks of the split {split}", len(judged) * share)
        task_set = TaskSet.of_split(run.env_id, split, protocol, run.variant, run.scene)
        judged[split] = AdaptedTasks(task_set, trained, numbers)
    in_range = judged["train"]
    codes = distribution.encode(in_range.task_set.tasks)
    probes = {number: Probe.fit(states, codes) for number, states in in_range.states.items()}
    if one_task and adapted_to_one and not one_task.estimates:
        estimates = _read_by_probe(distribution, probes[few], adapted_to_one, few)
        one_task = replace(one_task, estimates=estimates)
        answer(replace(one_task, changes=(), beyond=()))
    # A family without held-out splits has one split only.
    held_out: dict[Split, AdaptedTasks] = {
        s: each for s, each in judged.items() if s != "train" or len(judged) == 1
    }
    readings, identified = list[Reading](), list[Reading]()
    for split, each in judged.items():
        codes = distribution.encode(each.task_set.tasks)
        for number, probe in probes.items():
            wrong = np.square(probe.model.predict(each.states[number]) - codes)
            wrong = probe.left_out if split == "train" else wrong
            readings += compare_readings(distribution, split, number, codes, wrong)
    for index, (split, each) in enumerate(held_out.items() if config.num_identified else ()):
        done = (len(judged) + index) * share
        progress(f"simulation fitted to the split {split}", done)
        # The simulation is exact and has the episodes' starts: its fit is an upper bound.
        rows = slice(0, config.num_identified)
        fits = fit_tasks(trained.config, each.episodes.rows(rows).first(few))
        codes = distribution.encode(each.task_set.tasks.rows(rows))
        wrong = np.square(distribution.encode(distribution.spread(fits)) - codes)
        identified += compare_readings(distribution, split, few, codes, wrong)

    progress("changes by adaptation", 0.9)
    tasks, before, after = in_range.task_set.tasks, in_range.params[0], in_range.params[few]
    numbers_followed = range(min(few, _MOST_FOLLOWED) + 1)
    believed = list[TaskBelief]()
    for split, each in held_out.items():
        if each.belief(0) is not None:
            followed = each.first(_FOLLOWED_TASKS // len(held_out), numbers_followed)
            believed += _task_beliefs(varying, split, followed)
    explanation = Explanation(
        family=run.env_id,
        variant=run.variant and run.variant.words,
        parameters=distribution.parameters,
        algorithm=algorithm,
        config=config,
        tasks=tuple(zip(*(tasks[each.name].tolist() for each in varying), strict=True)),
        readings=tuple(readings),
        identified=tuple(identified),
        believed=tuple(believed),
        narrowing=tuple(_narrowing(varying, [*held_out.values()], few)),
        state_map=_state_map(in_range.states[few], few),
        sensitivities=tuple(_sensitivities(varying, in_range, few, run.policies.get(ORACLE))),
        updates=tuple(
            LayerUpdate(layer=name, size=_moved_part(before[name], after[name]))
            for name in _moved_layers(before, after)
        ),
        one_task=one_task,
        similarity=tuple(_similarity(varying, tasks, before, after)),
    )
    progress("done", 1.0)
    return explanation


class AdaptedTasks:
    """A policy adapted to N tasks, by the number of adaptation episodes.

    Args:
        task_set: The tasks.
        trained: The policy that adapts.
        numbers: Numbers of adaptation episodes, including 0.
        episodes: The episodes to adapt to; collected if not given.
    """

    def __init__(
        self,
        task_set: TaskSet,
        trained: TrainedPolicy,
        numbers: Sequence[int],
        episodes: Episodes | None = None,
    ) -> None:
        self.task_set, self.trained = task_set, trained
        self.episodes = task_set.explore(trained, max(numbers)) if episodes is None else episodes
        self.params: dict[int, Params] = task_set.adapted_to(trained, self.episodes, numbers)
        state = trained.algorithm.adapted_state
        self.states = {
            number: state(self.params[0], params).double().numpy()
            for number, params in self.params.items()
        }  # (N, F) each

    def first(self, num_tasks: int, numbers: Sequence[int]) -> AdaptedTasks:
        """Return the first tasks, adapted to other numbers of the same episodes."""
        rows = slice(0, num_tasks)
        task_set = replace(self.task_set, tasks=self.task_set.tasks.rows(rows))
        return AdaptedTasks(task_set, self.trained, numbers, self.episodes.rows(rows))

    def belief(self, number: int) -> Belief | None:
        """Return the belief about the tasks; None if the algorithm has none."""
        return self.trained.algorithm.belief(self.params[number])

    def bands(self, parameter: TaskParameter, number: int) -> np.ndarray:
        """Return low, median and high of a parameter, (N, 3); angles are unwrapped."""
        belief = self.belief(number)
        assert belief is not None
        # Task codes use the family's scale, also for a policy trained on a variant.
        return belief.bands(find_family(self.task_set.env_id).distribution)[parameter.name]


# Readings of task parameters, from the adapted state and from its episodes.


class Probe(NamedTuple):
    """A ridge regression from the state of F elements to codes of the task.

    The ridge strength of each code is the one with the smallest leave-one-out error.

    Source: Alain and Bengio 2016, arXiv:1610.01644.
    """

    model: Any
    """scikit-learn's."""
    left_out: np.ndarray
    """Squared errors on each task by a fit without it, (N, C)."""

    @property
    def error(self) -> np.ndarray:
        """Root mean square of these errors, (C,)."""
        return np.sqrt(self.left_out.mean(axis=0))

    @classmethod
    def fit(cls, states: np.ndarray, codes: np.ndarray) -> Self:
        """Fit a probe to states (N, F) and codes (N, C)."""
        with extra("train", "explaining"):
            from sklearn.linear_model import RidgeCV  # takes a second to import
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler

        mean_square = max(1, int((states.std(axis=0) > 0.0).sum()))  # of a scaled state
        ridge = RidgeCV(_STRENGTHS * mean_square, alpha_per_target=True, store_cv_results=True)
        model = make_pipeline(StandardScaler(), ridge).fit(states, codes)
        wrong = ridge.cv_results_  # squared, (N, C, strengths)
        best = wrong.mean(axis=0).argmin(axis=1)[None, :, None]
        return cls(model, np.take_along_axis(wrong, best, axis=2)[..., 0])


def compare_readings(
    distribution: TaskDistribution, split: Split, number: int, codes: np.ndarray, wrong: np.ndarray
) -> Iterator[Reading]:
    """Compare squared errors of codes with the variance of the codes, (N, C), for every parameter.

    The interval of an R² is a bootstrap over tasks, of each task's terms of both sums.
    """
    spread = np.square(codes - codes.mean(axis=0))
    drawn = np.random.default_rng(0).integers(len(codes), size=(_NUM_RESAMPLES, len(codes)))
    for parameter, columns in distribution.encoded_columns.items():
        if distribution[parameter].varies:  # else R² is undefined
            errors, variances = wrong[:, columns].sum(axis=1), spread[:, columns].sum(axis=1)
            total = np.maximum(variances[drawn].sum(axis=1), 1e-30)
            low, high = np.quantile(1.0 - errors[drawn].sum(axis=1) / total, [0.025, 0.975])
            yield Reading(
                parameter=parameter,
                split=split,
                adaptation_episodes=number,
                r2=1.0 - float(errors.sum() / max(variances.sum(), 1e-30)),
                low=float(low),
                high=float(high),
            )


def _one_task(distribution: TaskDistribution, adapted: AdaptedTasks, number: int) -> OneTask:
    """Return the belief about one task, if there is one, and the changes of the actions."""
    task_set, bounds = adapted.task_set, dict[str, Sequence[float]]()
    if adapted.belief(number) is not None:
        bounds = {p.name: adapted.bands(p, number)[0].tolist() for p in distribution.parameters}
    means = [_mean_actions(task_set, adapted.trained, adapted.params[n])[0] for n in (0, number)]
    elements = find_family(task_set.env_id).action_elements
    return OneTask(
        adaptation_episodes=number,
        estimates=_estimates(task_set.tasks, bounds),
        changes=tuple(
            ActionChange(element=element, before=float(before), after=float(after))
            for element, before, after in zip(elements, *means, strict=True)
        ),
        beyond=tuple(
            each.name
            for each in distribution.parameters
            if not each.trained_on(float(task_set.tasks[each.name][0]))
        ),
    )


def _read_by_probe(
    distribution: TaskDistribution, probe: Probe, adapted: AdaptedTasks, number: int
) -> tuple[Estimate, ...]:
    """Return the probe's estimates of one task, (1, F) of its states."""
    read, bounds = probe.model.predict(adapted.states[number]), dict[str, Sequence[float]]()
    for parameter in distribution.parameters:
        own = distribution.encoded_columns[parameter.name]
        bounds[parameter.name] = _with_bounds(parameter, read[:, own], probe.error[own]).tolist()
    return _estimates(adapted.task_set.tasks, bounds)


def _estimates(tasks: Tasks, bounds: Mapping[str, Sequence[float]]) -> tuple[Estimate, ...]:
    """Return estimates of one task by low, value and high of each parameter."""
    return tuple(
        Estimate(
            parameter=name,
            true=float(tasks[name][0]),
            value=value,
            low=low,
            high=high,
        )
        for name, (low, value, high) in bounds.items()
    )


def _with_bounds(parameter: TaskParameter, read: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return the estimate with the ends of its 95 % interval, (3,); ``read`` is (1, C)."""
    if parameter.circular:
        width = 1.96 * error.mean() / max(float(np.linalg.norm(read)), 1e-6)
        return parameter.decode(read) + np.array([-width, 0.0, width])
    # A linear probe has no bounds, but friction cannot be below 0.
    ends = parameter.decode(read + 1.96 * error * np.array([[-1.0], [0.0], [1.0]]))
    return np.clip(ends, *parameter.allowed)


# Beliefs of policies with a posterior over tasks.


def _task_beliefs(
    parameters: Sequence[TaskParameter], split: Split, adapted: AdaptedTasks
) -> list[TaskBelief]:
    """Return the beliefs about tasks after each number of adaptation episodes."""
    bands = [
        [adapted.bands(each, number).tolist() for each in parameters] for number in adapted.params
    ]
    beliefs = [belief for number in adapted.params if (belief := adapted.belief(number))]
    tasks = adapted.task_set.tasks
    return [
        TaskBelief(
            split=split,
            true=tuple(float(tasks[each.name][row]) for each in parameters),
            bands=tuple(
                tuple(Band(**dict(zip(_BAND, b[row], strict=True))) for b in stage)
                for stage in bands
            ),
            is_used=tuple(bool(belief.is_used[row]) for belief in beliefs),
        )
        for row in range(len(tasks))
    ]


def _narrowing(
    parameters: Sequence[TaskParameter], held_out: Sequence[AdaptedTasks], number: int
) -> Iterator[Narrowing]:
    """Yield the width of the belief and its coverage of the true value, by parameter."""
    if held_out[0].belief(0) is None:
        return
    for parameter in parameters:
        widths, holds = list[float](), list[bool]()
        for adapted in held_out:
            before, after = (adapted.bands(parameter, each) for each in (0, number))
            true = adapted.task_set.tasks[parameter.name]
            if parameter.circular:
                true = after[:, 1] + _turned(true - after[:, 1])
            width, first = (
                np.diff(parameter.scale(bands[:, ::2]), axis=1) for bands in (after, before)
            )
            widths += (width / first)[:, 0].tolist()
            holds += ((after[:, 0] <= true) & (true <= after[:, 2])).tolist()
        yield Narrowing(
            parameter=parameter.name,
            adaptation_episodes=number,
            width=float(np.mean(widths)),
            holds_truth=float(np.mean(holds)),
        )


def _turned(angles: np.ndarray) -> np.ndarray:
    """Return angles within half a turn, in rad."""
    return (angles + np.pi) % (2 * np.pi) - np.pi


# Changes of states, actions and layers.


def _state_map(states: np.ndarray, number: int) -> StateMap | None:
    """Return the states on their first two principal components."""
    with extra("train", "explaining"):
        from sklearn.decomposition import PCA
        from sklearn.preprocessing import StandardScaler

    rows = StandardScaler().fit_transform(states)
    if not rows.any():
        return None
    pca = PCA(min(2, *rows.shape), svd_solver="full")
    places, shares = pca.fit_transform(rows), pca.explained_variance_ratio_
    missing = 2 - len(shares)  # of a state with one element
    places, shares = np.pad(places, ((0, 0), (0, missing))), np.pad(shares, (0, missing))
    return StateMap(
        adaptation_episodes=number,
        places=tuple((float(x), float(y)) for x, y in places),
        shares=(float(shares[0]), float(shares[1])),
    )


def _mean_actions(task_set: TaskSet, trained: TrainedPolicy, params: Params) -> np.ndarray:
    """Return the mean action on every task, over test episodes, (N, A)."""
    episodes = task_set.collect(
        trained.policy,
        params,
        num_episodes=EvaluationConfig.test_episodes,
        noisy=False,
        observe_task=trained.algorithm.observes_task,
    )
    actions = episodes.actions.clamp(-1.0, 1.0) * episodes.step_weights[..., None]
    return actions.sum((1, 2)).double().numpy()


def _sensitivities(
    parameters: Sequence[TaskParameter],
    adapted: AdaptedTasks,
    number: int,
    oracle: TrainedPolicy | None,
) -> Iterator[Sensitivity]:
    """Yield the effect of the task on the adapted policy's action and on the oracle's."""
    task_set = adapted.task_set
    scaled = _scaled(parameters, task_set.tasks)  # (N, P)
    centred = np.column_stack([np.ones(len(scaled)), scaled])

    def slopes(trained: TrainedPolicy, params: Params) -> np.ndarray:  # (P, A)
        means = _mean_actions(task_set, trained, params)
        return np.linalg.lstsq(centred, means, rcond=None)[0][1:]

    own, of_oracle = slopes(adapted.trained, adapted.params[number]), None
    if oracle is not None:
        of_oracle = slopes(oracle, repeat_params(oracle.params, len(scaled)))
    for row, parameter in enumerate(parameters):
        for column, element in enumerate(find_family(task_set.env_id).action_elements):
            yield Sensitivity(
                parameter=parameter.name,
                element=element,
                change=float(own[row, column]),
                of_oracle=None if of_oracle is None else float(of_oracle[row, column]),
            )


def _scaled(parameters: Sequence[TaskParameter], tasks: Tasks) -> np.ndarray:
    """Return tasks with the training range of each parameter as [0, 1], (N, P)."""
    columns = []
    for parameter in parameters:
        low, high = parameter.scale(np.asarray(parameter.train))
        columns.append((parameter.scale(tasks[parameter.name]) - low) / (high - low))
    return np.column_stack(columns)


def _moved_layers(before: Params, after: Params) -> list[str]:
    """Return the names of the layers that adaptation changes."""
    return [
        name
        for name, leaf in before.items()
        if name.partition(".")[0] == "layers" and not torch.equal(after[name], leaf)
    ]


def _moved_part(before: Tensor, after: Tensor) -> float:
    """Return the norm of a layer's change as a part of its norm; mean over tasks."""
    length = before.flatten(1).norm(dim=1).clamp(min=1e-30)
    return float(((after - before).flatten(1).norm(dim=1) / length).mean())


def _similarity(
    parameters: Sequence[TaskParameter], tasks: Tasks, before: Params, after: Params
) -> list[tuple[float, float]]:
    """Return distance and cosine between the updates of pairs of tasks."""
    leaves = [(after[n] - before[n]).flatten(1) for n in _moved_layers(before, after)]
    if not leaves:
        return []
    updates = torch.cat(leaves, dim=1).double()
    updates = updates / updates.norm(dim=1, keepdim=True).clamp(min=1e-30)
    scaled, half = _scaled(parameters, tasks), len(updates) // 2
    distances = np.linalg.norm(scaled[:half] - scaled[half : 2 * half], axis=1)
    cosines = (updates[:half] * updates[half : 2 * half]).sum(1)
    return list(zip(distances.tolist(), cosines.tolist(), strict=True))
