"""Side-by-side videos of one task before and after adapting, written as MP4.

Only numpy, Pillow and the ffmpeg that imageio brings are needed: the frames come from whoever can
render. Text uses Pillow's built-in font, so there is no font file to find.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont

from metarobot.envs import parameter_words
from metarobot.named_files import read_file, require_writable, write_file

Frame = np.ndarray  # (H, W, 3) uint8

_BACKGROUND, _TRACK = (20, 24, 31), (46, 53, 66)
_INK, _FAINT = (238, 240, 245), (162, 170, 184)
# Light variants of the plots' colours, for a dark ground.
_BEFORE, _AFTER = (242, 140, 60), (86, 180, 233)
_GOOD, _BAD = (53, 196, 150), (240, 98, 98)
# Pillow's built-in font has no real minus sign and few symbols beyond Latin-1.
_REPLACEMENTS = str.maketrans({"−": "-", "–": "-", "→": "to", "µ": "u", "μ": "u"})


class VideoError(RuntimeError):
    """Frames that cannot become a video, or an ffmpeg that failed."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One recorded episode, for one side of the picture."""

    frames: Sequence[Frame]
    """At least one (H, W, 3) uint8 image, evenly spaced over the episode's control steps."""
    rewards: Sequence[float]
    """(T,) reward of each control step that was taken."""
    success: bool
    """Whether the episode ended in success; marked on the last frames."""
    caption: str
    """What the side shows, such as "before adapting"."""


def describe_task(task: Mapping[str, float], units: Mapping[str, str]) -> str:
    """Write a task for people: {"block_mass_kg": 0.8314} -> "block mass 0.831 kg".

    Args:
        task: Values by task parameter name.
        units: Unit of each task parameter; "" where it has none.
    """
    parts = []
    for name, value in task.items():
        unit = units.get(name, "")
        parts.append(f"{parameter_words(name, unit)} {value:.3g} {unit}".rstrip())
    return "  ·  ".join(parts)


def compose_side_by_side(
    clips: Sequence[Clip],
    header: str,
    *,
    control_dt_s: float,
    fps: float,
    hold_s: float = 1.0,
) -> Iterator[Frame]:
    """Compose episodes of one task, mostly two, into labelled frames of equal, even size.

    The clips run in step; one that ends sooner holds its last frame. The end is held, with a mark
    of success or failure on each side. Chain the iterators of several tasks for one longer video.

    Args:
        clips: The episodes from left to right, such as before and after adaptation.
        header: The task in words, see describe_task.
        control_dt_s: Duration of a control step, in seconds, for the clock.
        fps: Frames a second of the video, for the length of the hold.
        hold_s: How long the end stands still, in seconds.

    Raises:
        VideoError: A clip has no frames, or the frames differ in size or are not uint8 RGB.
    """
    _check_frames(clips)
    num_frames = max(len(clip.frames) for clip in clips)
    num_steps = max(len(clip.rewards) for clip in clips)
    last = num_frames - 1
    for index in range(num_frames + max(1, round(hold_s * fps))):
        shown = min(index, last)
        position = shown / last if last else 1.0
        step = round(position * num_steps)
        clock = f"step {step}/{num_steps}   {step * control_dt_s:.2f} s"
        sides = [_side(clip, shown, step, index > last) for clip in clips]
        yield _frame(sides, header, clock, position)


