"""What has been seen, as weights of tasks."""

import torch

from metarobot.policies.task_model import Evidence


def evidence(squares, log_variances, num_outcomes):
    parts = (squares, log_variances, [num_outcomes])
    return Evidence(*(torch.tensor(part, dtype=torch.float64) for part in parts))


def test_nothing_seen_weighs_all_tasks_alike():
    weights = Evidence.none(2, 5).log_weights(0.3).softmax(-1)
    assert torch.allclose(weights, torch.full((2, 5), 0.2))


def test_weights_are_those_of_the_likelihood():
    known = evidence([1.0, 4.0], [0.0, -2.0], 3.0)
    density = torch.exp(torch.tensor([-0.5, -2.0 + 1.0], dtype=torch.float64))
    assert torch.allclose(known.log_weights(1.0).softmax(-1), density / density.sum())
    half = density.sqrt() / density.sqrt().sum()
    assert torch.allclose(known.log_weights(0.5).softmax(-1), half)


def test_errors_count_less_where_no_task_explains_them():
    explained, unexplained = (
        evidence([2.0, 6.0], [0.0, 0.0], 2.0),
        evidence([20.0, 60.0], [0, 0], 2.0),
    )
    same = explained.log_weights(1.0).softmax(-1)
    assert torch.allclose(unexplained.log_weights(1.0).softmax(-1), same)
    certain = evidence([20.0, 60.0], [0.0, 0.0], 20.0).log_weights(1.0).softmax(-1)
    assert certain[0] > 1.0 - 1e-8 > same[0]


def test_evidence_adds_up_and_can_be_left_out():
    a, b = evidence([1.0, 2.0], [3.0, 4.0], 5.0), evidence([0.5, 0.0], [1.0, 1.0], 2.0)
    both = a.plus(b)
    assert both.squares.tolist() == [1.5, 2.0]
    assert both.num_outcomes.tolist() == [7.0]
    ignored = both.times(torch.zeros(1, dtype=torch.float64))
    assert ignored.log_weights(1.0).softmax(-1).tolist() == [0.5, 0.5]
