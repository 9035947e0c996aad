"""Films as pictures and as files: labelled frames of episodes side by side, MP4, WebP and GIF.

Everything is laid out for a film that is shown 480 pixels wide: the size of letters follows from
the width of the whole picture, not from that of an episode's.  Text uses Pillow's built-in font, so
there is no font file to find.
"""

from __future__ import annotations

import base64
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from metarobot.console import printable
from metarobot.envs.renderer import FRAME_HEIGHT_PX, FRAME_WIDTH_PX
from metarobot.io import read_file, require_writable, write_file
from metarobot.machine import MissingExtraError, extra
from metarobot.reporting.style import value_words

Colour = tuple[int, int, int]
Frame = np.ndarray  # (H, W, 3) uint8

WIDTHS_PX = {".mp4": 1280, ".webp": 800, ".gif": 640}
"""Of a film of more than one episode, about, by the ending of its name: an animation holds every
picture by itself, a GIF without loss. An MP4 of the same size is far smaller."""
MOST_FPS = {".mp4": 25.0, ".webp": 25.0, ".gif": 12.5}
"""Frames a second, at most."""
BACKGROUND, TRACK = (20, 24, 31), (46, 53, 66)
INK, FAINT = (238, 240, 245), (162, 170, 184)
# Light variants of the plots' colours, for a dark ground.
ORANGE, BLUE, GREEN, RED = (242, 140, 60), (86, 180, 233), (53, 196, 150), (240, 98, 98)
# Pillow's built-in font has no real minus sign and few symbols beyond Latin-1.
_REPLACEMENTS = str.maketrans({"−": "-", "–": "-", "→": "to", "µ": "u", "μ": "u"})
_GAP_PX = 8
_HIGHEST = 9 / 16
"""Height of all rows of pictures, in widths of a film, at most."""
_LETTERS_ACROSS = 43
"""Heights of a letter in the width of a film: 11 pixels each where it is shown 480 pixels wide."""
_BETWEEN = "  ·  "
_WEBP_QUALITY = 60
_PALETTE_FRAMES = 8
_ENCODING: dict[str, Any] = {
    "codec": "libx264",
    "pixelformat": "yuv420p",
    "macro_block_size": 2,
    "quality": 6,  # constant rate factor 20: text stays crisp
    "ffmpeg_log_level": "quiet",
    # faststart: it plays while it loads. bitexact: neither date nor version in the file.
    "output_params": ["-preset", "veryfast", "-movflags", "+faststart", "-fflags", "+bitexact"],
}
_PLAYED = re.compile(rb"stsd.{12}(avc1|avc3|vp09|av01)", re.DOTALL)
"""Encodings that all browsers in use can show, in the description of an MP4's pictures."""
MOST_SHOWN_BYTES = 64 * 2**20
"""Largest film that a page holds, in bytes."""
_MEDIA_TYPES = {".mp4": "video/mp4", ".webp": "image/webp", ".gif": "image/gif"}
_FILM_STYLE = "max-width: 100%"


class VideoError(RuntimeError):
    """Frames that cannot become a film."""


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
    """Caption of the cell, such as "before adapting"."""
    note: str = ""
    """Note on the cell, such as "beyond training"."""
    colour: Colour | None = None
    """Colour of its caption; by its place if not given."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """Text above all episodes of a film."""

    title: str
    """The first line, in large letters."""
    parts: Sequence[str] = ()
    """Further parts in as few lines as possible, such as the task's parameters."""


