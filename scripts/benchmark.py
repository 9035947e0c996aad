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
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import mujoco
import numpy as np
import torch
from commands import check_names, takes_options

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.adaptation.robot import Interface
from metarobot.algorithms import configure, train_config
from metarobot.config import PRESETS, TrainConfig
from metarobot.envs import TaskVectorEnv, file_name, find_family, make_env, silence_mujoco
from metarobot.io import write_json
from metarobot.machine import choose_num_threads, keep_freed_memory, provenance
from metarobot.policies import repeat_params
from metarobot.rollout.collect import collect
from metarobot.rollout.seeding import Phase, draw_episodes, torch_generator
from metarobot.training.run_folder import load_curve
from metarobot.training.trainer import MetaTrainer, num_simulations

Row = dict[str, Any]


# Families: the time of physics and of the rest.


PASSES = 2
"""How often a rollout and its bare physics are timed in one repetition."""


_mj: Any = mujoco  # type checkers cannot see its compiled names


@dataclass
class Take:
    """The controls of one block of episodes: enough to repeat its physics."""

    start: np.ndarray
    """Uniforms that place the start of every simulation, (N * E, S)."""
    ctrl: list[np.ndarray] = field(default_factory=list)
    """Controls of every control step, (N * E, nu) each."""
    act: list[np.ndarray] = field(default_factory=list)
    """Actuator activations, which an environment may reset before a step, (N * E, na) each."""


class Recorder:
    """Sits between an environment and its batch, and writes down the controls of every step.

    Args:
        env: The environment to listen to, for the rest of its life.
    """

    def __init__(self, env: TaskVectorEnv) -> None:
        self.takes: list[Take] = []
        self._env, self._batch, self._reset = env, env.batch, env.reset
        self._ctrl, self._act = env.batch.bind("ctrl"), env.batch.bind("act")
        env.batch = self  # type: ignore[assignment]
        env.reset = self._record_reset

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def _record_reset(self, **kwargs: Any) -> Any:
        self.takes.append(Take(kwargs["options"]["start"]))
        return self._reset(**kwargs)

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """Record the controls and step the batch."""
        self.takes[-1].ctrl.append(self._ctrl.copy())
        self.takes[-1].act.append(self._act.copy())
        return self._batch.step(*args, **kwargs)

    def pop(self) -> list[Take]:
        """Return what was recorded since the last call."""
        takes, self.takes = self.takes, []
        return takes

    def replay(self, take: Take) -> float:
        """Repeat the physics of a take and return the seconds that ``Batch.step`` alone took."""
        self._reset(options={"start": take.start})
        seconds = 0.0
        for ctrl, act in zip(take.ctrl, take.act, strict=True):
            self._ctrl[:], self._act[:] = ctrl, act
            started = time.perf_counter()
            self._batch.step(nstep=self._env.substeps, stage=_mj.mjtStage.mjSTAGE_VEL.value)
            seconds += time.perf_counter() - started
        return seconds


class FamilyBenchmark:
    """Trains one family for a few meta-iterations, and measures each of them.

    Args:
        config: Sizes and settings of the training.
        horizon: Control steps per episode.
        threads: Threads of the simulator.
    """

    def __init__(self, config: TrainConfig, horizon: int, threads: int) -> None:
        self.config = config
        self.num_envs = config.num_tasks * config.episodes_per_task
        self.env = make_env(config.env_id, self.num_envs, horizon=horizon, num_threads=threads)
        self.trainer = MetaTrainer(config, self.env)
        self.recorder = Recorder(self.env)

    def measure(self, repetition: int) -> Row:
        """Take one meta-iteration and one rollout; return their ratios and rates."""
        update_s, sampling_s, iteration_s, iteration_physics_s = self._iterate()
        rollout_s, physics_s = self._roll_out(repetition)
        num_steps = PASSES * self.num_envs * self.env.horizon
        return {
            "rollout_over_physics": physics_s / rollout_s,
            "update_over_sampling": update_s / sampling_s,
            "iteration_over_physics": iteration_s / iteration_physics_s,
            "rollout_steps_per_s": num_steps / rollout_s,
            "physics_steps_per_s": num_steps / physics_s,
        }

    def _iterate(self) -> tuple[float, float, float, float]:
        """Take one meta-iteration: seconds of update, sampling, all of it, and its bare physics."""
        started = time.perf_counter()
        metrics = self.trainer.step()
        seconds = time.perf_counter() - started
        physics_s = sum(self.recorder.replay(take) for take in self.recorder.pop())
        return metrics["time/update_s"], metrics["time/sampling_s"], seconds, physics_s

    def _roll_out(self, repetition: int) -> tuple[float, float]:
        """Collect one block of episodes: seconds of `PASSES` rollouts, and of as much bare physics.

        They take turns, so that a machine that slows down meanwhile favours neither.

        Raises:
            RuntimeError: The replay did not end in the state, bit for bit, of the rollout.
        """
        config, env = self.config, self.env
        params = repeat_params(self.trainer.params, config.num_tasks)
        draws = draw_episodes(
            config.seed,
            repetition,
            Phase.EVALUATION,
            tasks=range(config.num_tasks),
            episode_shape=(
                config.episodes_per_task,
                env.horizon,
                env.start_size,
                len(env.action_elements),
            ),
        )
        rollouts, physics = [], []
        for _ in range(PASSES):
            started = time.perf_counter()
            collect(env, self.trainer.policy, params, noise=draws.noise, start=draws.start)
            rollouts.append(time.perf_counter() - started)
            end = env.batch.state.copy()
            physics.append(self.recorder.replay(self.recorder.pop()[0]))
            if not np.array_equal(end, env.batch.state):
                raise RuntimeError("the replay left the trajectories of the rollout")
        return sum(rollouts), sum(physics)


