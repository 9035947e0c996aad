"""`metarobot diagnose record`."""

from __future__ import annotations

import numpy as np

from metarobot.cli.console import OK
from metarobot.cli.diagnose_options import DiagnoseRecord
from metarobot.cli.listing import make_console
from metarobot.diagnosis import FAULTS, HEALTHY, Recordings, record, sample_machines
from metarobot.diagnosis.own_data import require_new_folder, write_recordings
from metarobot.envs import silence_mujoco
from metarobot.printable import print_line

_JOINT = 2
"""Joint that faults sit in: the shoulder, which carries the whole arm."""


def run(command: DiagnoseRecord) -> int:
    """Simulate recordings and write them as a folder."""
    silence_mujoco()
    require_new_folder(command.out)  # before the work
    recordings = record_example(command)
    write_recordings(recordings, command.out)
    console = make_console()
    labels = ", ".join(dict.fromkeys(recordings.fault))
    print_line(console, f"{len(recordings)} recordings of {command.machines} arms: {labels}")
    print_line(console, f"written: {command.out}")
    return OK


def record_example(command: DiagnoseRecord) -> Recordings:
    """Record every machine in every state as often as it is asked for.

    They are machines to test on: no learner that comes with the package was trained on them.
    """
    states, shape = [HEALTHY, *command.faults], (command.machines, command.checks)
    rng = np.random.default_rng(command.seed)
    severities = [np.zeros(shape)]
    severities += [rng.uniform(*FAULTS[name].severity.train, shape) for name in command.faults]
    machine, check = np.indices((len(states), *shape)).reshape(3, -1)[1:]
    return record(
        sample_machines(command.machines, "test", seed=command.seed).rows(machine),
        np.repeat(states, command.machines * command.checks).tolist(),
        np.concatenate([each.ravel() for each in severities]),
        command.seed,
        joints=_JOINT,
        checks=check,
    )
