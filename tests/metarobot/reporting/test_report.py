import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from evaluations import (
    curves_of,
    headroom,
    made_up_evaluation,
    with_another,
    with_captured,
    with_headroom,
    without,
)
from hypothesis import given
from hypothesis import strategies as st

from metarobot.evaluation.result import Conditions, Evaluation
from metarobot.evaluation.statistics import Interval
from metarobot.reporting.report import Origin, render_report
from metarobot.reporting.verdicts import verdicts

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def evaluation() -> Evaluation:
    return made_up_evaluation()


@pytest.fixture
def pictures() -> dict[str, bytes]:
    return dict.fromkeys(("heat_map", "adaptation_curve", "training_curve"), PIXEL)


ORIGIN = Origin(
    commands=("metarobot train grip --seed 1", "metarobot evaluate runs/grip"),
    facts={"git_revision": "4f2a9c1", "versions.mujoco": "4.0.0"},
)


class Page(HTMLParser):
    """Collects what a browser would load, the order of elements, and unbalanced tags."""

    VOID = ("meta", "img", "br", "hr", "link", "input")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "poster")]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_loads_nothing_and_holds_everything(
    evaluation: Evaluation, pictures: dict, tmp_path: Path
) -> None:
    html = render_report(evaluation, pictures, b"not really a video", ORIGIN)
    page = Page(html)
    assert page.open == []
    assert len(page.loads) == 4
    assert all(re.match(r"data:(image/png|video/mp4);base64,", load) for load in page.loads)
    assert "http://" not in html
    assert "https://" not in html
    assert "url(" not in html
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert all(len(image["alt"] or "") > 20 for image in page.images)
    assert page.tags.index("video") < page.tags.index("img") < page.tags.index("table")
    assert base64.b64encode(b"not really a video").decode() in html


def test_page_shows_the_numbers(evaluation: Evaluation, pictures: dict) -> None:
    html = render_report(evaluation, pictures, None, ORIGIN)
    for text in (
        "before adapting",
        "after 1 step",
        "−1.26<small>[−1.46, −1.06]</small>",
        "74\N{NO-BREAK SPACE}%<small>[68, 80]</small>",
        "block mass [kg]",
        "0.03 to 0.1, 1 to 3",
        "log-uniform",
        "Deterministic episodes",
        "Exploring episodes",
        "40 tasks a split for each of 3 training seeds",
        "episodes_per_step",
        "versions.mujoco",
        "metarobot train grip --seed 1",
    ):
        assert text in html, text
    assert "<video" not in html


def test_malicious_strings_are_escaped(evaluation: Evaluation, pictures: dict) -> None:
    attack = '<script>alert("x")</script>'
    parameter = replace(
        evaluation.task_parameters[0], name=attack, description=attack, unit='"><img src=x>'
    )
    attacked = replace(
        evaluation,
        family=attack,
        created=attack,
        variant=Conditions(name=attack, description=attack, settings={attack: attack}),
        task_parameters=(parameter,),
    )
    origin = Origin(commands=(attack,), facts={attack: attack})
    html = render_report(attacked, pictures, None, origin)
    assert "<script" not in html
    assert "<img src=x" not in html
    assert html.count("&lt;script&gt;") >= 7
    assert Page(html).open == []


def test_page_without_pictures_or_facts(evaluation: Evaluation) -> None:
    html = render_report(evaluation, {}, None, Origin())
    assert "<img" not in html
    assert "Run again" not in html


def verdict(evaluation: Evaluation, **changes) -> str:
    changed = with_headroom(evaluation, headroom("extrapolation", **changes))
    (sentence,) = verdicts(changed)
    return sentence.replace("\N{NO-BREAK SPACE}", " ")


def captured(evaluation: Evaluation, share: float, low: float, high: float) -> Evaluation:
    return with_captured(evaluation, Interval(share, low, high))


def test_verdict_of_a_success(evaluation: Evaluation) -> None:
    assert verdict(evaluation) == (
        "On tasks beyond the training range, one adaptation step of 20 episodes closes 74 % "
        "[68, 80] of the gap between domain randomisation and the oracle. "
        "Before adapting it stood at −10 %."
    )


def test_verdict_where_domain_randomisation_wins(evaluation: Evaluation) -> None:
    sentence = verdict(captured(evaluation, -0.4, -0.6, -0.2))
    assert "domain randomisation wins" in sentence
    assert "closes" not in sentence


def test_verdict_within_the_noise(evaluation: Evaluation) -> None:
    assert "no measurable difference" in verdict(captured(evaluation, 0.1, -0.2, 0.4))


def test_verdict_past_the_oracle(evaluation: Evaluation) -> None:
    assert "no upper bound" in verdict(captured(evaluation, 1.3, 1.1, 1.5))


def test_verdict_without_headroom(evaluation: Evaluation) -> None:
    lost = with_captured(evaluation, None)
    sentence = verdict(lost, gap=Interval(0.01, -0.1, 0.1))
    assert "no measurable gap" in sentence
    assert "0.01 [−0.10, 0.10]" in sentence
    assert "nan" not in sentence
    assert "nan" not in render_report(lost, {}, None, Origin())


