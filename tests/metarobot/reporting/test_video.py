"""Films as pictures and as files: every ending holds the pictures in order and in time."""

import os
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from metarobot.cli.main import main
from metarobot.reporting.video import (
    MOST_SHOWN_BYTES,
    Clip,
    Words,
    compose_film,
    is_playable,
    mp4_bytes,
    write_film,
)

SIZE = (120, 160)


def clip(num_frames=5, success=True):
    grey = [np.full((*SIZE, 3), 40 * i, dtype=np.uint8) for i in range(num_frames)]
    rewards = [-0.5] * (num_frames - 1)
    return Clip(frames=grey, rewards=rewards, success=success, caption="before adaptation")


def compose(left, right, words=None, **kwargs):
    arguments = {"columns": 2, "control_dt_s": 0.04, "fps": 10.0, "hold_s": 0.5} | kwargs
    words = words or Words(title="Grip", parts=["block mass 0.8 kg"])
    return list(compose_film([left, right], words, **arguments))


def test_frames_are_even_equal_and_held():
    frames = compose(clip(), clip(success=False))
    assert len(frames) == 5 + 5  # every frame once, then 0.5 s at 10 frames a second
    assert {(frame.shape, frame.dtype) for frame in frames} == {(frames[0].shape, frames[0].dtype)}
    assert frames[0].shape[0] % 2 == frames[0].shape[1] % 2 == 0
    assert (frames[2] == 80).all(axis=2).sum() >= 2 * 120 * 160  # image 2, unchanged
    for frame in frames[6:]:
        np.testing.assert_array_equal(frame, frames[5])
    succeeded = compose(clip(), clip())
    assert not np.array_equal(frames[-1], succeeded[-1])  # the mark
    np.testing.assert_array_equal(frames[4], succeeded[4])
    assert len(compose(clip(1), clip(1))) == 6


def test_long_and_unprintable_text_stays_within_the_picture():
    long = Words(title="→ ✓ " * 60, parts=["block mass −1 µm " * 20] * 5)
    side = Clip(
        frames=clip().frames, rewards=[0.0], success=True, caption="→ ✓ " * 60, note="x" * 90
    )
    assert compose(side, side, long)[0].shape[1] == 328


def decoded(path):
    """Return the brightness of every picture of a film, and the whole duration in seconds."""
    if path.suffix == ".mp4":
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path)]
        command += ["-f", "rawvideo", "-pix_fmt", "gray", "-"]
        raw = subprocess.run(command, check=True, capture_output=True).stdout
        pictures = np.frombuffer(raw, dtype=np.uint8).reshape(-1, 48, 64)
        return pictures.mean(axis=(1, 2)), imageio_ffmpeg.count_frames_and_secs(str(path))[1]
    brightness, durations = [], []
    with Image.open(path) as film:
        for index in range(film.n_frames):
            film.seek(index)
            film.load()  # a WebP tells its time when it is decoded
            brightness.append(np.asarray(film.convert("L")).mean())
            durations.append(film.info["duration"])
    return brightness, sum(durations) / 1000


@pytest.mark.parametrize(("ending", "fps"), [("mp4", 12.5), ("webp", 18.75), ("GIF", 12.5)])
def test_every_picture_is_shown_in_time_and_alike_each_time(tmp_path, ending, fps):
    frames = [np.full((48, 64, 3), 40 * i, dtype=np.uint8) for i in range(5)]
    for name in ("a", "b"):
        write_film(iter(frames), tmp_path / "new" / f"{name}.{ending}", fps)
    path = tmp_path / "new" / f"a.{ending}"
    brightness, duration_s = decoded(path)
    assert brightness == pytest.approx([0, 40, 80, 120, 160], abs=4)
    assert duration_s == pytest.approx(len(frames) / fps, abs=0.011)
    assert path.read_bytes() == path.with_stem("b").read_bytes()
    assert len([*path.parent.iterdir()]) == 2


@pytest.mark.parametrize("ending", ["webp", "mp4"])
def test_a_film_that_fails_leaves_the_old_file(tmp_path, ending):
    (tmp_path / f"film.{ending}").write_bytes(b"old")

    def broken():
        yield np.zeros((32, 32, 3), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_film(broken(), tmp_path / f"film.{ending}", 10)
    (file,) = tmp_path.iterdir()
    assert file.read_bytes() == b"old"


def test_a_film_plays_while_it_loads_and_other_files_are_none():
    film = mp4_bytes([np.zeros((32, 48, 3), np.uint8)] * 5, fps=25.0)
    assert film.index(b"moov") < film.index(b"mdat")
    assert is_playable(film)
    for data in (b"", b"text", film[:40], bytes(1000), film[4:], film.replace(b"avc1", b"mp4v")):
        assert not is_playable(data)


def write_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MOST_SHOWN_BYTES + 1)


INPUTS = {
    "text": (lambda path: path.write_text("x"), "is not an MP4 that browsers can play"),
    "folder": (lambda path: path.mkdir(), "must be a file"),
    "pipe": (lambda path: os.mkfifo(path), "must be a file"),
    "missing": (lambda path: None, "No such file"),
    "large": (write_large, "at most 67,108,864 are allowed"),
}


@pytest.mark.skipif(os.name != "posix", reason="named pipes")
@pytest.mark.parametrize(("make", "message"), INPUTS.values(), ids=INPUTS)
def test_a_report_shows_only_films(make, message, tmp_path, capfd):
    make(tmp_path / "film.mp4")
    arguments = ["--out", str(tmp_path / "result"), "--video", str(tmp_path / "film.mp4")]
    assert main(["evaluate", "slide", *arguments]) == 2
    err = capfd.readouterr().err
    assert err.startswith("metarobot: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "result").exists()
