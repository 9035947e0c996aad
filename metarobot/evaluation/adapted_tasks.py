"""What a policy has become on a set of tasks, and from which episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metarobot.evaluation.task_set import TaskSet
from metarobot.policies import Params
from metarobot.rollout.episodes import Episodes
from metarobot.training.load import TrainedPolicy


class AdaptedTasks:
    """A policy adapted to N tasks, by the number of adaptation episodes.

    Args:
        task_set: The tasks.
        trained: Who adapts.
        numbers: Numbers of adaptation episodes; 0 among them.
        episodes: The episodes to adapt to; collected if not given.
    """

    def __init__(
        self,
        task_set: TaskSet,
        trained: TrainedPolicy,
        numbers: Sequence[int],
        episodes: Episodes | None = None,
    ) -> None:
        self.task_set, self.trained = task_set, trained
        self.episodes = task_set.explore(trained, max(numbers)) if episodes is None else episodes
        self.params: dict[int, Params] = task_set.adapted_to(trained, self.episodes, numbers)
        state = trained.algorithm.adapted_state
        self.states = {
            number: state(self.params[0], params).double().numpy()
            for number, params in self.params.items()
        }  # (N, F) each

    def first(self, num_tasks: int, numbers: Sequence[int]) -> AdaptedTasks:
        """Return the first tasks, adapted to other numbers of the same episodes."""
        rows = slice(0, num_tasks)
        task_set = replace(self.task_set, tasks=self.task_set.tasks.rows(rows))
        return AdaptedTasks(task_set, self.trained, numbers, self.episodes.rows(rows))
