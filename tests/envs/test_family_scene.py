"""Needs of a family in a user's scene: derived from the family, and named."""

import re
from pathlib import Path

import numpy as np
import pytest
from scene_folder import GRIP, GRIPPER, REACH, TOOL, refusal, write

from metarobot.envs import FAMILIES, make_env

SPRING = (
    "<body><joint type='slide' stiffness='1e12' springref='1'/><geom size='.01' mass='1'/></body>"
)
UNFIT = {
    "no payload": (
        "Reach",
        REACH,
        TOOL.replace('name="payload"', 'name="payloadd"'),
        "needs the body 'payload'; there is .*did you mean 'payloadd'",
    ),
    "no keyframe": ("Reach", REACH.replace('key name="home"', "key"), TOOL, "needs the key 'home'"),
    "no camera": ("Reach", REACH.replace('"video"', '"vidoe"'), TOOL, "camera 'video'.*'vidoe'"),
    "no goal": ("Reach", REACH.replace('body name="goal"', "body"), TOOL, "needs the body 'goal'"),
    "goal not a mocap body": (
        "Reach",
        REACH.replace('mocap="true"', ""),
        TOOL,
        "body 'goal' is of another kind.*body_mocapid is False",
    ),
    "autoreset": (
        "Reach",
        REACH.replace("<worldbody>", '<option><flag autoreset="enable"/></option><worldbody>'),
        TOOL,
        '<flag autoreset="disable"/>',
    ),
    "no contacts": (
        "Grip",
        GRIP.replace('impratio="20"/>', '><flag contact="disable"/></option>'),
        GRIPPER,
        '<flag contact="enable"/>',
    ),
    "contact override": (
        "Grip",
        GRIP.replace('impratio="20"/>', '><flag override="enable"/></option>'),
        GRIPPER,
        '<flag override="disable"/>',
    ),
    "time step": (
        "Reach",
        REACH.replace("<worldbody>", '<option timestep="0.002"/><worldbody>'),
        TOOL,
        "option timestep is 0.002, Reach needs 0.004",
    ),
    "weightless": (
        "Reach",
        REACH.replace("<worldbody>", '<option gravity="0 0 0"/><worldbody>'),
        TOOL,
        "option gravity",
    ),
    "payload compensated": (
        "Reach",
        REACH,
        TOOL.replace('name="payload" pos', 'gravcomp="1" name="payload" pos'),
        "'payload' has gravcomp",
    ),
    "no sensor": (
        "Grip",
        GRIP.replace('name="block_position"', 'name="blok_position"'),
        GRIPPER,
        "sensor 'block_position'.*'blok_position'",
    ),
    "sensor of another kind": (
        "Grip",
        GRIP.replace("framepos name", "framequat name").replace(
            'objname="block" reftype="site" refname="base"', 'objname="block"'
        ),
        GRIPPER,
        "sensor 'block_position' is of another kind.*sensor_type",
    ),
    "no grip": (
        "Grip",
        GRIP,
        GRIPPER.replace('motor name="grip"', 'motor name="squeeze"'),
        "actuator 'grip'",
    ),
    "grip by position": (
        "Grip",
        GRIP,
        GRIPPER.replace('<motor name="grip"', '<position kp="9" name="grip"'),
        "actuator 'grip' is of another kind.*actuator_biastype",
    ),
    "block outranks the pads": (
        "Grip",
        GRIP.replace('name="block" type="box"', 'name="block" priority="1" type="box"'),
        GRIPPER,
        "priority 1 and may touch geom 'block' of priority 1",
    ),
    "friction of a pair": (
        "Grip",
        GRIP.replace(
            "<sensor>", '<contact><pair geom1="block" geom2="pad_left"/></contact><sensor>'
        ),
        GRIPPER,
        "'pad_left' is in a contact pair",
    ),
    "nothing to grip": (
        "Grip",
        GRIP.replace('contype="1"', 'contype="0"'),
        GRIPPER,
        "'pad_left' can touch nothing",
    ),
    "no friction at all": (
        "Grip",
        GRIP,
        GRIPPER.replace('condim="4"', 'condim="1"'),
        "condim 1",
    ),
    "friction of nothing": (
        "Grip",
        GRIP,
        GRIPPER.replace('friction="0.6', 'friction="0'),
        "must not be 0",
    ),
    "memory too small": (
        "Grip",
        GRIP.replace("<worldbody>", '<size memory="1K"/><worldbody>'),
        GRIPPER,
        "memory",
    ),
    "unstable": (
        "Reach",
        REACH.replace("<worldbody>", "<worldbody>" + SPRING).replace(
            '246585208 0"', '246585208 0 0"'
        ),
        TOOL,
        "nominal simulation is unstable in control step",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_scene_that_does_not_fit_the_family_is_refused(folder, case):
    family, scene, tool, reason = UNFIT[case]
    shipped_tool = "reach_tool.xml" if family == "Reach" else "gripper.xml"
    path = write(folder, scene.replace(shipped_tool, "tool.xml"), tool_xml=tool)
    message = refusal(lambda: make_env(f"metarobot/{family}-v0", 2, scene_path=path))
    assert message.startswith(f"{path}: ")
    assert re.search(reason, message), message


def test_scene_of_another_family_is_refused(folder):
    path = write(folder, GRIP)
    assert "Reach needs the body 'goal'" in refusal(
        lambda: make_env("metarobot/Reach-v0", 2, scene_path=path)
    )


def test_families_that_count_elements_need_the_same_ones(folder, monkeypatch):
    reach = FAMILIES["metarobot/Reach-v0"]
    monkeypatch.setattr(reach, "elements_by_number", ("joint",))
    more = '<joint name="swing"/><geom name="payload"'
    path = write(
        folder,
        REACH.replace("reach_tool.xml", "tool.xml").replace('2 0"', '2 0 0"'),
        tool_xml=TOOL.replace('<geom name="payload"', more),
    )
    path.write_text(path.read_text().replace("1.8620855246585208 0", "1.8620855246585208 0 0"))
    assert "exactly these joints" in refusal(lambda: reach(2, scene_path=path))


# The worked example.

TORCH = Path(__file__).parents[2] / "examples" / "welding_torch" / "scene.xml"


def test_torch_reaches_its_goals():
    env = make_env("metarobot/Reach-v0", 16, num_threads=1, scene_path=TORCH)
    observations, _ = env.reset(seed=0)
    for _ in range(env.horizon):
        observations, _, _, _, info = env.step(np.clip(8 * observations[:, :3], -1, 1))
    assert info["is_success"].all()


def test_torch_starts_at_rest_and_sags_by_its_payload():
    env = make_env("metarobot/Reach-v0", 2, num_threads=1, scene_path=TORCH)
    env.set_tasks(env.distribution.with_values({"payload_kg": [0.001, 2.0]}))
    home, _ = env.reset(options={"start": np.full((2, 10), 0.5)})
    np.testing.assert_allclose(home[:, 3:6], [(0.52, 0, 0.26)] * 2, atol=1e-6)
    for _ in range(env.horizon):
        now, *_ = env.step(np.zeros(env.action_space.shape))
    np.testing.assert_allclose(now[0, 3:6], home[0, 3:6], atol=2e-3)
    assert home[1, 5] - now[1, 5] > 5e-3
