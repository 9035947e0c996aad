import numpy as np
import torch

from metarobot.rollout.seeding import Phase, draw_episodes, numpy_generator, torch_generator

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


def test_parts_of_the_address_are_not_interchangeable():
    first = numpy_generator(0, 1, Phase.PRE_UPDATE, adaptation_step=2, task=3).random(4)
    second = numpy_generator(1, 0, Phase.PRE_UPDATE, adaptation_step=3, task=2).random(4)
    assert not np.isclose(first, second).any()


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


def test_torch_generators_are_keyed_too():
    first, same, other = (torch_generator(seed, 0, Phase.INITIALISATION) for seed in (1, 1, 2))
    first, same, other = (torch.rand(3, generator=g) for g in (first, same, other))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_noise_is_standard_normal():
    noise = draw(range(500)).noise
    assert abs(noise.mean()) < 0.03
    assert abs(noise.std() - 1) < 0.03