@dataclass(frozen=True, kw_only=True)
class Film(os.PathLike[str]):
    """A film of one task or of a grid of tasks; its path, wherever a path is taken.

    As the last value of a notebook's cell, it plays.
    """

    path: Path
    """The file, which ends in .mp4, .webp or .gif."""
    tasks: tuple[dict[str, float], ...]
    """Parameters of the tasks; a grid is listed row by row, from the top."""
    returns: Mapping[int, float]
    """Mean return over the tasks, by the adaptation episodes before."""
    successes: Mapping[int, int]
    """Number of tasks that succeed, likewise."""
    report: str = ""
    """What the policy believes about the one task after the last adaptation episode, in one line;
    empty for a grid."""

    def __fspath__(self) -> str:
        """Return the path."""
        return str(self.path)

    def __repr__(self) -> str:
        returns = " -> ".join(f"{value:z.2f}" for value in self.returns.values())
        tasks = "" if len(self.tasks) == 1 else f" of {len(self.tasks)} tasks"
        return f"Film({str(self.path)!r}{tasks}, return {returns})"

    def _repr_html_(self) -> str | None:
        """Return the film itself as HTML; None if it is gone or too large."""
        try:
            data = read_file(self.path, MOST_SHOWN_BYTES)
        except (OSError, ValueError):
            return None
        kind = _MEDIA_TYPES[self.path.suffix.lower()]
        url, name = data_url(data, kind), escape(printable(str(self.path)))
        if kind == "video/mp4":
            switches = "controls autoplay loop muted playsinline"
            return f'<video {switches} style="{_FILM_STYLE}" title="{name}" src="{url}"></video>'
        return f'<img style="{_FILM_STYLE}" alt="{name}" src="{url}">'


def require_film_name(path: Path) -> None:
    """Require a file name with the ending of a film that can be written here.

    Raises:
        ValueError: The message names what is allowed, or how to install ffmpeg.
    """
    if path.suffix.lower() not in WIDTHS_PX:
        raise ValueError(f"a film must end in .mp4, .webp or .gif, got {path}")
    if path.suffix.lower() == ".mp4":
        _import_imageio()


def _import_imageio() -> Any:
    """Return imageio's module of films; MissingExtraError without it or ffmpeg."""
    with extra("film", "an MP4"):
        import imageio.v2
        import imageio_ffmpeg  # noqa: F401
    return imageio.v2


