"""Functions of `metarobot diagnose`: each takes the options of one subcommand."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from rich.console import Console

from metarobot.cli import diagnose_options as commands
from metarobot.cli.console import prepare
from metarobot.cli.diagnose_options import reading_of
from metarobot.console import StageDisplay, listed, make_console, make_table, print_line
from metarobot.diagnosis import recordings as folders
from metarobot.diagnosis import run as runs
from metarobot.diagnosis import simulator as sim
from metarobot.diagnosis.life_table import Columns, read_life_table
from metarobot.diagnosis.recordings import Recordings, read_recordings, require_new_folder
from metarobot.envs import nearest_name
from metarobot.io import Folder, csv_table, json_bytes, require_writable, rounded, write_file

REPORT_FILE = "report.html"
_JOINT = 2
"""Joint in which `record` puts faults: the shoulder, which carries the whole arm."""
_MOST_COLUMNS = 6
"""Machines, or labels, that have a column of their own on the screen."""
_QUICK_FAULTS = ("dry_friction", "weak_drive")


def record_folder(command: commands.DiagnoseRecord) -> None:
    """Simulate recordings of machines to test on, and write them as a folder."""
    console = prepare()
    require_new_folder(command.out)  # before the work
    faults, shape = [*dict.fromkeys(command.faults)], (command.machines, command.checks)
    rng = np.random.default_rng(command.seed)
    severities = [rng.uniform(*sim.find_fault(name).train, shape) for name in faults]
    machine, check = np.indices((1 + len(faults), *shape)).reshape(3, -1)[1:]
    recordings = sim.record(
        sim.sample_machines(command.machines, "test", seed=command.seed).rows(machine),
        np.repeat([sim.HEALTHY, *faults], command.machines * command.checks),
        np.concatenate([np.zeros(shape), *severities]).ravel(),
        command.seed,
        joints=_JOINT,
        checks=check,
    )
    folders.write_recordings(recordings, command.out)
    labels = ", ".join(dict.fromkeys(recordings.label.tolist()))
    print_line(console, f"{len(recordings)} recordings of {command.machines} arms: {labels}")
    print_line(console, f"written: {command.out}")


def check_folder(command: commands.DiagnoseCheck) -> None:
    """Read a folder and print its content."""
    recordings = read_recordings(command.folder, **reading_of(command))
    console = make_console()
    columns = {name: getattr(recordings, name) for name in ("label", "machine", "name")}
    files = pd.DataFrame(columns).drop_duplicates("name")  # windows of a file share it
    table = files.groupby("label").agg(recordings=("name", "size"), machines=("machine", "nunique"))
    if 1 < len(recordings.machines) <= _MOST_COLUMNS:
        table = pd.concat([table, pd.crosstab(files["label"], files["machine"])], axis=1)
    print_table(("label", *table.columns), table.itertuples(), console)
    for line in describe(recordings, len(files)):
        print_line(console, line)
    left = sorted({*folders.find_files(Folder.named(command.folder))} - {*files["name"]})
    if left and not (command.ignore_labels or command.drop_duplicates):
        print_line(console, f"not in {folders.LABELS_FILE}: {listed(left)}")


def print_table(headings: Iterable[Any], rows: Iterable[Iterable[Any]], console: Console) -> None:
    """Print a table of anything."""
    cells = [tuple(map(str, row)) for row in rows]
    console.print(make_table(map(str, headings), cells, console))


def describe(recordings: Recordings, num_files: int) -> list[str]:
    """Return lines on length, rate and channels of recordings."""
    samples = [signal.shape[1] for signal in recordings.signals]
    ends = dict.fromkeys((min(samples), max(samples)))
    seconds = " to ".join(f"{count / recordings.rate_hz:.4g}" for count in ends)
    windows = f", {len(recordings)} windows" if len(recordings) > num_files else ""
    channels = [*map(str, recordings.channels)]
    lines = [
        f"{num_files} recordings{windows} of {seconds} s ({' to '.join(map(str, ends))} samples)",
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


def train_run(command: commands.DiagnoseTrain, faults: Sequence[str] = ()) -> runs.Diagnosis:
    """Train, write the run, and print the choice of learner.

    Args:
        command: The options.
        faults: Faults of simulated arms, if not all.
    """
    console = prepare()
    require_new_folder(command.out)  # before the work
    with StageDisplay(console) as stages:
        options: dict[str, Any] = {"way": command.way, "seed": command.seed}
        options["watch"] = partial(stages, "comparing learners on held-out recordings")
        if command.learner is not None:
            options["learners"] = (command.learner,)
        if command.folder is None:  # the baseline of an arm is its healthy recording
            arms = record_arms(command.machines, "train", command.seed, stages, faults)
            trained = runs.train(arms, baseline=sim.HEALTHY, **options)
        else:
            recordings = read_recordings(command.folder, **reading_of(command))
            options |= {"baseline": command.baseline, "folder": str(command.folder.absolute())}
            options |= reading_of(command)
            unseen = command.unseen_machines, command.unseen_labels
            try:
                kept, held = runs.hold_out(recordings, *unseen)
                names = tuple(dict.fromkeys(held.name.tolist()))
                trained = runs.train(kept, held_out=names, **options)
            except runs.DiagnosisError:
                if any(unseen):
                    raise
                trained = runs.train(recordings, **options)  # too few to hold any out
    trained.save(command.out)
    announce(trained.config, console)
    print_line(console, f"run: {command.out}")
    return trained


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
        split: Training or test arms; test arms also have faults that are never trained on.
        seed: Seed of arms, severities and noise.
        stages: Called with a stage and the share done.
        faults: Faults to train on, to which the test adds one; all if empty.
    """
    known = faults or [name for name in sim.FAULTS if name not in sim.HELD_OUT_FAULTS]
    classes = sim.classes_of([sim.HEALTHY, *known])
    if split == "test":
        classes += sim.classes_of(sim.HELD_OUT_FAULTS[:1] if faults else sim.HELD_OUT_FAULTS)
    stages(f"recording {count} arms, {count * len(classes)} health checks", 0.0)
    recordings, baselines = sim.record_pool(count, classes, split=split, seed=seed)
    return baselines.joined(recordings)


