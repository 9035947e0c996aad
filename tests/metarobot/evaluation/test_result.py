"""An evaluation survives its file, and a file from a stranger is one or an error in one line."""

import copy
import json

import pytest
from evaluations import made_up_evaluation, with_another, with_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from metarobot.api import Evaluation
from metarobot.evaluation.statistics import Interval
from metarobot.io import json_bytes
from metarobot.reporting.tables import episode_tables
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
        assert complaint.startswith("not a valid evaluation: ")
        assert complaint.isprintable()
        assert len(complaint) < 400
        return
    assert Evaluation.from_dict(json.loads(json_bytes(found.to_dict()))).rows == found.rows
    Evaluation.from_dict(json.loads(found.to_json()))
    verdicts(found)
    episode_tables(found)


def test_an_evaluation_survives_its_file():
    for evaluation in (made_up_evaluation(), with_another(made_up_evaluation())):
        again = Evaluation.from_dict(json.loads(json_bytes(evaluation.to_dict())))
        assert again == evaluation
        assert again.plot_curve()._repr_png_() == evaluation.plot_curve()._repr_png_()
        written = Evaluation.from_dict(json.loads(evaluation.to_json()))
        assert written.to_json() == again.to_json() == evaluation.to_json()


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
    for number, share in zip((0, 1, 5, 20), shares, strict=True):
        evaluation = with_rows(
            evaluation,
            lambda row, number=number: row.algorithm == "maml" and row.episodes == number,
            captured=share and Interval(share, share - 0.1, share + 0.1),
        )
    assert evaluation.episodes_to_90.get(("maml", "train")) == needed


REFUSED = {
    "rows hold duplicates": lambda d: d["rows"].append(d["rows"][0]),
    "policies hold duplicates": lambda d: d["policies"].append(d["policies"][0]),
    "seeds hold duplicates": lambda d: d["seeds"].append(d["seeds"][0]),
    "headroom hold duplicates": lambda d: d["headroom"].append(d["headroom"][0]),
    "is not among the policies": lambda d: d["rows"][0].update(algorithm="nobody"),
    "-1 episodes do not fit 0 blocks": lambda d: d["rows"][0].update(episodes=-1),
    "5 episodes do not fit 0 blocks": lambda d: d["rows"][0].update(episodes=5),
    "no row before adapting": lambda d: d["rows"][0].update(episodes=5, blocks=1),
    "increasing integers": lambda d: d["config"].update(adaptation_episodes=[5, 1]),
    "is not an interval": lambda d: d["headroom"][0]["gap"].__setitem__(1, 9.0),
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
