"""What a play session shows, as a value: a page and a window show the same."""

from __future__ import annotations

from dataclasses import dataclass

from metarobot.evaluation.explanation import Estimate
from metarobot.play.sliders import Place


@dataclass(frozen=True, kw_only=True)
class Trial:
    """An adaptation episode that is kept."""

    return_: float
    """What it returned."""
    success: bool
    """Whether it ended in success."""
    task: tuple[float, ...]
    """The task that it was tried on."""


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """How the last episodes of a policy on the present task went."""

    num_episodes: int
    """How many there were."""
    mean_return: float
    """Their mean return."""
    success: float
    """Share of them that succeeded."""


@dataclass(frozen=True, kw_only=True)
class Button:
    """Whether something can be done now."""

    enabled: bool
    """Whether it can."""
    reason: str = ""
    """Why it cannot."""


@dataclass(frozen=True, kw_only=True)
class PlayState:
    """All that is shown of a session beside the pictures."""

    task: dict[str, float]
    """Where the sliders stand."""
    places: dict[str, Place]
    """Whether each value was trained on."""
    trying: bool
    """Whether the episode in progress is a trial."""
    shown_episode: int
    """Number of the episode in view, counted from 1; 0 before the first."""
    shown_trial: int
    """Number of the trial in view, 0 if it is no trial."""
    step: int
    """Control steps since the episode began."""
    horizon: int
    """Control steps of an episode."""
    trials: tuple[Trial, ...]
    """The trials that are kept."""
    num_other: int
    """How many of them are of another task than the present one."""
    num_adapted: int
    """Trials that the policy has adapted to; 0 before adapting."""
    before: Outcomes | None
    """How the meta-learned initialisation fares; None if no episode has ended."""
    adapted: Outcomes | None
    """How the adapted policy fares on the same starts."""
    changes: tuple[str, ...]
    """What the adapted policy does differently, in words."""
    estimates: tuple[Estimate, ...]
    """What the adapted policy takes the task for, beside the truth."""
    estimate_note: str
    """What is to be known of the estimates, or why there is none."""
    buttons: dict[str, Button]
    """By what they do: try, adapt, forget."""
    note: str
    """What has just been refused, if anything."""
