"""Learners: closed forms by hand, training that helps, and arrays that bring them back."""

from dataclasses import replace

import numpy as np
import pytest
from made_up import plant

from metarobot.diagnosis.features import FeatureMap, read_data
from metarobot.diagnosis.learners import (
    PRIOR_EXAMPLES,
    MiniRocket,
    NearestMean,
    Network,
    Trees,
    Whitening,
)
from metarobot.diagnosis.tasks import Data, draw_tasks

ALL = [
    NearestMean(),
    Trees(),
    MiniRocket(),
    Network(num_updates=3),
    Network(name="maml", num_updates=3),
]


def some_data(size=6, per_label=30, seed=0):
    """Labels with means of their own and one covariance within."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(size, size))
    label = np.repeat(["a", "b", "c"], per_label)
    centres = 3 * rng.normal(size=(3, size))
    noise = rng.normal(size=(len(label), size)) @ mixing.T
    features = np.repeat(centres, per_label, axis=0) + noise
    machine = np.tile(["m0", "m1"], len(label) // 2)
    names = np.array([str(place) for place in range(len(label))])
    return Data(features, features[:, :3], label, machine, names)


def plant_data(**options):
    recordings = plant(**options)
    return read_data(recordings, None, FeatureMap.fit(recordings), None)


def accuracy(learner, tasks):
    return np.mean(
        [
            (examples.labels[learner.scores(examples, queries).argmax(1)] == queries.label).mean()
            for examples, queries in tasks
        ]
    )


@pytest.mark.parametrize("shrinkage", [0.1, 0.3, 1.0])
def test_whitening_is_the_inverse_root_of_the_shrunk_covariance(shrinkage):
    data = some_data()
    pairs = [(m, label) for m in ("m0", "m1") for label in "abc"]
    away = []
    for machine, label in pairs:
        own = data.features[(data.machine == machine) & (data.label == label)]
        away.append((own - own.mean(0)) * np.sqrt(len(own) / (len(own) - 1)))
    away = np.concatenate(away)
    covariance = away.T @ away / len(away)
    shrunk = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / 6 * np.eye(6)
    values, vectors = np.linalg.eigh(shrunk)
    expected = vectors @ np.diag(values**-0.5) @ vectors.T
    found = Whitening.fit(data, shrinkage)(np.eye(6))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_more_features_than_recordings_are_no_error():
    data = some_data(size=500, per_label=4)
    assert np.isfinite(Whitening.fit(data, 0.3)(data.features)).all()
    alone = data.rows([0, 5, 9])  # no label twice: nothing is known of the scatter
    np.testing.assert_array_equal(Whitening.fit(alone, 0.3)(data.features), data.features)


def test_the_nearest_mean_is_that_of_examples_and_training_by_their_number():
    data = some_data()
    training, examples, queries = data.rows(slice(0, 90, 2)), data.rows([1, 31, 61]), data.rows([3])
    learner = NearestMean(shrinkage=1.0, uses_training=True).fit(training)
    prior = [training.features[training.label == label].mean(0) for label in "abc"]
    means = (examples.features + PRIOR_EXAMPLES * np.array(prior)) / (1 + PRIOR_EXAMPLES)
    between = np.mean([((means[i] - means[j]) ** 2).sum() for i, j in ((0, 1), (0, 2), (1, 2))])
    expected = -0.5 * ((queries.features - means) ** 2).sum(1) / between
    np.testing.assert_allclose(learner.scores(examples, queries)[0], expected)


def test_what_training_knows_of_a_label_helps_with_one_example():
    data = plant_data(machines=4)
    tasks = draw_tasks(data.rows(data.machine == "machine 3"), 1, 3, 30, 0)
    training = data.rows(data.machine != "machine 3")
    for kind in (NearestMean, Trees):
        alone, helped = (accuracy(kind(uses_training=own).fit(training), tasks) for own in (0, 1))
        assert helped > alone - 0.02
        assert helped > 0.95


@pytest.mark.parametrize(
    "learner",
    [*ALL, NearestMean(uses_training=True), Trees(uses_training=True)],
    ids=lambda learner: learner.title,
)
def test_scores_are_of_the_examples_labels_in_their_order_and_arrays_bring_them_back(learner):
    data = some_data()
    fitted = learner.fit(data)
    order = np.random.default_rng(0).permutation(len(data))
    examples, queries = data.rows(order[:45]), data.rows(order[45:])
    scores = fitted.scores(examples, queries)
    assert scores.shape == (45, 3)
    if learner.name != "maml":  # whose head has just been made
        assert (examples.labels[scores.argmax(1)] == queries.label).mean() > 0.5
    only = examples.rows(examples.label != "a")
    assert fitted.scores(only, queries).shape == (45, 2)
    arrays = {name: np.asarray(each, float) for name, each in fitted.arrays.items()}
    again = replace(learner, known=fitted.known, arrays=arrays)
    np.testing.assert_allclose(again.scores(examples, queries), scores, atol=1e-5)


def test_a_network_is_never_worse_on_the_held_out_machine_than_untrained():
    data = plant_data(machines=3)
    tasks = draw_tasks(data.rows(data.machine == "machine 2"), 1, 3, 30, 0)
    trained, untrained = (accuracy(Network(num_updates=n).fit(data), tasks) for n in (40, 0))
    assert trained >= untrained - 0.05


def test_maml_has_no_answer_for_more_labels_than_its_head():
    data = some_data()
    scores = Network(name="maml", way=2, num_updates=0).fit(data).scores(data, data.rows([0]))
    assert not scores.any()
