"""Own recordings: what is read, bit for bit, and what must stay together."""

import errno
import os
import time

import numpy as np
import pytest
from own_folders import (
    FILES,
    HEADER,
    change,
    lines_of,
    make_folder,
    replace_cell,
    rows,
    write,
)

from metarobot.cli.diagnose_options import DiagnoseRecord
from metarobot.cli.diagnose_record import record_example
from metarobot.cli.main import main
from metarobot.diagnosis import CHANNELS, SAMPLES_PER_S, Channel, record, sample_machines
from metarobot.diagnosis.own_data import (
    OwnDataError,
    draw_shots,
    read_recordings,
    read_unlabelled,
    require_new_folder,
    require_shots,
    write_recordings,
)


@pytest.fixture(scope="module")
def simulated():
    machines = sample_machines(2).rows([0, 0, 1, 1])
    return record(machines, ["healthy", "backlash"] * 2, [0.0, 0.01] * 2, 3)


def test_recordings_of_the_package_come_back_bit_for_bit(simulated, tmp_path):
    write_recordings(simulated, tmp_path / "own")
    own = read_recordings(tmp_path / "own")
    assert own.signals.dtype == np.float32
    np.testing.assert_array_equal(own.signals, simulated.signals.transpose(0, 2, 1))
    assert own.channels == CHANNELS
    assert own.samples_per_s == SAMPLES_PER_S
    assert own.label.tolist() == simulated.fault.tolist()
    assert own.machines == ("arm 0", "arm 1")
    assert own.joint.tolist() == ["", "2", "", "2"]
    assert [float(severity) for severity in own.severity] == simulated.severity.tolist()
    assert all(text.startswith("oil at ") for text in own.condition)


