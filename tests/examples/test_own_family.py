"""The family of examples/own_family is the equal of those in the package, and of no use unnamed."""

import json
import sys
import warnings
from pathlib import Path

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env
from outside_modules import copy_modules, run
from trained import TRAINED

from metarobot.config import RunConfig, find_preset
from metarobot.envs import FAMILIES, Variant
from metarobot.envs.registration import OUTSIDE_PRESETS
from metarobot.training.load import load_run
from metarobot.training.run import train_run

FOLDER = Path(__file__).parents[2] / "examples" / "own_family"
HOIST = "own/Hoist-v0"
SIZES = ["--num-tasks", "2", "--episodes-per-task", "4", "--hidden-sizes", "4"]
FEW_TASKS = ["--num-tasks", "2", "--grid-size", "2", "--test-episodes", "1"]
MEASURED = [*FEW_TASKS, "--num-blocks", "0"]
MEASURED += ["--adaptation-episodes", "1", "3", "--heat-map-episodes", "1", "--films", "0"]
MEASURED += ["--splits", "extrapolation"]


def forget():
    """Undo the import, as in a process that has never known the family."""
    FAMILIES.pop(HOIST, None)
    OUTSIDE_PRESETS.pop(HOIST, None)
    gym.registry.pop(HOIST, None)
    sys.modules.pop("hoist", None)


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    """A folder that holds the module; what the module registers goes with the test."""
    copy_modules(FOLDER, ("hoist.py", "hoist.xml"), tmp_path, monkeypatch)
    forget()
    yield tmp_path
    forget()


@pytest.fixture
def hoist(monkeypatch):
    monkeypatch.syspath_prepend(".")
    import hoist

    return hoist


def run_fresh(capfd, *words):
    """Run a command that does not know the family yet; return what it printed."""
    forget()
    return run(capfd, *words)


@pytest.mark.usefixtures("quick_pages")
def test_every_command_takes_it(working_folder, capfd):
    sizes = ["--algorithms", *TRAINED, "--total-steps", "1", *SIZES]
    assert run_fresh(capfd, "train", f"hoist:{HOIST}", "--out", "run", *sizes)[0] == 0
    saved = json.loads((working_folder / "run" / "maml" / "config.json").read_text())
    assert saved["train"]["env_id"] == HOIST
    assert saved["train"]["options"]["inner_objective"] == "likelihood_ratio"  # its own preset's
    assert "module" not in saved["train"]
    known = ("--module", "hoist")
    assert run_fresh(capfd, "train", "--resume", "run", "--total-steps", 320, *known)[0] == 0
    assert run_fresh(capfd, "evaluate", "run", "--out", "results", *MEASURED, *known)[0] == 0
    assert (working_folder / "results" / "heat_map.png").exists()
    assert (
        run_fresh(capfd, "render", "run", "--out", "a.mp4", "--adaptation-episodes", 2, *known)[0]
        == 0
    )
    code, printed = run_fresh(capfd, "list", f"hoist:{HOIST}")
    assert code == 0
    assert "payload_kg" in printed.out


def test_the_python_interface_takes_it(hoist, tmp_path):
    config = RunConfig(env_id=HOIST, total_steps=1, num_tasks=2, episodes_per_task=2)
    train_run(config, TRAINED, tmp_path / "run")
    assert [*load_run(tmp_path / "run").policies] == [*TRAINED]
    assert Variant.from_dict({"family": "hoist", "name": "x"}).vector_class is hoist.HoistVectorEnv


def test_gymnasium_makes_and_checks_it(hoist):
    env = gym.make(f"hoist:{HOIST}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # on render modes without a render mode
        check_env(env.unwrapped, skip_render_check=True)
    assert type(env.unwrapped.vector_env) is hoist.HoistVectorEnv
    batch = gym.make_vec(HOIST, num_envs=3)
    assert type(batch.unwrapped) is hoist.HoistVectorEnv


def test_the_example_has_a_preset_and_another_family_the_defaults(hoist):
    assert find_preset(HOIST).total_steps == 400_000
    del OUTSIDE_PRESETS[HOIST]
    assert find_preset(HOIST) == RunConfig(env_id=HOIST)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train hoist:own/Hist-v0", "hoist registers no task family 'own/Hist-v0'"),
        ("train no_such:own/Hoist-v0", "the module no_such cannot be imported: ModuleNotFoundEr"),
        ("train broken:own/Hoist-v0", "cannot be imported: ZeroDivisionError"),
        ("train ../x:own/Hoist-v0", "a module's name is like my_package.my_family, got '../x'"),
        ("list own/Hoist-v0", "no task family 'own/Hoist-v0'"),
        ("compare own/Hoist-v0", "MODULE:ID for a task family of yours"),
        ("list --module hoist:x", "a module's name is like"),
    ],
)
def test_what_cannot_be_found_is_said_in_one_line(working_folder, words, message, capfd):
    (working_folder / "broken.py").write_text("1 / 0\n")
    code, printed = run_fresh(capfd, *words.split())
    assert code == 2
    assert message in printed.err
    assert len(printed.err.splitlines()) == 1


@pytest.mark.parametrize("named", [HOIST, f"hoist:{HOIST}"])
@pytest.mark.parametrize(
    "words",
    [
        "evaluate run --out results",
        "render run",
        "train --resume run",
        "train grip --variant v.toml",
    ],
)
def test_a_module_that_a_file_names_is_not_imported(working_folder, hoist, named, words, capfd):
    config = RunConfig(env_id=HOIST, total_steps=1, num_tasks=2, episodes_per_task=2)
    train_run(config, ["maml"], working_folder / "run")
    path = working_folder / "run" / "maml" / "config.json"
    saved = json.loads(path.read_text())
    saved["train"]["env_id"] = named
    saved["train"]["total_steps"] = 10**6  # not finished: there is something to resume
    path.write_text(json.dumps(saved))
    (working_folder / "v.toml").write_text(f'family = "{named}"\n')
    code, printed = run_fresh(capfd, *words.split())
    assert code == 2
    assert "--module" in printed.err
    assert len(printed.err.splitlines()) == 1
    assert "hoist" not in sys.modules
