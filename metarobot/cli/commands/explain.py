"""`metarobot explain`."""

from __future__ import annotations

from metarobot.cli.console import OK, announce_learner, prepare, shell_line
from metarobot.cli.options import ExplainCommand
from metarobot.cli.parsing import parse, parse_task
from metarobot.console import print_line
from metarobot.progress import StageDisplay
from metarobot.reporting.explanation import (
    PAGE_FILE,
    explain_to_folder,
    one_task_sentences,
    sentences,
)
from metarobot.training.load import find_scene, load_run


def run(arguments: list[str], prog: str) -> int:
    """Show what adaptation senses and changes."""
    command = parse(ExplainCommand, arguments, prog)
    task = parse_task(command.task)
    console = prepare()
    found = find_scene(load_run(command.run, best=command.best), command.scene)
    algorithm = command.algorithm or found.first_learner
    if algorithm not in found.learners:
        raise ValueError(
            f"{command.run} holds no {algorithm} that adapts, only {', '.join(found.learners)}"
        )
    announce_learner(found, command.algorithm, console)
    with StageDisplay(console) as stages:
        explanation = explain_to_folder(
            found,
            algorithm,
            command.out,
            command.config,
            task=task,
            command=shell_line(prog, arguments),
            progress=stages,
        )
    for sentence in (*one_task_sentences(explanation), *sentences(explanation).values()):
        print_line(console, sentence)
    print_line(console, f"page: {command.out / PAGE_FILE}")
    return OK
