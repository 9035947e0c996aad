"""`metarobot diagnose`: the fault of a machine from a few recordings of each."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from metarobot.cli.commands import diagnose_life
from metarobot.cli.console import OK, prepare
from metarobot.cli.parsing import parse
from metarobot.envs import nearest_name
from metarobot.envs.checked_numbers import require_integers
from metarobot.printable import listed, print_line

if TYPE_CHECKING:
    from rich.console import Console

    from metarobot.diagnosis.recordings import Recordings
    from metarobot.diagnosis.run import Diagnosis, DiagnosisConfig, Finding
    from metarobot.reporting.diagnosis_report import Panel, Scores

LearnerName = Literal["nearest_mean", "trees", "minirocket", "prototypes", "maml"]
"""Those of `metarobot.diagnosis.learners`, which the help does not wait for."""
RunArgument = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
FolderArgument = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
FolderIfAny = Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="FOLDER")]
_JOINT = 2
"""Joint in which `record` puts faults: the shoulder, which carries the whole arm."""
_SEEDS, _MACHINES = (0, 2**31 - 1), (10, 1_000)
_MOST_COLUMNS = 6
"""Machines, or labels, that have a column of their own on the screen."""
_QUICK_FAULTS = ("dry_friction", "weak_drive")


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
        """Refuse numbers that are too small or too large."""
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
        """Refuse numbers that are too small or too large, and options that would do nothing."""
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
        """Refuse numbers that are too small or too large."""
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
        """Refuse a file of another kind."""
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
class DiagnoseLife:
    """Predict how long machines will last, from the lives of others: docs/remaining-life.md."""

    what: (
        Annotated[diagnose_life.LifeTrain, tyro.conf.subcommand("train")]
        | Annotated[diagnose_life.LifePredict, tyro.conf.subcommand("predict")]
    )
    """What to do."""


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
        | Annotated[DiagnoseLife, tyro.conf.subcommand("life")]
    )
    """What to do."""


def run(arguments: list[str], prog: str) -> int:
    """Do what is asked for."""
    _require_word(
        arguments, prog, ("record", "check", "train", "evaluate", "predict", "demo", "life")
    )
    if arguments[0] == "life":
        _require_word(arguments[1:], f"{prog} life", ("train", "predict"))
    what = parse(DiagnoseCommand, arguments, prog).what
    command = what.what if isinstance(what, DiagnoseLife) else what
    _ACTIONS[type(command)](command)
    return OK


def _require_word(arguments: Sequence[str], prog: str, words: Sequence[str]) -> None:
    """Refuse a missing or unknown word by naming those there are."""
    word = arguments[0] if arguments else ""
    if word not in words and not word.startswith("-"):
        raise ValueError(
            f"{prog} {word}".strip()
            + f": name one of {', '.join(words)} first"
            + nearest_name(word, words)
        )


def record_folder(command: DiagnoseRecord) -> None:
    """Simulate recordings of machines to test on, and write them as a folder."""
    import numpy as np

    from metarobot.diagnosis.faults import HEALTHY, find_fault
    from metarobot.diagnosis.recordings import require_new_folder, write_recordings
    from metarobot.diagnosis.simulator import record, sample_machines

    console = prepare()
    require_new_folder(command.out)  # before the work
    faults, shape = [*dict.fromkeys(command.faults)], (command.machines, command.checks)
    rng = np.random.default_rng(command.seed)
    severities = [rng.uniform(*find_fault(name).severity.train, shape) for name in faults]
    machine, check = np.indices((1 + len(faults), *shape)).reshape(3, -1)[1:]
    recordings = record(
        sample_machines(command.machines, "test", seed=command.seed).rows(machine),
        np.repeat([HEALTHY, *faults], command.machines * command.checks),
        np.concatenate([np.zeros(shape), *severities]).ravel(),
        command.seed,
        joints=_JOINT,
        checks=check,
    )
    write_recordings(recordings, command.out)
    labels = ", ".join(dict.fromkeys(recordings.label.tolist()))
    print_line(console, f"{len(recordings)} recordings of {command.machines} arms: {labels}")
    print_line(console, f"written: {command.out}")


def check_folder(command: DiagnoseCheck) -> None:
    """Read a folder and print what is in it."""
    import pandas as pd

    from metarobot.cli.listing import make_console
    from metarobot.diagnosis.recordings import LABELS_FILE, find_files, read_recordings
    from metarobot.io import Folder

    recordings = read_recordings(command.folder, **reading_of(command))
    console = make_console()
    columns = {name: getattr(recordings, name) for name in ("label", "machine", "name")}
    files = pd.DataFrame(columns).drop_duplicates("name")  # windows of a file share it
    table = files.groupby("label").agg(recordings=("name", "size"), machines=("machine", "nunique"))
    if 1 < len(recordings.machines) <= _MOST_COLUMNS:
        table = pd.concat([table, pd.crosstab(files["label"], files["machine"])], axis=1)
    print_table(("label", *table.columns), table.itertuples(), console)
    for line in describe(recordings):
        print_line(console, line)
    left = sorted({*find_files(Folder.named(command.folder))} - {*recordings.name.tolist()})
    if left and not (command.ignore_labels or command.drop_duplicates):
        print_line(console, f"not in {LABELS_FILE}: {listed(left)}")


def print_table(headings: Iterable[Any], rows: Iterable[Iterable[Any]], console: Console) -> None:
    """Print a table of anything."""
    from metarobot.cli.listing import make_table

    cells = [tuple(map(str, row)) for row in rows]
    console.print(make_table(map(str, headings), cells, console))


def describe(recordings: Recordings) -> list[str]:
    """Say what all recordings have in common."""
    import numpy as np

    from metarobot.diagnosis.recordings import column_name

    samples = [signal.shape[1] for signal in recordings.signals]
    ends = dict.fromkeys((min(samples), max(samples)))
    seconds = " to ".join(f"{count / recordings.rate_hz:.4g}" for count in ends)
    files, windows = len(np.unique(recordings.name)), len(recordings)
    channels = [column_name(channel) for channel in recordings.channels]
    lines = [
        f"{files} recordings"
        + (f", {windows} windows" if windows > files else "")
        + f" of {seconds} s ({' to '.join(map(str, ends))} samples)",
        f"{recordings.rate_hz:g} samples a second",
        f"{len(channels)} channels: {listed(channels)}",
    ]
    extremes = [end for signal in recordings.signals for end in (signal.min(1), signal.max(1))]
    still = np.flatnonzero(np.ptp(extremes, axis=0) == 0)
    if len(still):
        lines.append(f"never changes: {listed([channels[place] for place in still])}")
    if len(recordings.machines) == 1:
        lines.append(
            "all are of one machine: how well a learner does on a machine that it never saw cannot "
            "be measured"
        )
    return lines


def train_run(command: DiagnoseTrain, faults: Sequence[str] = ()) -> Diagnosis:
    """Train, write the run, and say what was chosen.

    Args:
        command: The options.
        faults: Faults of simulated arms, if not all.
    """
    from metarobot.cli.progress import StageDisplay
    from metarobot.diagnosis.faults import HEALTHY
    from metarobot.diagnosis.recordings import read_recordings, require_new_folder
    from metarobot.diagnosis.run import train

    console = prepare()
    require_new_folder(command.out)  # before the work
    with StageDisplay(console) as stages:
        watch = partial(stages, "comparing learners on held-out recordings")
        options: dict[str, Any] = {"way": command.way, "seed": command.seed, "watch": watch}
        if command.learner is not None:
            options["learners"] = (command.learner,)
        if command.folder is None:
            arms = record_arms(command.machines, "train", command.seed, stages, faults)
            trained = train(arms, baseline=HEALTHY, **options)  # what each did when it was healthy
        else:
            recordings = read_recordings(command.folder, **reading_of(command))
            options |= {"baseline": command.baseline, "folder": str(command.folder.absolute())}
            trained = train_on_folder(recordings, command, **options)
    trained.save(command.out)
    announce(trained.config, console)
    print_line(console, f"run: {command.out}")
    return trained


def train_on_folder(recordings: Recordings, command: DiagnoseTrain, **options: Any) -> Diagnosis:
    """Train on recordings without those that are held out, if there are enough of them."""
    from metarobot.diagnosis.run import DiagnosisError, hold_out, train

    options |= reading_of(command)
    try:
        kept, held = hold_out(recordings, command.unseen_machines, command.unseen_labels)
        return train(kept, held_out=tuple(dict.fromkeys(held.name.tolist())), **options)
    except DiagnosisError:
        if command.unseen_machines or command.unseen_labels:
            raise
    return train(recordings, **options)  # so few that none can be held out


def record_arms(
    count: int,
    split: Literal["train", "test"],
    seed: int,
    stages: Callable[[str, float], None] = lambda stage, share: None,
    faults: Sequence[str] = (),
) -> Recordings:
    """Record simulated arms, healthy and with faults in all joints, after their baselines.

    Args:
        count: Number of arms.
        split: Which arms; those to be tested on also have faults that are never trained on.
        seed: Of arms, severities and noise.
        stages: Takes a stage and the share that is done.
        faults: Those to be trained on, beside one that is not; if none are named, all.
    """
    from metarobot.diagnosis.faults import FAULTS, HEALTHY, HELD_OUT_FAULTS, classes_of
    from metarobot.diagnosis.simulator import record_pool

    known = faults or [name for name in FAULTS if name not in HELD_OUT_FAULTS]
    classes = classes_of([HEALTHY, *known])
    if split == "test":
        classes += classes_of(HELD_OUT_FAULTS[:1] if faults else HELD_OUT_FAULTS)
    stages(f"recording {count} arms, {count * len(classes)} health checks", 0.0)
    recordings, baselines = record_pool(count, classes, split=split, seed=seed)
    return baselines.joined(recordings)


def announce(config: DiagnosisConfig, console: Console) -> None:
    """Print the comparison of learners, which one was chosen and by how much, and on what."""
    from metarobot.reporting.diagnosis_report import lead, panels

    for panel in panels(config):
        print_accuracy(panel, panel.compared, console)
    for panel in panels(config):
        print_line(console, f"{panel.title}: {lead(panel)}")
    machines, held = len(config.machines), len(config.held_out)
    counts = f"{config.num_recordings} recordings of {machines} machines, {len(config.labels)}"
    print_line(console, f"trained on {counts} labels" + (f"; {held} are held out" if held else ""))
    if machines == 1:
        print_line(
            console,
            "all recordings are of one machine: this is plain supervised learning, and accuracy is "
            "on other recordings of this machine, not on a machine that it never saw",
        )
    if not held and config.folder:
        print_line(console, "nothing is held out: there are too few recordings")


def print_accuracy(panel: Panel, learners: Mapping[str, Scores], console: Console) -> None:
    """Print accuracy and its interval by learner and number of examples."""
    from metarobot.reporting.style import Cell

    cells = [
        (name, *(" ".join(Cell.in_percent(scores.get(count))) for count in panel.shots))
        for name, scores in learners.items()
    ]
    print_table((f"{panel.title}; examples:", *panel.shots), cells, console)


def evaluate_run(command: DiagnoseEvaluate) -> None:
    """Measure a run, and write the report."""
    from metarobot.cli.progress import StageDisplay
    from metarobot.diagnosis.recordings import read_recordings, require_new_folder
    from metarobot.diagnosis.run import held_out_of, load_diagnosis

    console = prepare()
    require_new_folder(command.out)  # before the work
    trained = load_diagnosis(command.run)
    config = trained.config
    if config.folder:
        recordings = read_recordings(command.folder or config.folder, **reading_of(config))
        held = held_out_of(recordings, config)
    elif command.folder is not None:
        raise ValueError(f"{command.run} was trained on simulated arms: leave out {command.folder}")
    else:
        with StageDisplay(console) as stages:
            held = record_arms(command.machines, "test", command.seed, stages)
    report(trained, held, command.tasks, command.seed, command.out, console)


def report(
    trained: Diagnosis, held: Recordings, tasks: int, seed: int, out: Path, console: Console
) -> None:
    """Measure a diagnosis, write figures and page, and print accuracy and where the page is."""
    from metarobot.io import Folder, json_bytes, rounded
    from metarobot.reporting.diagnosis_report import panels, render_report

    rows = trained.evaluate(held, num_tasks=tasks, seed=seed)
    folder = Folder(out)
    folder.make()
    folder.write("evaluation.json", json_bytes(rounded({"seed": seed, "rows": rows})))
    folder.write("report.html", render_report(trained.config, rows).encode())
    for panel in panels(trained.config, rows):
        if panel.held_out:
            print_accuracy(panel, panel.held_out, console)
    print_line(console, f"report: {out / 'report.html'}")


def predict_folder(command: DiagnosePredict) -> None:
    """Adapt to the examples, and print what each recording shows."""
    from metarobot.diagnosis.recordings import read_recordings
    from metarobot.diagnosis.run import load_diagnosis
    from metarobot.io import require_writable

    console = prepare()
    if command.out is not None:
        require_writable(command.out)  # before the work
    trained = load_diagnosis(command.run)
    given = {name: value for name, value in reading_of(command).items() if value}
    reading = {**reading_of(trained.config), "ignore_labels": (), **given}
    known = of_machine(read_recordings(command.examples, **reading), command)
    asked = read_recordings(command.recordings, labelled=False, **reading)
    findings = trained.predict(known, asked)
    labels = findings[0].probabilities
    shown = [*labels] if len(labels) <= _MOST_COLUMNS else []
    cells = [
        (
            own.name,
            own.label,
            f"{own.probability:.0%}",
            "like none of them" if own.looks_like_none else "",
            *(f"{own.probabilities[label]:.0%}" for label in shown),
        )
        for own in findings
    ]
    headings = ("recording", "shows", "probability", "looks", *(f"p({label})" for label in shown))
    print_table(headings, cells, console)
    strangers = sum(own.looks_like_none for own in findings)
    if strangers:
        print_line(
            console,
            f"{strangers} of {len(findings)} look like none of the labels: they are farther from "
            "all examples than recordings of known labels are; look at the machine, and add "
            "examples of what it has",
        )
    if command.out is not None:
        write_findings(command.out, findings)
        print_line(console, f"written: {command.out}")


def of_machine(examples: Recordings, command: DiagnosePredict) -> Recordings:
    """Return the examples of the machine that is to be diagnosed."""
    names = examples.machines
    if command.machine is None and len(names) == 1:
        return examples
    machine = unicodedata.normalize("NFC", command.machine or "")  # as the table is read
    if command.machine is None or machine not in names:
        has = f"no machine {machine!r}" if machine else f"examples of {len(names)} machines"
        raise ValueError(
            f"{command.examples} has {has}: name the one that the recordings are of with "
            f"--machine: {listed(names)}{nearest_name(machine, names)}"
        )
    return examples.rows(examples.machine == machine)


def write_findings(path: Path, findings: Sequence[Finding]) -> None:
    """Write all figures as CSV or JSON, by the ending of the name."""
    from metarobot.io import csv_table, json_bytes, rounded, write_file

    names = ("label", "probability", "looks_like_none", "probabilities")
    rows = [{"file": own.name, **{name: getattr(own, name) for name in names}} for own in findings]
    if path.suffix == ".json":
        write_file(path, json_bytes(rounded(rows)))
        return
    for row in rows:
        row |= {f"p({label})": value for label, value in row.pop("probabilities").items()}
    write_file(path, csv_table(rounded(rows)).encode())


def show_demo(command: DiagnoseDemo) -> None:
    """Record, train, evaluate and report."""
    from metarobot.cli.progress import StageDisplay
    from metarobot.diagnosis.recordings import require_new_folder

    count, faults, tasks = (10, _QUICK_FAULTS, 10) if command.quick else (20, (), 60)
    train = DiagnoseTrain(out=command.out / "run", machines=count, seed=command.seed)
    require_new_folder(command.out)  # before the work
    trained = train_run(train, faults)
    console = prepare()
    with StageDisplay(console) as stages:
        held = record_arms(count, "test", command.seed, stages, faults)
    report(trained, held, tasks, command.seed, command.out, console)
    print_line(console, "recordings of your own machines go the same way: docs/diagnose.md")


_ACTIONS: dict[type, Callable[[Any], Any]] = {
    DiagnoseRecord: record_folder,
    DiagnoseCheck: check_folder,
    DiagnoseTrain: train_run,
    DiagnoseEvaluate: evaluate_run,
    DiagnosePredict: predict_folder,
    DiagnoseDemo: show_demo,
    diagnose_life.LifeTrain: diagnose_life.train,
    diagnose_life.LifePredict: diagnose_life.predict,
}
