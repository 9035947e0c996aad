"""Measure the share of physics in the time of rollouts, meta-updates and whole iterations.

All three results are ratios of durations in one process on the same trajectories, so that they do
not depend on the machine's speed:

- ``rollout_over_physics``: environment steps per second of ``collect`` over those of the bare
  ``Batch.step``.  The controls of the rollout are recorded and replayed from the same start states
  on the same simulations, with the same tasks, so both solve the same contacts.
- ``update_over_sampling``: seconds of a meta-update (advantages, adaptation, TRPO) over seconds of
  collecting its pre- and post-update episodes.
- ``iteration_over_physics``: seconds of a whole meta-iteration over those of the bare
  ``Batch.step`` on the trajectories of that iteration.

``--measure`` chooses another measurement: a training of `latent` and its adaptation, an evaluation
of shipped policies, a meta-iteration on one and on more processes, acting on one observation by
each kind of policy, or how time and memory of a meta-update grow with its size.

``--against`` measures another commit too, in turns with this tree, and compares their rows.
"""

from __future__ import annotations

import metarobot  # noqa: F401  before torch: it sets how torch's threads wait

# isort: split
import io
import multiprocessing
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Literal
from unittest.mock import patch

import mujoco
import numpy as np
import pandas as pd
import torch
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from gymnasium.vector import AsyncVectorEnv, VectorEnv
from shared import ROOT, check_names, read_rows, takes_options

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.adaptation.robot import Interface
from metarobot.algorithms import configure, train_config
from metarobot.config import PRESETS, TrainConfig
from metarobot.envs import (
    TaskDistribution,
    TaskParameter,
    TaskVectorEnv,
    file_name,
    find_family,
    find_native,
    make_env,
    register_family,
    silence_mujoco,
)
from metarobot.evaluation import task_set
from metarobot.evaluation.evaluate import evaluate_runs
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.io import write_json
from metarobot.machine import keep_freed_memory, num_threads, provenance, set_threads
from metarobot.policies import repeat_params
from metarobot.rollout.collect import collect
from metarobot.rollout.seeding import Phase, draw_episodes, torch_generator
from metarobot.training.load import load_run
from metarobot.training.run_folder import FOLDER, load_curve, pretrained_names
from metarobot.training.trainer import COLLECTING, MetaTrainer, num_simulations

Row = dict[str, Any]
Bars = dict[str, tuple[str, float]]

PASSES = 2
"""Timed runs of a rollout, and of its bare physics, in one repetition."""
_mj: Any = mujoco  # type checkers cannot see its compiled names


def make_native(env_id: str, num_envs: int, **options: Any) -> TaskVectorEnv:
    """Make a family's native batch."""
    return find_native(env_id, "the benchmark")(num_envs, **options)


@dataclass
class Take:
    """The controls of one block of episodes, which repeat its physics."""

    start: np.ndarray
    """Uniforms that place the start of every simulation, (N * E, S)."""
    ctrl: list[np.ndarray] = field(default_factory=list)
    """Controls of every control step, (N * E, nu) each."""
    act: list[np.ndarray] = field(default_factory=list)
    """Actuator activations, which an environment may reset before a step, (N * E, na) each."""


class Recorder:
    """Wrap the batch of an environment and record the controls of every step.

    Args:
        env: The environment to record; it keeps the recorder.
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
        """Return the takes recorded since the last call."""
        takes, self.takes = self.takes, []
        return takes

    def replay(self, take: Take) -> float:
        """Repeat the physics of a take and return the seconds of ``Batch.step`` alone."""
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
        self.env = make_native(config.env_id, self.num_envs, horizon=horizon, num_threads=threads)
        self.trainer = MetaTrainer(config, self.env)
        self.recorder = Recorder(self.env)

    def measure(self, repetition: int) -> Row:
        """Take one meta-iteration and one rollout; return their ratios and rates."""
        update_s, sampling_s, iteration_s, iteration_physics_s = self.iterate()
        rollout_s, physics_s = self._roll_out(repetition)
        num_steps = PASSES * self.num_envs * self.env.horizon
        return {
            "rollout_over_physics": physics_s / rollout_s,
            "update_over_sampling": update_s / sampling_s,
            "iteration_over_physics": iteration_s / iteration_physics_s,
            "rollout_steps_per_s": num_steps / rollout_s,
            "physics_steps_per_s": num_steps / physics_s,
        }

    def iterate(self) -> tuple[float, float, float, float]:
        """Take one meta-iteration: seconds of update, sampling, in total, and of bare physics."""
        started = time.perf_counter()
        metrics = self.trainer.step()
        seconds = time.perf_counter() - started
        physics_s = sum(self.recorder.replay(take) for take in self.recorder.pop())
        return metrics["time/update_s"], metrics["time/sampling_s"], seconds, physics_s

    def _roll_out(self, repetition: int) -> tuple[float, float]:
        """Collect one block of episodes: seconds of `PASSES` rollouts and of their bare physics.

        They take turns, so that a machine that slows down favours neither.

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


