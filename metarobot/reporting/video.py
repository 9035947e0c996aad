"""Films as pictures and as files: labelled frames of episodes side by side, MP4, WebP and GIF.

Everything is laid out for a film that is shown 480 pixels wide: the size of letters follows from
the width of the whole picture, not from that of an episode's.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import chain
from math import ceil
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont

from metarobot.io import read_file, require_writable, write_file
from metarobot.reporting.style import value_words

Colour = tuple[int, int, int]

BACKGROUND, TRACK = (20, 24, 31), (46, 53, 66)
INK, FAINT = (238, 240, 245), (162, 170, 184)
# Light variants of the plots' colours, for a dark ground.
ORANGE, BLUE, GREEN, RED = (242, 140, 60), (86, 180, 233), (53, 196, 150), (240, 98, 98)
# Pillow's built-in font has no real minus sign and few symbols beyond Latin-1.
_REPLACEMENTS = str.maketrans({"−": "-", "–": "-", "→": "to", "µ": "u", "μ": "u"})


class VideoError(RuntimeError):
    """Frames that cannot become a film, or an encoder that failed."""


@cache
def _font(size: int) -> FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, FreeTypeFont):
        raise VideoError("Pillow was built without FreeType, which the labels need")
    return font


def text_width(words: str, size: float) -> float:
    """Return how wide a text is, in pixels."""
    return _font(round(size)).getlength(words.translate(_REPLACEMENTS))


def write_text(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    words: str,
    size: float,
    colour: Colour,
    anchor: str,
    room: float | None = None,
) -> float:
    """Write text, smaller if it would not fit the room, and return its width in pixels."""
    words = words.translate(_REPLACEMENTS)
    width = text_width(words, size)
    if room is not None and width > room > 0:
        size = max(6, int(size * room / width))
        width = text_width(words, size)
    draw.text(place, words, fill=colour, font=_font(round(size)), anchor=anchor)
    return width


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


def draw_mark(
    draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, success: bool
) -> None:
    """Draw a tick or a cross on a disc: shape and colour both tell, and no font has to have it."""
    x, y = centre
    r = radius * 0.5
    disc = (x - radius, y - radius, x + radius, y + radius)
    draw.ellipse(disc, fill=GREEN if success else RED, outline=INK, width=max(1, int(radius / 8)))
    pen = max(2, round(radius / 3.5))
    if success:
        tick = [(x - r, y + 0.1 * r), (x - 0.2 * r, y + 0.8 * r), (x + r, y - 0.7 * r)]
        draw.line(tick, fill=(255, 255, 255), width=pen, joint="curve")
    else:
        draw.line((x - 0.8 * r, y - 0.8 * r, x + 0.8 * r, y + 0.8 * r), (255, 255, 255), pen)
        draw.line((x - 0.8 * r, y + 0.8 * r, x + 0.8 * r, y - 0.8 * r), (255, 255, 255), pen)


# The pictures of a film: episodes side by side or in a grid, with what they show in words.


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


# Films as files: MP4, WebP or GIF, as the file's name ends.


ENDINGS = (".mp4", ".webp", ".gif")
"""What the name of a film may end in."""
MOST_WIDTH_PX = {".webp": 800, ".gif": 640}
MOST_FPS = {".webp": 25.0, ".gif": 12.5}
"""Of an animation, by its ending: it holds every picture by itself, a GIF without loss. An MP4 of
the same size is far smaller."""
WEBP_QUALITY = 60
_PALETTE_FRAMES = 8
_TICK_MS = 10
"""GIF counts time in hundredths of a second."""


def require_film_name(path: Path) -> None:
    """Refuse a file whose name does not end as a film's.

    Raises:
        ValueError: The message names what is allowed.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"a film must end in .mp4, .webp or .gif, got {path}")


def write_film(frames: Iterable[Frame], path: Path, fps: float) -> None:
    """Write frames as the kind of film that the file's name ends in.

    The file appears in one piece or not at all.

    Args:
        frames: Images (H, W, 3) uint8, all of one size.
        path: The file to write.
        fps: Frames a second.

    Raises:
        ValueError: The name ends otherwise.
        VideoError: There is no frame, sizes differ, or ffmpeg fails.
        FolderError: Something other than a file is in its place.
        OSError: The disk is full, or the folder cannot be written to; the old file stays.
    """
    require_film_name(path)
    require_writable(path)
    ending = path.suffix.lower()
    if ending == ".mp4":
        write_mp4(frames, path, fps)
        return
    animation = _Animation.of(_checked(frames), fps, ending)
    write_file(path, animation.webp() if ending == ".webp" else animation.gif())


