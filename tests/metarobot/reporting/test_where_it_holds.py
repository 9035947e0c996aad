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


EVERYTHING = "works for all measured tasks"
MEASURED = f"Measured: {MASSES} and {FRICTIONS}."
BEYOND = (
    "Measured: 0.03 to 3 kg and 0.15 to 1.3; beyond, less than half of the episodes succeed on "
    "average."
)
CASES = {
    f"{EVERYTHING}: {MASSES} and {FRICTIONS}.": [],
    # A limit on each parameter.
    f"works for a block mass of 0.03 to 0.646 kg and a pad friction of 0.438 to 1.3. {BEYOND}": [
        (np.s_[:, 5:], 0.4),
        (0, 0.0),
    ],
    # Beyond a hole nothing counts.
    f"works for a block mass of 0.139 to 3 kg and {FRICTIONS}. {BEYOND}": [(np.s_[:, 1], 0.0)],
    # A corner is named by what still holds.
    f"{EVERYTHING}, except where the block mass is above 1.39 kg and the pad friction below 0.438 "
    f"(25{NBSP}% of the episodes succeed). {MEASURED}": [((0, 6), 0.25)],
    # A corner cut off obliquely: one of the six tasks in the box around the others holds.
    f"{EVERYTHING}, except where the block mass is above 0.3 kg and the pad friction below 0.725 "
    f"(17{NBSP}% of the episodes succeed). {MEASURED}": [
        (np.s_[0, 4:], 0.0),
        (np.s_[1, 5:], 0.0),
    ],
    # Two corners, and one task besides.
    f"{EVERYTHING}, except where the block mass is below 0.139 kg and the pad friction above 0.725 "
    f"(30{NBSP}% of the episodes succeed) or where the block mass is above 0.646 kg and the pad "
    f"friction below 0.438 (10{NBSP}%), and at 1 of 35 tasks besides. {MEASURED}": [
        (np.s_[0, 5:], 0.1),
        (np.s_[3:, :2], 0.3),
        ((4, 4), 0.0),
    ],
    # A place inside lies between values that hold.
    f"{EVERYTHING}, except where the block mass is between 0.139 and 0.646 kg and the pad friction "
    f"between 0.438 and 1.01 (0{NBSP}% of the episodes succeed). {MEASURED}": [((2, 3), 0.0)],
    # Tasks that do not touch are counted.
    f"{EVERYTHING} on average, but fails at 4 of the 35 tasks measured there, as with a block mass "
    f"of 0.03 kg and a pad friction of 0.15, where 40{NBSP}% of the episodes succeed. {MEASURED}": [
        (np.s_[0, ::2], 0.4)
    ],
    # A corner within limits.
    f"works for a block mass of 0.03 to 0.646 kg and {FRICTIONS}, except where the block mass is "
    f"below 0.0646 kg and the pad friction above 1.01 (0{NBSP}% of the episodes succeed). "
    f"{BEYOND}": [(np.s_[:, 5:], 0.0), ((4, 0), 0.0)],
    "fails in more than half of the episodes within the training range already.": [
        (np.s_[1:3], 0.1)
    ],
}
"""A sentence on success of 1 but for some tasks."""


@pytest.mark.parametrize("said", CASES)
def test_a_sentence_says_where_a_policy_holds_and_where_not(said) -> None:
    success = np.ones((5, 7))
    for place, value in CASES[said]:
        success[place] = value
    assert told(success) == [f"After 5 episodes, MAML-TRPO {said}"]


def test_before_adapting_nothing_is_said_and_without_a_heat_map_neither() -> None:
    assert told(np.ones((5, 7)), episodes=(0,)) == []
    evaluation = made_up_evaluation()
    assert where_they_hold(replace(evaluation, heat_map=None)) == []
    assert where_they_hold(without(evaluation, "maml")) == []
