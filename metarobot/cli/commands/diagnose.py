"""`metarobot diagnose`: the fault of a machine from a few recordings of each."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import tyro

from metarobot.cli.commands import diagnose_life
from metarobot.cli.console import OK, prepare
from metarobot.cli.parsing import parse
from metarobot.envs import nearest_name
from metarobot.envs.checked_numbers import is_number, require_integers
from metarobot.printable import print_line

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import Console

    from metarobot.diagnosis.recordings import Channel, Recordings
    from metarobot.diagnosis.run import Chosen, Diagnosis, DiagnosisConfig, Finding

Progress = Callable[[str, float], None]
"""Takes a stage and the share that is done."""
LearnerName = Literal["nearest_mean", "trees", "minirocket", "prototypes", "maml"]
"""Those of `metarobot.diagnosis.learners`, which the help does not wait for."""
RUN_FOLDER = "run"
_JOINT = 2
"""Joint in which `record` puts faults: the shoulder, which carries the whole arm."""
_MOST_SEED = 2**31 - 1
_MACHINES = (10, 1_000)
_SECONDS, _HERTZ = (1e-6, 1e6), (1e-3, 1e9)
_MOST_COLUMNS = 6
"""Machines, or labels, that have a column of their own on the screen."""
_MOST_NAMES = 8
"""Channels, or files, that a line names."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a folder of recordings is read."""

    window_s: float | None = None
    """Cut recordings into windows of so many seconds; without, they are as long as their files."""
    resample_hz: float | None = None
    """Bring all recordings to this rate; without, their rates must be the same."""
    fill_missing: bool = False
    """Interpolate a channel over time where cells are empty."""
    drop_duplicates: bool = False
    """Keep the first of recordings with the same numbers."""
    ignore_label: tuple[str, ...] = ()
    """Leave out recordings with these labels; "" is an empty cell."""

    def __post_init__(self) -> None:
        """Refuse numbers that no folder could fit."""
        for name, bounds in (("window_s", _SECONDS), ("resample_hz", _HERTZ)):
            value = getattr(self, name)
            if value is not None and not is_number(value, *bounds):
                low, high = bounds
                raise ValueError(f"{name} must be a number in [{low:g}, {high:g}], got {value}")

    def options(self, default: DiagnosisConfig | None = None) -> dict[str, Any]:
        """Return arguments of `read_recordings`, those not given as a training had them."""
        names = ("window_s", "resample_hz", "fill_missing", "drop_duplicates")
        found = {name: getattr(self, name) or getattr(default or self, name) for name in names}
        return {**found, "ignore_labels": self.ignore_label}


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
        """Refuse unknown faults, and numbers that are too small or too large."""
        from metarobot.diagnosis.faults import FAULTS, find_fault

        bounds = {"machines": (1, 100), "checks": (1, 100), "seed": (0, _MOST_SEED)}
        require_integers(self, bounds)
        if not self.faults or len(set(self.faults)) < len(self.faults):
            raise ValueError(f"--faults must name some of {', '.join(FAULTS)}, each once")
        for name in self.faults:
            find_fault(name)


@dataclass(frozen=True, kw_only=True)
class DiagnoseCheck(Reading):
    """Read a folder of recordings, and say what is in it, or what is wrong with it."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
    """Folder with labels.csv and a CSV or Parquet file for each recording:
    docs/own-recordings.md."""


@dataclass(frozen=True, kw_only=True)
class DiagnoseTrain(Reading):
    """Choose and train a learner of faults, on a folder of recordings or on simulated arms."""

    folder: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="FOLDER")] = None
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
        """Refuse numbers that are too small or too large."""
        super().__post_init__()
        bounds = {"way": (2, 100), "machines": _MACHINES, "seed": (0, _MOST_SEED)}
        require_integers(self, bounds)
        own = (*Reading.__dataclass_fields__, "unseen_machines", "unseen_labels", "baseline")
        given = [name for name in own if getattr(self, name)]
        if self.folder is None and given:
            option = given[0].replace("_", "-")
            raise ValueError(f"--{option} goes with a folder of recordings: name it first")


@dataclass(frozen=True, kw_only=True)
class DiagnoseEvaluate:
    """Measure a diagnosis on what its training did not see, and write the report."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder, or the name of a diagnosis that comes with the package, such as arm."""
    folder: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="FOLDER")] = None
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
        bounds = {"tasks": (2, 100_000), "machines": _MACHINES, "seed": (0, _MOST_SEED)}
        require_integers(self, bounds)