def write_mp4(frames: Iterable[Frame], path: Path, fps: float) -> None:
    """Write frames as an H.264 MP4 that browsers play while it loads.

    Odd sizes get one more row or column of background, which yuv420p needs. The file appears
    after every frame of it was decoded again.

    Args:
        frames: Images (H, W, 3) uint8, all of one size.
        path: The MP4 to write.
        fps: Frames a second.

    Raises:
        VideoError: There is no frame, sizes differ, or ffmpeg fails.
        FolderError: Something other than a file is in its place.
        OSError: The disk is full, or the folder cannot be written to; the old file stays.
    """
    require_writable(path)
    write_file(path, mp4_bytes(frames, fps, str(path)))


def mp4_bytes(frames: Iterable[Frame], fps: float, name: str = "a film") -> bytes:
    """Return frames as the content of an MP4, see `write_mp4`.

    Args:
        frames: Images (H, W, 3) uint8, all of one size.
        fps: Frames a second.
        name: What it is called in errors.
    """
    with tempfile.TemporaryDirectory(prefix="metarobot-video-") as folder:
        film = Path(folder) / "film.mp4"
        try:
            num_frames = _encode(_checked(frames), film, fps)
            found, _ = imageio_ffmpeg.count_frames_and_secs(str(film))
        except (OSError, RuntimeError) as error:
            if isinstance(error, VideoError):
                raise
            raise VideoError(f"ffmpeg could not make {name}: {_last_line(error)}") from error
        if found != num_frames:
            raise VideoError(
                f"ffmpeg could not make {name}: it wrote {found} of {num_frames} pictures, "
                f"perhaps for want of room in {folder}"
            )
        return read_file(film)


