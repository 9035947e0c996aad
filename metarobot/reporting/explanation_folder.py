"""From a run to the folder of an explanation: numbers, pictures and a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from metarobot.evaluation.explaining import Progress, explain
from metarobot.evaluation.explanation import Explanation, ExplanationConfig
from metarobot.io import Folder, json_bytes, rounded
from metarobot.reporting.explanation_panels import explanation_title
from metarobot.reporting.explanation_pictures import PICTURES, pictures_of
from metarobot.reporting.explanation_words import one_task_sentences, sentences
from metarobot.reporting.reading_table import reading_groups, reading_headings
from metarobot.reporting.report import data_url, page_templates
from metarobot.training.load import TrainedRun

PAGE_FILE = "explanation.html"
NUMBERS_FILE = "explanation.json"


def explain_to_folder(
    run: TrainedRun,
    algorithm: str,
    out: Path,
    config: ExplanationConfig,
    *,
    task: Mapping[str, float] | None = None,
    command: str = "",
    progress: Progress,
) -> Explanation:
    """Measure what adaptation senses and changes, and write all there is to see into a folder.

    Args:
        run: The run that holds the policy.
        algorithm: Whose adaptation.
        out: Folder to write to; made if missing.
        config: How much is measured.
        task: Parameters of one task that is looked at more closely, all others nominal.
        command: Command line that makes it again.
        progress: Called with a stage and the share of the work done.

    Returns:
        The explanation, which explanation.json holds.

    Raises:
        TaskError: The family does not allow the task.
        FolderError: Something other than a file is in the place of a product.
        OSError: The folder cannot be written to.
    """
    run.distribution.with_values({name: [value] for name, value in (task or {}).items()})
    folder = Folder(out)
    folder.make()
    files = (NUMBERS_FILE, *(f"{name}.png" for name in PICTURES), PAGE_FILE)
    folder.require_replaceable(*files)
    explanation = explain(run, algorithm, config, progress, task)
    pictures = pictures_of(explanation)
    folder.write_together(
        {
            NUMBERS_FILE: json_bytes(rounded(msgspec.to_builtins(explanation))),
            **{f"{name}.png": pictures.get(name) for name in PICTURES},
            PAGE_FILE: _page(explanation, pictures, command).encode(),
        }
    )
    return explanation


def _page(explanation: Explanation, pictures: Mapping[str, bytes], command: str) -> str:
    """Return the page: every picture with a sentence, in one file that loads nothing."""
    return (
        page_templates()
        .get_template("explanation.html.j2")
        .render(
            title=explanation_title(explanation),
            family=explanation.family,
            one_task=one_task_sentences(explanation),
            sentences=sentences(explanation),
            pictures={name: data_url(data, "image/png") for name, data in pictures.items()},
            headings=reading_headings(explanation),
            groups=reading_groups(explanation),
            config=explanation.config,
            command=command,
        )
    )
