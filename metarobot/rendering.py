"""The video of an adaptation: one task, before and after one adaptation step, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from metarobot.adapt import adapt_once, trial_policy
from metarobot.envs import FAMILIES, ManipulationVectorEnv, Split, TaskDistribution, Tasks, make_env
from metarobot.episodes import Episodes
from metarobot.policies import Params, repeat_params
from metarobot.randomness import EpisodeDraws, Phase, draw_episodes, numpy_generator
from metarobot.rollout import collect
from metarobot.run_folder import RunError, TrainedAgent, TrainedRun
from metarobot.video import Clip, Frame, compose_side_by_side, describe_task, write_mp4

FRAMES_PER_STEP = 3
"""Pictures a control step; all but the last are interpolated between two states."""

_TRIALS, _SHOWN = 0, 1  # addresses of the draws: the trial episodes, and the one that is filmed


@dataclass(frozen=True, kw_only=True)
class RenderConfig:
    """Which task is filmed, and how it is adapted to."""

    split: Split = "extrapolation"
    """Where the task is drawn from, unless it is given."""
    seed: int = 0
    """Seed of the task, of the trial episodes and of the start that is filmed."""
    num_episodes: int = 20
    """Exploring episodes that the adaptation step learns from."""
    num_adaptation_steps: int = 1
    """Adaptation steps between the two sides, each with its own exploring episodes."""
    slow_motion: float = 2.0
    """How much slower than the world the video runs."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("num_episodes", "num_adaptation_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        if not 0.1 <= self.slow_motion <= 100.0:
            raise ValueError(f"slow_motion must lie in [0.1, 100], got {self.slow_motion}")


@dataclass(frozen=True)
class RenderedAdaptation:
    """What the video shows, in numbers."""

    task: dict[str, float]
    return_before: float
    return_after: float
    success_before: bool
    success_after: bool


