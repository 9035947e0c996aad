"""A report on one robot: what a policy believes about it, whether that fits, what it will gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metarobot.algorithms.base import Algorithm, Belief, tasks_of
from metarobot.console import html_table, listed
from metarobot.envs import find_family
from metarobot.envs.checks import after_number
from metarobot.envs.family import ObservationElement
from metarobot.envs.tasks import TaskParameter, parameter_words
from metarobot.policies import Params

AS_WIDE = 0.8
"""Width of a band, as a share of that before any episode, from which the episodes do not tell."""
AT_BOUNDS = 0.9
"""Share of the steps at a bound from which an observation element is suspect."""
MOST_STDS = 20.0
"""Distance of a return from the mean of training, in standard deviations, that is suspect."""
MOST_SHOWN = 1000.0
"""Largest misfit that is written as a number."""
REWARD = "reward"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Belief about one task parameter."""

    name: str
    """Its name."""
    unit: str
    """Its unit; ``1`` for a ratio."""
    low: float
    """5 % quantile."""
    median: float
    """50 % quantile."""
    high: float
    """95 % quantile."""
    is_told: bool
    """Whether the episodes tell it: the band is narrower than before any of them."""

    def __str__(self) -> str:
        values = f"{self.median:.3g}{after_number(self.unit)} [{self.low:.3g}, {self.high:.3g}]"
        return f"{parameter_words(self.name, self.unit)} {values}"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a policy knows of the robot that it was adapted to; ``print`` it.

    A notebook shows it as a table. A policy without a belief reports its episodes alone.
    """

    algorithm: str
    """Its algorithm."""
    returns: tuple[float, ...]
    """Returns of its adaptation episodes, (E,); NaN where rewards were not measured."""
    estimates: tuple[Estimate, ...] = ()
    """Belief about each task parameter that varies; none without a belief, or before an episode."""
    misfit: float = 0.0
    """Largest error of its model, or outcome, as a share of what still fits: above 1, nothing in
    the family explains what the robot does."""
    worst_channel: str = ""
    """The reward, or the observation element, with this error."""
    advice: str = ""
    """What to check where the family does not explain the robot."""
    acts_on_belief: bool = False
    """Whether it acts on the belief; if not, as the careful policy, alike on all tasks, or by
    corrections."""
    corrects: bool = False
    """Whether it repeats a motion with corrections that it has learned from the errors."""
    expected_gain: float = 0.0
    """Gain in return that it expects of acting on the belief, over the careful policy."""
    worth_of_knowing: float = 0.0
    """Gain in return that it expects of being told the task, over acting as it does."""
    more_pays: bool = False
    """Whether more episodes are expected to pay."""

    @classmethod
    def of(
        cls,
        algorithm: Algorithm,
        params: Params,
        returns: Sequence[float],
        at_bounds: Sequence[float] = (),
    ) -> Report:
        """Report on a policy, given each leaf (1, ...).

        Args:
            algorithm: Its algorithm.
            params: Its parameters.
            returns: Of its adaptation episodes, (E,).
            at_bounds: Share of their steps in which each observation element was at a bound of the
                family, (O,).

        Raises:
            ValueError: The family is not registered.
        """
        name, belief = algorithm.config.algorithm, algorithm.belief(params)
        if belief is None or not returns:
            return cls(algorithm=name, returns=tuple(returns))
        misfit = belief.misfit[0].numpy()
        worst = int(misfit.argmax())
        elements = find_family(algorithm.config.env_id).observation_elements
        channels = [REWARD, *(element.quantity for element in elements)]
        unnamed = range(len(elements), len(misfit) - 1)
        channels += [f"observation element {index}" for index in unnamed]
        advice = [_scale_words(belief, returns)]
        if not belief.fits[0]:
            advice = [_advice(channels[worst]), *advice, _bounds_words(elements, misfit, at_bounds)]
        return cls(
            algorithm=name,
            returns=tuple(returns),
            estimates=tuple(_estimates(algorithm, belief)),
            misfit=float(misfit[worst]),
            worst_channel=channels[worst],
            advice="; ".join(filter(None, advice)),
            acts_on_belief=bool(belief.is_used[0]),
            corrects=bool(belief.corrects[0]),
            expected_gain=float(belief.gain[0]),
            worth_of_knowing=float(belief.worth_of_knowing[0]),
            more_pays=bool(belief.more_pays[0]),
        )

    @property
    def fits(self) -> bool:
        """Whether the family explains the robot."""
        return self.misfit <= 1.0

    @property
    def line(self) -> str:
        """The report in one line."""
        if not self.estimates:
            return self._episodes
        if not self.fits:
            return f"{self._misfit}: check {self.advice}; {self._acting}"
        check = f"check {self.advice}" if self.advice else ""
        told = [str(each) for each in self.estimates if each.is_told]
        unknown = [each for each in self.estimates if not each.is_told]
        names = ", ".join(parameter_words(each.name, each.unit) for each in unknown)
        unknown_words = f"the episodes cannot tell {names}" if names else ""
        parts = [", ".join(told), unknown_words, check, self._acting]
        return "; ".join(filter(None, parts))

    def __str__(self) -> str:
        rows = [(f"{label}:", text) for label, text in self._rows]
        width = max((len(label) for label, _ in rows), default=0)
        return "\n".join([self._episodes, *(f"  {label:{width}} {text}" for label, text in rows)])

    def _repr_html_(self) -> str:
        return html_table(self._episodes, (), self._rows, side="left")

    @property
    def _rows(self) -> list[tuple[str, str]]:
        """Labels and texts."""
        rows = list[tuple[str, str]]()
        if not self.estimates:
            return rows
        acting = self._acting.removeprefix("acts ")
        check = [("check", self.advice)] if self.advice else []
        if not self.fits:
            return [("fit", self._misfit), *check, ("acts", acting)]
        for each in self.estimates:
            words = parameter_words(each.name, each.unit)
            note = "" if each.is_told else "; the episodes cannot tell it"
            rows.append((words, str(each).removeprefix(f"{words} ") + note))
        fit = f"the family explains this robot (misfit {self.misfit:.2f}, allowed 1)"
        more = f"knowing the task exactly would add {self.worth_of_knowing:.2g} to the return"
        if self.corrects:
            more = f"the errors of the motion {'still' if self.more_pays else 'no longer'} fall"
        more += f": another episode is {'' if self.more_pays else 'not '}expected to pay"
        return [*rows, ("fit", fit), *check, ("acts", acting), ("more", more)]

    @property
    def _episodes(self) -> str:
        """The episodes that it was adapted to."""
        number = len(self.returns)
        if number == 0:
            return f"{self.algorithm}, before any adaptation episode"
        plural = "" if number == 1 else "s"
        known = [value for value in self.returns if not np.isnan(value)]
        earned = ""
        if known:
            low, high = min(known), max(known)
            earned = f", return {low:.2f}" + (f" to {high:.2f}" if len(known) > 1 else "")
        return f"{self.algorithm}, adapted to {number} episode{plural}{earned}"

    @property
    def _misfit(self) -> str:
        size = f"{self.misfit:.3g}" if self.misfit < MOST_SHOWN else f"above {MOST_SHOWN:g}"
        return (
            f"nothing in this family explains what this robot does (misfit {size}, allowed 1, "
            f'largest in "{self.worst_channel}")'
        )

    @property
    def _acting(self) -> str:
        if self.acts_on_belief:
            return f"acts on this, expected gain in return {self.expected_gain:.2f}"
        if self.corrects:
            return "acts by corrections of its motion, learned from the errors of the episodes"
        reason = ", as it expects no gain from this" if self.fits else ""
        return f"acts as the careful policy, alike on all tasks{reason}"


def _estimates(algorithm: Algorithm, belief: Belief) -> list[Estimate]:
    """Return the belief about each task parameter that varies."""
    family, tasks = find_family(algorithm.config.env_id).distribution, tasks_of(algorithm.config)
    before = tasks.spread(np.tile([[0.05], [0.95]], len(tasks.parameters)))
    scales, found = belief.band_scale[0].clamp(max=1 / 0.9).tolist(), []  # as wide as all splits
    for (name, (band, *_)), scale in zip(belief.bands(family).items(), scales, strict=True):
        parameter = tasks[name]
        if not parameter.varies:
            continue
        low, median, high = band.tolist()
        widest = scale * _width(parameter, *before[name])
        is_told = _width(parameter, low, high) < AS_WIDE * widest
        found.append(
            Estimate(
                name=name, unit=parameter.unit, low=low, median=median, high=high, is_told=is_told
            )
        )
    return found


def _width(parameter: TaskParameter, low: float, high: float) -> float:
    """Return the width of a band on the scale of its parameter."""
    return float(np.diff(parameter.scale(np.array([low, high])))[0])


def _advice(channel: str) -> str:
    """Return what to check where a channel does not fit."""
    if channel == REWARD:
        return "unit and sign of the reward, and effects that the family lacks"
    return (
        "unit and sign of this element and of the actions, delays, sensor noise, and effects that "
        "the family lacks"
    )


def _scale_words(belief: Belief, returns: Sequence[float]) -> str:
    """Return a note on returns of another scale than in training."""
    mean, std = belief.training_returns[0].tolist()
    known = [value for value in returns if not np.isnan(value)]
    farthest = max(known, key=lambda value: abs(value - mean), default=mean)
    if abs(farthest - mean) <= MOST_STDS * std:
        return ""
    return f"unit of the reward, as a return is {farthest:.3g}, in training {mean:.3g} ± {std:.2g}"


def _bounds_words(
    elements: Sequence[ObservationElement], misfit: np.ndarray, at_bounds: Sequence[float]
) -> str:
    """Return a note on elements that do not fit, and stay at a bound as if in another unit."""
    named = [
        f'"{element.quantity}" ({element.low:g} .. {element.high:g}{after_number(element.unit)}, '
        f"in {share:.0%} of the steps)"
        for element, share, error in zip(elements, at_bounds, misfit[1:], strict=False)
        if share >= AT_BOUNDS and error > 1.0
    ]
    return f"at or beyond a bound of the family: {listed(named, most=2)}" if named else ""
