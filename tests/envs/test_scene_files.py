"""What a user's scene may read: every other path is refused before MuJoCo sees a byte."""

import os
from pathlib import Path

import pytest
from scene_folder import MESH, REACH, TOOL, TRIANGLE, mjcf, refusal, write

from metarobot.envs import SceneLimits, load_user_scene
from metarobot.envs.scene_files import PACKAGE_FOLDER, SceneFiles

DEEP = "<body>" * 120 + "</body>" * 120
LAUGHS = (
    "<!DOCTYPE mujoco [<!ENTITY a 'ha'>"
    + "".join(
        f"<!ENTITY {'abcdefghij'[i + 1]} '{('&' + 'abcdefghij'[i] + ';') * 10}'>" for i in range(9)
    )
    + "]><mujoco model='&j;'/>"
)
REFUSED = {
    "absolute include": ("<mujoco><include file='/etc/passwd'/></mujoco>", "not allowed"),
    "include above": ("<mujoco><include file='../outside.xml'/></mujoco>", "not allowed"),
    "include around": ("<mujoco><include file='a/../../outside.xml'/></mujoco>", "not allowed"),
    "escaped dots": ("<mujoco><include file='&#46;&#46;/outside.xml'/></mujoco>", "not allowed"),
    "backslashes": ("<mujoco><include file='..\\outside.xml'/></mujoco>", "not allowed"),
    "drive": ("<mujoco><include file='C:/outside.xml'/></mujoco>", "not allowed"),
    "file URL": ("<mujoco><include file='file:///etc/passwd.xml'/></mujoco>", "not allowed"),
    "web URL": (mjcf(asset="<model name='a' file='http://a.b/c.xml'/>"), "not allowed"),
    "hidden file": ("<mujoco><include file='.git/config.xml'/></mujoco>", "not allowed"),
    "empty name": ("<mujoco><include file=''/></mujoco>", "not allowed"),
    "include without file": ("<mujoco><include/></mujoco>", "not allowed"),
    "newline in a name": ("<mujoco><include file='a&#10;b.xml'/></mujoco>", "not allowed"),
    "include of another type": ("<mujoco><include file='passwd'/></mujoco>", "not of type .xml"),
    "mesh above": (mjcf(MESH, "<mesh name='m' file='../outside.obj'/>"), "not allowed"),
    "absolute meshdir": (
        mjcf(MESH, "<mesh name='m' file='outside.obj'/>", "<compiler meshdir='/tmp'/>"),
        "not allowed",
    ),
    "meshdir above": (
        mjcf(MESH, "<mesh name='m' file='outside.obj'/>", "<compiler meshdir='..'/>"),
        "not allowed",
    ),
    "assetdir above": (
        mjcf(MESH, "<mesh name='m' file='outside.obj'/>", "<compiler assetdir='./../'/>"),
        "not allowed",
    ),
    "texturedir above": (
        mjcf("", "<texture name='t' file='a.png'/>", "<compiler texturedir='..'/>"),
        "not allowed",
    ),
    "strippath": (
        mjcf(MESH, "<mesh name='m' file='m.obj'/>", "<compiler strippath='true'/>"),
        "strippath",
    ),
    "content type": (
        mjcf(MESH, "<mesh name='m' file='m.obj' content_type='model/usd'/>"),
        "content_type",
    ),
    "mesh of another type": (mjcf(MESH, "<mesh name='m' file='m.usd'/>"), "not of type"),
    "file where none belongs": (mjcf("<geom size='1' file='m.obj'/>"), "may not read a file"),
    "plugin": ("<mujoco><extension><plugin plugin='a.b'/></extension></mujoco>", "'extension'"),
    "plugin body": (mjcf("<body><plugin plugin='a.b'/></body>"), "'plugin'"),
    "flexcomp": (mjcf("<flexcomp type='grid' count='999 999 999' name='f'/>"), "'flexcomp'"),
    "billion laughs": (LAUGHS, "DOCTYPE"),
    "external entity": (
        "<!DOCTYPE m [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><mujoco model='&x;'/>",
        "DOCTYPE",
    ),
    "undeclared entity": ("<mujoco model='&x;'/>", "not well-formed"),
    "empty file": ("", "is empty"),
    "blank file": (" \n ", "is empty"),
    "binary junk": (bytes(range(256)) * 9, "not UTF-8"),
    "zeros": (bytes(5000), "not well-formed"),
    "UTF-16": ("<mujoco/>".encode("utf-16"), "not UTF-8"),
    "truncated": (REACH[:500], "not well-formed"),
    "two roots": ("<mujoco/><mujoco/>", "not well-formed"),
    "no MJCF": ("<robot name='urdf'/>", "root element is 'robot'"),
    "mass not a number": (mjcf("<geom size='1' mass='nan'/>"), "finite"),
    "infinite mass": (mjcf("<geom size='1' mass='1e999'/>"), "finite"),
    "infinite by name": (mjcf("<geom size='1' pos='0 -Infinity 0'/>"), "finite"),
    "nested too deep": (mjcf(DEEP), "nest deeper"),
    "too many elements": (mjcf("<body/>" * 30_000), "more than 20000 elements"),
    "missing include": ("<mujoco><include file='arm2.xml'/></mujoco>", "no file 'arm2.xml'"),
    "itself": ("<mujoco><include file='scene.xml'/></mujoco>", "itself"),
    "itself attached": (mjcf(asset="<model name='a' file='scene.xml'/>"), "itself"),
    "arm twice": (
        "<mujoco><include file='arm.xml'/><include file='arm.xml'/></mujoco>",
        "included twice",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_scene_is_refused_in_one_line(folder, case):
    text, reason = REFUSED[case]
    path = write(folder, text)
    message = refusal(lambda: SceneFiles(path, SceneLimits()))
    assert reason in message, message


def test_files_are_bounded_in_size_number_and_depth(folder):
    path = write(folder, mjcf(MESH, "<mesh name='m' file='m.obj'/>"))
    with (folder / "m.obj").open("wb") as file:
        file.truncate(10 * 2**30)  # a hole: takes no disk
    assert "larger than 8388608 bytes" in refusal(lambda: load_user_scene(path))
    (folder / "m.obj").write_text(TRIANGLE)
    small = SceneLimits(total_bytes=120)
    assert "take more than 120" in refusal(lambda: load_user_scene(path, small))
    includes = "".join(f"<include file='i{i}.xml'/>" for i in range(70))
    for i in range(70):
        (folder / f"i{i}.xml").write_text(f"<mujoco><include file='i{i + 1}.xml'/></mujoco>")
    path = write(folder, f"<mujoco>{includes}</mujoco>")
    assert "deep" in refusal(lambda: load_user_scene(path))
    for i in range(70):
        (folder / f"i{i}.xml").write_text("<mujoco><asset/></mujoco>")
    assert "more than 64 files" in refusal(lambda: load_user_scene(path))


def test_models_that_attach_models_are_followed(folder):
    scene = mjcf(asset="<model name='a' file='a.xml'/>")
    a = mjcf(asset="<model name='b' file='sub/b.xml'/>")
    (folder / "sub").mkdir()
    b = "<mujoco><include file='../../outside.xml'/></mujoco>"
    path = write(folder, scene, a_xml=a, sub__b_xml=b)
    assert "sub/b.xml line 1: path '../../outside.xml'" in refusal(lambda: load_user_scene(path))
    b = mjcf(asset="<model name='c' file='../scene.xml'/>")
    path = write(folder, scene, a_xml=a, sub__b_xml=b)
    assert "not allowed" in refusal(lambda: load_user_scene(path))


@pytest.mark.parametrize("target", ["outside.xml", "own/circle.xml", "gone.xml"])
def test_links_stay_in_the_folder(folder, target):
    (folder / "circle.xml").symlink_to(folder.parent / target)
    path = write(folder, "<mujoco><include file='circle.xml'/></mujoco>")
    message = refusal(lambda: load_user_scene(path))
    assert "leaves" in message or "cannot read circle.xml" in message


def test_linked_folders_and_scenes_stay_in_the_folder(folder):
    (folder / "sub").symlink_to(folder.parent)
    path = write(folder, "<mujoco><include file='sub/outside.xml'/></mujoco>")
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
    assert "not a regular file" in refusal(lambda: load_user_scene(folder / "scene.xml"))
    (folder / "sub.xml").mkdir()
    assert "sub.xml" in refusal(lambda: load_user_scene(folder / "sub.xml"))
    assert "No such file" in refusal(lambda: load_user_scene(folder / "none.xml"))
    assert "an .xml file" in refusal(lambda: load_user_scene(folder / "scene.mjb"))


def test_nothing_outside_is_opened_and_mujoco_gets_only_what_was_checked(folder, monkeypatch):
    (folder / "sub").mkdir()
    body = "<body name='e'>" + MESH + "</body>"
    part = mjcf(body, "<mesh file='m.obj' name='m'/>", "<compiler meshdir='meshes'/>")
    (folder / "sub" / "meshes").mkdir()
    attach = "<attach model='q' body='e' prefix='q_'/>"
    scene = mjcf(attach, "<model name='q' file='./sub/part.xml'/>", "<include file='arm.xml'/>")
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
    assert len(opened) == 5
    assert all(p.is_relative_to(folder) or p.is_relative_to(PACKAGE_FOLDER) for p in opened)
    assert set(files.contents) == {"scene.xml", "1.xml", "2.xml", "files/sub/meshes/m.obj"}
    text = b"".join(files.contents[name] for name in ("scene.xml", "1.xml", "2.xml"))
    assert b"meshdir" not in text
    assert b"<!--" not in text


def test_complaints_name_the_line_of_the_users_file(folder):
    tool = TOOL.replace('<site name="tool"', '<site nmae="tool"')
    line = 1 + tool[: tool.index("nmae")].count("\n")
    scene = REACH.replace("reach_tool.xml", "tool.xml")
    path = write(folder, scene, tool_xml=tool)
    assert f"tool.xml line {line}" in refusal(lambda: load_user_scene(path))
