"""A right seal over bad content, and tables of bad numbers, are refused in one line."""

import json
import shutil
from pathlib import Path

import pytest
from resealed import mutations, open_sealed, sealed

import metarobot as mr
from metarobot.algorithms import configure
from metarobot.cli.console import LONGEST_LINE
from metarobot.cli.main import main
from metarobot.config import RunConfig
from metarobot.io import Folder
from metarobot.learning.distributed import ALONE
from metarobot.training.load import load_run
from metarobot.training.run import load_initial_policy, resume_run, train_run
from metarobot.training.run_folder import summarise_run
from metarobot.training.train import load_newest_checkpoint, make_trainer
from metarobot.training.trainer import MetaTrainer

TINY = RunConfig(
    total_steps=64,
    num_tasks=2,
    episodes_per_task=2,
    hidden_sizes=(4,),
    options={"cg_iterations": 2},
)
CONFIG = configure(TINY, "maml")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A run and an adapted policy."""
    folder = tmp_path_factory.mktemp("files")
    train_run(TINY, ["maml"], folder / "run")
    mr.load(folder / "run")["maml"].save(folder / "adapted.safetensors")
    return folder


@pytest.fixture
def copy(files, tmp_path, monkeypatch) -> Path:
    """They may be spoiled; nothing is trained on."""

    def fail(self):
        raise ValueError("training has begun")

    monkeypatch.setattr(MetaTrainer, "step", fail)
    return Path(shutil.copytree(files, tmp_path / "files"))


@pytest.fixture(scope="module")
def fresh():
    trainer = make_trainer(CONFIG, ALONE)
    yield trainer
    trainer.env.close()


READERS = {
    "run/maml/policy.safetensors": lambda path, _: load_run(path.parents[1]),
    "run/maml/policy.safetensors to begin with": lambda path, fresh: load_initial_policy(
        path, CONFIG, fresh.params
    ),
    "run/maml/checkpoints/iteration-000001.safetensors": lambda path, fresh: load_newest_checkpoint(
        Folder(path.parent), CONFIG, fresh.state(), ALONE
    ),
    "adapted.safetensors": lambda path, _: mr.load(path),
}


def is_refused(read, *arguments) -> bool:
    """Whether something is refused, which is then one line; other errors are defects."""
    try:
        read(*arguments)
    except (ValueError, OSError) as error:
        return "\n" not in str(error) or pytest.fail(str(error))
    return False


@pytest.mark.parametrize("name", READERS)
def test_no_part_of_a_sealed_file_is_trusted(copy, fresh, name):
    path = copy / name.partition(" ")[0]
    entries, facts, rest = open_sealed(path.read_bytes())
    whole = json.dumps(entries), json.dumps(facts)
    path.write_bytes(sealed(*whole, rest))
    assert not is_refused(READERS[name], path, fresh)
    for text in mutations(entries):
        path.write_bytes(sealed(text, whole[1], rest))
        assert is_refused(READERS[name], path, fresh), text
    refused = 0
    for text in mutations(facts):
        path.write_bytes(sealed(whole[0], text, rest))
        refused += is_refused(READERS[name], path, fresh)
    assert refused


@pytest.mark.parametrize("name", ["config.json", "done.json"])
def test_no_part_of_a_text_file_is_trusted(copy, name):
    path = copy / "run" / "maml" / name
    for text in mutations(json.loads(path.read_text())):
        path.write_text(text)
        for read in (resume_run, summarise_run, load_run):
            is_refused(read, copy / "run")


PROGRESS = '{"log_bytes": 0, "seconds": 0.0, "smoothed_return": null, "best_return": null}'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"iteration": 1', '"iteration": 1e400'),
        ('"total_steps": 128', '"total_steps": -1'),
        (PROGRESS, "[]"),
        ('"smoothed_return": ', '"smoothed_return": "x", "rest": '),
        ('"log_bytes": ', '"log_bytes": -1, "rest": '),
    ],
)
def test_a_checkpoint_counts_in_numbers(copy, capfd, old, new):
    (path,) = (copy / "run/maml/checkpoints").glob("iteration-*")
    entries, facts, rest = open_sealed(path.read_bytes())
    facts["progress"] = json.loads(PROGRESS)
    text = json.dumps(facts)
    assert old in text
    path.write_bytes(sealed(json.dumps(entries), text.replace(old, new), rest))
    (copy / "run/maml/done.json").unlink()
    assert main(["train", "--resume", str(copy / "run")]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert path.name in line


@pytest.mark.parametrize("done", ['{"total_steps": -1, "seconds": 1}', '{"total_steps": true}'])
def test_what_a_training_has_cost_is_a_count(copy, capfd, done):
    (copy / "run/maml/done.json").write_text(done)
    for command in (["runs", str(copy / "run")], ["train", "--resume", str(copy / "run")]):
        main(command)
        out, err = capfd.readouterr()
        assert "done.json" in out + err
        assert "Traceback" not in err


@pytest.mark.parametrize("cell", ["1e999", "9" * 200_000, "x" * 200_000, "-1", "nan", '"', "\0"])
def test_a_curve_counts_in_numbers(copy, capfd, cell):
    path = copy / "run/maml/curve.csv"
    heading, row = path.read_text().splitlines()[:2]
    path.write_text(f"{heading}\n{row}\n1,{cell}{row[row.index(',', 2) :]}\n")
    assert is_refused(summarise_run, copy / "run")
    main(["runs", str(copy / "run")])
    out, err = capfd.readouterr()
    assert "curve.csv" in out + err
    assert "Traceback" not in err


def test_a_curve_whose_heading_is_long(copy):
    (copy / "run/maml/curve.csv").write_bytes(b"," * 10**7)
    assert is_refused(summarise_run, copy / "run")


def test_what_an_error_quotes_is_cut(copy, capfd):
    path = copy / "run/maml/config.json"
    saved = json.loads(path.read_text())
    saved["train"]["env_id"] = "x" * 200_000
    path.write_text(json.dumps(saved))
    assert main(["evaluate", str(copy / "run"), "--out", str(copy / "out")]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert len(line) < LONGEST_LINE + 50
