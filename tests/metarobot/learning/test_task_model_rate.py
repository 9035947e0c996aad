"""The learning rate of the task model: it falls, but not to nothing."""

import pytest

from metarobot.learning.task_model import LEAST_RATE, SLOWER, learning_rate


def test_the_rate_falls_to_a_quarter_and_no_further_than_to_its_least_part():
    assert learning_rate(5e-3, 0.0) == 5e-3
    assert learning_rate(5e-3, SLOWER) == 5e-3 / 4.0
    assert learning_rate(5e-3, 7_800.0) == 5e-3 / (1.0 + 7_800.0 / SLOWER) ** 2  # 1,000,000 steps
    assert learning_rate(5e-3, 1e6) == pytest.approx(LEAST_RATE * 5e-3)