# A training of latent, and an adaptation.

LATENT_STEPS, ADAPTED, EPISODES = 300_000, 20, 5
"""Control steps of a training; tasks that it adapts to then, and episodes on each."""
LATENT_BARS: Bars = {"training_over_physics": ("<=", 1.8)}


def measure_latent(command: BenchmarkCommand) -> list[Row]:
    """Train `latent` on every family, and adapt it, in this process.

    Returns:
        One row for each family: seconds of the whole training, of its fit of the model, and of an
        adaptation (episodes and learning from them), over those of the bare physics of each.
    """
    threads = set_threads(command.threads)
    steps = 3_000 if command.quick else LATENT_STEPS
    rows: list[Row] = []
    for family in command.families:
        run = replace(PRESETS[family], total_steps=steps, num_threads=threads)
        if command.quick:
            run = replace(run, num_tasks=4, episodes_per_task=4)
        config = configure(run, "latent")
        rows.append({"family": config.env_id, **_measure_latent(config, threads)})
    return rows


def _measure_latent(config: TrainConfig, threads: int) -> Row:
    """Return the ratios of one family, and the rates that they are made of."""
    env = make_native(config.env_id, num_simulations(config), num_threads=threads)
    trainer, recorder, physics_s, replayed_s = MetaTrainer(config, env), Recorder(env), 0.0, 0.0

    def replay() -> None:
        nonlocal physics_s, replayed_s
        began = time.perf_counter()
        physics_s += sum(recorder.replay(take) for take in recorder.pop())
        replayed_s += time.perf_counter() - began

    started = time.perf_counter()
    while not trainer.finished:
        trainer.step()
        replay()
    fit_began = list[float]()

    def watch(share: float) -> None:
        if share > COLLECTING and not fit_began:
            fit_began.append(time.perf_counter())

    trainer.finish(watch)
    fitted = time.perf_counter()
    replay()
    training_s = time.perf_counter() - started - replayed_s
    adapting_s, adapting_physics_s = _measure_adaptation(trainer, threads)
    return {
        "training_over_physics": training_s / physics_s,
        "fit_over_physics": (fitted - fit_began[0]) / physics_s,
        "adapting_over_physics": adapting_s / adapting_physics_s,
        "training_steps_per_s": trainer.total_steps / training_s,
        "adapted_tasks_per_s": ADAPTED / adapting_s,
        "threads": threads,
    }


def _measure_adaptation(trainer: MetaTrainer, threads: int) -> tuple[float, float]:
    """Adapt to some tasks: seconds in total, and of bare physics."""
    config, algorithm = trainer.config, trainer.algorithm
    with closing(make_native(config.env_id, ADAPTED, num_threads=threads)) as env:
        recorder = Recorder(env)
        env.set_tasks(env.distribution.sample(np.random.default_rng(0), ADAPTED))
        shape = (EPISODES, env.horizon, env.start_size, len(env.action_elements))
        draws = draw_episodes(
            config.seed, 0, Phase.EVALUATION, tasks=range(ADAPTED), episode_shape=shape
        )
        params = repeat_params(trainer.params, ADAPTED)
        explorer = algorithm.exploring_policy
        started = time.perf_counter()
        episodes = collect(env, explorer, params, noise=draws.noise, start=draws.start)
        algorithm.adapt(params, episodes, algorithm.adaptation_advantages(params, episodes))
        seconds = time.perf_counter() - started
        return seconds, sum(recorder.replay(take) for take in recorder.pop())


# An evaluation of the shipped policies of a family.

EVALUATED_TASKS = 40
"""Tasks per split."""


class Stopwatch:
    """Wrap the batch of an environment and add up the time of its steps.

    Args:
        env: The environment; it keeps the stopwatch.
        seconds: Seconds of all steps so far, a list of one number.
    """

    def __init__(self, env: TaskVectorEnv, seconds: list[float]) -> None:
        self._batch, self._seconds = env.batch, seconds
        env.batch = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """Step the batch."""
        started = time.perf_counter()
        result = self._batch.step(*args, **kwargs)
        self._seconds[0] += time.perf_counter() - started
        return result


