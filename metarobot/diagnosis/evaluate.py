"""Compares learners of faults on held-out machines: accuracy, probabilities, unknown faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from metarobot.diagnosis.learners import (
    Learner,
    Whitening,
    group_means,
    mean_squared_distance,
    squared_distances,
)
from metarobot.diagnosis.tasks import (
    Data,
    Task,
    draw_tasks,
    folds,
    leave_out_in_turn,
    without_labels,
)
from metarobot.evaluation.statistics import bootstrap_mean

SHOTS = (1, 2, 5, 10)
"""Examples of each label with which learners are compared."""
FALSE_ALARM_RATE = 0.05
"""Share of recordings with one of the labels that may be reported as unknown."""
_SPACE_SHRINKAGE, _MOST_DISCRIMINANTS = 0.3, 32
"""Shrinkage, and greatest dimension, of the spaces of out-of-distribution scores."""
_LEVELS = np.arange(0.005, 1.0, 0.01)
"""Levels of the stored quantiles of a distribution of scores."""
_PRIOR_EXAMPLES = 20
"""Number of examples of a machine at which its own scores have the weight of the held-out ones."""
_TEMPERATURE_SPREAD = 0.5
"""Standard deviation of the logarithm of a temperature between machines."""
_BINS = 10


class Condition(NamedTuple):
    """Condition under which learners are compared."""

    shots: int
    """K, examples of each label."""
    known: bool
    """Whether training had recordings of the same labels, on other machines."""


class Answers(NamedTuple):
    """Answers of a learner to the queries of one task."""

    scores: np.ndarray
    """Log-odds of each label, (Q, C)."""
    truth: np.ndarray
    """Place of the true label, (Q,)."""

    @property
    def accuracy(self) -> float:
        """Share of queries that were diagnosed rightly."""
        return float((self.scores.argmax(1) == self.truth).mean())


class Distances(NamedTuple):
    """Out-of-distribution scores of one task, in two spaces."""

    queries: np.ndarray
    """(Q, 2)."""
    examples: np.ndarray
    """Scores of examples that are left out in turn, (n, 2); n is 0 for one of each label."""
    num_examples: int


class Measured(NamedTuple):
    """Measurements under one condition, task by task."""

    answers: list[list[Answers]]
    """Answers of each of L learners in every task; empty for a learner that needs known labels."""
    distances: list[Distances]

    def accuracies(self) -> np.ndarray:
        """Return the mean accuracy of each learner, (L,); NaN where it was not measured."""
        rows = ([own.accuracy for own in row] for row in self.answers)
        return np.array([np.mean(row) if row else np.nan for row in rows])


def answer(learner: Learner, task: Task) -> Answers:
    """Let a learner diagnose the queries of a task."""
    truth = np.searchsorted(task.examples.labels, task.queries.label)
    return Answers(learner.scores(task.examples, task.queries), truth)


def cross_validate(
    data: Data,
    learners: Sequence[Learner],
    *,
    way: int,
    num_tasks: int,
    seed: int,
    watch: Callable[[float], None] = lambda share: None,
) -> dict[Condition, Measured]:
    """Measure learners on tasks of machines that their training did not see.

    Labels are known from the other machines, or hidden from training: both are measured.

    Args:
        data: Training recordings.
        learners: L learners, not fitted.
        way: Labels of a task, at most.
        num_tasks: Tasks for each condition.
        seed: Seed of tasks and hidden labels.
        watch: Called with the share that is done.
    """
    found: dict[Condition, Measured] = {}
    parts = folds(data)
    for known in (True, False):
        for number, held in enumerate(parts):
            watch((number + (0 if known else len(parts))) / (2 * len(parts)))
            hidden = data.label[:0] if known else _hidden_labels(data, held, (seed, number))
            training = data.rows(~held & ~np.isin(data.label, hidden))
            test = data.rows(held & np.isin(data.label, training.labels if known else hidden))
            if not len(training) or len(test.labels) < 2:
                continue
            fitted = [
                own.fit(training) if known or not own.uses_training else None for own in learners
            ]
            space = Space.fit(training)
            for shots in SHOTS:
                count = -(-num_tasks // len(parts))
                if tasks := draw_tasks(test, shots, way, count, seed + number):
                    blank = Measured([[] for _ in learners], [])
                    own = found.setdefault(Condition(shots, known), blank)
                    for row, learner in zip(own.answers, fitted, strict=True):
                        row += [answer(learner, task) for task in tasks if learner is not None]
                    own.distances.extend(map(space.distances, tasks))
    return found


def _hidden_labels(data: Data, held: np.ndarray, seed: tuple[int, int]) -> np.ndarray:
    """Return labels that training must not see, so that they are new on the machines held out."""
    own, others = np.unique(data.label[held]), np.unique(data.label[~held])
    if len(np.setdiff1d(others, own)) > 1:
        return own
    # In the order of names, in which those of one kind are often neighbours: new kinds are new.
    first = int(np.random.default_rng(seed).integers(len(own)))
    return np.roll(own, -first)[: max(2, len(own) // 2)]


class Space(NamedTuple):
    """Two spaces for the distances of recordings to labels, to find unknown faults.

    An unknown fault may lie between known ones in the discriminants, or outside of them.  The first
    is lost in the noise of all features, the second is invisible in the discriminants.
    """

    whitening: Whitening
    """Coordinates of all features."""
    discriminants: np.ndarray
    """Directions in which the labels of training differ the most, (F, r)."""

    @classmethod
    def fit(cls, training: Data) -> Self:
        """Find both by training recordings."""
        whitening = Whitening.fit(training, _SPACE_SHRINKAGE)
        _, place = np.unique(training.label, return_inverse=True)
        means = whitening(group_means(training.features, place))
        *_, directions = np.linalg.svd(means - means.mean(0), full_matrices=False)
        count = min(_MOST_DISCRIMINANTS, max(len(means) - 1, 1))
        return cls(whitening, whitening(directions[:count]).T)

    def distances(self, task: Task) -> Distances:
        """Return the distances of queries, and of examples that are left out, from all labels.

        A score is the logarithm of the squared distance to the nearest mean of a label, over the
        mean squared distance between labels: a scale of the task's own.
        """
        spaces = (self.whitening, lambda features: features @ self.discriminants)
        pairs = [_log_distances(own, task) for own in spaces]
        queries, examples = (np.stack(part, axis=1) for part in zip(*pairs, strict=True))
        count = len(np.unique(task.examples.group)) if len(examples) else 0
        return Distances(queries, examples, count)


def _log_distances(
    space: Callable[[np.ndarray], np.ndarray], task: Task
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of queries (Q,) and of examples (n,) in one space."""
    examples = task.examples
    _, place, counts = np.unique(examples.label, return_inverse=True, return_counts=True)
    own = space(examples.features)
    means = group_means(own, place)
    scale = mean_squared_distance(means)

    def scores(distances: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(distances.min(1), 1e-12) / scale)

    away = squared_distances(space(task.queries.features), means) / (1.0 + 1.0 / counts)
    pairs = np.char.add(np.char.add(examples.label, "\n"), examples.group)
    _, file, windows = np.unique(pairs, return_inverse=True, return_counts=True)
    others = counts[place] - windows[file]  # examples of its label but those of its own file
    if not others.all():
        return scores(away), np.zeros(0)
    rest = counts[place, None] * means[place] - windows[file, None] * group_means(own, file)[file]
    left_out = squared_distances(own, means) / (1.0 + 1.0 / counts)
    left_out[np.arange(len(own)), place] = ((own - rest / others[:, None]) ** 2).sum(1) / (
        1.0 + 1.0 / others
    )
    return scores(away), scores(left_out)


