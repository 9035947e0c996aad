"""Options of the subcommands of `metarobot diagnose`; imports nothing heavy, as help shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from metarobot.cli.parsing import Argument, RunArgument
from metarobot.envs.checks import require_integers

if TYPE_CHECKING:
    from metarobot.diagnosis.run import DiagnosisConfig

LearnerName = Literal["nearest_mean", "trees", "minirocket", "prototypes", "maml"]
"""Learners of `metarobot.diagnosis.learners`, not imported so that help prints at once."""
FolderArgument = Annotated[Path, Argument("FOLDER", positional=True)]
FolderIfAny = Annotated[Path | None, Argument("FOLDER", positional=True)]
TableArgument = Annotated[Path, Argument("TABLE", positional=True)]
_SEEDS, _MACHINES = (0, 2**31 - 1), (10, 1_000)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Arguments of `read_recordings`."""

    window_s: float | None = None
    """Cut recordings into windows of this length, in seconds; whole files if not given."""
    resample_hz: float | None = None
    """Resample all recordings to this rate, in Hz; if not given, their rates must be equal."""
    fill_missing: bool = False
    """Fill empty cells of a channel by interpolation over time."""
    drop_duplicates: bool = False
    """Keep the first of recordings with the same numbers."""
    ignore_labels: Annotated[tuple[str, ...], Argument(name="ignore-label")] = ()
    """Leave out recordings with these labels; "" is an empty cell."""


def reading_of(values: Reading | DiagnosisConfig) -> dict[str, Any]:
    """Return the arguments of `read_recordings` that are in options or a training."""
    return {name: getattr(values, name) for name in Reading.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True)
class DiagnoseRecord:
    """Write an example folder of recordings: a few simulated arms, healthy and faulty."""

    out: Path
    """Folder to make, for labels.csv and a CSV file for each recording."""
    machines: int = 3
    """Number of arms; each has its own masses, friction, drives and sensors. The diagnosis of the
    package was not trained on them."""
    faults: tuple[str, ...] = ("dry_friction", "backlash", "weak_drive")
    """Names of faults, recorded beside the healthy state."""
    checks: int = 3
    """Recordings of each arm in each state; their severities and temperatures differ."""
    seed: int = 0
    """Seed of the arms, of severities and of noise."""

    def __post_init__(self) -> None:
        require_integers(self, {"machines": (1, 100), "checks": (1, 100), "seed": _SEEDS})


@dataclass(frozen=True, kw_only=True)
class DiagnoseCheck(Reading):
    """Read a folder of recordings, and print its content, or the error in it."""

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
    """Learner to train; the best on held-out machines if not given."""
    unseen_machines: tuple[str, ...] = ()
    """Machines to hold out for the evaluation; the last one if not given."""
    unseen_labels: tuple[str, ...] = ()
    """Labels to hold out, at least two, for the evaluation on faults never trained on."""
    baseline: str = ""
    """Label of reference recordings, such as healthy; other recordings of a machine are compared
    with them. Each machine needs one then, also for a diagnosis."""
    way: int = 5
    """Most labels of a task."""
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
    """Measure a diagnosis on machines and labels held out from its training; write the report."""

    run: RunArgument
    """Run folder, or the name of a diagnosis that comes with the package, such as arm."""
    folder: FolderIfAny = None
    """New place of the recordings that it was trained on, if they have moved."""
    out: Path
    """Folder to make, for evaluation.json and report.html."""
    tasks: int = 60
    """Tasks for each number of examples."""
    machines: int = 30
    """Simulated arms to evaluate on, for a diagnosis trained on simulated arms."""
    seed: int = 0
    """Seed of tasks and of simulated arms."""

    def __post_init__(self) -> None:
        require_integers(self, {"tasks": (2, 100_000), "machines": _MACHINES, "seed": _SEEDS})


@dataclass(frozen=True, kw_only=True)
class DiagnosePredict(Reading):
    """Diagnose recordings of a machine, given a few labelled recordings of it.

    Recordings are read with the options of training, unless they are given here.
    """

    run: RunArgument
    """Run folder, or the name of a diagnosis that comes with the package, such as arm."""
    examples: Path
    """Folder with labels.csv and a file for each labelled recording of the machine; any labels."""
    recordings: Path
    """Folder with a CSV or Parquet file for each recording to diagnose."""
    machine: str | None = None
    """Machine of the recordings, if the examples are of several."""
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
    """Use few arms and faults, to check that everything works."""


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
    """Columns to ignore."""
    learner: str | None = None
    """Learner to train: log-normal, fleet curve, Bayesian curve, network or MAML; the best by
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


COMMANDS: dict[str, type] = {
    "record": DiagnoseRecord,
    "check": DiagnoseCheck,
    "train": DiagnoseTrain,
    "evaluate": DiagnoseEvaluate,
    "predict": DiagnosePredict,
    "demo": DiagnoseDemo,
    "life train": LifeTrain,
    "life predict": LifePredict,
}
"""Options of every subcommand."""
