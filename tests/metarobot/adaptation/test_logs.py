"""Logs of other tools adapt bit for bit as the same episodes in memory; bad ones are refused."""

import json
import os
import re
import struct
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from logging_tools import mapping_of, write_bag, write_mcap
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from pages import PAGES, PYTHON_BLOCK
from pyarrow import parquet

import metarobot as mr
from metarobot.adaptation import episodes as formats
from metarobot.adaptation import file_reader
from metarobot.adaptation.logs import Elements
from metarobot.cli.main import main
from metarobot.envs import make_env


@pytest.fixture(scope="module")
def policy():
    return mr.load_policy("grip", "latent")


@pytest.fixture(scope="module")
def episodes(policy):
    robot = make_env("metarobot/Grip-v0", 1, num_threads=1)
    return policy.explore(robot, episodes=3, progress=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, policy, episodes):
    """The same episodes in every format."""
    folder, log, elements = tmp_path_factory.mktemp("logs"), episodes.to_log(), policy.elements
    write_mcap(folder / "log.mcap", log, elements)
    for version, name in enumerate(("ros1.bag", "ros2_sqlite", "ros2_mcap"), 1):
        write_bag(folder / name, log, elements, version)
    episodes.write(folder / "log.csv", elements)
    episodes.write(folder / "lerobot", elements, task="hold the block")
    mapping = mapping_of(elements)
    (folder / "mapping.json").write_text(json.dumps(mapping))
    lines = [f'{key} = "{value}"' for key, value in mapping.items() if isinstance(value, str)]
    for group in ("observation", "action"):
        lines += [f"[{group}]", *(f'"{name}" = "{at}"' for name, at in mapping[group].items())]
    (folder / "mapping.toml").write_text("\n".join(lines))
    return folder


LOGS = {
    "log.mcap": "mapping.toml",
    "ros1.bag": "mapping.json",
    "ros2_sqlite": "mapping.toml",
    "ros2_sqlite/ros2_sqlite.db3": "mapping.toml",
    "ros2_mcap": "mapping.toml",
    "ros2_mcap/ros2_mcap.mcap": "mapping.toml",
    "log.csv": None,
    "lerobot": None,
}


@pytest.mark.parametrize("name", LOGS)
def test_a_log_adapts_bit_for_bit_as_the_episodes_do_from_memory(name, policy, episodes, folder):
    mapping = folder / LOGS[name] if LOGS[name] else None
    log = policy.read_log(folder / name, mapping)
    for field in ("observations", "final_observations", "actions", "rewards", "mask"):
        assert torch.equal(getattr(log, field), getattr(episodes, field)), field
    expected, found = (policy.adapt_from(each).params for each in (episodes, log))
    assert all(torch.equal(leaf, found[key]) for key, leaf in expected.items())


@pytest.mark.parametrize("name", ["log.csv", "lerobot"])
def test_tables_keep_log_probs_and_success(name, policy, episodes, folder):
    log = policy.read_log(folder / name)
    assert torch.equal(log.log_probs, episodes.log_probs)
    assert torch.equal(log.success, episodes.success)


def test_each_format_has_its_method_and_knows_its_own_order(policy, episodes, folder):
    mapping = {**mapping_of(policy.elements), "control_step_s": policy.elements.control_step_s}
    for log in (
        mr.Episodes.from_lerobot(folder / "lerobot"),
        mr.Episodes.from_mcap(folder / "log.mcap", mapping),
        mr.Episodes.from_rosbag(folder / "ros1.bag", mapping),
        mr.Episodes.from_csv(folder / "log.csv", elements=policy.elements),
    ):
        assert torch.equal(log.observations, episodes.observations)
        assert type(log.first(2)) is type(episodes) is mr.Episodes
    with pytest.raises(ValueError, match=r"log\.csv: it is a csv log, not mcap"):
        mr.Episodes.from_mcap(folder / "log.csv", mapping)