@dataclass(frozen=True, kw_only=True)
class DiagnosePredict(Reading):
    """Say what recordings of a machine show, given a few labelled recordings of it.

    Recordings are read as those of training where options do not say otherwise.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
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
        super().__post_init__()
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

    def __post_init__(self) -> None:
        """Refuse a seed that is too large."""
        require_integers(self, {"seed": (0, _MOST_SEED)})


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
    return _ACTIONS[type(command)](command)


def _require_word(arguments: Sequence[str], prog: str, words: Sequence[str]) -> None:
    """Refuse a missing or unknown word by naming those there are."""
    word = arguments[0] if arguments else ""
    if word not in words and not word.startswith("-"):
        raise ValueError(
            f"{prog} {word}".strip()
            + f": name one of {', '.join(words)} first"
            + nearest_name(word, words)
        )


def record_folder(command: DiagnoseRecord) -> int:
    """Simulate recordings of machines to test on, and write them as a folder."""
    import numpy as np

    from metarobot.diagnosis.faults import FAULTS, HEALTHY
    from metarobot.diagnosis.recordings import require_new_folder, write_recordings
    from metarobot.diagnosis.simulator import record, sample_machines

    console = prepare()
    require_new_folder(command.out)  # before the work
    states, shape = [HEALTHY, *command.faults], (command.machines, command.checks)
    rng = np.random.default_rng(command.seed)
    severities = [rng.uniform(*FAULTS[name].severity.train, shape) for name in command.faults]
    machine, check = np.indices((len(states), *shape)).reshape(3, -1)[1:]
    recordings = record(
        sample_machines(command.machines, "test", seed=command.seed).rows(machine),
        np.repeat(states, command.machines * command.checks),
        np.concatenate([np.zeros(shape), *severities]).ravel(),
        command.seed,
        joints=_JOINT,
        checks=check,
    )
    write_recordings(recordings, command.out)
    labels = ", ".join(dict.fromkeys(recordings.label.tolist()))
    print_line(console, f"{len(recordings)} recordings of {command.machines} arms: {labels}")
    print_line(console, f"written: {command.out}")
    return OK


def check_folder(command: DiagnoseCheck) -> int:
    """Read a folder and print what is in it."""
    from metarobot.cli.listing import make_console
    from metarobot.diagnosis.recordings import LABELS_FILE, find_files, read_recordings
    from metarobot.io import Folder

    recordings = read_recordings(command.folder, **command.options())
    console = make_console()
    print_table(count_by_label(recordings), console)
    for line in describe(recordings):
        print_line(console, line)
    left = sorted({*find_files(Folder.named(command.folder))} - {*recordings.name.tolist()})
    if left and not (command.ignore_label or command.drop_duplicates):
        print_line(console, f"not in {LABELS_FILE}: {_shortened(left)}")
    return OK


def print_table(table: DataFrame, console: Console) -> None:
    """Print a table whose index has a name."""
    from metarobot.cli.listing import make_table

    headings = (str(table.index.name), *map(str, table.columns))
    rows = [tuple(map(str, row)) for row in table.itertuples()]
    console.print(make_table(headings, rows, console))


def count_by_label(recordings: Recordings) -> DataFrame:
    """Return how many recordings, not windows, there are by label and machine."""
    import pandas as pd

    columns = {name: getattr(recordings, name) for name in ("label", "machine", "name")}
    whole = pd.DataFrame(columns).drop_duplicates("name")
    groups = whole.groupby("label")
    counts = pd.DataFrame({"recordings": groups.size(), "machines": groups["machine"].nunique()})
    if 1 < len(recordings.machines) <= _MOST_COLUMNS:
        counts = counts.join(pd.crosstab(whole["label"], whole["machine"]))
    return counts


def describe(recordings: Recordings) -> list[str]:
    """Say what all recordings have in common."""
    import numpy as np

    samples = sorted({signal.shape[1] for signal in recordings.signals})
    ends = dict.fromkeys((samples[0], samples[-1]))
    seconds = " to ".join(f"{count / recordings.rate_hz:.4g}" for count in ends)
    files, windows = len(np.unique(recordings.name)), len(recordings)
    lines = [
        f"{files} recordings"
        + (f", {windows} windows" if windows > files else "")
        + f" of {seconds} s ({' to '.join(map(str, ends))} samples)",
        f"{recordings.rate_hz:g} samples a second",
        f"{len(recordings.channels)} channels: {_listed(recordings.channels)}",
    ]
    extremes = [end for signal in recordings.signals for end in (signal.min(1), signal.max(1))]
    still = np.flatnonzero(np.ptp(extremes, axis=0) == 0)
    if len(still):
        lines.append(f"never changes: {_listed([recordings.channels[place] for place in still])}")
    if len(recordings.machines) == 1:
        lines.append(
            "all are of one machine: how well a learner does on a machine that it never saw cannot "
            "be measured"
        )
    return lines


def _listed(channels: Sequence[Channel]) -> str:
    from metarobot.diagnosis.signal_file import column_name

    return _shortened([column_name(channel) for channel in channels])


def _shortened(names: Sequence[str]) -> str:
    """Name the first of many."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def train_run(command: DiagnoseTrain) -> int:
    """Train, and write the run."""
    from metarobot.cli.progress import StageDisplay
    from metarobot.diagnosis.recordings import read_recordings, require_new_folder

    console = prepare()
    require_new_folder(command.out)  # before the work
    options: dict[str, Any] = {"way": command.way, "seed": command.seed}
    if command.learner is not None:
        options["learners"] = (command.learner,)
    with StageDisplay(console) as stages:
        if command.folder is None:
            trained = train_on_arms(command.machines, None, stages, **options)
        else:
            reading = command.options()
            recordings = read_recordings(command.folder, **reading)
            trained = train_on_folder(
                recordings,
                command.unseen_machines,
                command.unseen_labels,
                baseline=command.baseline,
                watch=_comparing(stages),
                folder=str(command.folder.absolute()),
                **reading,
                **options,
            )
    trained.save(command.out)
    announce(trained.config, console)
    print_line(console, f"run: {command.out}")
    return OK


