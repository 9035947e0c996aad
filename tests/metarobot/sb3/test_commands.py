"""From a run to PPO, back, and on: the commands."""

from pathlib import Path

import pytest

from metarobot.cli.main import main

SIZES = ["--num-tasks", "2", "--episodes-per-task", "4", "--total-steps", "1"]
TRAIN = ["train", "grip", *SIZES, "--hidden-sizes", "4"]
GRIP = ["--env-id", "metarobot/Grip-v0"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "grip"
    assert main([*TRAIN, "--algorithms", "maml", "--out", str(path)]) == 0
    return path


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def error_line(capfd) -> str:
    (line,) = capfd.readouterr().err.splitlines()
    return line.removeprefix("metarobot: error: ")


def test_a_run_is_exported_imported_and_begun_with(run, capfd):
    capfd.readouterr()
    assert main(["export", str(run), "--out", "maml.zip"]) == 0
    assert main(["import", "maml.zip", *GRIP, "--out", "p.safetensors"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "exported maml: maml.zip",
        "imported, hidden sizes 4: p.safetensors",
    ]
    assert main([*TRAIN, "--algorithms", "maml", "--initial-policy", "p.safetensors"]) == 0
    assert Path("runs/grip-seed0/maml/done.json").is_file()


BAD_INPUT = {
    "export": "RUN",
    "export RUN": "--out",
    "export missing --out x.zip": "no run folder at missing",
    "import x.zip --env-id metarobot/Grip-v0 --out x.pt": "--out must end in .safetensors",
    "import x.zip --env-id metarobot/Grip-v0 --out x.safetensors": "x.zip: No such file",
    "import note.zip --env-id metarobot/Grip-v0 --out x.safetensors": "note.zip is not a PPO model",
    "train grip --initial-policy note.zip": "note.zip is damaged or not a file of metarobot",
    "train grip --initial-policy x --resume RUN": "--initial-policy does not go with --resume",
}


@pytest.mark.parametrize(("line", "message"), BAD_INPUT.items())
def test_bad_input_is_one_line_and_leaves_nothing(line, message, run, tmp_path, capfd):
    Path("note.zip").write_text("not a model")
    capfd.readouterr()
    assert main([str(run) if word == "RUN" else word for word in line.split()]) == 2
    assert message in error_line(capfd)
    assert [path.name for path in tmp_path.iterdir()] == ["note.zip"]
