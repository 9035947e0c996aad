import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarobot.reporting.html import render_report, verdicts

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
NAN = float("nan")


def row(split: str, algorithm: str, steps: int, mean: float, exploration: bool) -> dict:
    return {
        "split": split,
        "algorithm": algorithm,
        "adaptation_steps": steps,
        "episodes_used": 20 * steps,
        "exploration": exploration,
        "return_mean": mean,
        "return_mean_ci": [mean - 0.2, mean + 0.2],
        "return_iqm": mean + 0.01,
        "return_iqm_ci": [mean - 0.1, mean + 0.1],
        "success": 0.5,
        "success_ci": [0.4, 0.6],
        "num_seeds": 3,
        "num_tasks": 40,
    }


def headroom(split: str, captured: float = 0.74, low: float = 0.68, high: float = 0.8) -> dict:
    return {
        "split": split,
        "algorithm": "maml",
        "random": -6.0,
        "domain_randomisation": -2.0,
        "adapted": [-2.1, -1.26],
        "oracle": -1.0,
        "headroom": 1.0,
        "headroom_ci": [0.9, 1.1],
        "captured": [-0.1, captured],
        "captured_ci": [[-0.2, 0.0], [low, high]],
    }


@pytest.fixture
def evaluation() -> dict:
    splits = ("train", "interpolation", "extrapolation")
    algorithms = [("random", 0, -6.0), ("domain_randomisation", 0, -2.0), ("oracle", 0, -1.0)]
    algorithms += [("maml", 0, -2.1), ("maml", 1, -1.26)]
    return {
        "family": "metarobot/Grip-v0",
        "created": "2026-01-01T00:00:00+00:00",
        "config": {"inner_lr": 0.1, "policy": {"hidden_sizes": [64, 64]}},
        "episodes_per_adaptation_step": 20,
        "num_adaptation_steps": 1,
        "task_parameters": [
            {
                "name": "block_mass_kg",
                "unit": "kg",
                "description": "Mass of the block.",
                "train": [0.1, 1.0],
                "gaps": [[0.3, 0.4]],
                "extrapolation": [[0.03, 0.1], [1.0, 3.0]],
                "log_uniform": True,
            }
        ],
        "rows": [
            row(s, *algorithm, explore)
            for s in splits
            for algorithm in algorithms
            for explore in (0, 1)
        ],
        "headroom": [headroom(split) for split in splits],
    }


@pytest.fixture
def pictures() -> dict[str, bytes]:
    return dict.fromkeys(("heat_map", "adaptation_curve", "training_curve"), PIXEL)


TRAINING = {
    "commands": ["metarobot train grip --seed 1", "metarobot evaluate runs/grip"],
    "git_revision": "4f2a9c1",
    "versions": {"mujoco": "4.0.0"},
}


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
    evaluation: dict, pictures: dict, tmp_path: Path
) -> None:
    html = render_report(evaluation, pictures, b"not really a video", TRAINING)
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


def test_page_shows_the_numbers(evaluation: dict, pictures: dict) -> None:
    html = render_report(evaluation, pictures, None, TRAINING)
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
        "policy.hidden_sizes",
        "versions.mujoco",
        "metarobot train grip --seed 1",
    ):
        assert text in html, text
    assert "<video" not in html


def test_malicious_strings_are_escaped(evaluation: dict, pictures: dict) -> None:
    attack = '<script>alert("x")</script>'
    evaluation["family"] = attack
    evaluation["created"] = attack
    evaluation["config"] = {attack: {attack: [attack]}}
    evaluation["task_parameters"][0].update(name=attack, description=attack, unit='"><img src=x>')
    training = {"commands": [attack], attack: attack}
    html = render_report(evaluation, pictures, None, training)
    assert "<script" not in html
    assert "<img src=x" not in html
    assert html.count("&lt;script&gt;") >= 7
    assert Page(html).open == []


def test_page_without_pictures_or_facts(evaluation: dict) -> None:
    html = render_report(evaluation, {}, None, {})
    assert "<img" not in html
    assert "Run again" not in html


def verdict(evaluation: dict, **changes) -> str:
    evaluation["headroom"] = [headroom("extrapolation") | changes]
    (sentence,) = verdicts(evaluation)
    return sentence.replace("\N{NO-BREAK SPACE}", " ")


def captured(share: float | None, low: float | None, high: float | None) -> dict:
    return {"captured": [-0.1, share], "captured_ci": [[-0.2, 0.0], [low, high]]}


def test_verdict_of_a_success(evaluation: dict) -> None:
    assert verdict(evaluation) == (
        "On tasks beyond the training range, one adaptation step of 20 episodes closes 74 % "
        "[68, 80] of the gap between domain randomisation and the oracle. "
        "Before adapting it stood at −10 %."
    )


def test_verdict_where_domain_randomisation_wins(evaluation: dict) -> None:
    sentence = verdict(evaluation, **captured(-0.4, -0.6, -0.2))
    assert "domain randomisation wins" in sentence
    assert "closes" not in sentence


def test_verdict_within_the_noise(evaluation: dict) -> None:
    sentence = verdict(evaluation, **captured(0.1, -0.2, 0.4))
    assert "no measurable difference" in sentence


