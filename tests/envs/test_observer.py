import numpy as np
import pytest

from metarobot.envs.vector_env import Observer

BOUNDS = np.array([[0.0, -3.0], [1.0, 3.0]], np.float32)  # a distance and an angle
WITH_TASK = np.array([[0.0, -3.0, -1.5], [1.0, 3.0, 1.5]], np.float32)
MEASURED = np.array([[0.5, 1.0], [-2.0, 9.0]])
STEP = np.array([0, 3])


def test_what_lies_beyond_the_bounds_saturates():
    observed = Observer(2, BOUNDS, 0, None).observe(MEASURED, STEP)
    assert observed.dtype == np.float32
    assert observed.tolist() == [[0.5, 1.0], [0.0, 3.0]]


def test_tasks_stand_at_the_end_within_bounds_of_their_own():
    observer = Observer(2, WITH_TASK, 1, None)
    observer.show_tasks(np.array([[1.25], [-0.5]]))
    assert observer.observe(MEASURED, STEP)[:, 2].tolist() == [1.25, -0.5]
    assert observer.space.low.tolist() == [0.0, -3.0, -1.5]
    assert observer.space.high.tolist() == [1.0, 3.0, 1.5]


@pytest.mark.parametrize("spoilt", [False, True])
def test_held_simulations_show_what_they_showed_last(spoilt):
    observer = Observer(2, BOUNDS, 0, None)
    first = observer.observe(MEASURED, STEP)
    expected = first[1].copy()
    if spoilt:
        first[:] = np.nan  # the caller's own copy
    for _ in range(2):
        seen = observer.observe(MEASURED / 2, STEP, held=np.array([False, True]))
        assert seen[0].tolist() == [0.25, 0.5]
        np.testing.assert_array_equal(seen[1], expected)
