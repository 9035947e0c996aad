"""No number is too large for a line that says so: every field has bounds, and so has their product.

What the bounds of the fields allow is refused before it is allocated, where there is no memory.
"""

import dataclasses
import json
import resource
from dataclasses import replace

import pytest
from mujoco.batch import Batch
from trained import TINY

from metarobot.algorithms import configure, train_config
from metarobot.cli.main import main
from metarobot.config import COMMON_NAMES, MOST_LAYERS, MOST_UNITS, PRESETS, RenderConfig, RunConfig
from metarobot.envs import FAMILIES
from metarobot.evaluation.evaluate import require_memory
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.training.memory import require_training_memory
from metarobot.training.run import complete_run, resume_run, train_run
from metarobot.training.run_folder import RunError

TOO_MUCH = [-1, 10**5000, float("nan"), True, "7"]
"""What no field takes."""
DEFAULTS = {cls: cls() for cls in (RunConfig, EvaluationConfig, RenderConfig)}
NUMBERS = [
    (cls, field.name)
    for cls, default in DEFAULTS.items()
    for field in dataclasses.fields(cls)
    if type(getattr(default, field.name)) in (int, float)
]
GIB = 2**30


@pytest.fixture
def memory(monkeypatch):
    """Pretend that this machine has so much memory."""

    def set_memory(num_bytes):
        monkeypatch.setattr("metarobot.envs.checks.machine_bytes", lambda: num_bytes)

    return set_memory


def refuse_to_allocate(*args, **kwargs):
    raise AssertionError("nothing may be allocated")


def one_simulation(model, num_sims, *args, **kwargs):
    """A batch for those who only want to know the spaces of a family."""
    assert num_sims == 1
    return Batch(model, num_sims, *args, **kwargs)


# One number.


@pytest.mark.parametrize("value", TOO_MUCH, ids=lambda value: f"{type(value).__name__}")
@pytest.mark.parametrize(("cls", "name"), NUMBERS)
def test_every_number_of_every_configuration_has_bounds(cls, name, value):
    with pytest.raises(ValueError, match=f"^{name} must ") as error:
        cls(**{name: value})
    assert len(str(error.value)) < 200


# What they multiply to.


@pytest.mark.parametrize("algorithm", ["maml", "latent", "rl2"])
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_and_twice_their_tasks_and_episodes_fit_into_8_gib(preset, algorithm, memory):
    memory(8 * GIB)
    config = configure(PRESETS[preset], algorithm)
    require_training_memory([config, replace(config, num_tasks=40, episodes_per_task=40)])


@pytest.mark.parametrize("env_id", FAMILIES)
def test_evaluations_as_in_the_documentation_fit_into_4_gib(env_id, memory):
    memory(4 * GIB)
    require_memory(EvaluationConfig(), [train_config(env_id=env_id)], 9**2)


PRODUCTS = {
    "simulations": {"num_tasks": 10_000, "episodes_per_task": 10_000},
    "blocks": {"algorithm": "reptile", "reptile_steps": 1000, "episodes_per_task": 500},
    "adaptation steps": {"num_adaptation_steps": 100, "episodes_per_task": 500},
    "parameters": {"hidden_sizes": (MOST_UNITS,) * MOST_LAYERS},
    "parameters of tasks": {"hidden_sizes": (2048, 2048), "num_tasks": 500},
    "one after the other": {
        "algorithm": "rl2",
        "episodes_per_task": 10_000,
        "trial_episodes": 10_000,
    },
    "embedding": {"algorithm": "prototype", "embedding_size": 1024, "num_tasks": 5000},
}


@pytest.mark.parametrize("case", PRODUCTS)
def test_what_the_machine_cannot_hold_is_refused_before_anything_is_made(
    case, memory, tmp_path, monkeypatch
):
    memory(4 * GIB)
    monkeypatch.setattr("mujoco.batch.Batch", refuse_to_allocate)
    fields = dict(PRODUCTS[case])
    algorithm = fields.pop("algorithm", "maml")
    common = {name: value for name, value in fields.items() if name in COMMON_NAMES}
    options = {name: value for name, value in fields.items() if name not in COMMON_NAMES}
    config = RunConfig(**common, options=options)
    calls = {
        "train": lambda: train_run(config, [algorithm], tmp_path / "run"),
        "complete": lambda: complete_run(config, [algorithm], tmp_path / "run"),
    }
    for call in calls.values():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(ValueError, match=r"^this would take [\d,.]+ GiB of memory \(.*: lower"):
            call()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
        assert not (tmp_path / "run").exists()


def test_a_folder_that_asks_for_too_much_is_refused(memory, tmp_path, monkeypatch):
    train_run(TINY, ["maml"], tmp_path / "run")
    (tmp_path / "run/maml/done.json").unlink()
    path = tmp_path / "run/maml/config.json"
    whole = json.loads(path.read_text())
    memory(4 * GIB)
    monkeypatch.setattr("mujoco.batch.Batch", refuse_to_allocate)
    for name, value in {"num_tasks": 10_000, "episodes_per_task": 10_000}.items():
        whole["train"][name] = value
    path.write_text(json.dumps(whole))
    with pytest.raises(ValueError, match="this would take"):
        resume_run(tmp_path / "run")
    path.write_text(path.read_text().replace("10000", "1" + "0" * 5000))
    with pytest.raises(RunError, match="is not JSON"):
        resume_run(tmp_path / "run")


@pytest.mark.parametrize(
    "options",
    [
        "evaluate RUN --out x --num-tasks 10000 --adaptation-episodes 10000",
        "render RUN --adaptation-episodes 10000",
        "train grip --num-tasks 10000 --episodes-per-task 10000",
        "compare grip --test-tasks 10000 --out x --total-steps 64 --algorithms maml",
    ],
)
def test_commands_say_what_there_is_no_memory_for(
    options, grip_run, memory, capfd, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    memory(GIB // 2)
    monkeypatch.setattr("metarobot.machine.require_opengl", lambda: None)
    monkeypatch.setattr("mujoco.batch.Batch", one_simulation)
    assert main([str(grip_run) if word == "RUN" else word for word in options.split()]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("metarobot: error: this would take ")
