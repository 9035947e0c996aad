import torch

from metarobot.learning.distributed import running_mean


def test_the_first_meta_batch_counts_whole_and_later_ones_by_the_rate():
    samples = torch.stack([torch.ones(2, 3), 3 * torch.ones(2, 3)]).double()
    first = running_mean(torch.zeros(2, 3), samples, 0.3)
    torch.testing.assert_close(first, torch.full((2, 3), 2.0))
    second = running_mean(first, samples[:1], 0.3)
    torch.testing.assert_close(second, torch.full((2, 3), 1.7))


def test_tasks_that_are_not_finite_are_left_out():
    samples = torch.tensor([[1.0, 2.0], [torch.nan, 0.0], [torch.inf, 1.0]])
    found = running_mean(torch.zeros(2), samples, 0.3)
    torch.testing.assert_close(found, torch.tensor([1.0, 2.0]))
    assert running_mean(found, samples[1:], 0.3) is found
