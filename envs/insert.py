"""Insert: put a peg into a hole that lies off its place on the drawing.

The arm carries out the insertion as drawn; the policy corrects the velocity of the peg's set-point.
The fixture was set up carelessly: its hole lies off the drawing and leans, always the same way in
one task, and it may be tight or rough.  A wrist sensor feels the contact, but beside the hole it
feels a flat plate, and an episode leaves no time to search: the place of the hole must be known
from adaptation episodes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from metarobot.envs.disturbances import keys_of, normals
from metarobot.envs.family import ObservationElement
from metarobot.envs.physics import set_body_lean, set_body_position, set_sliding_friction
from metarobot.envs.tasks import TaskDistribution, TaskParameter, Tasks
from metarobot.envs.vector_env import TaskVectorEnv

WALLS = {"wall_front": (0, 1), "wall_back": (0, -1), "wall_left": (1, 1), "wall_right": (1, -1)}
"""Walls of the hole: axis of the fixture, and side, on which each stands."""
FIXTURE = (*WALLS, "seat")
"""Geoms that the peg can touch."""
WALL_HALF_WIDTH_M = 0.03
PEG_RADIUS_M = 0.008
DRAWN_MOUTH_M = np.array([0.5, 0.0, 0.06])
"""Middle of the hole's mouth on the drawing, in the base frame."""
HOLE_DEPTH_M = 0.025
"""Depth of the seat, at the bottom of the hole."""

FEED_M_PER_S = 0.06
"""Speed of the set-point down the drawn path, and the speed that an action of 1 adds to it."""
FEED_STEPS = 13
"""Control steps of the drawn path; the rest of the episode waits."""
LATERAL_M_PER_S = 0.05
"""Velocity of the set-point along x or y at an action of 1."""
LEAN_RAD_PER_S = 0.4
"""Angular velocity of the peg's commanded lean at an action of 1."""
MAX_LEAD_M = 0.03
"""The set-point runs at most this far ahead of the peg's tip, along each axis."""
START_SPREAD_RAD = 0.005
"""Greatest initial offset of each joint from its home: the arm has just arrived."""

FORCE_LIMIT_N = 25.0
"""Contact force that the part bears undamaged, as a mean over a control step."""
COSTLY_FORCE_N = 15.0
"""Greatest contact force that costs nothing.  The cost grows up to the limit: there the part is
damaged, and the return must show by how much the peg misses the hole."""
FORCE_NOISE_N = 0.3
"""Standard deviation of the wrist sensor's noise, along each axis."""

MISS_SCALE_M = 0.015
"""Distance between the peg's tip and the seat that costs 1; the cost grows with the square."""
LOST_M = 0.04
"""Distance at which a peg counts as lost; the cost stays constant beyond."""
SEATED_TOLERANCE_M = 0.003

SOUND_RGBA = np.array([0.95, 0.35, 0.15, 1.0])
OVERLOADED_RGBA = np.array([0.45, 0.02, 0.10, 1.0])
"""Colour of the peg before and after the force limit is exceeded, in pictures only."""

DISTRIBUTION = TaskDistribution(
    (
        *(
            TaskParameter(
                name=f"offset_{axis}_m",
                unit="m",
                description=f"hole off the drawing, {way}",
                nominal=0.0,
                train=(-0.014, 0.014),
                gaps=((-0.009, -0.005), (0.005, 0.009)),
                extrapolation=((-0.018, -0.014), (0.014, 0.018)),
                allowed=(-0.03, 0.03),
            )
            for axis, way in (("x", "forwards"), ("y", "sideways"))
        ),
        TaskParameter(
            name="lean_rad",
            unit="rad",
            description="lean of the hole, forwards",
            nominal=0.0,
            train=(-0.12, 0.12),
            gaps=((-0.08, -0.04), (0.04, 0.08)),
            extrapolation=((-0.155, -0.12), (0.12, 0.155)),
            allowed=(-0.3, 0.3),
        ),
        TaskParameter(
            name="clearance_m",
            unit="m",
            description="clearance between peg and hole, on each side",
            nominal=0.001,
            train=(0.0006, 0.0016),
            gaps=((0.0011, 0.00135),),
            extrapolation=((0.00052, 0.0006), (0.0016, 0.00185)),
            allowed=(0.0001, 0.005),
            log_uniform=True,
        ),
        TaskParameter(
            name="hole_friction",
            unit="1",
            description="friction between peg and fixture",
            nominal=0.2,
            train=(0.1, 0.4),
            gaps=((0.13, 0.16), (0.25, 0.3)),
            extrapolation=((0.08, 0.1), (0.4, 0.5)),
            allowed=(0.03, 1.0),
            log_uniform=True,
        ),
    )
)