def _comparing(stages: Progress) -> Callable[[float], None]:
    return partial(stages, "comparing learners on held-out recordings")


def train_on_folder(
    recordings: Recordings, machines: Sequence[str], labels: Sequence[str], **options: Any
) -> Diagnosis:
    """Train on recordings without those that are held out, if there are enough of them."""
    from metarobot.diagnosis.run import DiagnosisError, hold_out, train

    try:
        kept, held = hold_out(recordings, machines, labels)
        names = tuple(dict.fromkeys(held.name.tolist()))
        return train(kept, held_out=names, **options)
    except DiagnosisError:
        if machines or labels:
            raise
    return train(recordings, **options)  # so few that none can be held out


def train_on_arms(
    count: int, faults: Sequence[str] | None, stages: Progress, *, seed: int, **options: Any
) -> Diagnosis:
    """Train on simulated arms with some of the faults that are seen in training, or all of them.

    Their baselines are what they were when they were healthy.
    """
    from metarobot.diagnosis.faults import FAULTS, HEALTHY, HELD_OUT_FAULTS
    from metarobot.diagnosis.run import train

    seen = [name for name in FAULTS if name not in HELD_OUT_FAULTS]
    arms = _record_arms(count, faults or seen, "train", seed, stages)
    return train(arms, baseline=HEALTHY, seed=seed, watch=_comparing(stages), **options)


