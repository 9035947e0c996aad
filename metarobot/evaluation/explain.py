"""Measures of what adaptation has sensed and changed, on held-out tasks.

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
from metarobot.envs.checks import keep_plain_integers, require_integers
from metarobot.envs.tasks import Split
from metarobot.evaluation.protocol import ORACLE, EvaluationConfig
from metarobot.evaluation.table import headline_episodes
from metarobot.evaluation.task_set import TaskSet
from metarobot.policies import Params, repeat_params
from metarobot.rollout.episodes import Episodes
from metarobot.training.load import TrainedPolicy, TrainedRun

_FIT_SEED = 1
"""Added to the seed of the test tasks: those that probes are fitted to are others."""
_FOLLOWED_TASKS = 4
"""Held-out tasks whose belief is followed episode by episode."""
_MOST_FOLLOWED = 20
"""Adaptation episodes, at most, up to which it is."""
_STRENGTHS = np.logspace(-6, 2, 25)
"""Strengths of a probe's ridge that are tried, as parts of the mean squared length of a state."""
_NUM_RESAMPLES = 500
_QUANTILES = (0.05, 0.5, 0.95)
_BAND = ("low", "median", "high")


@dataclass(frozen=True, kw_only=True)
class ExplanationConfig:
    """How much is measured."""

    num_tasks: int = 200
    """Tasks that probes are fitted to, and tasks of each split that they are judged on."""
    adaptation_episodes: tuple[int, ...] = (0, 1, 2, 5, 20)
    """Adaptation episodes of each task, in one block."""
    num_identified: int = 0
    """Tasks of each held-out split that simulation is fitted to, from the same episodes: what it
    reads was there to be read. 10 take a minute or two; nothing is fitted if not given."""
    seed: int = EvaluationConfig.seed
    """Seed of the test tasks and of their episodes."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        keep_plain_integers(self)
        require_integers(self, {"num_tasks": (10, 10_000)})
        require_integers(self, {"num_identified": (0, self.num_tasks)})
        if self.num_identified == 1:
            raise ValueError("num_identified must be 0, or at least 2: one task has no variance")
        EvaluationConfig(adaptation_episodes=self.adaptation_episodes, seed=self.seed)
        if headline_episodes(self.adaptation_episodes) is None:
            raise ValueError("adaptation_episodes must hold a number above 0: nothing would adapt")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How well a task parameter can be read: from what adaptation has changed, or by simulation."""

    parameter: str
    """Its name."""
    split: Split
    """Where the tasks are from."""
    adaptation_episodes: int
    """Adaptation episodes that it was adapted by."""
    r2: float
    """1 - (squared error of the reading) / (variance of the parameter); 0 or less: not at all."""
    low: float
    """Lower end of its 95 % interval over tasks."""
    high: float
    """Upper end."""


@dataclass(frozen=True, kw_only=True)
class Band:
    """Where a task parameter is believed to lie, in its own unit."""

    low: float
    """5 % of the belief lies below."""
    median: float
    """Half of the belief lies below."""
    high: float
    """5 % of the belief lies above."""


@dataclass(frozen=True, kw_only=True)
class BelievedTask:
    """What is believed of one held-out task, episode by episode."""

    split: Split
    """Where the task is from."""
    true: tuple[float, ...]
    """Its parameters in the simulation that vary, (P,)."""
    bands: tuple[tuple[Band, ...], ...]
    """After 0, 1, 2, .. adaptation episodes, for each of them."""
    is_used: tuple[bool, ...]
    """Whether the policy acts on it, after 0, 1, 2, .. episodes."""


@dataclass(frozen=True, kw_only=True)
class Narrowing:
    """How far the belief about a parameter has narrowed, over all held-out tasks."""

    parameter: str
    """Its name."""
    adaptation_episodes: int
    """Adaptation episodes that it was adapted by."""
    width: float
    """Width of the band as a part of that before adapting, on the scale of the parameter; mean."""
    holds_truth: float
    """Share of the tasks whose true value lies in the band."""


@dataclass(frozen=True, kw_only=True)
class StateMap:
    """What adaptation has changed on every task, in the two directions in which most of it lies."""

    adaptation_episodes: int
    """Adaptation episodes that it was adapted by."""
    places: tuple[tuple[float, float], ...]
    """(N, 2)."""
    shares: tuple[float, float]
    """Part of the variance along each direction."""


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """How an element of the action depends on a task parameter, once adapted."""

    parameter: str
    """Name of the parameter."""
    element: str
    """Name of the element."""
    change: float
    """Change of its mean over an episode, in half action ranges, from the lowest value trained on
    to the highest, all else alike."""
    of_oracle: float | None
    """The same of the policy that is told the task; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class LayerUpdate:
    """How far adaptation moves a layer."""

    layer: str
    """Name of the leaf."""
    size: float
    """Length of the change, as a part of the length of the leaf; mean over tasks."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What adaptation to one task has sensed of a parameter, in its own unit."""

    parameter: str
    """Its name."""
    true: float
    """Its value in the simulation."""
    value: float
    """The value read."""
    low: float
    """Lower end of where 95 % of the tasks in the training range lie that read alike."""
    high: float
    """Upper end."""
    is_trained: bool
    """Whether the true value lies in the training range."""


