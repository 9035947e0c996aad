"""Pictures: their size, and contact forces as arrows, as long as the family says."""

import mujoco
import numpy as np
import pytest

from metarobot.envs import make_env
from metarobot.envs.renderer import Pictures

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