def announce(config: runs.DiagnosisConfig, console: Console) -> None:
    """Print the comparison of learners, the chosen one with its margin, and the data set."""
    from metarobot.reporting import diagnosis_report as pages  # and matplotlib

    found = pages.panels(config)
    for panel in found:
        print_table(*pages.accuracy_table(panel, panel.compared), console)
    for panel in found:
        print_line(console, f"{panel.title}: {pages.lead(panel)}")
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


def evaluate_run(command: commands.DiagnoseEvaluate) -> None:
    """Measure a run, and write the report."""
    console = prepare()
    require_new_folder(command.out)  # before the work
    trained = runs.load_diagnosis(command.run)
    config = trained.config
    if config.folder:
        recordings = read_recordings(command.folder or config.folder, **reading_of(config))
        held = runs.held_out_of(recordings, config)
    elif command.folder is not None:
        raise ValueError(f"{command.run} was trained on simulated arms: leave out {command.folder}")
    else:
        with StageDisplay(console) as stages:
            held = record_arms(command.machines, "test", command.seed, stages)
    report(trained, held, command.tasks, command.seed, command.out, console)


def report(
    trained: runs.Diagnosis, held: Recordings, tasks: int, seed: int, out: Path, console: Console
) -> None:
    """Measure a diagnosis, write figures and page, and print accuracy and where the page is."""
    from metarobot.reporting import diagnosis_report as pages  # and matplotlib

    rows = trained.evaluate(held, num_tasks=tasks, seed=seed)
    folder = Folder(out)
    folder.make()
    folder.write("evaluation.json", json_bytes(rounded({"seed": seed, "rows": rows})))
    folder.write(REPORT_FILE, pages.render_report(trained.config, rows).encode())
    for panel in pages.panels(trained.config, rows):
        if panel.held_out:
            print_table(*pages.accuracy_table(panel, panel.held_out), console)
    print_line(console, f"report: {out / REPORT_FILE}")


