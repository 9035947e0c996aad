"""Run folders from a stranger: a command refuses them in one line, soon, and changes nothing.

What may stand in the place of a file is tried once, in test_io.py; here is one case a command.
"""

import hashlib
import json
import shutil
import struct
import time
from copy import deepcopy
from itertools import cycle
from pathlib import Path

import pytest
from hostile import IN_PLACE_OF_A_FILE, IN_PLACE_OF_A_FOLDER, make_canary, needs_posix, snapshot
from trained import TINY, TRAINED

import metarobot as mr
from metarobot.algorithms import configure
from metarobot.cli.main import main
from metarobot.console import LONGEST_LINE
from metarobot.evaluation.task_set import TaskSet
from metarobot.io import Folder
from metarobot.learning.distributed import ALONE
from metarobot.training.load import load_run
from metarobot.training.run import load_initial_policy, resume_run
from metarobot.training.run_folder import summarise_run
from metarobot.training.train import load_newest_checkpoint, make_trainer
from metarobot.training.trainer import MetaTrainer

pytestmark = needs_posix

CONFIG = configure(TINY, "maml")
FEW = ["--algorithms", *TRAINED, "--total-steps", "64", "--hidden-sizes", "4"]


@pytest.fixture(scope="module")
def trained(grip_run, tmp_path_factory) -> Path:
    """A run that holds every kind of file that a run can hold."""
    run = Path(shutil.copytree(grip_run, tmp_path_factory.mktemp("runs") / "grip"))
    best = Folder(run) / "maml" / "checkpoints"
    best.write("best.safetensors", (Folder(run) / "maml").read("policy.safetensors"))
    return run


@pytest.fixture
def run(trained, tmp_path, monkeypatch) -> Path:
    """A copy of it to be spoiled, in the working directory; nothing may be simulated."""

    def fail(*arguments, **options):
        raise AssertionError("was not refused before the work began")

    monkeypatch.setattr(MetaTrainer, "step", fail)
    monkeypatch.setattr(TaskSet, "collect", fail)
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(trained, tmp_path / "run"))


def assert_refused(command, capfd, canary, place):
    before, started_s = snapshot(canary), time.monotonic()
    capfd.readouterr()
    code = main(command.split() if isinstance(command, str) else command)
    err = capfd.readouterr().err
    assert (code, len(err.splitlines())) == (2, 1), err
    assert place.name in err
    assert len(err) < LONGEST_LINE + 50
    assert snapshot(canary) == before
    assert time.monotonic() - started_s < 10.0


READERS = {
    "train --resume run": "maml/config.json",
    f"train grip --out run --overwrite {' '.join(FEW)}": "oracle/curve.csv",
    "evaluate run --out out": "maml/done.json",
    "evaluate run --out out --best": "maml/checkpoints/best.safetensors",
    "render run --out out.mp4": "domain_randomisation/policy.safetensors",
    "export run --out out.zip": "maml/policy.safetensors",
    "adapt run --episodes 1 --out out.safetensors": "maml/policy.safetensors",
    "explain run --out out": "maml/config.json",
}


@pytest.mark.parametrize("command", READERS)
def test_in_place_of_a_part_of_a_run(run, tmp_path, capfd, command):
    canary, place = make_canary(tmp_path / "canary"), run / READERS[command]
    place.unlink()
    IN_PLACE_OF_A_FILE["pipe"](place, canary)
    assert_refused(command, capfd, canary, place)
    shutil.rmtree(run / "maml")
    IN_PLACE_OF_A_FOLDER["link to a folder"](run / "maml", canary)
    assert_refused(command, capfd, canary, run / "maml")


# A right seal over bad content, and tables of bad numbers: a stranger can seal anything.

WILD = (
    *("1e400", "-1", "NaN", "0.5", "true", "null", json.dumps("x" * 200_000)),
    *("[]", "{}", "[[]]", "[" * 500 + "]" * 500),
)
"""Values, as JSON that Python might not write."""


