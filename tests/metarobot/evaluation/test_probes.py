"""Linear probes: exact where they can be, and honest about what they miss."""

import numpy as np
import pytest

from metarobot.evaluation import explain as probes
from metarobot.evaluation.explain import Probe

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("num_elements", [3, 400])
def test_what_is_linear_is_read_exactly(num_elements) -> None:
    tasks = RNG.normal(size=(60, 2))
    mixing = RNG.normal(size=(2, num_elements))
    probe = Probe.fit(tasks[:40] @ mixing + 5.0, tasks[:40])
    np.testing.assert_allclose(probe.predict(tasks[40:] @ mixing + 5.0), tasks[40:], atol=1e-3)
    assert probe.error.max() < 1e-3


def test_noise_is_not_read() -> None:
    states, tasks = RNG.normal(size=(50, 300)), RNG.normal(size=(50, 1))
    probe = Probe.fit(states, tasks)
    missed = probe.predict(RNG.normal(size=(1000, 300))) - tasks.mean()
    assert missed.std() < 0.5 * tasks.std()  # it hardly says more than the mean
    assert probe.error[0] > 0.9 * tasks.std()


def test_states_that_are_all_alike_give_the_mean() -> None:
    tasks = RNG.normal(size=(20, 2))
    probe = Probe.fit(np.ones((20, 3)), tasks)
    np.testing.assert_allclose(probe.predict(np.ones((1, 3))), tasks.mean(axis=0)[None])


@pytest.mark.parametrize("strength", [1e-3, 1.0, 30.0])
def test_leaving_one_out_in_closed_form_is_leaving_one_out(monkeypatch, strength) -> None:
    """The strength is a part of the mean squared length, which a fit without one task keeps."""
    states, tasks = RNG.normal(size=(12, 30)), RNG.normal(size=(12, 1))
    rows = (states - states.mean(axis=0)) / states.std(axis=0)
    lengths, basis = np.linalg.eigh(rows @ rows.T)
    held_back = probes._unit(lengths) * strength
    missed = probes._missed(lengths, basis, basis.T @ (tasks - tasks.mean()), strength)[:, 0]
    for left_out in range(12):
        others = np.arange(12) != left_out
        # The offset is fitted as well: an element that is 1 everywhere, and is not held back.
        centred, mean = rows[others] - rows[others].mean(axis=0), tasks[others].mean()
        gram = centred @ centred.T + held_back * np.eye(11)
        weights = centred.T @ np.linalg.solve(gram, tasks[others, 0] - mean)
        predicted = (rows[left_out] - rows[others].mean(axis=0)) @ weights + mean
        assert missed[left_out] == pytest.approx(tasks[left_out, 0] - predicted, rel=1e-6)
