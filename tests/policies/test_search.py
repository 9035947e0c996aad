"""The Gaussian process predicts what it was told; the search finds the top of smooth functions."""

import pytest
import torch

from metarobot.policies.search import (
    NOISE,
    Tried,
    next_candidate,
    predict,
    similarities,
)


def grid(size=21):
    axis = torch.linspace(0.0, 1.0, size)
    return torch.cartesian_prod(axis, axis)


def test_a_prediction_is_that_of_the_textbook():
    """K_* (K + noise I)⁻¹ y, and 1 - K_* (K + noise I)⁻¹ K_*ᵀ, with y normalised."""
    kernel = similarities(grid(5))
    asked = Tried(torch.tensor([[0, 7, 24], [3, 3, 12]]), torch.tensor([[1.0, 2.0, 6], [0, 1, 5]]))
    mean, std = predict(kernel, asked)
    for task in range(2):
        guesses, y = asked.candidates[task], asked.returns[task]
        y = (y - y.mean()) / y.std(correction=0)
        inverse = torch.linalg.inv(kernel[guesses][:, guesses] + NOISE * torch.eye(3))
        torch.testing.assert_close(mean[task], kernel[:, guesses] @ inverse @ y)
        known = (kernel[:, guesses] @ inverse * kernel[:, guesses]).sum(1)
        torch.testing.assert_close(std[task].square(), 1.0 - known, atol=1e-5, rtol=0.0)


def test_one_answer_or_equal_ones_tell_nothing_of_where_the_top_is():
    kernel = similarities(grid(5))
    for returns in ([[3.0]], [[3.0, 3.0]]):
        asked = Tried(torch.tensor([[0, 7]])[:, : len(returns[0])], torch.tensor(returns))
        mean, std = predict(kernel, asked)
        assert not mean.any()
        assert std.isfinite().all()


def search(tops, count, num_design=4):
    """Ask `count` guesses about parabolas with these tops (N, 2); return the best guesses."""
    places = grid()[torch.randperm(441, generator=torch.Generator().manual_seed(0))]
    kernel, n = similarities(places), len(tops)
    asked = Tried(torch.zeros(n, 0, dtype=torch.long), torch.zeros(n, 0))
    for _ in range(count):
        guess = next_candidate(kernel, asked, num_design)
        earned = -(places[guess] - tops).square().sum(1)
        asked = Tried(
            torch.cat([asked.candidates, guess[:, None]], 1),
            torch.cat([asked.returns, earned[:, None]], 1),
        )
    return asked, places[predict(kernel, asked)[0].argmax(1)]


@pytest.mark.parametrize(("count", "error"), [(8, 0.25), (16, 0.1)])
def test_the_top_of_a_parabola_is_found_on_all_tasks_at_once(count, error):
    tops = torch.rand(20, 2, generator=torch.Generator().manual_seed(1))
    _, best = search(tops, count)
    assert (best - tops).norm(dim=1).mean() < error


def test_the_first_questions_are_the_first_points_and_later_ones_depend_on_the_answers():
    asked, _ = search(torch.tensor([[0.1, 0.2], [0.9, 0.6]]), 8, num_design=4)
    assert asked.candidates[:, :4].tolist() == [[0, 1, 2, 3]] * 2
    assert (asked.candidates[0, 4:] != asked.candidates[1, 4:]).any()
