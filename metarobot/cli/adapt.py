"""`metarobot adapt`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import gymnasium as gym

from metarobot.cli.console import OK, prepare
from metarobot.cli.parsing import (
    Argument,
    PolicyOptions,
    TaskArgument,
    find_in_working_folder,
    parse,
    parse_task,
)
from metarobot.config import MOST_ADAPTATION_STEPS
from metarobot.console import print_line, say
from metarobot.envs import make_env
from metarobot.envs.checks import require_integer, show
from metarobot.io import require_writable

if TYPE_CHECKING:
    from rich.console import Console

    from metarobot.adaptation.comparison import Comparison
    from metarobot.adaptation.episodes import Episodes
    from metarobot.adaptation.policy import AdaptablePolicy, Number
    from metarobot.adaptation.robot import Robot


@dataclass(frozen=True, kw_only=True)
class Options(PolicyOptions):
    """Adapt a trained policy to a robot, or to a log of one, and keep it in a file.

    RUN may also be the file of an adapted policy to go on with.
    """

    out: Path
    """File to write, ending in .safetensors."""
    episodes: Annotated[str | None, Argument("N")] = None
    """Adaptation episodes before each adaptation step, or auto, for latent: until another one is
    not expected to pay, 20 at most. Of a log the first ones, all by default."""
    steps: int = 1
    """Adaptation steps."""
    seed: int = 0
    """Seed of the action noise, and of the robot's first reset."""
    env: str | None = None
    """Gymnasium id of the robot, as my_module:my/Robot-v0; by default the family's simulation."""
    task: TaskArgument = ()
    """Task of the family's simulation, as payload_kg=4; those not named are nominal."""
    variant: str | None = None
    """Variant of the family's simulation, such as late_network."""
    log: Path | None = None
    """Log to adapt to: a LeRobot dataset, an MCAP file, a ROS bag or a CSV table."""
    mapping: Path | None = None
    """Places of the elements in the log, a .toml or .json file; for MCAP files and bags."""
    compare: Annotated[int | None, Argument("PAIRS")] = None
    """Then run pairs of episodes without and with adaptation, so many at most, such as 20, and
    print whether it has helped or harmed."""
    what_changed: bool = False
    """Print which property of the robot has changed, from its first adaptation episode; for Reach
    and Grip."""

    def __post_init__(self) -> None:
        """Refuse options that have no effect, and several steps with --what-changed."""
        of_robot = {
            "--env": self.env,
            "--task": self.task,
            "--variant": self.variant,
            "--compare": self.compare,
            "--episodes auto": self.episodes == "auto",
        }
        if self.log is not None:
            if given := [name for name, value in of_robot.items() if value]:
                raise ValueError(f"{given[0]} is for a robot: leave it out with --log")
            if self.steps != 1:
                raise ValueError("a log is of one adaptation step: leave out --steps")
        elif self.mapping is not None:
            raise ValueError("--mapping describes a log: name it by --log")
        elif self.episodes is None:
            raise ValueError("name --episodes, the episodes to run, or --log")
        if self.env is not None and (self.task or self.variant):
            name = "--task" if self.task else "--variant"
            raise ValueError(f"{name} sets the family's simulation: leave it out with --env")
        if self.what_changed and self.steps != 1:
            raise ValueError("--what-changed reads the episodes before one step: leave out --steps")


def run(arguments: list[str], prog: str) -> int:
    """Adapt a policy and save it."""
    options = parse(Options, arguments, prog)
    from metarobot.adaptation.policy import (  # after help: it imports torch
        FEWEST_PAIRS,
        MOST_PAIRS,
        require_suffix,
    )
    from metarobot.api import choose_policy

    task = parse_task(options.task)
    require_suffix(options.out)
    require_integer("steps", options.steps, 1, MOST_ADAPTATION_STEPS)
    episodes = parse_episodes(options.episodes)
    if options.compare is not None:
        require_integer("compare", options.compare, FEWEST_PAIRS, MOST_PAIRS)
    console = prepare()
    require_writable(options.out)
    policy = choose_policy(options.run, options.algorithm, best=options.best, adapts=True)
    if options.what_changed:
        from metarobot.diagnosis.changes import require_recognisable  # only where asked for

        require_recognisable(policy)
    comparison = None
    if options.log is not None:
        log = policy.read_log(options.log, options.mapping)
        if isinstance(episodes, int):
            require_integer("episodes", episodes, 1, log.num_episodes)
            log = log.first(episodes)
        adapted = policy.adapt_from(log)
        if options.what_changed:
            _print_change(console, policy, log)
        adapted.save(options.out)
    else:
        assert episodes is not None
        adapted, comparison = _adapt_to_robot(policy, episodes, options, task, console)
    print_line(console, f"adapted by {adapted.num_episodes} episodes: {options.out}")
    print_line(console, adapted.report().line)
    if comparison is not None:
        print_line(console, str(comparison))
    return OK


