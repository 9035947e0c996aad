"""Physical quantities of tasks, written into a batch's per-simulation model fields.

Each function scales from the model as compiled, so that task A, then B, then A gives A's numbers
again, bit for bit.  Values are one a simulation, (nsim,).  Callers run ``batch.set_const()`` once
after all changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mujoco.batch import Batch


def set_body_mass(batch: Batch, body: str, mass_kg: np.ndarray) -> None:
    """Set a body's mass, and its inertia in proportion: the same shape of another density."""
    index = batch.model.body(body).id
    ratio = mass_kg / batch.model.body_mass[index]
    batch.expand("body_mass")[:, index] = mass_kg
    batch.expand("body_inertia")[:, index] = ratio[:, None] * batch.model.body_inertia[index]


def set_sliding_friction(batch: Batch, geoms: tuple[str, ...], friction: np.ndarray) -> None:
    """Set the sliding friction of geoms; torsional and rolling friction follow in proportion.

    The geoms need a higher ``priority`` than their contact partners; otherwise MuJoCo takes the
    larger friction of the two, and the task parameter would have no effect.
    """
    for geom in geoms:
        index = batch.model.geom(geom).id
        nominal = batch.model.geom_friction[index]
        batch.expand("geom_friction")[:, index] = (friction / nominal[0])[:, None] * nominal


def set_joint_losses(
    batch: Batch, joints: tuple[str, ...], friction_nm: np.ndarray, damping_ratio: np.ndarray
) -> None:
    """Set the dry friction (nsim, J) and scale the viscous damping (nsim,) of J hinge joints."""
    dofs = [batch.model.joint(joint).dofadr[0] for joint in joints]
    batch.expand("dof_frictionloss")[:, dofs] = friction_nm
    batch.expand("dof_damping")[:, dofs] = damping_ratio[:, None] * batch.model.dof_damping[dofs]


def set_drive_strength(batch: Batch, actuators: tuple[str, ...], strength: np.ndarray) -> None:
    """Let actuators deliver only a fraction of the commanded force."""
    indices = [batch.model.actuator(actuator).id for actuator in actuators]
    for field in ("actuator_gainprm", "actuator_biasprm"):
        nominal = getattr(batch.model, field)[indices]
        batch.expand(field)[:, indices] = strength[:, None, None] * nominal


def set_body_position(batch: Batch, body: str, axis: int, position_m: np.ndarray) -> None:
    """Move a body without a joint along one axis (0, 1, 2 for x, y, z) of its parent's frame."""
    batch.expand("body_pos")[:, batch.model.body(body).id, axis] = position_m


def set_body_lean(batch: Batch, body: str, lean_rad: np.ndarray) -> None:
    """Turn a body, without a joint and not turned as compiled, about its parent's y axis."""
    zeros = np.zeros_like(lean_rad)
    turn = np.stack([np.cos(lean_rad / 2), zeros, np.sin(lean_rad / 2), zeros], axis=1)
    batch.expand("body_quat")[:, batch.model.body(body).id] = turn


def set_mass_centre(batch: Batch, body: str, position_m: np.ndarray) -> None:
    """Move a body's centre of mass, (nsim, 3) in the body's frame; its inertia about it stays."""
    batch.expand("body_ipos")[:, batch.model.body(body).id] = position_m


def set_command_delay(batch: Batch, actuators: tuple[str, ...], delay_s: np.ndarray) -> None:
    """Delay the controls of actuators, by one time step at least and no more than their queue."""
    indices = [batch.model.actuator(actuator).id for actuator in actuators]
    batch.expand("actuator_delay")[:, indices] = delay_s[:, None]