def measure_evaluations(command: BenchmarkCommand) -> list[Row]:
    """Evaluate the shipped policies of every family that has some, heat map included.

    Returns:
        One row for each family: its time over that of the bare physics.
    """
    threads, rows = set_threads(command.threads), list[Row]()
    config = EvaluationConfig(num_tasks=EVALUATED_TASKS, num_blocks=1)
    if command.quick:
        config = replace(config, num_tasks=2, adaptation_episodes=(1,), episodes_per_block=1)
        config = replace(config, test_episodes=1, grid_size=2, heat_map_episodes=(1,))
    for family in (name for name in command.families if name in pretrained_names()):
        run, physics_s = load_run(FOLDER / family), [0.0]

        def make_timed(*args: Any, physics_s: list[float] = physics_s, **kwargs: Any) -> Any:
            env = make_native(*args, **kwargs)
            Stopwatch(env, physics_s)
            return env

        with patch.object(task_set, "make_env", make_timed):
            started = time.perf_counter()
            evaluate_runs([run], config, lambda *_: None)
            seconds = time.perf_counter() - started
        row: Row = {"family": run.env_id, "evaluation_over_physics": seconds / physics_s[0]}
        rows.append({**row, "seconds": seconds, "policies": len(run.policies), "threads": threads})
    return rows


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


def measure_acting(command: BenchmarkCommand) -> list[Row]:
    """Measure `AdaptablePolicy.act` with 20 observation elements, 3 actions, 64 x 64 units.

    Returns:
        One row for each kind: wall-clock and processor time of a call in microseconds, median and
        99th percentile.
    """
    set_threads(1)
    repetitions, rows = 200 if command.quick else 20_000, []
    for kind, algorithm in KINDS.items():
        config = train_config(algorithm)
        module = AdaptablePolicy(config, {}, _INTERFACE).policy
        params = module.initial_params(torch_generator(0, 0, Phase.INITIALISATION))
        policy = AdaptablePolicy(config, params, _INTERFACE)
        rng = np.random.default_rng(0)
        seen = 0.01 * rng.uniform(-1, 1, (repetitions + _WARM_UP, 20)).cumsum(0) / 10
        row: Row = {"policy": kind}
        for name, clock in (("", time.perf_counter), ("processor_", time.thread_time)):
            times = []
            for observation in seen:
                started = clock()
                policy.act(observation, reward=0.0)
                times.append(1e6 * (clock() - started))
            row[f"{name}median_us"] = float(np.median(times[_WARM_UP:]))
            row[f"{name}p99_us"] = float(np.percentile(times[_WARM_UP:], 99))
        rows.append({**row, "repetitions": repetitions})
    return rows


# Memory and time of a meta-update of Reach, at two sizes.

SMALL, LARGE = (20, 20, 200), (100, 40, 200)
"""Tasks N, episodes E and control steps T of the two sizes."""
MOST_PEAK_GB = 2.0
"""Bar of the larger size: the whole process, in 10^9 bytes."""
UPDATE_BARS: Bars = {"peak_gb": ("<=", MOST_PEAK_GB), "growth": ("<=", 12.0)}
"""The larger size, which has ten times the data, takes at most twelve times as long."""


def measure_updates(command: BenchmarkCommand) -> list[Row]:
    """Measure a meta-iteration of Reach by MAML at two sizes, on one thread.

    Returns:
        One row for each size: seconds of the update, their ratio to those of the first size, and
        the peak memory of the process in 10^9 bytes.
    """
    rows: list[Row] = []
    for size in ((2, 3, 4), (4, 6, 4)) if command.quick else (SMALL, LARGE):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            row = pool.submit(measure_update, *size).result()
        first = rows[0] if rows else row
        rows.append({**row, "growth": row["update_s"] / first["update_s"]})
    return rows


