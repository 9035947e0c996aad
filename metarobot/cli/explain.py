"""`metarobot explain`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from metarobot.cli.console import OK, shell_line
from metarobot.cli.parsing import PolicyOptions, TaskArgument, arguments_of, parse, parse_task
from metarobot.console import make_console, print_line
from metarobot.evaluation.protocol import ExplanationConfig


@dataclass(frozen=True, kw_only=True)
class Options(PolicyOptions):
    """Measure how adaptation depends on the task, and how it changes behaviour."""

    out: Path
    """Folder for explanation.json, the pictures and explanation.html."""
    task: TaskArgument = ()
    """One task to explain in detail, as NAME=VALUE ...; other parameters are nominal."""
    scene: Path | None = None
    """New place of the scene, if the run was trained in one of yours that has moved."""
    config: ExplanationConfig = field(default_factory=ExplanationConfig)
    """Sizes of the measurement."""


def run(arguments: list[str], prog: str) -> int:
    """Measure the effects of adaptation, and write the page."""
    options = parse(Options, arguments, prog)
    from metarobot.api import explain  # after help, which does not wait for torch
    from metarobot.reporting.explanation import PAGE_FILE, sentences

    values = arguments_of(options, task=parse_task(options.task))
    explanation = explain(**values, command=shell_line(prog, arguments))
    console = make_console()
    for sentence in sentences(explanation).values():
        print_line(console, sentence)
    print_line(console, f"page: {options.out / PAGE_FILE}")
    return OK