def cell_size(columns: int, ending: str, rows: int = 1) -> tuple[int, int]:
    """Return width and height of an episode's picture, in pixels.

    Args:
        columns: Pictures in a row.
        ending: Ending of the film's name.
        rows: Pictures in a column; all together are at most as high as a wide screen.
    """
    room = (WIDTHS_PX[ending] - (columns - 1) * _GAP_PX) / columns
    room_below = _HIGHEST * WIDTHS_PX[ending] / rows
    share = min(1.0, room / FRAME_WIDTH_PX, room_below / FRAME_HEIGHT_PX)
    return int(FRAME_WIDTH_PX * share), int(FRAME_HEIGHT_PX * share)


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
        clips: The episodes, row by row from the left, with frames of one size.
        words: Text above the episodes.
        columns: Episodes in a row.
        control_dt_s: Duration of a control step, in seconds, for the clock.
        fps: Frames a second of the video, for the length of the hold.
        hold_s: Duration of the held end, in seconds.
    """
    height, width = clips[0].frames[0].shape[:2]
    columns = min(columns, len(clips))
    total_width = columns * (width + _GAP_PX) - _GAP_PX
    total_width += total_width % 2
    letter = max(8, round(total_width / _LETTERS_ACROSS))
    margin, caption_height = letter / 2, round(2.75 * letter)
    lines = in_lines(words.parts, _BETWEEN, letter, total_width - letter)
    top, row_height = (
        round((2.0 + 1.35 * len(lines)) * letter),
        caption_height + height + letter // 4,
    )
    total_height = top + ceil(len(clips) / columns) * row_height + letter // 2
    total_height += total_height % 2
    corners = [
        (column * (width + _GAP_PX), top + row * row_height + caption_height)
        for row, column in (divmod(place, columns) for place in range(len(clips)))
    ]
    num_frames = max(len(clip.frames) for clip in clips)
    num_steps = max(len(clip.rewards) for clip in clips)

    # Parts that do not change are drawn once.
    canvas = Image.new("RGB", (total_width, total_height), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    clock_width = text_width(_clock(num_steps, num_steps, control_dt_s), 0.9 * letter)
    room = total_width - 4 * margin - clock_width
    write_text(draw, (margin, letter), words.title, 1.2 * letter, INK, "lm", room)
    for index, line in enumerate(lines):
        place = margin, (2.3 + 1.35 * index) * letter
        write_text(draw, place, line, letter, INK, "lm", total_width - 2 * margin)
    for index, (clip, (x, y)) in enumerate(zip(clips, corners, strict=True)):
        colour = clip.colour or (BLUE if index else ORANGE)
        first, right, left = y - 2.05 * letter, x + width - 0.3 * letter, x + 0.6 * letter
        bar = (x, first - 0.6 * letter, x + 0.25 * letter, y - 0.3 * letter)
        draw.rectangle(bar, colour)
        write_text(draw, (left, first), clip.caption, letter, colour, "lm", right - left)
        room = right - left - text_width("return  -000.00", 0.9 * letter) - letter
        place = right, y - 0.8 * letter
        write_text(draw, place, clip.note, 0.9 * letter, colour, "rm", room)

    for index in range(num_frames + 1):
        ended, shown = index == num_frames, min(index, num_frames - 1)
        position = shown / (num_frames - 1) if num_frames > 1 else 1.0
        step = round(position * num_steps)
        picture = canvas.copy()
        draw = ImageDraw.Draw(picture)
        place, clock = (total_width - margin, letter), _clock(step, num_steps, control_dt_s)
        write_text(draw, place, clock, 0.9 * letter, FAINT, "rm")
        for clip, (x, y) in zip(clips, corners, strict=True):
            frame = clip.frames[min(shown, len(clip.frames) - 1)]
            picture.paste(Image.fromarray(frame), (x, y))
            place, value = (x + 0.6 * letter, y - 0.8 * letter), float(np.sum(clip.rewards[:step]))
            write_text(draw, place, f"return  {value:z.2f}", 0.9 * letter, INK, "lm")
            if ended:
                centre = x + width - 1.5 * letter, y + 1.5 * letter
                _draw_mark(draw, centre, letter, clip.success)
        bar_top = total_height - letter // 4
        draw.rectangle((0, bar_top, total_width, total_height), TRACK)
        draw.rectangle((0, bar_top, position * total_width, total_height), BLUE)
        for _ in range(max(1, round(hold_s * fps)) if ended else 1):
            yield np.asarray(picture)


def _clock(step: int, num_steps: int, control_dt_s: float) -> str:
    return f"step {step}/{num_steps}   {step * control_dt_s:.2f} s"


def _draw_mark(
    draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, success: bool
) -> None:
    """Draw a tick or a cross on a disc: shape and colour both tell, and no font has to have it."""
    x, y = centre
    r, pen, white = radius * 0.5, max(2, round(radius / 3.5)), (255, 255, 255)
    draw.circle(centre, radius, GREEN if success else RED, INK, max(1, int(radius / 8)))
    if success:
        tick = [(x - r, y + 0.1 * r), (x - 0.2 * r, y + 0.8 * r), (x + r, y - 0.7 * r)]
        draw.line(tick, white, pen, joint="curve")
    else:
        draw.line((x - 0.8 * r, y - 0.8 * r, x + 0.8 * r, y + 0.8 * r), white, pen)
        draw.line((x - 0.8 * r, y + 0.8 * r, x + 0.8 * r, y - 0.8 * r), white, pen)


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def text_width(words: str, size: float) -> float:
    """Return the width of a text, in pixels."""
    return _font(round(size)).getlength(words.translate(_REPLACEMENTS))


def write_text(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    words: str,
    size: float,
    colour: Colour,
    anchor: str,
    room: float | None = None,
) -> None:
    """Write text, smaller if it would not fit the room."""
    width = text_width(words, size)
    if room is not None and width > room > 0:
        size = max(6, int(size * room / width))
    words = words.translate(_REPLACEMENTS)
    draw.text(place, words, fill=colour, font=_font(round(size)), anchor=anchor)


def in_lines(parts: Sequence[str], between: str, size: float, room: float) -> list[str]:
    """Return parts of a text in as few lines as there is room for, none of them broken."""
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]}{between}{part}" if lines else part
        if lines and text_width(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def write_film(frames: Iterable[Frame], path: Path, fps: float) -> None:
    """Write frames as a film in the format of the file's ending.

    The file appears in one piece or not at all; its folder is made if missing.

    Args:
        frames: Images (H, W, 3) uint8, all of one even size.
        path: The file to write.
        fps: Frames a second.

    Raises:
        ValueError: The ending is not that of a film.
        VideoError: ffmpeg fails.
        FolderError: Something other than a file is in its place.
        OSError: The disk is full, or the folder cannot be written to; the old file stays.
    """
    require_film_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    require_writable(path)
    if path.suffix.lower() == ".mp4":
        content = mp4_bytes(frames, fps)
    else:
        pictures = [Image.fromarray(frame) for frame in frames]
        # Both formats count in hundredths of a second: no rounding adds up.
        begins = [round(100 * index / fps) for index in range(len(pictures) + 1)]
        durations_ms = [10 * max(1, int(length)) for length in np.diff(begins)]
        is_gif = path.suffix.lower() == ".gif"
        content = (gif_bytes if is_gif else webp_bytes)(pictures, durations_ms)
    write_file(path, content)


def mp4_bytes(frames: Iterable[Frame], fps: float) -> bytes:
    """Return frames as the content of an H.264 MP4 that browsers play while it loads.

    Raises:
        VideoError: ffmpeg fails, or is not installed.
    """
    try:
        imageio = _import_imageio()
    except MissingExtraError as error:
        raise VideoError(str(error)) from error
    with tempfile.TemporaryDirectory(prefix="metarobot-video-") as folder:
        film = Path(folder) / "film.mp4"
        try:
            writer: Any = imageio.get_writer(film, "FFMPEG", fps=fps, **_ENCODING)
            with writer:
                for frame in frames:
                    writer.append_data(frame)
            content = film.read_bytes()
        except OSError as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise VideoError(f"ffmpeg could not make the film: {reason}") from error
    if not is_playable(content):
        raise VideoError(f"ffmpeg did not finish the film, perhaps for want of room in {folder}")
    return content


def data_url(data: bytes | None, media_type: str) -> str | None:
    """Return a file as a data URL; None without a file."""
    return (
        None
        if data is None
        else f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
    )


def is_playable(data: bytes) -> bool:
    """Whether content is an MP4 with an encoding that browsers can play."""
    return data[4:8] == b"ftyp" and b"mdat" in data and _PLAYED.search(data) is not None


def webp_bytes(
    pictures: Sequence[Image.Image], durations_ms: Sequence[int], quality: int = _WEBP_QUALITY
) -> bytes:
    """Return the content of an animated WebP that repeats for ever.

    Args:
        pictures: All of one size.
        durations_ms: Duration of each, in milliseconds.
        quality: 0 to 100.
    """
    options = {"quality": quality, "method": 4, "minimize_size": True}
    return _animation("WEBP", pictures, durations_ms, **options)


def gif_bytes(pictures: Sequence[Image.Image], durations_ms: Sequence[int]) -> bytes:
    """Return the content of a GIF, with one palette for all pictures: nothing flickers."""
    chosen = pictures[:: ceil(len(pictures) / _PALETTE_FRAMES)]
    together = Image.fromarray(np.concatenate([np.asarray(picture) for picture in chosen]))
    palette = together.quantize(256, method=Image.Quantize.MEDIANCUT)
    plain = Image.Dither.NONE  # dither would move from picture to picture, and be larger
    few = [picture.quantize(palette=palette, dither=plain) for picture in pictures]
    return _animation("GIF", few, durations_ms, optimize=False)


def _animation(
    kind: str, pictures: Sequence[Image.Image], durations_ms: Sequence[int], **options: Any
) -> bytes:
    first, *others = pictures
    options |= {"save_all": True, "append_images": others, "duration": [*durations_ms], "loop": 0}
    buffer = BytesIO()
    first.save(buffer, kind, **options)
    return buffer.getvalue()
