"""Writes the condition of machines into the per-simulation model fields of a batch."""

from __future__ import annotations

import numpy as np
from mujoco.batch import Batch

from metarobot.diagnosis.arm_model import GEARS, GRIP, LINKS
from metarobot.diagnosis.channels import JOINTS, ROTOR_SHARE
from metarobot.diagnosis.condition import Condition
from metarobot.envs.physics import set_body_mass, set_body_position

GEAR_DAMPING_NMS_PER_RAD = 0.5
"""Damping of a gear with play or of a slack belt at joint 1."""
GRIP_DAMPING_NS_PER_M = 1.0


def apply_condition(batch: Batch, condition: Condition) -> None:
    """Give every simulation the machine and the faults of its row; before the first step."""
    _set_machine(batch, condition)
    _set_gears(batch, condition)
    _set_grip(batch, condition)
    batch.set_const()


def set_friction(batch: Batch, friction_nm: np.ndarray) -> None:
    """Set the dry friction of all joints, (R, 7); a dragging brake changes it at every sample."""
    batch.expand("dof_frictionloss")[:, _dofs(batch, JOINTS)] = friction_nm


def rest_loose_parts(batch: Batch, condition: Condition) -> None:
    """Let gears and payload hang as the arm's weight leaves them when it stands still.

    Call it after a forward pass, which knows the weight.
    """
    for names, play, compliance in (
        (GEARS, condition.gear_play_rad, condition.gear_compliance_rad_per_nm),
        ((GRIP,), condition.payload_play_m[:, None], np.zeros((batch.nsim, 1))),
    ):
        dofs = _dofs(batch, names)
        load = batch.bind("qfrc_bias")[:, dofs]
        batch.bind("qpos")[:, dofs] = -compliance * load - np.sign(load) * play / 2


def _set_machine(batch: Batch, condition: Condition) -> None:
    machines = condition.machines
    for column, link in enumerate(LINKS):
        nominal_kg = batch.model.body_mass[batch.model.body(link).id]
        set_body_mass(batch, link, machines.link_mass_ratio[:, column] * nominal_kg)
    set_body_mass(batch, "payload", machines.payload_kg)
    set_body_position(batch, "payload", 0, condition.payload_place_m)
    set_friction(batch, condition.friction_nm)
    batch.expand("dof_damping")[:, _dofs(batch, JOINTS)] = condition.damping_nms_per_rad


def _set_gears(batch: Batch, condition: Condition) -> None:
    """Free the gears that have play or give way; all others stay rigid."""
    play, compliance = condition.gear_play_rad, condition.gear_compliance_rad_per_nm
    stiffness = np.divide(1.0, compliance, out=np.zeros_like(compliance), where=compliance > 0)
    # Damping for a time step's worth of the spring keeps it stable, however stiff it is.
    damping = np.maximum(
        GEAR_DAMPING_NMS_PER_RAD * np.array(ROTOR_SHARE), stiffness * batch.model.opt.timestep
    )
    _free(batch, GEARS, play, (play > 0) | (compliance > 0), damping)
    joints = [batch.model.joint(gear).id for gear in GEARS]
    batch.expand("jnt_stiffness")[:, joints] = stiffness


def _set_grip(batch: Batch, condition: Condition) -> None:
    play = condition.payload_play_m[:, None]
    _free(batch, (GRIP,), play, play > 0, np.full_like(play, GRIP_DAMPING_NS_PER_M))


def _free(
    batch: Batch, names: tuple[str, ...], play: np.ndarray, loose: np.ndarray, damping: np.ndarray
) -> None:
    """Let joints in series move where they are loose, within their play where they have some."""
    dofs, joints = _dofs(batch, names), [batch.model.joint(name).id for name in names]
    rigid = batch.model.dof_armature[dofs]
    batch.expand("dof_armature")[:, dofs] = np.where(loose, 0.0, rigid)
    batch.expand("dof_damping")[:, dofs] = np.where(loose, damping, 0.0)
    reach = batch.model.jnt_range[joints]  # (k, 2)
    half = np.stack([-play / 2, play / 2], axis=2)
    batch.expand("jnt_range")[:, joints] = np.where((play > 0)[:, :, None], half, reach)


def _dofs(batch: Batch, names: tuple[str, ...]) -> np.ndarray:
    return np.array([batch.model.joint(name).dofadr[0] for name in names])
