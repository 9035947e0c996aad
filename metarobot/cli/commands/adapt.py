"""`metarobot adapt`."""

from __future__ import annotations

import os
from contextlib import closing
from itertools import count
from pathlib import Path

from metarobot.adaptation.policy import AdaptablePolicy, require_suffix
from metarobot.adaptation.run import Run, choose_policy, load_run_or_policy
from metarobot.cli.console import OK, announce_learner, prepare, say
from metarobot.cli.options import AdaptCommand
from metarobot.cli.parsing import parse, parse_task
from metarobot.cli.robot_adaptation import RobotAdaptation
from metarobot.cli.robots import WatchedRobot, make_robot
from metarobot.console import print_line
from metarobot.io import require_writable
from metarobot.rollout.episodes import Episodes


def run(arguments: list[str], prog: str) -> int:
    """Adapt a policy and save it."""
    command = parse(AdaptCommand, arguments, prog)
    task = parse_task(command.task)
    require_suffix(command.out)
    console = prepare()
    require_writable(command.out)
    found = load_run_or_policy(command.run, best=command.best)
    policy = choose_policy(found, command.algorithm)
    if isinstance(found, Run) and not policy.algorithm.adapts:
        able = ", ".join(found.trained.learners) or "none of this run"
        raise ValueError(f"{policy.config.algorithm} does not adapt: take one of {able}")
    if command.what_changed:
        from metarobot.diagnosis.changes import require_recognisable  # only where asked for

        require_recognisable(policy)
    robot = make_robot(policy, command.env, task, command.variant)
    if isinstance(found, Run):
        announce_learner(found.trained, command.algorithm, console)
    with closing(robot):
        work = RobotAdaptation(
            policy, robot, episodes=command.episodes, steps=command.steps, seed=command.seed
        )
        try:
            for episodes in work.steps():
                if command.what_changed:
                    print_line(console, f"{_what_changed(policy, episodes)}.")
            work.policy.save(command.out)
        except BaseException:
            if isinstance(robot, WatchedRobot) and robot.num_begun > 1:
                _keep(work, robot, command.out)
            raise
    print_line(console, f"adapted by {work.policy.num_episodes} episodes: {command.out}")
    return OK


def _keep(work: RobotAdaptation, robot: WatchedRobot, out: Path) -> None:
    """Save what was learned before a robot failed: its episodes may have been dear.

    No file is replaced: what is there already may know more.
    """
    place = _free_name(out)
    try:
        number = work.learn_what_ended()
        if number:
            work.policy.save(place)
    except (ValueError, OSError):
        number = 0
    stays = "is not written" if place == out else "stays as it was"
    if not number:
        note = f"{out} {stays}, and the robot's {robot.num_begun} episodes are lost"
    else:
        note = f"{place} is adapted to what had ended: {number} of the robot's episodes"
        note += "" if place == out else f"; {out} {stays}"
    say(f"note: {note}", OK)


def _free_name(out: Path) -> Path:
    """Return a name that no file has: this one, or ``NAME-partial-1.safetensors`` and so on."""
    place, number = out, count(1)
    while os.path.lexists(place):
        place = out.with_stem(f"{out.stem}-partial-{next(number)}")
    return place


def _what_changed(policy: AdaptablePolicy, episodes: Episodes) -> str:
    """Say what has changed on the robot; what knows it is imported where it is asked for."""
    from metarobot.diagnosis.changes import what_changed

    return what_changed(policy, episodes).sentence()
