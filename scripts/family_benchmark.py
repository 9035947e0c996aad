"""One task family, trained for a few meta-iterations: the time of its physics and of the rest."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np

from metarobot.config import TrainConfig
from metarobot.envs import TaskVectorEnv, make_env
from metarobot.policies import repeat_params
from metarobot.rollout.collect import collect
from metarobot.rollout.seeding import Phase, draw_episodes
from metarobot.training.meta_trainer import MetaTrainer

PASSES = 2
"""How often a rollout and its bare physics are timed in one repetition."""

Row = dict[str, Any]

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