# Acting on one observation, on one thread.

KINDS = {
    "perceptron": "maml",
    "prototypes": "prototype",
    "recurrent": "rl2",
    "student": "teacher_student",
    "latent": "latent",
}
"""An algorithm for every kind of policy."""
MOST_P99_US = 2000.0
"""Bar, in microseconds: a control step lasts 20 to 90 ms."""
_INTERFACE = Interface((-1.0,) * 20, (1.0,) * 20, action_size=3, horizon=40)
_WARM_UP = 100


def measure_acting(repetitions: int) -> list[dict[str, Any]]:
    """Measure `AdaptablePolicy.act` with 20 observation elements, 3 actions, 64 x 64 units.

    Args:
        repetitions: Calls that count.

    Returns:
        One row for each kind: wall-clock and processor time of a call in microseconds, median and
        99th percentile.
    """
    torch.set_num_threads(1)
    return [_acting_row(kind, algorithm, repetitions) for kind, algorithm in KINDS.items()]


def missed_acting_bars(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for every kind that takes longer than the bar."""
    return [
        f"{row['policy']}: {row['p99_us']:.0f} us at the 99th percentile, wanted "
        f"<= {MOST_P99_US:.0f}"
        for row in rows
        if row["p99_us"] > MOST_P99_US
    ]


def _acting_row(kind: str, algorithm: str, repetitions: int) -> dict[str, Any]:
    config = train_config(algorithm)
    module = AdaptablePolicy(config, {}, _INTERFACE).policy
    params = module.initial_params(torch_generator(0, 0, Phase.INITIALISATION))
    policy = AdaptablePolicy(config, params, _INTERFACE)
    rng = np.random.default_rng(0)
    seen = 0.01 * rng.uniform(-1, 1, (repetitions + _WARM_UP, 20)).cumsum(0) / 10
    wall, processor = (
        _acting_times(policy, seen, clock) for clock in (time.perf_counter, time.thread_time)
    )
    return {
        "policy": kind,
        "median_us": float(np.median(wall)),
        "p99_us": float(np.percentile(wall, 99)),
        "processor_median_us": float(np.median(processor)),
        "processor_p99_us": float(np.percentile(processor, 99)),
        "repetitions": repetitions,
    }


def _acting_times(
    policy: AdaptablePolicy, seen: np.ndarray, clock: Callable[[], float]
) -> np.ndarray:
    """Return microseconds by a clock of every call but the first."""
    times = []
    for observation in seen:
        started = clock()
        policy.act(observation, reward=0.0)
        times.append(clock() - started)
    return 1e6 * np.array(times[_WARM_UP:])


# Memory and time of a meta-update of Reach, at two sizes.

SMALL, LARGE = (20, 20, 200), (100, 40, 200)
"""Tasks N, episodes E and control steps T of the two sizes."""
MOST_PEAK_GB = 2.0
"""Bar of the larger size: the whole process, in 10^9 bytes."""
MOST_GROWTH = 12.0
"""Bar of the update's time from the smaller size to the larger, which has ten times the data."""


Size = tuple[int, int, int]


def measure_updates(small: Size = SMALL, large: Size = LARGE) -> list[dict[str, Any]]:
    """Measure a meta-iteration of Reach by MAML at two sizes, on one thread.

    Returns:
        One row for each size: seconds of the update, how many times those of the first size that
        is, and the peak of the process in 10^9 bytes.
    """
    rows: list[dict[str, Any]] = []
    for size in (small, large):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            row = pool.submit(measure_update, *size).result()
        first = rows[0] if rows else row
        rows.append({**row, "growth": row["update_s"] / first["update_s"]})
    return rows


def measure_update(num_tasks: int, num_episodes: int, horizon: int) -> dict[str, Any]:
    """Measure a meta-iteration of one size in this process, after a tiny one to warm up."""
    torch.set_num_threads(1)
    keep_freed_memory()
    silence_mujoco()
    _iterate(2, 2, 4)
    update_s = _iterate(num_tasks, num_episodes, horizon)
    return {
        "num_tasks": num_tasks,
        "num_episodes": num_episodes,
        "horizon": horizon,
        "update_s": update_s,
        "peak_gb": _peak_gb(),
    }


def missed_update_bars(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for every bar that the larger size misses."""
    peak_gb, growth = rows[-1]["peak_gb"], rows[-1]["growth"]
    missed = {
        f"a peak of {peak_gb:.2f} GB, wanted <= {MOST_PEAK_GB:g}": peak_gb > MOST_PEAK_GB,
        f"the update takes {growth:.1f} times as long, wanted <= {MOST_GROWTH:g}": (
            growth > MOST_GROWTH
        ),
    }
    return [line for line, is_missed in missed.items() if is_missed]


def _iterate(num_tasks: int, num_episodes: int, horizon: int) -> float:
    """Take one meta-iteration, and return the seconds of its update."""
    run = replace(
        PRESETS["reach"], num_tasks=num_tasks, episodes_per_task=num_episodes, num_threads=1
    )
    config = configure(run, "maml")
    env = make_env(config.env_id, num_simulations(config), horizon=horizon, num_threads=1)
    with closing(env):
        return MetaTrainer(config, env).step()["time/update_s"]


def _peak_gb() -> float:
    """Return the most memory that this process has held: Linux says so."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    kibibytes = next(row for row in status.splitlines() if row.startswith("VmHWM")).split()[1]
    return int(kibibytes) * 1024 / 1e9


# Several processes, of one thread each.


def measure_scaling(
    families: Sequence[str], processes: Sequence[int], repetitions: int, *, quick: bool
) -> list[Row]:
    """Train every family for some meta-iterations with several numbers of processes.

    Args:
        families: Presets.
        processes: Numbers of processes, of one thread each.
        repetitions: Meta-iterations that count; one more comes first, to warm up.
        quick: Tiny sizes, whose numbers mean nothing.

    Returns:
        One row per family and number: the median time of a meta-iteration, as the log has it.
    """
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for family in families:
            for count in processes:
                run = Path(folder) / f"{family}{count}"
                row = _train_with(family, count, run, repetitions, quick=quick)
                first = next((r for r in rows if r["family"] == family), row)
                rows.append({**row, "speed_up": first["iteration_s"] / row["iteration_s"]})
    return rows


def _train_with(family: str, count: int, run: Path, repetitions: int, *, quick: bool) -> Row:
    """Train one family with a number of processes, of one thread each; return its row."""
    config = configure(PRESETS[family], "maml")
    iterations = 3 if quick else repetitions + 1  # the first one warms up
    horizon = find_family(config.env_id).default_horizon
    size = 4 if quick else config.num_tasks
    episodes = 2 if quick else config.episodes_per_task
    steps = iterations * (config.adaptation_steps + 1) * size * episodes * horizon
    sizes = ["--num-tasks", size, "--episodes-per-task", episodes, "--total-steps", steps]
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", count, "-m"]
    train = ["metarobot", "train", family, "--algorithms", "maml", "--out", run, *sizes]
    arguments = [sys.executable, "-m", *launcher, *train]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([str(a) for a in arguments], env=environment, check=True, capture_output=True)
    curve = load_curve(run, "maml", ("sampling_s", "update_s"))
    seconds = [sum(pair) for pair in zip(*curve.values(), strict=True)]
    return {
        "family": family,
        "processes": count,
        "iteration_s": median(seconds[1:]),
        "repetitions": iterations - 1,
        "cpu": provenance(1)["machine"]["cpu"],
    }


# The command.


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
        print(" and {processor_p99_us:6.1f}".format(**row))
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
