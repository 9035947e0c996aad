"""Physical quantities of tasks, written into a batch's per-simulation model fields.

Each function scales from the model as compiled, never from what an earlier task left behind, so
that task A, then B, then A gives A's numbers again, bit for bit.  Callers run
``batch.set_const()`` once after all changes.
"""

from __future__ import annotations

import numpy as np
from mujoco.batch import Batch


def set_body_mass(batch: Batch, body: str, mass_kg: np.ndarray) -> None:
    """Set a body's mass, and its inertia in proportion, as for the same shape of another density.

    Args:
        batch: The simulations.
        body: Name of the body.
        mass_kg: Mass per simulation, (nsim,).
    """
    index = batch.model.body(body).id
    ratio = mass_kg / batch.model.body_mass[index]
    batch.expand("body_mass")[:, index] = mass_kg
    batch.expand("body_inertia")[:, index] = ratio[:, None] * batch.model.body_inertia[index]


def set_sliding_friction(batch: Batch, geoms: tuple[str, ...], friction: np.ndarray) -> None:
    """Set the sliding friction of geoms; torsional and rolling friction follow in proportion.

    The geoms must outrank what they touch (``priority``), else MuJoCo takes the larger friction
    of the two and the task would not be what it says.

    Args:
        batch: The simulations.
        geoms: Names of the geoms.
        friction: Coefficient of sliding friction per simulation, (nsim,).
    """
    for geom in geoms:
        index = batch.model.geom(geom).id
        nominal = batch.model.geom_friction[index]
        batch.expand("geom_friction")[:, index] = (friction / nominal[0])[:, None] * nominal


def set_joint_losses(
    batch: Batch, joints: tuple[str, ...], friction_nm: np.ndarray, damping_ratio: np.ndarray
) -> None:
    """Set the dry friction and scale the viscous damping of hinge joints.

    Args:
        batch: The simulations.
        joints: Names of the joints, J of them.
        friction_nm: Dry friction torque, (nsim, J).
        damping_ratio: Factor on the model's damping, (nsim,).
    """
    dofs = [batch.model.joint(joint).dofadr[0] for joint in joints]
    batch.expand("dof_frictionloss")[:, dofs] = friction_nm
    batch.expand("dof_damping")[:, dofs] = damping_ratio[:, None] * batch.model.dof_damping[dofs]


def set_drive_strength(batch: Batch, actuators: tuple[str, ...], strength: np.ndarray) -> None:
    """Let actuators deliver only a fraction of the force that they are asked for.

    Args:
        batch: The simulations.
        actuators: Names of the actuators.
        strength: Fraction of the nominal force per simulation, (nsim,).
    """
    indices = [batch.model.actuator(actuator).id for actuator in actuators]
    for field in ("actuator_gainprm", "actuator_biasprm"):
        nominal = getattr(batch.model, field)[indices]
        batch.expand(field)[:, indices] = strength[:, None, None] * nominal


def set_body_position(batch: Batch, body: str, axis: int, position_m: np.ndarray) -> None:
    """Move a body along one axis of its parent's frame.

    Args:
        batch: The simulations.
        body: Name of the body, which has no joint of its own.
        axis: 0, 1 or 2 for x, y or z.
        position_m: Coordinate per simulation, (nsim,).
    """
    batch.expand("body_pos")[:, batch.model.body(body).id, axis] = position_m


def set_body_lean(batch: Batch, body: str, lean_rad: np.ndarray) -> None:
    """Turn a body about the y axis of its parent's frame.

    Args:
        batch: The simulations.
        body: Name of the body, which has no joint of its own and is not turned as compiled.
        lean_rad: Angle per simulation, (nsim,).
    """
    zeros = np.zeros_like(lean_rad)
    turn = np.stack([np.cos(lean_rad / 2), zeros, np.sin(lean_rad / 2), zeros], axis=1)
    batch.expand("body_quat")[:, batch.model.body(body).id] = turn
