"""The video of an adaptation: one task, before and after one adaptation step, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import mujoco
import numpy as np

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.algorithms import adapt_in_steps, algorithm_class
from metarobot.config import MOST_ADAPTATION_STEPS, MOST_EPISODES, MOST_SEED
from metarobot.envs import (
    Split,
    TaskDistribution,
    Tasks,
    TaskVectorEnv,
    Variant,
    find_family,
    make_env,
)
from metarobot.envs.batch_renderer import FRAME_BYTES
from metarobot.envs.checked_numbers import is_integer, is_number, show
from metarobot.envs.memory import require_memory
from metarobot.policies import GaussianPolicy, Params, repeat_params
from metarobot.reporting.video import Clip, Frame, compose_side_by_side, describe_task, write_mp4
from metarobot.rollout.collect import collect
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.seeding import EpisodeDraws, Phase, draw_episodes, numpy_generator
from metarobot.training.load import TrainedPolicy, TrainedRun
from metarobot.training.memory import require_trial_memory
from metarobot.training.replay import Replay
from metarobot.training.run_layout import RunError

FRAMES_PER_STEP = 3
"""Pictures a control step; all but the last are interpolated between two states."""

_TRIALS, _SHOWN = 0, 1  # addresses of the draws: the trial episodes, and the one that is filmed


@dataclass(frozen=True, kw_only=True)
class RenderConfig:
    """Which task is filmed, and how it is adapted to."""

    algorithm: str = "maml"
    """Who adapts."""
    split: Split | None = None
    """Where the task is drawn from, unless it is given; by default extrapolation, or the split
    farthest from training that the family has."""
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
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if not is_integer(value, least, most):
                raise ValueError(
                    f"{name} must be an integer in [{least}, {most}], got {show(value)}"
                )
        if not is_number(self.slow_motion, 0.1, 100.0):
            raise ValueError(f"slow_motion must lie in [0.1, 100], got {show(self.slow_motion)}")


_BOUNDS: dict[str, tuple[int, int]] = {
    "seed": (0, MOST_SEED),
    "num_episodes": (1, MOST_EPISODES),
    "num_adaptation_steps": (1, MOST_ADAPTATION_STEPS),
}
"""Least and most of the integers of a RenderConfig."""


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
    variant: Variant | None = None,
) -> RenderedAdaptation:
    """Film one task before and after adaptation, without action noise and from the same start.

    Args:
        run: A run whose meta-learned algorithm is shown.
        path: The MP4 to write.
        config: Which task, and how it is adapted to.
        task: Task parameters to set; those not named stay nominal.  None draws a task.
        variant: What to film it on; None for the family as it is.

    Returns:
        The task and both returns.

    Raises:
        RunError: The run does not hold the algorithm.
        TaskError: The family does not allow the task, or has no such split.
        VideoError: ffmpeg failed.
    """
    config = config or RenderConfig()
    learners = [name for name in run.policies if algorithm_class(name).adapts]
    if config.algorithm not in learners:
        others = ", ".join(learners)
        hint = (
            f": --algorithm shows another, of {others}" if others else ", nor another that adapts"
        )
        raise RunError(f"{run.path} holds no {config.algorithm} algorithm{hint}")
    trained = run.policies[config.algorithm]
    conditions = variant or find_family(run.env_id)
    tasks = choose_task(conditions.distribution, config, task)
    adapted = adapt_to(run.env_id, tasks, trained, config, variant)
    before = repeat_params(trained.params, 1)
    steps = (
        f"{config.num_adaptation_steps} adaptation step{'s' * (config.num_adaptation_steps > 1)}"
    )
    env = make_env(
        run.env_id,
        1,
        render_mode="rgb_array",
        num_threads=1,
        variant=variant,
        scene_path=run.scene,
    )
    try:
        env.set_tasks(tasks)
        start = _draws(env, config, _SHOWN, num_episodes=1).start
        left = film(env, trained, before, start, "before adaptation")
        right = film(env, trained, adapted, start, f"after {steps}")
        _write([left, right], env, path, config.slow_motion)
    finally:
        env.close()
    return RenderedAdaptation(
        task=tasks.to_dicts()[0],
        return_before=float(np.sum(left.rewards)),
        return_after=float(np.sum(right.rewards)),
        success_before=left.success,
        success_after=right.success,
    )


def render_policy(
    policy: AdaptablePolicy,
    path: Path,
    task: Mapping[str, float] | None = None,
    seed: int = 0,
) -> float:
    """Film one episode of a policy, without action noise; return the episode's return.

    Args:
        policy: A trained or an adapted policy.
        path: The MP4 to write.
        task: Task parameters to set; those not named stay nominal.
        seed: Seed of the start.

    Raises:
        TaskError: The family does not allow the task.
        VideoError: ffmpeg failed.
    """
    trained_with = policy.config
    env = make_env(
        trained_with.env_id,
        1,
        render_mode="rgb_array",
        num_threads=1,
        variant=trained_with.variant,
        observe_task=algorithm_class(trained_with.algorithm).observes_task,
    )
    try:
        given = {name: [value] for name, value in (task or {}).items()}
        env.set_tasks(env.distribution.with_values(given) if given else env.distribution.nominal())
        start = _draws(env, RenderConfig(seed=seed), _SHOWN, num_episodes=1).start
        clip = film(env, policy, policy.task_params, start, "the policy at work")
        _write([clip], env, path, RenderConfig().slow_motion)
    finally:
        env.close()
    return float(np.sum(clip.rewards))


def render_replay(replay: Replay, path: Path, episode: int, slow_motion: float) -> list[Clip]:
    """Film one episode of a replay before and after adaptation, side by side.

    Args:
        replay: What was written down in training.
        path: The MP4 to write.
        episode: Number of the episode, from 0.
        slow_motion: How much slower than the world the video runs.

    Returns:
        What is shown: one clip before the first adaptation step, one after each.

    Raises:
        ValueError: There is no such episode.
        VideoError: ffmpeg failed.
    """
    num_blocks, num_episodes = replay.actions.shape[:2]
    if not 0 <= episode < num_episodes:
        raise ValueError(f"episode must lie in [0, {num_episodes - 1}], got {show(episode)}")
    num_frames = num_blocks * (replay.actions.shape[2] * FRAMES_PER_STEP + 1)
    frames = {f"{num_frames} frames": num_frames * FRAME_BYTES}
    require_memory(frames, f"a film of {num_blocks} adaptation steps is too long")
    env = make_env(
        replay.env_id,
        1,
        render_mode="rgb_array",
        num_threads=1,
        variant=replay.variant,
        scene_path=replay.scene,
    )
    try:
        env.set_tasks(env.distribution.with_values({k: [v] for k, v in replay.task.items()}))
        clips = []
        for step in range(num_blocks):
            start, actions = replay.starts[step, episode], replay.actions[step, episode]
            caption = f"episode {episode}, after {step} adaptation step{'s' * (step != 1)}"
            clips.append(_replay(env, start.numpy(), actions.numpy(), caption))
        _write(clips, env, path, slow_motion)
    finally:
        env.close()
    return clips


def choose_task(
    distribution: TaskDistribution, config: RenderConfig, task: Mapping[str, float] | None
) -> Tasks:
    """Return the given task completed with nominal values, or one drawn from the split.

    Raises:
        TaskError: The family does not allow the task, or has no such split.
    """
    if task is not None:
        return distribution.with_values({name: [value] for name, value in task.items()})
    rng = numpy_generator(config.seed, 0, Phase.EVALUATION_TASKS)
    return distribution.sample(rng, 1, config.split or distribution.splits[-1])


def adapt_to(
    env_id: str,
    tasks: Tasks,
    trained: TrainedPolicy,
    config: RenderConfig,
    variant: Variant | None = None,
) -> Params:
    """Adapt an algorithm to one task from its own exploring episodes; leaves are (1, ...)."""
    require_trial_memory(trained.config, 1, config.num_episodes, "lower num_episodes")
    params, algorithm = repeat_params(trained.params, 1), trained.algorithm
    num_envs = algorithm.num_simulations(1, config.num_episodes)
    scene = trained.config.scene
    env = make_env(env_id, num_envs, num_threads=1, variant=variant, scene_path=scene)

    def collect_block(step: int, policy: GaussianPolicy, params: Params) -> Episodes:
        draws = _draws(env, config, _TRIALS, config.num_episodes, adaptation_step=step)
        return collect(env, policy, params, noise=draws.noise, start=draws.start)

    with closing(env):
        env.set_tasks(tasks)
        for taken in adapt_in_steps(algorithm, params, config.num_adaptation_steps, collect_block):
            params = taken.params
    return params


def film(
    env: TaskVectorEnv,
    trained: TrainedPolicy | AdaptablePolicy,
    params: Params,
    start: np.ndarray,
    caption: str,
) -> Clip:
    """Run one deterministic episode and film it.

    The episode is collected as everywhere else; then its actions are replayed in front of the
    camera, which repeats it bit for bit.
    """
    episodes = collect(env, trained.policy, params, noise=None, start=start)
    return _replay(env, start[0, 0], episodes.actions[0, 0].numpy(), caption)


def _replay(env: TaskVectorEnv, start: np.ndarray, actions: np.ndarray, caption: str) -> Clip:
    """Repeat an episode: one picture of the start, FRAMES_PER_STEP of each control step.

    Args:
        env: One simulation, which holds the task.
        start: Uniforms that place the start, (S,).
        actions: (T, A); the episode ends earlier where the simulation becomes unstable.
        caption: What the clip is called.
    """
    env.reset(options={"start": start[None]})
    frames, rewards, success = [*_picture(env)], [], False
    qpos = env.batch.bind("qpos")  # (1, nq), live
    for t, action in enumerate(actions):
        before, passed = qpos[0].copy(), []
        with _watched(env, lambda passed=passed: passed.append(qpos[0].copy())):
            _, reward, terminated, truncated, info = env.step(action[None])
        if info["sim_unstable"][0]:
            caption += f", unstable in step {t}"
            break
        for earlier, later in pairwise([before, *passed]):
            for share in np.arange(1, FRAMES_PER_STEP + 1) / FRAMES_PER_STEP:
                qpos[0] = _between(env, earlier, later, share)
                frames.extend(_picture(env))
        qpos[0] = passed[-1]
        # A step that settles takes as long as several: its reward comes with the last of them.
        rewards += [*[0.0] * (len(passed) - 1), float(reward[0])]
        success = bool(info["is_success"][0])
        if terminated[0] or truncated[0]:
            break
    return Clip(frames=frames, rewards=rewards, success=success, caption=caption)


@contextmanager
def _watched(env: TaskVectorEnv, look: Callable[[], None]) -> Iterator[None]:
    """Let ``look`` be called as the simulation goes on, several times where it settles."""
    env.on_advance = look
    try:
        yield
    finally:
        env.on_advance = None


def _write(clips: Sequence[Clip], env: TaskVectorEnv, path: Path, slow_motion: float) -> None:
    """Write clips of the task that the environment holds, side by side."""
    fps = FRAMES_PER_STEP / (env.control_dt_s * slow_motion)
    units = {p.name: "" if p.unit == "1" else p.unit for p in env.distribution.parameters}
    header = describe_task(env.tasks.to_dicts()[0], units)
    if env.variant is not None:
        header = f"{env.variant.words}  ·  {header}"
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = compose_side_by_side(clips, header, control_dt_s=env.control_dt_s, fps=fps)
    write_mp4(frames, path, fps)


def _between(env: TaskVectorEnv, before: np.ndarray, after: np.ndarray, share: float) -> np.ndarray:
    """Return the configuration at a share of the way, along the shortest turn of every rotation."""
    velocity, position = np.zeros(env.model.nv), before.copy()
    differentiate = mujoco.mj_differentiatePos  # pyright: ignore[reportAttributeAccessIssue]
    integrate = mujoco.mj_integratePos  # pyright: ignore[reportAttributeAccessIssue]
    differentiate(env.model, velocity, 1.0, before, after)
    integrate(env.model, position, velocity, share)
    return position


def _picture(env: TaskVectorEnv) -> tuple[Frame, ...]:
    return env.render() or ()


def _draws(
    env: TaskVectorEnv,
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
