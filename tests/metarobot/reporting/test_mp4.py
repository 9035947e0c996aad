import os
from pathlib import Path

import numpy as np
import pytest

from metarobot.cli.main import main
from metarobot.reporting.report import MAX_VIDEO_BYTES
from metarobot.reporting.video import playing_problem, write_mp4


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("mp4") / "film.mp4"
    write_mp4([np.zeros((32, 48, 3), np.uint8)] * 5, path, fps=25.0)
    return path.read_bytes()


def test_what_write_mp4_writes_is_played(film):
    assert playing_problem(film) is None


def test_no_part_of_a_film_is_one(film):
    for length in range(len(film)):
        assert playing_problem(film[:length]) is not None


@pytest.mark.parametrize(
    "data",
    [
        b"not really a video",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"\x1a\x45\xdf\xa3" + bytes(100),  # WebM
        b"RIFF\x00\x00\x00\x00AVI " + bytes(100),
        b"\x00\x00\x00\x08ftyp",
        b"\x00\x00\x00\x01ftyp" + b"\xff" * 8,
        bytes(1000),
        b"<!doctype html><script>alert(1)</script>",
    ],
)
def test_what_is_no_film_is_none(data):
    assert playing_problem(data) is not None


def test_an_encoding_that_browsers_lack_is_named(film):
    problem = playing_problem(film.replace(b"avc1", b"mp4v"))
    assert problem == "its pictures are none of H.264, VP9, AV1"


def test_boxes_may_have_sizes_of_64_bits_or_none(film):
    last = film.index(b"mdat") - 4
    size = int.from_bytes(film[last : last + 4], "big")
    assert last + size == len(film)  # moov comes first, for the web
    endless = film[:last] + bytes(4) + film[last + 4 :]
    assert playing_problem(endless) is None
    long = (1).to_bytes(4, "big") + b"mdat" + (size + 8).to_bytes(8, "big")
    assert playing_problem(film[:last] + long + film[last + 8 :]) is None


def write_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_VIDEO_BYTES + 1)


INPUTS = {
    "text": (lambda path: path.write_text("x"), "is not an MP4 that browsers show"),
    "empty": (lambda path: path.write_bytes(b""), "it is empty"),
    "folder": (lambda path: path.mkdir(), "must be a file"),
    "pipe": (lambda path: os.mkfifo(path), "must be a file"),
    "missing": (lambda path: None, "No such file"),
    "large": (write_large, "at most 67,108,864 are allowed"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("mp4") / "run"
    sizes = ["--num-tasks", "2", "--episodes-per-task", "4", "--hidden-sizes", "4"]
    train = ["train", "grip", "--algorithms", "maml", "--total-steps", "64", *sizes]
    assert main([*train, "--out", str(path)]) == 0
    return path


@pytest.mark.skipif(os.name != "posix", reason="named pipes")
@pytest.mark.parametrize(("make", "message"), INPUTS.values(), ids=INPUTS)
def test_a_report_shows_only_films(make, message, trained, tmp_path, capfd):
    make(tmp_path / "film.mp4")
    arguments = ["--out", str(tmp_path / "result"), "--video", str(tmp_path / "film.mp4")]
    assert main(["evaluate", str(trained), *arguments]) == 2
    err = capfd.readouterr().err
    assert err.startswith("metarobot: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "result").exists()
