import json
import os
import shutil
from pathlib import Path

import pytest
from trained import TINY, TRAINED

from metarobot.algorithms import configure
from metarobot.envs import find_family
from metarobot.io import Folder, read_json, write_json
from metarobot.training.load import load_run, load_runs
from metarobot.training.run import (
    complete_run,
    plan_new_run,
    plan_resumed_run,
    resume_run,
    write_plan,
)
from metarobot.training.run_folder import RunError


@pytest.fixture
def run(grip_run, tmp_path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(grip_run, tmp_path / "run"))


def edit_config(run: Path, folder: str, **fields) -> None:
    path = run / folder / "config.json"
    values = read_json(path)
    values["train"].update(fields)
    write_json(path, values)


def test_a_run_is_read_back_as_it_was_trained(grip_run):
    run = load_run(grip_run)
    assert (run.seed, run.env_id, run.unfinished) == (0, "metarobot/Grip-v0", ())
    assert tuple(run.policies) == TRAINED
    for name, trained in run.policies.items():
        assert trained.config == configure(TINY, name)
    oracle, maml = run.policies["oracle"], run.policies["maml"]
    observed = oracle.params["layers.0.weight"].shape[1] - maml.params["layers.0.weight"].shape[1]
    size = len(find_family(TINY.env_id).observation_elements)
    assert observed == 2 + 2 * size  # the two task parameters of Grip, and their products


def test_a_new_run_appears_with_every_configuration(tmp_path):
    configs = [configure(TINY, algorithm) for algorithm in ("maml", "oracle")]
    write_plan(plan_new_run(tmp_path / "runs" / "x", configs))
    assert [entry.name for entry in (tmp_path / "runs").iterdir()] == ["x"]
    assert list(plan_resumed_run(tmp_path / "runs" / "x").trainings) == configs
    with pytest.raises(RunError, match=r"holds no policy\.safetensors yet"):
        load_run(tmp_path / "runs" / "x")


def test_a_folder_in_use_is_refused_and_only_a_run_is_overwritten(run):
    (run / "notes.txt").write_text("keep me")
    (run / "maml" / "notes.txt").write_text("keep me")
    with pytest.raises(RunError, match="not empty"):
        plan_new_run(run, [configure(TINY, "maml")])
    assert (run / "maml" / "policy.safetensors").exists()
    write_plan(plan_new_run(run, [configure(TINY, "maml")], overwrite=True))
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert files == {"notes.txt", "maml/notes.txt", "maml/config.json"}


@pytest.mark.skipif(os.name != "posix", reason="locks of folders")
def test_a_run_that_is_being_trained_is_left_alone(run):
    with Folder(run).lock():
        with pytest.raises(RunError, match="trained by another process"):
            resume_run(run)
        with pytest.raises(RunError, match="trained by another process"):
            write_plan(plan_new_run(run, [configure(TINY, "maml")], overwrite=True))
    assert resume_run(run) == ()
    assert load_run(run).unfinished == ()


def test_runs_must_agree(run, tmp_path):
    twin = Path(shutil.copytree(run, tmp_path / "twin"))
    with pytest.raises(RunError, match="same seed, 0"):
        load_runs([run, twin])
    for algorithm in TRAINED:
        edit_config(twin, algorithm, seed=1)
    assert [loaded.seed for loaded in load_runs([run, twin])] == [0, 1]
    shutil.rmtree(twin / "oracle")
    with pytest.raises(RunError, match="holds maml, domain_randomisation, but"):
        load_runs([run, twin])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"env_id": "metarobot/Grab-v0"}, "did you mean 'metarobot/Grip-v0'"),
        ({"env_id": "metarobot/Reach-v0"}, "does not fit its configuration"),
        ({"env_id": 3}, "env_id"),
        ({"algorithm": "oracle"}, "lies in the folder of maml"),
        ({"hidden_sizes": [8]}, "does not fit its configuration"),
        ({"inner_lr": None}, "inner_lr"),
        ({"colour": 1}, "colour"),
        ({"total_steps": 128}, "different total_steps"),
    ],
)
def test_a_bad_configuration_is_one_line(run, fields, message):
    edit_config(run, "maml", **fields)
    with pytest.raises(RunError, match=message) as error:
        load_run(run)
    assert "\n" not in str(error.value)


def test_algorithms_join_a_run_and_those_there_stay(run):
    before = (run / "maml" / "policy.safetensors").read_bytes()
    complete_run(TINY, ["maml", "reptile"], run)
    loaded = load_run(run)
    assert tuple(loaded.policies) == ("maml", "reptile", "domain_randomisation", "oracle")
    assert loaded.unfinished == ()
    assert (run / "maml" / "policy.safetensors").read_bytes() == before
    assert not [entry.name for entry in run.iterdir() if entry.name.startswith(".partial")]
    curve = (run / "reptile" / "curve.csv").read_bytes()
    complete_run(TINY, ["maml", "reptile"], run)
    assert (run / "reptile" / "curve.csv").read_bytes() == curve


def test_options_of_other_algorithms_are_not_compared(run):
    """An option of Reptile may differ from what algorithms that do not read it were given."""
    config = TINY.with_options(reptile_steps=2, inner_kl_penalty=0.1)
    complete_run(config, ["maml", "reptile"], run)
    assert load_run(run).policies["reptile"].config.options.reptile_steps == 2
    with pytest.raises(RunError, match="reptile_steps was 2, is 4"):
        complete_run(config.with_options(reptile_steps=4), ["reptile"], run)


def test_a_policy_of_an_unknown_algorithm_is_found_and_named(run):
    config = json.loads((run / "maml" / "config.json").read_text())
    config["train"]["algorithm"] = "my_maml"
    shutil.copytree(run / "maml", run / "my_maml")
    (run / "my_maml" / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=r"got 'my_maml'") as error:
        load_run(run)
    assert "--module" in str(error.value)
