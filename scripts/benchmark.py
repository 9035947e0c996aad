"""How much of the time goes into physics: rollouts, the meta-update, and whole iterations.

All three are ratios of durations taken in one process on the same trajectories, so that they say
the same on a slow machine as on a fast one:

- ``rollout_over_physics``: environment steps per second of ``collect`` over those of the bare
  ``Batch.step``.  The controls of the rollout are recorded and replayed from the same start states
  on the same simulations, with the same tasks: the contacts to be solved are the same ones.
- ``update_over_sampling``: seconds of a meta-update (advantages, adaptation, TRPO) over seconds of
  collecting its pre- and post-update episodes.
- ``iteration_over_physics``: seconds of a whole meta-iteration over those of the bare
  ``Batch.step`` on the trajectories of that iteration.

Other options measure something else: ``--scaling`` a meta-iteration on one and on more processes,
``--acting`` acting on one observation, by each kind of policy, and ``--update`` how the time and
the memory of a meta-update grow with its size.
"""

from __future__ import annotations

import metarobot  # noqa: F401  before torch: it says how torch's threads are to wait

# isort: split
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import mujoco
import torch
from acting_benchmark import measure_acting, missed_acting_bars
from commands import check_names, takes_options
from family_benchmark import FamilyBenchmark, Row
from scaling_benchmark import measure_scaling
from update_benchmark import measure_updates, missed_update_bars

from metarobot.algorithms import configure
from metarobot.envs import file_name, silence_mujoco
from metarobot.files import write_json
from metarobot.presets import PRESETS
from metarobot.training.provenance import choose_num_threads, provenance


@dataclass(frozen=True, kw_only=True)
class Bars:
    """How a family is measured, and what --check holds its medians against."""

    horizon: int = 40
    """Control steps per episode."""
    rollout_over_physics: float = 0.80
    """Least share."""
    update_over_sampling: float = 0.35
    """Greatest share."""


