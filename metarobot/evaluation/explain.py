"""Measures of what adaptation has sensed and changed, on held-out tasks.

Letters: N tasks, P task parameters, C elements of encoded tasks, K weighed tasks, A elements of
actions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
import torch

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


# Measures what adaptation has sensed and changed, on tasks that nobody was trained on.


_FIT_SEED = 1
"""Added to the seed of the test tasks: those that probes are fitted to are others."""
_FOLLOWED_TASKS = 4
"""Held-out tasks whose belief is followed episode by episode."""
_MOST_FOLLOWED = 20
"""Adaptation episodes, at most, up to which it is."""

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
    columns = {name: [value] for name, value in (task or {}).items()}
    chosen = run.distribution.with_values(columns) if columns else None
    return _Measurement(run, algorithm, config, progress).explanation(chosen)


def fit_probes(run: TrainedRun, algorithm: str, config: ExplanationConfig) -> dict[int, Probe]:
    """Fit the probes of an explanation alone, by the number of adaptation episodes.

    Args:
        run: The run that holds the policy.
        algorithm: Whose adaptation.
        config: How many tasks they are fitted to, and after which numbers of episodes.
    """
    return _Measurement(run, algorithm, config, lambda *_: None).probes()


def measure_readings(
    run: TrainedRun, algorithm: str, config: ExplanationConfig, progress: Progress
) -> tuple[list[Reading], list[Reading]]:
    """Measure the readings of an explanation alone: after adapting, and by simulation."""
    return _Measurement(run, algorithm, config, progress).readings()


class _Measurement:
    """Adapts a policy to many tasks, and reads from it what it has learned of them."""

    def __init__(
        self, run: TrainedRun, algorithm: str, config: ExplanationConfig, progress: Progress
    ) -> None:
        self._run, self._algorithm, self._trained = run, algorithm, run.policies[algorithm]
        self._config, self._progress = config, progress
        self._distribution = run.distribution
        self._varying = tuple(each for each in run.distribution.parameters if each.varies)
        self._numbers = tuple(sorted({0, *config.adaptation_episodes}))
        self._few = headline_episodes(self._numbers) or 0

    def explanation(self, task: Tasks | None) -> Explanation:
        """Return all that is measured."""
        fitted = self._fitted()
        probes, judged = self._probes(fitted), self._judged()
        readings, identified = self._readings(judged, probes), self._identified(judged)
        self._progress("what it changes", 0.9)
        few, in_range = self._few, judged["train"]
        held_out = _held_out(judged)
        explanation = Explanation(
            family=self._run.env_id,
            variant=self._run.variant and self._run.variant.words,
            parameters=self._distribution.parameters,
            algorithm=self._algorithm,
            config=self._config,
            tasks=self._values(in_range.task_set.tasks),
            readings=tuple(readings),
            identified=tuple(identified),
            believed=tuple(self._believed(held_out)),
            narrowing=tuple(narrowing(self._varying, [*held_out.values()], few)),
            state_map=state_map(in_range.states[few], few),
            sensitivities=tuple(
                sensitivities(self._varying, in_range, few, self._run.policies.get(ORACLE))
            ),
            updates=tuple(layer_updates(in_range.params[0], in_range.params[few])),
            one_task=None if task is None else self._one_task(fitted, probes[few], task),
            similarity=tuple(similarity(self._varying, in_range, few)),
        )
        self._progress("done", 1.0)
        return explanation

    def probes(self) -> dict[int, Probe]:
        """Return the probes, by the number of adaptation episodes."""
        return self._probes(self._fitted())

    def _fitted(self) -> AdaptedTasks:
        """Adapt to the tasks that probes are fitted to."""
        self._progress("tasks that probes are fitted to", 0.0)
        return self._adapted("train", _FIT_SEED)

    def readings(self) -> tuple[list[Reading], list[Reading]]:
        """Return what can be read after adapting, and by simulation."""
        probes, judged = self._probes(self._fitted()), self._judged()
        return self._readings(judged, probes), self._identified(judged)

    def _probes(self, fitted: AdaptedTasks) -> dict[int, Probe]:
        codes = self._distribution.encode(fitted.task_set.tasks)
        return {number: Probe.fit(states, codes) for number, states in fitted.states.items()}

    def _judged(self) -> dict[Split, AdaptedTasks]:
        """Adapt to the tasks of all splits."""
        judged: dict[Split, AdaptedTasks] = {}
        for split in self._distribution.splits:
            self._progress(f"tasks of the split {split}", (1 + len(judged)) * self._share)
            judged[split] = self._adapted(split)
        return judged

    @property
    def _share(self) -> float:
        """Part of the work that the tasks of one split are; the fit of simulation is as much."""
        num_splits = len(self._distribution.splits)
        return 0.9 / (1 + num_splits * (2 if self._config.num_identified else 1))

    def _adapted(self, split: Split, further_seed: int = 0) -> AdaptedTasks:
        """Adapt to the tasks of a split; with a further seed, to others of the same split."""
        config, run = self._config, self._run
        protocol = EvaluationConfig(num_tasks=config.num_tasks, seed=config.seed + further_seed)
        task_set = TaskSet.of_split(run.env_id, split, protocol, run.variant, run.scene)
        return AdaptedTasks(task_set, self._trained, self._numbers)

    def _readings(
        self, judged: Mapping[Split, AdaptedTasks], probes: Mapping[int, Probe]
    ) -> list[Reading]:
        """Read the parameters of the tasks of all splits."""
        found = list[Reading]()
        for split, adapted in judged.items():
            found += probe_readings(self._distribution, split, adapted, probes)
        return found

    def _identified(self, judged: Mapping[Split, AdaptedTasks]) -> list[Reading]:
        """Read the held-out tasks by simulation, if that is asked for."""
        num_tasks, found = self._config.num_identified, list[Reading]()
        for index, (split, adapted) in enumerate(_held_out(judged).items() if num_tasks else ()):
            done = (1 + len(judged) + index) * self._share
            self._progress(f"simulation fitted to the split {split}", done)
            found += identified_readings(self._distribution, split, adapted, num_tasks, self._few)
        return found

    def _believed(self, held_out: Mapping[Split, AdaptedTasks]) -> Iterator[BelievedTask]:
        """Follow the belief about a few tasks, the first of each split, episode by episode."""
        if self._trained.algorithm.belief(next(iter(held_out.values())).params[0]) is None:
            return
        numbers = range(min(self._few, _MOST_FOLLOWED) + 1)
        for split, adapted in held_out.items():
            first = adapted.first(_FOLLOWED_TASKS // len(held_out), numbers)
            yield from believed_tasks(self._varying, split, first)

    def _one_task(self, fitted: AdaptedTasks, probe: Probe, tasks: Tasks) -> OneTask:
        """Adapt to one task, and read what was sensed of it."""
        task_set, number = replace(fitted.task_set, tasks=tasks), self._few
        adapted = AdaptedTasks(task_set, self._trained, (0, number))
        read = probe.predict(adapted.states[number])
        means = [mean_actions(task_set, self._trained, adapted.params[n]) for n in (0, number)]
        elements = find_family(self._run.env_id).action_elements
        return OneTask(
            adaptation_episodes=number,
            estimates=read_estimates(self._distribution, tasks, read, probe.error),
            changes=tuple(
                ActionChange(element=element, before=float(before), after=float(after))
                for element, before, after in zip(elements, *(m[0] for m in means), strict=True)
            ),
        )

    def _values(self, tasks: Tasks) -> tuple[tuple[float, ...], ...]:
        """Return the parameters of tasks that differ between them, (N, P)."""
        columns = [tasks[each.name].tolist() for each in self._varying]
        return tuple(zip(*columns, strict=True))


def _held_out(judged: Mapping[Split, AdaptedTasks]) -> Mapping[Split, AdaptedTasks]:
    """Return the splits that nobody was trained on; of a family without, the one there is."""
    found: dict[Split, AdaptedTasks] = {}
    for split, adapted in judged.items():
        if split != "train" or len(judged) == 1:
            found[split] = adapted
    return found


# What a policy has become on a set of tasks, and from which episodes.


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


# Linear probes: how well the task can be read from what adaptation has changed.


_STRENGTHS = np.logspace(-6, 2, 25)
"""How much a probe may be held back, as parts of the mean squared length of a state."""


class Probe(NamedTuple):
    """A linear map from the state of F elements to P parameters of the task."""

    centre: np.ndarray
    """Mean of the states, (F,)."""
    scale: np.ndarray
    """Standard deviation of each element, (F,)."""
    weights: np.ndarray
    """(F, P)."""
    offset: np.ndarray
    """Mean of the parameters, (P,)."""
    error: np.ndarray
    """Standard deviation of what each task is missed by, as predicted by the others, (P,)."""

    @classmethod
    def fit(cls, states: np.ndarray, targets: np.ndarray) -> Self:
        """Fit a probe.

        Args:
            states: (N, F).
            targets: (N, P).
        """
        centre, spread = states.mean(axis=0), states.std(axis=0)
        scale = np.where(spread > 0.0, spread, 1.0)
        rows, offset = (states - centre) / scale, targets.mean(axis=0)
        lengths, basis = np.linalg.eigh(rows @ rows.T)
        shown = basis.T @ (targets - offset)  # (N, P)
        missed = [_missed(lengths, basis, shown, strength) for strength in _STRENGTHS]
        chosen = np.argmin([np.square(each).mean(axis=0) for each in missed], axis=0)  # (P,)
        held_back = 1.0 / (lengths[:, None] + _unit(lengths) * _STRENGTHS[chosen])
        errors = [missed[best][:, column] for column, best in enumerate(chosen)]
        return cls(
            centre=centre,
            scale=scale,
            weights=rows.T @ (basis @ (held_back * shown)),
            offset=offset,
            error=np.sqrt(np.square(errors).mean(axis=1)),
        )

    def predict(self, states: np.ndarray) -> np.ndarray:
        """Return the parameters of tasks, (N, P), for states (N, F)."""
        return (states - self.centre) / self.scale @ self.weights + self.offset


def _missed(
    lengths: np.ndarray, basis: np.ndarray, shown: np.ndarray, strength: float
) -> np.ndarray:
    """Return what each task is missed by if it is predicted by the others, (N, P)."""
    kept = lengths / (lengths + _unit(lengths) * strength)
    residual = basis @ ((1.0 - kept)[:, None] * shown)
    own_part = np.square(basis) @ kept + 1.0 / len(basis)  # of the mean as well
    return residual / np.maximum(1.0 - own_part, 1e-6)[:, None]


def _unit(lengths: np.ndarray) -> float:
    """Return what the strength is a part of; 1 where all states are alike."""
    return float(lengths.clip(0.0).sum()) / len(lengths) or 1.0


# How well task parameters can be read: by probes, or by simulation of the same episodes.


def probe_readings(
    distribution: TaskDistribution,
    split: Split,
    judged: AdaptedTasks,
    probes: Mapping[int, Probe],
) -> list[Reading]:
    """Read the parameters of tasks by probes that were fitted to other tasks.

    Args:
        distribution: What the tasks were drawn from.
        split: Of which split.
        judged: The tasks.
        probes: By the number of adaptation episodes.
    """
    codes, found = distribution.encode(judged.task_set.tasks), []
    for number, probe in probes.items():
        read = probe.predict(judged.states[number])
        found += _readings(distribution, split, number, codes, read)
    return found


def identified_readings(
    distribution: TaskDistribution, split: Split, judged: AdaptedTasks, num_tasks: int, number: int
) -> list[Reading]:
    """Read the parameters of the first tasks by fitting simulation to their episodes.

    Simulation is exact and starts where the episodes did: what it reads was there to be read. It
    may miss something all the same, since the fit tries some 200 tasks and no more.

    Args:
        distribution: What the tasks were drawn from.
        split: Of which split.
        judged: The tasks, with their adaptation episodes.
        num_tasks: How many of them.
        number: How many of the episodes.
    """
    episodes = judged.episodes.rows(slice(0, num_tasks)).first(number)
    fitted = distribution.spread(fit_tasks(judged.trained.config, episodes))
    codes = distribution.encode(judged.task_set.tasks.rows(slice(0, num_tasks)))
    return _readings(distribution, split, number, codes, distribution.encode(fitted))


def _readings(
    distribution: TaskDistribution, split: Split, number: int, codes: np.ndarray, read: np.ndarray
) -> list[Reading]:
    """Compare what was read with the truth, (N, C) each, for every parameter."""
    wrong, spread, found = read - codes, codes - codes.mean(axis=0), []
    for parameter, columns in distribution.encoded_columns.items():
        if not distribution[parameter].varies:
            continue  # there is nothing to read
        errors = np.square(wrong[:, columns]).sum(axis=1)
        variances = np.square(spread[:, columns]).sum(axis=1)
        r2, low, high = explained(errors, variances)
        found.append(
            Reading(
                parameter=parameter,
                split=split,
                adaptation_episodes=number,
                r2=r2,
                low=low,
                high=high,
            )
        )
    return found


# Each parameter of one task as a probe reads it, in its own unit, with an interval.


def read_estimates(
    distribution: TaskDistribution, tasks: Tasks, read: np.ndarray, error: np.ndarray
) -> tuple[Estimate, ...]:
    """Return what was read of one task beside its truth.

    Args:
        distribution: The family's, by which tasks are encoded.
        tasks: The one task.
        read: What a probe has read, encoded, (1, C).
        error: Standard deviation of what it misses other tasks by, (C,).
    """
    found, columns = [], distribution.encoded_columns
    for parameter in distribution.parameters:
        own = columns[parameter.name]
        low, value, high = (
            float(each) for each in _with_bounds(parameter, read[:, own], error[own])
        )
        true = float(tasks[parameter.name][0])
        found.append(
            Estimate(
                parameter=parameter.name,
                true=true,
                value=value,
                low=low,
                high=high,
                is_trained=parameter.trained_on(true),
            )
        )
    return tuple(found)


def _with_bounds(parameter: TaskParameter, read: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return the value that was read, (1, C), between the ends of its 95 % interval, (3,)."""
    if parameter.circular:
        width = 1.96 * error.mean() / max(float(np.linalg.norm(read)), 1e-6)
        return parameter.decode(read) + np.array([-width, 0.0, width])
    # A linear probe knows no bounds, but a friction below 0 is none.
    ends = parameter.decode(read + 1.96 * error * np.array([[-1.0], [0.0], [1.0]]))
    return np.clip(ends, *parameter.allowed)


