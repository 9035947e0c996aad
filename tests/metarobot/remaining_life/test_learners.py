"""Whoever predicts remaining life knows what is known by then, and nothing that comes later."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from life_fakes import fake_fleet

from metarobot.few_shot import Maml, MamlOptions
from metarobot.remaining_life import (
    Checks,
    Predictions,
    calibrate,
    calibrate_on,
    checks_at,
    fit_health_index,
    life_learners,
    measure,
    read_lives,
    rows_of,
)
from metarobot.remaining_life.curves import curve, fit_lives
from metarobot.remaining_life.networks import _fit_averaged, small_network
from metarobot.remaining_life.tasks import EARLIER, life_loss, sample_tasks, support_at

NAMES = tuple(life_learners(0))
UPDATES = 8


@pytest.fixture(scope="module")
def fleet():
    return fake_fleet(60)


@pytest.fixture(scope="module")
def health(fleet):
    return fit_health_index(fleet)


@pytest.fixture(scope="module")
def training(fleet, health):
    return read_lives(fleet, health)


@pytest.fixture(scope="module")
def trained(training):
    return {name: make(training) for name, make in life_learners(0, UPDATES).items()}


def changed_later(fleet, machine, part, check):
    """Return the fleet with another future of one part, and of all parts after it."""
    indicators, life = fleet.indicators.copy(), fleet.life_cycles.copy()
    indicators[machine, part, check + 1 :] += 1.0
    indicators[machine, part + 1 :] += 1.0
    life[machine, part:] += 12
    return replace(fleet, indicators=indicators, life_cycles=life)


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_a_prediction_does_not_depend_on_what_comes_later(name, part, fleet, health, trained):
    here = Checks(np.array([4]), np.array([part]), np.array([3]))
    lives = read_lives(fleet, health)
    other = read_lives(changed_later(fleet, 4, part, 3), health)
    first, second = (trained[name].predict(known, here) for known in (lives, other))
    np.testing.assert_allclose(first.cycles, second.cycles, rtol=1e-6)
    np.testing.assert_allclose(first.spread_log, second.spread_log, rtol=1e-6)


def test_the_part_before_tells_something_to_those_who_adapt(fleet, health, trained):
    """The remaining life at checks of the first part is in the support, and changes MAML."""
    here = Checks(np.array([4]), np.array([1]), np.array([3]))
    ends = 6 * fleet.num_checks[4, 0] - np.array([5, 0])  # between the same two checks
    found = []
    for end in ends:
        life = fleet.life_cycles.copy()
        life[4, 0] = end
        lives = read_lives(replace(fleet, life_cycles=life), health)
        found.append(trained["MAML"].predict(lives, here).cycles[0])
    assert found[0] != found[1]


def test_support_holds_what_is_known_only(training):
    machine, part, check = np.array([0, 0]), np.array([0, 1]), np.array([2, 2])
    support = support_at(training, training.window, machine, part, check)
    weight, kind, value = support.targets.unbind(-1)
    assert weight[0, :EARLIER].tolist() == [0.0] * EARLIER  # no part before the first
    assert weight[1, :EARLIER].tolist() == [1.0] * EARLIER
    assert weight[:, EARLIER:].sum(1).tolist() == [2.0, 2.0]  # checks 0 and 1, each with a next one
    assert set(kind[:, EARLIER:].flatten().tolist()) == {0.0}
    known = training.index[0, 1, 1:3].sum(axis=1)
    np.testing.assert_allclose(value[1, -2:], known, rtol=1e-5)


def test_tasks_are_those_of_their_generator(training):
    first, second = (
        sample_tasks(np.random.default_rng(3), training, training.window, 5) for _ in range(2)
    )
    assert torch.equal(first.support.inputs, second.support.inputs)
    assert torch.equal(first.query.targets, second.query.targets)


def test_training_twice_gives_the_same_network(training, trained):
    again = life_learners(0, UPDATES)["MAML"](training)
    checks = checks_at(training)
    first, second = (net.predict(training, checks) for net in (trained["MAML"], again))
    np.testing.assert_array_equal(first.cycles, second.cycles)


def test_a_curve_is_found_again():
    """An index that follows a curve exactly is fitted to it, up to the grid of shapes."""
    from metarobot.remaining_life.curves import ONSETS, SHAPES, _fit

    wanted = np.array([np.log(90.0), np.log(SHAPES[9]), 0.05, np.log(0.8), ONSETS[6]])
    series = curve(wanted[None], np.arange(0, 90, 6))[0]
    # The ridge that keeps short series finite takes a thousandth.
    np.testing.assert_allclose(_fit(series, 90.0), wanted, atol=5e-3)


def test_lives_are_fitted_by_their_own_fault(training):
    assert np.isfinite(fit_lives(training)).all()


def test_too_few_machines_of_a_fault_are_refused_by_the_bayesian_curve(fleet, health):
    """Two are enough; with one the covariance is no number."""
    from metarobot.remaining_life.wear import WEARING_FAULTS

    last = WEARING_FAULTS[-1]
    others, own = np.flatnonzero(fleet.fault != last), np.flatnonzero(fleet.fault == last)
    learn = life_learners(0)["Bayesian curve"]
    for count in (0, 1):
        few = read_lives(fleet.rows(np.append(others, own[:count])), health)
        with pytest.raises(ValueError, match=f"at least 2 .* has {count} of {last}: watch more"):
            learn(few)
    two = read_lives(fleet.rows(np.append(others, own[:2])), health)
    found = learn(two).predict(two, checks_at(two))
    assert np.isfinite(found.mean_log).all()
    assert np.isfinite(found.cycles).all()


@pytest.mark.parametrize("spread", [0.0, np.nan])
def test_who_says_nothing_of_its_doubt_cannot_be_calibrated(spread):
    spreads = np.array([1.0, spread, 1.0])
    predictions, checks = Predictions(np.zeros(3), spreads, np.ones(3)), Checks(*np.zeros((3, 3)))
    with pytest.raises(ValueError, match=f"above 0 .* row 1 is {spread:g}"):
        calibrate(predictions, checks, np.ones(3))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_indicator_that_is_no_number_is_named(fleet, value):
    indicators = fleet.indicators.copy()
    indicators[3, 1, 2, 10] = value
    message = f"'viscous damping .* of joint 2 is {value:g} at check 2 of part 1 of machine 3"
    with pytest.raises(ValueError, match=message):
        replace(fleet, indicators=indicators)


def test_rows_have_every_share_and_part(training, trained):
    learner = trained["Bayesian curve"]
    outcome = measure(learner, calibrate_on(learner, training), training)
    rows = rows_of("Bayesian curve", [outcome])
    assert len(rows) == 15
    for row in rows:
        assert row["rmse_ci"][0] <= row["rmse"] <= row["rmse_ci"][1]
        # Calibrated on the same machines; pooled over the two parts the promise holds about.
        if row["parts"] == "both":
            assert 0.75 < row["coverage"] <= 1.0


def test_seeds_that_trained_alike_leave_the_intervals_as_they_are(training, trained):
    learner = trained["Bayesian curve"]
    outcome = measure(learner, calibrate_on(learner, training), training)
    once, thrice = rows_of("it", [outcome]), rows_of("it", [outcome] * 3)
    for row, other in zip(once, thrice, strict=True):
        np.testing.assert_allclose(row["rmse_ci"], other["rmse_ci"])
        np.testing.assert_allclose(row["coverage_ci"], other["coverage_ci"])


def test_a_network_is_the_mean_of_the_second_half_of_its_training(training):
    """By hand, from trainings of two, three and four updates."""
    inputs = (training.window - 0.1) / 2.0
    sample = partial(sample_tasks, lives=training, inputs=inputs, num_tasks=4)

    def trained_for(num_updates):
        options = MamlOptions(num_adaptation_steps=0, seed=1)
        learner = Maml(small_network(inputs.shape[3], 1), life_loss, options)
        learner.fit(sample, num_updates)
        return learner

    averaged = trained_for(0)
    _fit_averaged(averaged, sample, 4)
    for name, leaf in averaged.params.items():
        by_hand = (trained_for(3).params[name] + trained_for(4).params[name]) / 2
        torch.testing.assert_close(leaf, by_hand)