def fit_temperature(answers: Sequence[Answers], before: float | None = None) -> float:
    """Return the temperature that divides scores so that probabilities are calibrated.

    Args:
        answers: Answers with known truth.
        before: The temperature of other machines, weighted by its spread between machines.

    Source: Guo et al. 2017, arXiv:1706.04599.
    """

    def loss(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        losses = [
            -log_softmax(own.scores * scale, axis=1)[np.arange(len(own.truth)), own.truth]
            for own in answers
        ]
        away = 0.0 if before is None else (log_temperature - np.log(before)) / _TEMPERATURE_SPREAD
        return float(np.concatenate(losses).sum() + 0.5 * away**2)

    found: Any = minimize_scalar(loss, bounds=(-6.0, 5.0), method="bounded")
    return float(np.exp(found.x))


def machine_temperature(learner: Learner, examples: Data, before: float) -> float:
    """Return the temperature of one machine, by leaving out its examples in turn."""
    left_out = [answer(learner, task) for task in leave_out_in_turn(examples)]
    return fit_temperature(left_out, before) if left_out else before


class Calibration(NamedTuple):
    """Calibration of the chosen learner on held-out tasks of one condition."""

    temperature: float
    quantiles: tuple[tuple[float, ...], ...]
    """Quantiles of out-of-distribution scores at `_LEVELS`, in both spaces."""

    def looks_like_none(self, distances: Distances) -> np.ndarray:
        """Return the mask of queries that look like none of the labels, (Q,).

        Their score exceeds, in one of the spaces, that of all but 2.5 % of recordings with a label:
        of held-out tasks, and of the machine's own examples, the more there are of these.
        """
        own = distances.examples
        share = distances.num_examples / (distances.num_examples + _PRIOR_EXAMPLES)
        weights = np.repeat(
            [(1.0 - share) / len(_LEVELS), share / max(len(own), 1)], [len(_LEVELS), len(own)]
        )
        limits = [
            np.quantile(
                np.concatenate([known, scores]),
                1.0 - FALSE_ALARM_RATE / 2,
                weights=weights,
                method="inverted_cdf",
            )
            for known, scores in zip(self.quantiles, own.T, strict=True)
        ]
        return np.any(distances.queries > np.array(limits), axis=1)


def calibrate(measured: Measured, chosen: int) -> Calibration:
    """Fit the temperature, and the quantiles of out-of-distribution scores."""
    scores = np.concatenate([own.queries for own in measured.distances])
    quantiles = np.quantile(scores, _LEVELS, axis=0).round(4).T.tolist()
    return Calibration(fit_temperature(measured.answers[chosen]), tuple(map(tuple, quantiles)))


def reliability(probability: np.ndarray, right: np.ndarray) -> list[list[float]]:
    """Return mean probability, share of right answers and number of answers, for ten bins.

    Args:
        probability: Probability of each answer, (Q,).
        right: Whether each answer was right, (Q,) bool.
    """
    place = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    bins = [place == each for each in np.unique(place)]
    return [[float(probability[b].mean()), float(right[b].mean()), int(b.sum())] for b in bins]


def calibration_error(probability: np.ndarray, right: np.ndarray) -> float:
    """Return the expected calibration error: the error of bins, weighted by their sizes.

    Source: Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602.
    """
    said, true, count = np.transpose(reliability(probability, right))
    return float((np.abs(said - true) * count).sum() / count.sum())


def figures(
    learner: Learner, space: Space, calibration: Calibration, tasks: Sequence[Task]
) -> dict[str, Any]:
    """Return the figures of a trained and calibrated learner on tasks: see `Diagnosis.evaluate`."""
    accuracies, probabilities, right = [], [], []
    confusion: dict[str, dict[str, int]] = {}
    for task in tasks:
        own, labels = answer(learner, task), task.examples.labels
        temperature = machine_temperature(learner, task.examples, calibration.temperature)
        found = own.scores.argmax(1)
        accuracies.append(own.accuracy)
        probabilities.append(softmax(own.scores / temperature, axis=1).max(1))
        right.append(found == own.truth)
        for truth, name in zip(labels[own.truth].tolist(), labels[found].tolist(), strict=True):
            row = confusion.setdefault(truth, {})
            row[name] = row.get(name, 0) + 1
    interval = bootstrap_mean(np.array([accuracies]), np.random.default_rng(0))
    probability, correct = np.concatenate(probabilities), np.concatenate(right)
    false_alarm, noticed = (
        [calibration.looks_like_none(space.distances(task)) for task in part]
        for part in (tasks, without_labels(tasks))
    )
    return {
        "accuracy": round(interval.value, 4),
        "accuracy_ci": [round(interval.low, 4), round(interval.high, 4)],
        "calibration_error": round(calibration_error(probability, correct), 4),
        "false_alarm": round(float(np.concatenate(false_alarm).mean()), 4),
        "noticed": round(float(np.concatenate(noticed).mean()), 4) if noticed else None,
        "reliability": reliability(probability, correct),
        "confusion": confusion,
    }
