"""Options of `metarobot diagnose`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from metarobot.cli.parsing import RunArgument
from metarobot.envs.checks import require_integers

if TYPE_CHECKING:
    from metarobot.diagnosis.run import DiagnosisConfig

LearnerName = Literal["nearest_mean", "trees", "minirocket", "prototypes", "maml"]
"""Those of `metarobot.diagnosis.learners`, which the help does not wait for."""
FolderArgument = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
FolderIfAny = Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="FOLDER")]
TableArgument = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="TABLE")]
_SEEDS, _MACHINES = (0, 2**31 - 1), (10, 1_000)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a folder of recordings is read: arguments of `read_recordings`."""

    window_s: float | None = None
    """Cut recordings into windows of so many seconds; without, they are as long as their files."""
    resample_hz: float | None = None
    """Bring all recordings to this rate; without, their rates must be the same."""
    fill_missing: bool = False
    """Interpolate a channel over time where cells are empty."""
    drop_duplicates: bool = False
    """Keep the first of recordings with the same numbers."""
    ignore_labels: Annotated[tuple[str, ...], tyro.conf.arg(name="ignore-label")] = ()
    """Leave out recordings with these labels; "" is an empty cell."""


def reading_of(values: Reading | DiagnosisConfig) -> dict[str, Any]:
    """Return how options, or a training, say that recordings are read."""
    return {name: getattr(values, name) for name in Reading.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True)
class DiagnoseRecord:
    """Write an example of a folder of recordings: a few simulated arms, healthy and at fault."""

    out: Path
    """Folder to make, for labels.csv and a CSV file for each recording."""
    machines: int = 3
    """Number of arms; each has its own masses, friction, drives and sensors. The diagnosis that
    comes with the package was trained on none of them."""
    faults: tuple[str, ...] = ("dry_friction", "backlash", "weak_drive")
    """What is wrong with them, beside a healthy state: names of faults."""
    checks: int = 3
    """Recordings of each arm in each state; their severities and temperatures differ."""
    seed: int = 0
    """Seed of the arms, of severities and of noise: another one, other arms."""

    def __post_init__(self) -> None:
        require_integers(self, {"machines": (1, 100), "checks": (1, 100), "seed": _SEEDS})


@dataclass(frozen=True, kw_only=True)
class DiagnoseCheck(Reading):
    """Read a folder of recordings, and say what is in it, or what is wrong with it."""

    folder: FolderArgument
    """Folder with labels.csv and a CSV or Parquet file for each recording:
    docs/own-recordings.md."""


@dataclass(frozen=True, kw_only=True)
class DiagnoseTrain(Reading):
    """Choose and train a learner of faults, on a folder of recordings or on simulated arms."""

    folder: FolderIfAny = None
    """Folder with labels.csv and a file for each recording; simulated arms if not given."""
    out: Path
    """Run folder to make."""
    learner: LearnerName | None = None
    """Learner to take; the best on held-out machines if not given."""
    unseen_machines: tuple[str, ...] = ()
    """Machines that are held out, to evaluate on; the last one if nothing is named."""
    unseen_labels: tuple[str, ...] = ()
    """Labels that are held out, two at least, to evaluate on faults never trained on."""
    baseline: str = ""
    """Label of recordings, such as healthy, from which the others of their machine are to differ.
    Each machine needs one then, also to be diagnosed."""
    way: int = 5
    """Labels of a task, at most."""
    machines: int = 40
    """Simulated arms, where no folder is given."""
    seed: int = 0
    """Seed of tasks and networks, and of simulated arms."""

    def __post_init__(self) -> None:
        require_integers(self, {"way": (2, 100), "machines": _MACHINES, "seed": _SEEDS})
        for name in (*reading_of(self), "unseen_machines", "unseen_labels", "baseline"):
            if self.folder is None and getattr(self, name):
                raise ValueError(f"{name} goes with a folder of recordings: name it first")


