import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from evaluations import (
    changed,
    headroom,
    made_up_evaluation,
    with_another,
    with_captured,
    with_headroom,
    with_rows,
    without,
)
from hypothesis import given
from hypothesis import strategies as st

from metarobot.evaluation.statistics import Interval
from metarobot.evaluation.table import Conditions, Evaluation
from metarobot.reporting.films import PosterFilm, WorstFilms
from metarobot.reporting.report import Demonstration, Origin, render_report
from metarobot.reporting.style import Cell, algorithm_title, percent
from metarobot.reporting.tables import conclusion_table, episode_tables
from metarobot.reporting.words import conclusion, conditions, verdicts

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def evaluation() -> Evaluation:
    return made_up_evaluation()


@pytest.fixture
def pictures() -> dict[str, bytes]:
    return dict.fromkeys(("adaptation_curve", "training_curve"), PIXEL)


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
    films = WorstFilms({1: PosterFilm(b"a film", b"its end")})
    html = render_report(evaluation, pictures, b"not really a video", ORIGIN, films)
    page = Page(html)
    assert page.open == []
    assert len(page.loads) == 6  # two pictures, the video, a film, and its end twice
    allowed = r"data:(image/png|image/jpeg|video/mp4);base64,"
    assert all(re.match(allowed, load) for load in page.loads)
    assert "http://" not in html
    assert "https://" not in html
    assert "url(" not in html
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert all(len(image["alt"] or "") > 20 for image in page.images)
    assert page.tags.index("video") < page.tags.index("table") < page.tags.index("img")
    assert base64.b64encode(b"not really a video").decode() in html


def test_the_conclusion_is_one_sentence_and_one_table_of_success(evaluation: Evaluation) -> None:
    number, split = evaluation.headline, evaluation.splits[-1]
    assert number
    after, before = (evaluation.after("maml", split, n) for n in (number, 0))
    assert after
    assert before
    sentence = conclusion(evaluation)
    assert sentence.count(".") == 1
    assert percent(after.success.value) in sentence.partition(";")[0]
    assert percent(before.success.value) in sentence.partition(";")[2]
    table = conclusion_table(evaluation)
    (group,) = table.groups
    assert group.lines[0].label == algorithm_title("maml")
    assert [cell.value for cell in group.lines[0].cells if isinstance(cell, Cell)][-1] == percent(
        after.success.value
    )
    assert "random" not in [line.label for line in group.lines]


def test_a_demonstration_stands_beside_what_was_measured(evaluation: Evaluation) -> None:
    choice = "The task is chosen: of 32 drawn, 5 turn from failure to success."
    demonstration = Demonstration(shipped=evaluation, film=b"a shipped film", choice=choice)
    html = render_report(evaluation, {}, b"a film", ORIGIN, demonstration=demonstration)
    page = Page(html)
    assert page.open == []
    assert page.tags.count("video") == 2
    assert base64.b64encode(b"a shipped film").decode() in html
    assert f"{choice} The worst tasks are further down." in html
    assert html.index("trained in full") < html.index("Over the task parameters")
    maps = [html.count(f'name="{name}1"') for name in ("shipped", "map")]
    assert maps[0] == maps[1] > 1
    without = Demonstration(shipped=evaluation, film=None)
    assert "<video" not in render_report(evaluation, {}, None, ORIGIN, demonstration=without)


def test_page_shows_the_numbers(evaluation: Evaluation, pictures: dict) -> None:
    html = render_report(evaluation, pictures, None, ORIGIN)
    for text in (
        "before adapting",
        "after 1 block",
        "−1.26<small>[−1.46, −1.06]</small>",
        "74\N{NO-BREAK SPACE}%<small>[68, 80]</small>",
        "12\N{NO-BREAK SPACE}%<small>[8, 16]</small>",
        "Tasks that became worse",
        "−0.70<small>[−0.90, −0.50]</small>",
        "0.30<small>[0.20, 0.40]</small>",
        "block mass [kg]",
        "0.03 to 0.1, 1 to 3",
        "log-uniform",
        "Deterministic episodes",
        "Return of exploring episodes",
        "40 tasks a split for each of 3 training seeds",
        "episodes_per_block",
        "versions.mujoco",
        "metarobot train grip --seed 1",
    ):
        assert text in html, text
    assert "<video" not in html