# Statistics of what adaptation has changed: what is explained, where states lie, what moves.


_NUM_RESAMPLES = 500


def explained(errors: np.ndarray, variances: np.ndarray) -> tuple[float, float, float]:
    """Return R² and its 95 % bootstrap interval over tasks, from what each adds to both sums."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(errors), size=(_NUM_RESAMPLES, len(errors)))
    total = np.maximum(variances[drawn].sum(axis=1), 1e-30)
    low, high = np.quantile(1.0 - errors[drawn].sum(axis=1) / total, [0.025, 0.975])
    return 1.0 - float(errors.sum() / max(variances.sum(), 1e-30)), float(low), float(high)


def state_map(states: np.ndarray, number: int) -> StateMap | None:
    """Return the states in the two directions in which most of their variance lies."""
    spread = states.std(axis=0)
    rows = (states - states.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)
    if not rows.any():
        return None
    left, lengths, _ = np.linalg.svd(rows, full_matrices=False)
    shares = np.square(lengths) / np.square(lengths).sum()
    left, shares = np.pad(left * lengths, ((0, 0), (0, 1)))[:, :2], np.pad(shares, (0, 1))[:2]
    return StateMap(
        adaptation_episodes=number,
        places=tuple((float(x), float(y)) for x, y in left),
        shares=(float(shares[0]), float(shares[1])),
    )


def moved_layers(before: Params, after: Params) -> list[str]:
    """Return the layers that adaptation moves: those that training does as well."""
    return [
        name
        for name, leaf in before.items()
        if name.partition(".")[0] == "layers" and not torch.equal(after[name], leaf)
    ]


def layer_updates(before: Params, after: Params) -> list[LayerUpdate]:
    """Return how far each layer is moved."""
    return [
        LayerUpdate(
            layer=name,
            size=float(
                (
                    (after[name] - before[name]).flatten(1).norm(dim=1)
                    / before[name].flatten(1).norm(dim=1).clamp(min=1e-30)
                ).mean()
            ),
        )
        for name in moved_layers(before, after)
    ]


# What adaptation has changed in what a policy does, over the tasks of a training range.


def mean_actions(task_set: TaskSet, trained: TrainedPolicy, params: Params) -> np.ndarray:
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


def sensitivities(
    parameters: Sequence[TaskParameter],
    adapted: AdaptedTasks,
    number: int,
    oracle: TrainedPolicy | None,
) -> list[Sensitivity]:
    """Say how the action depends on the task, once adapted, beside that of the oracle.

    Args:
        parameters: The task parameters that differ between tasks.
        adapted: Tasks of the training range.
        number: Adaptation episodes.
        oracle: The policy that is told the task, if there is one.
    """
    task_set = adapted.task_set
    slopes = _slopes(parameters, task_set, adapted.trained, adapted.params[number])
    told = None
    if oracle is not None:
        params = repeat_params(oracle.params, len(task_set.tasks))
        told = _slopes(parameters, task_set, oracle, params)
    return [
        Sensitivity(
            parameter=parameter.name,
            element=element,
            change=float(slopes[row, column]),
            of_oracle=None if told is None else float(told[row, column]),
        )
        for row, parameter in enumerate(parameters)
        for column, element in enumerate(find_family(task_set.env_id).action_elements)
    ]


def similarity(
    parameters: Sequence[TaskParameter], adapted: AdaptedTasks, number: int
) -> list[tuple[float, float]]:
    """Return distance and cosine between the updates of pairs of tasks."""
    before, after = adapted.params[0], adapted.params[number]
    leaves = [(after[name] - before[name]).flatten(1) for name in moved_layers(before, after)]
    if not leaves:
        return []
    updates = torch.cat(leaves, dim=1).double()
    updates = updates / updates.norm(dim=1, keepdim=True).clamp(min=1e-30)
    scaled, half = _scaled(parameters, adapted.task_set.tasks), len(updates) // 2
    distances = np.linalg.norm(scaled[:half] - scaled[half : 2 * half], axis=1)
    cosines = (updates[:half] * updates[half : 2 * half]).sum(1)
    return list(zip(distances.tolist(), cosines.tolist(), strict=True))


def _slopes(
    parameters: Sequence[TaskParameter], task_set: TaskSet, trained: TrainedPolicy, params: Params
) -> np.ndarray:
    """Return how the mean action changes over the range of each parameter, (P, A)."""
    means = mean_actions(task_set, trained, params)
    scaled = _scaled(parameters, task_set.tasks)  # (N, P)
    centred = np.column_stack([np.ones(len(scaled)), scaled])
    return np.linalg.lstsq(centred, means, rcond=None)[0][1:]


def _scaled(parameters: Sequence[TaskParameter], tasks: Tasks) -> np.ndarray:
    """Return tasks with the training range of each parameter as [0, 1], (N, P)."""
    columns = []
    for parameter in parameters:
        low, high = parameter.scale(np.asarray(parameter.train))
        columns.append((parameter.scale(tasks[parameter.name]) - low) / (high - low))
    return np.column_stack(columns)


# How the belief of a policy that weighs tasks narrows, episode by episode.


_QUANTILES = (0.05, 0.5, 0.95)


def believed_tasks(
    parameters: Sequence[TaskParameter], split: Split, adapted: AdaptedTasks
) -> list[BelievedTask]:
    """Return what is believed of tasks after each number of episodes that they were adapted to.

    Args:
        parameters: The task parameters that are told of.
        split: Where the tasks are from.
        adapted: The tasks.

    Returns:
        The tasks; none where nothing weighs tasks.
    """
    beliefs = [belief for number in adapted.params if (belief := _belief(adapted, number))]
    if not beliefs:
        return []
    bands = [[_bands(each, adapted, belief) for each in parameters] for belief in beliefs]
    tasks = adapted.task_set.tasks
    return [
        BelievedTask(
            split=split,
            true=tuple(float(tasks[each.name][row]) for each in parameters),
            bands=tuple(tuple(_as_band(band[row]) for band in stage) for stage in bands),
            is_used=tuple(bool(belief.is_used[row]) for belief in beliefs),
        )
        for row in range(len(tasks))
    ]


def narrowing(
    parameters: Sequence[TaskParameter], held_out: Sequence[AdaptedTasks], number: int
) -> list[Narrowing]:
    """Return how far the belief has narrowed, and on how many tasks it holds the truth.

    Args:
        parameters: The task parameters that are told of.
        held_out: Tasks of one split or several, adapted to 0 episodes and to this number.
        number: Adaptation episodes.

    Returns:
        By parameter; none where nothing weighs tasks.
    """
    if _belief(held_out[0], 0) is None:
        return []
    found = []
    for parameter in parameters:
        parts = [_narrowed(parameter, adapted, number) for adapted in held_out]
        width, holds = (np.concatenate(part).mean() for part in zip(*parts, strict=True))
        found.append(
            Narrowing(
                parameter=parameter.name,
                adaptation_episodes=number,
                width=float(width),
                holds_truth=float(holds),
            )
        )
    return found


def _belief(adapted: AdaptedTasks, number: int) -> Belief | None:
    return adapted.trained.algorithm.belief(adapted.params[number])


def _narrowed(
    parameter: TaskParameter, adapted: AdaptedTasks, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the width of the band over that before, and whether it holds the truth, (N,) each."""
    beliefs = [belief for each in (0, number) if (belief := _belief(adapted, each))]
    before, after = (_bands(parameter, adapted, belief) for belief in beliefs)
    true = adapted.task_set.tasks[parameter.name]
    if parameter.circular:
        true = after[:, 1] + _turned(true - after[:, 1])
    widths = [np.diff(parameter.scale(each[:, ::2]), axis=1)[:, 0] for each in (before, after)]
    return widths[1] / widths[0], (after[:, 0] <= true) & (true <= after[:, 2])


def _bands(parameter: TaskParameter, adapted: AdaptedTasks, belief: Belief) -> np.ndarray:
    """Return low, median and high of a parameter, (N, 3); of an angle, without a jump."""
    # The policy is told tasks on the scale of the family, also where it was trained on a variant.
    family = find_family(adapted.task_set.env_id).distribution
    values = family.decode(belief.codes.double().numpy())[parameter.name]  # (K,)
    return np.array(
        [weighted_band(parameter, values, row) for row in belief.weights.double().numpy()]
    )


def _as_band(ends: np.ndarray) -> Band:
    return Band(low=float(ends[0]), median=float(ends[1]), high=float(ends[2]))


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
