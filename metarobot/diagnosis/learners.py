"""Learners of faults: each scores recordings by a few labelled examples and by training data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import nn

from metarobot.diagnosis.tasks import Data, draw_tasks, folds
from metarobot.learning import few_shot
from metarobot.learning.few_shot import Examples, FewShotTasks

PRIOR_EXAMPLES = 5.0
"""Examples that the mean of a label in training counts for, where the label is known from there."""
MOST_DIRECTIONS = 128
"""Greatest number of directions in which features are decorrelated; others share one scale."""
NUM_TREES = 100
_LEAST_SHARE = 0.02
"""Added to the share of trees that vote for a label, so that no probability is 0."""


@dataclass(frozen=True, kw_only=True)
class Learner(ABC):
    """Scores recordings by a few labelled examples of a machine; trained once for all machines."""

    name: str
    uses_training: bool = False
    """Whether it reads training recordings of the examples' labels as well."""
    known: tuple[str, ...] = ()
    """Labels of training."""
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Learned arrays, as a run folder keeps them."""

    @property
    def title(self) -> str:
        """Name in tables."""
        return f"{self.name}, with training recordings" if self.uses_training else self.name

    def fit(self, training: Data) -> Self:
        """Return the learner after training."""
        return replace(self, known=tuple(training.labels.tolist()), arrays=self.learned(training))

    @abstractmethod
    def learned(self, training: Data) -> Mapping[str, np.ndarray]:
        """Return the arrays learned from training recordings."""

    @abstractmethod
    def scores(self, examples: Data, queries: Data) -> np.ndarray:
        """Return log-odds of the examples' labels, in their order, (Q, C)."""


class Whitening(NamedTuple):
    """Maps features to coordinates in which recordings of one label scatter alike: M (F, F).

    M = rest I + U (gains - rest) U^T, from the covariance S within labels, shrunk towards a
    multiple of the identity: (1 - shrinkage) S + shrinkage tr(S) / F I.

    Source: Ledoit and Wolf 2004, doi:10.1016/S0047-259X(03)00096-4, for the shrinkage.
    """

    directions: np.ndarray
    """U, (F, r)."""
    gains: np.ndarray
    """(r,)."""
    rest: np.ndarray
    """()."""

    @classmethod
    def fit(cls, training: Data, shrinkage: float) -> Self:
        """Estimate it from recordings of the same label on the same machine.

        Where no machine has a label twice, recordings of a label are compared across machines.
        """
        size = training.features.shape[1]
        variances, directions = _scatter(training)
        if not len(variances):
            return cls(np.zeros((size, 0)), np.zeros(0), np.array(1.0))
        mean = max(variances.sum() / size, 1e-12)
        most = min(MOST_DIRECTIONS, len(variances))
        gains = ((1 - shrinkage) * variances[:most] + shrinkage * mean) ** -0.5
        other = variances[most:].sum() / max(size - most, 1)
        rest = ((1 - shrinkage) * other + shrinkage * mean) ** -0.5
        return cls(directions[:most].T, gains, np.array(rest))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return the coordinates (R, F) of features."""
        along = features @ self.directions * (self.gains - self.rest)
        return features * self.rest + along @ self.directions.T


@lru_cache(maxsize=1)  # the same for every shrinkage
def _scatter(training: Data) -> tuple[np.ndarray, np.ndarray]:
    """Return variances (r,) within labels and their directions (r, F); none for one recording."""
    pairs = np.char.add(np.char.add(training.machine, "\n"), training.label)
    for groups in (pairs, training.label):
        _, place, counts = np.unique(groups, return_inverse=True, return_counts=True)
        several = counts[place] > 1
        if several.sum() > 1:
            away = training.features - group_means(training.features, place)[place]
            unbiased = np.sqrt(counts / np.maximum(counts - 1, 1))[place]
            within = away[several] * unbiased[several, None]
            _, spread, directions = np.linalg.svd(within, full_matrices=False)
            return spread**2 / len(within), directions
    return np.zeros(0), np.zeros((0, training.features.shape[1]))


def group_means(features: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return the mean features (G, F) of groups 0 .. G - 1, of which `place` (R,) names each."""
    sums = np.zeros((place.max() + 1, features.shape[1]))
    np.add.at(sums, place, features)
    return sums / np.bincount(place)[:, None]


def squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the squared distances of rows (n, F) and (m, F), (n, m)."""
    return np.stack([((one - row) ** 2).sum(1) for row in other], axis=1)


def mean_squared_distance(means: np.ndarray) -> float:
    """Return the mean squared distance between rows (m, F); 1 for a single row."""
    between = squared_distances(means, means)[np.triu_indices(len(means), 1)]
    return max(float(between.mean()), 1e-12) if len(between) else 1.0


@dataclass(frozen=True, kw_only=True)
class NearestMean(Learner):
    """The nearest mean of examples, in whitened coordinates: linear discriminants, closed form.

    Source: Fisher 1936, doi:10.1111/j.1469-1809.1936.tb02137.x.
    """

    name: str = "nearest_mean"
    shrinkage: float = 0.3

    @property
    def title(self) -> str:
        """Name with the shrinkage."""
        return super().title.replace(self.name, f"{self.name} {self.shrinkage:g}")

    def learned(self, training: Data) -> dict[str, np.ndarray]:
        """Return the whitening of recordings within labels, and the means of labels, (L, F)."""
        _, place = np.unique(training.label, return_inverse=True)
        means = group_means(training.features, place) if self.uses_training else np.zeros((0, 0))
        return {**Whitening.fit(training, self.shrinkage)._asdict(), "means": means}

    def scores(self, examples: Data, queries: Data) -> np.ndarray:
        """Return minus half the squared distance to each mean, over that between the means.

        So one temperature serves machines with more or less scatter than in training.
        """
        whitening = Whitening(*(self.arrays[name] for name in Whitening._fields))
        labels, place, counts = np.unique(examples.label, return_inverse=True, return_counts=True)
        means = group_means(examples.features, place)
        for row, (label, count) in enumerate(zip(labels, counts, strict=True)):
            if self.uses_training and label in self.known:
                prior = self.arrays["means"][self.known.index(label)]
                total = count * means[row] + PRIOR_EXAMPLES * prior
                means[row] = total / (count + PRIOR_EXAMPLES)
        seen, own = whitening(queries.features), whitening(means)
        return -0.5 * squared_distances(seen, own) / mean_squared_distance(own)


@dataclass(frozen=True, kw_only=True)
class _Classifier(Learner):
    """A classifier that is fitted to the examples, or to them and to training recordings."""

    inputs: ClassVar[str]
    """Field of `Data` with its inputs."""

    def learned(self, training: Data) -> dict[str, np.ndarray]:
        """Return the training recordings if it is fitted to them as well."""
        if not self.uses_training:
            return {}
        _, place = np.unique(training.label, return_inverse=True)
        return {self.inputs: getattr(training, self.inputs), "place": place}

    def fitted(self, classifier: Any, examples: Data) -> Any:
        """Fit to examples, and to training recordings of their labels.

        All labels have equal weight, and within a label examples and training recordings have.
        """
        parts = [(getattr(examples, self.inputs), examples.label)]
        if self.uses_training:
            label = np.array(self.known)[self.arrays["place"].astype(int)]
            own = np.isin(label, examples.labels)
            parts.append((self.arrays[self.inputs][own], label[own]))
        inputs, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
        counts = [np.unique(label, return_inverse=True, return_counts=True) for _, label in parts]
        weights = np.concatenate([1.0 / number[place] for _, place, number in counts])
        return classifier.fit(inputs, labels, weights)


@dataclass(frozen=True, kw_only=True)
class Trees(_Classifier):
    """A forest of extremely randomised trees, grown on the examples.

    Source: Geurts et al. 2006, doi:10.1007/s10994-006-6226-1.
    """

    name: str = "trees"
    inputs: ClassVar[str] = "features"

    def scores(self, examples: Data, queries: Data) -> np.ndarray:
        """Return the logarithms of the shares of trees that vote for each label."""
        from sklearn.ensemble import ExtraTreesClassifier  # which takes a second to import

        forest = self.fitted(ExtraTreesClassifier(NUM_TREES, random_state=0), examples)
        return np.log(forest.predict_proba(queries.features) + _LEAST_SHARE)


@dataclass(frozen=True, kw_only=True)
class MiniRocket(_Classifier):
    """A ridge classifier on random convolutions; needs aeon.

    Source: Dempster et al. 2021, arXiv:2012.08791.
    """

    name: str = "minirocket"
    inputs: ClassVar[str] = "kernels"

    def scores(self, examples: Data, queries: Data) -> np.ndarray:
        """Return the distances to the planes that separate the labels."""
        from sklearn.linear_model import RidgeClassifierCV

        model = self.fitted(RidgeClassifierCV(alphas=np.logspace(-3, 3, 7)), examples)
        found = model.decision_function(queries.kernels)
        return np.stack([-found, found], axis=1) if found.ndim == 1 else found


@dataclass(frozen=True, kw_only=True)
class Network(Learner):
    """A small network that is meta-trained on tasks of the training machines.

    Training stops early, at the parameters that are best on tasks of held-out machines; untrained
    ones count as well.

    Source: Snell et al. 2017, arXiv:1703.05175 (prototypes); Finn et al. 2017, arXiv:1703.03400
    (MAML).
    """

    name: str = "prototypes"
    way: int = 5
    seed: int = 0
    num_updates: int = 300

    def learned(self, training: Data) -> dict[str, np.ndarray]:
        """Return its parameters; the initial ones if there are too few recordings for tasks."""
        learner = self._make(training.features.shape[1])
        *_, held = folds(training)
        pools = [training.rows(~held), training.rows(held)]
        if all(draw_tasks(pool, 1, self.way, 1, 0) for pool in pools):
            validate = _batch(pools[1], self.way, 20, np.random.default_rng(self.seed))
            learner.fit(
                lambda rng: _batch(pools[0], self.way, 4, rng),
                self.num_updates,
                validate=validate,
                patience=60,
            )
        return {name: leaf.numpy() for name, leaf in learner.params.items()}

    def _make(self, num_features: int) -> few_shot.PrototypicalNetwork | few_shot.Maml:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            body = [nn.Linear(num_features, 64), nn.ReLU(), nn.Linear(64, 32)]
            head = [nn.ReLU(), nn.Linear(32, self.way)]
        if self.name == "prototypes":
            options = few_shot.LearnerOptions(seed=self.seed)
            return few_shot.PrototypicalNetwork(nn.Sequential(*body), options)
        options = few_shot.MamlOptions(seed=self.seed, inner_lr=0.1, num_adaptation_steps=3)
        return few_shot.Maml(nn.Sequential(*body, *head), few_shot.cross_entropy, options)

    def scores(self, examples: Data, queries: Data) -> np.ndarray:
        """Return the logits of the adapted network."""
        labels, place = np.unique(examples.label, return_inverse=True)
        if self.name == "maml" and len(labels) > self.way:
            return np.zeros((len(queries), len(labels)))  # its head has too few outputs
        learner = self._make(examples.features.shape[1])
        learner.params = {name: _tensor(leaf) for name, leaf in self.arrays.items()}
        support, query = (_tensor(each.features)[None] for each in (examples, queries))
        adapted = learner.adapt(Examples(support, torch.from_numpy(place)[None]))
        return adapted.predict(query)[0, :, : len(labels)].double().numpy()


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.float32))


def _batch(data: Data, way: int, count: int, rng: np.random.Generator) -> FewShotTasks:
    """Draw a meta-batch of tasks with one example and three queries of each label."""
    tasks = draw_tasks(data, 1, way, count, int(rng.integers(2**31)))
    fewest = min(len(task.examples.labels) for task in tasks)
    support = [_evenly(task.examples, fewest, 1, rng) for task in tasks]
    query = [_evenly(task.queries, fewest, 3, rng) for task in tasks]
    targets = [torch.arange(fewest).repeat_interleave(n).expand(count, -1) for n in (1, 3)]
    sides = zip((support, query), targets, strict=True)
    return FewShotTasks(*(Examples(_tensor(np.stack(rows)), own) for rows, own in sides))


def _evenly(data: Data, way: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return features of as many recordings of each of the first labels, (way * count, F)."""
    rows = [rng.choice(np.flatnonzero(data.label == label), count) for label in data.labels[:way]]
    return data.features[np.concatenate(rows)]


LEARNERS = ("nearest_mean", "trees", "minirocket", "prototypes", "maml")


def candidates(names: Sequence[str], way: int, seed: int) -> list[Learner]:
    """Return the learners that are compared, simple ones first."""
    found: list[Learner] = []
    for own in (False, True):
        found += [NearestMean(shrinkage=each, uses_training=own) for each in (0.1, 0.3, 1.0)]
        found += [Trees(uses_training=own), MiniRocket(uses_training=own)]
    found += [Network(name=name, way=way, seed=seed) for name in ("prototypes", "maml")]
    return [each for each in found if each.name in names]
