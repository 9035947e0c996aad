"""Style of all pictures: names, colours, numbers as text, figures and their headings.

Every picture is 1800 pixels wide, for display at 900. The same evaluation gives the same bytes: no
date, path or version is in the file, and matplotlib's global state does not change.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from metarobot.algorithms import ALGORITHMS
from metarobot.envs import file_name, parameter_words
from metarobot.evaluation.protocol import NEVER_ADAPTS, ORACLE, RANDOM
from metarobot.evaluation.statistics import Interval
from metarobot.evaluation.table import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text


SPLIT_TITLES = {
    "train": "Training",
    "interpolation": "Interpolation",
    "extrapolation-one": "Extrapolation, one",
    "extrapolation": "Extrapolation",
}
_SPLITS = {
    "train": ("new tasks from the training range", "new tasks from the training range"),
    "interpolation": (
        "gaps in it, never trained on",
        "tasks in the gaps held out of the training range",
    ),
    "extrapolation-one": ("one parameter beyond it", "tasks with one parameter beyond the range"),
    "extrapolation": ("beyond it, never trained on", "tasks beyond the training range"),
}
"""For each split, a note below its title, and its tasks in a sentence."""
_OTHER_SPLITS = {
    "train": ("of what is measured here", "tasks from the main range"),
    "interpolation": ("gaps in that range", "tasks in the gaps of the main range"),
    "extrapolation-one": ("one parameter beyond it", "tasks with one parameter beyond that range"),
    "extrapolation": ("beyond that range", "tasks beyond the main range"),
}
"""The same for policies trained on another distribution: the words do not mention training."""
REFERENCE_TITLES = {
    "random": "random",
    "iterative_learning": "iterative learning",
    "fine_tuning": "fine-tuning",
    "from_scratch": "from scratch",
    "strategy_search": "strategy search",
    "identification": "identification",
}
"""Display names of references that are not algorithms."""
# Okabe and Ito's palette, which stays apart for colour-blind readers.
ALGORITHM_COLOURS = {
    RANDOM: "#7a7a7a",
    NEVER_ADAPTS: "#c65400",
    ORACLE: "#007f5f",
}
"""Colours of the references in every picture; all others share the colours below."""
REFERENCE_NOTES = {NEVER_ADAPTS: "never adapts", ORACLE: "observes the task"}
"""Short description of a reference."""
REFERENCE_DASHES = {NEVER_ADAPTS: "--", ORACLE: ":"}
"""Dash pattern of its thin grey line in other panels."""
ADAPTING_COLOURS = (
    *("#0072b2", "#b0498a", "#a07800", "#5b4fb5", "#00889b", "#a33b3b", "#4d7d2f", "#7a4a22"),
    *("#d1418d", "#3f5f8a", "#8f6fc0", "#5c6b00"),
)
INK, FAINT, GREY = "#1d2433", "#68707f", "#9aa1ad"
HEADING_SIZE = 9.25
"""Size of the name above a panel, in points: "domain randomisation" fits above one of four."""
_DPI = 200
STYLE = {
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": "#9aa1ad",
    "axes.labelcolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": "#9aa1ad",
    "ytick.color": "#9aa1ad",
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "hatch.linewidth": 0.6,
}


def parameter_label(name: str, unit: str) -> str:
    """Return a task parameter's name for people: ("block_mass_kg", "kg") -> "block mass [kg]"."""
    words = parameter_words(name, unit)
    return f"{words} [{unit}]" if _is_named(unit) else words


def in_unit(text: str, unit: str) -> str:
    """Return a number with its unit behind it; a ratio has none."""
    return f"{text} {unit}" if _is_named(unit) else text


def value_words(name: str, value: float, unit: str) -> str:
    """Write a task parameter's value for people: "block mass 0.831 kg"."""
    return f"{parameter_words(name, unit)} {in_unit(f'{value:.3g}', unit)}"


def _is_named(unit: str) -> bool:
    return unit not in ("", "1", "-")


