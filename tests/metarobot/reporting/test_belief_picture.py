"""The picture of how a belief narrows, and what it is drawn on."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from metarobot.envs import find_family
from metarobot.evaluation.explain import Band, BelievedTask
from metarobot.reporting.explanation import _draw_task, _shown

YAW, PAYLOAD, *_ = find_family("metarobot/Reach-v0").distribution.parameters


def believed(*bands: tuple[float, float, float]) -> BelievedTask:
    """Return a task whose one parameter is believed to lie in these bands."""
    stages = tuple((Band(low=low, median=median, high=high),) for low, median, high in bands)
    used = tuple(index > 0 for index in range(len(bands)))
    return BelievedTask(split="extrapolation", true=(3.0,), bands=stages, is_used=used)


@pytest.mark.parametrize(("parameter", "turns"), [(YAW, 3), (PAYLOAD, 1)])
def test_an_angle_is_drawn_a_turn_higher_and_lower_as_well(parameter, turns) -> None:
    task, axes = believed((-2.8, 0.0, 2.8), (2.9, 3.1, 3.3)), Figure().subplots()
    _draw_task(axes, parameter, task, 0)
    lines = [np.asarray(line.get_ydata(), float) for line in axes.lines]
    medians = [line for line in lines if len(line) == 2 and line[0] != line[1]]
    np.testing.assert_allclose([line[1] - line[0] for line in medians], [3.1] * turns)
    assert sorted({round(float(line[0]), 3) for line in medians}) == (
        [-6.283, 0.0, 6.283] if turns == 3 else [0.0]
    )
    faces = [line.get_markerfacecolor() for line in axes.lines if line.get_marker() == "o"]
    assert faces == ["white", "#c65400"] * turns  # hollow where it is not acted on
    assert any((line == 3.0).all() for line in lines)  # the truth


def test_truth_and_bands_are_in_view() -> None:
    assert _shown(believed((0.1, 0.5, 2.5)), 0) == [3.0, 0.1, 2.5]