def test_verdict_where_the_oracle_is_worse(evaluation: Evaluation) -> None:
    sentence = verdict(with_captured(evaluation, None), gap=Interval(-0.5, -0.7, -0.3))
    assert "domain randomisation scores above the oracle" in sentence
    assert "after one adaptation step −1.26" in sentence


@pytest.mark.parametrize("dust", [0.0, 1e-15, -1e-15, -0.004])
@pytest.mark.parametrize("returns", [-2.0, 0.0, 500.0])
def test_verdict_where_domain_randomisation_equals_the_oracle(evaluation, dust, returns):
    ends = {"domain_randomisation": returns, "oracle": returns + dust, "random": returns - 1.0}
    nothing = captured(evaluation, 1e15, 0.9e15, 1.1e15)  # what a division by dust may give
    sentence = verdict(nothing, **ends, gap=Interval(dust, dust, dust))
    assert "there is no measurable gap between domain randomisation and the oracle" in sentence
    assert "above" not in sentence


BOUND = st.floats(-3.0, 3.0)
EVALUATION = made_up_evaluation()


@given(st.lists(BOUND, min_size=3, max_size=3), st.lists(BOUND, min_size=3, max_size=3))
def test_no_verdict_contradicts_the_numbers_that_it_shows(shares, gaps):
    (low, share, high), (gap_low, gap, gap_high) = sorted(shares), sorted(gaps)
    changes = {"gap": Interval(gap, gap_low, gap_high), "domain_randomisation": -1.0 - gap}
    entry = headroom("train", **changes)
    (sentence,) = verdicts(with_headroom(captured(EVALUATION, share, low, high), entry))
    shown = re.findall(r"[−\d.]+", sentence[sentence.index("[") : sentence.index("]")])
    shown_low, shown_high = (float(bound.replace("−", "-")) for bound in shown)
    sayings = {
        "domain randomisation wins": shown_high < 0.0,
        "no measurable difference": shown_low <= 0.0 <= shown_high,
        "passes the oracle": shown_low > 100.0,
        "closes": 0.0 < shown_low <= 100.0,
        "scores above the oracle": shown_high < 0.0,
        "no measurable gap": shown_low <= 0.0 <= shown_high,
    }
    (said,) = (saying for saying in sayings if saying in sentence)
    assert sayings[said], sentence


def test_verdict_where_the_oracle_is_lost_itself(evaluation: Evaluation) -> None:
    sentence = verdict(captured(evaluation, 4.3, 3.8, 5.0), random=-0.9)
    assert "the oracle does no better than random actions" in sentence
    assert "430" not in sentence


def test_verdict_on_small_headroom(evaluation: Evaluation) -> None:
    sentence = verdict(evaluation, gap=Interval(0.25, 0.2, 0.3))
    assert sentence.endswith(
        "The gap itself is small: 5 % of the distance from random actions to the oracle."
    )


def test_verdict_without_adaptation_steps(evaluation: Evaluation) -> None:
    others = [curve for curve in evaluation.curves if curve.algorithm != "maml"]
    curves = (*others, *curves_of("maml", [-2.1]))
    assert "no adaptation step was evaluated" in verdict(replace(evaluation, curves=curves))


def test_verdicts_speak_of_held_out_splits(evaluation: Evaluation) -> None:
    sentences = verdicts(evaluation)
    assert len(sentences) == 2
    assert "gaps held out" in sentences[0]
    only = with_headroom(evaluation, headroom("train"))
    assert "new tasks from the training range" in verdicts(only)[0]


def test_every_algorithm_has_its_verdict_and_its_lines(evaluation: Evaluation) -> None:
    evaluation = with_another(evaluation)
    sentences = verdicts(evaluation)
    assert [sentence.split(":")[0] for sentence in sentences] == 2 * ["MAML-TRPO", "ProMP"]
    html = render_report(evaluation, {}, None, Origin())
    for name in ("MAML-TRPO", "ProMP"):
        assert html.count(f">{name}, after 1 step</th>") == 6
        assert f"Extrapolation, {name}" in html
    assert Page(html).open == []


def test_without_references_the_report_says_what_cannot_be_told(evaluation: Evaluation) -> None:
    evaluation = without(evaluation, "random", "domain_randomisation", "oracle")
    *changes, missing = verdicts(evaluation)
    assert changes[0] == (
        "On new tasks from the training range, one adaptation step of MAML-TRPO takes the mean "
        "return from −2.10 to −1.26."
    )
    assert len(changes) == 3
    assert "no domain randomisation and no oracle" in missing
    html = render_report(evaluation, {}, None, Origin())
    assert "Headroom and" not in html
    assert "nan" not in html


def test_without_anybody_who_adapts_the_report_says_so(evaluation: Evaluation) -> None:
    evaluation = without(evaluation, "maml")
    assert verdicts(evaluation) == ["No policy in these runs adapts."]
    assert Page(render_report(evaluation, {}, None, Origin())).open == []