def family_title(family: str) -> str:
    """Return an environment id's name for people: "metarobot/GripSoft-v0" -> "Grip soft"."""
    return file_name(family).replace("-", " ").capitalize()


def algorithm_title(algorithm: str) -> str:
    """Return an algorithm's or a reference's name for people."""
    if algorithm in ALGORITHMS:
        return ALGORITHMS[algorithm].title
    return REFERENCE_TITLES.get(algorithm, algorithm.replace("_", " "))


def evaluation_title(evaluation: Evaluation) -> str:
    """Return an evaluation's title: "Grip", "Grip, greasy pads" or "Grip, rewards hidden"."""
    title, variant = family_title(evaluation.family), evaluation.variant
    if variant:
        title += f", {variant.name.replace('_', ' ')}"
    return f"{title}, rewards hidden" if evaluation.config.rewards == "hidden" else title


def colours(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each of these policies, in their order; the palette begins anew."""
    others = (name for name in names if name not in ALGORITHM_COLOURS)
    return {**ALGORITHM_COLOURS, **dict(zip(others, cycle(ADAPTING_COLOURS), strict=False))}


def judged_by(evaluation: Evaluation) -> str:
    """Return the kind of test episodes, in words."""
    trained = evaluation.config.action_noise == "trained"
    return "Episodes with the policy's own noise" if trained else "Deterministic episodes"


def after_episodes(number: int) -> str:
    """Return the label of a policy after a number of adaptation episodes."""
    return "before adapting" if number == 0 else f"after {number} episode" + "s" * (number != 1)


def latent_first(names: Iterable[str]) -> list[str]:
    """Return policies in the order of a conclusion: latent, maml, then the others."""
    first = ("latent", "maml")
    return sorted(names, key=lambda name: first.index(name) if name in first else len(first))


def after_blocks(number: int) -> str:
    """Return the label of a policy after a number of blocks of adaptation episodes."""
    return "before adapting" if number == 0 else f"after {number} block" + "s" * (number != 1)


def split_title(evaluation: Evaluation, split: str) -> str:
    """Return the heading of a split."""
    is_other = split == "train" and not evaluation.tasks_as_trained
    return "Main range" if is_other else SPLIT_TITLES[split]


def split_note(evaluation: Evaluation, split: str) -> str:
    """Return a short description of a split."""
    return (_SPLITS if evaluation.tasks_as_trained else _OTHER_SPLITS)[split][0]


def split_tasks(evaluation: Evaluation, split: str) -> str:
    """Return the tasks of a split in words, for a sentence."""
    return (_SPLITS if evaluation.tasks_as_trained else _OTHER_SPLITS)[split][1]


def number(value: float | None, digits: int = 2) -> str:
    """Write a number with a real minus sign, or an en dash for None."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0.0 else text.replace("-", "−")


def percent(value: float | None) -> str:
    """Write a fraction as a percentage, or an en dash for None."""
    return (
        "–"
        if value is None or not math.isfinite(value)
        else f"{number(100 * value, 0)}\N{NO-BREAK SPACE}%"
    )


def interval(bounds: Interval | None) -> str:
    """Write the bounds of an interval, "" for None."""
    return "" if bounds is None else f"[{number(bounds.low)}, {number(bounds.high)}]"


def percent_interval(bounds: Interval | None) -> str:
    """Write the bounds of an interval of fractions in percent, "" for None."""
    if bounds is None:
        return ""
    return f"[{number(100 * bounds.low, 0)}, {number(100 * bounds.high, 0)}]"


def make_figure(height_px: int) -> Figure:
    """Return a figure for display 900 pixels wide: 100 pixels per inch, stored at twice that."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, height_px / 100), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    # Notebooks show matplotlib's figures by themselves only once pyplot is imported.
    vars(figure)["_repr_png_"] = partial(png_bytes, figure)
    return figure


def png_bytes(figure: Figure) -> bytes:
    """Return a figure as the content of a PNG file with a palette of 256 colours."""
    import matplotlib.style

    content = io.BytesIO()
    with matplotlib.style.context(["default", STYLE]):  # whatever the caller has set
        figure.savefig(content, format="png", dpi=_DPI, metadata={"Software": None})
    return with_palette(content.getvalue())


def with_palette(png: bytes) -> bytes:
    """Return a PNG with a palette of at most 256 colours, about a third as large.

    The same picture gives the same bytes.  Colours of large areas stay as they are to a level or
    two; only those of a few pixels, at the edges of letters and lines, move farther.

    Args:
        png: Content of a PNG file, transparent nowhere.
    """
    content = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        small = image.convert("RGB").quantize(
            256,
            method=Image.Quantize.MEDIANCUT,
            kmeans=1,  # MEDIANCUT alone leaves visible steps in the colour bar of a heat map
            dither=Image.Dither.NONE,  # dither would be noise in flat areas, and larger
        )
        small.save(content, format="png", optimize=True, dpi=image.info.get("dpi", (72, 72)))
    return content.getvalue()


def write_title(figure: Figure, title: str, subtitle: str) -> None:
    """Write the title of a picture and a grey reading aid below; smaller if they are long."""
    top = 1.0 - 0.10 / figure.get_figheight()
    below = top - 0.26 / figure.get_figheight()
    texts = [
        figure.text(0.012, top, title, size=13, weight="bold", va="top"),
        figure.text(0.012, below, subtitle, size=9.5, color=FAINT, va="top"),
    ]
    for text in texts:
        _fit(text, 0.976 * figure.bbox.width)


def _fit(text: Text, room_px: float) -> None:
    """Make a text smaller until it is no wider than its room."""
    # Letters are fitted to pixels one by one: the width is not in proportion to the size.
    while _is_wider(text, room_px):
        text.set_fontsize(0.97 * float(text.get_fontsize()))


def _is_wider(text: Text, room_px: float) -> bool:
    return text.get_window_extent().width > room_px


def in_two_lines(words: str) -> str:
    """Break a heading at the space that leaves the longer line shortest."""
    spaces = [place for place, letter in enumerate(words) if letter == " "]
    if not spaces:
        return words
    middle = min(spaces, key=lambda place: max(place, len(words) - place - 1))
    return f"{words[:middle]}\n{words[middle + 1 :]}"


def write_heading(axes: Axes, heading: str, colour: str) -> None:
    """Write above a panel its name, in two lines where it is wider than the panel."""
    title = axes.set_title(heading, size=10, color=colour, pad=5)
    if _is_wider(title, axes.bbox.width):
        title.set_text(in_two_lines(heading))
        title.set_linespacing(1.05)
    _fit(title, axes.bbox.width)


def panel_heading(axes: Axes, heading: str, note: str, colour: str) -> None:
    """Write the name and a note above a panel, no wider than the panel.

    A name that is too long takes two lines, so that all panels have letters of one size.
    """
    style: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    texts = [
        axes.annotate(
            heading, (0, 1), (0, 19), weight="bold", size=HEADING_SIZE, color=colour, **style
        ),
        axes.annotate(note, (0, 1), (0, 6), size=8.5, color=FAINT, **style),
    ]
    if _is_wider(texts[0], axes.bbox.width):
        texts[0].set_text(in_two_lines(heading))
    for text in texts:
        _fit(text, axes.bbox.width)


def light_grid(axes: Axes) -> None:
    """Draw faint horizontal lines, and no frame on the left."""
    axes.grid(axis="y", color="#e7e9ee", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)


class Cell(NamedTuple):
    """Text of a number in a table."""

    value: str
    """The number, a dash for None."""
    interval: str = ""
    """Its bounds in brackets, "" for None."""

    @classmethod
    def of(cls, found: Interval | None) -> Cell:
        """Write a number with two digits after the point."""
        return cls(number(found and found.value), interval(found))

    @classmethod
    def in_percent(cls, found: Interval | None) -> Cell:
        """Write a fraction in percent."""
        return cls(percent(found and found.value), percent_interval(found))
