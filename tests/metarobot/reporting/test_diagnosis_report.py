"""The report of a diagnosis: its sentences, its charts, its page."""

import re

import msgspec
import pytest

from metarobot.diagnosis_runs.results import (
    Confusion,
    Decision,
    DiagnosisResult,
    HeatRow,
    LifeCurve,
    LifeResult,
    LifeScore,
    Score,
    SplitResult,
    Strangers,
)
from metarobot.diagnosis_runs.run_folder import RunConfig
from metarobot.diagnosis_runs.signal_format import SignalFormat
from metarobot.evaluation.statistics import Interval
from metarobot.reporting.diagnosis_charts import (
    accuracy_chart,
    decision_chart,
    life_chart,
    matrix,
)
from metarobot.reporting.diagnosis_report import render_diagnosis
from metarobot.reporting.diagnosis_words import (
    beside_references,
    interval_words,
    life_words,
    sentences,
    verdict,
    worst_pair,
)

EVIL = "<script>alert(1)</script>"


def score(learner, shots, value, spread=0.02):
    interval = Interval(value, value - spread, min(1.0, value + spread))
    return Score(learner=learner, shots=shots, accuracy=interval)


def split(one=0.8, five=0.95, other=0.7) -> SplitResult:
    return SplitResult(
        name="unseen machines",
        way=3,
        num_tasks=40,
        num_recordings=24,
        num_machines=1,
        scores=(score("MAML", 1, one), score("MAML", 5, five), score("nearest", 1, other)),
        confusion=Confusion(
            shots=5,
            labels=("healthy", "dry_friction", EVIL),
            taken=((9, 1, 0), (3, 7, 0), (0, 0, 5)),
            asked=((10, 10, 0), (10, 10, 0), (0, 0, 5)),
        ),
        strangers=Strangers(
            shots=5, false_warnings=Interval(0.05, 0, 0.1), noticed=Interval(0.9, 0.8, 1)
        ),
        sure=Interval(0.99, 0.9, 1.0),
        sure_share=0.5,
    )


def result(own=None, life=None) -> DiagnosisResult:
    decision = Decision(
        split="unseen machines",
        machine=EVIL,
        label="dry_friction",
        said="dry_friction",
        probability=0.97,
        shots=5,
        rows=(HeatRow(channel="current [A]", worth=(0.0, 2.0, 1.0, -1.0)),),
        unit="A",
        duration_s=2.0,
        recorded=(0.0, 1.0, 2.0),
        healthy=(0.0, 0.5, 1.0),
        aligned=True,
        first_s=0.5,
        last_s=1.0,
    )
    return DiagnosisResult(
        kind="own",
        learner="MAML",
        created="today",
        trained_on="72 recordings",
        splits=(own or split(),),
        decisions=(decision,),
        life=life,
    )


LIFE = LifeResult(
    curves=(
        LifeCurve(
            title="dry_friction",
            age_cycles=(0.0, 50.0),
            predicted=(80.0, 60.0),
            low=(40.0, 30.0),
            high=(500.0, 90.0),
            life_cycles=100.0,
        ),
    ),
    scores=(
        LifeScore(learner="MAML", seen=0.3, rmse=20.4, coverage=0.9),
        LifeScore(learner="curve", seen=0.3, rmse=float("nan"), coverage=0.8),
    ),
    num_machines=4,
)
CONFIG = RunConfig(
    kind="own",
    learner="maml",
    way=3,
    seed=0,
    updates=5,
    signal=SignalFormat((("current", "A"), (EVIL, "")), 100.0, 128),
    num_recordings=72,
    strange_above={"1": (0.5, 0.5)},
)


def test_a_split_says_what_its_intervals_are_over():
    assert interval_words(split()) == (
        "The intervals are over the 24 recordings of 1 machine: they do not say how other machines "
        "would do."
    )
    many = msgspec.structs.replace(split(), num_machines=7)
    assert interval_words(many) == "The intervals are over 7 machines."


def test_the_verdict_says_how_many_examples_to_record():
    assert verdict(result()).startswith("Record 5 examples of each fault")
    assert verdict(result(split(one=0.95))).startswith("Record 1 example of each fault")
    weak = verdict(result(split(one=0.5, five=0.6)))
    assert weak.startswith("Do not rely on it alone: even with 5 examples")


@pytest.mark.parametrize(
    ("other", "says"),
    [(0.7, "Training on other machines pays"), (0.79, "not shown"), (0.9, "reference wins")],
)
def test_references_are_judged_by_their_intervals(other, says):
    assert says in beside_references("MAML", split(other=other))


def test_what_is_most_often_mistaken_is_named():
    assert worst_pair(split().confusion) == ("dry_friction", "healthy", 0.3)
    ((title, texts),) = sentences(result())
    assert title == "Unseen machines"
    assert any("dry friction for healthy, in 30" in text for text in texts)


def test_remaining_life_is_spoken_of_where_there_is_any():
    assert [title for title, _ in sentences(result())] == ["Unseen machines"]
    title, (said,) = sentences(result(life=LIFE))[-1]
    assert title == "Remaining life"
    assert "off by 20 cycles" in said
    assert "curve by –" in said
    assert "Later" not in said


def test_who_predicts_better_later_in_life_is_named():
    def score(learner, seen, rmse):
        return LifeScore(learner=learner, seen=seen, rmse=rmse, coverage=0.9)

    scores = [score("MAML", 0.3, 20), score("MAML", 0.5, 20), score("MAML", 0.7, 9)]
    scores += [score("curve", 0.3, 25), score("curve", 0.5, 18), score("curve", 0.7, 8)]
    said = life_words(msgspec.structs.replace(LIFE, scores=tuple(scores)))
    said = said.replace("\N{NO-BREAK SPACE}", " ")
    assert said.endswith(" Later others are off by less: curve after 50 %, 70 %.")


def test_charts_stay_in_their_frames():
    chart = accuracy_chart(split())
    dots = [dot for line in chart.lines for dot in line.dots]
    assert all(0 <= own.x <= 100 and own.high <= own.y <= own.low for own in dots)
    assert chart.shots[0][0] < chart.shots[1][0]
    shown = matrix(split().confusion)
    assert shown.rows[0][2] is None  # never offered together
    assert (shown.rows[1][0].shade, shown.rows[1][0].text) == (30, "30")
    traces = decision_chart(result().decisions[0])
    assert (traces.first, traces.width) == (80.0, 80.0)
    assert [piece.shade for piece in traces.strips[0].pieces] == [0, 100, 50, 0]
    assert traces.difference is not None
    numbers = [float(x) for x in re.findall(r"[\d.]+", life_chart(LIFE.curves[0]).band)]
    assert max(numbers[1::2]) <= 100
    assert min(numbers[1::2]) >= 0  # the interval's end far above is cut off


def test_the_page_shows_text_from_outside_as_text():
    page = render_diagnosis(result(life=LIFE), CONFIG, [f"metarobot {EVIL}"])
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"(?:src|href)=|url\(|@import|https?://", page)
    assert "How long it will last" in page
    ids = re.findall(r"<(\w+)[^>]*>", page)
    for tag in ("figure", "table", "section", "fieldset", "svg", "ul"):
        assert page.count(f"</{tag}>") == ids.count(tag)


def test_results_are_the_same_after_json():
    own = result(life=msgspec.structs.replace(LIFE, scores=LIFE.scores[:1]))
    assert msgspec.json.decode(msgspec.json.encode(own), type=DiagnosisResult) == own