def predict_folder(command: commands.DiagnosePredict) -> None:
    """Adapt to the examples, and print the diagnosis of each recording."""
    console = prepare()
    if command.out is not None:
        require_writable(command.out)  # before the work
    trained = runs.load_diagnosis(command.run)
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
    if strangers := sum(own.looks_like_none for own in findings):
        print_line(
            console,
            f"{strangers} of {len(findings)} look like none of the labels: they are farther from "
            "all examples than recordings of known labels are; look at the machine, and add "
            "examples of its state",
        )
    if command.out is not None:
        write_findings(command.out, findings)
        print_line(console, f"written: {command.out}")


def of_machine(examples: Recordings, command: commands.DiagnosePredict) -> Recordings:
    """Return the examples of the machine to diagnose."""
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


def write_findings(path: Path, findings: Sequence[runs.Finding]) -> None:
    """Write all figures as CSV or JSON, by the ending of the name."""
    names = ("label", "probability", "looks_like_none", "probabilities")
    rows = [{"file": own.name, **{name: getattr(own, name) for name in names}} for own in findings]
    if path.suffix == ".json":
        write_file(path, json_bytes(rounded(rows)))
        return
    for row in rows:
        row |= {f"p({label})": value for label, value in row.pop("probabilities").items()}
    write_file(path, csv_table(rounded(rows)).encode())


def show_demo(command: commands.DiagnoseDemo) -> None:
    """Record, train, evaluate and report."""
    count, faults, tasks = (10, _QUICK_FAULTS, 10) if command.quick else (20, (), 60)
    require_new_folder(command.out)  # before the work
    options = commands.DiagnoseTrain(out=command.out / "run", machines=count, seed=command.seed)
    trained = train_run(options, faults)
    console = make_console()
    with StageDisplay(console) as stages:
        held = record_arms(count, "test", command.seed, stages, faults)
    report(trained, held, tasks, command.seed, command.out, console)
    print_line(console, "recordings of your own machines go the same way: docs/diagnose.md")


def train_life(command: commands.LifeTrain) -> None:
    """Train, write the run and its report, and print the figures of all learners."""
    from metarobot.diagnosis import life
    from metarobot.reporting import diagnosis_report as pages  # and matplotlib

    console = prepare()
    require_new_folder(command.out)  # before the work
    columns = Columns(**{name: getattr(command, name) for name in Columns.__struct_fields__})
    table = read_life_table(command.table, columns)
    with StageDisplay(console) as stages:
        run, predictions = life.train(
            table, learner=command.learner, seed=command.seed, progress=stages
        )
    life.save_life_run(run, command.out)
    page = command.out / REPORT_FILE
    write_file(page, pages.render_life_report(run.config, predictions).encode())
    print_table(*pages.score_table(run.config), console)
    print_line(console, pages.life_verdict(run.config))
    print_line(console, f"run: {command.out}")
    print_line(console, f"report: {page}")


def predict_life(command: commands.LifePredict) -> None:
    """Predict, print the table, and write it."""
    from metarobot.diagnosis import life

    console = prepare()
    if command.out is not None:
        require_writable(command.out)  # before the work
    run = life.load_life_run(command.run)
    columns, sensors = run.config.columns, run.config.sensors
    found = run.predict(read_life_table(command.table, columns, sensors=sensors, fails=False))
    rows = [(row[0], *(f"{value:.4g}" for value in row[1:])) for row in found.itertuples(False)]
    print_table(found.columns, rows, console)
    if command.out is not None:
        write_file(command.out, csv_table(found.to_dict("records")).encode())
        print_line(console, f"written: {command.out}")


ACTIONS: dict[type, Callable[[Any], Any]] = {
    commands.DiagnoseRecord: record_folder,
    commands.DiagnoseCheck: check_folder,
    commands.DiagnoseTrain: train_run,
    commands.DiagnoseEvaluate: evaluate_run,
    commands.DiagnosePredict: predict_folder,
    commands.DiagnoseDemo: show_demo,
    commands.LifeTrain: train_life,
    commands.LifePredict: predict_life,
}
