"""The video of an adaptation: one task, before and after a few episodes, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.algorithms import adapt_once, algorithm_class
from metarobot.config import MOST_EPISODES, MOST_SEED
from metarobot.envs import (
    Split,
    TaskDistribution,
    Tasks,
    TaskVectorEnv,
    Variant,
    find_family,
    make_env,
)
from metarobot.envs.checks import is_integer, is_number, require_integers, show
from metarobot.policies import Params, repeat_params
from metarobot.reporting.filming import film, pictures_for, write_clips
from metarobot.reporting.style import after_episodes
from metarobot.rollout.collect import collect
from metarobot.rollout.seeding import EpisodeDraws, Phase, draw_episodes, numpy_generator
from metarobot.training.load import TrainedPolicy, TrainedRun
from metarobot.training.memory import require_evaluation_memory
from metarobot.training.run_folder import RunError

MOST_PICTURES = 3
"""Pictures of an adapted policy that have room beside the one before adapting."""
MOST_SIDE = 5
"""Tasks along each side of a grid."""
_ADAPTATION, _SHOWN = 0, 1  # addresses of the draws: adaptation episodes; the one filmed


@dataclass(frozen=True, kw_only=True)
class RenderConfig:
    """Which task is filmed, and how it is adapted to."""

    algorithm: str | None = None
    """Who adapts; if not given, latent, then maml, then any other that the run holds."""
    split: Split | None = None
    """Where the task is drawn from, unless it is given; by default extrapolation, or the split
    farthest from training that the family has."""
    seed: int = 0
    """Seed of the task, of the adaptation episodes and of the start that is filmed."""
    adaptation_episodes: tuple[int, ...] = (0, 1, 5)
    """Adaptation episodes, in one block, after which the policy is filmed, at most three numbers;
    it is filmed before adapting in any case. Of one task they stand side by side, of a grid they
    follow each other."""
    contact_forces: bool = False
    """Draw contact forces as arrows, and bodies so that the arrows show through."""
    slow_motion: float = 2.0
    """How much slower than the world the video runs."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        require_integers(self, {"seed": (0, MOST_SEED)})
        numbers = self.adaptation_episodes
        if not (
            isinstance(numbers, tuple)
            and all(is_integer(number, 0, MOST_EPISODES) for number in numbers)
            and len(numbers) >= 1
            and len([number for number in numbers if number]) <= MOST_PICTURES
        ):
            raise ValueError(
                f"adaptation_episodes must be integers in [0, {MOST_EPISODES}], at most "
                f"{MOST_PICTURES} besides 0, got {show(numbers)}"
            )
        if not is_number(self.slow_motion, 0.1, 100.0):
            raise ValueError(f"slow_motion must lie in [0.1, 100], got {show(self.slow_motion)}")
        if not isinstance(self.contact_forces, bool):
            shown = show(self.contact_forces)
            raise ValueError(f"contact_forces must be true or false, got {shown}")

    @property
    def stages(self) -> tuple[int, ...]:
        """Adaptation episodes before each picture: none, then those asked for."""
        return (0, *filter(None, self.adaptation_episodes))


@dataclass(frozen=True)
class RenderedAdaptation:
    """What the video shows, in numbers."""

    task: dict[str, float]
    returns: tuple[float, ...]
    """Return before adapting, and after each number of adaptation episodes."""


def render_adaptation(
    run: TrainedRun,
    path: Path,
    config: RenderConfig | None = None,
    task: Mapping[str, float] | None = None,
    variant: Variant | None = None,
    note: str = "",
) -> RenderedAdaptation:
    """Film one task before and after adapting, without action noise and from the same start.

    Args:
        run: A run whose meta-learned algorithm is shown.
        path: The film to write, see `write_film`.
        config: Which task, and how it is adapted to.
        task: Task parameters to set; those not named stay nominal.  None draws a task.
        variant: What to film it on; None for the family as it is.
        note: What is to be known of the task besides; stands beside it.

    Returns:
        The task and the returns.

    Raises:
        RunError: The run does not hold the algorithm.
        TaskError: The family does not allow the task, or has no such split.
        VideoError: ffmpeg failed.
    """
    config = config or RenderConfig()
    trained = find_shown_policy(run, config)
    tasks = choose_task((variant or find_family(run.env_id)).distribution, config, task)
    adapted = adapt_to(run.env_id, tasks, trained, config, variant)
    return film_adapted(run, path, tasks, adapted, config, variant, note)