def test_what_is_unknown_stays_unknown(tmp_path, policy, episodes):
    """A reward in one step, the outcome of one episode, an episode that ended early."""
    mask, final, rewards = (
        each.clone() for each in (episodes.mask, episodes.final_observations, episodes.rewards)
    )
    mask[0, 1, 9:] = 0.0
    final[0, 2], rewards[0, 0, 3] = torch.nan, torch.nan
    cut = replace(episodes, mask=mask, final_observations=final, rewards=rewards)
    cut = mr.Episodes.from_log(**cut.to_log())
    for name in ("log.csv", "lerobot"):
        cut.write(tmp_path / name, policy.elements)
    for name in ("log.csv", "lerobot"):
        log = policy.read_log(tmp_path / name)
        for field in ("observations", "final_observations", "actions", "rewards", "mask"):
            wanted = getattr(cut, field)
            assert torch.allclose(getattr(log, field), wanted, 0, 0, equal_nan=True), field


def test_a_dataset_has_the_layout_of_version_3(folder, episodes):
    """Of the specification: huggingface.co/docs/lerobot/lerobot-dataset-v3."""
    root = folder / "lerobot"
    info = json.loads((root / "meta/info.json").read_text())
    assert (info["codebase_version"], info["total_episodes"], info["total_frames"]) == (
        "v3.0",
        3,
        48,
    )
    assert info["fps"] == pytest.approx(1 / 0.06)
    assert info["splits"] == {"train": "0:3"}
    frames = parquet.read_table(root / info["data_path"].format(chunk_index=0, file_index=0))
    assert [*info["features"]] == frames.column_names
    for name, feature in info["features"].items():
        (size,), kind = feature["shape"], frames.schema.field(name).type
        if size > 1:
            assert (kind.list_size, len(feature["names"])) == (size, size)
        inner = kind.value_type if size > 1 else kind
        assert {"float": "float32"}.get(str(inner), str(inner)) == feature["dtype"]
    assert frames["timestamp"].type == pa.float32()
    assert frames["index"].to_pylist() == [*range(48)]
    table = parquet.read_table(root / "meta/episodes/chunk-000/file-000.parquet").to_pandas()
    assert table["dataset_from_index"].tolist() == [0, 16, 32]
    assert table["dataset_to_index"].tolist() == [16, 32, 48]
    assert table["tasks"][0].tolist() == ["hold the block"]
    tasks = pd.read_parquet(root / "meta/tasks.parquet")
    assert (tasks.index.tolist(), tasks["task_index"].tolist()) == (["hold the block"], [0])
    stats = json.loads((root / "meta/stats.json").read_text())
    seen = episodes.observations[0].flatten(0, 1).double().numpy()
    np.testing.assert_allclose(stats["observation.state"]["mean"], seen.mean(0), 1e-12)
    np.testing.assert_allclose(stats["observation.state"]["q90"], np.quantile(seen, 0.9, axis=0))
    first = seen[:16].max(0)
    np.testing.assert_array_equal(table["stats/observation.state/max"][0], first)


def test_names_are_matched_to_the_policys_elements(tmp_path, policy, episodes, folder):
    names = policy.elements.observation
    table = pd.read_csv(folder / "log.csv", dtype=str, keep_default_na=False)
    table[[*reversed(table.columns)]].to_csv(tmp_path / "reversed.csv", index=False)
    assert torch.equal(policy.read_log(tmp_path / "reversed.csv").actions, episodes.actions)
    other = Elements((*reversed(names),), policy.elements.action, policy.elements.control_step_s)
    flipped = mr.Episodes.from_lerobot(folder / "lerobot", elements=other)
    for field in ("observations", "final_observations"):
        assert torch.equal(getattr(flipped, field), getattr(episodes, field).flip(-1))
    table.rename(columns={"finger opening": "finger openin"}).to_csv(
        tmp_path / "b.csv", index=False
    )
    with pytest.raises(
        ValueError, match="no column 'finger opening', did you mean 'finger openin'"
    ):
        policy.read_log(tmp_path / "b.csv")


