"""Folders of made-up recordings that are cheap: tones and offsets by label, offsets by machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np

CHANNELS = ("current [A]", "vibration [m/s^2]")
RATE = 100.0
SAMPLES = 128
TONES = {"healthy": 4.0, "worn bearing": 17.0, "loose foot": 31.0, "bent shaft": 24.0}
"""Frequency in Hz by label."""
LOUD = {"bent shaft": 4.0}
"""Loudness over that of the others."""


def signals(
    label: str, machine: int, rng: np.random.Generator, samples: int = SAMPLES
) -> np.ndarray:
    """Return one recording, (SAMPLES, 2): a tone in the vibration, its machine in the current."""
    time = np.arange(SAMPLES) / RATE
    tone = np.sin(2 * np.pi * (TONES[label] * time + rng.random()))
    noise = 0.1 * rng.normal(size=(SAMPLES, 2))
    return noise + np.stack(
        [np.full(SAMPLES, 1.0 + machine), 1.5 * LOUD.get(label, 1.0) * tone], axis=1
    )


def write_recording(path: Path, values: np.ndarray, channels: tuple[str, ...] = CHANNELS) -> None:
    lines = [",".join(["time_s", *channels])]
    lines += [",".join(f"{v:.6g}" for v in (k / RATE, *row)) for k, row in enumerate(values)]
    path.write_text("\n".join(lines) + "\n")


def make_plant(
    folder: Path, machines: int = 3, each: int = 4, labels: tuple[str, ...] = tuple(TONES)[:3]
) -> Path:
    """Write recordings of every label of every machine, with a table."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    table = ["file,label,machine"]
    for machine in range(machines):
        for label in labels:
            for number in range(each):
                name = f"m{machine}-{label.replace(' ', '-')}-{number}.csv"
                write_recording(folder / name, signals(label, machine, rng))
                table.append(f"{name},{label},press {machine}")
    (folder / "labels.csv").write_text("\n".join(table) + "\n")
    return folder


def make_case(folder: Path, each: int = 3) -> tuple[Path, Path, list[str]]:
    """Write examples of a new machine and recordings without labels; return these labels too.

    The last recordings show a label without examples.
    """
    examples = make_plant(folder / "known", machines=1, each=each)
    recordings = folder / "new"
    recordings.mkdir()
    rng = np.random.default_rng(7)
    truth = [label for label in TONES for _ in range(3)]
    for number, label in enumerate(truth):
        write_recording(recordings / f"r{number:02}.csv", signals(label, 0, rng))
    return examples, recordings, truth
