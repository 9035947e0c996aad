"""The options of `metarobot diagnose`: what it can do, and the options of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metarobot.cli.diagnose_train_options import (
    DiagnoseDemo,
    DiagnoseEvaluate,
    DiagnosePredict,
    DiagnoseTrain,
)
from metarobot.diagnosis import FAULTS, find_fault
from metarobot.envs.checked_numbers import is_number, require_integers

_MOST_MACHINES, _MOST_CHECKS = 100, 100
_MOST_SEED = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class DiagnoseRecord:
    """Write an example of a folder of recordings: a few simulated arms, healthy and at fault."""

    out: Path
    """Folder to make, for labels.csv and a CSV file for each recording."""
    machines: int = 3
    """Number of arms; each has its own masses, friction, drives and sensors. The learner that comes
    with the package was trained on none of them."""
    faults: tuple[str, ...] = ("dry_friction", "backlash", "weak_drive")
    """What is wrong with them, beside a healthy state: names of faults."""
    checks: int = 3
    """Recordings of each arm in each state; their severities and temperatures differ."""
    seed: int = 0
    """Seed of the arms, of severities and of noise: another one, other arms."""

    def __post_init__(self) -> None:
        """Refuse unknown faults, and numbers that are too small or too large."""
        bounds = {"machines": (1, _MOST_MACHINES), "checks": (1, _MOST_CHECKS)}
        require_integers(self, {**bounds, "seed": (0, _MOST_SEED)})
        if not self.faults or len(set(self.faults)) < len(self.faults):
            raise ValueError(f"--faults must name some of {', '.join(FAULTS)}, each once")
        for name in self.faults:
            find_fault(name)


@dataclass(frozen=True, kw_only=True)
class DiagnoseCheck:
    """Read a folder of recordings, and say what is in it, or what is wrong with it."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
    """Folder with labels.csv and a CSV or Parquet file for each recording:
    docs/own-recordings.md."""
    window_s: float | None = None
    """Cut recordings into windows of so many seconds; without, they must be equally long."""
    shots: int | None = None
    """Recordings of each label to adapt from that there must be, and one more to judge by; any
    number if not given."""
    way: int | None = None
    """Labels that there must be; two if not given."""

    def __post_init__(self) -> None:
        """Refuse numbers that no folder could fit."""
        given = {"shots": (1, 1_000), "way": (2, 1_000)}
        require_integers(self, {k: v for k, v in given.items() if getattr(self, k) is not None})
        if self.window_s is not None and not is_number(self.window_s, 1e-6, 1e6):
            raise ValueError(f"window_s must be a number in [1e-06, 1e+06], got {self.window_s}")


@dataclass(frozen=True, kw_only=True)
class DiagnoseCommand:
    """Find out what is wrong with a machine from a few recordings of each fault."""

    what: (
        Annotated[DiagnoseRecord, tyro.conf.subcommand("record")]
        | Annotated[DiagnoseCheck, tyro.conf.subcommand("check")]
        | Annotated[DiagnoseTrain, tyro.conf.subcommand("train")]
        | Annotated[DiagnoseEvaluate, tyro.conf.subcommand("evaluate")]
        | Annotated[DiagnosePredict, tyro.conf.subcommand("predict")]
        | Annotated[DiagnoseDemo, tyro.conf.subcommand("demo")]
    )
    """What to do."""
