"""HalfCheetah: run in an unknown direction, or at an unknown speed, as in the meta-RL literature.

The two tasks of the literature on a planar running robot of seven links; the model file is that of
Gymnasium.  The task is in the reward alone: nothing that is observed gives it
away, and a policy that never adapts can only stand still, or run at the middle of the speeds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from metarobot.envs.family import ObservationElement
from metarobot.envs.tasks import TaskDistribution, TaskParameter, Tasks
from metarobot.envs.vector_env import TaskVectorEnv
from metarobot.machine import import_mujoco

ACTION_COST = 0.05
"""Cost of a squared action in a control step, in m/s."""
START_SPREAD = 0.1
"""Greatest initial offset of each joint, in m or rad, and standard deviation of its velocity."""
MIN_SPEED_M_PER_S = 1.0
"""Success of HalfCheetahDirection: the mean speed over the episode in the task's direction."""
SPEED_TOLERANCE_M_PER_S = 0.2
"""Success of HalfCheetahVelocity: the mean error over the second half of the episode."""

SCENE_PATH = Path(gymnasium.__file__).parent / "envs/mujoco/assets/half_cheetah.xml"
JOINTS = {
    "bthigh": "back thigh",
    "bshin": "back shin",
    "bfoot": "back foot",
    "fthigh": "front thigh",
    "fshin": "front shin",
    "ffoot": "front foot",
}
"""Joints in the model's order, and the link that each moves."""

_mj = import_mujoco()
_TINY = 2.0**-25
"""Start uniforms keep this distance from 0 and 1, where a normal would be infinite."""

_BODY_RGBA, _FRONT_RGBA = [0.93, 0.94, 0.95, 1.0], [0.05, 0.55, 0.70, 1.0]

DIRECTION = TaskParameter(
    name="direction",
    unit="1",
    description="direction to run in",
    nominal=1.0,
    train=(-1.0, 1.0),
    choices=(-1.0, 1.0),
    allowed=(-1.0, 1.0),
)
GOAL_VELOCITY = TaskParameter(
    name="goal_velocity_m_per_s",
    unit="m/s",
    description="velocity to run at",
    nominal=1.0,
    train=(0.0, 2.0),
    extrapolation=((2.0, 3.0),),
    allowed=(-10.0, 10.0),
)


class HalfCheetahVectorEnv(TaskVectorEnv):
    """Base of both families: robot, initial state, observations and appearance."""

    scene_path = SCENE_PATH
    heat_map_axes = ()
    observation_elements = (
        ObservationElement("height of the torso over its start", "m", -0.6, 0.6, "joint rootz"),
        ObservationElement("pitch of the torso", "rad", -3.15, 3.15, "joint rooty"),
        *(
            ObservationElement(f"angle of the {link}", "rad", -1.2, 1.2, f"joint {joint}")
            for joint, link in JOINTS.items()
        ),
        ObservationElement("forward velocity", "m/s", -5.0, 5.0, "joint rootx"),
        ObservationElement("upward velocity", "m/s", -4.0, 4.0, "joint rootz"),
        ObservationElement("pitch rate", "rad/s", -8.0, 8.0, "joint rooty"),
        *(
            ObservationElement(f"rate of the {link}", "rad/s", -20.0, 20.0, f"joint {joint}")
            for joint, link in JOINTS.items()
        ),
    )
    action_elements = tuple(f"torque at the {link}" for link in JOINTS.values())
    default_horizon = 200
    timestep_s = 0.01
    substeps = 5
    contact_force_m_per_n = 0.003  # feet that carry 14 kg
    start_size = 18

    @classmethod
    def compile_own_scene(cls) -> Any:
        """Compile Gymnasium's file, with batch settings and the look of the other families."""
        spec = _mj.MjSpec.from_file(str(cls.scene_path))
        # A bad state must be seen and ended by the environment, not silently reset.
        spec.option.disableflags |= _mj.mjtDisableBit.mjDSBL_AUTORESET
        spec.nstack, spec.memory = -1, 1 << 19  # bytes; every simulation has its own
        spec.add_key(name="home")
        _decorate(spec)
        total_mass_kg, spec.compiler.settotalmass = spec.compiler.settotalmass, -1
        model = spec.compile()
        _mj.mj_setTotalmass(model, total_mass_kg)  # the compiler warns that it will cease to
        _mj.mj_setConst(model, _mj.MjData(model))
        return model

    def _bind(self) -> None:
        self._x_before = np.zeros(self.num_envs)

    def _start(self, ids: np.ndarray, start: np.ndarray) -> None:
        """Draw positions uniformly and velocities normally around rest, as Gymnasium does."""
        self._qpos[ids] += START_SPREAD * (2 * start[:, :9] - 1)
        from scipy.special import ndtri  # slow to import, see disturbances.py

        self._qvel[ids] = START_SPREAD * ndtri(np.clip(start[:, 9:], _TINY, 1 - _TINY))

    def _command(self, actions: np.ndarray) -> None:
        self._ctrl[:] = actions
        self._x_before = self._qpos[:, 0].copy()

    def _observe(self) -> np.ndarray:
        return np.concatenate([self._qpos[:, 1:], self._qvel], axis=1)

    def _velocity(self) -> np.ndarray:
        """Return the mean forward velocity of the last control step in m/s, (num_envs,)."""
        return (self._qpos[:, 0] - self._x_before) / self.control_dt_s


