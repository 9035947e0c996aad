"""The one loop that adapts: what it collects with, learns from and hands on."""

from types import SimpleNamespace

import pytest
import torch

from metarobot.algorithms.base import adapt_in_steps


def test_each_step_learns_from_the_episodes_of_the_last():
    """Every step of this algorithm adds twice the episodes, or a part of that."""
    algorithm = SimpleNamespace(
        exploring_policy="explorer",
        adaptation_advantages=lambda params, episodes: 2 * episodes,
        adapt=lambda params, episodes, advantages: {"weight": params["weight"] + advantages},
    )
    start, asked = {"weight": torch.tensor(0.0)}, []

    def collect(step, policy, params):
        asked.append((step, policy, params["weight"].item()))
        return torch.tensor([1.0, 2.0, 4.0])[step]

    # Whole steps: 0 + 2*1 = 2, + 2*2 = 6, + 2*4 = 14.  Half, after the first: 2, + 2 = 4, + 4 = 8.
    for length, expected in ((1.0, [2.0, 6.0, 14.0]), (0.5, [2.0, 4.0, 8.0]), (0.0, [2.0] * 3)):
        asked.clear()
        steps = list(adapt_in_steps(algorithm, start, 3, collect, length))
        assert [step.params["weight"].item() for step in steps] == expected
        assert asked == [(k, "explorer", w) for k, w in enumerate([0.0, *expected[:-1]])]
        assert start == {"weight": torch.tensor(0.0)}
    assert list(adapt_in_steps(algorithm, start, 0, None)) == []


WEIGHT, BIAS = torch.zeros(2, 3), torch.zeros(2)


@pytest.mark.parametrize(
    ("adapted", "words"),
    [
        (None, "'weight' is missing"),
        ({"weight": WEIGHT}, "'bias' is missing"),
        ({"weight": WEIGHT, "bias": BIAS, "scale": BIAS}, "'scale' is .* must be left out"),
        ({"weight": torch.zeros(3), "bias": BIAS}, r"'weight' is \(3,\), must be \(2, 3\)"),
        ({"weight": WEIGHT, "bias": 1.0}, r"'bias' is \(\), must be \(2,\)"),
    ],
)
def test_what_an_algorithm_returns_must_be_like_the_parameters(adapted, words):
    algorithm = SimpleNamespace(
        config=SimpleNamespace(algorithm="own"),
        exploring_policy=None,
        adaptation_advantages=lambda *_: None,
        adapt=lambda *_: adapted,
    )
    params = {"weight": WEIGHT, "bias": BIAS}
    with pytest.raises(ValueError, match=rf"^own\.adapt must return .*{words}"):
        next(adapt_in_steps(algorithm, params, 1, lambda *_: None))
