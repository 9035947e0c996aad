import pytest

from metarobot.diagnosis.run import Chosen, DiagnosisConfig, Row
from metarobot.reporting.diagnosis_report import alarm_words, lead, panels, render_report, verdict

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}\u202e'


def config_of(compared, machines=("press 1", "press 2"), labels=("healthy", "loose")):
    """A comparison with 1 and 5 examples, the second better by 10 points; the first is chosen."""
    first, *_ = compared
    return DiagnosisConfig(
        channels=(("current", "A"), ("vibration", "")),
        rate_hz=100.0,
        labels=labels,
        machines=machines,
        num_recordings=48,
        way=5,
        seed=0,
        learners=("nearest_mean", "trees", "prototypes"),
        chosen=(Chosen(known=True, learner=first, calibration={}),),
        rows=tuple(
            Row(
                shots=shots,
                known=True,
                learner=name,
                accuracy=value + gain,
                accuracy_ci=(value + gain - 0.02, value + gain + 0.02),
                tasks=60,
            )
            for name, value in compared.items()
            for shots, gain in ((1, 0.0), (5, 0.1))
        ),
    )


def held_out(labels=("healthy", "loose"), **figures):
    """What an evaluation returns, with 5 examples only."""
    confusion = {own: {other: 9 if own == other else 1 for other in labels} for own in labels}
    return [
        {
            "known": True,
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


CONFIG = config_of({"nearest_mean 0.3": 0.8, "nearest_mean 1": 0.79, "trees": 0.75})


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_verdict_is_the_accuracy_on_held_out_recordings_and_the_lead():
    (panel,) = panels(CONFIG, held_out())
    first = (
        "the right one of 2 labels is named in 87 % [84, 90] of held-out recordings, with 5 exam"
    )
    assert plain(verdict(panel)).startswith(f"Faults known from training: {first}")
    assert verdict(panel).endswith(f"In cross-validation, {lead(panel)}.")
    assert ": no recordings were held out. In" in verdict(panels(CONFIG)[0])


@pytest.mark.parametrize(
    ("compared", "words"),
    [
        ({"trees, with training recordings": 0.9}, "numbers of examples"),
        ({"maml": 0.70, "nearest_mean 1": 0.6}, "; maml comes next, 10.0 points behind"),
        ({"maml": 0.79}, "; maml comes next, 1.0 points behind, which the intervals leave open"),
        (
            {"maml, new": 0.81},
            "; maml new comes next, −1.0 points behind, which the intervals leave open",
        ),
    ],
)
def test_the_lead_is_over_the_best_of_another_kind_of_learner(compared, words):
    said = plain(lead(panels(config_of({"trees": 0.8, **compared}))[0]))
    assert said.startswith("trees is chosen, right in 85.0 % on average over numbers of examples")
    assert said.endswith(words)


def test_alarms_are_set_beside_their_nominal_rate():
    assert "nominally 5 %, are near that: 5 %." in plain(alarm_words(held_out()))
    assert "are fewer: 1 %" in plain(alarm_words(held_out(false_alarm=0.01)))
    text = plain(alarm_words(held_out(false_alarm=0.24)))
    assert text.startswith("False alarms, nominally 5 %, are too many: 24 %.")
    assert text.endswith("missed in 60 % of cases: do not rely on being warned of one.")
    assert "not measured" in alarm_words(held_out(noticed=None))


def test_hostile_names_stay_text():
    labels = (HOSTILE, "w" * 200, "healthy")
    page = render_report(config_of({HOSTILE: 0.8, "trees": 0.7}, labels=labels), held_out(labels))
    for text in ("<script", "<img src=x", "\u202e"):
        assert text not in page
    for text in ("&lt;script&gt;", "{{ 7 * 7 }}"):
        assert text in page
