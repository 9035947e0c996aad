import subprocess
from itertools import pairwise
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from metarobot.reporting.video import (
    Clip,
    VideoError,
    Words,
    compose_film,
    describe_task,
    write_mp4,
)


def clip(num_frames: int = 5, success: bool = True, size: tuple[int, int] = (120, 160)) -> Clip:
    grey = [np.full((*size, 3), 40 * i, dtype=np.uint8) for i in range(num_frames)]
    rewards = [-0.5] * (num_frames - 1)
    return Clip(frames=grey, rewards=rewards, success=success, caption="before adaptation")


def compose(left: Clip, right: Clip, **kwargs) -> list[np.ndarray]:
    arguments = {"control_dt_s": 0.04, "fps": 10.0, "hold_s": 0.5} | kwargs
    words = Words(title="Grip", parts=["block mass 0.8 kg"])
    return list(compose_film([left, right], words, columns=2, **arguments))


def decode(path: Path, height: int, width: int) -> np.ndarray:
    # Not imageio's reader: it leaves its pipes open, and warnings are errors here.
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path)]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, dtype=np.uint8).reshape(-1, height, width, 3)


def test_frames_are_even_equal_and_held() -> None:
    frames = compose(clip(), clip(success=False))
    assert len(frames) == 5 + 5  # every frame once, then 0.5 s at 10 frames a second
    assert {(frame.shape, frame.dtype) for frame in frames} == {(frames[0].shape, frames[0].dtype)}
    assert frames[0].shape[0] % 2 == frames[0].shape[1] % 2 == 0
    for frame in frames[6:]:
        np.testing.assert_array_equal(frame, frames[5])


def test_both_images_are_shown_unchanged_until_the_mark() -> None:
    left, right = clip(), clip(success=False)
    frame = compose(left, right)[2]
    assert (frame == 80).all(axis=2).sum() >= 2 * 120 * 160  # the value of image 2
    end = compose(left, right)[-1]
    assert not np.array_equal(end, compose(left, clip())[-1])  # success and failure look different


def test_the_shorter_clip_waits() -> None:
    frames = compose(clip(2), clip(6))
    assert len(frames) == 6 + 5
    # Left stays at its last image (value 40), right goes on to its own (value 200).
    middle = frames[5][frames[5].shape[0] // 2]
    assert (middle[80] == 40).all()
    assert (middle[-80] == 200).all()


def test_running_return_and_clock_change_the_picture() -> None:
    still = [np.zeros((120, 160, 3), dtype=np.uint8)] * 4
    moving = Clip(frames=still, rewards=[1.0, 1.0, 1.0], success=True, caption="a")
    frames = compose(moving, moving)
    assert all(not np.array_equal(a, b) for a, b in pairwise(frames[:4]))


def test_a_single_frame_and_no_rewards_are_enough() -> None:
    assert len(compose(clip(1), clip(1))) == 6


def test_long_and_unprintable_text_is_survived() -> None:
    side = Clip(frames=clip().frames, rewards=[0.0], success=True, caption="→ ✓ " * 60)
    words = Words(title="→ ✓ " * 60, parts=["block mass −1 µm " * 20] * 5)
    frames = compose_film([side, side], words, columns=2, control_dt_s=0.1, fps=5)
    assert next(frames).shape[1] >= 320


@pytest.mark.parametrize(
    ("left", "message"),
    [
        (Clip(frames=[], rewards=[], success=True, caption="empty"), "'empty' has no frames"),
        (clip(size=(100, 160)), "differ in size"),
        (
            Clip(frames=[np.zeros((120, 160, 3))], rewards=[], success=True, caption=""),
            "uint8",
        ),
    ],
)
def test_bad_frames_are_named(left: Clip, message: str) -> None:
    with pytest.raises(VideoError, match=message):
        compose(left, clip())


@pytest.mark.parametrize("size", [(64, 96), (63, 95)])
def test_mp4_round_trip(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "clip.mp4"
    frames = [np.full((*size, 3), 25 * i, dtype=np.uint8) for i in range(9)]
    write_mp4(iter(frames), path, fps=12.5)
    decoded = decode(path, 64, 96)
    assert decoded.shape == (9, 64, 96, 3)
    brightness = decoded[:, 10:50, 10:80].mean(axis=(1, 2, 3))
    np.testing.assert_allclose(brightness, [25 * i for i in range(9)], atol=4)
    num_frames, duration_s = imageio_ffmpeg.count_frames_and_secs(str(path))
    assert (num_frames, duration_s) == (9, pytest.approx(9 / 12.5))
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


def test_mp4_starts_playing_while_it_loads_and_is_deterministic(tmp_path: Path) -> None:
    frames = compose(clip(), clip())
    for name in ("a.mp4", "b.mp4"):
        write_mp4(frames, tmp_path / name, fps=10)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert data == (tmp_path / "b.mp4").read_bytes()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")

    def broken():
        yield np.zeros((32, 32, 3), dtype=np.uint8)
        yield np.zeros((32, 48, 3), dtype=np.uint8)

    with pytest.raises(VideoError, match="differ in size"):
        write_mp4(broken(), path, fps=10)
    with pytest.raises(VideoError, match="no frames"):
        write_mp4([], path, fps=10)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    frames = [np.zeros((32, 32, 3), dtype=np.uint8)] * 3
    with pytest.raises((OSError, ValueError), match="file"):
        write_mp4(frames, tmp_path / "file" / "clip.mp4", fps=10)


def test_an_encoder_that_loses_frames_is_found_out(tmp_path: Path, monkeypatch) -> None:
    def count(path: str) -> tuple[int, float]:
        return 2, 0.2

    monkeypatch.setattr(imageio_ffmpeg, "count_frames_and_secs", count)
    frames = [np.zeros((32, 32, 3), dtype=np.uint8)] * 3
    with pytest.raises(VideoError, match=r"clip\.mp4: it wrote 2 of 3 pictures"):
        write_mp4(frames, tmp_path / "clip.mp4", fps=10)
    assert list(tmp_path.iterdir()) == []


def test_describe_task() -> None:
    task = {"block_mass_kg": 0.83141, "pad_friction": 0.3}
    units = {"block_mass_kg": "kg", "pad_friction": ""}
    assert describe_task(task, units) == ["block mass 0.831 kg", "pad friction 0.3"]