@dataclass(frozen=True, kw_only=True)
class ActionChange:
    """What adaptation to one task has changed in an element of the action, in half ranges."""

    element: str
    """Its name."""
    before: float
    """Mean over an episode, before adapting."""
    after: float
    """The same after."""


@dataclass(frozen=True, kw_only=True)
class OneTask:
    """What adaptation to one task has sensed and changed."""

    adaptation_episodes: int
    """Adaptation episodes that it was adapted by."""
    estimates: tuple[Estimate, ...]
    """By parameter."""
    changes: tuple[ActionChange, ...]
    """By element of the action."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What adaptation of one policy has sensed and changed."""

    family: str
    """Id of the family."""
    variant: str | None
    """Words for the variant of it that was trained on, if any; ranges and splits are its own."""
    parameters: tuple[TaskParameter, ...]
    """The task parameters, with the ranges trained on."""
    algorithm: str
    """How it adapts."""
    config: ExplanationConfig
    """How much was measured."""
    tasks: tuple[tuple[float, ...], ...]
    """The test tasks of the training range, (N, P), each parameter that varies in its own unit."""
    readings: tuple[Reading, ...]
    """By parameter, split and adaptation episodes."""
    identified: tuple[Reading, ...]
    """The same of a fit of simulation to the same episodes, on the first tasks of each held-out
    split, after the few episodes alone; empty if none was asked for."""
    believed: tuple[BelievedTask, ...]
    """What is believed of a few held-out tasks; empty where nothing weighs tasks."""
    narrowing: tuple[Narrowing, ...]
    """By parameter, after the few episodes; empty likewise."""
    state_map: StateMap | None
    """After the few episodes that somebody with a robot is glad to run."""
    sensitivities: tuple[Sensitivity, ...]
    """By parameter and element of the action."""
    updates: tuple[LayerUpdate, ...]
    """By layer; empty where adaptation moves no layer."""
    one_task: OneTask | None
    """Of the task that was asked about, if one was."""
    similarity: tuple[tuple[float, float], ...]
    """Distance of two tasks in the training range, and the cosine between their updates; for
    pairs, where adaptation moves layers."""

    @property
    def varying(self) -> tuple[TaskParameter, ...]:
        """The task parameters in which tasks differ: of the others there is nothing to sense."""
        return tuple(parameter for parameter in self.parameters if parameter.varies)


Progress = Callable[[str, float], None]
"""Called with a stage, and the share of the work that is done."""


