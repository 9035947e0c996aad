"""A user's scene: it reads its own folder, stays within limits, and is ours if it is a copy."""

import os
import shutil
import struct
import time
import zlib
from pathlib import Path

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from scene_folder import MESH, REACH, TOOL, TRIANGLE, mjcf, refusal, write

from metarobot.envs import (
    FAMILIES,
    SceneError,
    SceneLimits,
    TaskVectorEnv,
    load_user_scene,
    make_env,
)
from metarobot.envs.scene import compile_files, compile_scene
from metarobot.envs.scene_files import PACKAGE_FOLDER, SceneFiles
from metarobot.opengl import opengl_problem

BODY = "<body><joint/><geom size='.1'/>{}</body>"
DEEP = "<body>" * 120 + "</body>" * 120
TIMES_1000 = "<replicate count='1000' offset='1 0 0'>"
LAUGHS = (
    "<!DOCTYPE mujoco [<!ENTITY a 'ha'>"
    + "".join(
        f"<!ENTITY {'abcdefghij'[i + 1]} '{('&' + 'abcdefghij'[i] + ';') * 10}'>" for i in range(9)
    )
    + "]><mujoco model='&j;'/>"
)


def include(file):
    return f"<mujoco><include file='{file}'/></mujoco>"


def mesh(file, compiler="", more=""):
    return mjcf(MESH, f"<mesh name='m' file='{file}' {more}/>", compiler)