def render_adaptation(
    run: TrainedRun,
    path: Path,
    config: RenderConfig | None = None,
    task: Mapping[str, float] | None = None,
) -> RenderedAdaptation:
    """Film one task before and after adaptation, without action noise and from the same start.

    Args:
        run: A run whose meta-learned agent is shown.
        path: The MP4 to write.
        config: Which task, and how it is adapted to.
        task: Task parameters to set; those not named stay nominal.  None draws a task.

    Returns:
        The task and both returns.

    Raises:
        RunError: The run holds no meta-learned agent.
        TaskError: The family does not allow the task.
        VideoError: ffmpeg failed.
    """
    config = config or RenderConfig()
    if "maml" not in run.agents:
        raise RunError(f"{run.path} holds no maml agent, which is the one that adapts")
    agent = run.agents["maml"]
    distribution = FAMILIES[run.env_id].vector_class.distribution
    tasks = choose_task(distribution, config, task)
    adapted = adapt_to(run.env_id, tasks, agent, config)
    before = repeat_params(agent.params, 1)
    steps = (
        f"{config.num_adaptation_steps} adaptation step{'s' * (config.num_adaptation_steps > 1)}"
    )
    env = make_env(run.env_id, 1, render_mode="rgb_array", num_threads=1)
    try:
        env.set_tasks(tasks)
        start = _draws(env, config, _SHOWN, num_episodes=1).start
        left = film(env, agent, before, start, "before adaptation")
        right = film(env, agent, adapted, start, f"after {steps}")
        fps = FRAMES_PER_STEP / (env.control_dt_s * config.slow_motion)
        header = describe_task(
            tasks.to_dicts()[0], {p.name: _unit(p.unit) for p in distribution.parameters}
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = compose_side_by_side(left, right, header, control_dt_s=env.control_dt_s, fps=fps)
        write_mp4(frames, path, fps)
    finally:
        env.close()
    return RenderedAdaptation(
        task=tasks.to_dicts()[0],
        return_before=float(np.sum(left.rewards)),
        return_after=float(np.sum(right.rewards)),
        success_before=left.success,
        success_after=right.success,
    )


def choose_task(
    distribution: TaskDistribution, config: RenderConfig, task: Mapping[str, float] | None
) -> Tasks:
    """Return the given task completed with nominal values, or one drawn from the split."""
    if task is not None:
        return distribution.with_values({name: [value] for name, value in task.items()})
    rng = numpy_generator(config.seed, 0, Phase.EVALUATION_TASKS)
    return distribution.sample(rng, 1, config.split)


def adapt_to(env_id: str, tasks: Tasks, agent: TrainedAgent, config: RenderConfig) -> Params:
    """Adapt an agent to one task from its own exploring episodes; leaves are (1, ...)."""
    env = make_env(env_id, config.num_episodes, num_threads=1)
    env.set_tasks(tasks)
    params, trials = repeat_params(agent.params, 1), trial_policy(agent.policy, agent.config)
    for step in range(config.num_adaptation_steps):
        draws = _draws(env, config, _TRIALS, config.num_episodes, adaptation_step=step)
        episodes = collect(env, trials, params, noise=draws.noise, start=draws.start)
        params = adapt_once(agent.policy, params, episodes, agent.config)
    env.close()
    return params


def film(
    env: ManipulationVectorEnv,
    agent: TrainedAgent,
    params: Params,
    start: np.ndarray,
    caption: str,
) -> Clip:
    """Run one deterministic episode and film it.

    The episode is collected as everywhere else; then its actions are replayed in front of the
    camera, which repeats it bit for bit.
    """
    episodes = collect(env, agent.policy, params, noise=None, start=start)
    return Clip(
        frames=_replay(env, episodes, start),
        rewards=episodes.rewards[0, 0].tolist(),
        success=bool(episodes.success[0, 0]),
        caption=caption,
    )


def _replay(env: ManipulationVectorEnv, episodes: Episodes, start: np.ndarray) -> list[Frame]:
    """Repeat an episode: one picture of the start, FRAMES_PER_STEP of each control step."""
    env.reset(options={"start": start.reshape(1, -1)})
    frames = [*_picture(env)]
    num_steps = int(episodes.mask[0, 0].sum())
    qpos = env.batch.bind("qpos")  # (1, nq), live
    for action in episodes.actions[0, 0, :num_steps].numpy():
        before = qpos[0].copy()
        env.step(action[None])
        after = qpos[0].copy()
        for share in np.arange(1, FRAMES_PER_STEP) / FRAMES_PER_STEP:
            qpos[0] = _between(env, before, after, share)
            frames.extend(_picture(env))
        qpos[0] = after
        frames.extend(_picture(env))
    return frames


def _between(
    env: ManipulationVectorEnv, before: np.ndarray, after: np.ndarray, share: float
) -> np.ndarray:
    """Return the configuration at a share of the way, along the shortest turn of every rotation."""
    velocity, position = np.zeros(env.model.nv), before.copy()
    differentiate = mujoco.mj_differentiatePos  # pyright: ignore[reportAttributeAccessIssue]
    integrate = mujoco.mj_integratePos  # pyright: ignore[reportAttributeAccessIssue]
    differentiate(env.model, velocity, 1.0, before, after)
    integrate(env.model, position, velocity, share)
    return position


def _picture(env: ManipulationVectorEnv) -> tuple[Frame, ...]:
    return env.render() or ()


def _draws(
    env: ManipulationVectorEnv,
    config: RenderConfig,
    address: int,
    num_episodes: int,
    adaptation_step: int = 0,
) -> EpisodeDraws:
    action_size = len(env.action_elements)
    return draw_episodes(
        config.seed,
        address,
        Phase.RENDERING,
        tasks=range(1),
        episode_shape=(num_episodes, env.horizon, env.start_size, action_size),
        adaptation_step=adaptation_step,
    )


def _unit(unit: str) -> str:
    return "" if unit == "1" else unit