TWO = Elements(("angle", "speed"), ("torque",), 0.05)


def fast_log(path, *, jitter_ns=0, stop_between=True):
    """A controller of 20 Hz, whose sensors send at 1 kHz, and that rests between two trials."""
    with path.open("wb") as file:
        writer = McapWriter(file)
        writer.start()
        schema = writer.register_schema("any", "jsonschema", b"{}")
        channels: dict = {}

        def send(topic, time_ms, values, lag_ns=0):
            if topic not in channels:
                channels[topic] = writer.register_channel(topic, "json", schema)
            at = time_ms * 10**6 + lag_ns
            writer.add_message(channels[topic], at, json.dumps(values).encode(), at)

        random = np.random.default_rng(0)
        for trial in range(2):
            begin = 1000 * trial
            send("/running", begin, {"data": True})
            for ms in range(400):
                sensed = {"joints": [{"angle": float(begin + ms), "speed": 180.0}]}
                send("/arm", begin + ms, sensed)
                if ms % 50 == 0 and ms < 250:  # five commands, as early or late as it happens
                    lag = 500_000 + int(random.integers(0, jitter_ns + 1))
                    send("/torque", begin + ms, {"data": [ms / 100]}, lag)
                    if ms:
                        send("/reward", begin + ms, {"data": ms}, lag - 1)
                if ms == 250:
                    send("/reward", begin + ms, {"data": ms})
                    send("/running", begin + ms + 1, {"data": False})
        writer.finish()


FAST = {
    "observation": {
        "angle": "/arm.joints[0].angle",
        "speed": {"field": "/arm.joints[0].speed", "scale": 0.5, "offset": 1.0},
    },
    "action": {"torque": "/torque.data[0]"},
    "reward": "/reward.data",
}


@pytest.mark.parametrize("how", [{"step": "/torque"}, {}])
def test_messages_are_held_until_the_next_one(tmp_path, how):
    path = tmp_path / "fast.mcap"
    fast_log(path, jitter_ns=3_000_000 if how else 0)
    log = mr.Episodes.from_mcap(path, FAST | how | {"episode": "/running.data"}, elements=TWO)
    assert log.rewards.shape == (1, 2, 5)
    for trial in range(2):
        begun = (log.observations[0, trial, :, 0] - 1000 * trial - 50 * torch.arange(5.0)).tolist()
        assert all(0 <= late <= 3 for late in begun)  # the newest one when the step began
        assert (log.observations[0, trial, :, 1] == 91.0).all()
        assert log.actions[0, trial, :, 0].tolist() == pytest.approx([0, 0.5, 1, 1.5, 2])
        assert 248 <= log.final_observations[0, trial, 0] - 1000 * trial <= 265
    if how:
        assert log.rewards[0, 0].tolist() == [50, 100, 150, 200, 250]


def test_a_gap_separates_episodes(tmp_path):
    fast_log(tmp_path / "a.mcap")
    log = mr.Episodes.from_mcap(tmp_path / "a.mcap", FAST | {"gap_s": 0.3}, elements=TWO)
    assert log.rewards.shape == (1, 2, 5)
    assert log.final_observations[0, :, 0].tolist() == [250, 1250]
    with pytest.raises(
        ValueError, match=r"every 0\.05 s, but a control step lasts 0\.02 s: leave step"
    ):
        mr.Episodes.from_mcap(
            tmp_path / "a.mcap",
            FAST | {"gap_s": 0.3, "step": "/torque"},
            elements=TWO._replace(control_step_s=0.02),
        )


# Hostile logs.


def damaged(name, *changes):
    """A copy of a log in which bytes are replaced or cut off."""

    def make(folder, out):
        data = (folder / name).read_bytes()
        for change in changes:
            data = change(data)
        (out / name).write_bytes(data)
        return out / name

    return make