def parse_episodes(number: str | None) -> Number | None:
    """Parse a number of episodes, or "auto"; None if it was not given."""
    if number is None or number == "auto":
        return number
    try:
        return int(number)
    except ValueError:
        raise ValueError(f"--episodes takes an integer or auto, got {show(number)}") from None


def _print_change(console: Console, policy: AdaptablePolicy, episodes: Episodes) -> None:
    from metarobot.diagnosis.changes import what_changed

    print_line(console, f"{what_changed(policy, episodes).sentence()}.")


def _adapt_to_robot(
    policy: AdaptablePolicy,
    number: Number,
    options: Options,
    task: Mapping[str, float] | None,
    console: Console,
) -> tuple[AdaptablePolicy, Comparison | None]:
    robot = make_robot(policy, options.env, task, options.variant)
    begun_with, ended = policy, list["Episodes"]()
    with closing(robot):
        try:
            for _ in range(options.steps):
                episodes = policy.explore(
                    robot, episodes=number, seed=options.seed, on_ended=ended.append
                )
                ended.clear()  # learning from them may fail, and would fail again
                policy = policy.adapt_from(episodes)
                if options.what_changed:
                    _print_change(console, begun_with, episodes)
            policy.save(options.out)
        except BaseException:
            if isinstance(robot, WatchedRobot) and robot.num_begun > 1:
                _keep(policy, begun_with.num_episodes, ended, robot.num_begun, options.out)
            raise
        if options.compare is None:
            return policy, None
        if isinstance(robot, WatchedRobot):
            robot.num_begun, robot.purpose = 0, "comparison"
        return policy, begun_with.compare(
            robot, policy, most_pairs=options.compare, seed=options.seed
        )


def _keep(
    policy: AdaptablePolicy, num_before: int, ended: list[Episodes], num_begun: int, out: Path
) -> None:
    """Save the policy adapted so far after a robot failed: its episodes may be expensive.

    No file is replaced: it may be adapted to more episodes.
    """
    from metarobot.adaptation.episodes import Episodes

    place, number = out, count(1)
    while os.path.lexists(place):
        place = out.with_stem(f"{out.stem}-partial-{next(number)}")
    try:
        if ended:
            policy = policy.adapt_from(Episodes.join(ended))
        learned = policy.num_episodes - num_before
        if learned:
            policy.save(place)
    except (ValueError, OSError):
        learned = 0
    stays = "is not written" if place == out else "stays as it was"
    if not learned:
        note = f"{out} {stays}, and the robot's {num_begun} episodes are lost"
    else:
        note = f"{place} is adapted to the episodes that the robot completed: {learned}"
        note += "" if place == out else f"; {out} {stays}"
    say(f"note: {note}")


def make_robot(
    policy: AdaptablePolicy,
    env_id: str | None,
    task: Mapping[str, float] | None,
    variant: str | None = None,
) -> Robot:
    """Make the named environment, with its errors in one line, or the family's simulation.

    Args:
        policy: Policy, which has the family and the variant.
        env_id: Gymnasium id, with the module that registers it: ``my_module:my/Robot-v0``.
        task: Task parameters of the family's simulation; those not named are nominal.
        variant: Variant of the family's simulation; None for that of the policy.

    Raises:
        ValueError: There is no such environment, it fails, or the family does not allow the task.
    """
    if env_id is None:
        env = make_env(
            policy.config.env_id, 1, num_threads=1, variant=variant or policy.config.variant
        )
        env.set_tasks({name: [value] for name, value in (task or {}).items()})
        return env
    find_in_working_folder()
    try:
        return WatchedRobot(gym.make(env_id))
    except (ImportError, gym.error.Error) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"--env {env_id}: {line}") from error
    except Exception as error:  # the user's robot may raise anything
        raise ValueError(f"--env {env_id}: {_in_one_line(error)}") from error


class WatchedRobot(gym.Wrapper):
    """Robot of the user; its errors become one line that names the episode."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.num_begun, self.purpose = 0, "adaptation"

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self.num_begun += 1
        with self._naming_the_episode():
            return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step within an episode."""
        with self._naming_the_episode():
            return super().step(action)

    def close(self) -> None:
        """Close the robot; an error is only a note."""
        try:
            super().close()
        except Exception as error:
            say(f"note: the robot could not be closed: {_in_one_line(error)}")

    @contextmanager
    def _naming_the_episode(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            where = f"{self.purpose} episode {self.num_begun}"
            raise ValueError(f"the robot failed in {where}: {_in_one_line(error)}") from error


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
