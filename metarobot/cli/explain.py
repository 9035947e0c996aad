"""`metarobot explain`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from metarobot.cli.console import OK, announce_learner, prepare, shell_line
from metarobot.cli.parsing import PolicyOptions, parse, parse_task
from metarobot.console import StageDisplay, print_line
from metarobot.evaluation.explain import ExplanationConfig
from metarobot.reporting.explanation import (
    PAGE_FILE,
    explain_to_folder,
    one_task_sentences,
    sentences,
)
from metarobot.training.load import find_scene, load_run


@dataclass(frozen=True, kw_only=True)
class Options(PolicyOptions):
    """Show what adaptation senses of a task, and what it changes."""

    out: Path
    """Folder for explanation.json, the pictures and explanation.html."""
    task: tuple[str, ...] = ()
    """One task to look at more closely, as NAME=VALUE ..., all else nominal."""
    scene: Path | None = None
    """Where the scene of the run is now, if it was trained in one of yours that has moved."""
    config: ExplanationConfig = field(default_factory=ExplanationConfig)
    """How much is measured."""


def run(arguments: list[str], prog: str) -> int:
    """Measure what adaptation senses and changes, and write the page."""
    options = parse(Options, arguments, prog)
    task = parse_task(options.task)
    console = prepare()
    found = find_scene(load_run(options.run, best=options.best), options.scene)
    algorithm = options.algorithm or found.first_learner
    if algorithm not in found.learners:
        raise ValueError(
            f"{options.run} holds no {algorithm} that adapts, only {', '.join(found.learners)}"
        )
    announce_learner(found, options.algorithm, console)
    with StageDisplay(console) as stages:
        explanation = explain_to_folder(
            found,
            algorithm,
            options.out,
            options.config,
            task=task,
            command=shell_line(prog, arguments),
            progress=stages,
        )
    for sentence in (*one_task_sentences(explanation), *sentences(explanation).values()):
        print_line(console, sentence)
    print_line(console, f"page: {options.out / PAGE_FILE}")
    return OK