def dataset(change):
    """A copy of the dataset that a function changes."""

    def make(folder, out):
        for path in [*(folder / "lerobot").rglob("*")]:
            if path.is_file():
                place = out / path.relative_to(folder)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(path.read_bytes())
        change(out / "lerobot")
        return out / "lerobot"

    return make


def with_info(**values):
    def change(root):
        path = root / "meta/info.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return dataset(change)


def with_column(name, column):
    def change(root):
        path = root / DATA
        table = parquet.read_table(path)
        values = column(table[name])
        parquet.write_table(table.set_column(table.column_names.index(name), name, values), path)

    return dataset(change)


def outside(root):
    """The frames of another folder, by a link."""
    path = root / DATA
    secret = root.parent / "secret.parquet"
    path.rename(secret)
    path.symlink_to(secret)


def with_cell(text):
    def make(folder, out):
        lines = (folder / "log.csv").read_text().splitlines()
        cells = lines[4].split(",")
        lines[4] = ",".join([*cells[:2], text, *cells[3:]])
        (out / "log.csv").write_text("\n".join(lines))
        return out / "log.csv"

    return make


def mcap_of(*messages, encoding="json", schema=("any", "jsonschema", b"{}"), size=0):
    """An MCAP file with these messages on every topic."""

    def make(folder, out):
        with (out / "log.mcap").open("wb") as file:
            writer = McapWriter(file, compression=CompressionType.ZSTD)
            writer.start()
            number = writer.register_schema(*schema)
            for topic in ("/state", "/command", "/reward", "/trial"):
                channel = writer.register_channel(topic, encoding, number)
                for time_ns, data in enumerate(messages):
                    padding = b" " * (size if topic == "/state" else 0)
                    data = b'{"data": 0}' if topic in ("/reward", "/trial") else data
                    writer.add_message(channel, time_ns, data + padding, time_ns)
            writer.finish()
        return out / "log.mcap"

    return make


DATA = "data/chunk-000/file-000.parquet"
WHOLE = json.dumps({"phase": 0.5, "rest": [0.0] * 4, "data": [0.0]}).encode()
NOT_FINITE = WHOLE.replace(b"0.5", b"1e999")
TYPE = ("demo/msg/State", "ros2msg", b"float64 phase\nfloat32[] rest\n")
HUGE = b"\0\1\0\0" + struct.pack("<dI", 0.5, 2**32 - 1)

