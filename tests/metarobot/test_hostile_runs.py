"""Run folders from a stranger: whatever stands in them, each command ends in one line."""

import resource
import shutil
import time
from pathlib import Path

import pytest
from hostile import IN_PLACE_OF_A_FILE, IN_PLACE_OF_A_FOLDER, make_canary, needs_posix, snapshot
from trained import TRAINED

from metarobot.cli.main import main
from metarobot.cli.shipped import SHIPPED_HEAT_MAP, SHIPPED_VIDEO
from metarobot.config import RunConfig
from metarobot.evaluation.task_set import TaskSet
from metarobot.io import Folder
from metarobot.reporting.report import PRODUCTS
from metarobot.training.run import train_run
from metarobot.training.trainer import MetaTrainer

pytestmark = needs_posix

TINY = RunConfig(
    total_steps=64,
    num_tasks=2,
    episodes_per_task=2,
    hidden_sizes=(4,),
    options={"cg_iterations": 2},
)
SIZES = ["--num-tasks", "2", "--episodes-per-task", "2", "--hidden-sizes", "4"]
FEW = ["--algorithms", *TRAINED, "--total-steps", "64", *SIZES]
MOST_SECONDS, MOST_BYTES = 5.0, 200 * 2**20

FILES = (
    *("config.json", "policy.safetensors", "curve.csv", "done.json", "events"),
    *("checkpoints/checkpoint", "checkpoints/best.safetensors"),
)
FOLDERS = ("", "checkpoints")
COMMANDS = {
    "resume": ["train", "--resume", "RUN"],
    "overwrite": ["train", "grip", "--out", "RUN", "--overwrite", *FEW],
    "evaluate": ["evaluate", "RUN", "--out", "OUT"],
    "evaluate the best": ["evaluate", "RUN", "--out", "OUT", "--best"],
    "render": ["render", "RUN", "--out", "OUT.mp4"],
    "export": ["export", "RUN", "--out", "OUT.zip"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run that holds every kind of file that a run can hold."""
    run = tmp_path_factory.mktemp("runs") / "grip"
    train_run(TINY, TRAINED, run)
    for algorithm in TRAINED:
        checkpoints = Folder(run) / algorithm / "checkpoints"
        checkpoints.write("best.safetensors", (Folder(run) / algorithm).read("policy.safetensors"))
    return run


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def canary(tmp_path) -> Path:
    return make_canary(tmp_path / "canary")


@pytest.fixture(autouse=True)
def _nothing_is_simulated(trained, monkeypatch):
    """What takes more than seconds has not begun when a command is refused."""

    def fail(*arguments, **options):
        raise AssertionError("was not refused before the work began")

    monkeypatch.setattr(MetaTrainer, "step", fail)
    monkeypatch.setattr(TaskSet, "collect", fail)


def place_in(algorithm: Path, name: str) -> Path:
    """Return where a file of an algorithm is, whatever its name holds of time and number."""
    patterns = {
        "events": "events.out.tfevents.*",
        "checkpoints/checkpoint": "checkpoints/iteration-*",
    }
    (path,) = algorithm.glob(patterns[name]) if name in patterns else [algorithm / name]
    return path


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def assert_refused(command, names, capfd, canary, place):
    """Run a command that must end in one line, soon, without memory, and change nothing."""
    before, started_s = snapshot(canary), time.monotonic()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    capfd.readouterr()
    code = main([names.get(word, word) for word in command])
    err = capfd.readouterr().err
    assert (code, len(err.splitlines())) == (2, 1), err
    assert place.name in err
    assert snapshot(canary) == before
    assert time.monotonic() - started_s < MOST_SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used) * 1024 < MOST_BYTES


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("thing", IN_PLACE_OF_A_FILE)
def test_in_place_of_a_file_of_a_run(run, canary, tmp_path, capfd, thing, command):
    names = {"RUN": str(run)}
    names |= {f"OUT{end}": str(tmp_path / f"out{end}") for end in ("", ".mp4", ".zip")}
    for number, name in enumerate(FILES):
        algorithm = run / TRAINED[number % len(TRAINED)]
        place = place_in(algorithm, name)
        kept = place.read_bytes()
        place.unlink()
        IN_PLACE_OF_A_FILE[thing](place, canary)
        assert_refused(COMMANDS[command], names, capfd, canary, place)
        remove(place)
        place.write_bytes(kept)


@pytest.mark.parametrize("command", ["resume", "overwrite"])
@pytest.mark.parametrize(
    "name", ["policy.safetensors", "done.json", "checkpoints/best.safetensors"]
)
def test_in_place_of_a_file_that_is_being_written(run, canary, capfd, name, command):
    """Not only after the whole budget."""
    place = run / TRAINED[0] / name
    place = place.with_name(f".{place.name}.partial")
    place.mkdir()
    assert_refused(COMMANDS[command], {"RUN": str(run)}, capfd, canary, place)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("thing", IN_PLACE_OF_A_FOLDER)
def test_in_place_of_a_folder_of_a_run(run, canary, tmp_path, capfd, thing, command):
    names = {"RUN": str(run)}
    names |= {f"OUT{end}": str(tmp_path / f"out{end}") for end in ("", ".mp4", ".zip")}
    for number, name in enumerate(FOLDERS):
        place = run / TRAINED[number] / name
        place.rename(tmp_path / "kept")
        IN_PLACE_OF_A_FOLDER[thing](place, canary)
        assert_refused(COMMANDS[command], names, capfd, canary, place)
        remove(place)
        (tmp_path / "kept").rename(place)


@pytest.mark.parametrize("thing", IN_PLACE_OF_A_FOLDER)
@pytest.mark.parametrize("command", COMMANDS)
def test_in_place_of_the_run(canary, tmp_path, capfd, thing, command):
    """A link to a run may be evaluated; nothing is written through it."""
    place = tmp_path / "run"
    names = {"RUN": str(place)}
    names |= {f"OUT{end}": str(tmp_path / f"out{end}") for end in ("", ".mp4", ".zip")}
    IN_PLACE_OF_A_FOLDER[thing](place, canary)
    assert_refused(COMMANDS[command], names, capfd, canary, place)


FILMS = ("adaptation.mp4", SHIPPED_HEAT_MAP, SHIPPED_VIDEO)
OUTPUTS = [("evaluate", product) for product in PRODUCTS]
OUTPUTS += [("compare", product) for product in PRODUCTS]
OUTPUTS += [("compare", "scores/maml-seed0.json")]
OUTPUTS += [("demo", product) for product in (*PRODUCTS, *FILMS)]
OUTPUTS += [("render", ".mp4"), ("export", ".zip"), ("import", ".safetensors")]
WRITERS = {
    "evaluate": ["evaluate", "RUN", "--out", "OUT"],
    "compare": ["compare", "grip", "--out", "OUT", "--algorithms", "maml", "--seeds", "0"],
    "demo": ["demo", "--quick", "--overwrite", "--out", "OUT"],
    "render": ["render", "RUN", "--out", "FILE"],
    "export": ["export", "RUN", "--out", "FILE"],
    "import": ["import", "x.zip", "--env-id", "metarobot/Grip-v0", "--out", "FILE"],
}


@pytest.mark.parametrize("thing", IN_PLACE_OF_A_FILE)
@pytest.mark.parametrize(("command", "product"), OUTPUTS)
def test_in_place_of_a_product(run, canary, tmp_path, capfd, command, product, thing):
    """Before anything is measured or trained: that would take more than seconds."""
    out = tmp_path / "out"
    place = out / (f"x{product}" if product.startswith(".") else product)
    place.parent.mkdir(parents=True)
    IN_PLACE_OF_A_FILE[thing](place, canary)
    names = {"RUN": str(run), "OUT": str(out), "FILE": str(place)}
    assert_refused(WRITERS[command], names, capfd, canary, place)
    assert [entry.name for entry in place.parent.iterdir()] == [place.name]


@pytest.mark.parametrize("thing", IN_PLACE_OF_A_FOLDER)
@pytest.mark.parametrize("command", ["evaluate", "compare", "demo"])
def test_in_place_of_the_folder_of_an_evaluation(run, canary, tmp_path, capfd, command, thing):
    out = tmp_path / "out"
    IN_PLACE_OF_A_FOLDER[thing](out, canary)
    names = {"RUN": str(run), "OUT": str(out)}
    assert_refused(WRITERS[command], names, capfd, canary, out)


@pytest.mark.parametrize("thing", IN_PLACE_OF_A_FOLDER)
@pytest.mark.parametrize(
    ("command", "below"), [("compare", "grip-seed0"), ("compare", "scores"), ("demo", "run")]
)
def test_in_place_of_a_folder_of_an_evaluation(canary, tmp_path, capfd, command, below, thing):
    out = tmp_path / "out"
    out.mkdir()
    IN_PLACE_OF_A_FOLDER[thing](out / below, canary)
    assert_refused(WRITERS[command], {"OUT": str(out)}, capfd, canary, out / below)


READERS = {
    "variant": ["train", "grip", "--out", "OUT", "--variant", "FILE.toml"],
    "initial policy": ["train", "grip", "--out", "OUT", "--initial-policy", "FILE"],
    "video": ["evaluate", "RUN", "--out", "OUT", "--video", "FILE"],
    "model": ["import", "FILE.zip", "--env-id", "metarobot/Grip-v0", "--out", "x.safetensors"],
}


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize("thing", [t for t in IN_PLACE_OF_A_FILE if t != "link to a file"])
def test_in_place_of_a_file_that_is_named(run, canary, tmp_path, capfd, command, thing):
    ends = {word.removeprefix("FILE") for word in READERS[command] if word.startswith("FILE")}
    place = tmp_path / f"file{ends.pop()}"
    IN_PLACE_OF_A_FILE[thing](place, canary)
    names = {"RUN": str(run), "OUT": str(tmp_path / "out"), f"FILE{place.suffix}": str(place)}
    assert_refused(READERS[command], names, capfd, canary, place)
