"""What policies that come with the package can do, shown before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from metarobot.cli.pretrained_listing import measured_of
from metarobot.console import print_line
from metarobot.io import Folder
from metarobot.machine import OpenGLError, require_opengl
from metarobot.reporting.films import CHOSEN, render_adaptation
from metarobot.reporting.heat_map import heat_map
from metarobot.reporting.report import Demonstration
from metarobot.reporting.video import VideoError
from metarobot.reporting.words import where_they_hold
from metarobot.training.load import FOLDER, load_run

SHIPPED_HEAT_MAP, SHIPPED_VIDEO = "shipped_heat_map.png", "shipped_adaptation.mp4"
Filmed = TypeVar("Filmed")


def show_shipped(
    name: str, task: Mapping[str, float], out: Path, console: Console
) -> Demonstration:
    """Draw where a family's shipped policies work, film one of them adapting, and say so.

    Args:
        name: The preset of the family.
        task: The task that is filmed; parameters not named are nominal.
        out: Where the two files go.
        console: Where to say it.

    Returns:
        The same, for a report.
    """
    measured, folder = measured_of(name), Folder(out)
    print_line(console, f"First, the {name} policies that come with the package, trained in full:")
    for sentence in where_they_hold(measured):
        print_line(console, f"  {sentence}")
    folder.write(SHIPPED_HEAT_MAP, heat_map(measured))
    print_line(console, f"  heat map: {out / SHIPPED_HEAT_MAP}")
    run, path = load_run(FOLDER / name), out / SHIPPED_VIDEO
    filmed = film_if_possible(lambda: render_adaptation(run, path, task=task, note=CHOSEN), console)
    if filmed:
        print_line(console, f"  video: {path}")
    return Demonstration(shipped=measured, film=folder.read(SHIPPED_VIDEO) if filmed else None)


def film_if_possible(film: Callable[[], Filmed], console: Console) -> Filmed | None:
    """Film, or say why not: a machine without OpenGL does everything else."""
    try:
        require_opengl()
        return film()
    except (OpenGLError, VideoError) as error:
        print_line(console, f"no video: {error}")
        return None
