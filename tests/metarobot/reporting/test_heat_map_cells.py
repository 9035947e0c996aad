"""The heat map of the page: the same numbers as the evaluation's, each in its place."""

from dataclasses import replace

import pytest
from evaluations import made_up_evaluation

from metarobot.reporting.heat_map import page_heat_map


@pytest.fixture
def evaluation():
    return made_up_evaluation()


def test_every_cell_tells_its_task_and_its_figures(evaluation):
    page, data = page_heat_map(evaluation), evaluation.heat_map
    assert [(each.title, each.note) for each in page.maps] == [
        ("domain randomisation", "never adapts"),
        ("MAML-TRPO", "before adapting"),
        ("MAML-TRPO", "after 5 episodes"),
        ("oracle", "told the task"),
    ]
    first = data.maps[0]
    for row, cells in enumerate(reversed(page.maps[0].rows)):  # upwards
        for column, cell in enumerate(cells):
            assert cell.success == f"{100 * first.success[row][column]:.0f}"
            written = f"return {first.returns[row][column]:.2f}".replace("-", "−")
            assert cell.figures.endswith(written)
            assert f"block mass {data.x.values[column]:.3g} kg" in cell.figures
            assert f"pad friction {data.y.values[row]:.3g}:" in cell.figures


def test_the_box_is_the_training_range_on_the_scale_of_the_axes(evaluation):
    left, top, width, height = page_heat_map(evaluation).box
    # 7 cells of a third of a decade from 0.03 to 3, the first half a cell below 0.03.
    assert left == pytest.approx(100 * (0.5 + 3 * 0.5229) / 7, abs=0.05)
    assert width == pytest.approx(100 * 3 / 7, abs=0.05)
    # 5 cells of 0.2875 from 0.15 to 1.3; the training range is 0.25 to 1.
    assert top == pytest.approx(100 * (0.5 + 0.3 / 0.2875) / 5, abs=0.05)
    assert height == pytest.approx(100 * 0.75 / 0.2875 / 5, abs=0.05)


def test_letters_stand_out_from_their_cell(evaluation):
    cells = [cell for each in page_heat_map(evaluation).maps for row in each.rows for cell in row]
    for cell in cells:
        shade = sum(int(cell.colour[i : i + 2], 16) for i in (1, 3, 5)) / 3
        assert (cell.ink == "#000000") == (shade > 128) or 80 < shade < 160
    assert {cell.ink for cell in cells} == {"#000000", "#ffffff"}


def test_a_task_without_a_number_is_grey(evaluation):
    data = evaluation.heat_map
    holes = tuple(tuple(None for _ in row) for row in data.maps[0].returns)
    maps = (replace(data.maps[0], returns=holes, success=holes), *data.maps[1:])
    page = page_heat_map(replace(evaluation, heat_map=replace(data, maps=maps)))
    cell = page.maps[0].rows[0][0]
    assert (cell.colour, cell.success) == ("#9aa1ad", "")
    assert cell.figures.endswith("success –, return –")


def test_without_a_map_there_is_none(evaluation):
    assert page_heat_map(replace(evaluation, heat_map=None)) is None
