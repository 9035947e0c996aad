"""`metarobot play`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from metarobot.cli.console import OK
from metarobot.cli.parsing import PolicyOptions, TaskArgument, arguments_of, parse, parse_task
from metarobot.envs.checks import require_integers


@dataclass(frozen=True, kw_only=True)
class Options(PolicyOptions):
    """Play with a policy in the browser: set the task, adapt, see before and after side by side."""

    port: int = 8741
    """TCP port of the page, on the loopback address; 0 takes any that is free."""
    task: TaskArgument = ()
    """Initial values of the sliders, as NAME=VALUE ...; others are nominal. By default a task on
    which the policy fails before adapting and succeeds after it, as measured at the start."""
    variant: str | None = None
    """Play on a variant of the family: a .toml file, or the name of one that `metarobot list
    FAMILY` names. A run trained on a variant is played on it if not given; none is the family
    itself."""
    scene: Path | None = None
    """New place of the scene, if the run was trained in one of yours that has moved."""
    seed: int = 0
    """Seed of the starts, and of the action noise of trials."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        # Each reset of the adaptation takes the next seed.
        require_integers(self, {"port": (0, 65_535), "seed": (0, 2**62)})


def run(arguments: list[str], prog: str) -> int:
    """Play with a policy in the browser until Ctrl-C."""
    options = parse(Options, arguments, prog)
    from metarobot.api import play  # after help, which does not wait for torch

    play(**arguments_of(options, task=parse_task(options.task)))
    return OK