def test_a_full_disk_leaves_nothing_in_the_way(simulated, tmp_path, monkeypatch):
    left = iter([True] * 4)  # a file and its folder are synced

    def fill(descriptor):
        if not next(left, False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fill)
        with pytest.raises(OwnDataError, match=r"recording-0002\.csv: No space left"):
            write_recordings(simulated, tmp_path / "own")
    assert not [*(tmp_path / "own").iterdir()]
    write_recordings(simulated, tmp_path / "own")
    assert len(read_recordings(tmp_path / "own")) == 4


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_nothing_is_written_through_a_link(simulated, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for target in ("elsewhere", "missing", "out"):
        (tmp_path / "out").symlink_to(tmp_path / target)
        with pytest.raises(OwnDataError, match="out is a link"):
            require_new_folder(tmp_path / "out")
        with pytest.raises(OwnDataError, match="out is a link"):
            write_recordings(simulated, tmp_path / "out")
        (tmp_path / "out").unlink()
    assert [path.name for path in tmp_path.rglob("*")] == ["elsewhere"]


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_any_number_of_single_precision_comes_back(simulated, scale, tmp_path):
    bits = np.random.default_rng(0).normal(size=simulated.signals.shape) * scale
    changed = simulated.__class__(**{**vars(simulated), "signals": bits.astype(np.float32)})
    write_recordings(changed, tmp_path / "own")
    own = read_recordings(tmp_path / "own")
    np.testing.assert_array_equal(own.signals, changed.signals.transpose(0, 2, 1))


def test_nothing_is_written_where_something_is(simulated, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(OwnDataError, match="not empty"):
        write_recordings(simulated, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_any_channels_and_units_are_read(tmp_path):
    own = read_recordings(make_folder(tmp_path / "own"))
    assert own.signals.shape == (4, 20, 2)
    assert own.channels == (Channel("current", "A"), Channel("vibration", ""))
    assert own.samples_per_s == 100
    assert own.label.tolist() == [*FILES.values()]
    assert own.file.tolist() == [*FILES]
    np.testing.assert_array_equal(own.severity, [""] * 4)
    expected = np.array([line.split(",")[1:] for line in rows(1)], dtype=np.float32)
    np.testing.assert_array_equal(own.signals[1], expected)


def byte_order_mark(data: bytes) -> bytes:
    return b"\xef\xbb\xbf" + data


def windows_line_ends(data: bytes) -> bytes:
    return data.replace(b"\n", b"\r\n")


def old_line_ends(data: bytes) -> bytes:
    return data.replace(b"\n", b"\r")


def blank_lines_below(data: bytes) -> bytes:
    return data + b"\n \n"


def no_line_end_below(data: bytes) -> bytes:
    return data.rstrip()


def quotes(data: bytes) -> bytes:
    lines = data.decode().splitlines()
    return "\n".join(",".join(f'"{c}"' for c in line.split(",")) for line in lines).encode()


def spaces(data: bytes) -> bytes:
    return data.replace(b",", b" , ")


@pytest.mark.parametrize(
    "rewrite",
    [
        byte_order_mark,
        windows_line_ends,
        old_line_ends,
        blank_lines_below,
        no_line_end_below,
        quotes,
        spaces,
    ],
)
def test_what_editors_and_spreadsheets_do_to_a_file_changes_nothing(rewrite, tmp_path):
    folder = make_folder(tmp_path / "own")
    before = read_recordings(folder)
    for path in folder.iterdir():
        path.write_bytes(rewrite(path.read_bytes()))
    after = read_recordings(folder)
    np.testing.assert_array_equal(after.signals, before.signals)
    assert after.channels == before.channels
    assert after.machine.tolist() == before.machine.tolist()


def test_channels_may_stand_in_any_order(tmp_path):
    folder = make_folder(tmp_path / "own")
    before = read_recordings(folder)
    change(folder / "c.csv", lambda lines: [",".join(line.split(",")[::-1]) for line in lines])
    np.testing.assert_array_equal(read_recordings(folder).signals, before.signals)


def test_files_may_lie_in_folders_and_the_folder_behind_a_link(tmp_path):
    folder = make_folder(tmp_path / "own")
    (folder / "press 1").mkdir()
    (folder / "a.csv").rename(folder / "press 1" / "a.csv")
    change(folder / "labels.csv", lambda t: [line.replace("a.csv", "press 1/a.csv") for line in t])
    (tmp_path / "link").symlink_to(folder)
    assert read_recordings(tmp_path / "link").file[0] == "press 1/a.csv"


@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_recordings_that_differ_are_never_called_the_same(offset, tmp_path):
    """Single precision merges what differs by less than 64 at 1e9."""
    folder = make_folder(tmp_path / "own")
    for name in FILES:

        def shift(lines):
            cells = [[float(c) for c in line.split(",")] for line in lines[1:]]
            return [lines[0], *(f"{t:g},{a + offset:.6f},{b + offset:.6f}" for t, a, b in cells)]

        change(folder / name, shift)
    assert len(read_recordings(folder)) == 4
    (folder / "d.csv").write_bytes((folder / "a.csv").read_bytes())
    with pytest.raises(OwnDataError, match="hold the same numbers"):
        read_recordings(folder)


def test_names_in_both_forms_of_unicode_are_one_name(tmp_path):
    """Accents as letters of their own, as some systems write them, look alike."""
    folder = make_folder(tmp_path / "own")
    composed, apart = "usé", "use\u0301"
    change(folder / "labels.csv", lambda t: [line.replace("worn", composed) for line in t])
    replace_cell(folder / "labels.csv", 5, 1, apart)
    for name, spelled in (("a.csv", composed), ("b.csv", apart), ("c.csv", apart)):
        change(folder / name, lambda t, s=spelled: [t[0].replace("vibration", s), *t[1:]])
    change(folder / "d.csv", lambda t: [t[0].replace("vibration", composed), *t[1:]])
    own = read_recordings(folder)
    assert own.labels == ("healthy", composed)
    assert own.channels[1].name == composed


def test_recordings_without_a_table_are_read_from_folders_in_the_folder(tmp_path):
    folder = make_folder(tmp_path / "own")
    (folder / "press 1" / "monday").mkdir(parents=True)
    (folder / "b.csv").rename(folder / "press 1" / "monday" / "b.csv")
    (folder / ".checkpoints").mkdir()
    write(folder / ".checkpoints" / "a.csv", ["a copy that a program keeps"])
    write(folder / "press 1" / "labels.csv", ["another table"])
    found = read_unlabelled(folder)
    assert found.file.tolist() == ["a.csv", "c.csv", "d.csv", "press 1/monday/b.csv"]
    write(folder / "press 1" / "e.csv", [HEADER])
    with pytest.raises(OwnDataError, match=r"e\.csv has 0 rows .* record longer, or leave it out$"):
        read_unlabelled(folder)


def test_parquet_and_csv_hold_the_same(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder = make_folder(tmp_path / "own")
    before = read_recordings(folder)
    for name in ("b", "d"):
        header, *lines = [line.split(",") for line in lines_of(folder / f"{name}.csv")]
        columns = np.array(lines, dtype=np.float64).T
        table = arrow.table(dict(zip(header, columns, strict=True)))
        parquet.write_table(table, folder / f"{name}.parquet")
        old, new = f"{name}.csv", f"{name}.parquet"
        change(folder / "labels.csv", lambda t, o=old, n=new: [x.replace(o, n) for x in t])
    after = read_recordings(folder)
    np.testing.assert_array_equal(after.signals, before.signals)
    assert after.file.tolist() == ["a.csv", "b.parquet", "c.csv", "d.parquet"]


def test_jitter_and_rounded_times_are_no_gaps(tmp_path):
    folder = make_folder(tmp_path / "own")
    rng = np.random.default_rng(0)
    for name in FILES:

        def jitter(lines):
            cells = [line.split(",") for line in lines[1:]]
            times = [float(c[0]) + rng.uniform(-0.002, 0.002) + 1.7e9 for c in cells]
            return [lines[0], *(f"{t:.4f},{c[1]},{c[2]}" for t, c in zip(times, cells))]  # noqa: B905

        change(folder / name, jitter)
    assert read_recordings(folder).samples_per_s == pytest.approx(100, rel=0.02)


# Windows.


def long_folder(folder, lengths=(100, 130, 70, 99, 210, 64)):
    """Recordings of mixed lengths, three with each label."""
    folder.mkdir()
    table = ["file,label"]
    for seed, length in enumerate(lengths):
        write(folder / f"{seed}.csv", [HEADER, *rows(seed, length)])
        table.append(f"{seed}.csv,{('healthy', 'worn')[seed % 2]}")
    write(folder / "labels.csv", table)
    return folder


def test_windows_lie_side_by_side_and_know_their_recording(tmp_path):
    own = read_recordings(long_folder(tmp_path / "own"), window_s=0.3)
    files, counts = np.unique(own.file, return_counts=True)
    assert files.tolist() == [f"{k}.csv" for k in range(6)]
    assert counts.tolist() == [length // 30 for length in (100, 130, 70, 99, 210, 64)]
    assert own.signals.shape[1:] == (30, 2)
    assert own.duration_s == pytest.approx(0.3)
    for name in files:
        mine = own.rows(own.file == name)
        assert mine.window.tolist() == [*range(len(mine))]
        assert len(set(mine.label)) == 1
        whole = np.array(
            [line.split(",")[1:] for line in lines_of(tmp_path / "own" / name)[1:]], np.float32
        )
        np.testing.assert_array_equal(mine.signals.reshape(-1, 2), whole[: 30 * len(mine)])


@pytest.mark.parametrize("seed", range(20))
def test_no_recording_is_on_both_sides(seed, tmp_path):
    own = read_recordings(long_folder(tmp_path / "own"), window_s=0.2)
    support, query = draw_shots(own, 2, seed)
    assert sorted([*support, *query]) == [*range(len(own))]
    assert not {*own.file[support]} & {*own.file[query]}
    for label in own.labels:
        assert len({*own.file[support][own.label[support] == label]}) == 2
        assert (own.label[query] == label).any()


def test_the_seed_draws_the_shots(tmp_path):
    own = read_recordings(long_folder(tmp_path / "own"), window_s=0.2)
    draws = {tuple(draw_shots(own, 1, seed).support) for seed in range(20)}
    assert len(draws) > 3
    np.testing.assert_array_equal(draw_shots(own, 1, 5).support, draw_shots(own, 1, 5).support)


def test_shots_are_recordings_not_windows(tmp_path):
    own = read_recordings(long_folder(tmp_path / "own"), window_s=0.05)
    require_shots(own, 2)
    with pytest.raises(OwnDataError, match="has 3 recordings, 3 shots need 4"):
        require_shots(own, 3)
    with pytest.raises(OwnDataError, match="at least 1"):
        draw_shots(own, 0)


# Speed.


def test_a_hundred_files_take_seconds(tmp_path):
    """Ten files of 10,000 rows x 32 channels here; processor time, for the machine may be busy."""
    names = ",".join(f"channel {k}" for k in range(32))
    one = ",".join(["-0.123456789"] * 32)
    table = ["file,label"]
    for number in range(10):
        lines = [f"{k / 1000:g},{one}" for k in range(10_000)]
        lines[0] = f"0,{number},{one[14:]}"
        write(tmp_path / f"{number}.csv", [f"time_s,{names}", *lines])
        table.append(f"{number}.csv,{number % 2}")
    write(tmp_path / "labels.csv", table)
    start = time.process_time()
    assert read_recordings(tmp_path).signals.shape == (10, 10_000, 32)
    assert time.process_time() - start < 2.0


# Commands.


def test_the_example_that_is_written_can_be_checked(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = ["--machines", "2", "--checks", "2", "--faults", "backlash", "loose_payload"]
    assert main(["diagnose", "record", "--out", "own", *sizes]) == 0
    assert capfd.readouterr().out.splitlines() == [
        "12 recordings of 2 arms: healthy, backlash, loose_payload",
        "written: own",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["own"]
    assert main(["diagnose", "check", "own", "--shots", "3", "--way", "3"]) == 0
    lines = [line.split() for line in capfd.readouterr().out.splitlines()]
    assert lines[1:4] == [
        [label, "4", "2", "2", "2"] for label in ("backlash", "healthy", "loose_payload")
    ]
    assert " ".join(lines[4]) == "12 recordings of 3.2 s (800 samples)"
    own = read_recordings("own")
    assert own.machines == ("arm 1000000", "arm 1000001")  # those that no learner is trained on
    assert len(set(own.severity[own.label == "backlash"])) == 4
    assert main(["diagnose", "record", "--out", "own", *sizes]) == 2
    assert "own is not empty: name a new folder" in capfd.readouterr().err


@pytest.mark.parametrize("seed", [0, 3])
def test_the_example_is_of_machines_to_test_on_and_the_seed_draws_them(seed, tmp_path):
    options = DiagnoseRecord(out=tmp_path, machines=1, faults=("backlash",), checks=1, seed=seed)
    machines = sample_machines(1, "test", seed=seed)
    healthy = record(machines, "healthy", 0.0, seed)
    np.testing.assert_array_equal(record_example(options).signals[0], healthy.signals[0])


def test_the_check_says_what_an_engineer_would_overlook(tmp_path, capfd):
    folder = make_folder(tmp_path / "own", 80)
    change(folder / "labels.csv", lambda t: [line.rpartition(",")[0] for line in t])
    for name in FILES:
        change(folder / name, lambda t: [t[0], *(f"{x.rpartition(',')[0]},7" for x in t[1:])])
    assert main(["diagnose", "check", str(folder), "--window-s", "0.4"]) == 0
    out = capfd.readouterr().out
    assert "4 recordings, 8 windows of 0.4 s (40 samples)" in out
    assert "2 channels: current [A], vibration" in out
    assert "never changes within 7 digits: vibration" in out
    assert "no column machine" in out
    assert "not in labels.csv" not in out
    change(folder / "labels.csv", lambda t: t[:-1])
    assert main(["diagnose", "check", str(folder)]) == 0
    assert capfd.readouterr().out.endswith("not in labels.csv: d.csv\n")
    (folder / "press 9").mkdir()
    (folder / "d.csv").rename(folder / "press 9" / "e.csv")
    assert main(["diagnose", "check", str(folder)]) == 0
    assert capfd.readouterr().out.endswith("not in labels.csv: press 9/e.csv\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "metarobot diagnose: name one of record, check, train, evaluate, predict, demo first"),
        (
            ["chek"],
            "metarobot diagnose chek: name one of record, check, train, evaluate, predict, demo "
            "first, did you mean 'check'",
        ),
        (["record", "--out", "a", "--faults", "backlsh"], "no fault 'backlsh'"),
        (["record", "--out", "a", "--faults", "backlash", "backlash"], "each once"),
        (["record", "--out", "a", "--machines", "0"], "machines must be an integer in [1, 100]"),
        (["record"], "--out"),
        (["check"], "FOLDER"),
    ],
)
def test_what_is_wrong_with_a_command_is_said_in_one_line(words, message, capfd):
    assert main(["diagnose", *words]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert message in line
