"""One battery over every picture of an evaluation: of adaptation, of training, and the heat map."""

import copy
import io
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from evaluations import (
    changed,
    grid_map,
    made_up_evaluation,
    rows_of,
    with_another,
    with_captured,
    with_rows,
    without,
)
from PIL import Image

from metarobot.algorithms import ALGORITHMS, train_config
from metarobot.evaluation.statistics import Interval
from metarobot.evaluation.table import Evaluation
from metarobot.reporting import figures, heat_map
from metarobot.reporting import report as folder
from metarobot.reporting import style as plot_style
from metarobot.reporting.figures import (
    PICTURES,
    PanelRow,
    TrainingCurve,
    adaptation_curve,
    further_blocks,
    mark_the_lowest,
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
    "heat_map_success": lambda evaluation: heat_map.heat_map(evaluation, "success"),
    **{
        each.name: lambda evaluation, each=each: each.draw(evaluation, made_up_curves())
        for each in PICTURES
    },
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
    before, png = dict(matplotlib.rcParams), adaptation_curve(evaluation)
    with matplotlib.rc_context({"font.size": 22, "axes.facecolor": "red", "lines.linewidth": 9}):
        assert adaptation_curve(evaluation) == png
    heat_map.heat_map(evaluation)
    assert dict(matplotlib.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def with_maps(evaluation: Evaluation, *maps) -> Evaluation:
    return replace(evaluation, heat_map=replace(evaluation.heat_map, maps=maps))


def test_heat_map_survives_missing_numbers_and_algorithms(evaluation: Evaluation) -> None:
    never, _, adapted, _ = evaluation.heat_map.maps
    hole = ((None, *adapted.returns[0][1:]), *adapted.returns[1:])
    nan = ((float("nan"), *never.returns[0][1:]), *never.returns[1:])
    holes = with_maps(evaluation, replace(never, returns=nan), replace(adapted, returns=hole))
    equal = with_maps(evaluation, grid_map("maml", 0, np.full((5, 7), -1.0)))
    for picture in (holes, equal):
        assert len(heat_map.heat_map(picture)) > 10_000


@pytest.mark.parametrize(("shift", "verb"), [(0.5, "beats"), (-0.5, "loses to"), (0.0, "equals")])
def test_heat_map_title_says_who_wins(evaluation: Evaluation, shift: float, verb: str) -> None:
    never = np.array(evaluation.heat_map.maps[0].returns)
    maps = {("domain_randomisation", 0): never, ("maml", 0): never - 9, ("maml", 5): never + shift}
    title = heat_map._heat_map_title(evaluation, maps, "return")
    assert title.startswith(f"Grip: MAML-TRPO after 5 episodes {verb} domain randomisation")
    assert title.endswith(f"{plot_style.number(-2.0 + shift)} against −2.00")


def test_cell_edges_by_hand() -> None:
    np.testing.assert_allclose(heat_map.edges([1.0, 2.0, 4.0], log=False), [0.5, 1.5, 3.0, 5.0])
    np.testing.assert_allclose(
        heat_map.edges([1.0, 100.0], log=True), [0.1, 10.0, 1000.0]
    )  # half a step on each side, in the logarithm


def test_errors_name_what_is_wrong(evaluation: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'reward'"):
        heat_map.heat_map(evaluation, quantity="reward")
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


def test_every_policy_has_its_place_in_every_picture(evaluation: Evaluation) -> None:
    draw = [DRAW["adaptation_curve"], DRAW["heat_map"]]
    few = [picture(evaluation) for picture in draw]
    both = with_another(evaluation)
    many = [picture(both) for picture in draw]
    assert all(one != two for one, two in zip(few, many, strict=True))
    assert drawn_rows(evaluation) == [
        [("domain_randomisation", 0), ("maml", 0), ("maml", 5), ("oracle", 0)]
    ]
    assert drawn_rows(both) == [
        [("domain_randomisation", 0), ("oracle", 0)],
        [("maml", 0), ("maml", 5)],
        [("promp", 0), ("promp", 5)],
    ]


def drawn_rows(evaluation: Evaluation) -> list[list[tuple[str, int]]]:
    rows = heat_map._rows(evaluation, evaluation.heat_map.maps)
    return [[(panel.algorithm, panel.adaptation_episodes) for panel in row] for row in rows]


def test_many_learners_have_a_heat_map_each_after_the_most_episodes(evaluation: Evaluation) -> None:
    names = ("promp", "anil", "fomaml", "reptile")
    for name in names:
        evaluation = with_another(evaluation, name)
    first, second = drawn_rows(evaluation)
    assert {*first, *second} == {
        ("domain_randomisation", 0),
        ("oracle", 0),
        *((name, 5) for name in ("maml", *names)),
    }
    assert (len(first), len(second)) == (4, 3)


@pytest.mark.parametrize("num_columns", [1, 4])
def test_the_headings_of_all_panels_are_of_one_size(num_columns: int) -> None:
    figure = plot_style.make_figure(440)
    panels = figure.subplots(1, num_columns, squeeze=False)[0]
    figure.subplots_adjust(left=heat_map._LEFT, right=heat_map._RIGHT, wspace=heat_map._BETWEEN)
    titles = [each.title for each in ALGORITHMS.values()]
    for axes in panels:
        for title in titles:
            plot_style.panel_heading(axes, title, "mean −2.00", "black")
            heading, _ = axes.texts[-2:]
            assert heading.get_fontsize() == plot_style.HEADING_SIZE
            assert heading.get_text().split() == title.split()
            assert heading.get_window_extent().width <= axes.bbox.width


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ("domain randomisation with memory", "domain randomisation\nwith memory"),
        ("a long", "a\nlong"),
        ("identification", "identification"),
        ("", ""),
    ],
)
def test_a_heading_breaks_where_its_lines_are_most_alike(words: str, lines: str) -> None:
    assert plot_style.in_two_lines(words) == lines


@pytest.mark.parametrize(
    ("used", "labels"),
    [
        ([0, 1, 2, 5, 10, 20, 40], ["0", "1", "2", "5", "10", "20", "40"]),
        ([0, 20, 40, 60, 80], ["0", "20", "40", "", "80"]),
        ([0, 18, 19, 20], ["0", "", "", "20"]),
        ([0], ["0"]),
    ],
)
def test_numbers_below_the_axis_do_not_touch(used: list[int], labels: list[str]) -> None:
    assert figures._labels(used) == labels


def test_success_is_drawn_where_there_is_room(evaluation: Evaluation) -> None:
    """In two rows of panels for one learner, in one row each for three."""

    def failing(picture: Evaluation) -> Evaluation:
        return with_rows(picture, lambda row: True, success=Interval(0.1, 0.0, 0.2))

    many = with_another(with_another(evaluation), "anil")
    assert adaptation_curve(failing(evaluation)) != adaptation_curve(evaluation)
    assert adaptation_curve(failing(many)) == adaptation_curve(many)


@pytest.mark.parametrize("names", [("maml",), ("domain_randomisation", "oracle", "random")])
@pytest.mark.parametrize("draw", ["adaptation_curve", "heat_map"])
def test_pictures_need_no_reference_and_nobody_who_adapts(
    evaluation: Evaluation, names: tuple, draw: str
) -> None:
    assert len(DRAW[draw](without(evaluation, *names))) > 10_000


def subtitle(evaluation: Evaluation, monkeypatch) -> str:
    said = []
    monkeypatch.setattr(figures, "write_title", lambda figure, title, below: said.append(below))
    adaptation_curve(evaluation)
    return said[0]


def test_the_words_above_the_curves_are_of_what_is_there(evaluation: Evaluation, monkeypatch):
    assert "Percentages: headroom captured." in subtitle(evaluation, monkeypatch)
    assert "Open dots" not in subtitle(evaluation, monkeypatch)
    alone = without(evaluation, "domain_randomisation", "oracle")
    unknown = with_captured(alone, None)
    assert subtitle(unknown, monkeypatch) == "Deterministic episodes, 95 % intervals. "
    assert "Open dots: blocks of 20." in subtitle(with_second_block(evaluation), monkeypatch)


def with_second_block(evaluation: Evaluation) -> Evaluation:
    last = evaluation.curves["maml", "train"][-1]
    more = changed(last, episodes=40, blocks=2)
    return replace(evaluation, rows=(*evaluation.rows, more))


def test_several_blocks_begin_where_one_block_ends(evaluation: Evaluation) -> None:
    assert further_blocks(evaluation, "maml", "train") == ()
    further = further_blocks(with_second_block(evaluation), "maml", "train")
    assert [(row.episodes, row.blocks) for row in further] == [(20, 1), (40, 2)]


@pytest.mark.parametrize(("floor", "told"), [(-2.0, ["↓ −2.30"]), (-2.4, [])])
def test_a_curve_that_leaves_its_panel_says_how_far(evaluation: Evaluation, floor, told) -> None:
    axes = plot_style.make_figure(200).subplots()
    axes.set_ylim(floor, 0.0)
    curve = evaluation.curves["maml", "train"]
    mark_the_lowest(axes, curve, PanelRow("maml", success=False), "#0072b2")
    assert [text.get_text() for text in axes.texts] == told


@pytest.mark.parametrize(("means", "lowest"), [((-9.0, -2.0), -6.0), ((-9.0, -8.0), -9.3)])
def test_the_best_point_of_a_learner_is_in_its_panel(evaluation: Evaluation, means, lowest) -> None:
    """Random actions reach -6: a curve may begin below, but does not vanish."""
    others = [row for row in evaluation.rows if row.algorithm != "maml"]
    lost = replace(evaluation, rows=(*others, *rows_of("maml", dict(enumerate(means)))))
    low, high = figures._return_limits(lost, [PanelRow("maml", success=False)])
    assert lowest < low < max(means) < high


def test_no_heading_is_wider_than_its_panel() -> None:
    figure = plot_style.make_figure(300)
    for axes in figure.subplots(1, 4):
        plot_style.panel_heading(axes, "domain randomisation with memory", 60 * "x", "#0072b2")
        plot_style.write_heading(axes, "domain randomisation with memory", "#0072b2")
        texts = (*axes.texts, axes.title)
        assert all(text.get_window_extent().width <= axes.bbox.width for text in texts)


@pytest.mark.parametrize("num_iterations", [7, 100, 101, 1600])
def test_a_line_of_many_meta_iterations_has_few_points_with_the_same_mean(num_iterations) -> None:
    values = np.arange(num_iterations, dtype=float)
    steps, returns = figures._mean([(values, values), (values, -3 * values), (values, 8 * values)])
    assert len(steps) == len(returns) <= 100
    np.testing.assert_allclose(returns, 2 * steps)
    assert len(steps) == num_iterations or steps[0] == values[: -(-num_iterations // 100)].mean()


def test_a_training_curve_is_of_the_last_episodes_and_those_before_adapting(monkeypatch) -> None:
    """Latent is told the task in the last ones, and another task before: no adaptation yet."""
    log = {"total_steps": [1.0, 2.0], "pre_return": [-9.0, -8.0], "post_return": [-2.0, -1.0]}
    monkeypatch.setattr(folder, "load_curve", lambda *_: log)
    names = ("maml", "latent", "rl2", "domain_randomisation")
    policies = {name: SimpleNamespace(config=train_config(algorithm=name)) for name in names}
    found = folder._curves(SimpleNamespace(path=Path(), policies=policies))
    assert [curve.return_post for curve in found] == 4 * [(-2.0, -1.0)]
    assert [curve.return_pre for curve in found] == [(-9.0, -8.0), None, None, None]


def test_words_and_numbers() -> None:
    assert plot_style.parameter_label("joint_friction_nm", "N m") == "joint friction [N m]"
    assert plot_style.parameter_label("block_mass_kg", "kg") == "block mass [kg]"
    assert plot_style.parameter_label("pad_friction", "1") == "pad friction"
    assert plot_style.family_title("metarobot/Grip-v0") == "Grip"
    assert plot_style.family_title("metarobot/ReachHiddenGoal-v0") == "Reach hidden goal"
    assert [plot_style.number(value) for value in (-1.234, -0.001, None, float("nan"))] == [
        "−1.23",
        "0.00",
        "–",
        "–",
    ]
    assert plot_style.percent(-0.061) == "−6\N{NO-BREAK SPACE}%"


def test_every_cell_tells_its_task_and_its_figures(evaluation):
    page, data = heat_map.page_heat_map(evaluation), evaluation.heat_map
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
    left, top, width, height = heat_map.page_heat_map(evaluation).box
    # 7 cells of a third of a decade from 0.03 to 3, the first half a cell below 0.03.
    assert left == pytest.approx(100 * (0.5 + 3 * 0.5229) / 7, abs=0.05)
    assert width == pytest.approx(100 * 3 / 7, abs=0.05)
    # 5 cells of 0.2875 from 0.15 to 1.3; the training range is 0.25 to 1.
    assert top == pytest.approx(100 * (0.5 + 0.3 / 0.2875) / 5, abs=0.05)
    assert height == pytest.approx(100 * 0.75 / 0.2875 / 5, abs=0.05)


def test_letters_stand_out_from_their_cell(evaluation):
    cells = [
        cell
        for each in heat_map.page_heat_map(evaluation).maps
        for row in each.rows
        for cell in row
    ]
    for cell in cells:
        shade = sum(int(cell.colour[i : i + 2], 16) for i in (1, 3, 5)) / 3
        assert (cell.ink == "#000000") == (shade > 128) or 80 < shade < 160
    assert {cell.ink for cell in cells} == {"#000000", "#ffffff"}


def test_a_task_without_a_number_is_grey(evaluation):
    data = evaluation.heat_map
    holes = tuple(tuple(None for _ in row) for row in data.maps[0].returns)
    maps = (replace(data.maps[0], returns=holes, success=holes), *data.maps[1:])
    page = heat_map.page_heat_map(replace(evaluation, heat_map=replace(data, maps=maps)))
    cell = page.maps[0].rows[0][0]
    assert (cell.colour, cell.success) == ("#9aa1ad", "")
    assert cell.figures.endswith("success –, return –")


def test_without_a_map_there_is_none(evaluation):
    assert heat_map.page_heat_map(replace(evaluation, heat_map=None)) is None