def test_page_shows_what_is_hard(evaluation: Evaluation) -> None:
    html = render_report(evaluation, {}, None, ORIGIN)
    for text in (
        "block mass 1.5 kg, pad friction 0.2",
        "became worse",
        "lowest return",
        "greasy pads<span>less friction than any trained with, tasks of its own</span>",
        "heavy blocks<span>less friction than any trained with</span>",
        "as it is",
        "block mass 0.3 kg, pad friction 0.15: success 0\N{NO-BREAK SPACE}%, return −2.82",
        "held out of it: block mass 0.3 to 0.4 kg and pad friction 0.5 to 0.6",
    ):
        assert text in html, text
    assert "No films" not in html
    problem = WorstFilms(problem="OpenGL is missing: install it")
    assert "No films: OpenGL is missing: install it." in render_report(
        evaluation, {}, None, ORIGIN, problem
    )


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
        worst_tasks=(replace(evaluation.worst_tasks[0], task={attack: 1.0}),),
        robustness=(Conditions(name=attack, description=attack),),
        rows=(
            *evaluation.rows,
            *(changed(r, variant=attack) for r in evaluation.rows if r.variant == "heavy_blocks"),
        ),
    )
    origin = Origin(commands=(attack,), facts={attack: attack})
    html = render_report(attacked, pictures, None, origin)
    assert "<script" not in html
    assert "<img src=x" not in html
    assert html.count("&lt;script&gt;") >= 7
    assert Page(html).open == []


def verdict(evaluation: Evaluation, **changes) -> str:
    changed = with_headroom(evaluation, headroom("extrapolation", **changes))
    sentence, *_ = verdicts(changed)
    return sentence.replace("\N{NO-BREAK SPACE}", " ")


def captured(evaluation: Evaluation, share: float, low: float, high: float) -> Evaluation:
    return with_captured(evaluation, Interval(share, low, high))


def test_verdict_of_a_success(evaluation: Evaluation) -> None:
    assert verdict(evaluation) == (
        "After 5 episodes on tasks beyond the training range, MAML-TRPO captures 74 % [68, 80] of "
        "the headroom; 12 % [8, 16] of the tasks became worse. "
        "Before adapting it stood at −10 %; it reaches 90 % after 20 episodes."
    )


@pytest.mark.parametrize(
    ("share", "said"),
    [
        ((-0.4, -0.6, -0.2), "domain randomisation wins"),
        ((0.1, -0.2, 0.4), "no measurable difference"),
        ((1.3, 1.1, 1.5), "no upper bound"),
        ((0.4, 0.3, 0.5), "it does not reach 90 % within 20 episodes."),
    ],
)
def test_verdict_by_what_was_captured(evaluation: Evaluation, share, said) -> None:
    assert said in verdict(captured(evaluation, *share))


def test_verdict_without_headroom(evaluation: Evaluation) -> None:
    lost = with_captured(evaluation, None)
    sentence = verdict(lost, gap=Interval(0.01, -0.1, 0.1))
    assert "no measurable gap" in sentence
    assert "0.01 [−0.10, 0.10]" in sentence
    assert "nan" not in sentence
    assert "nan" not in render_report(lost, {}, None, Origin())


def test_an_oracle_that_gains_nothing_has_not_learned_yet(evaluation: Evaluation) -> None:
    """How much its training curve still rises is said too, once for all learners and splits."""
    assert not any("Not learned yet" in sentence for sentence in verdicts(evaluation))
    rises = {"oracle": (0.05, 0.07, None), "domain_randomisation": (-0.004, 0.0, 0.004)}
    trained = tuple(
        replace(each, rise=rises.get(each.algorithm, ())) for each in evaluation.policies
    )
    lost = with_headroom(
        with_another(replace(evaluation, policies=trained)),
        headroom("interpolation", gap=Interval(0.01, -0.1, 0.1)),
        headroom("extrapolation", gap=Interval(-0.3, -0.4, -0.2)),
    )
    *verdicts_, way_out = verdicts(lost)
    assert not any("Not learned yet" in sentence for sentence in verdicts_)
    assert way_out.startswith("Not learned yet: train longer (`metarobot train --resume RUN")
    assert "gaps held out of the" in way_out
    assert "tasks beyond the training range the oracle, which observes the task, gains" in way_out
    assert "per 100,000 control steps by +0.06 for oracle and +0 for domain rand" in way_out
    assert way_out in lost.summary()
    assert "Not learned yet: train longer" in render_report(lost, {}, None, Origin())


