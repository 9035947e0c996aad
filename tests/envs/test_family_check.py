"""What is no complete task family is refused when it is registered, in one line that says why."""

import math
from dataclasses import dataclass

import gymnasium as gym
import pytest

from metarobot.envs import FAMILIES, TaskError, TaskVectorEnv, register_family
from metarobot.envs.grip import GripVectorEnv
from metarobot.envs.task_family import ObservationElement, TaskFamily

NEW = "own/New-v0"
DECLARED = [
    *("family", "scene_path", "distribution", "heat_map_axes", "observation_elements"),
    *("action_elements", "default_horizon", "timestep_s", "substeps", "start_size"),
]
IMPLEMENTED = ["_bind", "_apply_tasks", "_start", "_command", "_observe", "_evaluate"]


@pytest.fixture(autouse=True)
def nothing_stays():
    before = {**FAMILIES}
    yield
    assert before == FAMILIES
    assert NEW not in gym.registry


def family_without(name):
    names = {n: getattr(GripVectorEnv, n) for n in DECLARED if n != name}
    methods = {n: GripVectorEnv.__dict__[n] for n in IMPLEMENTED if n != name}
    return type("Incomplete", (TaskVectorEnv,), {**names, **methods})


def refusal(env_id, vector_class, preset=None):
    with pytest.raises(TaskError) as error:
        register_family(env_id, vector_class, preset)
    (line,) = str(error.value).splitlines()
    return line


@pytest.mark.parametrize("name", [*DECLARED, *IMPLEMENTED])
def test_what_is_missing_is_named(name):
    line = refusal(NEW, family_without(name))
    assert f"it lacks: {name}{'()' if name in IMPLEMENTED else ''};" in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("family", 3),
        ("distribution", {"mass": 1}),
        ("heat_map_axes", ("block_mass_kg", "colour")),
        ("heat_map_axes", ("block_mass_kg",)),
        ("heat_map_axes", ("block_mass_kg", "block_mass_kg")),
        ("observation_elements", ()),
        ("observation_elements", ("angle",)),
        ("action_elements", "force"),
        ("default_horizon", 0),
        ("timestep_s", 0.0),
        ("substeps", 2.5),
        ("start_size", -1),
    ],
)
def test_a_declaration_of_another_kind_is_refused(name, value):
    wrong = type("Wrong", (GripVectorEnv,), {name: value})
    assert f"{name} must be" in refusal(NEW, wrong)


@pytest.mark.parametrize("ends", [(1.0, -1.0), (1.0, 1.0), (-math.inf, math.inf), (math.nan, 1.0)])
def test_bounds_of_an_observation_that_cannot_be_scaled_are_refused(ends):
    element = ObservationElement("force", "N", *ends, "sensor")
    wrong = type("Wrong", (GripVectorEnv,), {"observation_elements": (element,)})
    assert "low and high of 'force' must be finite, low < high" in refusal(NEW, wrong)


@pytest.mark.parametrize("env_id", ["New", "New-v0", "own/New", "own/New-v", "a/b/New-v0", 3, ""])
def test_an_id_of_another_form_is_refused(env_id):
    assert "NAMESPACE/Name-vN" in refusal(env_id, GripVectorEnv)


@pytest.mark.parametrize("vector_class", [None, GripVectorEnv.family, TaskFamily, gym.Env])
def test_another_class_is_refused(vector_class):
    assert "must be a subclass of TaskVectorEnv" in refusal(NEW, vector_class)


def test_an_id_is_given_once():
    taken = refusal("metarobot/Slide-v0", GripVectorEnv)
    assert taken == "the id 'metarobot/Slide-v0' is registered already: choose another"


@dataclass
class OtherPreset:
    env_id: str = "metarobot/Grip-v0"


@pytest.mark.parametrize("preset", [OtherPreset(), "grip"])
def test_a_preset_of_another_family_is_refused(preset):
    assert "the preset of 'own/New-v0' must be" in refusal(NEW, GripVectorEnv, preset)
