import re

import numpy as np
import pytest
from browser import MISSING, Browser

from metarobot.diagnosis.evaluate import Calibration
from metarobot.diagnosis.recordings import Channel, Recordings
from metarobot.diagnosis.run import Chosen, DiagnosisConfig, Row, hold_out, train
from metarobot.reporting.diagnosis_report import (
    alarm_words,
    interval_words,
    render_report,
    verdict,
    write_report,
)

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}\u202e'


def rows(learner, accuracy, known=True, half=0.02):
    """Lines of the comparison with 1 and 5 examples, the second better by 10 points."""
    return tuple(
        Row(
            shots=shots,
            known=known,
            learner=learner,
            accuracy=round(value, 4),
            accuracy_ci=(value - half, value + half),
            tasks=60,
        )
        for shots, value in ((1, accuracy), (5, accuracy + 0.1))
    )


def config_of(chosen, *compared, machines=("press 1", "press 2"), labels=("healthy", "loose")):
    return DiagnosisConfig(
        channels=(("current", "A"), ("vibration", "")),
        rate_hz=100.0,
        labels=labels,
        machines=machines,
        num_recordings=48,
        way=5,
        seed=0,
        learners=("nearest_mean", "trees", "prototypes"),
        chosen=(
            Chosen(
                known=True,
                learner=chosen,
                place=0,
                labels=labels,
                calibration={"1": Calibration(1.0, 0.0), "5": Calibration(1.0, 0.0)},
            ),
        ),
        rows=tuple(row for own in compared for row in own),
    )


def held_out(labels=("healthy", "loose"), **figures):
    """What an evaluation returns, with 5 examples only."""
    confusion = {own: {other: 9 if own == other else 1 for other in labels} for own in labels}
    return [
        {
            "way": 2,
            "shots": 5,
            "learner": "nearest_mean 0.3",
            "accuracy": 0.87,
            "accuracy_ci": [0.84, 0.9],
            "calibration_error": 0.04,
            "false_alarm": 0.05,
            "noticed": 0.4,
            "reliability": [[0.55, 0.5, 20], [0.95, 0.97, 180]],
            "confusion": confusion,
            **figures,
        }
    ]


CLOSED = config_of(
    "nearest_mean 0.3",
    rows("nearest_mean 0.3", 0.8),
    rows("nearest_mean 1", 0.79),
    rows("prototypes", 0.70),
    rows("trees", 0.75),
)


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_verdict_names_the_learner_its_accuracy_and_the_next_one():
    first, second = map(plain, verdict(CLOSED, held_out()))
    assert "whitened nearest mean 0.3, names the right one of 2 labels in 87 % [84, 90]" in first
    assert "with 5 examples of each; these are labels that are known from training" in first
    assert "right in 90 % [88, 92] with 5 examples; randomised trees came next, 5.0 poi" in second
    assert "A closed form wins here" in second
    assert "Behind it are prototypical network (10.0 points)." in second


def test_verdict_says_where_the_lead_is_open_and_nothing_was_held_out():
    config = config_of("trees", rows("trees", 0.8), rows("maml", 0.79), rows("nearest_mean 1", 0.7))
    first, second = map(plain, verdict(config, []))
    assert "No recordings were held out" in first
    assert "MAML came next, 1.0 points behind" in second
    assert "the intervals leave open which is better" in second
    assert "closed form, whitened nearest mean 1, is 10.0 points behind" in second
    alone = config_of("trees", rows("trees", 0.8))
    assert verdict(alone, [])[1] == "No other kind of learner was compared."


def test_alarms_are_set_beside_their_nominal_rate():
    assert "near their nominal 5 %: 5 %" in plain(alarm_words(held_out()))
    text = plain(alarm_words(held_out(false_alarm=0.24)))
    assert text.startswith("Too many false alarms: 24 %, nominally 5 %.")
    assert text.endswith("missed in 60 % of cases: do not rely on being warned of one.")
    assert "not measured" in alarm_words(held_out(noticed=None))


def test_page_says_what_intervals_are_worth():
    assert "2 machines, figures say little of others" in interval_words(CLOSED)
    one = config_of("trees", rows("trees", 0.8), machines=("",))
    assert "one machine, figures say nothing of others" in interval_words(one)


def test_many_labels_leave_those_that_are_mistaken_most():
    labels = [f"fault {k:02}" for k in range(30)]
    confusion = {own: {own: 10 + k, labels[0]: 5} for k, own in enumerate(labels)}
    page = render_report(CLOSED, held_out(labels, confusion=confusion))
    assert "The 24 labels that are mistaken most; 6 more have no room." in page
    assert len(re.findall(r'class="turned"', page)) == 24


def test_a_trained_diagnosis_is_reported(tmp_path):
    rng = np.random.default_rng(0)
    time_s = np.arange(64) / 100
    found = [
        (f"press {machine}", label, k, np.sin(2 * np.pi * (5 + 4 * place) * time_s + k))
        for machine in range(3)
        for place, label in enumerate(("healthy", "loose bolt", "belt"))
        for k in range(8)
    ]
    recordings = Recordings(
        tuple((wave + 0.3 * rng.normal(size=(2, 64))).astype(np.float32) for *_, wave in found),
        100.0,
        (Channel("current", "A"), Channel("vibration", "")),
        np.array([label for _, label, *_ in found]),
        np.array([machine for machine, *_ in found]),
        np.array([f"{machine} {label} {k}" for machine, label, k, _ in found]),
    )
    training, rest = hold_out(recordings)
    run = train(training, learners=("nearest_mean",), num_tasks=4)
    write_report(tmp_path / "report.html", run, run.evaluate(rest, num_tasks=4))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for text in ("current [A], vibration", "press 0, press 1", "Labels new to training", "100 Hz"):
        assert text in page
    assert "press 2" not in page  # was held out


@pytest.mark.skipif(MISSING, reason="needs Chromium and bash")
def test_hostile_names_stay_text_and_no_page_is_wider_than_its_window(tmp_path):
    labels = (HOSTILE, "w" * 200, "healthy")
    config = config_of(HOSTILE, rows(HOSTILE, 0.8), rows("trees", 0.7), labels=labels)
    page = render_report(config, held_out(labels))
    for text in ("<script", "<img", "\u202e"):
        assert text not in page
    for text in ("&lt;script&gt;", "{{ 7 * 7 }}"):
        assert text in page
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    with Browser(tmp_path / "profile") as browser:
        browser.open((tmp_path / "report.html").as_uri())
        assert browser.complaints == []
        assert [url.rpartition("/")[2] for url in browser.requests] == ["report.html"]
        for width_px in (390, 1280):
            browser.resize(width_px, 800)
            assert browser.evaluate("document.documentElement.scrollWidth") <= width_px
