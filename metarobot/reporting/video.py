"""The pictures of a film: episodes side by side or in a grid, with what they show in words.

Everything is laid out for a film that is shown 480 pixels wide: the size of letters follows from
the width of the whole picture, not from that of an episode's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from PIL import Image, ImageDraw

from metarobot.reporting.film_drawing import (
    BACKGROUND,
    BLUE,
    FAINT,
    INK,
    ORANGE,
    TRACK,
    Colour,
    VideoError,
    draw_mark,
    in_lines,
    write_text,
)
from metarobot.reporting.style import value_words

Frame = np.ndarray  # (H, W, 3) uint8

WIDTH_PX = 1280
"""Of a film of more than one episode, about."""
_GAP_PX = 8
_LETTERS_ACROSS = 43
"""Heights of a letter in the width of a film: 11 pixels each where it is shown 480 pixels wide."""
_BETWEEN = "  ·  "


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One recorded episode, for one cell of the picture."""

    frames: Sequence[Frame]
    """At least one (H, W, 3) uint8 image, evenly spaced over the episode's control steps."""
    rewards: Sequence[float]
    """(T,) reward of each control step that was taken."""
    success: bool
    """Whether the episode ended in success; marked on the last frames."""
    caption: str
    """What the cell shows, such as "before adapting"."""
    note: str = ""
    """What is to be known of it besides, such as "beyond training"."""
    colour: Colour | None = None
    """Of its caption; by its place if not given."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """What stands above all episodes of a film."""

    title: str
    """The first line, in large letters."""
    parts: Sequence[str] = ()
    """What follows in as few lines as there is room for, such as the task's parameters."""


def cell_size(columns: int, width_px: int, height_px: int) -> tuple[int, int]:
    """Return how wide and high an episode's picture is, where so many stand side by side.

    Args:
        columns: Pictures in a row.
        width_px: Width of the picture as it was taken.
        height_px: Its height.
    """
    room = (WIDTH_PX - (columns - 1) * _GAP_PX) / columns
    share = min(1.0, room / width_px)
    return max(1, int(width_px * share)), max(1, int(height_px * share))


def describe_task(task: Mapping[str, float], units: Mapping[str, str]) -> list[str]:
    """Write a task for people: {"block_mass_kg": 0.8314} -> ["block mass 0.831 kg"].

    Args:
        task: Values by task parameter name.
        units: Unit of each task parameter; "" or "1" of a ratio.
    """
    return [value_words(name, value, units.get(name, "")) for name, value in task.items()]


def compose_film(
    clips: Sequence[Clip],
    words: Words,
    *,
    columns: int,
    control_dt_s: float,
    fps: float,
    hold_s: float = 1.0,
) -> Iterator[Frame]:
    """Compose episodes into labelled frames of equal, even size.

    The clips run in step; one that ends sooner holds its last frame. The end is held, with a mark
    of success or failure on each. Chain the iterators of several films for one longer film.

    Args:
        clips: The episodes, row by row from the left, such as before and after adaptation.
        words: What stands above them.
        columns: Episodes in a row.
        control_dt_s: Duration of a control step, in seconds, for the clock.
        fps: Frames a second of the video, for the length of the hold.
        hold_s: How long the end stands still, in seconds.

    Raises:
        VideoError: A clip has no frames, or the frames differ in size or are not uint8 RGB.
    """
    _check_frames(clips)
    layout = _Layout.of(clips[0].frames[0].shape[:2], len(clips), columns, words)
    num_frames = max(len(clip.frames) for clip in clips)
    num_steps = max(len(clip.rewards) for clip in clips)
    last = num_frames - 1
    for index in range(num_frames + max(1, round(hold_s * fps))):
        shown = min(index, last)
        position = shown / last if last else 1.0
        step = round(position * num_steps)
        clock = f"step {step}/{num_steps}   {step * control_dt_s:.2f} s"
        canvas = Image.new("RGB", layout.size, BACKGROUND)
        draw = ImageDraw.Draw(canvas)
        layout.draw_words(draw, words, clock)
        for place, clip in enumerate(clips):
            _draw_cell(canvas, layout, place, clip, shown, step, ended=index > last)
        layout.draw_bar(draw, position)
        yield np.asarray(canvas)


