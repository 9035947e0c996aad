import pytest
import torch

from metarobot.learning.distributed import (
    ALONE,
    WorkerError,
    Workers,
    join_workers,
    mean_over_tasks,
)


def test_tasks_are_shared_in_order_and_equally():
    shares = [Workers(rank, 4).share(20) for rank in range(4)]
    assert [task for share in shares for task in share] == list(range(20))
    assert {len(share) for share in shares} == {5}
    for count, num_tasks in ((3, 20), (20, 20), (2, 3)):
        words = f"{count} processes cannot .* allowed are 1"
        with pytest.raises(WorkerError, match=words) as error:
            Workers(0, count).share(num_tasks)
        assert "\n" not in str(error.value)


def test_alone_there_is_nobody_to_tell():
    rows = torch.tensor([[1.0], [3.0]])
    with join_workers() as workers:
        assert workers is ALONE
        assert [list(ALONE.share(n)) for n in (3, 1)] == [[0, 1, 2], [0]]
        assert workers.gather(rows) is rows
        assert workers.mean(rows).tolist() == [2.0]
        assert workers.largest(7) == 7
        assert workers.broadcast(b"x") == b"x"
        assert workers.broadcast(None) is None
        workers.require_equal({"a": rows})


def test_the_mean_is_the_same_on_any_number_of_threads():
    rows = torch.randn(40, 5000, generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    try:
        means = []
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            means.append(mean_over_tasks(rows).tobytes())
    finally:
        torch.set_num_threads(threads)
    assert len(set(means)) == 1