def film_adapted(
    run: TrainedRun,
    path: Path,
    tasks: Tasks,
    adapted: Mapping[int, Params],
    config: RenderConfig,
    variant: Variant | None = None,
    note: str = "",
) -> RenderedAdaptation:
    """Film one task with what `adapt_to` returned for it; else see `render_adaptation`."""
    trained = find_shown_policy(run, config)
    with closing(camera_env(run, config, variant, len(adapted))) as env:
        env.set_tasks(tasks)
        start = shown_start(env, config)
        clips = [
            film(env, trained, params, start, after_episodes(number))
            for number, params in adapted.items()
        ]
        write_clips(clips, env, path, config.slow_motion, note)
    returns = tuple(float(np.sum(clip.rewards)) for clip in clips)
    return RenderedAdaptation(task=tasks.to_dicts()[0], returns=returns)


def camera_env(
    run: TrainedRun, config: RenderConfig, variant: Variant | None, columns: int
) -> TaskVectorEnv:
    """Return one simulation in front of the camera, for so many clips side by side."""
    env = make_env(
        run.env_id,
        1,
        render_mode="rgb_array",
        num_threads=1,
        variant=variant,
        scene_path=run.scene,
    )
    env.pictures = pictures_for(columns, contact_forces=config.contact_forces)
    return env


def shown_start(env: TaskVectorEnv, config: RenderConfig) -> np.ndarray:
    """Return the uniforms of the start that is filmed, (1, 1, S), whatever the task."""
    return _draws(env, config, _SHOWN, num_tasks=1, num_episodes=1).start


def find_shown_policy(run: TrainedRun, config: RenderConfig) -> TrainedPolicy:
    """Return whose adaptation is filmed.

    Raises:
        RunError: The run does not hold the algorithm; the message names those that adapt.
    """
    first = run.first_learner
    name = config.algorithm or first
    if name not in run.learners:
        others = ", ".join(run.learners)
        raise RunError(f"{run.path} holds no {name} that adapts: --algorithm shows one of {others}")
    return run.policies[name]


def render_policy(
    policy: AdaptablePolicy,
    path: Path,
    task: Mapping[str, float] | None = None,
    seed: int = 0,
) -> float:
    """Film one episode of a policy, without action noise; return the episode's return.

    Args:
        policy: A trained or an adapted policy.
        path: The film to write, see `write_film`.
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
        start = shown_start(env, RenderConfig(seed=seed))
        clip = film(env, policy, policy.task_params, start, "the policy at work")
        write_clips([clip], env, path, RenderConfig().slow_motion)
    finally:
        env.close()
    return float(np.sum(clip.rewards))


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
) -> dict[int, Params]:
    """Adapt an algorithm to tasks from its own exploring episodes on each.

    Returns:
        Parameters, each leaf (N, ...), by the number of adaptation episodes, the first of one
        block; 0 is before adapting.
    """
    most, num_tasks = max(config.stages), len(tasks)
    require_evaluation_memory(trained.config, num_tasks, most, "lower adaptation_episodes")
    params, algorithm = repeat_params(trained.params, num_tasks), trained.algorithm
    if most == 0:
        return {0: params}
    num_envs, scene = algorithm.num_simulations(num_tasks, most), trained.config.scene
    env = make_env(env_id, num_envs, num_threads=1, variant=variant, scene_path=scene)
    with closing(env):
        env.set_tasks(tasks)
        draws = _draws(env, config, _ADAPTATION, num_tasks, most)
        explorer = algorithm.exploring_policy
        block = collect(env, explorer, params, noise=draws.noise, start=draws.start)
    adapted = {0: params}
    for number in filter(None, config.stages):
        episodes = block.first(number)
        adapted[number] = adapt_once(algorithm, params, episodes).params
    return adapted


def _draws(
    env: TaskVectorEnv, config: RenderConfig, address: int, num_tasks: int, num_episodes: int
) -> EpisodeDraws:
    action_size = len(env.action_elements)
    return draw_episodes(
        config.seed,
        address,
        Phase.RENDERING,
        tasks=range(num_tasks),
        episode_shape=(num_episodes, env.horizon, env.start_size, action_size),
    )
