"""The one loop that adapts: what it collects with, learns from and hands on."""

from types import SimpleNamespace

import pytest
import torch

from metarobot.algorithms import adapt_in_steps


class Doubling:
    """An algorithm whose step adds the sum of the advantages, which are twice the episodes."""

    exploring_policy = "explorer"

    def adaptation_advantages(self, params, episodes):
        return 2 * episodes

    def adapt(self, params, episodes, advantages):
        assert torch.equal(advantages, 2 * episodes)
        return {"weight": params["weight"] + advantages}


@pytest.mark.parametrize(
    ("length", "expected"), [(1.0, [2.0, 6.0, 14.0]), (0.5, [2.0, 4.0, 7.0]), (0.0, [2.0] * 3)]
)
def test_each_step_learns_from_the_episodes_of_the_last(length, expected):
    """Every step of this algorithm adds twice the episodes, or a part of that."""
    asked = []

    def collect(step, policy, params):
        asked.append((step, policy, params["weight"].item()))
        return torch.tensor(2.0**step if length == 1.0 else 1.0 + step)

    # Whole steps: 0 + 2*1 = 2, + 2*2 = 6, + 2*4 = 14.  Half: 2, + 1*2 = 4, + 1*3 = 7.
    start = {"weight": torch.tensor(0.0)}
    steps = list(adapt_in_steps(Doubling(), start, 3, collect, length))
    assert [step.params["weight"].item() for step in steps] == expected
    assert asked == [(k, "explorer", w) for k, w in enumerate([0.0, *expected[:-1]])]
    assert start == {"weight": torch.tensor(0.0)}


def test_without_steps_nothing_is_collected():
    assert list(adapt_in_steps(Doubling(), {}, 0, None)) == []


@pytest.mark.parametrize(
    ("adapted", "words"),
    [
        (None, "must return the adapted parameters as a dict, got a NoneType"),
        ({"weight": torch.zeros(2, 3)}, "must return every leaf of the parameters, but bias is"),
        (
            {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "scale": torch.zeros(2)},
            "must return the leaves of the parameters alone, got 'scale' as well",
        ),
        (
            {"weight": torch.zeros(3), "bias": torch.zeros(2)},
            r"must return weight as a tensor of shape \(2, 3\), got \(3,\)",
        ),
        (
            {"weight": torch.zeros(2, 3), "bias": 1.0},
            r"must return bias as a tensor of shape \(2,\), got float",
        ),
    ],
)
def test_what_an_algorithm_returns_must_be_like_the_parameters(adapted, words):
    """One leaf for each of theirs, of the same shape; the message names the algorithm."""
    algorithm = SimpleNamespace(
        config=SimpleNamespace(algorithm="own"),
        exploring_policy=None,
        adaptation_advantages=lambda *_: None,
        adapt=lambda *_: adapted,
    )
    params = {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}
    with pytest.raises(ValueError, match=rf"^own\.adapt {words}"):
        next(adapt_in_steps(algorithm, params, 1, lambda *_: None))