@dataclass(frozen=True, kw_only=True)
class DiagnoseEvaluate:
    """Measure a diagnosis on what its training did not see, and write the report."""

    run: RunArgument
    """Run folder, or the name of a diagnosis that comes with the package, such as arm."""
    folder: FolderIfAny = None
    """Where the recordings are now that it was trained on, if they have moved."""
    out: Path
    """Folder to make, for evaluation.json and report.html."""
    tasks: int = 60
    """Tasks for each number of examples."""
    machines: int = 30
    """Simulated arms to evaluate on, for a diagnosis that was trained on such."""
    seed: int = 0
    """Seed of tasks and of simulated arms."""

    def __post_init__(self) -> None:
        require_integers(self, {"tasks": (2, 100_000), "machines": _MACHINES, "seed": _SEEDS})


@dataclass(frozen=True, kw_only=True)
class DiagnosePredict(Reading):
    """Say what recordings of a machine show, given a few labelled recordings of it.

    Recordings are read as those of training where options do not say otherwise.
    """

    run: RunArgument
    """Run folder, or the name of a diagnosis that comes with the package, such as arm."""
    examples: Path
    """Folder with labels.csv and a file for each labelled recording of the machine; any labels."""
    recordings: Path
    """Folder with a CSV or Parquet file for each recording that is to be diagnosed."""
    machine: str | None = None
    """Machine that the recordings are of, if the examples are of several."""
    out: Path | None = None
    """File to write, ending in .csv or .json."""

    def __post_init__(self) -> None:
        if self.out is not None and self.out.suffix not in (".csv", ".json"):
            raise ValueError(f"--out must end in .csv or .json, got {str(self.out)!r}")


@dataclass(frozen=True, kw_only=True)
class DiagnoseDemo:
    """Record simulated arms, train, evaluate and write the report, in minutes on two cores."""

    out: Path = Path("runs/diagnose-demo")
    """Folder to make."""
    seed: int = 0
    """Seed of arms, tasks and networks."""
    quick: bool = False
    """Check that everything works, with few arms and faults."""


@dataclass(frozen=True, kw_only=True)
class LifeTrain:
    """Choose and train a learner of remaining life on a table of units."""

    table: TableArgument
    """CSV or Parquet file: a row for each unit and time, sensors as columns
    (docs/remaining-life.md)."""
    out: Path
    """Run folder to make."""
    unit: str = "unit"
    """Column with the name of the unit. Without a header, columns are named 1, 2, ..."""
    time: str = "time"
    """Column with the age of the unit."""
    event: str = "event"
    """Column with 1 if the unit failed at its last row, 0 if it was still running. Without it,
    every unit failed."""
    conditions: tuple[str, ...] = ()
    """Columns with operating conditions."""
    ignore: tuple[str, ...] = ()
    """Columns that are not read."""
    learner: str | None = None
    """Learner to take: log-normal, fleet curve, Bayesian curve, network or MAML; the best by
    cross-validation if not given."""
    seed: int = 0
    """Seed of folds, parameters and draws."""

    def __post_init__(self) -> None:
        require_integers(self, {"seed": _SEEDS})


@dataclass(frozen=True, kw_only=True)
class LifePredict:
    """Predict the remaining life of the units of a table that are still running."""

    run: RunArgument
    """Run folder."""
    table: TableArgument
    """Table with the columns of the training table; without events, every unit is running."""
    out: Path | None = None
    """CSV file to write."""

    def __post_init__(self) -> None:
        if self.out is not None and self.out.suffix != ".csv":
            raise ValueError(f"--out must end in .csv, got {str(self.out)!r}")


@dataclass(frozen=True, kw_only=True)
class DiagnoseLife:
    """Predict how long machines will last, from the lives of others: docs/remaining-life.md."""

    what: (
        Annotated[LifeTrain, tyro.conf.subcommand("train")]
        | Annotated[LifePredict, tyro.conf.subcommand("predict")]
    )
    """What to do."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Find out what is wrong with a machine from a few recordings of each fault."""

    what: (
        Annotated[DiagnoseRecord, tyro.conf.subcommand("record")]
        | Annotated[DiagnoseCheck, tyro.conf.subcommand("check")]
        | Annotated[DiagnoseTrain, tyro.conf.subcommand("train")]
        | Annotated[DiagnoseEvaluate, tyro.conf.subcommand("evaluate")]
        | Annotated[DiagnosePredict, tyro.conf.subcommand("predict")]
        | Annotated[DiagnoseDemo, tyro.conf.subcommand("demo")]
        | Annotated[DiagnoseLife, tyro.conf.subcommand("life")]
    )
    """What to do."""
