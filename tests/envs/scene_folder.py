"""Scenes of a user's own, to be written, refused and compared."""

import os

import pytest

from metarobot.envs import SceneError
from metarobot.envs.scene_files import PACKAGE_FOLDER

REACH = (PACKAGE_FOLDER / "reach.xml").read_text()
TOOL = (PACKAGE_FOLDER / "reach_tool.xml").read_text()
GRIP = (PACKAGE_FOLDER / "grip.xml").read_text()
GRIPPER = (PACKAGE_FOLDER / "gripper.xml").read_text()
TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
MESH = "<geom type='mesh' mesh='m'/>"


def write(folder, text, **files):
    """Write a scene and other files, ``tool_xml`` for tool.xml; return the scene's path."""
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name.replace("__", "/").replace("_", ".")).write_bytes(data)
    path = folder / "scene.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def mjcf(body="", asset="", rest=""):
    return f"<mujoco>{rest}<asset>{asset}</asset><worldbody>{body}</worldbody></mujoco>"


def refusal(call):
    """Return the one line that ``call`` is refused with, within ten seconds of processor time."""
    begun_s = _processor_time_s()
    with pytest.raises(SceneError) as caught:
        call()
    assert _processor_time_s() - begun_s < 10
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) <= 600
    return message


def _processor_time_s():
    """Return what this process and its children have used, however busy the machine is."""
    return sum(os.times()[:4])
