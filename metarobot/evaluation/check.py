"""A check of a task family before training: whether the task matters, is seen, and pays."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from metarobot.algorithms import STANDARD_ALGORITHMS, configure
from metarobot.config import RunConfig, find_preset
from metarobot.envs import ObservationElement, find_family
from metarobot.envs.checks import after_number
from metarobot.envs.scene import quiet_mujoco
from metarobot.evaluation.simple_policies import (
    NOISE_LEVELS,
    NOTHING,
    Effects,
    Played,
    Searched,
    Simulator,
    make_simulator,
    measure_effects,
    noisy_returns,
    recognise,
    search,
)
from metarobot.training.train import make_trainer

ERRORS, LEAST_PART = 2.0, 0.03
"""A gain counts from so many standard errors, and from this part of the distance from random
plans to the best policy of each task."""
RECOGNISED = 0.3
"""R² from which one episode tells a parameter."""
_ITERATIONS, _ITERATIONS_PER_PARAMETER = 100, 50
"""Meta-iterations of a proposed budget. The package's presets spend 50 to 420 of them, for 1 to 5
parameters."""
_MOST_ITERATION_STEPS = 100_000
"""Control steps of a meta-iteration, beyond which fewer episodes are proposed."""
_SLACK = 0.1
"""Part of an observation's bounds by which it may lie outside without a word."""
_OUTSIDE, _OFTEN_OUTSIDE, _OFTEN_UNSTABLE = 0.05, 0.5, 0.1
"""Shares of the steps, and of the episodes, from which it is said, and blocks."""
_NARROW = 0.02
"""Part of its bounds that an observation at least fills."""
_NEARLY_ALL = 0.9


@dataclass(frozen=True)
class Finding:
    """One line: what was seen, why it matters, the way out."""

    level: str
    """``ok``, ``warning``, or ``blocking`` where training cannot give what it is for."""
    topic: str
    """Part of the family that it is about."""
    text: str
    """The line."""


@dataclass(frozen=True, kw_only=True)
class ParameterCheck:
    """What one task parameter does, the others as they are."""

    name: str
    """Its name."""
    return_effect: float
    """Standard deviation of the return of the same actions that it accounts for."""
    trajectory_effect: float
    """Part of the variance of the observations, 0 to 1."""
    price: float
    """Return lost by the best policy of a task where this parameter is another one."""
    price_error: float
    """Its standard error."""
    seen: float
    """R² of the parameter from the observations of one episode; 0 is a guess."""
    seen_with_rewards: float
    """The same, from observations and rewards."""


@dataclass(frozen=True, kw_only=True)
class FamilyCheck:
    """Result of `metarobot.check_family`; its text is what ``metarobot check`` prints."""

    env_id: str
    """Id of the family."""
    parameters: tuple[ParameterCheck, ...]
    """The task parameters that vary."""
    random_return: float
    """Mean return of random plans."""
    shared_return: float
    """Mean return of the best policy found for all tasks together."""
    told_return: float
    """Mean return of the best policies found, one for each task."""
    gain: float
    """told_return - shared_return, a lower bound of the headroom."""
    gain_error: float
    """Its standard error."""
    findings: tuple[Finding, ...]
    """All findings, by topic."""
    steps_per_s: float
    """Control steps per second in training on this machine, with the updates."""
    proposal: RunConfig
    """Configuration with the values that follow from the measurements."""
    reasons: tuple[str, ...]
    """A line for each of these values."""
    episodes: int
    """Number of simulated episodes."""
    seconds: float
    """Time of the check."""

    @property
    def trainable(self) -> bool:
        """Whether no finding is blocking."""
        return all(each.level != "blocking" for each in self.findings)

    @property
    def command(self) -> str:
        """Command line that trains with the proposal."""
        preset, module = find_preset(self.env_id), find_family(self.env_id).__module__
        own = "" if module.startswith("metarobot.") else f"{module}:"
        changed = [
            f"--{name.replace('_', '-')} {getattr(self.proposal, name)}"
            for name in ("total_steps", "episodes_per_task", "discount", "initial_std")
            if getattr(self.proposal, name) != getattr(preset, name)
        ]
        return " ".join([f"metarobot train {own}{self.env_id}", *changed])

    def must_be_known(self, parameter: ParameterCheck) -> bool:
        """Whether being wrong about a parameter measurably costs return."""
        least = LEAST_PART * (self.told_return - self.random_return)
        return parameter.price > max(ERRORS * parameter.price_error, least)

    def __str__(self) -> str:
        headings = ("parameter", "return ±", "of trajectories", "price if wrong", "seen, R²")
        headings += ("with rewards",)
        rows = [
            (
                each.name,
                f"{each.return_effect:.3g}",
                f"{each.trajectory_effect:.0%}",
                f"{each.price:.3g} ± {each.price_error:.2g}",
                f"{each.seen:.2f}",
                f"{each.seen_with_rewards:.2f}",
            )
            for each in self.parameters
        ]
        widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (headings, *rows)
        ]
        findings = [f"{each.level:<10}{each.topic}: {each.text}" for each in self.findings]
        verdict = "trainable" if self.trainable else "not trainable: mend what is blocking"
        verdict += f" ({self.episodes:,} episodes in {self.seconds:.0f} s)"
        proposal = ["proposed values:", *(f"  {reason}" for reason in self.reasons)]
        proposal += [f"  {self.command}"]
        return "\n".join([*table, "", *findings, "", *proposal, "", verdict])


