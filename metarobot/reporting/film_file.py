"""Films as files: MP4, WebP or GIF, as the file's name ends.

MP4 is written by the ffmpeg that imageio brings, the two animations by Pillow.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from math import ceil
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from PIL import Image

from metarobot.io import read_file, require_writable, write_file
from metarobot.reporting.film_drawing import BACKGROUND, VideoError

Frame = np.ndarray  # (H, W, 3) uint8

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
