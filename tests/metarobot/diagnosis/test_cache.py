"""The cache gives back what was recorded, or nothing."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from metarobot import envs
from metarobot.diagnosis import record, recording, sample_machines
from metarobot.diagnosis.arm_model import REACH_SCENE
from metarobot.diagnosis.cache import ENVS_FILES


@pytest.fixture
def counted(monkeypatch):
    """Count simulations; they return numbers that tell them apart."""
    calls = []

    def simulate(orders, num_threads):
        calls.append(len(orders))
        values = orders.severity[:, None, None] + np.arange(31.0)[:, None] + np.zeros(800)
        return values.astype(np.float32)

    monkeypatch.setattr(recording, "_simulate", simulate)
    monkeypatch.setattr(recording, "_RECORDINGS_AT_ONCE", 2)
    return calls


def run(folder, severities=(1.0, 2.0, 3.0), **options):
    machines = sample_machines(len(severities))
    return record(machines, "dry_friction", list(severities), 0, cache=folder, **options)


def test_what_was_recorded_is_not_recorded_again(tmp_path, counted):
    first = run(tmp_path / "new" / "cache")
    again = run(tmp_path / "new" / "cache")
    assert counted == [2, 1]
    np.testing.assert_array_equal(again.signals, first.signals)
    names = sorted(path.suffix for path in (tmp_path / "new" / "cache").iterdir())
    assert names == [".safetensors"] * 2  # nothing half-written


def test_only_what_is_new_is_recorded(tmp_path, counted):
    run(tmp_path)
    run(tmp_path, (1.0, 2.0, 3.5))
    assert counted == [2, 1, 1]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "another"])
def test_a_damaged_file_is_recorded_again(tmp_path, counted, damage):
    first = run(tmp_path)
    path, other = sorted(tmp_path.iterdir(), key=lambda path: -path.stat().st_size)
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    damaged = {
        "cut": data[:-9],
        "flipped": data,
        "empty": b"",
        "another": other.read_bytes(),
    }
    path.write_bytes(damaged[damage])
    again = run(tmp_path)
    assert counted == [2, 1, 2]
    np.testing.assert_array_equal(again.signals, first.signals)
    run(tmp_path)
    assert counted == [2, 1, 2]


def test_another_source_is_another_name(tmp_path, counted, monkeypatch):
    run(tmp_path)
    monkeypatch.setattr("metarobot.diagnosis.cache._source_hash", lambda: "changed")
    run(tmp_path)
    assert counted == [2, 1, 2, 1]


def test_a_name_does_not_depend_on_the_longest_fault(tmp_path, counted):
    """An array of strings is as wide as its longest, which says nothing of the other rows."""
    machines = sample_machines(3)
    record(
        machines, ["backlash"] * 2 + ["torque_sensor_gain"], [0.01, 0.01, 0.1], 0, cache=tmp_path
    )
    record(machines.rows([0, 1]), "backlash", 0.01, 0, cache=tmp_path)
    assert counted == [2, 1]


_RECORD_ALONE = """
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

package = ModuleSpec("metarobot.envs", None, is_package=True)
package.submodule_search_locations = [sys.argv[1]]
sys.modules["metarobot.envs"] = module_from_spec(package)  # without what its __init__ imports

from metarobot.opengl import import_mujoco

import_mujoco()  # as its __init__ does
from metarobot.diagnosis import FAULTS, record, sample_machines

names = list(FAULTS)
middle = [sum(FAULTS[name].severity.train) / 2 for name in names]
record(sample_machines(len(names)), names, middle, 0, joints=2, num_threads=1)
for name, module in sys.modules.items():
    if name.startswith("metarobot.envs."):
        print(Path(module.__file__).name)
"""


def test_all_that_a_recording_imports_of_envs_is_hashed():
    """In a fresh process whose envs hold nothing but what recording itself asks for."""
    folder = Path(envs.__file__).parent
    found = subprocess.run(
        [sys.executable, "-c", _RECORD_ALONE, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert set(found.stdout.split()) == {name for name in ENVS_FILES if name.endswith(".py")}


def test_all_scenes_that_a_recording_reads_are_hashed():
    scenes, waiting = set(), {REACH_SCENE}
    while waiting:
        path = waiting.pop()
        scenes.add(path.name)
        elements = ElementTree.parse(path).iter()
        waiting |= {path.with_name(each.get("file")) for each in elements if each.get("file")}
    assert scenes == {name for name in ENVS_FILES if name.endswith(".xml")}
