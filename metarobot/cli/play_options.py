"""The options of `metarobot play`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metarobot.cli.options import OutsideOptions
from metarobot.envs.checked_numbers import require_integers

_MOST_SEED = 2**62
"""Largest seed: each time that it forgets, another one follows."""
_MOST_PORT = 65_535


@dataclass(frozen=True, kw_only=True)
class PlayCommand(OutsideOptions):
    """Play with a policy in a live viewer: set the task, try, adapt, forget."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder."""
    algorithm: str | None = None
    """Whose policy; if not given, latent, then maml, then any other that the run holds and that
    adapts. A reference that never adapts acts as well."""
    web: bool = False
    """Show it in a browser, on this machine or through a tunnel, instead of MuJoCo's own viewer."""
    port: int = 8741
    """TCP port of the page, on the loopback address; 0 takes any that is free."""
    task: tuple[str, ...] = ()
    """Where the sliders stand in the beginning, as NAME=VALUE ..., all else nominal."""
    best: bool = False
    """Take the policy with the best smoothed return in training instead of the last."""
    variant: str | None = None
    """Play on a variant of the family: a .toml file, or the name of one that `metarobot list`
    names. A run trained on a variant is played on it if not given; none is the family itself."""
    scene: Path | None = None
    """Where the scene of the run is now, if it was trained in one of yours that has moved."""
    seed: int = 0
    """Seed of the starts, and of the action noise of trials."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        require_integers(self, {"port": (0, _MOST_PORT), "seed": (0, _MOST_SEED)})