def explain(
    run: TrainedRun,
    algorithm: str,
    config: ExplanationConfig,
    progress: Progress,
    task: Mapping[str, float] | None = None,
) -> Explanation:
    """Measure what adaptation of one policy senses and changes.

    Args:
        run: The run that holds it; the oracle in it is compared with.
        algorithm: Whose adaptation.
        config: How much is measured.
        progress: Called with a stage and the share of the work done.
        task: Parameters of one task that is looked at more closely, all others nominal.

    Raises:
        TaskError: The family does not allow the task.
    """
    distribution, trained = run.distribution, run.policies[algorithm]
    columns = {name: [value] for name, value in (task or {}).items()}
    one_task = distribution.with_values(columns) if columns else None
    varying = tuple(parameter for parameter in distribution.parameters if parameter.varies)
    numbers = tuple(sorted({0, *config.adaptation_episodes}))
    few = headline_episodes(numbers) or 0
    # The tasks of one split are a share of the work; fitting simulation to them is as much.
    share = 0.9 / (1 + len(distribution.splits) * (2 if config.num_identified else 1))

    def adapted_tasks(split: Split, further_seed: int = 0) -> AdaptedTasks:
        protocol = EvaluationConfig(num_tasks=config.num_tasks, seed=config.seed + further_seed)
        task_set = TaskSet.of_split(run.env_id, split, protocol, run.variant, run.scene)
        return AdaptedTasks(task_set, trained, numbers)

    progress("tasks that probes are fitted to", 0.0)
    fitted = adapted_tasks("train", _FIT_SEED)
    codes = distribution.encode(fitted.task_set.tasks)
    probes = {number: Probe.fit(states, codes) for number, states in fitted.states.items()}
    judged: dict[Split, AdaptedTasks] = {}
    for split in distribution.splits:
        progress(f"tasks of the split {split}", (1 + len(judged)) * share)
        judged[split] = adapted_tasks(split)
    # Of a family that holds nothing out, the one split there is.
    held_out: dict[Split, AdaptedTasks] = {
        s: each for s, each in judged.items() if s != "train" or len(judged) == 1
    }
    readings, identified = list[Reading](), list[Reading]()
    for split, each in judged.items():
        codes = distribution.encode(each.task_set.tasks)
        for number, probe in probes.items():
            read = probe.model.predict(each.states[number])
            readings += compare_readings(distribution, split, number, codes, read)
    for index, (split, each) in enumerate(held_out.items() if config.num_identified else ()):
        done = (1 + len(judged) + index) * share
        progress(f"simulation fitted to the split {split}", done)
        # Simulation is exact and starts where the episodes did: what it reads was there to be read.
        rows = slice(0, config.num_identified)
        fits = fit_tasks(trained.config, each.episodes.rows(rows).first(few))
        read = distribution.encode(distribution.spread(fits))
        codes = distribution.encode(each.task_set.tasks.rows(rows))
        identified += compare_readings(distribution, split, few, codes, read)

    progress("what it changes", 0.9)
    in_range = judged["train"]
    tasks, before, after = in_range.task_set.tasks, in_range.params[0], in_range.params[few]
    numbers_followed = range(min(few, _MOST_FOLLOWED) + 1)
    believed = list[BelievedTask]()
    for split, each in held_out.items():
        if each.belief(0) is not None:
            followed = each.first(_FOLLOWED_TASKS // len(held_out), numbers_followed)
            believed += _believed_tasks(varying, split, followed)
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
        one_task=None
        if one_task is None
        else _one_task(distribution, fitted, probes[few], one_task, few),
        similarity=tuple(_similarity(varying, tasks, before, after)),
    )
    progress("done", 1.0)
    return explanation


class AdaptedTasks:
    """A policy adapted to N tasks, by the number of adaptation episodes.

    Args:
        task_set: The tasks.
        trained: Who adapts.
        numbers: Numbers of adaptation episodes; 0 among them.
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
        """Return low, median and high of a parameter, (N, 3); of an angle, without a jump."""
        belief = self.belief(number)
        assert belief is not None
        # The policy is told tasks on the scale of the family, also where trained on a variant.
        family = find_family(self.task_set.env_id).distribution
        values = family.decode(belief.codes.double().numpy())[parameter.name]  # (K,)
        weights = belief.weights.double().numpy()
        return np.array([weighted_band(parameter, values, row) for row in weights])


# Readings: what can be read from what adaptation has changed, and from its episodes.


class Probe(NamedTuple):
    """A ridge regression from the state of F elements to codes of the task.

    How much it is held back is chosen for each code, by how well each task is predicted by the
    others.

    Source: Alain and Bengio 2016, arXiv:1610.01644.
    """

    model: Any
    """scikit-learn's."""
    error: np.ndarray
    """Standard deviation of what each task is missed by, as predicted by the others, (C,)."""

    @classmethod
    def fit(cls, states: np.ndarray, codes: np.ndarray) -> Self:
        """Fit a probe to states (N, F) and codes (N, C)."""
        from sklearn.linear_model import RidgeCV  # which takes a second to import
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        mean_square = max(1, int((states.std(axis=0) > 0.0).sum()))  # of a scaled state
        ridge = RidgeCV(_STRENGTHS * mean_square, alpha_per_target=True, store_cv_results=True)
        model = make_pipeline(StandardScaler(), ridge).fit(states, codes)
        missed = ridge.cv_results_.mean(axis=0)  # squared, (C, strengths)
        return cls(model, np.sqrt(missed.min(axis=1)))


def compare_readings(
    distribution: TaskDistribution, split: Split, number: int, codes: np.ndarray, read: np.ndarray
) -> Iterator[Reading]:
    """Compare the codes that were read with the truth, (N, C) each, for every parameter.

    The interval of an R² is a bootstrap over tasks, of what each adds to both sums.
    """
    wrong, spread = np.square(read - codes), np.square(codes - codes.mean(axis=0))
    drawn = np.random.default_rng(0).integers(len(codes), size=(_NUM_RESAMPLES, len(codes)))
    for parameter, columns in distribution.encoded_columns.items():
        if distribution[parameter].varies:  # else there is nothing to read
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


