"""The tasks on which a policy does worst after a few episodes: harmed by adapting, or lowest.

Shape letters: S training seeds, N tasks of a split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from metarobot.envs import Split, Tasks
from metarobot.evaluation.curve import headline_episodes
from metarobot.evaluation.result import Headroom, WorstTask
from metarobot.evaluation.scores import Stage
from metarobot.evaluation.statistics import HARM

MOST_WORST_TASKS = 5
"""Of each kind, for each policy that adapts."""


@dataclass(frozen=True)
class MeasuredTasks:
    """What one policy reached on the tasks of one split."""

    split: Split
    tasks: Tasks
    """N tasks."""
    stages: Sequence[Stage]
    """Before adapting, and after one block of each number of episodes; scores (S, N)."""
    headroom: Headroom | None
    """What there is to win on the split, None where it is not known."""


def find_worst_tasks(
    algorithm: str, seeds: Sequence[int], measured: Sequence[MeasuredTasks]
) -> list[WorstTask]:
    """Return the worst tasks of a policy that adapts, after few episodes, over all splits.

    First those that adapting has harmed, the most harmed first, where the headroom says what harm
    is; then those of the lowest tenth, the lowest return first, that are not among them.

    Args:
        algorithm: Who adapts.
        seeds: Training seeds, (S,).
        measured: What it reached, split by split.
    """
    tasks = [task for part in measured for task in _tasks(algorithm, seeds, part)]
    harmed = sorted((task for task in tasks if task.harmed), key=lambda task: task.change)
    lowest = sorted(tasks, key=lambda task: task.return_after)[: -(-len(tasks) // 10)]
    harmed = harmed[:MOST_WORST_TASKS]
    others = [task for task in lowest if task not in harmed]
    return [*harmed, *others[:MOST_WORST_TASKS]]


def _tasks(algorithm: str, seeds: Sequence[int], part: MeasuredTasks) -> Iterator[WorstTask]:
    """Yield every task of a split, of every seed; none where nothing was adapted to."""
    stages: Mapping[int, Stage] = {stage.num_episodes: stage for stage in part.stages}
    number = headline_episodes(stages)
    if number is None:
        return
    before, after = stages[0].judged, stages[number].judged
    headroom = part.headroom
    harm = HARM * headroom.gap.value if headroom and headroom.is_meaningful else None
    for row, seed in enumerate(seeds):
        for index, task in enumerate(part.tasks.to_dicts()):
            change = after.returns[row, index] - before.returns[row, index]
            yield WorstTask(
                algorithm=algorithm,
                seed=seed,
                split=part.split,
                index=index,
                task=task,
                adaptation_episodes=number,
                return_before=float(before.returns[row, index]),
                return_after=float(after.returns[row, index]),
                success_before=float(before.success[row, index]),
                success_after=float(after.success[row, index]),
                harmed=harm is not None and bool(change < -harm),
            )