def test_verdict_past_the_oracle(evaluation: dict) -> None:
    assert "no upper bound" in verdict(evaluation, **captured(1.3, 1.1, 1.5))


@pytest.mark.parametrize("nothing", [None, NAN])
def test_verdict_without_headroom(evaluation: dict, nothing: float | None) -> None:
    changes = captured(nothing, nothing, nothing)
    sentence = verdict(evaluation, headroom=0.01, headroom_ci=[-0.1, 0.1], **changes)
    assert "no measurable gap" in sentence
    assert "0.01 [−0.10, 0.10]" in sentence
    assert "nan" not in sentence
    assert "nan" not in render_report(evaluation, {}, None, {})


def test_verdict_where_the_oracle_is_worse(evaluation: dict) -> None:
    changes = captured(None, None, None)
    sentence = verdict(evaluation, headroom=-0.5, headroom_ci=[-0.7, -0.3], **changes)
    assert "domain randomisation scores above the oracle" in sentence
    assert "after one adaptation step −1.26" in sentence


@pytest.mark.parametrize("dust", [0.0, 1e-15, -1e-15, -0.004])
@pytest.mark.parametrize("returns", [-2.0, 0.0, 500.0])
def test_verdict_where_domain_randomisation_equals_the_oracle(evaluation, dust, returns):
    ends = {"domain_randomisation": returns, "oracle": returns + dust, "random": returns - 1.0}
    nothing = captured(1e15, 0.9e15, 1.1e15)  # what a division by dust may give
    gap = {"headroom": dust, "headroom_ci": [dust, dust]}
    sentence = verdict(evaluation, **ends, **gap, **nothing)
    assert "there is no measurable gap between domain randomisation and the oracle" in sentence
    assert "above" not in sentence


BOUND = st.floats(-3.0, 3.0)


@given(st.lists(BOUND, min_size=3, max_size=3), st.lists(BOUND, min_size=3, max_size=3))
def test_no_verdict_contradicts_the_numbers_that_it_shows(shares, gaps):
    (low, share, high), (gap_low, gap, gap_high) = sorted(shares), sorted(gaps)
    changes = {"headroom": gap, "headroom_ci": [gap_low, gap_high], **captured(share, low, high)}
    entry = headroom("train") | changes | {"domain_randomisation": -1.0 - gap}
    (sentence,) = verdicts({"episodes_per_adaptation_step": 20, "headroom": [entry]})
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


def test_verdict_where_the_oracle_is_lost_itself(evaluation: dict) -> None:
    sentence = verdict(evaluation, random=-0.9, **captured(4.3, 3.8, 5.0))
    assert "the oracle does no better than random actions" in sentence
    assert "430" not in sentence


def test_verdict_on_small_headroom(evaluation: dict) -> None:
    sentence = verdict(evaluation, headroom=0.25, headroom_ci=[0.2, 0.3])
    assert sentence.endswith(
        "The gap itself is small: 5 % of the distance from random actions to the oracle."
    )


def test_verdict_without_adaptation_steps(evaluation: dict) -> None:
    sentence = verdict(evaluation, captured=[0.0], captured_ci=[[0.0, 0.0]])
    assert "no adaptation step was evaluated" in sentence


def test_verdicts_speak_of_held_out_splits(evaluation: dict) -> None:
    sentences = verdicts(evaluation)
    assert len(sentences) == 2
    assert "gaps held out" in sentences[0]
    evaluation["headroom"] = [headroom("train")]
    assert "new tasks from the training range" in verdicts(evaluation)[0]


def test_every_algorithm_has_its_verdict_and_its_lines(evaluation: dict) -> None:
    for table in (evaluation["rows"], evaluation["headroom"]):
        table += [{**row, "algorithm": "promp"} for row in table if row["algorithm"] == "maml"]
    sentences = verdicts(evaluation)
    assert [sentence.split(":")[0] for sentence in sentences] == 2 * ["MAML-TRPO"] + 2 * ["ProMP"]
    html = render_report(evaluation, {}, None, {})
    for name in ("MAML-TRPO", "ProMP"):
        assert html.count(f">{name}, after 1 step</th>") == 6
        assert f"Extrapolation, {name}" in html
    assert Page(html).open == []


def test_without_references_the_report_says_what_cannot_be_told(evaluation: dict) -> None:
    evaluation["rows"] = [row for row in evaluation["rows"] if row["algorithm"] == "maml"]
    evaluation["headroom"] = []
    *changes, missing = verdicts(evaluation)
    assert changes[0] == (
        "On new tasks from the training range, one adaptation step of MAML-TRPO takes the mean "
        "return from −2.10 to −1.26."
    )
    assert len(changes) == 3
    assert "no domain randomisation and no oracle" in missing
    html = render_report(evaluation, {}, None, {})
    assert "Headroom and" not in html
    assert "nan" not in html


def test_without_anybody_who_adapts_the_report_says_so(evaluation: dict) -> None:
    evaluation["rows"] = [row for row in evaluation["rows"] if row["algorithm"] != "maml"]
    evaluation["headroom"] = []
    assert verdicts(evaluation) == ["No policy in these runs adapts."]
    assert Page(render_report(evaluation, {}, None, {})).open == []
