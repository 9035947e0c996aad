"""Pictures: their size, contact forces as arrows, as long as the family says; and a window."""

from contextlib import nullcontext

import gymnasium as gym
import mujoco
import numpy as np
import pytest

from metarobot.envs import make_env
from metarobot.envs.renderer import Pictures
from metarobot.machine import OpenGLError

CHEETAH = "metarobot/HalfCheetahVelocity-v0"
ARROWS = (mujoco.mjtGeom.mjGEOM_ARROW, mujoco.mjtGeom.mjGEOM_ARROW2)


def standing(pictures):
    """A robot that stands on the ground; before its first step it hangs just above."""
    env = make_env(CHEETAH, 1, num_threads=1, render_mode="rgb_array")
    env.pictures = pictures
    env.reset(seed=0)
    for _ in range(40):
        env.step(np.zeros((1, 6)))
    return env


def lengths_of_arrows(env):
    scene = env._renderer._renderer.scene
    return sorted(g.size[2] for g in scene.geoms[: scene.ngeom] if g.type in ARROWS)


def forces_n(env):
    renderer, force, found = env._renderer, np.zeros(6), []
    for contact in range(renderer._data.ncon):
        mujoco.mj_contactForce(renderer._model, renderer._data, contact, force)
        found.append(np.linalg.norm(force[:3]))
    return sorted(found)


def test_arrows_are_as_long_as_the_forces_and_change_the_picture_where_the_contacts_are(opengl):
    small = {"width_px": 160, "height_px": 120}
    env = standing(Pictures(contact_forces=True, **small))
    (picture,) = env.render()
    forces = forces_n(env)
    assert len(forces) >= 2
    assert lengths_of_arrows(env) == pytest.approx(
        [force * env.contact_force_m_per_n for force in forces], rel=1e-4
    )
    reddish = picture[..., 0] > picture[..., 1] + 25.0
    assert reddish.any()  # nothing else in the scene is red
    plain = standing(Pictures(**small))
    (without,) = plain.render()
    assert picture.shape == without.shape == (120, 160, 3)
    assert not (without[..., 0] > without[..., 1] + 25.0).any()
    assert lengths_of_arrows(plain) == []
    # Feet stand in the lower half; the sky above them is as it was.
    assert np.flatnonzero(reddish.any(axis=1)).min() > 40
    np.testing.assert_array_equal(picture[:10], without[:10])
    env.close()
    plain.close()


class FakeViewer:
    """MuJoCo's viewer without a window: notes the states that it is to show."""

    def __init__(self, model, data, **options):
        self.model, self.data, self.cam = model, data, mujoco.MjvCamera()
        self.shown, self.open = [], True

    def lock(self):
        return nullcontext()

    def is_running(self):
        return self.open

    def sync(self):
        self.shown.append(self.data.qpos.copy())

    def close(self):
        self.open = False


@pytest.fixture
def viewers(monkeypatch):
    """The viewers that are opened, on a display that is not there."""
    opened = []
    monkeypatch.setattr("glfw.init", lambda: True)
    monkeypatch.setattr(
        "mujoco.viewer.launch_passive",
        lambda *args, **options: opened.append(FakeViewer(*args, **options)) or opened[-1],
    )
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return opened


@pytest.mark.parametrize("env_id", ["metarobot/Grip-v0", CHEETAH])
def test_a_window_shows_every_control_step(env_id, viewers):
    env = gym.make(env_id, render_mode="human")
    assert viewers == []
    env.reset(seed=0)
    (viewer,) = viewers
    batch = env.unwrapped.vector_env.batch
    for number in range(1, 4):
        assert len(viewer.shown) == number
        np.testing.assert_array_equal(viewer.shown[-1], batch.bind("qpos")[0])
        env.step(env.action_space.sample())
    viewer.open = False  # its user closes it
    env.step(env.action_space.sample())
    assert len(viewer.shown) == 4
    env.close()


def test_a_window_begins_where_films_are_taken_from(viewers):
    env = gym.make("metarobot/Slide-v0", render_mode="human")
    env.reset(seed=0)
    view, camera = viewers[0].cam, viewers[0].data.camera("video")
    turn, tilt = np.radians([view.azimuth, view.elevation])
    ahead = np.array([np.cos(tilt) * np.cos(turn), np.cos(tilt) * np.sin(turn), np.sin(tilt)])
    np.testing.assert_allclose(view.lookat - view.distance * ahead, camera.xpos, atol=1e-9)
    np.testing.assert_allclose(ahead, -camera.xmat.reshape(3, 3)[:, 2], atol=1e-9)
    env.close()


def test_without_a_display_a_window_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr("glfw.init", lambda: False)
    env = gym.make("metarobot/Grip-v0", render_mode="human")
    with pytest.raises(OpenGLError, match=r"no display\): use render_mode='rgb_array'") as error:
        env.reset(seed=0)
    assert "\n" not in str(error.value)
    env.close()
