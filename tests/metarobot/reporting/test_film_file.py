"""Films as files: every ending holds the pictures in their order, for as long as asked for."""

import numpy as np
import pytest
from PIL import Image

from metarobot.reporting.video import MOST_FPS, VideoError, require_film_name, write_film


def pictures(path):
    """Return the mean brightness of every picture, and how long each is shown, in ms."""
    found = []
    with Image.open(path) as film:
        for index in range(film.n_frames):
            film.seek(index)
            film.load()  # a WebP tells its time when it is decoded
            found.append((np.asarray(film.convert("RGB")).mean(), film.info["duration"]))
    return zip(*found, strict=True)


@pytest.mark.parametrize("ending", ["webp", "gif", "GIF"])
def test_an_animation_shows_every_picture_in_time(tmp_path, ending):
    path = tmp_path / f"film.{ending}"
    frames = [np.full((48, 64, 3), 40 * i, dtype=np.uint8) for i in (0, 1, 2, 3, 3, 3, 3)]
    write_film(iter(frames), path, fps=12.5)
    brightness, durations = pictures(path)
    assert brightness == pytest.approx([0, 40, 80, 120], abs=4)
    assert durations == (80, 80, 80, 320)  # what looks the same is one picture
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ["webp", "gif"])
@pytest.mark.parametrize("fps", [37.5, 120.0, 750.0])
def test_a_fast_animation_leaves_pictures_out_and_keeps_its_time(tmp_path, ending, fps):
    frames = [np.full((8, 8, 3), i, dtype=np.uint8) for i in range(0, 240, 2)]
    write_film(frames, tmp_path / f"film.{ending}", fps)
    _, durations = pictures(tmp_path / f"film.{ending}")
    assert min(durations[:-1]) >= 1000 / MOST_FPS[f".{ending}"]
    assert sum(durations) == pytest.approx(1000 * len(frames) / fps, abs=10)


@pytest.mark.parametrize(("ending", "size"), [("webp", (800, 625)), ("gif", (640, 500))])
def test_an_animation_is_no_wider_than_a_page(tmp_path, ending, size):
    frames = [np.zeros((1000, 1280, 3), np.uint8)] * 2
    write_film(frames, tmp_path / f"film.{ending}", 10)
    with Image.open(tmp_path / f"film.{ending}") as film:
        assert film.size == size


@pytest.mark.parametrize("ending", ["webp", "gif", "mp4"])
def test_the_same_pictures_are_the_same_film(tmp_path, ending):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (32, 48, 3), dtype=np.uint8) for _ in range(3)]
    for name in ("a", "b"):
        write_film(frames, tmp_path / f"{name}.{ending}", 10)
    assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


@pytest.mark.parametrize("ending", ["webp", "gif", "mp4"])
def test_what_is_no_film_leaves_no_file(tmp_path, ending):
    sizes = [np.zeros((32, 32, 3), np.uint8), np.zeros((32, 48, 3), np.uint8)]
    with pytest.raises(VideoError, match="differ in size"):
        write_film(sizes, tmp_path / f"film.{ending}", 10)
    with pytest.raises(VideoError, match="no frames"):
        write_film([], tmp_path / f"film.{ending}", 10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["film.avi", "film", "mp4", "film.mp4.txt"])
def test_another_ending_is_refused(tmp_path, name):
    words = r"^a film must end in \.mp4, \.webp or \.gif, got "
    with pytest.raises(ValueError, match=words):
        require_film_name(tmp_path / name)
    with pytest.raises(ValueError, match=words):
        write_film([np.zeros((8, 8, 3), np.uint8)], tmp_path / name, 10)
