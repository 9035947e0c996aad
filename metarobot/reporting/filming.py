"""One episode in front of the camera, and clips written side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import mujoco
import numpy as np

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.envs import TaskDistribution, TaskVectorEnv
from metarobot.envs.renderer import FRAME_HEIGHT_PX, FRAME_WIDTH_PX, Pictures
from metarobot.policies import Params
from metarobot.reporting.film_file import write_film
from metarobot.reporting.style import family_title
from metarobot.reporting.video import (
    Clip,
    Frame,
    Words,
    cell_size,
    compose_film,
    describe_task,
)
from metarobot.rollout.collect import collect, without_nan
from metarobot.training.load import TrainedPolicy

FRAMES_PER_STEP = 3
"""Pictures a control step; all but the last are interpolated between two states."""


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

    Args:
        env: One simulation, which holds the task.
        trained: Who acts.
        params: Its parameters, each leaf (1, ...).
        start: Uniforms that place the start, (1, 1, S).
        caption: What the clip is called.
    """
    episodes = collect(env, trained.policy, params, noise=None, start=start)
    return replay_actions(env, start[0, 0], episodes.actions[0, 0].numpy(), caption)


def replay_actions(
    env: TaskVectorEnv, start: np.ndarray, actions: np.ndarray, caption: str
) -> Clip:
    """Repeat an episode: one picture of the start, FRAMES_PER_STEP of each control step.

    Args:
        env: One simulation, which holds the task.
        start: Uniforms that place the start, (S,).
        actions: (T, A), NaN for 0 as in training; the episode ends earlier where the simulation
            becomes unstable.
        caption: What the clip is called.
    """
    env.reset(options={"start": start[None]})
    frames, rewards, success = [*_picture(env)], [], False
    qpos = env.batch.bind("qpos")  # (1, nq), live
    for t, action in enumerate(actions):
        before, passed = qpos[0].copy(), []
        with watched(env, lambda passed=passed: passed.append(qpos[0].copy())):
            _, reward, terminated, truncated, info = env.step(without_nan(action)[None])
        if info["sim_unstable"][0]:
            caption += f", unstable in step {t}"
            break
        for earlier, later in pairwise([before, *passed]):
            for share in np.arange(1, FRAMES_PER_STEP + 1) / FRAMES_PER_STEP:
                qpos[0] = between(env, earlier, later, share)
                frames.extend(_picture(env))
        qpos[0] = passed[-1]
        # A step that settles takes as long as several: its reward comes with the last of them.
        rewards += [*[0.0] * (len(passed) - 1), float(reward[0])]
        success = bool(info["is_success"][0])
        if terminated[0] or truncated[0]:
            break
    return Clip(frames=frames, rewards=rewards, success=success, caption=caption)


@contextmanager
def watched(env: TaskVectorEnv, look: Callable[[], None]) -> Iterator[None]:
    """Let ``look`` be called as the simulation goes on, several times where it settles."""
    env.on_advance = look
    try:
        yield
    finally:
        env.on_advance = None


def between(env: TaskVectorEnv, before: np.ndarray, after: np.ndarray, share: float) -> np.ndarray:
    """Return the configuration at a share of the way, along the shortest turn of every rotation."""
    velocity, position = np.zeros(env.model.nv), before.copy()
    differentiate = mujoco.mj_differentiatePos  # pyright: ignore[reportAttributeAccessIssue]
    integrate = mujoco.mj_integratePos  # pyright: ignore[reportAttributeAccessIssue]
    differentiate(env.model, velocity, 1.0, before, after)
    integrate(env.model, position, velocity, share)
    return position


def _picture(env: TaskVectorEnv) -> tuple[Frame, ...]:
    return env.render() or ()


def pictures_for(columns: int, *, contact_forces: bool) -> Pictures:
    """Return how episodes are drawn of which so many stand side by side."""
    width, height = cell_size(columns, FRAME_WIDTH_PX, FRAME_HEIGHT_PX)
    return Pictures(width_px=width, height_px=height, contact_forces=contact_forces)


def write_clips(
    clips: Sequence[Clip], env: TaskVectorEnv, path: Path, slow_motion: float, note: str = ""
) -> None:
    """Write clips of the task that the environment holds, side by side.

    Args:
        clips: What is shown.
        env: Holds the task, which is written above.
        path: The film to write; its folder is made if missing.
        slow_motion: How much slower than the world it runs.
        note: What is to be known of the task besides.

    Raises:
        VideoError: The film could not be made.
    """
    parts = [*task_words(env), note, *force_words(env)]
    words = Words(title=film_title(env), parts=[*filter(None, parts)])
    frames = side_by_side(clips, env, words, slow_motion)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_film(frames, path, frames_per_second(env, slow_motion))


def side_by_side(
    clips: Sequence[Clip], env: TaskVectorEnv, words: Words, slow_motion: float
) -> Iterator[Frame]:
    """Return the frames of clips in one row."""
    fps = frames_per_second(env, slow_motion)
    options = {"columns": len(clips), "control_dt_s": env.control_dt_s, "fps": fps}
    return compose_film(clips, words, **options)


def frames_per_second(env: TaskVectorEnv, slow_motion: float) -> float:
    """Return how fast the frames of a clip follow each other."""
    return FRAMES_PER_STEP / (env.control_dt_s * slow_motion)


def film_title(env: TaskVectorEnv) -> str:
    """Return what is filmed: "Grip", or "Grip, greasy pads"."""
    title = family_title(env.family)
    return f"{title}, {env.variant.words}" if env.variant else title


def task_words(env: TaskVectorEnv) -> list[str]:
    """Return the task that the first simulation holds, a parameter each."""
    return describe_task(env.tasks.to_dicts()[0], units_of(env.distribution))


def units_of(distribution: TaskDistribution) -> dict[str, str]:
    """Return the unit of every task parameter."""
    return {parameter.name: parameter.unit for parameter in distribution.parameters}


def force_words(env: TaskVectorEnv) -> list[str]:
    """Say how long the arrows of contact forces are, if they are drawn."""
    if not env.pictures.contact_forces:
        return []
    return [f"arrows: contact forces, 10 cm for {0.1 / env.contact_force_m_per_n:.3g} N"]