def _checked(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Yield the frames, all of one size, at least one."""
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise VideoError("there are no frames to write")
    for frame in chain([first], iterator):
        if frame.shape != first.shape:
            raise VideoError(f"frames differ in size: {first.shape} and {frame.shape}")
        yield frame


def _encode(frames: Iterator[Frame], path: Path, fps: float) -> int:
    """Have ffmpeg encode the frames; return how many there are."""
    first = next(frames)
    height, width = first.shape[:2]
    size = (width + width % 2, height + height % 2)
    writer = imageio_ffmpeg.write_frames(str(path), size, **_encoding(fps))
    writer.send(None)
    count = 0
    try:
        for frame in chain([first], frames):
            writer.send(_even(frame))
            count += 1
    finally:
        writer.close()
    return count


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def _encoding(fps: float) -> dict[str, Any]:
    return {
        "ffmpeg_log_level": "quiet",  # the film is decoded again, so its complaints tell no more
        "fps": fps,
        "codec": "libx264",
        "pix_fmt_out": "yuv420p",
        "macro_block_size": 2,
        "quality": 6,  # constant rate factor 20: text stays crisp
        # bitexact: neither date nor encoder version in the file.
        "output_params": ["-movflags", "+faststart", "-fflags", "+bitexact"],
    }


def _even(frame: Frame) -> Frame:
    height, width = frame.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return np.ascontiguousarray(frame)
    padded = np.full((height + height % 2, width + width % 2, 3), BACKGROUND, dtype=np.uint8)
    padded[:height, :width] = frame
    return padded


@dataclass(frozen=True)
class _Animation:
    """Pictures with the time that each is shown."""

    pictures: Sequence[Image.Image]
    durations_ms: Sequence[int]

    @classmethod
    def of(cls, frames: Iterator[Frame], fps: float, ending: str) -> _Animation:
        """Take as many frames as an animation may have, and join those that look the same."""
        every = ceil(fps / MOST_FPS[ending])
        pictures, begins, count, last = list[Image.Image](), list[int](), 0, None
        for count, frame in enumerate(frames, start=1):
            if (count - 1) % every or (last is not None and np.array_equal(frame, last)):
                continue
            last = frame
            pictures.append(_small(frame, MOST_WIDTH_PX[ending]))
            begins.append(_ticks(count - 1, fps))
        ends = [*begins[1:], max(_ticks(count, fps), begins[-1] + 1)]
        return cls(pictures, [_TICK_MS * (b - a) for a, b in zip(begins, ends, strict=True)])

    def webp(self) -> bytes:
        return webp_bytes(self.pictures, self.durations_ms, WEBP_QUALITY)

    def gif(self) -> bytes:
        """Return the content of a GIF, with one palette for all pictures: nothing flickers."""
        palette = _palette(self.pictures)
        plain = Image.Dither.NONE  # dither would move from picture to picture, and be larger
        first, *others = [p.quantize(palette=palette, dither=plain) for p in self.pictures]
        buffer = BytesIO()
        options = {"save_all": True, "append_images": others, "loop": 0, "optimize": False}
        first.save(buffer, "GIF", duration=list(self.durations_ms), **options)
        return buffer.getvalue()


def webp_bytes(pictures: Sequence[Image.Image], durations_ms: Sequence[int], quality: int) -> bytes:
    """Return the content of an animated WebP that repeats for ever.

    Args:
        pictures: What is shown, all of one size.
        durations_ms: How long each is shown.
        quality: 0 to 100.
    """
    first, *others = pictures
    buffer = BytesIO()
    options = {"quality": quality, "method": 6, "minimize_size": True, "loop": 0}
    durations = list(durations_ms)
    first.save(buffer, "WEBP", save_all=True, append_images=others, duration=durations, **options)
    return buffer.getvalue()


def _small(frame: Frame, most_width_px: int) -> Image.Image:
    """Return a frame, no wider than an animation may be."""
    picture = Image.fromarray(frame)
    share = min(1.0, most_width_px / picture.width)
    size = round(picture.width * share), round(picture.height * share)
    return picture if share == 1.0 else picture.resize(size, Image.Resampling.LANCZOS)


def _palette(pictures: Sequence[Image.Image]) -> Image.Image:
    """Return the 256 colours that suit some pictures of the whole film best."""
    chosen = pictures[:: ceil(len(pictures) / _PALETTE_FRAMES)]
    width, height = chosen[0].size
    together = Image.new("RGB", (width, height * len(chosen)))
    for row, picture in enumerate(chosen):
        together.paste(picture, (0, row * height))
    return together.quantize(256, method=Image.Quantize.MEDIANCUT)


def _ticks(num_frames: int, fps: float) -> int:
    """Return when a frame begins, in ticks from the film's start: no rounding adds up."""
    return round(num_frames * 1000 / fps / _TICK_MS)


# Whether a file is an MP4 that browsers show: its boxes, and how its pictures are encoded.


_PLAYED = {b"avc1": "H.264", b"avc3": "H.264", b"vp09": "VP9", b"av01": "AV1"}
"""Encodings that all browsers in use can show, by the name of their sample entry."""
_HEADER_BYTES = 8
_SAMPLE_ENTRY = re.compile(rb"stsd.{12}(.{4})", re.DOTALL)


def playing_problem(data: bytes) -> str | None:
    """Return why a browser would not show a file's content as an MP4, None if it would."""
    try:
        boxes = dict(_boxes(data))
    except ValueError as error:
        return str(error)
    if not boxes:
        return "it is empty"
    if missing := [name for name in ("moov", "mdat") if name.encode() not in boxes]:
        return f"it has no {missing[0]} box: was it cut off?"
    if not {*_SAMPLE_ENTRY.findall(boxes[b"moov"])} & {*_PLAYED}:
        return f"its pictures are none of {', '.join(dict.fromkeys(_PLAYED.values()))}"
    return None


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of every box on the top level.

    Raises:
        ValueError: A box does not end within the file.
    """
    start = 0
    while start < len(data):
        header, name = _HEADER_BYTES, data[start + 4 : start + 8]
        size = int.from_bytes(data[start : start + 4], "big")
        if size == 1:  # the size follows, in 64 bits
            size, header = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        elif size == 0:  # the last box
            size = len(data) - start
        if start == 0 and name != b"ftyp":
            raise ValueError("it does not begin as an MP4 does")
        if size < header or start + size > len(data):
            raise ValueError("its boxes do not end where it ends: was it cut off?")
        yield name, data[start + header : start + size]
        start += size