REFUSED = {
    "absolute include": (include("/etc/passwd"), "not allowed"),
    "include above": (include("../outside.xml"), "not allowed"),
    "include around": (include("a/../../outside.xml"), "not allowed"),
    "escaped dots": (include("&#46;&#46;/outside.xml"), "not allowed"),
    "backslashes": (include("..\\outside.xml"), "not allowed"),
    "drive": (include("C:/outside.xml"), "not allowed"),
    "file URL": (include("file:///etc/passwd.xml"), "not allowed"),
    "web URL": (mjcf(asset="<model name='a' file='http://a.b/c.xml'/>"), "not allowed"),
    "hidden file": (include(".git/config.xml"), "not allowed"),
    "empty name": (include(""), "not allowed"),
    "include without file": ("<mujoco><include/></mujoco>", "not allowed"),
    "newline in a name": (include("a&#10;b.xml"), "not allowed"),
    "include of another type": (include("passwd"), "not of type .xml"),
    "mesh above": (mesh("../outside.obj"), "not allowed"),
    "absolute meshdir": (mesh("outside.obj", "<compiler meshdir='/tmp'/>"), "not allowed"),
    "meshdir above": (mesh("outside.obj", "<compiler meshdir='..'/>"), "not allowed"),
    "assetdir above": (mesh("outside.obj", "<compiler assetdir='./../'/>"), "not allowed"),
    "texturedir above": (
        mjcf("", "<texture name='t' file='a.png'/>", "<compiler texturedir='..'/>"),
        "not allowed",
    ),
    "strippath": (mesh("m.obj", "<compiler strippath='true'/>"), "strippath"),
    "content type": (mesh("m.obj", more="content_type='model/usd'"), "content_type"),
    "mesh of another type": (mesh("m.usd"), "not of type"),
    "missing mesh": (mesh("reach.obj"), "no file 'reach.obj'"),
    "file where none belongs": (mjcf("<geom size='1' file='m.obj'/>"), "may not read a file"),
    "plugin": ("<mujoco><extension><plugin plugin='a.b'/></extension></mujoco>", "'extension'"),
    "plugin body": (mjcf("<body><plugin plugin='a.b'/></body>"), "'plugin'"),
    "flexcomp": (mjcf("<flexcomp type='grid' count='999 999 999' name='f'/>"), "'flexcomp'"),
    "simulation in the compiler": (
        mjcf(rest="<compiler><lengthrange mode='all' inttotal='1e12'/></compiler>"),
        "'lengthrange'",
    ),
    "billion laughs": (LAUGHS, "DOCTYPE"),
    "undeclared entity": ("<mujoco model='&x;'/>", "not well-formed"),
    "blank file": (" \n ", "no element found"),
    "binary junk": (bytes(range(256)) * 9, "not well-formed"),
    "zeros": (bytes(5000), "not well-formed"),
    "truncated": (REACH[:500], "not well-formed"),
    "two roots": ("<mujoco/><mujoco/>", "not well-formed"),
    "no MJCF": ("<robot name='urdf'/>", "root element is 'robot'"),
    "infinite by name": (mjcf("<geom size='1' pos='0 -Infinity 0'/>"), "finite"),
    "nested too deep": (mjcf(DEEP), "nest deeper"),
    "too many elements": (mjcf("<body/>" * 30_000), "more than 5000 elements"),
    "missing include": (include("arm2.xml"), "no file 'arm2.xml'"),
    "itself": (include("scene.xml"), "itself"),
    "itself attached": (mjcf(asset="<model name='a' file='scene.xml'/>"), "itself"),
    # What MuJoCo complains of, or compiles though it should not.
    "unknown element": ("<mujoco><wordlbody/></mujoco>", "'wordlbody', scene.xml line 1"),
    "bad number": (mjcf("<geom pos='one'/>"), "MuJoCo refuses it"),
    "arm twice": (
        "<mujoco><include file='arm.xml'/><include file='arm.xml'/></mujoco>",
        "MuJoCo refuses it: XML Error",
    ),
    "negative damping": (mjcf("<body><joint damping='-3'/><geom size='1'/></body>"), "negative"),
    "own name twice": (mjcf("<body name='a'/><body name='a'/>"), "repeated name 'a'"),
    # What would take too much.
    "huge arena": ("<mujoco><size memory='900M'/></mujoco>", "size memory in bytes is 943718400"),
    "endless solver": ("<mujoco><option iterations='1000000000'/></mujoco>", "option iterations"),
    "huge picture": (
        "<mujoco><visual><global offwidth='1000000'/></visual></mujoco>",
        "offwidth is 1000000",
    ),
    "too many geoms": (mjcf("<geom size='.1'/>" * 1500), "ngeom is 1500, allowed: 0 to 1000"),
    "too many joints": (mjcf(BODY.format("") * 300), "nq is 300"),
    "replicates in replicates": (
        mjcf(TIMES_1000 * 4 + "<geom size='1'/>" + "</replicate>" * 4),
        "more than 5000 elements",
    ),
    "replicates without end": (mjcf(f"<replicate count='{'9' * 300}'/>"), "more than 5000"),
    "no count": (mjcf("<replicate count='1e9'/>"), "need a decimal integer"),
    "huge height field": (
        mjcf(
            "<geom type='hfield' hfield='h'/>",
            "<hfield name='h' nrow='30000' ncol='30000' size='1 1 1 1'/>",
        ),
        "more than 5000 elements",
    ),
    "huge texture": (
        mjcf("", "<texture name='t' type='2d' builtin='flat' width='60000' height='60000'/>"),
        "more than 5000 elements",
    ),
    "huge sphere": (
        mjcf(MESH, "<mesh name='m' builtin='supersphere' params='300000000 1 1'/>"),
        "more than 5000 elements",
    ),
    "many user numbers": ("<mujoco><size nuser_body='2000000000'/></mujoco>", "at most 100"),
    "huge sensor": (mjcf(rest="<sensor><user dim='2000000000'/></sensor>"), "more than 5000"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_scene_is_refused_in_one_line(folder, case):
    text, reason = REFUSED[case]
    path = write(folder, text)
    message = refusal(lambda: load_user_scene(path))
    assert message.startswith(f"{path}: ")
    assert reason in message, message


# Files.


def test_files_are_bounded_in_size_number_and_depth(folder):
    path = write(folder, mesh("m.obj"))
    with (folder / "m.obj").open("wb") as file:
        file.truncate(10 * 2**30)  # a hole: takes no disk
    assert "at most 8,388,608 are allowed" in refusal(lambda: load_user_scene(path))
    (folder / "m.obj").write_text(TRIANGLE)
    small = SceneLimits(total_bytes=120)
    assert "take more than 120" in refusal(lambda: load_user_scene(path, small))
    for i in range(70):
        (folder / f"i{i}.xml").write_text(include(f"i{i + 1}.xml"))
    assert "more than 64 files" in refusal(lambda: load_user_scene(folder / "i0.xml"))


def test_includes_nest_no_deeper_than_the_limit(folder):
    for i in range(3):
        body = "<body>" * 45 + f"<include file='{i + 1}.xml'/>" + "</body>" * 45
        (folder / f"{i}.xml").write_text(mjcf(body))
    assert "nest deeper than 100" in refusal(lambda: load_user_scene(folder / "0.xml"))


def test_attached_models_multiply_within_the_limit(folder):
    attach = "<attach model='m' body='e' prefix='{}_'/>"
    for i in range(4):
        many = "".join(attach.format(j) for j in range(50))
        body = f"<body name='e'>{many}</body>"
        (folder / f"{i}.xml").write_text(mjcf(body, f"<model name='m' file='{i + 1}.xml'/>"))
    (folder / "4.xml").write_text(mjcf("<body name='e'/>"))
    assert "more than 5000 elements" in refusal(lambda: load_user_scene(folder / "0.xml"))
    assert load_user_scene(folder / "3.xml").nbody == 52


def test_models_that_attach_models_are_followed(folder):
    scene = mjcf(asset="<model name='a' file='a.xml'/>")
    a = mjcf(asset="<model name='b' file='sub/b.xml'/>")
    (folder / "sub").mkdir()
    path = write(folder, scene, a_xml=a, sub__b_xml=include("../../outside.xml"))
    assert "sub/b.xml line 1: path '../../outside.xml'" in refusal(lambda: load_user_scene(path))


@pytest.mark.parametrize("target", ["outside.xml", "own/circle.xml", "gone.xml"])
def test_links_stay_in_the_folder(folder, target):
    (folder / "circle.xml").symlink_to(folder.parent / target)
    path = write(folder, include("circle.xml"))
    message = refusal(lambda: load_user_scene(path))
    assert "leaves" in message or "cannot read circle.xml" in message


def test_linked_folders_and_scenes_stay_in_the_folder(folder):
    (folder / "sub").symlink_to(folder.parent)
    path = write(folder, include("sub/outside.xml"))
    assert "leaves" in refusal(lambda: load_user_scene(path))
    path.unlink()
    path.symlink_to(folder.parent / "outside.xml")
    assert "leaves" in refusal(lambda: load_user_scene(path))


def test_links_within_the_folder_are_followed(folder):
    (folder / "real.xml").write_text(REACH)
    (folder / "scene.xml").symlink_to(folder / "real.xml")
    assert load_user_scene(folder / "scene.xml").nq == 7


def test_pipes_folders_and_absent_files_are_refused_at_once(folder):
    os.mkfifo(folder / "scene.xml")
    assert "must be a file" in refusal(lambda: load_user_scene(folder / "scene.xml"))
    (folder / "sub.xml").mkdir()
    assert "sub.xml" in refusal(lambda: load_user_scene(folder / "sub.xml"))
    assert "No such file" in refusal(lambda: load_user_scene(folder / "none.xml"))
    assert "an .xml file" in refusal(lambda: load_user_scene(folder / "scene.mjb"))


def test_nothing_outside_is_opened_and_mujoco_opens_nothing(folder, monkeypatch):
    body = "<body name='e'>" + MESH + "</body>"
    part = mjcf(body, "<mesh file='m.obj' name='m'/>", "<compiler meshdir='meshes'/>")
    (folder / "sub" / "meshes").mkdir(parents=True)
    attach = "<attach model='q' body='e' prefix='q_'/>"
    scene = mjcf(attach, "<model name='q' file='./sub/part.xml'/>")
    path = write(
        folder,
        scene.replace("<asset>", "<asset><model name='end_effector' file='reach_tool.xml'/>"),
        sub__part_xml=part,
        sub__meshes__m_obj=TRIANGLE,
    )
    opened = []
    really_open = os.open

    def spy(file, *args, **kwargs):
        opened.append(Path(file))
        return really_open(file, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", spy)
        files = SceneFiles(path, SceneLimits())
    assert len(opened) == 4
    assert all(p.is_relative_to(folder) or p.is_relative_to(PACKAGE_FOLDER) for p in opened)
    text = b"".join(data for name, data in files.contents.items() if name.endswith(".xml"))
    assert b"meshdir" not in text
    assert b"<!--" not in text
    shutil.rmtree(folder)
    assert compile_files(files).nmeshvert == 4


def test_meshes_lead_to_no_other_file(folder):
    os.mkfifo(folder.parent / "pipe.mtl")  # a reader waits for ever
    mtl = f"mtllib {folder.parent / 'pipe.mtl'}\nmtllib ../pipe.mtl\nusemtl a\n" + TRIANGLE
    assert load_user_scene(write(folder, mesh("m.obj"), m_obj=mtl)).nmeshvert == 4


def test_complaints_name_the_line_of_the_users_file(folder):
    tool = TOOL.replace('<site name="tool"', '<site nmae="tool"')
    line = 1 + tool[: tool.index("nmae")].count("\n")
    path = write(folder, REACH.replace("reach_tool.xml", "tool.xml"), tool_xml=tool)
    assert f"tool.xml line {line}" in refusal(lambda: load_user_scene(path))


BROKEN_MESHES = [
    ("m.stl", b"\0" * 80 + struct.pack("<I", 2**31 - 1)),
    ("m.stl", np.random.default_rng(0).bytes(3000)),
    ("m.obj", TRIANGLE.replace("f 1 3 2", "f 1 3 999999999")),
    ("m.obj", TRIANGLE.replace("v 1", "v nan")),
    ("m.obj", "f 1 2 3\n"),
    ("m.msh", struct.pack("<4i", 2**30, 2**30, 2**30, 2**30)),
    ("m.obj", ""),
]


@pytest.mark.parametrize(("name", "content"), BROKEN_MESHES)
def test_broken_meshes_are_refused(folder, name, content):
    path = write(folder, mesh(name), **{name.replace(".", "_"): content})
    assert "MuJoCo refuses it" in refusal(lambda: load_user_scene(path))


@pytest.mark.parametrize("side_px", [16, 60_000])
def test_picture_that_unpacks_to_more_than_it_shows_is_refused(folder, side_px):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0))
    image = chunk(b"IDAT", zlib.compress(bytes(10_000_000))) + chunk(b"IEND", b"")
    scene = mjcf("", "<texture name='t' type='2d' file='t.png'/>")
    path = write(folder, scene, t_png=b"\x89PNG\r\n\x1a\n" + header + image)
    assert "unpacks to more than" in refusal(lambda: load_user_scene(path))


# Physics that MuJoCo would change without a word.

STANDS_IN = {
    "mass": "<inertial pos='0 0 0' mass='{}' diaginertia='1 1 1'/>",
    "density": "<geom size='.1' density='{}'/>",
    "fullinertia": "<inertial pos='0 0 0' mass='1' fullinertia='1 {} 1 0 0 0'/>",
    "friction": "<geom size='.1' friction='1 {} 1'/>",
}


@pytest.mark.parametrize("value", ["-1", "-1e-9", "-1e400", "nan", "inf", "-0x1", "NAN(1)", "one"])
@pytest.mark.parametrize("attribute", STANDS_IN)
def test_numbers_that_no_physics_has_are_refused_wherever_they_stand(folder, attribute, value):
    wrong = STANDS_IN[attribute].format(value)
    scenes = {
        "body": (mjcf(BODY.format(wrong)), "scene.xml line 1"),
        "defaults": (mjcf(rest=f"<default>{wrong}</default>"), "scene.xml line 1"),
        "included": (mjcf(rest="<include file='part.xml'/>"), "part.xml line 2"),
        "attached": (mjcf(asset="<model name='p' file='part.xml'/>"), "part.xml line 2"),
    }
    (folder / "part.xml").write_text(mjcf("\n" + wrong))
    for text, place in scenes.values():
        path = write(folder, text)
        message = refusal(lambda path=path: SceneFiles(path, SceneLimits()))
        assert f"{place}: {attribute} " in message, message


def test_a_negative_mass_beside_a_stated_inertia_is_seen(folder):
    inertial = "<inertial pos='0 0 0' mass='1' diaginertia='1 1 1'/>"
    text = mjcf(f"<body><joint/>{inertial}<geom size='.1' mass='-1'/></body>")
    assert mujoco.MjModel.from_xml_string(text).body_mass[1] == 1  # MuJoCo says nothing
    path = write(folder, text)
    assert "mass is -1, must not be negative" in refusal(lambda: load_user_scene(path))


REPLACING = [
    *("boundmass='0.5'", "boundinertia='0.5'", "settotalmass='0.5'"),
    *("balanceinertia='true'", "inertiafromgeom='true'"),
]


@pytest.mark.parametrize("setting", REPLACING)
def test_settings_that_replace_stated_masses_are_refused(folder, setting):
    stated = "<inertial pos='0 0 0' mass='.1' diaginertia='.1 .1 .1'/>"
    text = mjcf(f"<body><joint/>{stated}<geom size='.1'/></body>", rest=f"<compiler {setting}/>")
    path = write(folder, text)
    message = refusal(lambda: load_user_scene(path))
    assert "would replace" in message
    assert "leave" in message


@pytest.mark.parametrize(
    "setting",
    [
        *("boundmass='0'", "settotalmass='-1'", "balanceinertia='false'", "fusestatic='true'"),
        "inertiafromgeom='true'",
    ],
)
def test_settings_that_replace_nothing_are_fine(folder, setting):
    path = write(folder, mjcf(BODY.format(""), rest=f"<compiler {setting}/>"))
    assert load_user_scene(path).nbody == 2


# Pictures that take too long.


def visual_settings():
    """Numbers that a scene's <visual> takes, far too large: each alone, or a group together."""
    visual = mujoco.MjModel.from_xml_string("<mujoco/>").vis
    for group in ("quality", "global", "map", "scale"):
        fields = vars(type(getattr(visual, "global_" if group == "global" else group)))
        names = [name for name in fields if not name.startswith("_")]
        if group in ("map", "scale"):
            yield " ".join([group, *(f"{name}='2000000000'" for name in names)])
            continue
        for value in ("0", "-1", "1000", "2000000000") if group == "quality" else ("2000000000",):
            yield from (f"{group} {name}='{value}'" for name in names)


@pytest.mark.parametrize("setting", [*visual_settings()])
def test_no_visual_setting_makes_a_picture_endless(folder, setting):
    text = mjcf(
        "<camera name='video' pos='0 -3 1' xyaxes='1 0 0 0 .3 1'/><light pos='0 0 3'/>"
        "<geom type='plane' size='1 1 .1'/>" + BODY.format("<site size='.1'/>"),
        rest=f"<visual><{setting}/></visual>",
    )
    try:
        model = load_user_scene(write(folder, text))
    except SceneError:
        return
    if opengl_problem():
        pytest.skip("needs OpenGL")
    began_s = time.process_time()
    with mujoco.Renderer(model, 480, 640) as renderer:
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        renderer.update_scene(data, "video")
        renderer.render()
    assert time.process_time() - began_s < 5


def test_pictures_of_too_many_triangles_are_refused(folder):
    sphere = "<geom type='sphere' size='.1'/>"
    many = f"<replicate count='900' offset='1 0 0'>{sphere}</replicate>"
    finest = "<visual><quality numslices='200' numstacks='200'/></visual>"
    for text in (mjcf(many, rest=finest), mjcf(many + "<light/>" * 30)):
        path = write(folder, text)
        assert "number of drawn triangles is" in refusal(lambda path=path: load_user_scene(path))
    assert load_user_scene(write(folder, mjcf(many))).ngeom == 900
    assert load_user_scene(write(folder, mjcf(sphere, rest=finest))).ngeom == 1


# A copy of ours is ours.


def scenes_in_a_file():
    """Families that compile their file as it is; HalfCheetah adds to Gymnasium's."""
    own = TaskVectorEnv.compile_own_scene.__func__
    return [e for e, family in FAMILIES.items() if family.compile_own_scene.__func__ is own]


@pytest.mark.parametrize("env_id", scenes_in_a_file())
def test_copy_of_a_shipped_scene_is_the_shipped_scene(folder, env_id):
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


@pytest.mark.parametrize("env_id", scenes_in_a_file())
def test_copy_of_a_shipped_scene_moves_bit_for_bit(folder, env_id):
    path = write(folder, FAMILIES[env_id].scene_path.read_bytes())
    single = gym.make(env_id, scene_path=str(path))
    assert single.unwrapped.spec.kwargs == {"env_id": env_id, "scene_path": str(path)}
    vector = gym.make_vec(env_id, num_envs=3, scene_path=path)
    ours = make_env(env_id, 3, num_threads=1)
    for env in (vector, ours):
        env.set_tasks(env.distribution.sample(np.random.default_rng(0), 3))
        env.reset(seed=5)
    rng = np.random.default_rng(1)
    for _ in range(ours.horizon + 3):
        actions = rng.uniform(-1, 1, ours.action_space.shape)
        for ours_now, theirs in zip(ours.step(actions)[:4], vector.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(ours_now, theirs)