_CHEETAH = Bars(horizon=100, update_over_sampling=0.50)
OWN_BARS = {
    "half-cheetah-direction": _CHEETAH,
    "half-cheetah-velocity": _CHEETAH,
    "slide": Bars(horizon=8),
    "push": Bars(horizon=12),
    "carry": Bars(horizon=12),
    "insert": Bars(horizon=16, update_over_sampling=0.50),
}
"""Presets whose physics is so cheap that a meta-update weighs more, and strokes, which have the
length that they have; all others have ``Bars()``."""
WITHOUT_PHYSICS = ("point-navigation",)
"""Presets that cannot be measured: nothing is to be solved for, and episodes end anywhere."""
DEFAULT_FAMILIES = tuple(
    name for name in PRESETS if name not in (*WITHOUT_PHYSICS, "half-cheetah-velocity")
)
"""All others but one of the two that share their physics."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkCommand:
    """Measure the shares of physics, rollouts and meta-updates, for each task family."""

    json: Path | None = None
    """File to write the list of rows to."""
    families: tuple[str, ...] = DEFAULT_FAMILIES
    """Presets of the families to measure."""
    repetitions: int = 5
    """Meta-iterations and rollouts that count; one more comes first, to warm up."""
    threads: int = 0
    """Threads of the simulator and of torch; 0 chooses as training does."""
    quick: bool = False
    """Only check that it works: tiny sizes, whose numbers mean nothing."""
    check: bool = False
    """Exit with 1 where a bar is missed."""
    scaling: Path | None = None
    """Measure several processes instead, of one thread each, and write the rows to this file."""
    processes: tuple[int, ...] = (1, 2)
    """Numbers of processes that --scaling measures."""
    acting: Path | None = None
    """Measure acting on one observation instead, and write the rows to this file."""
    update: Path | None = None
    """Measure the time and memory of meta-updates instead, and write the rows to this file."""

    def __post_init__(self) -> None:
        """Check the names and the numbers."""
        check_names("family", self.families, PRESETS)
        for family in self.families:
            if family in WITHOUT_PHYSICS:
                raise ValueError(f"{family} has no physics that its time could be compared with")
        if self.repetitions < 1 or self.threads < 0:
            raise ValueError("--repetitions must be at least 1 and --threads at least 0")


def benchmark(command: BenchmarkCommand) -> list[Row]:
    """Measure every family; families take turns, so that all meet the same machine.

    Returns:
        One row per family: medians over the repetitions.
    """
    threads = choose_num_threads(command.threads)
    torch.set_num_threads(threads)
    sizes = {"num_tasks": 4, "episodes_per_task": 5} if command.quick else {}
    sizes = {"num_tasks": 20, "episodes_per_task": 20, **sizes}
    repetitions = 1 if command.quick else command.repetitions
    benchmarks = [
        FamilyBenchmark(
            configure(replace(PRESETS[family], num_threads=threads, **sizes), "maml"),
            horizon=bars_of(family).horizon // (4 if command.quick else 1),
            threads=threads,
        )
        for family in command.families
    ]
    measured: list[list[Row]] = [[] for _ in benchmarks]
    for repetition in range(repetitions + 1):
        for family, rows in zip(benchmarks, measured, strict=True):
            rows.append(family.measure(repetition))
    return [
        {
            "family": family.config.env_id,
            "nsim": family.num_envs,
            "horizon": family.env.horizon,
            **{name: median(row[name] for row in rows[1:]) for name in rows[0]},
            "repetitions": repetitions,
            "threads": threads,
            "cpu": provenance(threads)["machine"]["cpu"],
        }
        for family, rows in zip(benchmarks, measured, strict=True)
    ]


def acting(path: Path, command: BenchmarkCommand) -> int:
    """Measure acting on one observation; return 1 where --check finds a bar missed."""
    rows = measure_acting(200 if command.quick else 20_000)
    for row in rows:
        print(
            "{policy:<12}{median_us:6.1f} us at the median, {p99_us:6.1f} at".format(**row), end=""
        )
        print(" the 99th percentile; processor {processor_median_us:6.1f}".format(**row), end="")
        print(" and {processor_p99_us:6.1f}; differs by {difference:.1e}".format(**row))
    write_json(path, rows)
    return _verdict(missed_acting_bars(rows), command)


def updates(path: Path, command: BenchmarkCommand) -> int:
    """Measure meta-updates of two sizes; return 1 where --check finds a bar missed."""
    rows = measure_updates((2, 3, 4), (4, 6, 4)) if command.quick else measure_updates()
    for row in rows:
        sizes = "{num_tasks} tasks x {num_episodes} episodes x {horizon} steps".format(**row)
        found = "{update_s:.2f} s, {growth:.1f} times the first".format(**row)
        print(f"{sizes}: {found}; peak {row['peak_gb']:.2f} GB")
    write_json(path, rows)
    return _verdict(missed_update_bars(rows), command)


def scaling(path: Path, command: BenchmarkCommand) -> int:
    """Measure several processes."""
    rows = measure_scaling(
        command.families, command.processes, command.repetitions, quick=command.quick
    )
    for row in rows:
        print("{family} {processes} processes: {iteration_s:.2f} s".format(**row), end="")
        print(f" a meta-iteration, {row['speed_up']:.2f} times as fast as one")
    write_json(path, rows)
    return 0


def bars_of(preset: str) -> Bars:
    """Return what a family is held against."""
    return OWN_BARS.get(preset, Bars())


def missed_bars(rows: Sequence[Row]) -> list[str]:
    """Return a line for every ratio that misses its family's bar."""
    lines = []
    for row in rows:
        bars = bars_of(file_name(row["family"]))
        rollout, update = row["rollout_over_physics"], row["update_over_sampling"]
        missed = {
            f"rollout_over_physics {rollout:.2f}, wanted >= {bars.rollout_over_physics:.2f}": (
                rollout < bars.rollout_over_physics
            ),
            f"update_over_sampling {update:.2f}, wanted <= {bars.update_over_sampling:.2f}": (
                update > bars.update_over_sampling
            ),
        }
        lines += [f"{row['family']}: {line}" for line, is_missed in missed.items() if is_missed]
    return lines


def table(rows: Sequence[Row]) -> str:
    """Return the rows as an aligned table."""
    lines = [
        f"{'family':<33} {'sims':>5} {'rollout/physics':>16} {'update/sampling':>16} "
        f"{'iteration/physics':>18} {'rollout steps/s':>16} {'physics steps/s':>16}"
    ]
    lines += [
        f"{row['family']:<33} {row['nsim']:>5} {row['rollout_over_physics']:>16.3f} "
        f"{row['update_over_sampling']:>16.3f} {row['iteration_over_physics']:>18.3f} "
        f"{row['rollout_steps_per_s']:>16,.0f} {row['physics_steps_per_s']:>16,.0f}"
        for row in rows
    ]
    return "\n".join(lines)


@takes_options(BenchmarkCommand, "benchmark.py")
def main(command: BenchmarkCommand) -> int:
    """Run the benchmark; return 0, or 1 where --check finds a bar missed."""
    silence_mujoco()
    if command.acting is not None:
        return acting(command.acting, command)
    if command.scaling is not None:
        return scaling(command.scaling, command)
    if command.update is not None:
        return updates(command.update, command)
    rows = benchmark(command)
    machine = f"{rows[0]['cpu']}, {os.cpu_count()} logical processors, {platform.platform()}"
    print(f"{machine}; {rows[0]['threads']} threads; torch {torch.__version__}, ", end="")
    print(f"mujoco {mujoco.__version__}; medians of {rows[0]['repetitions']}")
    print(table(rows))
    if command.json is not None:
        write_json(command.json, rows)
    return _verdict(missed_bars(rows), command)


def _verdict(missed: list[str], command: BenchmarkCommand) -> int:
    """Print which bars are missed where --check asks for it; return the exit code."""
    for line in missed if command.check else ():
        print(f"missed: {line}")
    return 1 if command.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
