"""Laws of counter-based random numbers: uniform, normal, independent, and the same anywhere."""

import numpy as np
import pytest
from scipy import stats

from metarobot.envs.disturbances import keys_of, mix, normals, uniforms

START = np.random.default_rng(0).random((1000, 3))
KEYS, STEPS = keys_of(START), np.full(1000, 7)
ELEMENTS = np.arange(5)


def test_mix_is_splitmix64():
    """The first numbers of Java's SplittableRandom(0): its state grows by the golden ratio."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    states = np.array([0, golden], np.uint64)
    assert [hex(int(word)) for word in mix(states)] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4"]


def test_a_number_depends_on_its_address_alone():
    whole = uniforms(KEYS, STEPS, 2, ELEMENTS)
    rows = np.array([5, 999])
    np.testing.assert_array_equal(uniforms(KEYS[rows], STEPS[rows], 2, ELEMENTS), whole[rows])
    np.testing.assert_array_equal(uniforms(KEYS, STEPS, 2, np.array([3])), whole[:, [3]])
    assert not np.array_equal(uniforms(KEYS, STEPS, 3, ELEMENTS), whole)
    assert not np.array_equal(uniforms(KEYS, STEPS + 1, 2, ELEMENTS), whole)


def test_single_precision_starts_give_the_keys_of_their_values():
    single = START.astype(np.float32)
    np.testing.assert_array_equal(keys_of(single), keys_of(single.astype(np.float64)))


def test_keys_differ_between_starts():
    assert len(np.unique(KEYS)) == len(KEYS)
    swapped = START[:, [1, 0, 2]]
    assert not (keys_of(swapped) == KEYS).any()


def test_uniforms_are_uniform_and_independent():
    numbers = np.stack([uniforms(KEYS, STEPS + step, 0, ELEMENTS) for step in range(20)])
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > 0.01
    columns = [numbers[:, :, element].ravel() for element in ELEMENTS]
    correlations = np.corrcoef([*columns, np.roll(columns[0], 1000)])  # the last: a step later
    assert np.abs(correlations - np.eye(6)).max() < 0.03
    assert (numbers > 0).all()
    assert (numbers < 1).all()


@pytest.mark.parametrize("stream", [0, 3])
def test_normals_are_normal(stream):
    numbers = np.stack([normals(KEYS, STEPS + step, stream, ELEMENTS) for step in range(20)])
    assert stats.kstest(numbers.ravel(), "norm").pvalue > 0.01
    assert np.isfinite(numbers).all()