def _one_task(
    distribution: TaskDistribution, fitted: AdaptedTasks, probe: Probe, tasks: Tasks, number: int
) -> OneTask:
    """Adapt to one task, and read what was sensed of it and what has changed."""
    task_set, trained = replace(fitted.task_set, tasks=tasks), fitted.trained
    adapted = AdaptedTasks(task_set, trained, (0, number))
    read, estimates = probe.model.predict(adapted.states[number]), []
    for parameter in distribution.parameters:
        own, true = distribution.encoded_columns[parameter.name], float(tasks[parameter.name][0])
        low, value, high = map(float, _with_bounds(parameter, read[:, own], probe.error[own]))
        estimates.append(
            Estimate(
                parameter=parameter.name,
                true=true,
                value=value,
                low=low,
                high=high,
                is_trained=parameter.trained_on(true),
            )
        )
    means = [_mean_actions(task_set, trained, adapted.params[n])[0] for n in (0, number)]
    elements = find_family(task_set.env_id).action_elements
    return OneTask(
        adaptation_episodes=number,
        estimates=tuple(estimates),
        changes=tuple(
            ActionChange(element=element, before=float(before), after=float(after))
            for element, before, after in zip(elements, *means, strict=True)
        ),
    )


def _with_bounds(parameter: TaskParameter, read: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return the value that was read, (1, C), between the ends of its 95 % interval, (3,)."""
    if parameter.circular:
        width = 1.96 * error.mean() / max(float(np.linalg.norm(read)), 1e-6)
        return parameter.decode(read) + np.array([-width, 0.0, width])
    # A linear probe knows no bounds, but a friction below 0 is none.
    ends = parameter.decode(read + 1.96 * error * np.array([[-1.0], [0.0], [1.0]]))
    return np.clip(ends, *parameter.allowed)


# Beliefs of policies that weigh tasks.


def _believed_tasks(
    parameters: Sequence[TaskParameter], split: Split, adapted: AdaptedTasks
) -> list[BelievedTask]:
    """Return what is believed of tasks after each number of episodes that they were adapted to."""
    bands = [
        [adapted.bands(each, number).tolist() for each in parameters] for number in adapted.params
    ]
    beliefs = [belief for number in adapted.params if (belief := adapted.belief(number))]
    tasks = adapted.task_set.tasks
    return [
        BelievedTask(
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
    """Yield how far the belief has narrowed, and on how many tasks it holds the truth."""
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


def weighted_band(parameter: TaskParameter, values: np.ndarray, weights: np.ndarray) -> list[float]:
    """Return the quantiles of weighted values, (K,) each; about the mean direction of an angle."""
    if parameter.circular:
        middle = np.angle(weights @ np.exp(1j * values))
        values = middle + _turned(values - middle)
    order = np.argsort(values)
    below = np.cumsum(weights[order]) - weights[order] / 2
    return np.interp(_QUANTILES, below / weights.sum(), values[order]).tolist()


def _turned(angles: np.ndarray) -> np.ndarray:
    """Return angles within half a turn, in rad."""
    return (angles + np.pi) % (2 * np.pi) - np.pi


# Changes of states, actions and layers.


def _state_map(states: np.ndarray, number: int) -> StateMap | None:
    """Return the states in the two directions in which most of their variance lies."""
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
    """Return the mean action on every task, over the episodes as judged, (N, A)."""
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
    """Yield how the action depends on the task, once adapted, beside that of the oracle."""
    task_set = adapted.task_set
    scaled = _scaled(parameters, task_set.tasks)  # (N, P)
    centred = np.column_stack([np.ones(len(scaled)), scaled])

    def slopes(trained: TrainedPolicy, params: Params) -> np.ndarray:  # (P, A)
        means = _mean_actions(task_set, trained, params)
        return np.linalg.lstsq(centred, means, rcond=None)[0][1:]

    own, told = slopes(adapted.trained, adapted.params[number]), None
    if oracle is not None:
        told = slopes(oracle, repeat_params(oracle.params, len(scaled)))
    for row, parameter in enumerate(parameters):
        for column, element in enumerate(find_family(task_set.env_id).action_elements):
            yield Sensitivity(
                parameter=parameter.name,
                element=element,
                change=float(own[row, column]),
                of_oracle=None if told is None else float(told[row, column]),
            )


def _scaled(parameters: Sequence[TaskParameter], tasks: Tasks) -> np.ndarray:
    """Return tasks with the training range of each parameter as [0, 1], (N, P)."""
    columns = []
    for parameter in parameters:
        low, high = parameter.scale(np.asarray(parameter.train))
        columns.append((parameter.scale(tasks[parameter.name]) - low) / (high - low))
    return np.column_stack(columns)


def _moved_layers(before: Params, after: Params) -> list[str]:
    """Return the layers that adaptation moves: those that training does as well."""
    return [
        name
        for name, leaf in before.items()
        if name.partition(".")[0] == "layers" and not torch.equal(after[name], leaf)
    ]


def _moved_part(before: Tensor, after: Tensor) -> float:
    """Return the length of a layer's change as a part of its length; mean over tasks."""
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