HOSTILE = {
    "an MCAP file that was cut": (
        damaged("log.mcap", lambda x: x[:2000]),
        "log.mcap: it cannot be",
    ),
    "an MCAP file with a bit turned": (
        damaged("log.mcap", lambda x: x[:400] + bytes([x[400] ^ 1]) + x[401:]),
        "log.mcap: it cannot be read: ",
    ),
    "a bag that was cut": (
        damaged("ros1.bag", lambda x: x[:-500]),
        "ros1.bag: it cannot be read: ",
    ),
    "a dictionary for a number": (
        mcap_of(b'{"phase": {}, "rest": []}'),
        "'/state.phase' must be a number, got a dict",
    ),
    "a list that is too short": (mcap_of(b'{"phase": 1, "rest": [0]}'), "has no '/state.rest[1]'"),
    "an infinite number": (mcap_of(NOT_FINITE), "observations must be finite numbers"),
    "a nest": (mcap_of(b"[" * 10**5), "recursion"),
    "a message that says it is huge": (mcap_of(HUGE, encoding="cdr", schema=TYPE), "shorter than"),
    "a type that holds itself": (
        mcap_of(HUGE, encoding="cdr", schema=("a/msg/A", "ros2msg", b"float64 phase\nA[] rest\n")),
        "log.mcap: it cannot be read: ",
    ),
    "kilobytes that unpack to gigabytes": (mcap_of(WHOLE, size=2**28), "too much memory"),
    "a text for a number": (with_cell("words"), "line 5, column 'commanded lift': 'words' is no"),
    "NaN for an observation": (with_cell("nan"), "observations must be finite numbers"),
    "a number beyond single precision": (with_cell("1e300"), "observations must be finite numbers"),
    "a row with more cells": (with_cell("0,0"), "line 5 has 11 cells, the first 10"),
    "a binary file": (damaged("log.csv", lambda x: b"\0" + x), "is empty, or no MCAP"),
    "another version": (
        with_info(codebase_version="v2.1"),
        "LeRobotDataset v2.1, only v3.0 is read",
    ),
    "a path out of the folder": (
        with_info(data_path="../../secret"),
        "has data_path '../../secret'",
    ),
    "a link out of the folder": (dataset(outside), "file-000.parquet is a link"),
    "an endless rate": (with_info(fps=1e999), "info.json is not JSON"),
    "a shape that is too large": (
        with_info(features={"observation.state": {"dtype": "float32", "shape": [10**12]}}),
        "info.json does not fit",
    ),
    "texts for numbers": (
        with_column("action", lambda c: pa.array(["a"] * len(c))),
        "column 'action' must hold numbers, got string",
    ),
    "lists of other lengths": (
        with_column(
            "observation.state", lambda c: pa.array([[0.0] * (k % 3) for k in range(len(c))])
        ),
        "must hold lists of one length",
    ),
    "frames that are missing": (
        with_column("frame_index", lambda c: pa.array([0] * len(c))),
        "frames are missing, or not in order",
    ),
    "two tasks": (
        with_column("task_index", lambda c: pa.array([0, 1] * (len(c) // 2))),
        "holds 2 tasks, but a policy adapts to one",
    ),
    "a Parquet file that was cut": (
        dataset(lambda root: (root / DATA).write_bytes((root / DATA).read_bytes()[:-9])),
        "lerobot: it cannot be read: ",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_log_is_refused_in_one_line(what, policy, folder, tmp_path, monkeypatch):
    make, words = HOSTILE[what]
    path = make(folder, tmp_path)
    needs = path.suffix in (".mcap", ".bag")
    if needs:
        monkeypatch.setattr(file_reader, "MOST_MEMORY_BYTES", 2**27)
    with pytest.raises(ValueError, match=re.escape(words)) as refusal:
        policy.read_log(path, mapping_of(policy.elements) if needs else None)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_a_bag_may_not_hold_a_link(policy, folder, tmp_path):
    bag = tmp_path / "bag"
    bag.mkdir()
    for path in (folder / "ros2_sqlite").iterdir():
        (bag / path.name).symlink_to(path)
    with pytest.raises(ValueError, match="is a link, must be a file: nothing here leads"):
        policy.read_log(bag, mapping_of(policy.elements))


def test_a_mapping_is_checked(policy, folder):
    whole = mapping_of(policy.elements)
    for change, words in (
        ({"reward": "/nothing.data"}, "it has no topic of '/nothing.data', only /command, /reward"),
        ({"reward": "/reward.value"}, "a message has no '/reward.value': 'value' is not there"),
        ({"reward": "/reward"}, "'/reward' names no field of /reward, as /reward.data[0] does"),
        ({"reward": {"field": "/reward.data", "unit": "m"}}, "unknown field `unit`"),
        ({"episodes": "/trial"}, "unknown field `episodes`"),
        ({"gap_s": 1.0}, "has episode and gap_s"),
        (
            {"control_step_s": 0.05},
            "control_step_s = 0.05, but a control step of the policy is 0.06",
        ),
        ({"action": {"force": "/command.data[0]"}}, "lacks 'logarithm of the squeezing force'"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            policy.read_log(folder / "log.mcap", whole | change)
    with pytest.raises(ValueError, match="it holds messages: pass a mapping of topics to elements"):
        policy.read_log(folder / "log.mcap")


def test_a_log_too_long_is_not_opened(policy, folder, monkeypatch):
    monkeypatch.setattr(formats, "MOST_LOG_BYTES", 100)
    with pytest.raises(
        ValueError, match=r"log\.mcap is [\d,]+ bytes long, at most 100 are allowed"
    ):
        policy.read_log(folder / "log.mcap", mapping_of(policy.elements))
    monkeypatch.setattr(file_reader, "MOST_NUMBERS", 100)
    with pytest.raises(ValueError, match="it holds more than 100 numbers: cut it"):
        policy.read_log(folder / "lerobot")


# The page, and the command line.


def test_the_example_of_the_page_runs_and_its_mapping_fits(folder, monkeypatch, policy):
    monkeypatch.chdir(folder)
    (example,) = PYTHON_BLOCK.findall(PAGES["docs/logs.md"])
    names: dict = {}
    exec(compile(example, "docs/logs.md", "exec"), names)
    assert names["adapted"].num_episodes == 3
    (text,) = re.findall(r"```toml\n(.*?)```", PAGES["docs/logs.md"], re.DOTALL)
    (folder / "example.toml").write_text(text)
    with pytest.raises(ValueError, match=r"no topic of '/state\.phase', only /any"):
        policy.read_log(other_log(folder / "other.mcap"), folder / "example.toml")


def other_log(path):
    with path.open("wb") as file:
        writer = McapWriter(file)
        writer.start()
        schema = writer.register_schema("any", "jsonschema", b"{}")
        channel = writer.register_channel("/any", "json", schema)
        writer.add_message(channel, 0, b"{}", 0)
        writer.finish()
    return path


def test_adapt_to_a_log_and_write_it_in_another_format(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    log = ["--log", str(folder / "ros1.bag"), "--mapping", str(folder / "mapping.toml")]
    grip = ["grip", "--algorithm", "latent"]
    assert main(["adapt", *grip, *log, "--out", "a.safetensors"]) == 0
    assert main(["adapt", *grip, *log, "--episodes", "2", "--out", "b.safetensors"]) == 0
    assert "adapted by 2 episodes: b.safetensors" in capsys.readouterr().out
    for out in ("dataset", "table.csv"):
        assert main(["export-episodes", *grip, *log, "--out", out]) == 0
        assert main(["adapt", *grip, "--log", out, "--out", f"{out}.safetensors"]) == 0
        expected, found = (
            mr.load_policy(name).params for name in ("a.safetensors", f"{out}.safetensors")
        )
        assert all(torch.equal(leaf, found[key]) for key, leaf in expected.items())
    assert main(["export-episodes", *grip, *log, "--out", "dataset"]) == 2
    assert "dataset is there already: name another place" in capsys.readouterr().err


def test_demonstrations_have_no_noise(tmp_path, monkeypatch, policy):
    monkeypatch.chdir(tmp_path)
    options = ["grip", "--algorithm", "latent", "--episodes", "2", "--task", "block_mass_kg=0.5"]
    assert main(["export-episodes", *options, "--demonstrations", "--out", "d"]) == 0
    log = policy.read_log("d")
    assert log.actions.abs().max() <= 1.0 + 1e-6 or log.num_episodes == 2
    first = policy.act(log.observations[0, 0, 0].numpy())
    np.testing.assert_allclose(log.actions[0, 0, 0], first, atol=1e-6)
    assert pd.read_parquet("d/meta/tasks.parquet").index[0] == "Grip-v0: block_mass_kg=0.5"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["adapt", "--out", "a.safetensors"], "name --episodes, the episodes to run, or --log"),
        (
            ["adapt", "--log", "x", "--task", "a=1", "--out", "a.safetensors"],
            "leave it out with --log",
        ),
        (["adapt", "--log", "x", "--steps", "2", "--out", "a.safetensors"], "leave out --steps"),
        (["adapt", "--log", "nowhere", "--out", "a.safetensors"], "nowhere: No such file"),
        (
            ["export-episodes", "--log", "x", "--seed", "1", "--out", "d"],
            "--seed is for new episodes",
        ),
        (["export-episodes", "--mapping", "x", "--out", "d"], "--mapping describes a log"),
    ],
)
def test_what_is_wrong_is_one_line(options, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command, *others = options
    assert main([command, "grip", *others]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not os.listdir(tmp_path)