def test_arms(count: int, faults: Sequence[str] | None, seed: int, stages: Progress) -> Recordings:
    """Record other simulated arms with the faults of training, and those that are held out."""
    from metarobot.diagnosis.faults import FAULTS, HELD_OUT_FAULTS

    asked = (*faults, HELD_OUT_FAULTS[0]) if faults else tuple(FAULTS)
    return _record_arms(count, asked, "test", seed, stages)


def _record_arms(
    count: int, faults: Sequence[str], split: Literal["train", "test"], seed: int, stages: Progress
) -> Recordings:
    """Record simulated arms with faults in all joints, after their baselines."""
    from metarobot.diagnosis.faults import HEALTHY, classes_of
    from metarobot.diagnosis.simulator import record_pool

    classes = classes_of((HEALTHY, *faults))
    stages(f"recording {count} arms, {count * len(classes)} health checks", 0.0)
    recordings, baselines = record_pool(count, classes, split=split, seed=seed)
    return baselines.joined(recordings)


def announce(config: DiagnosisConfig, console: Console) -> None:
    """Print the comparison of learners, which one was chosen and by how much, and on what."""
    import msgspec

    print_accuracy([msgspec.to_builtins(row) for row in config.rows], console)
    for chosen in config.chosen:
        print_line(console, f"{_faults(chosen.known)}: {lead(config, chosen)}")
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


def lead(config: DiagnosisConfig, chosen: Chosen) -> str:
    """Return which learner was chosen, and by how much it leads the best of another kind."""
    scores: dict[str, list[float]] = {}
    for row in config.rows:
        if row.known == chosen.known:
            scores.setdefault(row.learner, []).append(row.accuracy)
    mean = {name: sum(own) / len(own) for name, own in scores.items()}
    own = mean[chosen.learner]
    words = f"{chosen.learner} is chosen, right in {own:.1%} on average over numbers of examples"
    others = [name for name in mean if _kind(name) != _kind(chosen.learner)]
    if not others:
        return words
    following = max(others, key=lambda name: mean[name])
    return f"{words}; {following} comes next, {100 * (own - mean[following]):.1f} points behind"


def _kind(learner: str) -> str:
    return learner.replace(",", "").split()[0]


def _faults(known: bool) -> str:
    return "faults known from training" if known else "faults new to training"