def _check_frames(clips: Sequence[Clip]) -> None:
    shapes = set()
    for clip in clips:
        if not len(clip.frames):
            raise VideoError(f"the clip {clip.caption!r} has no frames")
        for frame in clip.frames:
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
                raise VideoError(f"frames must be (H, W, 3) uint8, got {frame.shape} {frame.dtype}")
            shapes.add(frame.shape)
    if len(shapes) > 1:
        raise VideoError(f"frames differ in size: {sorted(shapes)}")


@dataclass(frozen=True)
class _Layout:
    """Where everything stands, in pixels; every distance follows from the height of a letter."""

    letter: int
    columns: int
    cell: tuple[int, int]  # width and height of an episode's picture
    lines: Sequence[str]  # of what stands above, without the title
    size: tuple[int, int]  # of the whole picture

    @classmethod
    def of(cls, shape: tuple[int, int], num_clips: int, columns: int, words: Words) -> _Layout:
        height, width = shape
        columns = min(columns, num_clips)
        total_width = columns * (width + _GAP_PX) - _GAP_PX
        total_width += total_width % 2
        letter = max(8, round(total_width / _LETTERS_ACROSS))
        lines = in_lines(words.parts, _BETWEEN, letter, total_width - letter)
        layout = cls(letter, columns, (width, height), lines, (0, 0))
        total_height = layout.corner(ceil(num_clips / columns) * columns)[1] - layout.above_cell
        total_height += letter // 2
        total_height += total_height % 2
        return cls(letter, columns, (width, height), lines, (total_width, total_height))

    @property
    def above_cell(self) -> int:
        """Height of what stands above an episode's picture: a player's controls cover the rest."""
        return round(2.75 * self.letter)

    def corner(self, place: int) -> tuple[int, int]:
        """Return where the picture of an episode begins, from the left and from above."""
        row, column = divmod(place, self.columns)
        above = round((2.0 + 1.35 * len(self.lines)) * self.letter)
        row_height = self.above_cell + self.cell[1] + self.letter // 4
        left = column * (self.cell[0] + _GAP_PX)
        return left, above + row * row_height + self.above_cell

    def draw_words(self, draw: ImageDraw.ImageDraw, words: Words, clock: str) -> None:
        """Write the title, the clock, and the lines below."""
        margin, width, middle = self.letter / 2, self.size[0], self.letter
        clock_width = write_text(
            draw, (width - margin, middle), clock, 0.9 * self.letter, FAINT, "rm"
        )
        room = width - 4 * margin - clock_width
        write_text(draw, (margin, middle), words.title, 1.2 * self.letter, INK, "lm", room)
        for index, line in enumerate(self.lines):
            place = margin, (2.3 + 1.35 * index) * self.letter
            write_text(draw, place, line, self.letter, INK, "lm", width - 2 * margin)

    def draw_bar(self, draw: ImageDraw.ImageDraw, position: float) -> None:
        """Draw how much of the episode has passed, 0 to 1."""
        width, height = self.size
        top = height - self.letter // 4
        draw.rectangle((0, top, width, height), TRACK)
        draw.rectangle((0, top, position * width, height), BLUE)


def _draw_cell(
    canvas: Image.Image,
    layout: _Layout,
    place: int,
    clip: Clip,
    index: int,
    step: int,
    *,
    ended: bool,
) -> None:
    """Draw one episode: its caption and return, its picture, at the end its mark."""
    draw, letter = ImageDraw.Draw(canvas), layout.letter
    left, top = layout.corner(place)
    width, colour = layout.cell[0], clip.colour or (BLUE if place else ORANGE)
    canvas.paste(Image.fromarray(clip.frames[min(index, len(clip.frames) - 1)]), (left, top))
    first, second = top - 2.05 * letter, top - 0.8 * letter
    draw.rectangle((left, first - 0.6 * letter, left + 0.25 * letter, top - 0.3 * letter), colour)
    right, text = left + width - 0.3 * letter, left + 0.6 * letter
    write_text(draw, (text, first), clip.caption, letter, colour, "lm", right - text)
    value = f"return  {float(np.sum(clip.rewards[:step])):z.2f}"
    used = write_text(draw, (text, second), value, 0.9 * letter, INK, "lm")
    room = right - text - used - letter
    write_text(draw, (right, second), clip.note, 0.9 * letter, colour, "rm", room)
    if ended:
        draw_mark(draw, (left + width - 1.5 * letter, top + 1.5 * letter), letter, clip.success)
