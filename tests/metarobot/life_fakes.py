"""A fleet without simulation: one indicator is the severity that a check finds."""

import numpy as np

from metarobot.diagnosis import sample_machines
from metarobot.remaining_life import CYCLES_BETWEEN_CHECKS, Fleet, sample_parts
from metarobot.remaining_life.indicators import INDICATORS, NUM_INDICATORS
from metarobot.remaining_life.wear import WEARING_FAULTS


def fake_fleet(count, split="train", seed=0):
    """Return a fleet whose indicators are made up: those of the worn joint show its fault."""
    parts = sample_parts(sample_machines(count, split, seed=seed))
    life = parts.life_cycles
    num_checks = (life - 1) // CYCLES_BETWEEN_CHECKS + 1
    rows = np.nonzero(np.arange(num_checks.max()) < num_checks[:, :, None])
    indicators = np.random.default_rng(seed).normal(
        0.0, 0.02, size=(*life.shape, num_checks.max(), NUM_INDICATORS)
    )
    machine, part, check = rows
    share = parts.severity(machine, part, check * CYCLES_BETWEEN_CHECKS) / parts.limit[machine]
    column = np.array([WEARING_FAULTS.index(name) for name in parts.fault])
    joint = (parts.joint - 1) * len(INDICATORS)
    indicators[machine, part, check, (joint + column)[machine]] += share
    return Fleet(indicators, life, parts.fault, parts.machines.payload_kg)
