"""A user's scene: its files, its limits, its fit to the family; a copy of ours is ours."""

import io
import os
import re
import shutil
import struct
import zlib
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from metarobot.envs import (
    FAMILIES,
    SceneError,
    SceneLimits,
    load_user_scene,
    make_env,
)
from metarobot.envs.scene import PACKAGE_FOLDER, SceneFiles, compile_scene

REACH = (PACKAGE_FOLDER / "reach.xml").read_text()
TOOL = (PACKAGE_FOLDER / "reach_tool.xml").read_text()
GRIP = (PACKAGE_FOLDER / "grip.xml").read_text()
GRIPPER = (PACKAGE_FOLDER / "gripper.xml").read_text()
TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
MESH = "<geom type='mesh' mesh='m'/>"
BODY = "<body><joint/><geom size='.1'/></body>"
TIMES_1000 = "<replicate count='1000' offset='1 0 0'>"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A user's folder, beside which lies what must not be read; the working directory is empty."""
    (tmp_path / "outside.xml").write_text("<mujoco><worldbody><body/></worldbody></mujoco>")
    (tmp_path / "outside.obj").write_text(TRIANGLE)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    own = tmp_path / "own"
    own.mkdir()
    yield own
    assert not list(tmp_path.rglob("MUJOCO_LOG.TXT"))
    assert not list((tmp_path / "cwd").iterdir())


def write(folder, text, **files):
    """Write a scene and other files, ``tool_xml`` for tool.xml; return the scene's path."""
    for name, content in {"scene_xml": text, **files}.items():
        data = content if isinstance(content, bytes) else content.encode()
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return folder / "scene.xml"


def mjcf(body="", asset="", rest=""):
    return f"<mujoco>{rest}<asset>{asset}</asset><worldbody>{body}</worldbody></mujoco>"


def include(file):
    return f"<mujoco><include file='{file}'/></mujoco>"


def mesh(file, compiler=""):
    return mjcf(MESH, f"<mesh name='m' file='{file}'/>", compiler)


def refusal(path):
    """Return the one line that a scene is refused with, within ten seconds of processor time."""
    begun_s = sum(os.times()[:4])
    with pytest.raises(SceneError) as caught:
        load_user_scene(path)
    assert sum(os.times()[:4]) - begun_s < 10
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    assert len(message) <= 600
    return message


