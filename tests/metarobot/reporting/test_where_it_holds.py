"""Where a policy holds, told from made-up heat maps."""

from dataclasses import replace

import numpy as np
import pytest
from evaluations import made_up_evaluation, without

from metarobot.evaluation.heat_map import GridMap
from metarobot.reporting.where_it_holds import where_they_hold

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
        "the episodes succeed."
    )


def test_what_is_beyond_a_hole_does_not_count() -> None:
    success = np.ones((5, 7))
    success[:, 1] = 0.0
    (sentence,) = told(success)
    assert "a block mass of 0.139 to 3 kg" in sentence


def test_a_corner_that_fails_is_named() -> None:
    success = np.ones((5, 7))
    success[0, 6] = 0.25
    (sentence,) = told(success)
    place = "a block mass of 3 kg and a pad friction of 0.15"
    spot = f"weakest at {place}, where 25\N{NO-BREAK SPACE}% of the episodes succeed"
    assert sentence.endswith(f"{MASSES} and {FRICTIONS}; {spot}.")


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
