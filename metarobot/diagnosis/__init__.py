"""Recordings of machines and their faults: arms that differ as those of one series do.

A *health check* is one fixed motion of the arm.  A *recording* holds what the sensors of a machine
read during one.  A *fault* changes the machine by a severity.
"""

from metarobot.diagnosis.channels import CHANNELS, SAMPLES_PER_S, Channel
from metarobot.diagnosis.faults import FAULTS, HEALTHY, Fault, find_fault
from metarobot.diagnosis.health_check import DURATION_S, NUM_SAMPLES, health_check
from metarobot.diagnosis.machines import MACHINE_SPLITS, Machines, MachineSplit, sample_machines
from metarobot.diagnosis.recording import RecordingError, record
from metarobot.diagnosis.recordings import Recordings

__all__ = [
    "CHANNELS",
    "DURATION_S",
    "FAULTS",
    "HEALTHY",
    "MACHINE_SPLITS",
    "NUM_SAMPLES",
    "SAMPLES_PER_S",
    "Channel",
    "Fault",
    "MachineSplit",
    "Machines",
    "RecordingError",
    "Recordings",
    "find_fault",
    "health_check",
    "record",
    "sample_machines",
]
