"""Scales of the action: the family commands what it declares."""

import numpy as np
import pytest

from metarobot.envs import FAMILIES, ActionScale, find_family
from metarobot.envs.carry import path_speed
from metarobot.envs.grip import GripVectorEnv, squeeze_force
from metarobot.envs.push import CONTACT_MAX_M, tip_speed
from metarobot.envs.registration import check_family
from metarobot.envs.slide import paddle_speed

COMMANDS = {
    "Grip": [squeeze_force],
    "Slide": [paddle_speed],
    "Push": [tip_speed, lambda action: action * CONTACT_MAX_M],
    "Carry": [path_speed],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_scale_is_what_the_family_commands(name) -> None:
    actions = np.linspace(-1.0, 1.0, 9)
    scales = find_family(f"metarobot/{name}-v0").action_scales
    for scale, command in zip(scales, COMMANDS[name], strict=True):
        np.testing.assert_allclose([scale.value(a) for a in actions], command(actions), rtol=1e-12)


@pytest.mark.parametrize("env_id", FAMILIES)
def test_there_is_a_scale_for_every_element_or_none(env_id) -> None:
    family = find_family(env_id)
    assert len(family.action_scales) in (0, len(family.action_elements))


def test_a_family_with_too_few_scales_is_refused() -> None:
    scale = ActionScale("force", "N", 0.0, 1.0)
    broken = type("Broken", (GripVectorEnv,), {"action_scales": (scale, scale)})
    with pytest.raises(ValueError, match="action_scales must be"):
        check_family("my/Broken-v0", broken)
