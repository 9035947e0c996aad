"""Slide: strike a puck so that it slides on and stops at a target beyond the arm's reach.

The arm pushes the puck along a fixed path and lets it go; the policy commands the speed.  The
friction of the table decides how far the puck slides, and its mass also affects the speed at which
it leaves.  Neither can be felt before the puck is gone: the speed must be chosen for a table that
the policy knows only from its adaptation episodes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from metarobot.envs.family import ActionScale, ObservationElement
from metarobot.envs.physics import set_body_mass, set_sliding_friction
from metarobot.envs.tasks import TaskDistribution, TaskParameter, Tasks
from metarobot.envs.vector_env import TaskVectorEnv

FEET = ("foot1", "foot2", "foot3")

SPEED_MIN_M_PER_S, SPEED_MAX_M_PER_S = 1.0, 3.4
"""Speed of the paddle at the end of the run-up at action -1 and +1; logarithmic in between."""
SPEED = ActionScale("paddle's speed", "m/s", SPEED_MIN_M_PER_S, SPEED_MAX_M_PER_S, log=True)

GOAL_DISTANCE_M = (0.50, 0.65)
"""Distance of the goal from the puck's place at the start, drawn uniformly."""
START_SPREAD_M = 0.004
"""Greatest initial offset of the puck along the lane."""
MISS_RATIO = 1.5
"""Distance gone over the distance wanted, or the reverse, that costs 1."""
LOST_RATIO = 4.0
"""Ratio beyond which the cost stays constant."""
GOAL_TOLERANCE_M = 0.05

DISTRIBUTION = TaskDistribution(
    (
        TaskParameter(
            name="puck_mass_kg",
            unit="kg",
            description="puck mass",
            nominal=0.6,
            train=(0.2, 2.0),
            gaps=((0.35, 0.5), (1.0, 1.3)),
            extrapolation=((0.12, 0.2), (2.0, 3.0)),
            allowed=(0.02, 5.0),
            log_uniform=True,
        ),
        TaskParameter(
            name="table_friction",
            unit="1",
            description="friction between puck and table",
            nominal=0.15,
            train=(0.07, 0.35),
            gaps=((0.09, 0.11), (0.22, 0.27)),
            extrapolation=((0.055, 0.07), (0.35, 0.45)),
            allowed=(0.02, 1.0),
            log_uniform=True,
        ),
    )
)


def miss_cost(gone_m: np.ndarray, wanted_m: np.ndarray) -> np.ndarray:
    """Return the squared logarithm, to base MISS_RATIO, of the distance gone over that wanted."""
    ratio = np.clip(gone_m / wanted_m, 1 / LOST_RATIO, LOST_RATIO)
    return (np.log(ratio) / np.log(MISS_RATIO)) ** 2


class SlideVectorEnv(TaskVectorEnv):
    """The Slide family as one batch.

    Action: 1 element, the logarithm of the speed that the paddle is to reach, 1 m/s at -1 to
    3.4 m/s at +1.  The paddle's set-point follows a ramp up to it.

    Reward, in the last control step, which waits until the puck has come to rest: minus the square
    of the logarithm, to base 1.5, of the distance gone over the distance wanted.

    Success: the puck comes to rest within 5 cm of the goal.

    Observation:

    {observation_table}
    """

    family = "Slide"
    scene_path = Path(__file__).parent / "slide.xml"
    distribution = DISTRIBUTION
    push_body = "puck"
    heat_map_axes = ("puck_mass_kg", "table_friction")
    observation_elements = (
        ObservationElement("share of the episode elapsed", "1", 0.0, 1.0, "control steps / T"),
        ObservationElement("goal - start of the puck, x", "m", 0.45, 0.70, "goal, puck"),
        ObservationElement("speed commanded last, as an action", "1", -1.0, 1.0, "last action"),
    )
    action_elements = ("logarithm of the paddle's speed",)
    action_scales = (SPEED,)
    default_horizon = 8
    timestep_s = 0.004
    substeps = 10
    contact_force_m_per_n = 0.04  # a few newtons, seen from afar
    settle_steps = 30
    start_size = 2

    def _bind(self) -> None:
        self._goal = self.batch.bind("mocap_pos")[:, 0]
        self._x = self.model.actuator("x").id
        self._puck = self.model.joint("puck").qposadr[0]
        self._puck_x = self._sensor("puck_position")[:, 0]
        self._start_x = np.zeros(self.num_envs)  # m, of the puck
        self._last_action = np.full(self.num_envs, -1.0)

    def _apply_tasks(self, tasks: Tasks) -> None:
        set_body_mass(self.batch, "puck", tasks["puck_mass_kg"])
        set_sliding_friction(self.batch, FEET, tasks["table_friction"])

    def _start(self, ids: np.ndarray, start: np.ndarray) -> None:
        """Place the puck just before the paddle, and the goal down the lane."""
        self._qpos[ids, self._puck] += start[:, 0] * START_SPREAD_M
        self._start_x[ids] = self._qpos[ids, self._puck]
        near, far = GOAL_DISTANCE_M
        self._goal[ids, 0] = self._start_x[ids] + near + (far - near) * start[:, 1]
        self._last_action[ids] = -1.0

    def _command(self, actions: np.ndarray) -> None:
        """Let the set-point's speed rise step by step, and stop it when the run-up is over."""
        run_up = self.horizon - 1
        share = np.where(self._elapsed < run_up, (self._elapsed + 1) / run_up, 0.0)
        self._ctrl[:, self._x] = share * SPEED.value(actions[:, 0])
        self._last_action = actions[:, 0]

    def _observe(self) -> np.ndarray:
        distance_m = self._goal[:, 0] - self._start_x
        return np.stack([self._elapsed / self.horizon, distance_m, self._last_action], axis=1)

    def _evaluate(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        gone_m = self._puck_x - self._start_x
        wanted_m = self._goal[:, 0] - self._start_x
        at_rest = self._elapsed >= self.horizon
        rewards = np.where(at_rest, -miss_cost(gone_m, wanted_m), 0.0)
        return rewards, at_rest & (np.abs(gone_m - wanted_m) < GOAL_TOLERANCE_M)

    def outcome_words(self, sim: int, success: bool) -> str:
        """Return how far from the goal the puck has come to rest."""
        past_m = self._puck_x[sim] - self._goal[sim, 0]
        if success:
            return "puck at the goal"
        return f"puck {100 * abs(past_m):.0f} cm {'too far' if past_m > 0 else 'short'}"
