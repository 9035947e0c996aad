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


def test_phases_keep_their_numbers():
    assert {phase.name: phase.value for phase in Phase} == {
        "INITIALISATION": 0,
        "TASKS": 1,
        "PRE_UPDATE": 2,
        "POST_UPDATE": 3,
        "EVALUATION_TASKS": 4,
        "EVALUATION": 5,
        "RENDERING": 6,
        "ADAPTATION": 7,
        "GUESSES": 8,
        "NUM_EPISODES": 9,
        "CONCLUSION": 10,
    }
