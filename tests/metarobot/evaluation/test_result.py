"""An evaluation survives its file, and a file from a stranger is one or an error in one line."""

import copy
import csv
import json
from dataclasses import replace

import pytest
from evaluations import headroom, made_up_evaluation, with_another
from hypothesis import given, settings
from hypothesis import strategies as st

from metarobot.evaluation.statistics import Interval
from metarobot.evaluation.table import Evaluation
from metarobot.io import json_bytes, parse_json
from metarobot.reporting.figures import adaptation_curve
from metarobot.reporting.tables import evaluation_csv
from metarobot.reporting.words import verdicts

VALID = json.loads(made_up_evaluation().to_json())
HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from([10**400, -1, 0, 1e308, "", "x\ny", "\x1b[31m", "train", [], {}, [[]], [1, 2]]),
    st.text(max_size=5),
)


def places(value, path=()):
    """All keys and indices of a document, as paths."""
    if path:
        yield path
    if isinstance(value, (dict, list)):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in inner:
            yield from places(item, (*path, key))


PLACES = list(places(VALID))


def holder(document, path):
    for key in path[:-1]:
        document = document[key]
    return document


def read(document):
    """Return the evaluation, or what is wrong with the document."""
    try:
        return Evaluation.from_dict(document), ""
    except ValueError as error:
        return None, str(error)


@given(st.sampled_from(PLACES), HOSTILE, st.sampled_from(["set", "remove", "double"]))
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_a_changed_file_is_an_evaluation_or_an_error_in_one_line(path, value, how):
    document = copy.deepcopy(VALID)
    place, key = holder(document, path), path[-1]
    if how == "remove":
        del place[key]
    elif how == "double" and isinstance(place, list):
        place.append(copy.deepcopy(place[key]))
    else:
        place[key] = value
    found, complaint = read(document)
    if found is None:
        assert complaint.startswith("this is no evaluation: ")
        assert complaint.isprintable()
        assert len(complaint) < 400
        return
    assert Evaluation.from_dict(json.loads(json_bytes(found.to_dict()))).curves == found.curves
    Evaluation.from_dict(json.loads(found.to_json()))
    verdicts(found)
    evaluation_csv(found)


@pytest.mark.parametrize("document", ["[]", "3", "null", '{"family": 3}', "[" * 5000 + "]" * 5000])
def test_what_is_no_evaluation_is_refused(document, tmp_path):
    with pytest.raises(ValueError, match=r"must hold a JSON object|is not JSON|no evaluation"):
        Evaluation.from_dict(parse_json(document.encode(), tmp_path))


def test_an_evaluation_survives_its_file():
    for evaluation in (made_up_evaluation(), with_another(made_up_evaluation())):
        again = Evaluation.from_dict(json.loads(json_bytes(evaluation.to_dict())))
        assert again == evaluation
        assert adaptation_curve(again) == adaptation_curve(evaluation)
        written = Evaluation.from_dict(json.loads(evaluation.to_json()))
        assert written.to_json() == again.to_json() == evaluation.to_json()


def test_the_file_holds_what_was_measured_to_six_digits_in_a_line_a_point():
    evaluation = made_up_evaluation()
    first = replace(evaluation.curves[0].points[0], return_mean=Interval(1 / 3, -2e6 / 3, 1e-6 / 3))
    curve = replace(evaluation.curves[0], points=(first,))
    document = replace(evaluation, curves=(curve, *evaluation.curves[1:])).to_json().decode()
    (line,) = (line for line in document.splitlines() if "0.333333" in line)
    assert '"adaptation_episodes": 0, "return_mean": [0.333333, -666667.0, 3.33333e-07]' in line
    assert '"captured_per_seed": [' in line


def test_a_point_is_found_by_what_was_used():
    evaluation = made_up_evaluation()
    curve = evaluation.curve("maml", "train")
    assert [point.adaptation_episodes for point in curve.points] == [0, 1, 5, 20]
    assert [point.adaptation_episodes for point in curve.blocks] == [0, 20]
    assert curve.after_episodes(5) is curve.points[2]
    assert curve.after_episodes(2) is None
    assert curve.after_blocks(1) is curve.blocks[1]
    assert curve.after_blocks(2) is None
    assert evaluation.curve("random", "train") is None
    assert evaluation.judged("random", "train").exploring
    assert evaluation.learners == ("maml",)
    assert evaluation.headroom_of("train").over_random == pytest.approx(0.2)


