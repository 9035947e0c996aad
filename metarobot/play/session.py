"""A play session: what can be done with a policy on a task, and what there is to show of it.

It knows no user interface.  Two simulations hold the same task and the same starts: in the first
acts the meta-learned initialisation, in the second the adapted policy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.adaptation.run import as_adaptable
from metarobot.envs import TaskError, TaskVectorEnv, Variant, find_family, make_env
from metarobot.evaluation.probes import Probe
from metarobot.play.episode import Episode, ShownEpisode, TrialEpisode
from metarobot.play.sliders import Slider, make_sliders, read_values
from metarobot.play.state import Button, PlayState, Trial
from metarobot.play.telling import changes_of, estimates_of, outcomes_of
from metarobot.reporting.filming import watched
from metarobot.rollout.seeding import Phase, numpy_generator
from metarobot.training.load import TrainedPolicy

MOST_TRIALS = 40
"""Trials that are kept: as many as an evaluation measures."""
_LAST = 10
"""Episodes that the outcomes are of, at most."""
BEFORE, ADAPTED = 0, 1
"""Simulations: of the initialisation, and of the adapted policy."""


class Motion(NamedTuple):
    """What one call of `PlaySession.advance` has moved."""

    path: list[np.ndarray]
    """Configurations (2, nq) one after the other, from where it was; two are `control_dt_s` apart,
    and a single one is the start of an episode."""
    ended: bool
    """Whether the episode has come to its end."""


class PlaySession:
    """A policy at work, episode after episode, on a task that somebody sets.

    Trials are run by the meta-learned initialisation as it explores, and adapting always learns
    from all that are kept: after E trials it has seen one block of E adaptation episodes, as in an
    evaluation.  It is not told when the task changes; trials of before stay until `forget`.

    Args:
        trained: Who acts, and adapts if it can.
        task: The task to begin with; what is not named is nominal.
        variant: What it is played on; None for the family as it is.
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
        self._family = find_family(config.env_id)
        self._policy, self._seed = as_adaptable(trained), seed
        self.env: TaskVectorEnv = make_env(
            config.env_id,
            2,
            num_threads=1,
            observe_task=trained.algorithm.observes_task,
            variant=variant,
            scene_path=config.scene,
            autoreset_mode=AutoresetMode.DISABLED,
        )
        columns = {name: [value] for name, value in (task or {}).items()}
        self.env.set_tasks(self.env.distribution.with_values(columns))
        trained_on = (config.variant or self._family).distribution
        begins_with = self.env.tasks.to_dicts()[0]
        self.sliders: tuple[Slider, ...] = make_sliders(
            trained_on, self.env.distribution, begins_with
        )
        self.probes: Mapping[int, Probe] | None = None
        """What reads the task from the adapted policy, once somebody has fitted it."""
        self._qpos = self.env.batch.bind("qpos")  # (2, nq), live
        self._episode: Episode | None = None
        self._num_shown, self._num_forgotten, self._step, self._note = 0, 0, 0, ""
        self._shown_trial = 0  # number of the trial that is in view, or was until a moment ago
        self._begin_afresh()

    def close(self) -> None:
        """Free the renderer."""
        self.env.close()

    # What a person does.

    @property
    def trying(self) -> bool:
        """Whether a trial is running; it runs to its end before anything else is done."""
        return isinstance(self._episode, TrialEpisode)

    @property
    def adapted(self) -> AdaptablePolicy | None:
        """The policy as it has adapted, None before."""
        return self._adapted

    @property
    def initial(self) -> AdaptablePolicy:
        """The meta-learned initialisation."""
        return self._policy

    def set_task(self, values: Mapping[str, float]) -> None:
        """Change the physics; the episode in progress begins anew.

        Args:
            values: By name, of some sliders or of all; each is clipped to its slider's range.

        Raises:
            TaskError: A name is unknown, a value is no finite number, the variant refuses it, or a
                trial is running.
        """
        if self.trying:
            raise TaskError("a trial is running: it runs to its end on the task it began with")
        task = self.env.tasks.to_dicts()[0] | read_values(self.sliders, values)
        self._note, self._episode = "", None
        try:
            self.env.set_tasks({name: [value] for name, value in task.items()})
        finally:
            self._forget_outcomes()

    def try_once(self) -> None:
        """Run one adaptation episode next, and keep it; without effect where it is disabled."""
        if self._can_try().enabled:
            self._note, self._episode = "", TrialEpisode(self._session)
            self._shown_trial = len(self._trials) + 1
            self._begin(self._draw_start(Phase.ADAPTATION, self._session.num_recorded))

    def adapt(self) -> None:
        """Adapt the initialisation to all trials that are kept; no effect where it is disabled."""
        if not self._can_adapt().enabled:
            return
        self._note, self._episode = "", None
        try:
            self._adapted = self._policy.adapt_from(self._session.recorded)
        except ValueError as error:  # rewards so large that nothing finite comes of them
            self._note = str(error)
        self._forget_outcomes()

    def forget(self) -> None:
        """Go back to the meta-learned initialisation, without trials; no effect if disabled."""
        if not self._can_forget().enabled:
            return
        self._num_forgotten += 1
        self._note = ""
        self._begin_afresh()

    def refuse(self, why: str) -> None:
        """Show why something was not done."""
        self._note = why

    # What happens meanwhile.

    def advance(self) -> Motion:
        """Take one control step, or begin the next episode where there is none."""
        if self._episode is None:
            self._episode = ShownEpisode([self._policy, self._adapted or self._policy])
            self._begin(self._draw_start(Phase.RENDERING, self._num_shown))
            self._num_shown, self._shown_trial = self._num_shown + 1, 0
            return Motion([self._qpos.copy()], ended=False)
        path = [self._qpos.copy()]
        actions = self._episode.act(self._observations)
        with watched(self.env, lambda: path.append(self._qpos.copy())):
            self._observations, rewards, terminated, truncated, info = self.env.step(actions)
        self._episode.take(actions, rewards, terminated | truncated, info["is_success"])
        self._step, ended = self._episode.num_steps, self._episode.over
        if ended:
            self._conclude(self._episode)
            self._episode = None
        return Motion(path, ended)

    def _begin(self, start: np.ndarray) -> None:
        """Begin an episode in both simulations at the same start, (S,)."""
        self._step = 0
        self._observations, _ = self.env.reset(options={"start": np.stack([start, start])})

    def _draw_start(self, phase: Phase, number: int) -> np.ndarray:
        generator = numpy_generator(self._seed, self._num_forgotten, phase, task=number)
        return generator.random(self.env.start_size, dtype=np.float32)

    def _conclude(self, episode: Episode) -> None:
        """Take note of how an episode went."""
        if isinstance(episode, TrialEpisode):
            result = episode.results[BEFORE]
            self._trials.append(
                Trial(return_=result.total, success=result.success, task=self._task_values())
            )
            return
        for sim in self._shown_sims():
            self._results[sim].append(episode.results[sim])
        self._means = [result.mean_action for result in episode.results]

    def _begin_afresh(self) -> None:
        self._adapted: AdaptablePolicy | None = None
        self._trials: list[Trial] = []
        self._episode = None
        if self._policy.algorithm.adapts:
            seed = self._seed + self._num_forgotten
            self._session = self._policy.session(episodes=MOST_TRIALS, seed=seed)
        self._forget_outcomes()

    def _forget_outcomes(self) -> None:
        """Begin to count episodes anew: the task or the policy is another."""
        self._results = [deque(maxlen=_LAST), deque(maxlen=_LAST)]
        self._means: list[np.ndarray] = []

    # What there is to show.

    def _shown_sims(self) -> tuple[int, ...]:
        return (BEFORE, ADAPTED) if self._adapted else (BEFORE,)

    @property
    def pictures(self) -> tuple[int, ...]:
        """Which simulations are worth a picture now; a trial is the same in both."""
        return (BEFORE,) if self.trying else self._shown_sims()

    @property
    def state(self) -> PlayState:
        """All that is shown beside the pictures."""
        task = self.env.tasks.to_dicts()[0]
        estimates, note = estimates_of(self._policy, self._adapted, self.env.tasks, self.probes)
        values = self._task_values()
        return PlayState(
            task={slider.name: task[slider.name] for slider in self.sliders},
            places={slider.name: slider.place(task[slider.name]) for slider in self.sliders},
            trying=self.trying,
            shown_episode=self._num_shown,
            shown_trial=self._shown_trial,
            step=self._step,
            horizon=self.env.horizon,
            trials=tuple(self._trials),
            num_other=sum(trial.task != values for trial in self._trials),
            num_adapted=self._num_adapted,
            before=outcomes_of(self._results[BEFORE]),
            adapted=outcomes_of(self._results[ADAPTED]) if self._adapted else None,
            changes=changes_of(self._policy, self._means) if self._adapted else (),
            estimates=estimates,
            estimate_note=note,
            buttons={
                "try": self._can_try(),
                "adapt": self._can_adapt(),
                "forget": self._can_forget(),
            },
            note=self._note,
        )

    @property
    def _num_adapted(self) -> int:
        return 0 if self._adapted is None else self._adapted.num_episodes

    def _task_values(self) -> tuple[float, ...]:
        return tuple(self.env.tasks.values[0].tolist())

    def _can_try(self) -> Button:
        if not self._policy.algorithm.adapts:
            return Button(enabled=False, reason=f"{self._policy.config.algorithm} does not adapt")
        if self._session.complete:
            return Button(enabled=False, reason=f"{MOST_TRIALS} trials are kept, the most: forget")
        return Button(enabled=not self.trying, reason="a trial is running" * self.trying)

    def _can_adapt(self) -> Button:
        can_try = self._can_try()
        if not self._policy.algorithm.adapts or self.trying:
            return can_try
        if not self._trials:
            return Button(enabled=False, reason="try once first: there is no trial to learn from")
        is_new = len(self._trials) > self._num_adapted
        return Button(enabled=is_new, reason="" if is_new else "it has adapted to all trials")

    def _can_forget(self) -> Button:
        can_try = self._can_try()
        if not self._policy.algorithm.adapts or self.trying:
            return can_try
        is_fresh = not self._trials
        return Button(enabled=not is_fresh, reason="there is nothing to forget" * is_fresh)
