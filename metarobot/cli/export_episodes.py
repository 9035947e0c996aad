"""`metarobot export-episodes`."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from metarobot.cli.adapt import make_robot
from metarobot.cli.console import OK, prepare
from metarobot.cli.parsing import PolicyOptions, TaskArgument, parse, parse_task
from metarobot.console import print_line
from metarobot.io import require_writable

_FOR_NEW = ("episodes", "demonstrations", "env", "task", "variant", "seed")
_DEFAULT_EPISODES = 5


@dataclass(frozen=True, kw_only=True)
class Options(PolicyOptions):
    """Write episodes as a LeRobot dataset or a CSV table: new ones of a policy, or those of a log.

    RUN may also be the file of an adapted policy.
    """

    out: Path
    """Folder to write, a LeRobotDataset v3.0; a table if it ends in .csv."""
    episodes: int | None = None
    """Episodes to run; 5 if not given."""
    demonstrations: bool = False
    """Run them as the policy acts, without the noise and the exploring of adaptation episodes."""
    env: str | None = None
    """Gymnasium id of the robot, as my_module:my/Robot-v0; by default the family's simulation."""
    task: TaskArgument = ()
    """Task of the family's simulation, as payload_kg=4; those not named are nominal."""
    variant: str | None = None
    """Variant of the family's simulation, such as late_network."""
    seed: int | None = None
    """Seed of the action noise, and of the robot's first reset; 0 if not given."""
    log: Path | None = None
    """Log whose episodes are written; then none are run."""
    mapping: Path | None = None
    """Places of the elements in the log, a .toml or .json file."""
    describe: str | None = None
    """Description of the task in the dataset; the family and --task if not given."""

    def __post_init__(self) -> None:
        """Refuse options that have no effect."""
        given = [name for name in _FOR_NEW if getattr(self, name) not in (None, False, ())]
        if self.log is not None and given:
            raise ValueError(f"--{given[0]} is for new episodes: leave it out with --log")
        if self.mapping is not None and self.log is None:
            raise ValueError("--mapping describes a log: name it by --log")
        if self.env is not None and (self.task or self.variant):
            name = "--task" if self.task else "--variant"
            raise ValueError(f"{name} sets the family's simulation: leave it out with --env")


def run(arguments: list[str], prog: str) -> int:
    """Run the episodes, or read them, and write them."""
    options = parse(Options, arguments, prog)
    task = parse_task(options.task)
    console = prepare()
    if os.path.lexists(options.out):
        raise ValueError(f"{options.out} is there already: name another place")
    require_writable(options.out)
    from metarobot.api import choose_policy  # after help, which does not wait for torch

    policy = choose_policy(options.run, options.algorithm, best=options.best, adapts=True)
    if options.log is not None:
        episodes = policy.read_log(options.log, options.mapping)
    else:
        number = _DEFAULT_EPISODES if options.episodes is None else options.episodes
        with closing(make_robot(policy, options.env, task, options.variant)) as robot:
            episodes = policy.explore(
                robot,
                episodes=number,
                seed=options.seed or 0,
                exploring=not options.demonstrations,
            )
    family = policy.config.env_id.removeprefix("metarobot/")
    named = ", ".join(f"{name}={value:g}" for name, value in (task or {}).items())
    text = options.describe or (f"{family}: {named}" if named else family)
    episodes.write(options.out, policy.elements, task=text)
    print_line(console, f"wrote {episodes.num_episodes} episodes: {options.out}")
    return OK
