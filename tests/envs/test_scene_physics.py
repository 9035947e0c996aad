"""What MuJoCo's compiler would change in a user's scene without a word is refused before."""

import time

import mujoco
import pytest
from scene_folder import mjcf, refusal, write

from metarobot.envs import SceneError, SceneLimits, load_user_scene
from metarobot.envs.scene_files import SceneFiles
from metarobot.envs.scene_physics import NOT_NEGATIVE, REPLACING
from metarobot.opengl import opengl_problem

BODY = "<body><joint/><geom size='.1'/>{}</body>"
STANDS_IN = {
    "mass": "<inertial pos='0 0 0' mass='{}' diaginertia='1 1 1'/>",
    "density": "<geom size='.1' density='{}'/>",
    "diaginertia": "<inertial pos='0 0 0' mass='1' diaginertia='1 1 {}'/>",
    "fullinertia": "<inertial pos='0 0 0' mass='1' fullinertia='1 {} 1 0 0 0'/>",
    "friction": "<geom size='.1' friction='1 {} 1'/>",
    "size": "<site size='{}'/>",
}
PHYSICAL = [*NOT_NEGATIVE, "fullinertia"]
NO_NUMBERS = ["-1", "-1e-9", "-1e400", "nan", "inf", "-0x1", "-.5e+2", "NAN(1)", "one"]


def element(attribute, value):
    return STANDS_IN.get(attribute, f"<geom size='.1' {attribute}='{{}}'/>").format(value)


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("attribute", PHYSICAL)
def test_numbers_that_no_physics_has_are_refused_wherever_they_stand(folder, attribute, value):
    wrong = element(attribute, value)
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


@pytest.mark.parametrize(
    "setting",
    [*(f"{name}='0.5'" for name in REPLACING), "balanceinertia='true'", "inertiafromgeom='true'"],
)
def test_settings_that_replace_stated_masses_are_refused(folder, setting):
    stated = "<inertial pos='0 0 0' mass='.1' diaginertia='.1 .1 .1'/>"
    text = mjcf(f"<body><joint/>{stated}<geom size='.1'/></body>", rest=f"<compiler {setting}/>")
    path = write(folder, text)
    message = refusal(lambda: load_user_scene(path))
    assert "would" in message
    assert "leave" in message


@pytest.mark.parametrize(
    "setting", ["boundmass='0'", "settotalmass='-1'", "balanceinertia='false'", "fusestatic='true'"]
)
def test_settings_that_replace_nothing_are_fine(folder, setting):
    path = write(folder, mjcf(BODY.format(""), rest=f"<compiler {setting}/>"))
    assert load_user_scene(path).nbody == 2


def test_inertia_from_geoms_is_fine_where_none_is_stated(folder):
    text = mjcf(BODY.format(""), rest="<compiler inertiafromgeom='true'/>")
    assert load_user_scene(write(folder, text)).nbody == 2


# What takes too long to draw.


def visual_settings():
    """Every number that a scene's <visual> takes, with values that are far too large."""
    visual = mujoco.MjModel.from_xml_string("<mujoco/>").vis
    for group in ("quality", "global", "map", "scale"):
        values = ("0", "-1", "1000", "2000000000") if group == "quality" else ("2000000000",)
        for name in vars(type(getattr(visual, "global_" if group == "global" else group))):
            if not name.startswith("_"):
                yield from ((group, name, value) for value in values)


@pytest.mark.parametrize(("group", "name", "value"), [*visual_settings()])
def test_no_visual_setting_makes_a_picture_endless(folder, group, name, value):
    text = mjcf(
        "<camera name='video' pos='0 -3 1' xyaxes='1 0 0 0 .3 1'/><light pos='0 0 3'/>"
        "<geom type='plane' size='1 1 .1'/>" + BODY.format("<site size='.1'/>"),
        rest=f"<visual><{group} {name}='{value}'/></visual>",
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
    lights = "<light/>" * 30
    for text in (mjcf(many, rest=finest), mjcf(many + lights)):
        path = write(folder, text)
        assert "number of drawn triangles is" in refusal(lambda path=path: load_user_scene(path))
    assert load_user_scene(write(folder, mjcf(many))).ngeom == 900
    assert load_user_scene(write(folder, mjcf(sphere, rest=finest))).ngeom == 1
