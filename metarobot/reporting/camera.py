"""One simulation in front of a camera, whatever simulates it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from PIL import Image, ImageOps

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.algorithms import algorithm_class
from metarobot.config import RenderConfig, TrainConfig
from metarobot.envs import TaskBatch, TaskVectorEnv, Variant, find_native, make_env
from metarobot.envs.renderer import FRAME_HEIGHT_PX, FRAME_WIDTH_PX, Pictures
from metarobot.policies import Params
from metarobot.reporting.style import family_title
from metarobot.reporting.video import (
    MOST_FPS,
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
"""Frames a control step, at most; all but the last are interpolated between two states."""
_STILL = 1e-5
"""Grid of coordinates, in m or rad, on which configurations count as one picture."""

_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""


@contextmanager
def open_camera(
    trained_with: TrainConfig,
    path: Path,
    columns: int,
    config: RenderConfig,
    variant: Variant | None,
    rows: int = 1,
) -> Iterator[Camera]:
    """Make one simulation in front of a camera, for a film with so many clips side by side.

    Args:
        trained_with: Training configuration of the filmed policy.
        path: The film; its ending limits its size and frame rate.
        columns: Clips side by side.
        config: Contact forces and slow motion.
        variant: Variant to film; None for the family itself.
        rows: Clips one below the other.
    """
    if config.contact_forces:
        find_native(trained_with.env_id, "a picture of contact forces")
    env = make_env(
        trained_with.env_id,
        1,
        render_mode="rgb_array",
        num_threads=1,
        observe_task=algorithm_class(trained_with.algorithm).observes_task,
        variant=variant,
        scene_path=trained_with.scene,
    )
    with closing(env):
        ending = path.suffix.lower()
        size = width, height = cell_size(columns, ending, rows)
        step_s = env.control_dt_s * config.slow_motion
        most = MOST_FPS[ending] * step_s
        if not isinstance(env, TaskVectorEnv):
            yield Camera(env, min(1, most), min(1, most) / step_s, size)
            return
        forces, frames = config.contact_forces, min(FRAMES_PER_STEP, most)
        env.pictures = Pictures(width_px=width, height_px=height, contact_forces=forces)
        yield MujocoCamera(env, frames, frames / step_s, size)


@dataclass(frozen=True)
class Camera:
    """One simulation in front of a camera."""

    env: TaskBatch
    """The simulation, which holds the task."""
    frames_per_step: float
    """Frames a control step; fewer than 1 where the film would be too fast."""
    fps: float
    """Frames a second of the film."""
    size_px: tuple[int, int] = (FRAME_WIDTH_PX, FRAME_HEIGHT_PX)
    """Width and height of a frame."""

    @property
    def title(self) -> str:
        """Family and variant: "Grip", or "Grip, greasy pads"."""
        title = family_title(self.env.family)
        return f"{title}, {self.env.variant.words}" if self.env.variant else title

    def task_words(self) -> list[str]:
        """Return the task that the simulation holds, a parameter each."""
        units = {each.name: each.unit for each in self.env.distribution.parameters}
        return describe_task(self.env.tasks.to_dicts()[0], units)

    def force_words(self) -> list[str]:
        """Return the scale of the contact force arrows, if they are drawn."""
        return []

    def film(
        self,
        trained: TrainedPolicy | AdaptablePolicy,
        params: Params,
        start: np.ndarray,
        caption: str,
    ) -> Clip:
        """Run one deterministic episode and film it.

        The episode is collected as everywhere else; then its actions are replayed in front of the
        camera, which repeats it bit for bit.

        Args:
            trained: The policy that acts.
            params: Its parameters, each leaf (1, ...).
            start: Uniforms that place the start, (1, 1, S).
            caption: Caption of the clip.
        """
        episodes = collect(self.env, trained.policy, params, noise=None, start=start)
        return self.replay(start[0, 0], episodes.actions[0, 0].numpy(), caption)

    def replay(self, start: np.ndarray, actions: np.ndarray, caption: str) -> Clip:
        """Repeat an episode, with frames of the start, of the end, and evenly between.

        Args:
            start: Uniforms that place the start, (S,).
            actions: (T, A), NaN for 0 as in training; the episode ends earlier where the simulation
                becomes unstable.
            caption: Caption of the clip.
        """
        env, rewards, success = self.env, [], False
        env.reset(options={"start": start[None]})
        frames = [self.picture()]
        for t, action in enumerate(actions):
            path, results = self._take_step(without_nan(action)[None])
            _, reward, terminated, truncated, info = results
            if info["sim_unstable"][0]:
                caption += f", unstable in step {t}"
                break
            # A step that settles takes as long as several: its reward comes with the last of them.
            for before, after in pairwise(path):
                while (share := len(frames) / self.frames_per_step - len(rewards)) <= 1.0:
                    frames.append(self._picture_between(before, after, share))
                rewards.append(0.0)
            rewards[-1] = float(reward[0])
            success = bool(info["is_success"][0])
            if terminated[0] or truncated[0]:
                break
        if len(frames) - 1 < len(rewards) * self.frames_per_step:
            frames.append(self.picture())
        return Clip(frames=frames, rewards=rewards, success=success, caption=caption)

    def _take_step(self, actions: np.ndarray) -> tuple[list[np.ndarray], tuple[Any, ...]]:
        """Take a control step; return configurations on its way, if known, and its results."""
        return [np.empty(0)] * 2, self.env.step(actions)

    def _picture_between(self, before: np.ndarray, after: np.ndarray, share: float) -> Frame:
        """Return the picture at a share of the way between two configurations; here the last."""
        del before, after, share
        return self.picture()

    def picture(self) -> Frame:
        """Return the picture of the simulation as it is."""
        return self._draw()

    def _draw(self) -> Frame:
        frames = self.env.render()
        assert frames, "the environment was made without render_mode"
        frame = np.asarray(frames[0])
        width, height = self.size_px
        if frame.shape[:2] == (height, width):
            return frame
        return np.asarray(ImageOps.pad(Image.fromarray(frame), self.size_px))

    def compose(self, clips: Sequence[Clip], words: Words, columns: int) -> Iterator[Frame]:
        """Return the frames of clips side by side, with words above."""
        dt_s = self.env.control_dt_s
        return compose_film(clips, words, columns=columns, control_dt_s=dt_s, fps=self.fps)


@dataclass(frozen=True)
class MujocoCamera(Camera):
    """A native simulation, with frames between two control steps too."""

    env: TaskVectorEnv
    drawn: dict[tuple[bytes, bytes], Frame] = field(default_factory=dict)
    """Pictures by task and configuration: none is drawn twice, whichever clip shows it."""

    def force_words(self) -> list[str]:
        """Return the scale of the contact force arrows, if they are drawn."""
        if not self.env.pictures.contact_forces:
            return []
        return [f"arrows: contact forces, 10 cm for {0.1 / self.env.contact_force_m_per_n:.3g} N"]

    def _take_step(self, actions: np.ndarray) -> tuple[list[np.ndarray], tuple[Any, ...]]:
        qpos = self.env.batch.bind("qpos")  # (1, nq), live
        path = [qpos[0].copy()]
        with watched(self.env, lambda: path.append(qpos[0].copy())):
            results = self.env.step(actions)
        return path, results

    def _picture_between(self, before: np.ndarray, after: np.ndarray, share: float) -> Frame:
        qpos = self.env.batch.bind("qpos")  # (1, nq), live
        held = qpos[0].copy()
        qpos[0] = between(self.env, before, after, share)
        frame = self.picture()
        qpos[0] = held
        return frame

    def picture(self) -> Frame:
        """Return the picture of the simulation as it is, drawn once for each configuration."""
        qpos = self.env.batch.bind("qpos")[0]
        task = np.concatenate([self.env.tasks[name] for name in self.env.tasks.names]).tobytes()
        key = task, np.round(qpos / _STILL).astype(np.int64).tobytes()
        if key not in self.drawn or self.env.pictures.contact_forces:
            self.drawn[key] = self._draw()
        return self.drawn[key]


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
    _mj.mj_differentiatePos(env.model, velocity, 1.0, before, after)
    _mj.mj_integratePos(env.model, position, velocity, share)
    return position