@pytest.mark.parametrize("dust", [0.0, -1e-15, -0.004])
@pytest.mark.parametrize("returns", [-2.0, 500.0])
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
    sentence, *_ = verdicts(with_headroom(captured(EVALUATION, share, low, high), entry))
    shown = re.findall(r"[−\d.]+", sentence[sentence.index("[") : sentence.index("]")])
    shown_low, shown_high = (float(bound.replace("−", "-")) for bound in shown)
    sayings = {
        "domain randomisation wins": shown_high < 0.0,
        "no measurable difference": shown_low <= 0.0 <= shown_high,
        "passes the oracle": shown_low > 100.0,
        "MAML-TRPO captures": 0.0 < shown_low <= 100.0,
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
        "The headroom itself is small: 5 % of the distance from random actions to the oracle."
    )


def test_the_table_by_episodes_has_what_was_measured(evaluation: Evaluation) -> None:
    train, *_ = episode_tables(evaluation)
    assert (train.title, *train.headings[1:]) == ("Training", "0", "1", "5", "20", "for 90 %")
    captured, success, worse, *returns = train.groups
    (line,) = captured.lines
    shown = [cell.value.replace("\N{NO-BREAK SPACE}", " ") for cell in line.cells[:-1]]
    assert shown == ["−10 %", "−30 %", "74 %", "95 %"]
    assert (line.label, line.cells[-1], success.lines[0].cells[-1]) == ("MAML-TRPO", "20", "")
    assert worse.lines[0].cells[0] == ("–", "")
    assert len(returns) == 3
    short = episode_tables(evaluation, percentages_alone=True)[0]
    assert short.groups == [captured, success, worse]
    lost = with_rows(evaluation, lambda row: True, captured=None)
    assert episode_tables(lost)[0].groups[0].title == "Success"
    assert episode_tables(without(evaluation, "maml")) == []


def test_every_algorithm_has_its_verdict_and_its_lines(evaluation: Evaluation) -> None:
    evaluation = with_another(evaluation)
    sentences = verdicts(evaluation)
    named = [re.findall(r"MAML-TRPO|ProMP", sentence) for sentence in sentences]
    assert named == 2 * [["MAML-TRPO"], ["ProMP"]]
    html = render_report(evaluation, {}, None, Origin())
    for name in ("MAML-TRPO", "ProMP"):
        assert html.count(f">{name}, after 1 block</th>") == 3
    assert Page(html).open == []


def test_without_references_the_report_says_what_cannot_be_told(evaluation: Evaluation) -> None:
    evaluation = without(evaluation, "random", "domain_randomisation", "oracle")
    *changes, missing = verdicts(evaluation)
    assert changes[0] == (
        "After 5 episodes on new tasks from the training range, the mean return of MAML-TRPO is "
        "−1.26; before adapting it was −2.10."
    )
    assert len(changes) == 3
    assert "no domain randomisation and no oracle" in missing
    html = render_report(evaluation, {}, None, Origin())
    assert "Headroom and" not in html
    assert "nan" not in html


def test_a_report_without_rewards_says_so_and_names_who_is_left_out(evaluation: Evaluation) -> None:
    config = replace(evaluation.config, rewards="hidden")
    hidden = replace(evaluation, config=config, left_out=("promp", "rl2"))
    html = render_report(hidden, {}, None, Origin())
    assert "<h1>Grip, rewards hidden: evaluation of adaptation</h1>" in html
    assert "Left out, as they need rewards: ProMP, RL²." in html
    assert conditions(replace(hidden, left_out=())).endswith("by observations alone.")
    assert conditions(evaluation) == ""


def test_without_anybody_who_adapts_the_report_says_so(evaluation: Evaluation) -> None:
    evaluation = without(evaluation, "maml")
    assert verdicts(evaluation) == ["No policy in these runs adapts."]
    assert Page(render_report(evaluation, {}, None, Origin())).open == []
