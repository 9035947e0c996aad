"""Probabilities and alarms are true, by laws and on made-up machines that nobody trained on."""

import numpy as np
import pytest
from made_up import plant
from scipy.special import softmax

from metarobot.diagnosis.evaluate import (
    FALSE_ALARM_RATE,
    Answers,
    Calibration,
    Distances,
    Space,
    calibrate,
    calibration_error,
    cross_validate,
    fit_temperature,
    machine_temperature,
    reliability,
)
from metarobot.diagnosis.features import FeatureMap, read_data
from metarobot.diagnosis.learners import NearestMean, Trees
from metarobot.diagnosis.tasks import draw_tasks, without_labels


def some_answers(temperature, count=4000):
    """Answers whose scores are the true log-odds, times a temperature."""
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 2, (count, 3))
    truth = (softmax(odds, axis=1).cumsum(1) < rng.random((count, 1))).sum(1)
    return Answers(odds * temperature, truth)


@pytest.mark.parametrize("temperature", [0.05, 1.0, 8.0])
def test_the_temperature_undoes_what_scores_are_too_large_by(temperature):
    answers = some_answers(temperature)
    assert fit_temperature([answers]) == pytest.approx(temperature, rel=0.1)
    probability = softmax(answers.scores / temperature, axis=1)
    right = probability.argmax(1) == answers.truth
    assert calibration_error(probability.max(1), right) < 0.02


def test_few_answers_hardly_move_the_temperature_of_other_machines():
    answers = Answers(np.array([[5.0, 0.0]]), np.array([0]))
    assert fit_temperature([answers], before=1.0) == pytest.approx(1.0, rel=0.05)


def test_the_calibration_error_by_hand():
    probability = np.array([0.9, 0.9, 0.6, 0.6])
    right = np.array([True, False, True, True])
    assert reliability(probability, right) == [
        [pytest.approx(0.6), 1.0, 2],
        [pytest.approx(0.9), 0.5, 2],
    ]
    assert calibration_error(probability, right) == pytest.approx(0.4)


@pytest.fixture(scope="module")
def data():
    recordings = plant(machines=8, per_label=8, labels=("bearing", "belt", "gear", "healthy"))
    return read_data(recordings, None, FeatureMap.fit(recordings), None)


@pytest.fixture(scope="module")
def measured(data):
    learners = [NearestMean(uses_training=True), NearestMean(), Trees()]
    return cross_validate(
        data.rows(data.machine < "machine 6"), learners, way=4, num_tasks=30, seed=0
    )


def test_every_condition_has_answers_and_those_who_need_known_labels_none_of_new_ones(measured):
    assert {(own.shots, own.known) for own in measured} == {
        (shots, known) for shots in (1, 2, 5) for known in (True, False)
    }
    for condition, own in measured.items():
        with_training, *others = (len(row) for row in own.answers)
        assert all(count == len(own.distances) >= 30 for count in others)
        assert with_training == (len(own.distances) if condition.known else 0)


def test_hidden_labels_are_hidden(data):
    seen = []

    class Spy(Trees):
        def fit(self, training):
            seen.append(training)
            return super().fit(training)

        def scores(self, examples, queries):
            seen.append((examples, queries))
            return np.zeros((len(queries), len(examples.labels)))

    cross_validate(data, [Spy()], way=4, num_tasks=5, seed=0)
    training, hidden = None, 0
    for entry in seen:
        if not isinstance(entry, tuple):
            training = entry
            continue
        examples, queries = entry
        assert not {*examples.machine, *queries.machine} & {*training.machine}
        hidden += not {*examples.label} & {*training.label}
        assert {*examples.label} <= {*training.label} or not {*examples.label} & {*training.label}
    assert hidden > 10


@pytest.mark.parametrize("shots", [1, 2, 5])
def test_alarms_are_as_rare_as_they_should_be_and_unknown_faults_are_noticed(data, measured, shots):
    condition = next(own for own in measured if own.shots == shots and own.known)
    calibration = calibrate(measured[condition], 1)
    space = Space.fit(data.rows(data.machine < "machine 6"))
    tasks = draw_tasks(data.rows(data.machine >= "machine 6"), shots, 4, 60, 1)
    false, noticed = (
        np.mean([calibration.looks_like_none(space.distances(task)).mean() for task in part])
        for part in (tasks, without_labels(tasks))
    )
    assert false < FALSE_ALARM_RATE + 0.1
    assert noticed > 0.8


def test_a_machine_on_which_all_is_mixed_up_is_less_sure(data):
    learner = NearestMean().fit(data)
    (task,) = draw_tasks(data.rows(data.machine == "machine 1"), 5, 4, 1, 0)
    rng = np.random.default_rng(0)
    mixed = task.examples
    shuffled = type(mixed)(
        mixed.features, mixed.kernels, rng.permutation(mixed.label), mixed.machine, mixed.group
    )
    true, wrong = (machine_temperature(learner, each, 1.0) for each in (mixed, shuffled))
    assert wrong > 2 * true


def test_own_examples_that_scatter_more_than_those_of_training_raise_the_limit():
    calibration = Calibration(1.0, ((0.0,) * 100, (0.0,) * 100))
    queries = np.array([[0.5, 0.5]])
    alike, apart = np.zeros((40, 2)), np.ones((40, 2))
    assert calibration.looks_like_none(Distances(queries, alike[:0], 0)) == [True]
    assert calibration.looks_like_none(Distances(queries, alike, 40)) == [True]
    assert calibration.looks_like_none(Distances(queries, apart, 40)) == [False]
