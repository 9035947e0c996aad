"""The check before training tells what is wrong with a family, and what is right with one."""

import sys
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import patch

import gymnasium as gym
import numpy as np
import pytest
from pages import blocks

from metarobot.cli.main import main
from metarobot.config import RunConfig
from metarobot.envs import FAMILIES, ObservationElement, Tasks
from metarobot.envs.registration import OUTSIDE_PRESETS
from metarobot.evaluation import simple_policies
from metarobot.evaluation.check import FamilyCheck, _propose, check_family

SMALL = {"num_tasks": 2, "episodes_per_task": 3}


@pytest.fixture(scope="module")
def lever(tmp_path_factory):
    """The family of the tutorial."""
    folder = tmp_path_factory.mktemp("lever")
    for block in blocks("docs/tutorials/own-family.md"):
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
    with (
        patch.dict(FAMILIES._found),
        patch.dict(OUTSIDE_PRESETS),
        patch.dict(gym.registry),
        patch.object(sys, "path", [str(folder), *sys.path]),
        patch.object(simple_policies, "_MOST_SIMULATIONS", 16),
        patch.object(simple_policies, "_MANY_SIMULATIONS", 16),
        patch.object(simple_policies, "_GENERATIONS", 3),
    ):
        import lever  # type: ignore

        yield lever.LeverVectorEnv
    sys.modules.pop("lever")


def check(family, **config) -> FamilyCheck:
    FAMILIES["my/Changed-v0"] = family
    config = RunConfig(env_id="my/Changed-v0", **{**SMALL, **config})
    return check_family(config, at_most_s=600.0, progress=lambda *_: None)


def said(found: FamilyCheck, level: str) -> dict[str, str]:
    return {each.topic: each.text for each in found.findings if each.level == level}


def test_a_family_that_is_right_is_trainable(lever):
    found = check(lever, discount=0.9)
    alike = {"steps_per_s": 0.0, "seconds": 0.0, "findings": found.findings[:-1]}
    again = check(lever, discount=0.9)
    assert replace(again, **{**alike, "findings": again.findings[:-1]}) == replace(found, **alike)
    (payload,) = found.parameters
    assert found.trainable
    assert not said(found, "warning")
    assert found.random_return < found.shared_return < found.told_return <= 0.0
    assert found.gain > 4 * found.gain_error
    assert found.must_be_known(payload)
    assert "only the rewards tell payload_kg" in said(found, "ok")["recognition"]
    assert payload.seen == 0.0
    assert payload.seen_with_rewards > 0.9
    assert "payload_kg" in str(found)
    assert str(found).splitlines()[-1].startswith("trainable (")


def test_values_follow_from_a_family_without_a_preset(lever):
    FAMILIES["my/Changed-v0"] = lever
    sim = SimpleNamespace(horizon=600, distribution=lever.distribution)
    effects = SimpleNamespace(reward_lag=50)
    config = RunConfig(env_id="my/Changed-v0")
    noisy = {0.0: -2.0, 0.5: -9.0, 0.3: -5.0, 0.2: -3.4, 0.1: -2.4, 0.05: -2.1}
    found, reasons = _propose(config, sim, effects, noisy, -1.5)
    # 150 meta-iterations of 96,000 control steps.
    assert (found.episodes_per_task, found.total_steps, found.discount) == (8, 14_000_000, 0.995)
    assert reasons[0].startswith("total_steps 14,000,000: 150 meta-iterations")
    assert found.initial_std == 0.1  # which costs 0.4, less than the search gained
    assert _propose(config, sim, effects, noisy, -3.0)[0].initial_std == 0.05
    preset = replace(config, initial_std=0.3)
    kept = _propose(preset, sim, effects, noisy, -1.5)[0]
    assert (kept.total_steps, kept.initial_std) == (2_000_000, 0.3)


def test_an_effect_is_that_of_its_part_alone(lever):
    """The law of Jansen's estimator where the task is one parameter, and one action is all."""
    FAMILIES["my/Changed-v0"] = lever
    sim = simple_policies.Simulator(RunConfig(env_id="my/Changed-v0"), 32)
    effects = simple_policies.measure_effects(sim, np.random.default_rng(0))
    assert effects.returns["payload_kg"] == effects.returns["task"] > 0.0
    assert effects.returns["action torque"] == effects.returns["actions"] > 0.0
    assert effects.trajectories == dict.fromkeys(effects.trajectories, 0.0)  # it sees the time
    sim.env.close()


def idle(family):
    class Idle(family):
        def _apply_tasks(self, tasks: Tasks) -> None:
            del tasks

    return Idle, "task", "there is nothing to adapt to"


def constant(family):
    class Constant(family):
        def _evaluate(self, actions):
            return np.ones(self.num_envs), np.zeros(self.num_envs, bool)

    return Constant, "reward", "the reward is always 1"


def deaf(family):
    class Deaf(family):
        def _command(self, actions):
            del actions

    return Deaf, "actions", "let _command write"


def observing(family, scale):
    class Observing(family):
        observation_elements = (
            ObservationElement("angle of the lever", "rad", -0.5, 0.5, "angle"),
            ObservationElement("one", "1", 0.0, 2.0, "constant"),
        )

        def _observe(self):
            return np.stack([scale(self._qpos[:, 0]), np.ones(self.num_envs)], axis=1)

    return Observing


def in_degrees(family):
    return observing(family, np.degrees), "observation", "outside its bounds, -0.5 to 0.5 rad"


def broken(family):
    def scale(angle):
        return np.where(angle > 0.3, np.nan, angle)

    return observing(family, scale), "observation", "is not finite in"


@pytest.mark.parametrize("fault", [idle, constant, deaf, in_degrees, broken])
def test_a_fault_is_blocking_and_named(lever, fault):
    family, topic, words = fault(lever)
    found = check(family)
    assert not found.trainable
    assert words in said(found, "blocking")[topic]
    if "angle" in found.findings[-2].text:
        assert "'one', is always 1 and tells nothing" in said(found, "warning")["observation"]


def test_the_command_prints_the_check_and_its_exit_code_is_the_verdict(lever, capsys):
    FAMILIES["my/Changed-v0"] = idle(lever)[0]
    OUTSIDE_PRESETS["my/Changed-v0"] = RunConfig(env_id="my/Changed-v0", **SMALL)
    assert main(["check", "my/Changed-v0"]) == 1
    assert "blocking  task: the same actions" in capsys.readouterr().out
    OUTSIDE_PRESETS["my/Lever-v0"] = RunConfig(env_id="my/Lever-v0", **SMALL)
    assert main(["check", "lever:my/Lever-v0"]) == 0
    assert main(["check", "my/Levr-v0"]) == 2
    assert main(["check", "grip", "--at-most-s", "0"]) == 2
    assert "--at-most-s takes a number in [1, 86400], got 0.0" in capsys.readouterr().err
