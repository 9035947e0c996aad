import numpy as np

from metarobot.rollout.seeding import Phase, draw_episodes

SHAPE = (3, 5, 2, 4)  # E, T, S, A


def draw(tasks, seed=1, iteration=7, phase=Phase.PRE_UPDATE, step=0):
    return draw_episodes(
        seed, iteration, phase, tasks=tasks, episode_shape=SHAPE, adaptation_step=step
    )


def test_shapes_types_and_ranges():
    start, noise = draw(range(6))
    assert start.shape == (6, 3, 2)
    assert noise.shape == (6, 3, 5, 4)
    assert start.dtype == noise.dtype == np.float32
    assert start.min() >= 0.0
    assert start.max() < 1.0


def test_draws_do_not_depend_on_how_tasks_are_shared_out():
    whole = draw(range(6))
    parts = [draw(shard) for shard in ([0, 1], [2], [3, 4, 5])]
    np.testing.assert_array_equal(whole.start, np.concatenate([p.start for p in parts]))
    np.testing.assert_array_equal(whole.noise, np.concatenate([p.noise for p in parts]))


def test_every_part_of_the_address_counts():
    reference = draw([0]).noise
    others = [
        draw([1]),
        draw([0], seed=2),
        draw([0], iteration=8),
        draw([0], phase=Phase.POST_UPDATE),
        draw([0], step=1),
    ]
    for other in others:
        assert not np.isclose(reference, other.noise).any()
    np.testing.assert_array_equal(reference, draw([0]).noise)


def test_draws_stay_what_they_were():
    """Golden numbers: saved runs go on with the draws that they began with."""
    phases = ("INITIALISATION", "TASKS", "PRE_UPDATE", "POST_UPDATE", "EVALUATION_TASKS")
    phases += ("EVALUATION", "RENDERING", "ADAPTATION", "CANDIDATES", "NUM_EPISODES", "FINISH")
    phases += ("CALIBRATION", "COMPARISON")
    assert [phase.name for phase in Phase] == [*phases]
    assert [phase.value for phase in Phase] == [*range(13)]
    start, noise = draw([2])
    np.testing.assert_allclose(start[0, 0], [0.2843573689460754, 0.5381048321723938], rtol=1e-6)
    expected = [-0.22856998443603516, 0.7823930382728577, 0.5256034135818481, 2.409466505050659]
    np.testing.assert_allclose(noise[0, 0, 0], expected, rtol=1e-6)