def measure_update(num_tasks: int, num_episodes: int, horizon: int) -> Row:
    """Measure a meta-iteration of one size in this process, after a tiny one to warm up."""
    set_threads(1)
    keep_freed_memory()
    silence_mujoco()
    sizes = {"num_tasks": num_tasks, "num_episodes": num_episodes, "horizon": horizon}
    for tasks, episodes, steps in ((2, 2, 4), (num_tasks, num_episodes, horizon)):
        run = replace(PRESETS["reach"], num_tasks=tasks, episodes_per_task=episodes, num_threads=1)
        config = configure(run, "maml")
        env = make_native(config.env_id, num_simulations(config), horizon=steps, num_threads=1)
        with closing(env):
            update_s = MetaTrainer(config, env).step()["time/update_s"]
    status = Path("/proc/self/status").read_text(encoding="utf-8")  # Linux
    peak_kib = next(row for row in status.splitlines() if row.startswith("VmHWM")).split()[1]
    return {**sizes, "update_s": update_s, "peak_gb": int(peak_kib) * 1024 / 1e9}


# Environments of Gymnasium as a family, over the bare vector environment.

OUTSIDE_ID = "benchmark/Pendulum-v0"
OUTSIDE_BARS: Bars = {"family_over_bare": (">=", 0.85)}
_OUTSIDE_STEPS = 200


class Pendulum(PendulumEnv):
    """Gymnasium's pendulum, with a mass by its task."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode of a task."""
        if options is not None:
            self.m = options["tasks"]["mass_kg"]
        return super().reset(seed=seed)


def measure_outside(command: BenchmarkCommand) -> list[Row]:
    """Measure a family of pendulums, in turns with a bare ``AsyncVectorEnv`` of them.

    The bare environment has a process for each pendulum, the family one for each thread.

    Returns:
        One row for each number of environments: control steps per second, and their ratio.
    """
    mass = TaskParameter(
        name="mass_kg",
        unit="kg",
        description="mass",
        nominal=1.0,
        train=(0.5, 2.0),
        allowed=(0.1, 5.0),
    )
    distribution = TaskDistribution((mass,))
    register_family(OUTSIDE_ID, env=Pendulum, distribution=distribution, horizon=_OUTSIDE_STEPS)
    threads, rows = set_threads(command.threads), []
    for num_envs in (4,) if command.quick else (20, 80):
        family = make_env(OUTSIDE_ID, num_envs, num_threads=threads)
        bare = AsyncVectorEnv([Pendulum] * num_envs, context="spawn")
        with closing(family), closing(bare):
            pairs = [
                (steps_per_s(family), steps_per_s(bare)) for _ in range(command.repetitions + 1)
            ]
        rates = np.median(pairs[1:], axis=0)
        ratio = median(ours / theirs for ours, theirs in pairs[1:])
        rows.append(
            {
                "envs": num_envs,
                "threads": threads,
                "family_steps_per_s": float(rates[0]),
                "bare_steps_per_s": float(rates[1]),
                "family_over_bare": ratio,
            }
        )
    return rows


def steps_per_s(env: VectorEnv) -> float:
    """Return the control steps that all environments together take in a second."""
    env.reset(seed=0)
    actions = np.zeros(env.action_space.shape or (), np.float32)
    started = time.perf_counter()
    for _ in range(_OUTSIDE_STEPS - 1):
        env.step(actions)
    return env.num_envs * (_OUTSIDE_STEPS - 1) / (time.perf_counter() - started)


# Several processes, of one thread each.


def measure_scaling(command: BenchmarkCommand) -> list[Row]:
    """Train every family for some meta-iterations with several numbers of processes.

    Returns:
        One row per family and number: the median time of a meta-iteration, as the log has it.
    """
    rows: list[Row] = []
    iterations = 3 if command.quick else command.repetitions + 1  # the first one warms up
    cpu = provenance(1)["machine"]["cpu"]
    with tempfile.TemporaryDirectory() as folder:
        for family, count in product(command.families, command.processes):
            run = Path(folder) / f"{family}{count}"
            seconds = _train_with(family, count, run, iterations, quick=command.quick)
            first = next((r["iteration_s"] for r in rows if r["family"] == family), seconds)
            row = {"family": family, "processes": count, "iteration_s": seconds}
            row |= {"speed_up": first / seconds, "repetitions": iterations - 1, "cpu": cpu}
            rows.append(row)
    return rows


