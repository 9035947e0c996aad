"""`metarobot diagnose life`: train on the lives of units, and predict how long others will last."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metarobot.cli.console import OK, prepare
from metarobot.envs.checked_numbers import require_integers

REPORT_FILE = "report.html"


@dataclass(frozen=True, kw_only=True)
class LifeTrain:
    """Choose and train a learner of remaining life on a table of units."""

    table: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="TABLE")]
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
        """Refuse a seed that is none."""
        require_integers(self, {"seed": (0, 2**31 - 1)})


@dataclass(frozen=True, kw_only=True)
class LifePredict:
    """Predict the remaining life of the units of a table that are still running."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder."""
    table: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="TABLE")]
    """Table with the columns of the training table; without events, every unit is running."""
    out: Path | None = None
    """CSV file to write."""

    def __post_init__(self) -> None:
        """Refuse a file of another kind."""
        if self.out is not None and self.out.suffix != ".csv":
            raise ValueError(f"--out must end in .csv, got {str(self.out)!r}")


def train(command: LifeTrain) -> int:
    """Train, write the run and its report, and print the figures of all learners."""
    from metarobot.cli.listing import make_table
    from metarobot.cli.progress import StageDisplay
    from metarobot.diagnosis.life import require_new_life_run, save_life_run
    from metarobot.diagnosis.life import train as train_life
    from metarobot.diagnosis.life_table import Columns, read_life_table
    from metarobot.printable import print_line
    from metarobot.reporting.life_report import score_table, verdict, write_life_report

    console = prepare()
    require_new_life_run(command.out)  # before the work
    columns = Columns(
        unit=command.unit,
        time=command.time,
        event=command.event,
        conditions=command.conditions,
        ignore=command.ignore,
    )
    table = read_life_table(command.table, columns)
    with StageDisplay(console) as stages:
        run, predictions = train_life(
            table, learner=command.learner, seed=command.seed, progress=stages
        )
    save_life_run(run, command.out)
    write_life_report(command.out / REPORT_FILE, run.config, predictions)
    console.print(make_table(*score_table(run.config), console))
    print_line(console, verdict(run.config))
    print_line(console, f"run: {command.out}")
    print_line(console, f"report: {command.out / REPORT_FILE}")
    return OK


def predict(command: LifePredict) -> int:
    """Predict, print the table, and write it."""
    from metarobot.cli.listing import make_table
    from metarobot.diagnosis.life import load_life_run
    from metarobot.diagnosis.life_table import read_life_table
    from metarobot.io import require_writable, write_file
    from metarobot.printable import print_line

    console = prepare()
    if command.out is not None:
        require_writable(command.out)  # before the work
    run = load_life_run(command.run)
    config = run.config
    table = read_life_table(command.table, config.columns, sensors=config.sensors, fails=False)
    found = run.predict(table)
    rows = [
        (str(row[0]), *(f"{value:.4g}" for value in row[1:])) for row in found.itertuples(False)
    ]
    console.print(make_table(found.columns, rows, console))
    if command.out is not None:
        write_file(command.out, found.to_csv(index=False).encode())
        print_line(console, f"written: {command.out}")
    return OK