def test_every_point_is_a_row_of_the_table_and_none_is_two():
    evaluation = made_up_evaluation()
    lines = evaluation_csv(evaluation).splitlines()
    rows = [*csv.DictReader(lines)]
    of_adapting = [c for c in evaluation.curves if len(c.blocks) > 1]
    single = len(evaluation.curves) - len(of_adapting)
    assert single
    assert len(rows) == single + sum(len(c.points) + len(c.blocks) for c in of_adapting)
    once = [row for row in rows if row["algorithm"] == "oracle" and row["split"] == "train"]
    assert [row["exploring"] for row in once] == ["False", "True"]
    assert "return_mean_ci_low" in lines[0]
    assert {row["rewards"] for row in rows} == {"seen"}


@pytest.mark.parametrize(
    ("shares", "needed"),
    [
        ((-0.1, 0.3, 0.9, 0.95), 5),
        ((-0.1, 0.91, 0.5, 0.95), 1),
        ((0.92, 0.3, 0.9, 0.95), 0),
        ((-0.1, 0.3, 0.7, 0.899), None),
        ((None, None, None, 0.95), 20),
    ],
)
def test_episodes_to_nine_tenths_are_the_fewest_that_capture_them(shares, needed):
    """After 0, 1, 5 and 20 episodes."""
    evaluation = made_up_evaluation()
    curve = evaluation.curve("maml", "train")
    points = [
        replace(point, captured=share and Interval(share, share - 0.1, share + 0.1))
        for point, share in zip(curve.points, shares, strict=True)
    ]
    curve = replace(curve, points=tuple(points))
    assert curve.episodes_to_90 == evaluation.episodes_to_90(curve) == needed
    lost = replace(evaluation, headroom=(headroom("train", random=0.0),))
    assert lost.episodes_to_90(curve) is None


def first_curve(document):
    return next(c for c in document["curves"] if len(c["points"]) > 1)


REFUSED = {
    "curves hold something twice": lambda d: d["curves"].append(d["curves"][0]),
    "policies hold something twice": lambda d: d["policies"].append(d["policies"][0]),
    "seeds hold something twice": lambda d: d["seeds"].append(d["seeds"][0]),
    "headroom hold something twice": lambda d: d["headroom"].append(d["headroom"][0]),
    "is none of the policies": lambda d: d["curves"][0].update(algorithm="nobody"),
    "from the fewest": lambda d: first_curve(d)["points"].reverse(),
    "must not be negative": lambda d: d["curves"][0]["points"][0].update(adaptation_episodes=-1),
    "episodes, 0, to the most": lambda d: first_curve(d)["blocks"].pop(0),
    "increasing integers": lambda d: d["config"].update(adaptation_episodes=[5, 1]),
    "no interval": lambda d: d["headroom"][0]["gap"].__setitem__(1, 9.0),
    "must be finite": lambda d: d["headroom"][0].update(oracle=float("nan")),
    "5 rows of 7 numbers": lambda d: d["heat_map"]["maps"][0]["success"].pop(),
    "values, increasing": lambda d: d["heat_map"]["x"]["values"].reverse(),
    "positive values": lambda d: d["heat_map"]["x"]["values"].__setitem__(0, -1.0),
    "needs a seed": lambda d: d.update(seeds=[]),
    "num_tasks must be": lambda d: d["config"].update(num_tasks=0),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_does_not_belong_together_is_refused(said):
    document = copy.deepcopy(VALID)
    REFUSED[said](document)
    found, complaint = read(document)
    assert found is None
    assert said in complaint


def test_a_complaint_shows_no_control_characters():
    document = copy.deepcopy(VALID)
    document["curves"][0]["split"] = "x\ny\x1b[31m"
    found, complaint = read(document)
    assert found is None
    assert "curves[0].split" in complaint
    assert complaint.isprintable()