def open_sealed(data):
    """Return what a sealed file says of its tensors, its facts, and what follows the header."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    notes = json.loads(header.pop("__metadata__")["metarobot"])
    return header, notes["facts"], data[8 + length :]


def sealed(entries, facts, rest):
    """Return a file whose seal is right, whatever is in it: two JSON objects, and what follows."""
    blank = "0" * 64
    notes = json.dumps({"metarobot": f'{{"sha256": "{blank}", "facts": {facts}}}'})
    header = f'{{"__metadata__": {notes}, {entries[1:]}'.encode()
    header += b" " * (-len(header) % 8)
    data = struct.pack("<Q", len(header)) + header + rest
    return data.replace(blank.encode(), hashlib.sha256(data).hexdigest().encode(), 1)


def alone(run):
    """Remove the algorithms that are not tried: to read them takes time."""
    for algorithm in TRAINED[1:]:
        shutil.rmtree(run / algorithm)


def mutations(values):
    """Yield the JSON of values with each part of them replaced by the next four of what is wild."""
    wild = cycle(WILD)

    def places(values):
        for key, value in list(values.items() if isinstance(values, dict) else enumerate(values)):
            values[key] = "@here@"
            yield
            values[key] = value
            if isinstance(value, dict | list):
                yield from places(value)

    values = deepcopy(values)
    for _ in places(values):
        text = json.dumps(values)
        yield from (text.replace('"@here@"', next(wild)) for _ in range(4))


def is_refused(read, *arguments) -> bool:
    """Whether something is refused, which is then one line; other errors are defects."""
    try:
        read(*arguments)
    except (ValueError, OSError) as error:
        return "\n" not in str(error) or pytest.fail(str(error))
    return False


SEALED = {
    "maml/policy.safetensors": lambda path, _: load_run(path.parents[1]),
    "maml/policy.safetensors to begin with": lambda path, fresh: load_initial_policy(
        path, CONFIG, fresh.params
    ),
    "maml/checkpoints/iteration-000001.safetensors": lambda path, fresh: load_newest_checkpoint(
        Folder(path.parent), CONFIG, fresh.state(), ALONE
    ),
    "adapted.safetensors": lambda path, _: mr.load_policy(path),
}


@pytest.mark.parametrize("name", SEALED)
def test_no_part_of_a_sealed_file_is_trusted(run, name):
    alone(run)
    mr.load_policy(run, "maml").save(run / "adapted.safetensors")
    fresh = make_trainer(CONFIG, ALONE)
    path = run / name.partition(" ")[0]
    entries, facts, rest = open_sealed(path.read_bytes())
    whole = json.dumps(entries), json.dumps(facts)
    path.write_bytes(sealed(*whole, rest))
    assert not is_refused(SEALED[name], path, fresh)
    for text in mutations(entries):
        path.write_bytes(sealed(text, whole[1], rest))
        assert is_refused(SEALED[name], path, fresh), text
    refused = 0
    for text in mutations(facts):
        path.write_bytes(sealed(whole[0], text, rest))
        refused += is_refused(SEALED[name], path, fresh)
    assert refused
    fresh.env.close()


@pytest.mark.parametrize("name", ["config.json", "done.json"])
def test_no_part_of_a_text_file_is_trusted(run, name):
    alone(run)
    path = run / "maml" / name
    for text in mutations(json.loads(path.read_text())):
        path.write_text(text)
        is_refused(load_run, run)
    for text in ("{}", "[]", '{"total_steps": "64"}', '{"total_steps": true}', "\x00"):
        path.write_text(text)
        assert is_refused(resume_run, run)


@pytest.mark.parametrize("cell", ["1e999", "x" * 200_000, '"'])
def test_a_curve_counts_in_numbers(run, capfd, cell):
    path = run / "maml/curve.csv"
    heading, row = path.read_text().splitlines()[:2]
    path.write_text(f"{heading}\n{row}\n1,{cell}{row[row.index(',', 2) :]}\n")
    assert is_refused(summarise_run, run)
    main(["runs", str(run)])
    out, err = capfd.readouterr()
    assert "curve.csv" in out + err
    path.write_bytes(b"," * 10**7)  # a long heading
    assert is_refused(summarise_run, run)