LAUGHS = "<!DOCTYPE m [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;'>]><mujoco model='&b;'/>"
REFUSED = {
    # Paths that lead out of the folder.
    "include above": (include("../outside.xml"), "not allowed"),
    "backslashes": (include("..\\outside.xml"), "not allowed"),
    "web URL": (mjcf(asset="<model name='a' file='http://a.b/c.xml'/>"), "not allowed"),
    "hidden file": (include(".git/config.xml"), "not allowed"),
    "empty name": (include(""), "not allowed"),
    "assetdir above": (mesh("outside.obj", "<compiler assetdir='./../'/>"), "not allowed"),
    "file where none belongs": (mjcf("<geom size='1' file='m.obj'/>"), "may not read a file"),
    "itself": (include("scene.xml"), "itself"),
    "itself attached": (mjcf(asset="<model name='a' file='scene.xml'/>"), "itself"),
    # Elements and documents.
    "plugin": ("<mujoco><extension><plugin plugin='a.b'/></extension></mujoco>", "'extension'"),
    "flexcomp": (mjcf("<flexcomp type='grid' count='999 999 999' name='f'/>"), "'flexcomp'"),
    "name space": ("<mujoco xmlns:a='b'><a:include file='a.xml'/></mujoco>", "not allowed"),
    "billion laughs": (LAUGHS, "DOCTYPE"),
    "binary junk": (bytes(range(256)) * 9, "not well-formed"),
    "no MJCF": ("<robot name='urdf'/>", "root element is 'robot'"),
    "nested too deep": (mjcf("<body>" * 2000 + "</body>" * 2000), "nest too deep"),
    # What MuJoCo complains of, or compiles though it should not.
    "unknown element": ("<mujoco><wordlbody/></mujoco>", "'wordlbody', line 1"),
    "own name twice": (mjcf("<body name='a'/><body name='a'/>"), "repeated name 'a'"),
    "negative damping": (mjcf("<body><joint damping='-3'/><geom size='1'/></body>"), "negative"),
    "infinite": (mjcf("<geom size='1' pos='0 -Infinity 0'/>"), ""),
    # What would take too much.
    "huge arena": ("<mujoco><size memory='900M'/></mujoco>", "size memory in bytes is 943718400"),
    "endless solver": ("<mujoco><option iterations='1000000000'/></mujoco>", "option iterations"),
    "too many geoms": (mjcf("<geom size='.1'/>" * 1500), "ngeom is 1500, allowed: 0 to 1000"),
    "replicates in replicates": (
        mjcf(TIMES_1000 * 4 + "<geom size='1'/>" + "</replicate>" * 4),
        "more than 5000 elements",
    ),
    "no count": (mjcf("<replicate count='1e9'/>"), "replicate: invalid literal"),
    "huge height field": (
        mjcf("", "<hfield name='h' nrow='30000' ncol='30000' size='1 1 1 1'/>"),
        "more than 5000 elements",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_scene_is_refused_in_one_line(folder, case):
    text, reason = REFUSED[case]
    assert reason in refusal(write(folder, text))


def test_files_are_bounded_in_size_and_number(folder):
    path = write(folder, mesh("m.obj"))
    with (folder / "m.obj").open("wb") as file:
        file.truncate(10 * 2**30)  # a hole: takes no disk
    assert "are allowed" in refusal(path)
    for i in range(70):
        (folder / f"i{i}.xml").write_text(include(f"i{i + 1}.xml"))
    assert "more than 64 files" in refusal(folder / "i0.xml")


def test_links_stay_in_the_folder(folder):
    (folder / "circle.xml").symlink_to(folder / "circle.xml")
    assert "cannot read circle.xml" in refusal(write(folder, include("circle.xml")))
    (folder / "link.xml").symlink_to(folder.parent / "outside.xml")
    assert "leaves" in refusal(write(folder, include("link.xml")))
    (folder / "sub").symlink_to(folder.parent)
    path = write(folder, include("sub/outside.xml"))
    assert "leaves" in refusal(path)
    path.unlink()
    path.symlink_to(folder.parent / "outside.xml")
    assert "leaves" in refusal(path)
    path.unlink()
    (folder / "real.xml").write_text(REACH)
    path.symlink_to(folder / "real.xml")  # within the folder
    assert load_user_scene(path).nq == 7


def test_pipes_folders_and_absent_files_are_refused_at_once(folder):
    os.mkfifo(folder / "scene.xml")
    assert "must be a file" in refusal(folder / "scene.xml")
    (folder / "sub.xml").mkdir()
    assert "sub.xml" in refusal(folder / "sub.xml")
    assert "No such file" in refusal(folder / "none.xml")
    assert "an .xml file" in refusal(folder / "scene.mjb")


def test_nothing_outside_is_opened_and_mujoco_opens_nothing(folder, monkeypatch):
    part = mjcf(
        f"<body name='e'>{MESH}</body>",
        "<mesh file='m.obj' name='m'/>",
        "<compiler meshdir='meshes'/>",
    )
    models = "<model name='q' file='./sub/part.xml'/><model name='t' file='reach_tool.xml'/>"
    scene = mjcf("<attach model='q' body='e' prefix='q_'/>", models)
    (folder / "sub" / "meshes").mkdir(parents=True)
    path = write(folder, scene, sub__part_xml=part, sub__meshes__m_obj=TRIANGLE)
    opened = []
    really_open = io.open

    def spy(file, *args, **kwargs):
        opened.append(Path(file))
        return really_open(file, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(io, "open", spy)  # what Path.open calls
        files = SceneFiles(path, SceneLimits())
    assert len(opened) == 4
    assert all(p.is_relative_to(folder) or p.is_relative_to(PACKAGE_FOLDER) for p in opened)
    shutil.rmtree(folder)
    (folder.parent / "cwd" / "m.obj").write_text("what lies in the working directory")
    assert files.compile().nmeshvert == 4
    (folder.parent / "cwd" / "m.obj").unlink()


def test_two_files_of_one_name_are_refused(folder):
    body = mjcf("<body/>")
    text = "<include file='a.xml'/><include file='sub/a.xml'/>"
    path = write(folder, mjcf(rest=text), a_xml=body, sub__a_xml=body)
    assert "two files are called a.xml: rename one of them" in refusal(path)


def test_meshes_lead_to_no_other_file(folder):
    os.mkfifo(folder.parent / "pipe.mtl")  # a reader waits for ever
    mtl = f"mtllib {folder.parent / 'pipe.mtl'}\nmtllib ../pipe.mtl\nusemtl a\n" + TRIANGLE
    assert load_user_scene(write(folder, mesh("m.obj"), m_obj=mtl)).nmeshvert == 4


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.stl", b"\0" * 80 + struct.pack("<I", 2**31 - 1)),
        ("m.obj", TRIANGLE.replace("f 1 3 2", "f 1 3 999999999")),
        ("m.obj", TRIANGLE.replace("v 1", "v nan")),
        ("m.obj", ""),
    ],
)
def test_broken_meshes_are_refused(folder, name, content):
    path = write(folder, mesh(name), **{name.replace(".", "_"): content})
    assert "MuJoCo refuses it" in refusal(path)


@pytest.mark.parametrize("side_px", [16, 60_000])
def test_picture_that_unpacks_to_more_than_it_shows_is_refused(folder, side_px):
    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0))
    image = chunk(b"IDAT", zlib.compress(bytes(10_000_000))) + chunk(b"IEND", b"")
    scene = mjcf("", "<texture name='t' type='2d' file='t.png'/>")
    path = write(folder, scene, t_png=b"\x89PNG\r\n\x1a\n" + header + image)
    assert "unpacks to more than" in refusal(path)


