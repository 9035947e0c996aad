"""What policies that come with the package can do, shown before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from metarobot.cli.pretrained_listing import measured_of
from metarobot.folder import Folder
from metarobot.opengl import OpenGLError, require_opengl
from metarobot.printable import print_line
from metarobot.reporting.adaptation_video import render_adaptation
from metarobot.reporting.film_drawing import VideoError
from metarobot.reporting.heat_map import heat_map
from metarobot.reporting.where_it_holds import where_they_hold
from metarobot.training.load import TrainedRun, load_run
from metarobot.training.pretrained import FOLDER

SHIPPED_HEAT_MAP, SHIPPED_VIDEO = "shipped_heat_map.png", "shipped_adaptation.mp4"


def show_shipped(name: str, task: Mapping[str, float], out: Path, console: Console) -> None:
    """Draw where a family's shipped policies work, film one of them adapting, and say so.

    Args:
        name: The preset of the family.
        task: The task that is filmed; parameters not named are nominal.
        out: Where the two files go.
        console: Where to say it.
    """
    measured = measured_of(name)
    print_line(console, f"First, the {name} policies that come with the package, trained in full:")
    for sentence in where_they_hold(measured):
        print_line(console, f"  {sentence}")
    Folder(out).write(SHIPPED_HEAT_MAP, heat_map(measured))
    print_line(console, f"  heat map: {out / SHIPPED_HEAT_MAP}")
    if film_adaptation(load_run(FOLDER / name), out / SHIPPED_VIDEO, console, task):
        print_line(console, f"  video: {out / SHIPPED_VIDEO}")


def film_adaptation(
    run: TrainedRun, path: Path, console: Console, task: Mapping[str, float] | None = None
) -> Path | None:
    """Film an adaptation to a task, drawn if None, or say why not.

    A machine without OpenGL does everything else.
    """
    try:
        require_opengl()
        render_adaptation(run, path, task=task)
    except (OpenGLError, VideoError) as error:
        print_line(console, f"no video: {error}")
        return None
    return path
