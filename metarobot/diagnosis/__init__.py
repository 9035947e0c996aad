"""Recordings of machines and their faults, simulated or read from a folder.

A *health check* is one fixed motion of the simulated arm.  A *recording* holds the readings of a
machine's sensors during one.  A *fault* changes the machine by a severity.
"""

from metarobot.diagnosis.recordings import Channel, Recordings
from metarobot.diagnosis.simulator import (
    CHANNELS,
    FAULTS,
    HEALTHY,
    NUM_SAMPLES,
    SAMPLES_PER_S,
    Fault,
    FaultClass,
    Machines,
    classes_of,
    find_fault,
    health_check,
    record,
    record_pool,
    sample_machines,
)

__all__ = [
    "CHANNELS",
    "FAULTS",
    "HEALTHY",
    "NUM_SAMPLES",
    "SAMPLES_PER_S",
    "Channel",
    "Fault",
    "FaultClass",
    "Machines",
    "Recordings",
    "classes_of",
    "find_fault",
    "health_check",
    "record",
    "record_pool",
    "sample_machines",
]