@pytest.mark.parametrize("name", ["Grip", "Slide", "Push", "Insert"])
def test_copy_of_a_shipped_scene_is_the_shipped_scene(folder, name):
    env_id = f"metarobot/{name}-v0"
    shipped = FAMILIES[env_id].scene_path
    path = write(folder, shipped.read_bytes())
    model, expected = load_user_scene(path), compile_scene(shipped)
    compared = 0
    for field in [name for name in dir(expected) if not name.startswith("_")]:
        value = getattr(expected, field)
        if isinstance(value, np.ndarray | int | bytes) and field != "signature":
            np.testing.assert_array_equal(getattr(model, field), value)
            compared += 1
    assert compared > 300
    single = gym.make(env_id, scene_path=str(path))  # and fits the family
    assert single.unwrapped.spec.kwargs == {"env_id": env_id, "scene_path": str(path)}


# Needs of a family: derived from the family, and named.

SPRING = (
    "<body><joint type='slide' stiffness='1e12' springref='1'/><geom size='.01' mass='1'/></body>"
)


def reach(scene=("", ""), tool=("", "")):
    return "Reach", REACH.replace(*scene), TOOL.replace(*tool)


def grip(scene=("", ""), tool=("", "")):
    return "Grip", GRIP.replace(*scene), GRIPPER.replace(*tool)


UNFIT = {
    "no payload": (
        reach(tool=('name="payload"', 'name="payloadd"')),
        "needs the body 'payload'; there is .*did you mean 'payloadd'",
    ),
    "no camera": (reach(('"video"', '"vidoe"')), "camera 'video'.*'vidoe'"),
    "goal not a mocap body": (reach(('mocap="true"', "")), "Reach cannot run in it"),
    "autoreset": (
        reach(("<worldbody>", '<option><flag autoreset="enable"/></option><worldbody>')),
        "option disableflags is .* keep the <option> and its <flag>",
    ),
    "time step": (
        reach(("<worldbody>", '<option timestep="0.002"/><worldbody>')),
        "option timestep is 0.002, Reach needs 0.004",
    ),
    "payload compensated": (
        reach(tool=('name="payload" pos', 'gravcomp="1" name="payload" pos')),
        "'payload' has gravcomp",
    ),
    "sensor of another kind": (
        (
            "Grip",
            GRIP.replace("framepos name", "framequat name").replace(
                'objname="block" reftype="site" refname="base"', 'objname="block"'
            ),
            GRIPPER,
        ),
        "sensor 'block_position' is of another kind.*sensor_type",
    ),
    "block outranks the pads": (
        grip(('name="block" type="box"', 'name="block" priority="1" type="box"')),
        "priority 1 and may touch geom 'block' of priority 1",
    ),
    "nothing to grip": (grip(('contype="1"', 'contype="0"')), "'pad_left' can touch nothing"),
    "friction of a pair": (
        grip(
            ("<sensor>", '<contact><pair geom1="block" geom2="pad_left"/></contact><sensor>'),
        ),
        "'pad_left' is in a contact pair",
    ),
    "no friction at all": (grip(tool=('condim="4"', 'condim="1"')), "condim 1"),
    "friction of nothing": (grip(tool=('friction="0.6', 'friction="0')), "must not be 0"),
    "memory too small": (
        grip(("<worldbody>", '<size memory="1K"/><worldbody>')),
        "memory",
    ),
    "unstable": (
        (
            "Reach",
            REACH.replace("<worldbody>", "<worldbody>" + SPRING).replace(
                '246585208 0"', '246585208 0 0"'
            ),
            TOOL,
        ),
        "nominal simulation is unstable in control step",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_scene_that_does_not_fit_the_family_is_refused(folder, case):
    (family, scene, tool), reason = UNFIT[case]
    shipped_tool = "reach_tool.xml" if family == "Reach" else "gripper.xml"
    path = write(folder, scene.replace(shipped_tool, "tool.xml"), tool_xml=tool)
    with pytest.raises(SceneError) as caught:
        make_env(f"metarobot/{family}-v0", 2, scene_path=path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert re.search(reason, message), message
