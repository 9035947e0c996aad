"""The options of `metarobot diagnose` train, evaluate, predict and demo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from metarobot.envs.checked_numbers import is_number, require_integers

LearnerName = Literal["prototypes", "anil", "maml", "meta_sgd", "reptile"]
"""Those of `metarobot.diagnosis_runs`, which the help does not wait for."""
_MOST_SEED = 2**31 - 1
_MACHINES = (10, 1_000)
_TABLES = (".csv", ".json")


@dataclass(frozen=True, kw_only=True)
class DiagnoseTrain:
    """Train a learner of faults, on a folder of recordings or on simulated arms."""

    folder: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="FOLDER")] = None
    """Folder with labels.csv and a file for each recording; simulated arms if not given."""
    out: Path
    """Run folder to make."""
    learner: LearnerName = "prototypes"
    """Who learns. Prototypes tell any number of labels apart, the others as many as --way."""
    window_s: float | None = None
    """Cut recordings into windows of so many seconds; without, they must be equally long."""
    unseen_machines: tuple[str, ...] = ()
    """Machines that are kept back, to test on; the last one if nothing is named."""
    unseen_labels: tuple[str, ...] = ()
    """Labels that are kept back, two at least, to test on faults never trained on."""
    way: int = 5
    """Labels of a task, at most."""
    updates: int | None = None
    """Meta-updates; as many as suit the learner if not given."""
    machines: int = 40
    """Simulated arms, where no folder is given."""
    cache: Path | None = None
    """Folder that keeps simulated recordings; nothing is kept if not given."""
    seed: int = 0
    """Seed of parameters and of tasks."""
    resume: bool = False
    """Go on, bit for bit, with a training that was interrupted; all else as it began."""

    def __post_init__(self) -> None:
        """Refuse numbers that are too small or too large."""
        bounds = {"way": (2, 100), "machines": _MACHINES, "seed": (0, _MOST_SEED)}
        require_integers(self, bounds)
        if self.updates is not None:
            require_integers(self, {"updates": (1, 100_000)})
        if self.window_s is not None and not is_number(self.window_s, 1e-6, 1e6):
            raise ValueError(f"window_s must be a number in [1e-06, 1e+06], got {self.window_s}")
        if self.folder is None and (self.window_s or self.unseen_machines or self.unseen_labels):
            raise ValueError(
                "--window-s, --unseen-machines and --unseen-labels go with a folder of recordings: "
                "name it first"
            )


@dataclass(frozen=True, kw_only=True)
class DiagnoseEvaluate:
    """Measure a trained learner on what its training did not see, and write the report."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder, or the name of a learner that comes with the package, such as arm."""
    folder: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="FOLDER")] = None
    """Where the recordings are now that it was trained on, if they have moved."""
    out: Path
    """Folder for evaluation.json and report.html."""
    tasks: int = 200
    """Tasks of each split and each number of examples."""
    machines: int = 30
    """Simulated arms to test on, for a learner that was trained on such."""
    cache: Path | None = None
    """Folder that keeps simulated recordings; nothing is kept if not given."""
    seed: int = 0
    """Seed of the tasks."""

    def __post_init__(self) -> None:
        """Refuse numbers that are too small or too large."""
        bounds = {"tasks": (2, 100_000), "machines": _MACHINES, "seed": (0, _MOST_SEED)}
        require_integers(self, bounds)


@dataclass(frozen=True, kw_only=True)
class DiagnosePredict:
    """Say what recordings of a machine show, given a few labelled recordings of it."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder, or the name of a learner that comes with the package, such as arm."""
    examples: Path
    """Folder with labels.csv and a file for each labelled recording of the machine; any labels."""
    recordings: Path
    """Folder with a CSV or Parquet file for each recording that is to be diagnosed."""
    machine: str | None = None
    """Machine that the recordings are of, if the examples are of several."""
    out: Path | None = None
    """File to write, ending in .csv or .json."""

    def __post_init__(self) -> None:
        """Refuse a file of another kind."""
        if self.out is not None and self.out.suffix not in _TABLES:
            raise ValueError(f"--out must end in {' or '.join(_TABLES)}, got {str(self.out)!r}")


@dataclass(frozen=True, kw_only=True)
class DiagnoseDemo:
    """Record simulated arms, train, evaluate and write the report, in minutes on two cores."""

    out: Path = Path("runs/diagnose-demo")
    """Folder to make."""
    learner: LearnerName = "prototypes"
    """Who learns."""
    seed: int = 0
    """Seed of parameters and of tasks."""
    quick: bool = False
    """Check that everything works; far too short to learn much."""

    def __post_init__(self) -> None:
        """Refuse a seed that is too large."""
        require_integers(self, {"seed": (0, _MOST_SEED)})
