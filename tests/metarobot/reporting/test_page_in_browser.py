"""The report in a browser: quick, without a complaint, without a request, by mouse and keyboard."""

import numpy as np
import pytest
from browser import MISSING, Browser
from evaluations import made_up_evaluation

from metarobot.reporting.figures import adaptation_curve
from metarobot.reporting.films import Film, WorstFilms
from metarobot.reporting.report import Origin, render_report
from metarobot.reporting.video import mp4_bytes

MOST_S = 2.0
"""From opening a report to reading and clicking in it."""
FIRST_CELL = "document.querySelector('.cells label')"
SHOWN = (
    "[...document.querySelectorAll('.cells span')].filter(s => getComputedStyle(s).opacity == 1)"
)

pytestmark = [
    pytest.mark.stress,
    pytest.mark.skipif(MISSING, reason="needs Chromium and bash"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """An open report with everything in it, and after how many seconds it was interactive."""
    folder = tmp_path_factory.mktemp("page")
    evaluation = made_up_evaluation()
    black = [np.zeros((48, 64, 3), np.uint8)] * 5
    films = WorstFilms({0: Film(mp4_bytes(black, 10), b"\xff\xd8\xff\xd9")})
    pictures = {"adaptation_curve": adaptation_curve(evaluation)}
    html = render_report(evaluation, pictures, mp4_bytes(black, 10), Origin(), films)
    (folder / "report.html").write_text(html, encoding="utf-8")
    with Browser(folder / "profile") as browser:
        seconds = browser.open((folder / "report.html").as_uri())
        yield browser, seconds


def test_it_is_interactive_soon_and_complains_of_nothing(page):
    browser, seconds = page
    assert seconds < MOST_S
    assert browser.complaints == []
    assert [url.rpartition("/")[2] for url in browser.requests] == ["report.html"]


def test_the_figures_of_a_cell_show_when_it_is_focused_and_arrow_keys_move_on(page):
    browser, _ = page
    assert browser.evaluate(f"{SHOWN}.length") == 0
    browser.evaluate(f"{FIRST_CELL}.querySelector('input').focus()")
    first = browser.evaluate(f"{SHOWN}.map(s => s.textContent).join()")
    assert first.startswith("block mass 0.03 kg, pad friction 1.3: success")
    browser.press("ArrowRight")
    second = browser.evaluate(f"{SHOWN}.map(s => s.textContent).join()")
    assert second.startswith("block mass 0.0646 kg, pad friction 1.3: success")
    browser.press("Tab")  # one stop a map
    index = (
        "[...document.querySelectorAll('.map')].findIndex(m => m.contains(document.activeElement))"
    )
    assert browser.evaluate(index) == 1


@pytest.mark.parametrize("width_px", [390, 1280])
def test_no_page_is_wider_than_its_window(page, width_px):
    browser, _ = page
    size = {"width": width_px, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.ask("Emulation.setDeviceMetricsOverride", **size)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width_px
