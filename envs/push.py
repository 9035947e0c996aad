"""Push: push a box to a goal, seen only before it is touched.

The arm pushes with a round tip along a fixed path; the policy commands the speed and the contact
point on the box's back.  A box with its load off the centre turns away unless it is pushed along
its centre of mass, and the friction decides how far it slides on when the tip stops.  The camera
sees the box only at the start of an episode: the push must suit a box known only from adaptation
episodes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from metarobot.envs.family import ActionScale, ObservationElement
from metarobot.envs.physics import set_body_mass, set_body_position, set_sliding_friction
from metarobot.envs.tasks import TaskDistribution, TaskParameter, Tasks
from metarobot.envs.vector_env import TaskVectorEnv

SPEED_MIN_M_PER_S, SPEED_MAX_M_PER_S = 0.5, 1.7
"""Greatest speed of the tip at action -1 and +1; logarithmic in between."""
SPEED = ActionScale("tip's speed", "m/s", SPEED_MIN_M_PER_S, SPEED_MAX_M_PER_S, log=True)
CONTACT_MAX_M = 0.036
"""Distance of the tip from the path's line at an action of 1."""
AIM_SPEED_M_PER_S = 0.4
"""Speed at which the tip moves sideways to the commanded contact point."""
AIM_STEPS = 3
"""Control steps in which the tip takes aim before it sets out."""
PUSH_STEPS = 8
"""Control steps of the push itself."""

GOAL_DISTANCE_M = (0.26, 0.32)
"""Distance of the goal from the box's place at home, drawn uniformly."""
START_SPREAD_M = 0.008
"""Greatest initial offset of the box along each axis."""
START_YAW_RAD = 0.08
LOAD_SHARE = 0.6
"""Share of the mass that lies off the centre."""

MISS_SCALE_M, YAW_SCALE_RAD = 0.15, 0.8
"""Distance from the goal, and turn, that cost 1 each; both costs grow with the square."""
LOST_M, LOST_RAD = 0.4, 2.0
"""Distance and turn at which a box counts as lost; the cost stays constant beyond."""
GOAL_TOLERANCE_M, YAW_TOLERANCE_RAD = 0.04, 0.35

DISTRIBUTION = TaskDistribution(
    (
        TaskParameter(
            name="box_mass_kg",
            unit="kg",
            description="box mass",
            nominal=1.0,
            train=(0.4, 2.5),
            gaps=((0.65, 0.85), (1.3, 1.6)),
            extrapolation=((0.25, 0.4), (2.5, 3.5)),
            allowed=(0.05, 6.0),
            log_uniform=True,
        ),
        TaskParameter(
            name="box_friction",
            unit="1",
            description="friction between box and table",
            nominal=0.2,
            train=(0.1, 0.4),
            gaps=((0.13, 0.16), (0.25, 0.3)),
            extrapolation=((0.08, 0.1), (0.4, 0.5)),
            allowed=(0.03, 1.0),
            log_uniform=True,
        ),
        TaskParameter(
            name="load_offset_m",
            unit="m",
            description="centre of mass off the box's middle, sideways",
            nominal=0.0,
            train=(-0.025, 0.025),
            gaps=((-0.015, -0.01), (0.01, 0.015)),
            extrapolation=((-0.031, -0.025), (0.025, 0.031)),
            allowed=(-0.04, 0.04),
        ),
    )
)

_SHARES = np.sin(np.pi * (np.arange(PUSH_STEPS) + 1) / (PUSH_STEPS + 1))
"""Speed of the push over its greatest speed, control step by control step."""


