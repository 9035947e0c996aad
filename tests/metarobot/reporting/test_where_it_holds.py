"""Where a policy holds, told from made-up heat maps."""

from dataclasses import replace

import numpy as np
import pytest
from evaluations import made_up_evaluation, without

from metarobot.evaluation.table import GridMap
from metarobot.reporting.words import where_they_hold

NBSP = "\N{NO-BREAK SPACE}"
MASSES = "a block mass of 0.03 to 3 kg"
FRICTIONS = "a pad friction of 0.15 to 1.3"


def told(success, episodes=(0, 5, 20)) -> list[str]:
    """Say where MAML holds with this success (5, 7) after 5 episodes, and with none after others.

    Of the masses 0.03, 0.0647, 0.139, 0.3, 0.646, 1.39, 3 those of 0.1 to 1 are trained on, of the
    frictions 0.15, 0.438, 0.725, 1.01, 1.3 those of 0.25 to 1.
    """
    evaluation = made_up_evaluation()
    heat_map = evaluation.heat_map
    assert heat_map is not None
    nothing = np.zeros((5, 7)).tolist()
    maps = [
        GridMap(
            algorithm="maml",
            adaptation_episodes=number,
            returns=tuple(map(tuple, nothing)),
            success=tuple(map(tuple, np.asarray(success).tolist() if number == 5 else nothing)),
        )
        for number in episodes
    ]
    return where_they_hold(replace(evaluation, heat_map=replace(heat_map, maps=tuple(maps))))


def test_all_that_was_measured() -> None:
    (sentence,) = told(np.full((5, 7), 0.5))
    everything = f"holds over all that was measured: {MASSES} and {FRICTIONS}"
    assert sentence == f"After 5 episodes, MAML-TRPO {everything}."


def test_a_limit_on_each_parameter() -> None:
    success = np.ones((5, 7))
    success[:, 5:] = 0.4
    success[0] = 0.0
    (sentence,) = told(success)
    assert sentence == (
        "After 5 episodes, MAML-TRPO holds for a block mass of 0.03 to 0.646 kg and a pad friction "
        "of 0.438 to 1.3. Measured were 0.03 to 3 kg and 0.15 to 1.3; beyond, less than half of "
        "the episodes succeed on average."
    )


def test_what_is_beyond_a_hole_does_not_count() -> None:
    success = np.ones((5, 7))
    success[:, 1] = 0.0
    (sentence,) = told(success)
    assert "a block mass of 0.139 to 3 kg" in sentence


def where_not(success) -> str:
    """Return what follows the name of the learner, but for what was measured."""
    (sentence,) = told(success)
    return sentence.partition("MAML-TRPO ")[2].partition(". Measured were")[0]


def test_a_corner_that_fails_is_named_by_what_still_holds() -> None:
    success = np.ones((5, 7))
    success[0, 6] = 0.25
    (sentence,) = told(success)
    assert sentence == (
        "After 5 episodes, MAML-TRPO holds over all that was measured, except where the block mass "
        f"is above 1.39 kg and the pad friction below 0.438 (25{NBSP}% of the episodes succeed). "
        f"Measured were {MASSES} and {FRICTIONS}."
    )


def test_a_corner_that_is_cut_off_obliquely() -> None:
    success = np.ones((5, 7))
    success[0, 4:] = success[1, 5:] = 0.0  # one of the six tasks in the box around them holds
    assert where_not(success) == (
        "holds over all that was measured, except where the block mass is above 0.3 kg and the "
        f"pad friction below 0.725 (17{NBSP}% of the episodes succeed)"
    )


def test_two_corners_and_one_task_besides() -> None:
    success = np.ones((5, 7))
    success[0, 5:] = 0.1
    success[3:, :2] = 0.3
    success[4, 4] = 0.0
    assert where_not(success) == (
        "holds over all that was measured, except where the block mass is below 0.139 kg and the "
        f"pad friction above 0.725 (30{NBSP}% of the episodes succeed) or where the block mass is "
        f"above 0.646 kg and the pad friction below 0.438 (10{NBSP}%), and at 1 of 35 tasks besides"
    )


def test_a_place_inside_lies_between_values_that_hold() -> None:
    success = np.ones((5, 7))
    success[2, 3] = 0.0
    assert "is between 0.139 and 0.646 kg and the pad friction between 0.438 and 1.01 (" in (
        where_not(success)
    )


def test_tasks_that_do_not_touch_are_counted_and_neighbours_named() -> None:
    success = np.ones((5, 7))
    success[0, ::2] = 0.4
    assert where_not(success).startswith(
        "holds over all that was measured on average, but fails at 4 of the 35 tasks measured "
        "there, as with a block mass of 0.03 kg and a pad friction of 0.15, where 40"
    )
    success[0] = [0.2] * 3 + [0.8] * 4
    assert where_not(success).startswith(
        "holds over all that was measured, except where the block mass is below 0.3 kg and the pad "
        "friction below 0.438 ("
    )


def test_failures_all_over_are_counted() -> None:
    success = np.ones((5, 7))
    success[::2, ::2] = 0.4
    (sentence,) = told(success)
    assert " on average, but fails at " in sentence
    assert "except" not in sentence


def test_a_corner_within_limits() -> None:
    success = np.ones((5, 7))
    success[:, 5:] = 0.0
    success[4, 0] = 0.0
    (sentence,) = told(success)
    assert sentence == (
        "After 5 episodes, MAML-TRPO holds for a block mass of 0.03 to 0.646 kg and a pad friction "
        "of 0.15 to 1.3, except where the block mass is below 0.0646 kg and the pad friction above "
        f"1.01 (0{NBSP}% of the episodes succeed). Measured were 0.03 to 3 kg and 0.15 to 1.3; "
        "beyond, less than half of the episodes succeed on average."
    )


@pytest.mark.parametrize("where", [(slice(None), slice(2, 5)), (slice(1, 3), slice(None))])
def test_a_policy_that_fails_where_it_was_trained(where) -> None:
    success = np.ones((5, 7))
    success[where] = 0.1
    (sentence,) = told(success)
    assert sentence == (
        "After 5 episodes, MAML-TRPO fails in more than half of the episodes within the training "
        "range already."
    )


def test_before_adapting_nothing_is_said_and_without_a_heat_map_neither() -> None:
    assert told(np.ones((5, 7)), episodes=(0,)) == []
    evaluation = made_up_evaluation()
    assert where_they_hold(replace(evaluation, heat_map=None)) == []
    assert where_they_hold(without(evaluation, "maml")) == []


def test_of_a_map_without_a_value_in_the_training_range_nothing_is_said() -> None:
    evaluation = made_up_evaluation()
    heat_map = evaluation.heat_map
    assert heat_map is not None
    narrow = replace(heat_map.x, train=(0.2, 0.25))
    assert where_they_hold(replace(evaluation, heat_map=replace(heat_map, x=narrow))) == []
