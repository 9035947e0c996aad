"""A policy at work on a task that the user sets; it knows no user interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.adaptation.run import as_adaptable
from metarobot.algorithms.base import Belief, tasks_of
from metarobot.envs import (
    TaskDistribution,
    TaskError,
    TaskParameter,
    Variant,
    find_family,
    find_native,
    parameter_words,
)
from metarobot.evaluation.explain import ActionChange
from metarobot.reporting.camera import watched
from metarobot.reporting.explanation import change_words
from metarobot.reporting.play.tasks import SHOWN_EPISODES, draw_start, draw_surprise
from metarobot.rollout.seeding import Phase
from metarobot.training.load import TrainedPolicy

MOST_TRIALS = 40
"""Trials that are kept: as many as an evaluation measures."""
BEFORE, ADAPTED = 0, 1
"""Simulations: of the initialisation, and of the adapted policy."""
_LAST = 10
"""Episodes that the success and the mean return are of, at most."""
_SHORT_M = 0.1
"""Length below which all lengths of a parameter are shown in millimetres."""


class Slider(NamedTuple):
    """The range of one task parameter on the page."""

    parameter: TaskParameter
    """The parameter, with the ranges trained on."""
    low: float
    """Lowest value that can be set, in the parameter's own unit."""
    high: float
    """Highest value."""
    unit: str
    """Unit in which values are shown; empty for a ratio."""
    scale: float
    """Factor from the parameter's own unit to that unit."""
    choices: tuple[float, ...]
    """The only values there are; any where empty."""

    @classmethod
    def make_all(
        cls, trained: TaskDistribution, played: TaskDistribution, task: Mapping[str, float]
    ) -> dict[str, Slider]:
        """Return a slider for every parameter that tasks differ in, by its name.

        Args:
            trained: The tasks trained on.
            played: The tasks that can be played: the same, or those of a variant.
            task: The first task, which every slider can show.
        """
        sliders = {}
        for name in played.names:
            edges = [task[name]]
            for each in (trained[name], played[name]):
                edges += [edge for pair in (each.train, *each.extrapolation) for edge in pair]
            low, high = np.clip([min(edges), max(edges)], *played[name].allowed).tolist()
            unit, scale = played[name].unit, 1.0
            if unit == "m" and max(abs(low), abs(high)) < _SHORT_M:
                unit, scale = "mm", 1000.0
            if low < high:
                unit = "" if unit == "1" else unit
                sliders[name] = cls(trained[name], low, high, unit, scale, played[name].choices)
        return sliders

    @property
    def label(self) -> str:
        """The parameter's name for people, with its unit."""
        words = parameter_words(self.parameter.name, self.parameter.unit)
        return f"{words} [{self.unit}]" if self.unit else words

    def words(self, value: float) -> str:
        """Return a value as it is shown, without its unit."""
        return f"{self.scale * value:.3g}"

    def percent(self, value: float) -> float:
        """Return where a value lies between both ends, in percent; one beyond lies at the end."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)


class Outcome(NamedTuple):
    """The result of one episode."""

    return_: float
    """Sum of its rewards."""
    success: bool
    """Whether it ended in success."""
    words: str
    """How it ended, such as "block slips"."""


class PlaySession:
    """A policy at work, episode after episode, on a task that the user sets.

    Two simulations hold the same task and the same starts: in the first acts the meta-learned
    initialisation, in the second the adapted policy.  Trials are run by the initialisation as it
    explores, and adapting always learns from all that are kept: after E trials the policy has seen
    one block of E adaptation episodes, as in an evaluation.  It gets no signal of task changes;
    trials of before stay until `forget`.

    Args:
        trained: The policy.
        task: The first task; parameters not named are nominal.
        variant: The variant that is played; None for the family as it is.
        seed: Seed of the starts, and of the action noise of trials.

    Raises:
        TaskError: The family does not allow the task.
    """

    def __init__(
        self,
        trained: TrainedPolicy,
        *,
        task: Mapping[str, float] | None = None,
        variant: Variant | None = None,
        seed: int = 0,
    ) -> None:
        config = trained.config
        self.policy, self._seed = as_adaptable(trained), seed
        self.env = find_native(config.env_id, "the viewer")(
            2,
            num_threads=1,
            observe_task=trained.algorithm.observes_task,
            variant=variant,
            scene_path=config.scene,
            autoreset_mode=AutoresetMode.DISABLED,
        )
        columns = {name: [value] for name, value in (task or {}).items()}
        self.env.set_tasks(self.env.distribution.with_values(columns))
        self.sliders = Slider.make_all(tasks_of(config), self.env.distribution, self.task)
        self._qpos = self.env.batch.bind("qpos")  # (2, nq), live
        self._num_shown, self._num_forgotten = 0, -1
        self._surprises = np.random.default_rng(seed)
        self.forget()

    # Commands.

    def demonstrate(self) -> None:
        """Begin afresh: run trials in a hurry, adapt to them, then show before and after."""
        if self.policy.algorithm.adapts:
            if self.trials or self.num_waiting:
                self.forget()
            self.adapt_to(SHOWN_EPISODES)
            self.hurried, self._num_shown = True, 0

    def begin_task(self, values: Mapping[str, float]) -> None:
        """Change the physics, forget the trials, and draw starts and noise as at the beginning.

        Args:
            values: As of `set_task`, but parameters not named are nominal.

        Raises:
            TaskError: The variant refuses it.
        """
        nominal = self.env.distribution.nominal().to_dicts()[0]
        self._num_forgotten = -1
        self.forget()
        self.set_task({**nominal, **values})

    def surprise(self) -> None:
        """Begin a random task of a held-out split."""
        self.begin_task(draw_surprise(self.env.distribution, self._surprises).to_dicts()[0])

    @property
    def task(self) -> dict[str, float]:
        """The present task."""
        return self.env.tasks.to_dicts()[0]

    def set_task(self, values: Mapping[str, float]) -> None:
        """Change the physics; the episode in progress begins anew.

        Args:
            values: By name, some parameters; each is clipped to the range of its slider.

        Raises:
            TaskError: The variant refuses it, or a trial is running.
        """
        if self.trying:
            raise TaskError("a trial is running: it runs to its end on the task it began with")
        task = self.task
        for name, value in values.items():
            if slider := self.sliders.get(name):
                task[name] = float(np.clip(value, slider.low, slider.high))
        self._stop_episode()
        self.env.set_tasks({name: [value] for name, value in task.items()})

    def adapt_to(self, num_trials: int) -> None:
        """Run so many more trials next, keep them, and adapt to all that are kept."""
        if self.policy.algorithm.adapts:
            room = MOST_TRIALS - len(self.trials)
            self.num_waiting = min(self.num_waiting + num_trials, room)
            if not self.trying:
                self._stop_episode()

    def forget(self) -> None:
        """Go back to the meta-learned initialisation, without trials."""
        self._num_forgotten += 1
        self.adapted: AdaptablePolicy | None = None
        self.trials: list[Outcome] = []
        """The trials that are kept."""
        self._tasks_of_trials: list[dict[str, float]] = []
        self.num_waiting = 0
        """Trials that are still to be run, with the one in progress."""
        self.hurried = False
        """Whether trials are run as part of a demonstration, faster than the user looks."""
        if self.policy.algorithm.adapts:
            seed = self._seed + self._num_forgotten
            self._recorder = self.policy.session(episodes=MOST_TRIALS, seed=seed)
        self._stop_episode()

    def _stop_episode(self) -> None:
        """End the episode in progress, and count anew: the task or the policy is another one."""
        self.trying = False
        """Whether the episode in progress is a trial."""
        self._running = np.zeros(2, bool)
        self.outcomes: tuple[list[Outcome], list[Outcome]] = ([], [])
        """The episodes of both policies on the present task, the last one last."""
        self._mean_actions: np.ndarray | None = None
        self.note = ""
        """Reason why the last command failed, if it did."""

    # The episodes.

    @property
    def running(self) -> bool:
        """Whether an episode is in progress."""
        return bool(self._running.any())

    def advance(self) -> list[np.ndarray]:
        """Take one control step, or begin the next episode where none is in progress.

        Returns:
            Configurations (2, nq) one after the other, `control_dt_s` apart; a single one at the
            start of an episode.
        """
        if not self.running:
            self._begin()
            return [self._qpos.copy()]
        path = [self._qpos.copy()]
        actions, running = self._act(), self._running
        with watched(self.env, lambda: path.append(self._qpos.copy())):
            self._observations, rewards, terminated, truncated, info = self.env.step(actions)
        self._rewards = rewards
        self._returns += np.where(running, rewards, 0.0)
        self._success = np.where(running, info["is_success"], self._success)
        self._actions_taken.append(np.where(running[:, None], actions, np.nan))
        self._running = running & ~(terminated | truncated)
        if self.trying:
            ended, success = bool(not self._running[BEFORE]), bool(self._success[BEFORE])
            self._recorder.record(float(rewards[BEFORE]), truncated=ended, success=success)
        if not self.running:
            self._finish()
        return path

    def _begin(self) -> None:
        """Begin an episode in both simulations at the same start."""
        self.trying = self.num_waiting > 0
        if self.trying:
            self._recorder.begin()
            address = (Phase.ADAPTATION, len(self.trials))
        else:
            for policy in self._acting:
                policy.forget()
                policy.begin()
            address, self._num_shown = (Phase.RENDERING, self._num_shown), self._num_shown + 1
        start = draw_start(self._seed, self._num_forgotten, *address, self.env.start_size)
        self._observations, _ = self.env.reset(options={"start": np.stack([start, start])})
        self._running, self._success = np.ones(2, bool), np.zeros(2, bool)
        self._returns, self._rewards = np.zeros(2), None
        self._actions_taken: list[np.ndarray] = []

    @property
    def _acting(self) -> list[AdaptablePolicy]:
        return [self.policy] if self.adapted is None else [self.policy, self.adapted]

    def _act(self) -> np.ndarray:
        """Return the actions (2, A); a trial, and a policy that has not adapted, act in both."""
        if self.trying:
            actions = [self._recorder.act(self._observations[BEFORE])]
        else:
            rewards = [None, None] if self._rewards is None else map(float, self._rewards)
            rows = zip(self._acting, self._observations, rewards, strict=False)
            actions = [policy.act(seen, reward=reward) for policy, seen, reward in rows]
        return np.stack([actions[0], actions[-1]])

    def _finish(self) -> None:
        """Take note of an episode that has ended; adapt after the last trial."""
        ends = zip(self._returns.tolist(), self._success.tolist(), strict=True)
        results = [
            Outcome(total, success, self.env.outcome_words(sim, success))
            for sim, (total, success) in enumerate(ends)
        ]
        if not self.trying:
            self._mean_actions = np.nanmean(self._actions_taken, axis=0)
            for outcomes, result in zip(self.outcomes, results, strict=True):
                outcomes.append(result)
                del outcomes[:-_LAST]
            return
        self.trials.append(results[BEFORE])
        self._tasks_of_trials.append(self.task)
        self.num_waiting -= 1
        if self.num_waiting == 0:
            self.hurried = False
            self._stop_episode()
            try:
                self.adapted = self.policy.adapt_from(self._recorder.recorded)
            except ValueError as error:  # rewards so large that nothing finite comes of them
                self.note = str(error)

    # Results.

    @property
    def num_other(self) -> int:
        """Trials that are of another task than the present one."""
        return sum(task != self.task for task in self._tasks_of_trials)

    @property
    def belief(self) -> Belief | None:
        """Posterior of the adapted policy over tasks; None before adapting, or if it has none."""
        if self.adapted is None:
            return None
        return self.policy.algorithm.belief(self.adapted.task_params)

    @property
    def estimates(self) -> dict[str, list[float]]:
        """Posterior of each parameter after adapting: 5 % quantile, median and 95 % quantile."""
        if (belief := self.belief) is None:
            return {}
        # Task codes use the family's scale, also for a policy trained on a variant.
        distribution = find_family(self.policy.config.env_id).distribution
        bands = belief.bands(distribution)
        return {name: bands[name][0].tolist() for name in self.sliders}

    @property
    def changes(self) -> list[str]:
        """Changes of the mean action of the last episode by adapting, in words."""
        if self.adapted is None or self._mean_actions is None:
            return []
        env_id = self.policy.config.env_id
        elements = find_family(env_id).action_elements
        pairs = zip(elements, *self._mean_actions.tolist(), strict=True)
        changes = [
            ActionChange(element=e, before=before, after=after) for e, before, after in pairs
        ]
        return [*change_words(env_id, changes)]
