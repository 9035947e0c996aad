"""`metarobot adapt`."""

from __future__ import annotations

from metarobot.adaptation.file import require_suffix
from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.adaptation.run import Run, load_run_or_policy
from metarobot.cli.console import OK, announce_learner, prepare
from metarobot.cli.options import AdaptCommand
from metarobot.cli.parsing import parse, parse_task
from metarobot.cli.robots import make_robot
from metarobot.named_files import require_writable
from metarobot.printable import print_line
from metarobot.rollout.episodes import Episodes


def run(arguments: list[str], prog: str) -> int:
    """Adapt a policy and save it."""
    command = parse(AdaptCommand, arguments, prog)
    task = parse_task(command.task)
    require_suffix(command.out)
    console = prepare()
    require_writable(command.out)
    found = load_run_or_policy(command.run, best=command.best)
    policy = found.choose(command.algorithm) if isinstance(found, Run) else found
    if command.what_changed:
        from metarobot.change_diagnosis import require_recognisable  # imported where asked for

        require_recognisable(policy)
    robot = make_robot(policy, command.env, task, command.variant)
    if isinstance(found, Run):
        announce_learner(found.trained, command.algorithm, console)
    try:
        if command.what_changed:
            episodes = policy.explore(robot, episodes=command.episodes, seed=command.seed)
            adapted = policy.adapt_from(episodes)
            print_line(console, f"{_what_changed(policy, episodes)}.")
        else:
            adapted = policy.adapt(
                robot, episodes=command.episodes, steps=command.steps, seed=command.seed
            )
    finally:
        robot.close()
    adapted.save(command.out)
    print_line(console, f"adapted by {adapted.num_episodes} episodes: {command.out}")
    return OK


def _what_changed(policy: AdaptablePolicy, episodes: Episodes) -> str:
    """Say what has changed on the robot; the learner of it is imported where it is asked for."""
    from metarobot.change_diagnosis import what_changed

    return what_changed(policy, episodes).sentence()