class HalfCheetahDirectionVectorEnv(HalfCheetahVectorEnv):
    """Run forward or backward, as one batch.

    Action: 6 elements, the torques of the joints over their greatest.

    Reward, per control step: the mean velocity in the direction of the task in m/s, minus
    ``ACTION_COST`` times the squared action.

    Success: the mean speed over the episode is above ``MIN_SPEED_M_PER_S``.

    Observation:

    {observation_table}
    """

    family = "HalfCheetahDirection"
    distribution = TaskDistribution((DIRECTION,))

    def _bind(self) -> None:
        super()._bind()
        self._distance = np.zeros(self.num_envs)  # m

    def _apply_tasks(self, tasks: Tasks) -> None:
        self._direction = tasks["direction"]

    def _start(self, ids: np.ndarray, start: np.ndarray) -> None:
        super()._start(ids, start)
        self._distance[ids] = 0.0

    def _evaluate(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        speed = self._direction * self._velocity()
        self._distance += speed * self.control_dt_s
        wanted_m = MIN_SPEED_M_PER_S * self.control_dt_s * self._elapsed
        return speed - ACTION_COST * (actions**2).sum(axis=1), self._distance > wanted_m

    def outcome_words(self, sim: int, success: bool) -> str:
        """Return the mean speed in the direction of the task."""
        speed_m_per_s = self._distance[sim] / (self._elapsed[sim] * self.control_dt_s)
        if not success and speed_m_per_s < 0:
            return "runs the wrong way"
        return f"runs at {speed_m_per_s:.1f} m/s{'' if success else ', too slow'}"


class HalfCheetahVelocityVectorEnv(HalfCheetahVectorEnv):
    """Run at a velocity, as one batch.

    Action: 6 elements, the torques of the joints over their greatest.

    Reward, per control step: minus the error of the mean velocity in m/s, minus ``ACTION_COST``
    times the squared action.

    Success: the mean error over the second half of the episode is below
    ``SPEED_TOLERANCE_M_PER_S``.

    Observation:

    {observation_table}
    """

    family = "HalfCheetahVelocity"
    distribution = TaskDistribution((GOAL_VELOCITY,))

    def _bind(self) -> None:
        super()._bind()
        self._late_error = np.zeros(self.num_envs)  # summed over the second half, m/s

    def _apply_tasks(self, tasks: Tasks) -> None:
        self._goal_velocity = tasks["goal_velocity_m_per_s"]

    def _start(self, ids: np.ndarray, start: np.ndarray) -> None:
        super()._start(ids, start)
        self._late_error[ids] = 0.0

    def _evaluate(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        error = np.abs(self._velocity() - self._goal_velocity)
        late_steps = self._elapsed - self.horizon // 2
        self._late_error += np.where(late_steps > 0, error, 0.0)
        success = (late_steps > 0) & (self._late_error < SPEED_TOLERANCE_M_PER_S * late_steps)
        return -error - ACTION_COST * (actions**2).sum(axis=1), success

    def outcome_words(self, sim: int, success: bool) -> str:
        """Return the mean error of the velocity over the second half of the episode."""
        late_steps = max(self._elapsed[sim] - self.horizon // 2, 1)
        return f"velocity {self._late_error[sim] / late_steps:.1f} m/s off"


def _decorate(spec: Any) -> None:
    """Draw the scene as the other families are drawn, from a camera that follows the robot."""
    spec.body("torso").add_camera(
        name="video",
        mode=_mj.mjtCamLight.mjCAMLIGHT_TRACKCOM,
        pos=[0.0, -3.4, 0.55],
        xyaxes=[1, 0, 0, 0, 0.16, 1],
        fovy=38,
    )
    sky, _, floor = spec.textures
    sky.rgb1, sky.rgb2, sky.height = [0.58, 0.66, 0.75], [0.96, 0.97, 0.98], 600
    floor.rgb1, floor.rgb2 = [0.88, 0.86, 0.82], [0.80, 0.78, 0.74]
    spec.material("MatPlane").reflectance = spec.material("MatPlane").specular = 0.0
    spec.geom("floor").rgba = [1.0, 1.0, 1.0, 1.0]
    for geom in spec.geoms:
        if geom.name != "floor":
            geom.rgba = _FRONT_RGBA if geom.name.startswith("f") else _BODY_RGBA
    (light,) = spec.lights
    light.pos, light.dir = [0.6, -0.8, 2.0], [-0.3, 0.4, -1.0]
    light.diffuse = [0.52, 0.50, 0.47]
    spec.visual.headlight.ambient = [0.44, 0.45, 0.46]
    spec.visual.headlight.diffuse = [0.18, 0.18, 0.18]
    spec.visual.rgba.haze = [0.77, 0.81, 0.85, 1.0]
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 960
    spec.visual.quality.shadowsize, spec.visual.quality.offsamples = 2048, 4