def check_family(
    config: RunConfig, *, at_most_s: float, progress: Callable[[str, float], None]
) -> FamilyCheck:
    """Check a task family before training, with simple policies and without learning.

    Args:
        config: Names the family, its variant and its scene. If it is more than the defaults of
            `RunConfig`, its values stay in the proposal.
        at_most_s: Time that the check may take, about, in seconds. Slow simulations are measured on
            fewer episodes.
        progress: Called with a stage and the share of the work done.
    """
    began, rng = time.perf_counter(), np.random.default_rng(config.seed)
    progress("speed", 0.0)
    with quiet_mujoco(), np.errstate(all="ignore"):
        sim = make_simulator(config, at_most_s)
        with closing(sim.env):
            progress("effects of task, start and actions", 0.05)
            effects = measure_effects(sim, rng)
            sim.fit_features(effects.base.observations)
            stage = "search with and without the task"
            several = 2 if effects.returns["start"] > effects.returns["task"] else 1
            found = search(sim, rng, several, lambda share: progress(stage, 0.2 + 0.6 * share))
            noisy = noisy_returns(sim, rng)
            progress("recognition of the task", 0.8)
            seen = [recognise(sim, rng, each) for each in (sim.quick_plan(rng), found.shared)]
        progress("speed of training", 0.9)
        told_return = float(found.told_played.returns.mean())
        proposal, reasons = _propose(config, sim, effects, noisy, told_return)
        trainer = make_trainer(configure(proposal, STANDARD_ALGORITHMS[0]))
        with closing(trainer.env):
            steps_per_s = trainer.step()["time/fps"]
    check = FamilyCheck(
        env_id=config.env_id,
        parameters=tuple(
            ParameterCheck(
                name=name,
                return_effect=effects.returns[name],
                trajectory_effect=effects.trajectories[name],
                price=found.prices[name][0],
                price_error=found.prices[name][1],
                seen=max(kind[name][0] for kind in seen),
                seen_with_rewards=max(max(kind[name]) for kind in seen),
            )
            for name in (p.name for p in sim.distribution.parameters if p.varies)
        ),
        random_return=float(effects.base.returns.mean()),
        shared_return=float(found.shared_played.returns.mean()),
        told_return=told_return,
        gain=found.gain[0],
        gain_error=found.gain[1],
        findings=(),
        steps_per_s=steps_per_s,
        proposal=proposal,
        reasons=reasons,
        episodes=sim.episodes,
        seconds=time.perf_counter() - began,
    )
    played = (effects.base, found.told_played, found.shared_played)
    basic = [*_task_findings(check, effects), *_action_findings(sim, effects)]
    basic += _reward_findings(sim, effects, found)
    blocked = any(each.level == "blocking" for each in basic)
    pays = [] if blocked else [*_gain_findings(check, effects, found), *_seen_findings(check)]
    findings = (*basic, *pays, *_element_findings(sim, played), _cost_finding(check))
    return replace(check, findings=findings)


