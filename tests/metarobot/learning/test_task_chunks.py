"""Chunks of tasks bound the memory of a meta-update."""

import itertools

from metarobot.learning import chunks as chunks_module


def test_chunks_cover_all_tasks_and_hold_two_at_least():
    cases = itertools.product([1, 2, 3, 4, 5, 20, 101], [1, 100, 20_000, 10**9])
    for num_tasks, steps_per_task in cases:
        chunks = chunks_module.task_chunks(num_tasks, steps_per_task)
        covered = [task for chunk in chunks for task in range(num_tasks)[chunk]]
        assert covered == list(range(num_tasks))
        sizes = [chunk.stop - chunk.start for chunk in chunks]
        assert min(sizes) >= min(2, num_tasks)
        assert max(sizes) - min(sizes) <= 1
        # As many as fit, but for what two tasks take and three where their number is odd.
        assert max(sizes) * steps_per_task <= max(
            chunks_module.STEPS_AT_ONCE + steps_per_task, 3 * steps_per_task
        )