class PushVectorEnv(TaskVectorEnv):
    """The Push family as one batch.

    Action: 2 elements, the logarithm of the tip's greatest speed, 0.5 m/s at -1 to 1.7 m/s at +1,
    and its distance sideways from the path's line, 3.6 cm at 1.

    Reward, in the last control step, which waits until the box has come to rest: minus the squares
    of the distance between box and goal, in units of 0.15 m, and of the turn, in units of 0.8 rad.

    Success: the box comes to rest within 4 cm of the goal, turned by less than 0.35 rad.

    Observation:

    {observation_table}

    Args:
        look_every_steps: Control steps between two looks at the box; 0 for one look, when the
            episode begins.
        **kwargs: As for :class:`TaskVectorEnv`.
    """

    family = "Push"
    scene_path = Path(__file__).parent / "push.xml"
    distribution = DISTRIBUTION
    push_body = "box"
    heat_map_axes = ("load_offset_m", "box_friction")
    observation_elements = (
        ObservationElement("share of the episode elapsed", "1", 0.0, 1.0, "control steps / T"),
        ObservationElement("goal - box as last seen, x", "m", 0.2, 0.36, "goal, box"),
        ObservationElement("box as last seen, y", "m", -0.02, 0.02, "box"),
        ObservationElement("box as last seen, yaw", "rad", -0.2, 0.2, "box"),
        ObservationElement("speed commanded last, as an action", "1", -1.0, 1.0, "last action"),
        ObservationElement("aim commanded last, as an action", "1", -1.0, 1.0, "last action"),
    )
    action_elements = ("logarithm of the tip's speed", "sideways distance of the tip")
    action_scales = (
        SPEED,
        ActionScale("sideways distance of the tip", "m", -CONTACT_MAX_M, CONTACT_MAX_M),
    )
    default_horizon = AIM_STEPS + PUSH_STEPS + 1
    timestep_s = 0.004
    substeps = 10
    settle_steps = 15
    start_size = 4

    def __init__(self, num_envs: int = 1, *, look_every_steps: int = 0, **kwargs: Any) -> None:
        if look_every_steps < 0:
            raise ValueError(f"look_every_steps must be at least 0, got {look_every_steps}")
        self._look_every_steps = look_every_steps
        super().__init__(num_envs, **kwargs)

    def _bind(self) -> None:
        self._goal = self.batch.bind("mocap_pos")[:, 0]
        box = self.model.joint("box").qposadr[0]
        self._place, self._turn = slice(box, box + 2), slice(box + 3, box + 7)
        self._seen = np.zeros((self.num_envs, 3))  # x (m), y (m), yaw (rad) of the box
        self._last_action = np.zeros((self.num_envs, 2))

    def _apply_tasks(self, tasks: Tasks) -> None:
        mass_kg = tasks["box_mass_kg"]
        set_body_mass(self.batch, "box", (1 - LOAD_SHARE) * mass_kg)
        set_body_mass(self.batch, "load", LOAD_SHARE * mass_kg)
        set_body_position(self.batch, "load", 1, tasks["load_offset_m"] / LOAD_SHARE)
        set_sliding_friction(self.batch, ("box",), tasks["box_friction"])

    def _start(self, ids: np.ndarray, start: np.ndarray) -> None:
        """Place the box, slightly off and turned, and the goal ahead of the box's home."""
        home = self._qpos[ids, self._place]
        near, far = GOAL_DISTANCE_M
        self._goal[ids, 0] = home[:, 0] + near + (far - near) * start[:, 3]
        self._qpos[ids, self._place] = home + (2 * start[:, :2] - 1) * START_SPREAD_M
        half_yaw = (2 * start[:, 2] - 1) * START_YAW_RAD / 2
        self._qpos[ids[:, None], np.arange(self._turn.start, self._turn.stop)] = np.stack(
            [np.cos(half_yaw), 0 * half_yaw, 0 * half_yaw, np.sin(half_yaw)], axis=1
        )
        self._last_action[ids] = 0.0
        self._seen[ids] = self._box_pose()[ids]

    def _command(self, actions: np.ndarray) -> None:
        """Take aim, then push: a swing of the tip's speed along x, at the commanded y."""
        step = self._elapsed - AIM_STEPS
        pushing = (step >= 0) & (step < PUSH_STEPS)
        share = np.where(pushing, _SHARES[np.clip(step, 0, PUSH_STEPS - 1)], 0.0)
        self._ctrl[:, 0] = share * SPEED.value(actions[:, 0])
        aside_m = actions[:, 1] * CONTACT_MAX_M - self._act[:, 1]
        self._ctrl[:, 1] = np.clip(
            aside_m / self.control_dt_s, -AIM_SPEED_M_PER_S, AIM_SPEED_M_PER_S
        )
        self._last_action = actions

    def _observe(self) -> np.ndarray:
        if self._look_every_steps:
            looking = self._elapsed % self._look_every_steps == 0
            self._seen[looking] = self._box_pose()[looking]
        x, y, yaw = self._seen.T
        scene = np.stack([self._elapsed / self.horizon, self._goal[:, 0] - x, y, yaw], axis=1)
        return np.concatenate([scene, self._last_action], axis=1)

    def _evaluate(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y, yaw = self._box_pose().T
        miss_m, turn_rad = np.hypot(x - self._goal[:, 0], y - self._goal[:, 1]), np.abs(yaw)
        at_rest = self._elapsed >= self.horizon
        cost = (np.minimum(miss_m, LOST_M) / MISS_SCALE_M) ** 2
        cost += (np.minimum(turn_rad, LOST_RAD) / YAW_SCALE_RAD) ** 2
        success = (miss_m < GOAL_TOLERANCE_M) & (turn_rad < YAW_TOLERANCE_RAD)
        return np.where(at_rest, -cost, 0.0), at_rest & success

    def outcome_words(self, sim: int, success: bool) -> str:
        """Return how far the box is from its goal, or how far it has turned."""
        x, y, yaw = self._box_pose()[sim]
        miss_m = np.hypot(x - self._goal[sim, 0], y - self._goal[sim, 1])
        if success:
            return "box at the goal"
        if miss_m < GOAL_TOLERANCE_M:
            return f"box turned by {np.degrees(abs(yaw)):.0f}°"
        return f"box {100 * miss_m:.0f} cm off"

    def _box_pose(self) -> np.ndarray:
        """Return x (m), y (m) and yaw (rad) of every box, (num_envs, 3)."""
        w, _, _, z = self._qpos[:, self._turn].T
        yaw = 2 * np.arctan2(z, w)
        return np.concatenate([self._qpos[:, self._place], yaw[:, None]], axis=1)