def _propose(
    config: RunConfig,
    sim: Simulator,
    effects: Effects,
    noisy: dict[float, float],
    told_return: float,
) -> tuple[RunConfig, tuple[str, ...]]:
    """Return the configuration with values that follow from the family, and a reason for each.

    A family with a preset keeps its values.

    Args:
        config: What was given.
        sim: Simulator of the family.
        effects: Effects of its parts.
        noisy: Mean returns of zero actions, by the noise on them.
        told_return: Mean return of the best policies found.
    """
    horizon, tasks, episodes = sim.horizon, config.num_tasks, config.episodes_per_task
    if tasks * episodes * horizon > _MOST_ITERATION_STEPS:
        episodes = min(episodes, max(5, _MOST_ITERATION_STEPS // (tasks * horizon)))
    varying = sum(each.varies for each in sim.distribution.parameters)
    iterations = _ITERATIONS + _ITERATIONS_PER_PARAMETER * varying
    steps, lag = iterations * tasks * episodes * horizon, effects.reward_lag
    gained = max(0.0, told_return - noisy[0.0])
    costs = {std: max(0.0, noisy[0.0] - noisy[std]) for std in NOISE_LEVELS}
    std = next((std for std, cost in costs.items() if cost <= gained), NOISE_LEVELS[-1])
    wanted: dict[str, tuple[Any, str]] = {
        "total_steps": (
            int(float(f"{steps:.1e}")),
            f"{iterations} meta-iterations, {_ITERATIONS} and {_ITERATIONS_PER_PARAMETER} a task "
            f"parameter, of {tasks} x {episodes} episodes of {horizon} control steps",
        ),
        "episodes_per_task": (
            episodes,
            f"a meta-iteration then has {tasks * episodes * horizon:,} control steps",
        ),
        "discount": (
            round(min(max(1 - 1 / (4 * lag), 0.95), 0.999), 3),
            f"90 % of an action's effect on the rewards comes within {lag} control steps",
        ),
        "initial_std": (
            std,
            f"on actions of zero, noise of it costs {costs[std]:.3g} of return and 0.5 costs "
            f"{costs[NOISE_LEVELS[0]]:.3g}; the search gained {gained:.3g}",
        ),
    }
    kept = replace(config, seed=0) != RunConfig(env_id=config.env_id)
    values, reasons = {}, []
    for name, (value, why) in wanted.items():
        own = getattr(config, name)
        values[name] = own if kept else value
        differs = f", as the preset has it; {value:,} would follow" if values[name] != value else ""
        reasons.append(f"{name} {values[name]:,}{differs}: {why}")
    return replace(config, **values), tuple(reasons)


def _task_findings(check: FamilyCheck, effects: Effects) -> Iterator[Finding]:
    task, start = effects.returns["task"], effects.returns["start"]
    shown = effects.trajectories["task"]
    scale = NOTHING * max(effects.spread, abs(check.random_return), NOTHING)
    if task > scale or any(map(check.must_be_known, check.parameters)):
        text = (
            f"the same actions return ±{task:.3g} from task to task and ±{start:.3g} from start to "
            f"start; tasks make {shown:.0%} of what is observed, starts "
            f"{effects.trajectories['start']:.0%}"
        )
        yield Finding("ok", "task", text)
    elif shown > NOTHING:
        text = (
            "tasks differ in the observations, but the same actions return the same: only a policy "
            "that acts on what it observes can gain by knowing the task, as that of a sensor's "
            "error; else reward what the task makes harder, or widen the ranges of train"
        )
        yield Finding("warning", "task", text)
    else:
        text = (
            "the same actions from the same start give the same observations and rewards in every "
            "task, so there is nothing to adapt to: let the simulation take its task"
        )
        yield Finding("blocking", "task", text)
        return
    idle = [
        each.name
        for each in check.parameters
        if each.return_effect <= scale and each.trajectory_effect <= NOTHING and not each.price
    ]
    if idle:
        text = (
            f"{', '.join(idle)} changed nothing in any episode, and every hidden parameter costs "
            "training: does _apply_tasks write it? Else leave it out"
        )
        yield Finding("warning", "task", text)


def _gain_findings(check: FamilyCheck, effects: Effects, found: Searched) -> Iterator[Finding]:
    success = [each.success.mean() for each in (found.shared_played, found.told_played)]
    gain = f"{check.gain:.3g} ± {check.gain_error:.2g}"
    figures = (
        f"return {check.shared_return:.3g} with one policy for all of {len(found.tasks)} tasks, "
        f"{check.told_return:.3g} with one for each (success {success[0]:.0%} and "
        f"{success[1]:.0%}), {check.random_return:.3g} with random plans"
    )
    needed = ", ".join(each.name for each in check.parameters if check.must_be_known(each))
    way = check.told_return - check.random_return
    if way <= ERRORS * effects.spread / math.sqrt(len(effects.base.returns)):
        text = (
            f"the search found nothing better than random plans ({figures}): reward the way to the "
            "goal, not the goal alone, or try actions of your own by hand"
        )
        yield Finding("warning", "headroom", text)
    elif check.gain > max(ERRORS * check.gain_error, LEAST_PART * way):
        text = f"knowing the task gains at least {gain}: {figures}"
        text += f"; it must know {needed}" if needed else ""
        yield Finding("ok", "headroom", text)
    else:
        way_out = "one policy may do for all, so widen the ranges of train"
        if needed:
            way_out = f"but a wrong {needed} costs its policies return, so training may gain"
        text = (
            f"the search gains {gain} by knowing the task: {figures}; {way_out}. So small a search "
            "is no proof"
        )
        yield Finding("warning", "headroom", text)


def _seen_findings(check: FamilyCheck) -> Iterator[Finding]:
    seen, rewarded, hidden = list[str](), list[str](), list[str]()
    for each in [p for p in check.parameters if check.must_be_known(p)] or check.parameters:
        if each.seen >= RECOGNISED:
            seen.append(f"{each.name} {each.seen:.2f}")
        else:
            kind = rewarded if each.seen_with_rewards >= RECOGNISED else hidden
            kind.append(f"{each.name} {each.seen_with_rewards:.2f}")
    if seen:
        text = f"one episode's observations tell {', '.join(seen)} (R² on held-out tasks)"
        yield Finding("ok", "recognition", text)
    if rewarded:
        text = f"only the rewards tell {', '.join(rewarded)} (R²): the robot must measure them too"
        yield Finding("ok", "recognition", text)
    if hidden:
        text = (
            f"one episode hardly tells {', '.join(hidden)} (R²), so adapting takes several: let it "
            "observe what they move (a velocity, a force), or let actions excite them"
        )
        yield Finding("warning", "recognition", text)


def _element_findings(sim: Simulator, played: Sequence[Played]) -> Iterator[Finding]:
    elements = type(sim.env).observation_elements
    values = np.concatenate([each.measured.reshape(-1, len(elements)) for each in played])
    faults = [
        Finding(level, "observation", f"element {index}, {element.quantity!r}, {text}")
        for index, (element, column) in enumerate(zip(elements, values.T, strict=True))
        for level, text in _element_faults(element, column)
    ]
    yield from faults
    if not faults:
        text = f"all {len(elements)} elements are finite, vary, and fit their bounds"
        yield Finding("ok", "observation", text)
    unstable = np.concatenate([each.unstable for each in played]).mean()
    if unstable > 0:
        text = (
            f"{unstable:.1%} of the episodes end as the simulation is unstable: take a shorter "
            "timestep, more damping, or smaller commands"
        )
        level = "blocking" if unstable > _OFTEN_UNSTABLE else "warning"
        yield Finding(level, "simulation", text)


def _element_faults(element: ObservationElement, column: np.ndarray) -> Iterator[tuple[str, str]]:
    """Yield level and text of what is wrong with an observation element, of all steps."""
    if not (finite := np.isfinite(column)).all():
        yield "blocking", f"is not finite in {1 - finite.mean():.1%} of the steps: mend _observe"
        return
    width, (low, high) = element.high - element.low, np.quantile(column, [0.01, 0.99])
    slack = _SLACK * width
    outside = ((column < element.low - slack) | (column > element.high + slack)).mean()
    bounds = f"{element.low:g} to {element.high:g}{after_number(element.unit)}"
    if outside > _OUTSIDE:
        text = (
            f"is outside its bounds, {bounds}, in {outside:.0%} of the steps, where it is clipped "
            f"(98 % lie in {low:.3g} to {high:.3g}): mend its unit or its bounds"
        )
        yield "blocking" if outside > _OFTEN_OUTSIDE else "warning", text
    elif column.min() == column.max():
        yield "warning", f"is always {column[0]:.3g} and tells nothing: leave it out"
    elif high - low < _NARROW * width:
        text = (
            f"lies in {low:.3g} to {high:.3g}, {(high - low) / width:.1%} of its bounds, {bounds}, "
            "which a policy sees as -1 to 1: narrow them, or mend its unit"
        )
        yield "warning", text


def _action_findings(sim: Simulator, effects: Effects) -> Iterator[Finding]:
    names, shown = type(sim.env).action_elements, effects.trajectories
    idle = [
        name
        for name in names
        if shown[f"action {name}"] <= NOTHING
        and effects.returns[f"action {name}"] <= NOTHING * max(effects.spread, NOTHING)
    ]
    if len(idle) == len(names):
        text = "no action changes an observation or a reward: let _command write to self._ctrl"
        yield Finding("blocking", "actions", text)
        return
    if idle:
        text = f"{', '.join(idle)} changes nothing: mend _command, or leave it out"
        yield Finding("warning", "actions", text)
    horizon, seen = sim.horizon, effects.seen_lag
    plural = "s" * (seen > 0)
    comes = f"90 % of its effect on the rewards comes within {effects.reward_lag} of {horizon}"
    if shown["actions"] <= NOTHING:
        text = f"no observation depends on the actions, so a policy can only act by a plan; {comes}"
        yield Finding("ok", "time", text)
    elif 3 * seen >= horizon > 1:
        text = (
            f"an action shows in the observations after {seen + 1} of {horizon} control steps, too "
            "late to answer to it: a longer default_horizon, or less delay"
        )
        yield Finding("warning", "time", text)
    else:
        text = f"an action shows in the observations after {seen + 1} control step{plural}; {comes}"
        yield Finding("ok", "time", text)


def _reward_findings(sim: Simulator, effects: Effects, found: Searched) -> Iterator[Finding]:
    base, told = effects.base, found.told_played
    rewards = np.concatenate([base.rewards, told.rewards])
    same = (np.abs(base.returns - np.median(base.returns)) <= 1e-6 * effects.spread).mean()
    success, searched = base.success.mean(), told.success.mean()
    if sim.bad_rewards:
        text = f"{sim.bad_rewards:,} rewards are not finite: mend _evaluate"
        yield Finding("blocking", "reward", text)
    elif np.ptp(rewards) <= NOTHING * max(1.0, np.abs(rewards).max()):
        text = f"the reward is always {rewards.flat[0]:.3g}: nothing can be learned, mend _evaluate"
        yield Finding("blocking", "reward", text)
    elif effects.returns["actions"] <= NOTHING * effects.spread:
        text = "no return depends on the actions: nothing can be learned, mend _evaluate"
        yield Finding("blocking", "reward", text)
    elif same > _NEARLY_ALL:
        text = (
            f"{same:.0%} of random plans have the same return, and learning begins with the rest: "
            "reward the way to the goal as well"
        )
        yield Finding("warning", "reward", text)
    elif not told.success.any():
        text = (
            "no searched policy ever succeeds: a longer default_horizon, a wider tolerance, or "
            "stronger actions; a small search may miss it"
        )
        yield Finding("warning", "success", text)
    elif success > _NEARLY_ALL:
        text = f"random plans succeed in {success:.0%} of the episodes: make success stricter"
        yield Finding("warning", "success", text)
    else:
        text = (
            f"returns of random plans spread by ±{effects.spread:.3g}; {success:.0%} of them "
            f"succeed, and {searched:.0%} of the policies that were searched for their task"
        )
        yield Finding("ok", "reward", text)


def _cost_finding(check: FamilyCheck) -> Finding:
    names, steps = ", ".join(STANDARD_ALGORITHMS), check.proposal.total_steps
    minutes = len(STANDARD_ALGORITHMS) * steps / check.steps_per_s / 60
    took = f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
    text = (
        f"{check.steps_per_s:,.0f} control steps a second here, with the updates: {steps:,} for "
        f"each of {names} take about {took}"
    )
    return Finding("ok", "cost", text)