def write_mp4(frames: Iterable[Frame], path: Path, fps: float) -> None:
    """Write frames as an H.264 MP4 that browsers play while it loads.

    Odd sizes get one more row or column of background, which yuv420p needs. The file appears in
    one piece, after every frame of it was decoded again, or not at all.

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
    with tempfile.TemporaryDirectory(prefix="metarobot-video-") as folder:
        film = Path(folder) / "film.mp4"
        try:
            num_frames = _encode(frames, film, fps)
            found, _ = imageio_ffmpeg.count_frames_and_secs(str(film))
        except (OSError, RuntimeError) as error:
            if isinstance(error, VideoError):
                raise
            raise VideoError(f"ffmpeg could not make {path}: {_last_line(error)}") from error
        if found != num_frames:
            raise VideoError(
                f"ffmpeg could not make {path}: it wrote {found} of {num_frames} pictures, "
                f"perhaps for want of room in {folder}"
            )
        write_file(path, read_file(film))


def _encode(frames: Iterable[Frame], path: Path, fps: float) -> int:
    """Have ffmpeg encode the frames; return how many there are."""
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise VideoError("there are no frames to write")
    height, width = first.shape[:2]
    size = (width + width % 2, height + height % 2)
    writer = imageio_ffmpeg.write_frames(str(path), size, **_encoding(fps))
    writer.send(None)
    count = 0
    try:
        for frame in chain([first], iterator):
            if frame.shape != first.shape:
                raise VideoError(f"frames differ in size: {first.shape} and {frame.shape}")
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
    padded = np.full((height + height % 2, width + width % 2, 3), _BACKGROUND, dtype=np.uint8)
    padded[:height, :width] = frame
    return padded


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
class _Side:
    """What one half of one composed frame shows."""

    image: Frame
    caption: str
    running_return: float
    success: bool | None  # None while the episode runs


def _side(clip: Clip, index: int, step: int, ended: bool) -> _Side:
    return _Side(
        image=clip.frames[min(index, len(clip.frames) - 1)],
        caption=clip.caption,
        running_return=float(np.sum(clip.rewards[:step])),
        success=clip.success if ended else None,
    )


@cache
def _font(size: int) -> FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, FreeTypeFont):
        raise VideoError("Pillow was built without FreeType, which the labels need")
    return font


def _frame(sides: Sequence[_Side], header: str, clock: str, position: float) -> Frame:
    """Lay out header, the two images with their captions, and the progress bar."""
    height, width = sides[0].image.shape[:2]
    unit = max(8, height // 24)  # every distance follows from the frame's height
    # Captions stand above the images: a player's controls cover what is below.
    gap, title, top = unit // 2, unit * 3, unit * 5 + unit // 2
    total_width = len(sides) * (width + gap) - gap
    total_width += total_width % 2
    total_height = top + height + unit // 2
    total_height += total_height % 2
    canvas = Image.new("RGB", (total_width, total_height), _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    clock_width = _text(draw, (total_width - unit, title // 2), clock, unit * 1.1, _FAINT, "rm")
    room = total_width - 3 * unit - clock_width
    _text(draw, (unit, title // 2), header, unit * 1.35, _INK, "lm", room)
    for index, side in enumerate(sides):
        colour = _AFTER if index else _BEFORE
        left = index * (width + gap)
        canvas.paste(Image.fromarray(side.image), (left, top))
        middle = title + (top - title) // 2 - unit // 4
        draw.rectangle((left, middle - unit * 0.8, left + unit * 0.35, middle + unit * 0.8), colour)
        value = f"return  {side.running_return:z.2f}"
        value_width = _text(draw, (left + width - unit, middle), value, unit * 1.1, _INK, "rm")
        room = width - 3 * unit - value_width
        _text(draw, (left + unit, middle), side.caption, unit * 1.25, colour, "lm", room)
        if side.success is not None:
            _mark(draw, (left + width - unit * 2.2, top + unit * 2.2), unit * 1.3, side.success)
    bar = total_height - unit // 2
    draw.rectangle((0, bar, total_width, total_height), _TRACK)
    draw.rectangle((0, bar, position * total_width, total_height), _AFTER)
    return np.asarray(canvas)


def _text(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    size: float,
    colour: tuple[int, int, int],
    anchor: str,
    room: float | None = None,
) -> float:
    """Write text, smaller if it would not fit the room, and return its width in pixels."""
    text = text.translate(_REPLACEMENTS)
    font = _font(round(size))
    width = draw.textlength(text, font=font)
    if room is not None and width > room > 0:
        font = _font(max(6, int(size * room / width)))
        width = draw.textlength(text, font=font)
    draw.text(place, text, fill=colour, font=font, anchor=anchor)
    return width


def _mark(
    draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, success: bool
) -> None:
    """Draw a tick or a cross on a disc: shape and colour both tell, and no font has to have it."""
    x, y = centre
    r = radius * 0.5
    disc = (x - radius, y - radius, x + radius, y + radius)
    draw.ellipse(disc, fill=_GOOD if success else _BAD, outline=_INK, width=max(1, int(radius / 8)))
    pen = max(2, round(radius / 3.5))
    if success:
        tick = [(x - r, y + 0.1 * r), (x - 0.2 * r, y + 0.8 * r), (x + r, y - 0.7 * r)]
        draw.line(tick, fill=(255, 255, 255), width=pen, joint="curve")
    else:
        draw.line((x - 0.8 * r, y - 0.8 * r, x + 0.8 * r, y + 0.8 * r), (255, 255, 255), pen)
        draw.line((x - 0.8 * r, y + 0.8 * r, x + 0.8 * r, y - 0.8 * r), (255, 255, 255), pen)
