"""Chunks of tasks bound the memory of a meta-update."""

from itertools import pairwise

import pytest

from metarobot.learning import meta_batch


@pytest.mark.parametrize("steps_per_task", [1, 100, 20_000, 10**9])
@pytest.mark.parametrize("num_tasks", [1, 2, 3, 4, 5, 20, 101])
def test_chunks_cover_all_tasks_and_hold_two_at_least(num_tasks, steps_per_task):
    chunks = meta_batch.task_chunks(num_tasks, steps_per_task)
    assert [task for chunk in chunks for task in range(num_tasks)[chunk]] == list(range(num_tasks))
    sizes = [chunk.stop - chunk.start for chunk in chunks]
    assert min(sizes) >= min(2, num_tasks)
    assert max(sizes) - min(sizes) <= 1
    assert all(first.stop == second.start for first, second in pairwise(chunks))
    # As many as fit, but for what two tasks take and three where their number is odd.
    assert max(sizes) * steps_per_task <= max(
        meta_batch.STEPS_AT_ONCE + steps_per_task, 3 * steps_per_task
    )
