"""Which tasks are the worst: those harmed by adapting, then the lowest tenth."""

import numpy as np
from evaluations import headroom

from metarobot.envs import Tasks
from metarobot.evaluation.evaluate import MOST_WORST_TASKS, MeasuredTasks, find_worst_tasks
from metarobot.evaluation.task_set import Scores, Stage

MASSES = np.linspace(0.1, 1.0, 20)


def measured(before, after, *, gap=True, episodes=5, split="train"):
    """One seed, 20 tasks; the returns that are not given are 0."""
    returns = [np.zeros((1, 20)), np.zeros((1, 20))]
    for array, given in zip(returns, (before, after), strict=True):
        for index, value in given.items():
            array[0, index] = value
    scores = [Scores(each, (each >= 0).astype(float)) for each in returns]
    stages = [Stage(0, scores[0], None), Stage(episodes, scores[1], scores[1])]
    return MeasuredTasks(split, Tasks({"m": MASSES}), stages, headroom(split) if gap else None)


def test_harmed_tasks_come_first_the_most_harmed_first():
    part = measured({3: -1.0, 4: -0.5, 7: -9.0}, {3: -1.1, 4: -0.9, 5: -0.04, 7: -9.0})
    worst = find_worst_tasks("maml", [7], [part])
    assert [(task.index, task.harmed) for task in worst] == [(4, True), (3, True), (7, False)]
    first = worst[0]
    assert first.task == {"m": MASSES[4]}
    assert (first.algorithm, first.seed, first.split) == ("maml", 7, "train")
    assert (first.return_before, first.return_after, first.adaptation_episodes) == (-0.5, -0.9, 5)
    assert (first.success_before, first.success_after) == (0.0, 0.0)


def test_without_headroom_nobody_can_say_what_harm_is():
    part = measured({}, {3: -1.1, 4: -0.9}, gap=False)
    worst = find_worst_tasks("maml", [0], [part])
    assert [(task.index, task.harmed) for task in worst] == [(3, False), (4, False)]


def test_they_are_the_worst_of_all_splits_and_few():
    easy = measured({}, {index: -0.1 * index for index in range(20)})
    hard = measured({}, {2: -5.0}, split="extrapolation")
    worst = find_worst_tasks("maml", [0], [easy, hard])
    assert (worst[0].split, worst[0].index) == ("extrapolation", 2)
    assert len(worst) == MOST_WORST_TASKS  # the lowest tenth, 4 tasks, is among the harmed
    assert all(task.harmed for task in worst)


def test_nothing_was_adapted_to():
    part = measured({}, {3: -1.0}, episodes=5)
    before_alone = MeasuredTasks(part.split, part.tasks, part.stages[:1], part.headroom)
    assert find_worst_tasks("maml", [0], [before_alone]) == []
