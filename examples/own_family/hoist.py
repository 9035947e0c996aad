"""Hoist: hold an unknown payload level with a drive of unknown strength.

A lever must stay horizontal. The policy sees no angle: it commands a torque, and only the reward
says whether that was too little or too much. So one torque for all payloads fails, and a few
episodes with a payload tell which torque it takes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from metarobot.config import RunConfig
from metarobot.envs import (
    ObservationElement,
    TaskDistribution,
    TaskParameter,
    Tasks,
    TaskVectorEnv,
    register_family,
)
from metarobot.envs.physics import set_body_mass, set_drive_strength

MAX_TORQUE_NM = 10.0
"""Torque that is asked for at an action of 1; none at -1."""
START_SPREAD_RAD = 0.05
"""Greatest initial angle."""
ERROR_SCALE_RAD = 0.3
"""Angle that costs a return of 1."""
LEVEL_RAD = 0.05
"""Success needs a smaller angle at the end."""

DISTRIBUTION = TaskDistribution(
    (
        TaskParameter(
            name="payload_kg",
            unit="kg",
            description="mass of the payload",
            nominal=0.6,
            train=(0.2, 1.0),
            gaps=((0.3, 0.4), (0.8, 0.9)),
            extrapolation=((1.0, 1.2),),
            allowed=(0.01, 5.0),
        ),
        TaskParameter(
            name="drive_strength",
            unit="1",
            description="share of the torque that the drive delivers",
            nominal=1.0,
            train=(0.8, 1.0),
            extrapolation=((0.7, 0.8),),
            allowed=(0.05, 2.0),
        ),
    )
)


class HoistVectorEnv(TaskVectorEnv):
    """The lever's family as one batch.

    Action: 1 element, the torque, 0 to 10 N m.

    Reward, per control step: minus the square of the angle in units of 0.3 rad, over T.

    Success: at the end the lever is level within 0.05 rad.

    Observation:

    {observation_table}
    """

    family = "Hoist"
    scene_path = Path(__file__).with_name("hoist.xml")
    elements_by_number = ()
    distribution = DISTRIBUTION
    heat_map_axes = ("payload_kg", "drive_strength")
    observation_elements = (
        ObservationElement("share of the episode elapsed", "1", 0.0, 1.0, "control steps / T"),
        ObservationElement("torque commanded last, as an action", "1", -1.0, 1.0, "last action"),
    )
    action_elements = ("torque",)
    default_horizon = 20
    timestep_s = 0.005
    substeps = 10
    start_size = 1

    def _bind(self) -> None:
        self._last_action = np.zeros(self.num_envs)

    def _apply_tasks(self, tasks: Tasks) -> None:
        set_body_mass(self.batch, "payload", tasks["payload_kg"])
        set_drive_strength(self.batch, ("drive",), tasks["drive_strength"])

    def _start(self, ids: np.ndarray, start: np.ndarray) -> None:
        self._qpos[ids] = START_SPREAD_RAD * (2 * start - 1)
        self._last_action[ids] = 0.0

    def _command(self, actions: np.ndarray) -> None:
        self._ctrl[:] = MAX_TORQUE_NM * (actions + 1) / 2
        self._last_action = actions[:, 0]

    def _observe(self) -> np.ndarray:
        return np.stack([self._elapsed / self.horizon, self._last_action], axis=1)

    def _evaluate(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        angle_rad = self._qpos[:, 0]
        return -((angle_rad / ERROR_SCALE_RAD) ** 2) / self.horizon, np.abs(angle_rad) < LEVEL_RAD


register_family(
    "own/Hoist-v0",
    HoistVectorEnv,
    RunConfig(
        env_id="own/Hoist-v0",
        total_steps=400_000,
        initial_std=0.3,
        discount=0.9,
        options={
            "inner_lr": 0.1,
            "inner_objective": "likelihood_ratio",
            "normalise_inner": False,
            "min_std": 0.1,
            "adaptation_min_std": 0.3,
            "max_kl": 0.02,
        },
    ),
)
