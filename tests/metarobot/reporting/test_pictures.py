"""One battery over every picture of an evaluation: curves.py, heat_map.py and plot_style.py."""

import copy
import io
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from metarobot.reporting import curves, heat_map
from metarobot.reporting import style as plot_style


def row(split: str, algorithm: str, steps: int, mean: float, exploration: bool = False) -> dict:
    interval = [mean - 0.2, mean + 0.2]
    return {
        "split": split,
        "algorithm": algorithm,
        "adaptation_steps": steps,
        "episodes_used": 20 * steps,
        "exploration": exploration,
        "return_mean": mean,
        "return_mean_ci": interval,
        "return_iqm": mean,
        "return_iqm_ci": interval,
        "success": 0.5,
        "success_ci": [0.4, 0.6],
        "num_seeds": 2,
        "num_tasks": 10,
    }


def axis(name: str, unit: str, values: np.ndarray, train: list[float], log: bool) -> dict:
    return {"name": name, "unit": unit, "values": values.tolist(), "train": train, "log": log}


@pytest.fixture
def evaluation() -> dict:
    algorithms = [("random", 0, -6.0), ("domain_randomisation", 0, -2.0), ("oracle", 0, -1.0)]
    algorithms += [("maml", 0, -2.1), ("maml", 1, -1.4), ("maml", 2, -1.2)]
    x = axis("block_mass_kg", "kg", np.geomspace(0.03, 3.0, 7), [0.1, 1.0], True)
    y = axis("pad_friction", "", np.linspace(0.15, 1.3, 5), [0.25, 1.0], False)
    slope = np.linspace(-3.0, -1.0, 35).reshape(5, 7)
    shifts = [
        *(("domain_randomisation", 0, 0.0), ("maml", 0, -0.3)),
        *(("maml", 1, 0.5), ("oracle", 0, 1.0)),
    ]
    return {
        "family": "metarobot/Grip-v0",
        "episodes_per_adaptation_step": 20,
        "num_adaptation_steps": 2,
        "task_parameters": [
            {"name": "block_mass_kg", "gaps": [[0.3, 0.4]]},
            {"name": "pad_friction", "gaps": [[0.5, 0.6]]},
        ],
        "rows": [
            row(split, *algorithm) for split in plot_style.SPLIT_TITLES for algorithm in algorithms
        ],
        "headroom": [
            {
                "split": split,
                "algorithm": "maml",
                "captured": [-0.1, 0.6, None],
                "headroom_ci": [0.9, 1.1],
                "oracle": -1.0,
                "random": -6.0,
            }
            for split in plot_style.SPLIT_TITLES
        ],
        "heat_map": {
            "x": x,
            "y": y,
            "maps": [
                {
                    "algorithm": name,
                    "adaptation_steps": steps,
                    "return": (slope + shift).tolist(),
                    "success": (slope + shift > -1.5).astype(float).tolist(),
                }
                for name, steps, shift in shifts
            ],
        },
    }


def made_up_curves() -> list[dict]:
    steps = [1000, 2000, 3000]
    return [
        {
            "algorithm": "domain_randomisation",
            "simulation_steps": steps,
            "return_pre": [-5, -3, -2],
        },
        *(
            {
                "algorithm": "maml",
                "simulation_steps": steps,
                "return_pre": [-5, -3.5, -2.1 - seed],
                "return_post": [-5, -3, -1.2 - seed],
            }
            for seed in (0, 1)
        ),
    ]


DRAW = {
    "adaptation_curve": lambda evaluation: curves.adaptation_curve(evaluation),
    "heat_map": lambda evaluation: heat_map.heat_map(evaluation),
    "heat_map_success": lambda evaluation: heat_map.heat_map(evaluation, "success"),
    "training_curve": lambda evaluation: curves.training_curve(made_up_curves()),
}


@pytest.mark.parametrize("name", DRAW)
def test_png_is_valid_deterministic_and_anonymous(
    name: str, evaluation: dict, tmp_path: Path
) -> None:
    before = copy.deepcopy(evaluation)
    png, again = DRAW[name](evaluation), DRAW[name](evaluation)
    assert evaluation == before
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert image.width == 1800
        assert 700 <= image.height <= 1000
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


