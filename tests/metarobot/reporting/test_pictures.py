"""One battery over every picture of an evaluation: of adaptation, of training, and the heat map."""

import copy
import io
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from evaluations import (
    grid_map,
    made_up_evaluation,
    without,
)
from PIL import Image

from metarobot.api import Evaluation
from metarobot.reporting import heat_map
from metarobot.reporting import style as plot_style
from metarobot.reporting.figures import (
    PICTURES,
    TrainingCurve,
    adaptation_curve,
    training_curve,
)


@pytest.fixture
def evaluation() -> Evaluation:
    return made_up_evaluation()


def made_up_curves() -> list[TrainingCurve]:
    steps = (1000, 2000, 3000)
    never = TrainingCurve(
        algorithm="domain_randomisation", simulation_steps=steps, return_post=(-5, -3, -2)
    )
    seeds = [
        TrainingCurve(
            algorithm="maml",
            simulation_steps=steps,
            return_pre=(-5, -3.5, -2.1 - seed),
            return_post=(-5, -3, -1.2 - seed),
        )
        for seed in (0, 1)
    ]
    return [never, *seeds]


DRAW = {
    each.name: lambda evaluation, each=each: each.png(evaluation, made_up_curves())
    for each in PICTURES
}


@pytest.mark.parametrize("name", DRAW)
def test_png_is_valid_deterministic_and_anonymous(
    name: str, evaluation: Evaluation, tmp_path: Path
) -> None:
    before = copy.deepcopy(evaluation)
    png, again = DRAW[name](evaluation), DRAW[name](evaluation)
    assert evaluation == before
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert image.width == 1800
        assert 600 <= image.height <= 1000
        assert set(image.info) <= {"dpi"}
        assert image.mode == "P"
        assert np.ptp(np.asarray(image.convert("L"))) > 150
    assert png == again
    assert list(tmp_path.iterdir()) == []


def test_a_palette_changes_no_flat_colour_and_no_pixel_by_much() -> None:
    rng = np.random.default_rng(0)
    pixels = np.full((200, 300, 3), 255, np.uint8)
    pixels[20:180, 20:120] = (0, 114, 178)
    pixels[20:180, 150:280] = np.linspace(0, 255, 130)[:, None].astype(np.uint8)  # a gradient
    pixels[:8, :40] = rng.integers(0, 256, (8, 40, 3))  # 320 colours of one pixel each
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="png")
    small = plot_style.with_palette(content.getvalue())
    with Image.open(io.BytesIO(small)) as image:
        again = np.asarray(image.convert("RGB")).astype(int)
    error = np.abs(again - pixels.astype(int)).max(axis=-1)
    assert error[100, 60] == error[100, 135] == 0
    assert error[20:180, 150:280].max() <= 6
    assert error.mean() < 1.0
    assert len(np.unique(again.reshape(-1, 3), axis=0)) <= 256
    assert small == plot_style.with_palette(content.getvalue())


def test_pictures_and_matplotlib_leave_each_other_alone(evaluation: Evaluation) -> None:
    before, png = dict(matplotlib.rcParams), evaluation.plot_curve()._repr_png_()
    with matplotlib.rc_context({"font.size": 22, "axes.facecolor": "red", "lines.linewidth": 9}):
        assert evaluation.plot_curve()._repr_png_() == png
    heat_map.heat_map(evaluation)
    assert dict(matplotlib.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def with_maps(evaluation: Evaluation, *maps) -> Evaluation:
    return replace(evaluation, heat_map=replace(evaluation.heat_map, maps=maps))


def test_heat_map_survives_missing_numbers_and_algorithms(evaluation, monkeypatch):
    never, _, adapted, _ = evaluation.heat_map.maps
    hole = ((None, *adapted.returns[0][1:]), *adapted.returns[1:])
    nan = ((float("nan"), *never.returns[0][1:]), *never.returns[1:])
    holes = with_maps(evaluation, replace(never, returns=nan), replace(adapted, returns=hole))
    equal = with_maps(evaluation, grid_map("maml", 0, np.full((5, 7), -1.0)))
    monkeypatch.setattr(plot_style, "_DPI", 50)
    for picture in (holes, equal):
        assert len(plot_style.png_bytes(heat_map.heat_map(picture))) > 1000


def test_errors_name_what_is_wrong(evaluation: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no training curve"):
        training_curve([])
    with pytest.raises(ValueError, match="2 numbers for 3"):
        replace(made_up_curves()[0], return_pre=(1, 2))
    with pytest.raises(ValueError, match="no map"):
        heat_map.heat_map(with_maps(evaluation))
    exploring = tuple(row for row in evaluation.rows if row.exploring)
    with pytest.raises(ValueError, match="deterministic"):
        adaptation_curve(replace(evaluation, rows=exploring))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [("maml",), ("domain_randomisation", "oracle", "random")])
def test_pictures_need_no_reference_and_nobody_who_adapts(names: tuple, monkeypatch) -> None:
    monkeypatch.setattr(plot_style, "_DPI", 50)
    for draw in ("adaptation_curve", "heat_map"):
        picture = DRAW[draw](without(made_up_evaluation(), *names))
        assert picture != DRAW[draw](made_up_evaluation())


def test_every_cell_tells_its_task_and_its_figures(evaluation):
    page, data = heat_map.page_heat_map(evaluation), evaluation.heat_map
    assert [(each["title"], each["note"]) for each in page["maps"]] == [
        ("domain randomisation", "never adapts"),
        ("MAML-TRPO", "before adapting"),
        ("MAML-TRPO", "after 5 episodes"),
        ("oracle", "observes the task"),
    ]
    first = data.maps[0]
    for row, cells in enumerate(reversed(page["maps"][0]["rows"])):  # upwards
        for column, cell in enumerate(cells):
            assert cell["success"] == f"{100 * first.success[row][column]:.0f}"
            written = f"return {first.returns[row][column]:.2f}".replace("-", "−")
            assert cell["figures"].endswith(written)
            assert f"block mass {data.x.values[column]:.3g} kg" in cell["figures"]
            assert f"pad friction {data.y.values[row]:.3g}:" in cell["figures"]


def test_the_box_is_the_training_range_on_the_scale_of_the_axes(evaluation):
    left, top, width, height = heat_map.page_heat_map(evaluation)["box"]
    # 7 cells of a third of a decade from 0.03 to 3, the first half a cell below 0.03.
    assert left == pytest.approx(100 * (0.5 + 3 * 0.5229) / 7, abs=0.05)
    assert width == pytest.approx(100 * 3 / 7, abs=0.05)
    # 5 cells of 0.2875 from 0.15 to 1.3; the training range is 0.25 to 1.
    assert top == pytest.approx(100 * (0.5 + 0.3 / 0.2875) / 5, abs=0.05)
    assert height == pytest.approx(100 * 0.75 / 0.2875 / 5, abs=0.05)


def test_a_task_without_a_number_is_grey(evaluation):
    data = evaluation.heat_map
    holes = tuple(tuple(None for _ in row) for row in data.maps[0].returns)
    maps = (replace(data.maps[0], returns=holes, success=holes), *data.maps[1:])
    page = heat_map.page_heat_map(replace(evaluation, heat_map=replace(data, maps=maps)))
    cell = page["maps"][0]["rows"][0][0]
    assert (cell["colour"], cell["success"]) == ("#9aa1ad", "")
    assert cell["figures"].endswith("success –, return –")
