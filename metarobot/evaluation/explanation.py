"""What adaptation has sensed and changed, as a value.

Letters: N tasks, P task parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

from metarobot.envs import TaskParameter
from metarobot.envs.checks import keep_plain_integers, require_integers
from metarobot.envs.tasks import Split
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.table import headline_episodes


@dataclass(frozen=True, kw_only=True)
class ExplanationConfig:
    """How much is measured."""

    num_tasks: int = 200
    """Tasks that probes are fitted to, and tasks of each split that they are judged on."""
    adaptation_episodes: tuple[int, ...] = (0, 1, 2, 5, 20)
    """Adaptation episodes of each task, in one block."""
    num_identified: int = 0
    """Tasks of each held-out split that simulation is fitted to, from the same episodes: what it
    reads was there to be read. 10 take a minute or two; nothing is fitted if not given."""
    seed: int = EvaluationConfig.seed
    """Seed of the test tasks and of their episodes."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        keep_plain_integers(self)
        require_integers(self, {"num_tasks": (10, 10_000)})
        require_integers(self, {"num_identified": (0, self.num_tasks)})
        if self.num_identified == 1:
            raise ValueError("num_identified must be 0, or at least 2: one task has no variance")
        EvaluationConfig(adaptation_episodes=self.adaptation_episodes, seed=self.seed)
        if headline_episodes(self.adaptation_episodes) is None:
            raise ValueError("adaptation_episodes must hold a number above 0: nothing would adapt")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How well a task parameter can be read: from what adaptation has changed, or by simulation."""

    parameter: str
    """Its name."""
    split: Split
    """Where the tasks are from."""
    adaptation_episodes: int
    """Adaptation episodes that it was adapted by."""
    r2: float
    """1 - (squared error of the reading) / (variance of the parameter); 0 or less: not at all."""
    low: float
    """Lower end of its 95 % interval over tasks."""
    high: float
    """Upper end."""


@dataclass(frozen=True, kw_only=True)
class Band:
    """Where a task parameter is believed to lie, in its own unit."""

    low: float
    """5 % of the belief lies below."""
    median: float
    """Half of the belief lies below."""
    high: float
    """5 % of the belief lies above."""


@dataclass(frozen=True, kw_only=True)
class BelievedTask:
    """What is believed of one held-out task, episode by episode."""

    split: Split
    """Where the task is from."""
    true: tuple[float, ...]
    """Its parameters in the simulation that vary, (P,)."""
    bands: tuple[tuple[Band, ...], ...]
    """After 0, 1, 2, .. adaptation episodes, for each of them."""
    is_used: tuple[bool, ...]
    """Whether the policy acts on it, after 0, 1, 2, .. episodes."""


@dataclass(frozen=True, kw_only=True)
class Narrowing:
    """How far the belief about a parameter has narrowed, over all held-out tasks."""

    parameter: str
    """Its name."""
    adaptation_episodes: int
    """Adaptation episodes that it was adapted by."""
    width: float
    """Width of the band as a part of that before adapting, on the scale of the parameter; mean."""
    holds_truth: float
    """Share of the tasks whose true value lies in the band."""


@dataclass(frozen=True, kw_only=True)
class StateMap:
    """What adaptation has changed on every task, in the two directions in which most of it lies."""

    adaptation_episodes: int
    """Adaptation episodes that it was adapted by."""
    places: tuple[tuple[float, float], ...]
    """(N, 2)."""
    shares: tuple[float, float]
    """Part of the variance along each direction."""


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """How an element of the action depends on a task parameter, once adapted."""

    parameter: str
    """Name of the parameter."""
    element: str
    """Name of the element."""
    change: float
    """Change of its mean over an episode, in half action ranges, from the lowest value trained on
    to the highest, all else alike."""
    of_oracle: float | None
    """The same of the policy that is told the task; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class LayerUpdate:
    """How far adaptation moves a layer."""

    layer: str
    """Name of the leaf."""
    size: float
    """Length of the change, as a part of the length of the leaf; mean over tasks."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What adaptation to one task has sensed of a parameter, in its own unit."""

    parameter: str
    """Its name."""
    true: float
    """Its value in the simulation."""
    value: float
    """The value read."""
    low: float
    """Lower end of where 95 % of the tasks in the training range lie that read alike."""
    high: float
    """Upper end."""
    is_trained: bool
    """Whether the true value lies in the training range."""


@dataclass(frozen=True, kw_only=True)
class ActionChange:
    """What adaptation to one task has changed in an element of the action, in half ranges."""

    element: str
    """Its name."""
    before: float
    """Mean over an episode, before adapting."""
    after: float
    """The same after."""


@dataclass(frozen=True, kw_only=True)
class OneTask:
    """What adaptation to one task has sensed and changed."""

    adaptation_episodes: int
    """Adaptation episodes that it was adapted by."""
    estimates: tuple[Estimate, ...]
    """By parameter."""
    changes: tuple[ActionChange, ...]
    """By element of the action."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What adaptation of one policy has sensed and changed."""

    family: str
    """Id of the family."""
    variant: str | None
    """Words for the variant of it that was trained on, if any; ranges and splits are its own."""
    parameters: tuple[TaskParameter, ...]
    """The task parameters, with the ranges trained on."""
    algorithm: str
    """How it adapts."""
    config: ExplanationConfig
    """How much was measured."""
    tasks: tuple[tuple[float, ...], ...]
    """The test tasks of the training range, (N, P), each parameter that varies in its own unit."""
    readings: tuple[Reading, ...]
    """By parameter, split and adaptation episodes."""
    identified: tuple[Reading, ...]
    """The same of a fit of simulation to the same episodes, on the first tasks of each held-out
    split, after the few episodes alone; empty if none was asked for."""
    believed: tuple[BelievedTask, ...]
    """What is believed of a few held-out tasks; empty where nothing weighs tasks."""
    narrowing: tuple[Narrowing, ...]
    """By parameter, after the few episodes; empty likewise."""
    state_map: StateMap | None
    """After the few episodes that somebody with a robot is glad to run."""
    sensitivities: tuple[Sensitivity, ...]
    """By parameter and element of the action."""
    updates: tuple[LayerUpdate, ...]
    """By layer; empty where adaptation moves no layer."""
    one_task: OneTask | None
    """Of the task that was asked about, if one was."""
    similarity: tuple[tuple[float, float], ...]
    """Distance of two tasks in the training range, and the cosine between their updates; for
    pairs, where adaptation moves layers."""

    @property
    def varying(self) -> tuple[TaskParameter, ...]:
        """The task parameters in which tasks differ: of the others there is nothing to sense."""
        return tuple(parameter for parameter in self.parameters if parameter.varies)
