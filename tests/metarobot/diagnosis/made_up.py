"""Made-up recordings of machines: a fault is a vibration, a machine has an offset of its own."""

import numpy as np

from metarobot.diagnosis.recordings import Channel, Recordings

RATE_HZ = 100.0
CHANNELS = (Channel("current", "A"), Channel("speed", "rad/s"))
CYCLES = {"healthy": 0.0, "bearing": 0.11, "belt": 0.24, "gear": 0.37}
"""Vibrations of each label, in cycles a sample."""


def recording(label, machine, rng, length=120, phase=None):
    """A signal (2, T) of a machine, whose number is its offset."""
    time = np.arange(length) + (rng.uniform(0, 50) if phase is None else phase)
    motion = np.sin(2 * np.pi * 0.02 * time)
    vibration = 0.3 * np.sin(2 * np.pi * CYCLES[label] * time) if CYCLES[label] else 0.0
    noise = 0.1 * rng.normal(size=(2, length))
    return np.stack([motion + 0.4 * machine + vibration, 0.5 * motion]) + noise


def plant(machines=3, per_label=8, labels=("bearing", "belt", "healthy"), seed=0, **options):
    """Recordings of several machines, `per_label` of each label."""
    rng = np.random.default_rng(seed)
    rows = [
        (label, machine)
        for machine in range(machines)
        for label in labels
        for _ in range(per_label)
    ]
    return Recordings(
        signals=tuple(
            recording(label, machine, rng, **options).astype(np.float32) for label, machine in rows
        ),
        rate_hz=RATE_HZ,
        channels=CHANNELS,
        label=np.array([label for label, _ in rows]),
        machine=np.array([f"machine {machine}" for _, machine in rows]),
        name=np.array([f"{place}.csv" for place in range(len(rows))]),
    )
