import numpy as np
import pytest

from metarobot.envs.vector_env import Starts


def test_simulation_i_draws_what_a_single_one_with_seed_plus_i_draws():
    together = Starts(3, 2)
    together.seed(5)
    for _ in range(2):
        drawn = together.draw(np.arange(3))
    single = Starts(1, 2)
    single.seed(7)
    single.draw(np.array([0]))
    np.testing.assert_array_equal(drawn[2], single.draw(np.array([0]))[0])


def test_a_simulation_that_does_not_draw_keeps_its_place():
    starts, others = Starts(2, 1), Starts(2, 1)
    for one in (starts, others):
        one.seed([1, 2])
    starts.draw(np.array([0]))
    np.testing.assert_array_equal(starts.draw(np.array([1])), others.draw(np.array([1])))


def test_without_a_seed_starts_differ():
    first, second = (Starts(1, 4).draw(np.array([0])) for _ in range(2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("seed", [1.5, "a", "ab", -1, True, [1, 2.5], [1, -1], [1, "a"], [[1, 2]]])
def test_what_is_no_seed_is_refused_in_one_line(seed):
    starts = Starts(2, 1)
    with pytest.raises(
        ValueError, match=r"^seed must be an integer of 0 or more, or a list .* got "
    ):
        starts.seed(seed)
    starts.seed(3)


def test_numpys_integers_are_seeds():
    plain, numpys = Starts(2, 1), Starts(2, 1)
    plain.seed([3, 4])
    for seed in (np.int64(3), np.array([3, 4]), (np.uint8(3), 4)):
        numpys.seed(seed)
        plain.seed(3)
        ids = np.arange(2)
        np.testing.assert_array_equal(plain.draw(ids), numpys.draw(ids))
    numpys.seed([None, 4])


def test_every_simulation_needs_a_seed():
    with pytest.raises(ValueError, match="got 1 seeds for 2 simulations"):
        Starts(2, 1).seed([3])