def _train_with(family: str, count: int, run: Path, iterations: int, *, quick: bool) -> float:
    """Train one family with a number of processes; return seconds of a meta-iteration."""
    config = configure(PRESETS[family], "maml")
    if quick:
        config = replace(config, num_tasks=4, episodes_per_task=2)
    episodes = (config.adaptation_steps + 1) * config.num_tasks * config.episodes_per_task
    steps = iterations * episodes * find_family(config.env_id).default_horizon
    sizes = ["--num-tasks", config.num_tasks, "--episodes-per-task", config.episodes_per_task]
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", count, "-m"]
    train = ["metarobot", "train", family, "--algorithms", "maml", "--out", run, *sizes]
    arguments = [sys.executable, "-m", *launcher, *train, "--total-steps", steps]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([str(a) for a in arguments], env=environment, check=True, capture_output=True)
    curve = load_curve(run, "maml", ("sampling_s", "update_s"))
    return median(sum(pair) for pair in list(zip(*curve.values(), strict=True))[1:])


# The command.


HORIZONS = {"half-cheetah-direction": 100, "half-cheetah-velocity": 100}
HORIZONS |= {"slide": 8, "push": 12, "carry": 12, "insert": 16}
"""Control steps per episode, by preset; strokes have a fixed length, all others 40."""
MOST_UPDATE = {"half-cheetah-direction": 0.50, "half-cheetah-velocity": 0.50, "insert": 0.50}
"""Bar of `update_over_sampling`, by preset, where cheap physics makes it higher than the 0.35 of
all others."""
WITHOUT_PHYSICS = ("point-navigation",)
"""Presets without a benchmark: they have no physics, and their episodes vary in length."""
DEFAULT_FAMILIES = tuple(
    name for name in PRESETS if name not in (*WITHOUT_PHYSICS, "half-cheetah-velocity")
)
"""All other presets, with one of the two that share their physics."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkCommand:
    """Measure the shares of physics, rollouts and meta-updates, for each task family."""

    measure: Literal[
        "families", "latent", "evaluation", "outside", "scaling", "acting", "update"
    ] = "families"
    """Subject of the measurement: the shares of physics for each family, a training of `latent`,
    an evaluation of shipped policies, environments of Gymnasium as a family, several processes of
    one thread each, acting on one observation, or meta-updates of two sizes."""
    json: Path | None = None
    """File to write the list of rows to."""
    against: str | None = None
    """Commit to measure in turns with this tree: rows compare them."""
    rounds: int = 3
    """Turns of both with --against."""
    families: tuple[str, ...] = DEFAULT_FAMILIES
    """Presets of the families to measure."""
    repetitions: int = 5
    """Measured meta-iterations and rollouts; one more comes first, to warm up."""
    threads: int = 0
    """Threads of the simulator and of torch; 0 chooses as training does."""
    quick: bool = False
    """Only check that it works: tiny sizes with meaningless numbers."""
    check: bool = False
    """Exit with 1 if a bar is missed; with --against, if this tree takes a tenth longer."""
    processes: tuple[int, ...] = (1, 2)
    """Numbers of processes that `scaling` measures."""

    def __post_init__(self) -> None:
        """Check the names and the numbers."""
        check_names("family", self.families, PRESETS)
        for family in self.families:
            if family in WITHOUT_PHYSICS:
                raise ValueError(f"{family} has no physics to compare its time with")
        if min(self.repetitions, self.rounds) < 1 or self.threads < 0:
            raise ValueError("--repetitions and --rounds must be at least 1, --threads at least 0")


def measure_families(command: BenchmarkCommand) -> list[Row]:
    """Measure every family; families take turns, so that all run under the same load.

    Returns:
        One row per family: medians over the repetitions.
    """
    threads = set_threads(command.threads)
    tasks, episodes, repetitions = (4, 5, 1) if command.quick else (20, 20, command.repetitions)
    sizes = {"num_tasks": tasks, "episodes_per_task": episodes, "num_threads": threads}
    benchmarks = [
        FamilyBenchmark(
            configure(replace(PRESETS[family], **sizes), "maml"),
            horizon=HORIZONS.get(family, 40) // (4 if command.quick else 1),
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


def missed_bars(rows: Sequence[Row], bars: Bars | None = None) -> list[str]:
    """Return a line for every number that misses its bar.

    Args:
        rows: Measured rows; the first column names their subject.
        bars: "<=" or ">=" and a number by column; those of a family's ratios if not given.
    """
    lines = []
    for row in rows:
        subject, *_ = row.values()
        own = _bars_of(subject) if bars is None else bars
        for name, (sign, bar) in own.items():
            if row[name] > bar if sign == "<=" else row[name] < bar:
                lines.append(f"{subject}: {name} {row[name]:.2f}, wanted {sign} {bar:.2f}")
    return lines


def _bars_of(family: str) -> Bars:
    update = MOST_UPDATE.get(file_name(family), 0.35)
    return {"rollout_over_physics": (">=", 0.80), "update_over_sampling": ("<=", update)}


# Another commit, in turns with this tree.

LONGER_BARS: Bars = {"now_over_before": ("<=", 1.10)}
"""Least slowdown that counts, beyond the noise of a machine."""
COMPARED = (
    "iteration_over_physics",
    "training_over_physics",
    "adapting_over_physics",
    "evaluation_over_physics",
    "iteration_s",
    "update_s",
    "median_us",
)
"""Columns in which the commits are compared: times, most of them over that of bare physics."""


def measure_against(command: BenchmarkCommand) -> list[Row]:
    """Measure a commit and this tree in turns, each by its own script and package.

    What seems to take a tenth longer is measured for as many rounds again.

    Returns:
        One row for each subject and column of `COMPARED`: medians over the rounds, and their ratio.
    """
    assert command.against is not None
    with tempfile.TemporaryDirectory() as folder:
        archive = ["git", "-C", str(ROOT), "archive", "--format=tar", command.against]
        packed = subprocess.run(archive, capture_output=True, check=False)
        if packed.returncode:
            reason = packed.stderr.decode(errors="replace").strip().splitlines()
            raise ValueError(f"no commit {command.against!r} here: {' '.join(reason[-1:])}")
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
            files.extractall(folder, filter="data")
        measured: list[tuple[list[Row], list[Row]]] = []
        rows: list[Row] = []
        for _ in range(2):
            for _ in range(command.rounds):
                trees = Path(folder), ROOT
                before, now = (_measure_tree(tree, command) for tree in trees)
                measured.append((before, now))
            rows = _compare(measured)
            if not missed_bars(rows, LONGER_BARS):
                break
    return rows


def _measure_tree(tree: Path, command: BenchmarkCommand) -> list[Row]:
    """Return the rows of the script of a source tree.

    Raises:
        ValueError: It fails, as where it lacks an option of this script.
    """
    words = ["--families", *command.families, "--repetitions", str(command.repetitions)]
    words += ["--threads", str(command.threads), *["--quick"] * command.quick]
    if command.measure != "families":  # older scripts have this measurement alone
        words += ["--measure", command.measure]
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.json"
        done = subprocess.run(
            [sys.executable, str(tree / "scripts/benchmark.py"), *words, "--json", str(rows)],
            env={**os.environ, "PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = done.stderr.strip().splitlines()
            raise ValueError(f"the benchmark of {tree} fails: {' '.join(reason[-1:])}")
        return read_rows(rows)


def _compare(measured: Sequence[tuple[list[Row], list[Row]]]) -> list[Row]:
    """Compare the rows of a commit and of this tree, a pair for each round."""
    rows: list[Row] = []
    for index, subject in enumerate(measured[0][1]):
        for column in (name for name in COMPARED if name in subject):
            before, now = (
                median(sides[side][index][column] for sides in measured) for side in (0, 1)
            )
            row: Row = {"subject": f"{next(iter(subject.values()))} {column}", "before": before}
            rows.append({**row, "now": now, "now_over_before": now / before})
    return rows


MEASUREMENTS: dict[str, tuple[Callable[[BenchmarkCommand], list[Row]], Bars | None]] = {
    "families": (measure_families, None),
    "latent": (measure_latent, LATENT_BARS),
    "evaluation": (measure_evaluations, {}),
    "acting": (measure_acting, {"p99_us": ("<=", MOST_P99_US)}),
    "outside": (measure_outside, OUTSIDE_BARS),
    "scaling": (measure_scaling, {}),
    "update": (measure_updates, UPDATE_BARS),
}
"""What `--measure` chooses: the measurement, and its bars."""


@takes_options(BenchmarkCommand, "benchmark.py")
def main(command: BenchmarkCommand) -> int:
    """Run the benchmark; return 0, or 1 if --check finds a missed bar."""
    silence_mujoco()
    measure, bars = MEASUREMENTS[command.measure]
    if command.against is not None:
        measure, bars = measure_against, LONGER_BARS
    path, rows = command.json, measure(command)
    machine = f"{provenance(1)['machine']['cpu']}, {os.cpu_count()} logical processors"
    print(f"{machine}, {platform.platform()}; {num_threads()} threads;", end=" ")
    print(f"torch {torch.__version__}, mujoco {mujoco.__version__}")
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.4g}".format))
    if path is not None:
        write_json(path, rows)
    missed = missed_bars(rows, bars) if command.check else []
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