def test_global_state_is_left_alone(evaluation: dict, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    heat_map.heat_map(evaluation)
    assert dict(matplotlib.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_user_style_does_not_change_the_picture(evaluation: dict, tmp_path: Path) -> None:
    png = curves.adaptation_curve(evaluation)
    with matplotlib.rc_context({"font.size": 22, "axes.facecolor": "red", "lines.linewidth": 9}):
        assert curves.adaptation_curve(evaluation) == png


def test_heat_map_survives_missing_numbers_and_algorithms(evaluation: dict, tmp_path: Path) -> None:
    never, _, adapted, _ = evaluation["heat_map"]["maps"]
    evaluation["heat_map"]["maps"] = [never, adapted]
    adapted["return"][0][0] = None
    never["return"][1][1] = float("nan")
    assert len(heat_map.heat_map(evaluation)) > 10_000


def test_heat_map_of_equal_numbers(evaluation: dict, tmp_path: Path) -> None:
    for entry in evaluation["heat_map"]["maps"]:
        entry["return"] = [[-1.0] * 7] * 5
        entry["success"] = [[1.0] * 7] * 5
    heat_map.heat_map(evaluation)
    heat_map.heat_map(evaluation, quantity="success")


@pytest.mark.parametrize(("shift", "verb"), [(0.5, "beats"), (-0.5, "loses to"), (0.0, "equals")])
def test_heat_map_title_says_who_wins(evaluation: dict, shift: float, verb: str) -> None:
    never = np.array(evaluation["heat_map"]["maps"][0]["return"])
    maps = {("domain_randomisation", 0): never, ("maml", 1): never + shift}
    title = heat_map._heat_map_title(evaluation, maps, "return")
    assert title.startswith(f"Grip: one adaptation step {verb} domain randomisation")
    assert title.endswith(f"{plot_style.number(-2.0 + shift)} against −2.00")


def test_cell_edges_by_hand() -> None:
    np.testing.assert_allclose(heat_map._edges([1.0, 2.0, 4.0], log=False), [0.5, 1.5, 3.0, 5.0])
    np.testing.assert_allclose(
        heat_map._edges([1.0, 100.0], log=True), [0.1, 10.0, 1000.0]
    )  # half a step on each side, in the logarithm


def test_errors_name_what_is_wrong(evaluation: dict, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'reward'"):
        heat_map.heat_map(evaluation, quantity="reward")
    with pytest.raises(ValueError, match="no training curve"):
        curves.training_curve([])
    with pytest.raises(ValueError, match="2 numbers for 3"):
        curves.training_curve([made_up_curves()[0] | {"return_pre": [1, 2]}])
    evaluation["heat_map"]["maps"] = []
    with pytest.raises(ValueError, match="no map"):
        heat_map.heat_map(evaluation)
    evaluation["rows"] = [row("train", "oracle", 0, -1.0, exploration=True)]
    with pytest.raises(ValueError, match="deterministic"):
        curves.adaptation_curve(evaluation)
    assert list(tmp_path.iterdir()) == []


def with_another(evaluation: dict) -> dict:
    """Return the evaluation with a second algorithm, which does as the first."""
    for table in (evaluation["rows"], evaluation["headroom"], evaluation["heat_map"]["maps"]):
        table += [{**row, "algorithm": "promp"} for row in table if row["algorithm"] == "maml"]
    return evaluation


def without(evaluation: dict, *names: str) -> dict:
    """Return the evaluation without some policies, and so without what they are a measure of."""
    evaluation["headroom"] = []
    for table in (evaluation["rows"], evaluation["heat_map"]["maps"]):
        table[:] = [row for row in table if row["algorithm"] not in names]
    return evaluation


def test_every_policy_has_its_place_in_every_picture(evaluation: dict) -> None:
    draw = [DRAW["adaptation_curve"], DRAW["heat_map"]]
    few = [picture(evaluation) for picture in draw]
    both = with_another(evaluation)
    many = [picture(both) for picture in draw]
    assert all(one != two for one, two in zip(few, many, strict=True))
    panels = heat_map._panels(both["heat_map"]["maps"])
    learners = [("maml", 1), ("promp", 1)]
    assert sorted(panels) == sorted([("domain_randomisation", 0), ("oracle", 0), *learners])


@pytest.mark.parametrize("names", [("oracle",), ("domain_randomisation", "oracle", "random")])
@pytest.mark.parametrize("draw", ["adaptation_curve", "heat_map"])
def test_pictures_need_no_reference(evaluation: dict, names: tuple, draw: str) -> None:
    assert len(DRAW[draw](without(evaluation, *names))) > 10_000


def test_pictures_need_nobody_who_adapts(evaluation: dict) -> None:
    for draw in ("adaptation_curve", "heat_map"):
        assert len(DRAW[draw](without(copy.deepcopy(evaluation), "maml"))) > 10_000


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
