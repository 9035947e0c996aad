"""What a notebook shows: tables, figures, films, and progress in one output."""

import io
import sys
from dataclasses import replace
from html.parser import HTMLParser
from types import ModuleType

import numpy as np
import pytest
from evaluations import made_up_evaluation, without
from rich.console import Console
from trained import TRAINED

import metarobot as mr
from metarobot.algorithms import train_config
from metarobot.console import StageDisplay, html_table
from metarobot.evaluation.table import Conditions
from metarobot.reporting.video import Film, write_film
from metarobot.training.progress import TrainingDisplay


class Text(HTMLParser):
    """The cells of a page; anything but a table is refused."""

    def __init__(self, html):
        super().__init__()
        self.cells = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        assert tag in ("p", "table", "thead", "tbody", "tr", "th", "td")
        assert "color" not in str(attrs)  # it must be legible, light and dark

    def handle_data(self, data):
        self.cells.append(data)


def test_text_from_outside_is_escaped():
    evil = "<script>alert(1)</script>"
    assert Text(html_table(evil, (evil, "b"), [(evil, "2")])).cells == [evil, evil, "b", evil, "2"]
    measured = replace(made_up_evaluation(), variant=Conditions(name=evil))
    assert f"Grip, {evil}: success, mean return" in Text(measured._repr_html_()).cells


def test_runs_policies_and_evaluations_are_small_tables():
    run = mr.load_run("grip")
    assert {*run, "yes", "no"} <= {*Text(run._repr_html_()).cells}
    assert {"metarobot/Grip-v0", "Policy of latent"} <= {*Text(run["latent"]._repr_html_()).cells}
    cells = Text(made_up_evaluation()._repr_html_()).cells
    assert cells[1:5] == ["policy", "Training", "Interpolation", "Extrapolation"]
    at = cells.index("MAML-TRPO, after 5 episodes")
    assert cells[at + 1] == "50\N{NO-BREAK SPACE}%, −1.26"


def test_the_summary_names_who_wins_and_where_it_fails():
    evaluation = made_up_evaluation()
    first, *lines = evaluation.summary().splitlines()
    assert first == "Grip, success after 5 episodes:"
    wins = "MAML-TRPO 50\N{NO-BREAK SPACE}% wins; domain randomisation 50\N{NO-BREAK SPACE}%"
    assert all(wins in line for line in lines[:3])
    assert lines[3].startswith("- After 5 episodes, MAML-TRPO ")
    never = "domain randomisation 50\N{NO-BREAK SPACE}% wins"
    assert never in without(evaluation, "maml").summary()


def test_figures_are_those_of_the_report_and_a_notebook_shows_them(tmp_path):
    evaluation = made_up_evaluation()
    for figure in (evaluation.plot_curve(), evaluation.plot_heat_map()):
        assert figure._repr_png_().startswith(b"\x89PNG")
        figure.savefig(tmp_path / "figure.pdf")
    with pytest.raises(ValueError, match="no map to draw"):
        replace(evaluation, heat_map=None).plot_heat_map()


@pytest.mark.parametrize(
    ("name", "tag"), [("f.mp4", "<video"), ("f.webp", "<img"), ("f.gif", "<img")]
)
def test_a_film_is_a_path_and_shows_itself_while_it_is_there(tmp_path, name, tag):
    rng = np.random.default_rng(0)
    write_film(rng.integers(0, 255, (4, 48, 64, 3), np.uint8), tmp_path / name, 10.0)
    film = Film(
        path=tmp_path / name, tasks=({},), returns={0: -1.0, 5: 1.0}, successes={0: 0, 5: 1}
    )
    with open(film, "rb") as file:
        assert len(file.read()) == film.path.stat().st_size
    assert film._repr_html_().startswith(tag)
    assert repr(film).endswith("return -1.00 -> 1.00)")
    film.path.unlink()
    assert film._repr_html_() is None


@pytest.fixture
def shown(monkeypatch):
    """Outputs of a notebook's cell: each a list of what was drawn there."""
    outputs = []

    class Handle:
        def __init__(self, drawn):
            self.drawn = [drawn]

        def update(self, drawn):
            self.drawn.append(drawn)

    def display(drawn, display_id):
        assert display_id
        outputs.append(Handle(drawn))
        return outputs[-1]

    module = ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("metarobot.console._INTERVAL_S", 0.0)
    return outputs


def text_of(drawn):
    assert "<pre" in drawn._repr_mimebundle_((), ())["text/html"]
    console = Console(file=io.StringIO(), width=120, force_jupyter=False)
    console.print(drawn)
    return console.file.getvalue()


def test_progress_is_one_output_drawn_again(shown, capsys):
    with StageDisplay() as stages:
        stages("first stage", 0.5)
        stages("second stage", 1.0)
    (bar,) = shown
    assert "second stage" in text_of(bar.drawn[-1])
    with TrainingDisplay(TRAINED[:1], 300) as display:
        display.begin(train_config(algorithm=TRAINED[0], total_steps=300), 0)
        display.finishing(1.0)
        display.end()
    assert len(shown) == 2
    assert len(shown[1].drawn) > 2
    assert TRAINED[0].replace("_", " ") in text_of(shown[1].drawn[-1])
    assert capsys.readouterr() == ("", "")


def test_adapting_shows_a_bar(shown, capsys):
    import gymnasium as gym

    mr.load_policy("slide", "maml").adapt(gym.make("metarobot/Slide-v0"), episodes=2)
    assert "adapting: episode 2 of 2, return" in text_of(shown[0].drawn[-1])
    assert capsys.readouterr() == ("", "")