def print_accuracy(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print accuracy and its interval by learner and number of examples, known faults first."""
    import pandas as pd

    for known in (True, False):
        found: dict[int, dict[str, str]] = {}
        for row in rows:
            if row["known"] == known:
                low, high = (f"{100 * end:.0f}" for end in row["accuracy_ci"])
                cell = f"{row['accuracy']:.0%} [{low}, {high}]"
                found.setdefault(row["shots"], {})[row["learner"]] = cell
        if found:
            table = pd.DataFrame(found).fillna("")
            print_table(table.rename_axis(f"{_faults(known)}; examples:"), console)


def evaluate_run(command: DiagnoseEvaluate) -> int:
    """Measure a run, and write the report."""
    from metarobot.cli.progress import StageDisplay
    from metarobot.diagnosis.recordings import read_recordings, require_new_folder
    from metarobot.diagnosis.run import held_out_of, load_diagnosis

    console = prepare()
    require_new_folder(command.out)  # before the work
    trained = load_diagnosis(command.run)
    config = trained.config
    if not config.folder and command.folder is not None:
        raise ValueError(f"{command.run} was trained on simulated arms: leave out {command.folder}")
    with StageDisplay(console) as stages:
        if config.folder:
            reading = Reading(ignore_label=config.ignore_labels).options(config)
            recordings = read_recordings(command.folder or Path(config.folder), **reading)
            held = held_out_of(recordings, config)
        else:
            held = test_arms(command.machines, None, command.seed, stages)
    report(trained, held, command.tasks, command.seed, command.out, console)
    return OK


def report(
    trained: Diagnosis, held: Recordings, tasks: int, seed: int, out: Path, console: Console
) -> None:
    """Measure a diagnosis, write figures and page, and print accuracy and where the page is."""
    from metarobot.io import Folder, json_bytes, rounded
    from metarobot.reporting.diagnosis_report import write_report

    rows = trained.evaluate(held, num_tasks=tasks, seed=seed)
    folder = Folder(out)
    folder.make()
    folder.write("evaluation.json", json_bytes(rounded({"seed": seed, "rows": rows})))
    write_report(out / "report.html", trained, rows)
    print_accuracy(rows, console)
    print_line(console, f"report: {out / 'report.html'}")


def predict_folder(command: DiagnosePredict) -> int:
    """Adapt to the examples, and print what each recording shows."""
    from metarobot.diagnosis.recordings import read_recordings
    from metarobot.diagnosis.run import load_diagnosis
    from metarobot.io import require_writable

    console = prepare()
    if command.out is not None:
        require_writable(command.out)  # before the work
    trained = load_diagnosis(command.run)
    reading = command.options(trained.config)
    known = of_machine(read_recordings(command.examples, **reading), command)
    asked = read_recordings(command.recordings, labelled=False, **reading)
    findings = trained.predict(known, asked)
    print_table(screen_table(findings), console)
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
    return OK


def of_machine(examples: Recordings, command: DiagnosePredict) -> Recordings:
    """Return the examples of the machine that is to be diagnosed."""
    names = examples.machines
    if command.machine is None:
        if len(names) > 1:
            raise ValueError(
                f"{command.examples} has examples of {len(names)} machines: name the one that the "
                f"recordings are of with --machine: {', '.join(names[:_MOST_NAMES])}"
            )
        return examples
    machine = unicodedata.normalize("NFC", command.machine)  # as the table is read
    if machine not in names:
        raise ValueError(
            f"{command.examples} has no machine {machine!r}, but "
            f"{', '.join(names[:_MOST_NAMES])}{nearest_name(machine, names)}"
        )
    return examples.rows(examples.machine == machine)


def screen_table(findings: Sequence[Finding]) -> DataFrame:
    """Return what is shown on the screen."""
    import pandas as pd

    few = len(findings[0].probabilities) <= _MOST_COLUMNS
    rows = [
        {
            "recording": own.name,
            "shows": own.label,
            "probability": f"{own.probability:.0%}",
            "looks": "like none of them" if own.looks_like_none else "",
            **{f"p({name})": f"{each:.0%}" for name, each in own.probabilities.items() if few},
        }
        for own in findings
    ]
    return pd.DataFrame(rows).set_index("recording")


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


class DemoSize(NamedTuple):
    """How much is recorded and measured."""

    train_machines: int
    test_machines: int
    faults: Sequence[str] | None
    """All, if None."""
    tasks: int


DEMO = DemoSize(20, 16, None, 60)
QUICK = DemoSize(10, 10, ("dry_friction", "weak_drive"), 10)


def show_demo(command: DiagnoseDemo) -> int:
    """Record, train, evaluate and report."""
    from metarobot.cli.progress import StageDisplay
    from metarobot.diagnosis.recordings import require_new_folder

    console = prepare()
    require_new_folder(command.out)  # before the work
    size = QUICK if command.quick else DEMO
    with StageDisplay(console) as stages:
        trained = train_on_arms(size.train_machines, size.faults, stages, seed=command.seed)
        trained.save(command.out / RUN_FOLDER)
        held = test_arms(size.test_machines, size.faults, command.seed, stages)
    announce(trained.config, console)
    report(trained, held, size.tasks, command.seed, command.out, console)
    print_line(console, "recordings of your own machines go the same way: docs/diagnose.md")
    return OK


_ACTIONS: dict[type, Callable[[Any], int]] = {
    DiagnoseRecord: record_folder,
    DiagnoseCheck: check_folder,
    DiagnoseTrain: train_run,
    DiagnoseEvaluate: evaluate_run,
    DiagnosePredict: predict_folder,
    DiagnoseDemo: show_demo,
    diagnose_life.LifeTrain: diagnose_life.train,
    diagnose_life.LifePredict: diagnose_life.predict,
}