_FORCE_NOISE = 4  # stream of random numbers; those up to 3 are the disturbances'
_AXES = np.arange(3)


class InsertVectorEnv(TaskVectorEnv):
    """The Insert family as one batch.

    Action: 4 elements, corrections of the drawn insertion: the velocity of the peg's set-point
    along x, y and down, 0.05, 0.05 and 0.06 m/s at 1, and the angular velocity of its lean, 0.4
    rad/s at 1.  On the drawn path the set-point goes down at 0.06 m/s, upright.

    Reward, in the last control step: minus the squares of the distance between the peg's tip and
    the seat, in units of 15 mm, and of the excess of the greatest contact force, counted up to
    25 N, over 15 N, in units of 25 N.

    Success: the tip ends within 3 mm of the seat, and the contact force never exceeded 25 N.

    Observation:

    {observation_table}
    """

    family = "Insert"
    scene_path = Path(__file__).parent / "insert.xml"
    distribution = DISTRIBUTION
    push_body = "end_effector"
    heat_map_axes = ("offset_x_m", "offset_y_m")
    observation_elements = (
        ObservationElement("share of the episode elapsed", "1", 0.0, 1.0, "control steps / T"),
        ObservationElement("set-point - drawn mouth, x", "m", -0.045, 0.045, "set-point"),
        ObservationElement("set-point - drawn mouth, y", "m", -0.045, 0.045, "set-point"),
        ObservationElement("set-point - drawn mouth, z", "m", -0.06, 0.02, "set-point"),
        ObservationElement("tip - set-point, x", "m", -0.03, 0.03, "tool_position"),
        ObservationElement("tip - set-point, y", "m", -0.03, 0.03, "tool_position"),
        ObservationElement("tip - set-point, z", "m", -0.03, 0.03, "tool_position"),
        ObservationElement("lean commanded", "rad", -0.3, 0.3, "set-point"),
        ObservationElement("lean - lean commanded", "rad", -0.1, 0.1, "tool_lean"),
        ObservationElement("contact force, x", "N", -40.0, 40.0, "contact_force, noisy"),
        ObservationElement("contact force, y", "N", -40.0, 40.0, "contact_force, noisy"),
        ObservationElement("contact force, z", "N", -10.0, 60.0, "contact_force, noisy"),
    )
    action_elements = (
        "set-point velocity x",
        "set-point velocity y",
        "set-point velocity down",
        "angular velocity of the lean",
    )
    default_horizon = FEED_STEPS + 3
    timestep_s = 0.004
    substeps = 13
    contact_force_m_per_n = 0.002  # a peg that jams is pressed with up to 100 N
    start_size = 7

    def _bind(self) -> None:
        self._lean = self.model.actuator("ry").id
        self._tip = self._sensor("tool_position")
        self._tool_lean = self._sensor("tool_lean")[:, 0]
        self._force_samples = self._bind_force_samples()
        self._noise_keys = np.zeros(self.num_envs, np.uint64)
        self._seat = np.zeros((self.num_envs, 3))  # m, in the base frame
        self._greatest_force_n = np.zeros(self.num_envs)  # in this episode

    def _bind_force_samples(self) -> np.ndarray:
        """Return a live view of the force sensor's ring buffer, (num_envs, 3 * samples).

        It holds the forces of the last control step, in any order; in front of them stand MuJoCo's
        two numbers of its own, and the time of each sample.
        """
        sensor = self.model.sensor("contact_force").id
        samples = self.model.sensor_history[sensor, 0]
        first = self.model.sensor_historyadr[sensor] + 2 + samples
        return self.batch.bind("history")[:, first : first + 3 * samples]

    def _apply_tasks(self, tasks: Tasks) -> None:
        x, y, z = DRAWN_MOUTH_M
        set_body_position(self.batch, "fixture", 0, x + tasks["offset_x_m"])
        set_body_position(self.batch, "fixture", 1, y + tasks["offset_y_m"])
        set_body_lean(self.batch, "fixture", tasks["lean_rad"])
        middle_m = PEG_RADIUS_M + tasks["clearance_m"] + WALL_HALF_WIDTH_M
        for wall, (axis, side) in WALLS.items():
            set_body_position(self.batch, wall, axis, side * middle_m)
        set_sliding_friction(self.batch, FIXTURE, tasks["hole_friction"])
        self._seat[:, 0] = x + tasks["offset_x_m"] - HOLE_DEPTH_M * np.sin(tasks["lean_rad"])
        self._seat[:, 1] = y + tasks["offset_y_m"]
        self._seat[:, 2] = z - HOLE_DEPTH_M * np.cos(tasks["lean_rad"])

    def _start(self, ids: np.ndarray, start: np.ndarray) -> None:
        """Draw a posture near home; the set-point begins on the drawn path."""
        self._qpos[ids] += (2 * start - 1) * START_SPREAD_RAD
        self._noise_keys[ids] = keys_of(start)
        self._greatest_force_n[ids] = 0.0

    def _command(self, actions: np.ndarray) -> None:
        """Add the corrections to the drawn path."""
        feeding = self._elapsed < FEED_STEPS
        self._ctrl[:, :2] = LATERAL_M_PER_S * actions[:, :2]
        self._ctrl[:, 2] = -FEED_M_PER_S * (feeding + actions[:, 2])
        # The drives' y axis points the other way: "base_down" in arm.xml.
        self._ctrl[:, self._lean] -= actions[:, 3] * LEAN_RAD_PER_S * self.control_dt_s
        self._act[:] = np.clip(self._act, self._tip - MAX_LEAD_M, self._tip + MAX_LEAD_M)

    def _observe(self) -> np.ndarray:
        noise = normals(self._noise_keys, self._elapsed, _FORCE_NOISE, _AXES)
        leans = np.stack([self._ctrl[:, self._lean], self._tool_lean], axis=1)
        return np.concatenate(
            [
                self._elapsed[:, None] / self.horizon,
                self._act - DRAWN_MOUTH_M,
                self._tip - self._act,
                -leans[:, :1],
                leans[:, :1] - leans[:, 1:],
                self._contact_force() + FORCE_NOISE_N * noise,
            ],
            axis=1,
        )

    def _evaluate(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        felt_n = np.linalg.norm(self._contact_force(), axis=1)
        self._greatest_force_n = np.maximum(self._greatest_force_n, felt_n)
        miss_m = np.linalg.norm(self._tip - self._seat, axis=1)
        ended = self._elapsed >= self.horizon
        force_n = np.clip(self._greatest_force_n, COSTLY_FORCE_N, FORCE_LIMIT_N)
        cost = (np.minimum(miss_m, LOST_M) / MISS_SCALE_M) ** 2
        cost += ((force_n - COSTLY_FORCE_N) / FORCE_LIMIT_N) ** 2
        success = (miss_m < SEATED_TOLERANCE_M) & ~self._overloaded()
        return np.where(ended, -cost, 0.0), ended & success

    def outcome_words(self, sim: int, success: bool) -> str:
        """Return how far the peg is from its seat, or that it was pushed too hard."""
        if success:
            return "peg in the hole"
        if self._overloaded()[sim]:
            return f"peg pushed with {self._greatest_force_n[sim]:.0f} N"
        miss_m = np.linalg.norm(self._tip[sim] - self._seat[sim])
        return f"peg {1000 * miss_m:.0f} mm from its seat"

    def _contact_force(self) -> np.ndarray:
        """Return the force on the peg in N, averaged over the last control step, (num_envs, 3)."""
        return -self._force_samples.reshape(self.num_envs, -1, 3).mean(axis=1)

    def _overloaded(self) -> np.ndarray:
        """Return whether the greatest force has exceeded the limit, (num_envs,) bool."""
        return self._greatest_force_n > FORCE_LIMIT_N

    def _paint(self, sim: int, model: Any) -> None:
        """Darken the peg where the force limit has been exceeded."""
        model.geom("peg").rgba = OVERLOADED_RGBA if self._overloaded()[sim] else SOUND_RGBA
