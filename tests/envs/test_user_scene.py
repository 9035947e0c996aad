"""A user's scene: compiled within limits, measured, and ours if it is a copy of ours."""

import os
import struct
import zlib

import gymnasium as gym
import numpy as np
import pytest
from scene_folder import MESH, TRIANGLE, mjcf, refusal, write

from metarobot.envs import FAMILIES, SceneLimits, TaskVectorEnv, load_user_scene, make_env
from metarobot.envs.scene import compile_scene

REFUSED = {
    "unknown element": ("<mujoco><wordlbody/></mujoco>", "'wordlbody', scene.xml line 1"),
    "bad number": (mjcf("<geom pos='one'/>"), "MuJoCo refuses it"),
    "negative friction": (mjcf("<geom size='1' friction='-1'/>"), "friction is -1, must not"),
    "negative mass": (mjcf("<body><geom size='1' mass='-1'/></body>"), "mass is -1, must not"),
    "negative damping": (
        mjcf("<body><joint damping='-3'/><geom size='1'/></body>"),
        "negative",
    ),
    "own name twice": (mjcf("<body name='a'/><body name='a'/>"), "repeated name 'a'"),
    "huge arena": ("<mujoco><size memory='900M'/></mujoco>", "size memory in bytes is 943718400"),
    "endless solver": ("<mujoco><option iterations='1000000000'/></mujoco>", "option iterations"),
    "huge picture": (
        "<mujoco><visual><global offwidth='1000000'/></visual></mujoco>",
        "offwidth is 1000000",
    ),
    "too many geoms": (
        mjcf("<replicate count='1500' offset='1 0 0'><geom size='.1'/></replicate>"),
        "ngeom is 1500, allowed: 0 to 1000",
    ),
    "too many joints": (
        mjcf(
            "<replicate count='300' offset='1 0 0'>"
            "<body><joint/><geom size='.1'/></body></replicate>"
        ),
        "nq is 300",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_scene_is_refused_in_one_line(folder, case):
    text, reason = REFUSED[case]
    path = write(folder, text)
    message = refusal(lambda: load_user_scene(path))
    assert message.startswith(f"{path}: ")
    assert reason in message, message


TIGHT = SceneLimits(compile_cpu_s=1)
BOMBS = {
    "a million geoms": mjcf(
        "<replicate count='1000000' offset='1 0 0'><geom size='.1'/></replicate>"
    ),
    "replicates in replicates": mjcf(
        "<replicate count='1000' offset='1 0 0'>" * 4 + "<geom size='1'/>" + "</replicate>" * 4
    ),
    "huge height field": mjcf(
        "<geom type='hfield' hfield='h'/>",
        "<hfield name='h' nrow='30000' ncol='30000' size='1 1 1 1'/>",
    ),
    "huge texture": mjcf(
        "", "<texture name='t' type='2d' builtin='flat' width='60000' height='60000'/>"
    ),
    "subdivided sphere": mjcf(
        MESH,
        "<mesh name='m' builtin='sphere' params='30'/>",
    ),
}


PILE = mjcf(
    "<replicate count='20' offset='.3 .1 .05'>"
    "<body><freejoint/><geom type='box' size='1 1 1' condim='6'/></body></replicate>",
    rest="<size memory='15M'/>"
    "<option solver='PGS' iterations='1000000000' tolerance='0' cone='elliptic'/>",
)


def test_endless_steps_are_refused(folder):
    path = write(folder, PILE)
    assert "to compile and start" in refusal(lambda: load_user_scene(path, TIGHT))


def test_meshes_lead_to_no_other_file(folder):
    os.mkfifo(folder.parent / "pipe.mtl")  # who opens it waits for ever
    mesh = f"mtllib {folder.parent / 'pipe.mtl'}\nmtllib ../pipe.mtl\nusemtl a\n" + TRIANGLE
    path = write(folder, mjcf(MESH, "<mesh name='m' file='m.obj'/>"), m_obj=mesh)
    assert load_user_scene(path).nmeshvert == 4


@pytest.mark.parametrize("case", BOMBS)
def test_compilation_ends_in_time_and_memory(folder, case):
    path = write(folder, BOMBS[case])
    message = refusal(lambda: load_user_scene(path, TIGHT))
    assert any(w in message for w in ("processor time", "memory", "MuJoCo refuses it", "takes"))


def test_clock_ends_the_compilation_too(folder):
    path = write(folder, BOMBS["a million geoms"])
    limits = SceneLimits(compile_wall_s=0.5)
    assert "0.5 s to compile" in refusal(lambda: load_user_scene(path, limits))


def picture(width, height):
    """Return a PNG whose header promises more than it holds."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    image = zlib.compress(bytes(10_000_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", image) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.stl", b"\0" * 80 + struct.pack("<I", 2**31 - 1)),
        ("m.stl", np.random.default_rng(0).bytes(3000)),
        ("m.obj", TRIANGLE.replace("f 1 3 2", "f 1 3 999999999")),
        ("m.obj", TRIANGLE.replace("v 1", "v nan")),
        ("m.obj", "f 1 2 3\n"),
        ("m.msh", struct.pack("<4i", 2**30, 2**30, 2**30, 2**30)),
        ("m.obj", ""),
    ],
)
def test_broken_meshes_are_refused(folder, name, content):
    scene = mjcf(MESH, f"<mesh name='m' file='{name}'/>")
    path = write(folder, scene, **{name.replace(".", "_"): content})
    assert "MuJoCo" in refusal(lambda: load_user_scene(path))


def test_picture_that_unpacks_to_gigabytes_is_refused(folder):
    scene = mjcf("", "<texture name='t' type='2d' file='t.png'/>")
    path = write(folder, scene, t_png=picture(60_000, 60_000))
    refusal(lambda: load_user_scene(path, TIGHT))


# A copy of ours is ours.


def has_its_scene_as_a_file(env_id):
    """Whether the family compiles its file as it is; HalfCheetah adds to Gymnasium's."""
    compiler = FAMILIES[env_id].compile_own_scene
    return compiler.__func__ is TaskVectorEnv.compile_own_scene.__func__


@pytest.mark.parametrize("env_id", [*filter(has_its_scene_as_a_file, FAMILIES)])
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


def has_its_scene_as_a_file(env_id):
    """Whether the family compiles its file as it is; HalfCheetah adds to Gymnasium's."""
    compiler = FAMILIES[env_id].compile_own_scene
    return compiler.__func__ is TaskVectorEnv.compile_own_scene.__func__


@pytest.mark.parametrize("env_id", [*filter(has_its_scene_as_a_file, FAMILIES)])
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
