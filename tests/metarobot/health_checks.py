"""What tests of recordings share: machines without noise, and a batch of every fault."""

from dataclasses import fields, replace

import numpy as np

from metarobot.diagnosis import FAULTS, HEALTHY, sample_machines
from metarobot.diagnosis.orders import read_orders
from metarobot.diagnosis.simulation import Simulation


def quiet(machines):
    """Return the same machines with sensors without noise."""
    noises = [field.name for field in fields(machines) if "noise" in field.name]
    return replace(machines, **{name: 0 * getattr(machines, name) for name in noises})


def simulate(machines, faults, severities, joints):
    """Record one check of each machine, all at one temperature, (R, C, T) float64."""
    orders = read_orders(machines, faults, severities, 0, joints, 0)
    return Simulation(orders.condition(), orders.address, 1).run().astype(np.float64)


def joint_of(fault):
    """Return a joint that a fault can sit in."""
    return 4 if fault.joints else 1


def least_and_greatest():
    """Return the names, severities and joints of every fault at the ends of its ranges."""
    rows = [
        (name, severity, joint_of(fault))
        for name, fault in FAULTS.items()
        for severity in (*fault.severity.train, fault.severity.extrapolation[-1][1])
    ]
    rows.append((HEALTHY, 0.0, 1))
    return [list(column) for column in zip(*rows, strict=True)]


def one_machine(count):
    """Return a machine without noise, ``count`` times."""
    return quiet(sample_machines(1)).rows([0] * count)
