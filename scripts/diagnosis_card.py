"""The card of a learner of faults that comes with the package: what it does, where it stops."""

from __future__ import annotations

from docs_tables.markdown import markdown_table

from metarobot.diagnosis_runs.evaluating import trained_on
from metarobot.diagnosis_runs.results import DiagnosisResult, Score, SplitResult
from metarobot.diagnosis_runs.run_folder import DiagnosisRun
from metarobot.evaluation.statistics import Interval
from metarobot.few_shot_diagnosis import HELD_OUT_FAULTS
from metarobot.reporting.diagnosis_words import most_mistaken, verdict

HELD_OUT = "unseen machines, unseen faults"
"""Split of the faults that no training saw."""


def card(result: DiagnosisResult, run: DiagnosisRun, command: str) -> str:
    """Return the card, as Markdown.

    Args:
        result: What was measured of it.
        run: The learner.
        command: What makes it again.
    """
    config = run.config
    return "\n\n".join(
        (
            "# Faults of an arm",
            f"A {result.learner} that names the fault of a seven-joint arm, and the joint, from a "
            "few recorded health checks of each fault: position, velocity, commanded and delivered "
            f"torque of each joint and the acceleration of the tool, {config.signal.samples} "
            f"samples at {config.signal.samples_per_s:g} Hz. It tells any number of faults apart, "
            "also faults that it was not trained on. Each machine needs two healthy checks.",
            "```sh\n"
            "metarobot diagnose predict arm --examples known --recordings new\n"
            "metarobot diagnose evaluate arm --out results/arm\n```",
            "## What it reaches",
            f"{verdict(result)} Accuracy in per cent in {result.splits[0].num_tasks} tasks of "
            f"{result.splits[0].way} faults, with 95 % intervals over "
            f"{result.splits[0].num_machines} arms; examples and what is to be diagnosed are of "
            "different ones, none of them trained on:",
            accuracy_table(result),
            "The nearest neighbour reads the same inputs without training. "
            "`docs/diagnosis.md` has stronger references.",
            "## Where it stops working",
            "\n".join(f"- {text}" for text in limits(result)),
            "## How it was made",
            f"`{command}`, seed {config.seed}: {trained_on(run)}, in {config.processor_s:.0f} "
            f"seconds of one processor without the recordings, with {_versions(run)}. Its numbers "
            "are rounded to half precision.",
            "",
        )
    )


def accuracy_table(result: DiagnosisResult) -> str:
    """Return accuracy by split, learner and number of examples."""
    shots = sorted({score.shots for split in result.splits for score in split.scores})
    rows = [
        [split.name, name, *(_cell(split.score(name, number)) for number in shots)]
        for split in result.splits
        for name in split.learners
    ]
    return markdown_table(("split", "learner", *(_examples(number) for number in shots)), rows)


def limits(result: DiagnosisResult) -> list[str]:
    """Say what it was not made for, and what was measured of its mistakes."""
    found = [
        "It reads health checks of the arm of this package alone: the same motion, channels, units "
        "and rate. For any other machine train on recordings of your own: `docs/diagnose.md`.",
        "It was trained on simulated arms, and never measured on a real one.",
        "With ten and more examples of faults that training never saw, MiniRocket features with a "
        "ridge classifier are better: `docs/diagnosis.md`.",
    ]
    for split in result.splits:
        if split.name == HELD_OUT:
            names = ", ".join(name.replace("_", " ") for name in HELD_OUT_FAULTS)
            found.append(f"Faults that training never saw ({names}): {_told(split)}")
    found.append(f"Faults that training saw: {_told(result.splits[0])}")
    return found


def _told(split: SplitResult) -> str:
    """Say what is mistaken, what a high probability is worth, and what a warning is."""
    parts = [most_mistaken(split)]
    if split.sure is not None:
        parts.append(
            f"Where it gives a probability of 90 % or more, in {100 * split.sure_share:.0f} % of "
            f"cases, {_per_cent(split.sure)} % are right."
        )
    own = split.strangers
    if own is not None:
        parts.append(
            f"With {_examples(own.shots)}, {_per_cent(own.noticed)} % of recordings of a fault "
            f"without examples are warned about, and {_per_cent(own.false_warnings)} % of others."
        )
    return " ".join(part for part in parts if part)


def _cell(score: Score | None) -> str:
    return "-" if score is None else _per_cent(score.accuracy)


def _per_cent(share: Interval) -> str:
    value, low, high = (100 * number for number in (share.value, share.low, share.high))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _examples(count: int) -> str:
    return f"{count} example{'s' * (count != 1)}"


def _versions(run: DiagnosisRun) -> str:
    found = run.config.provenance["versions"]
    return ", ".join(f"{name} {number}" for name, number in found.items())
