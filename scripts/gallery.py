"""Film every task family for the gallery: short animations, two episodes side by side.

A family with a policy in FILMS, or with a motion that iterative learning control corrects, is
filmed before and after adapting, the others without training: a short search finds the linear
controller with the highest return on the nominal task (left) and on the filmed task (right), both
from the filmed start. The difference is the gain from knowing the task. All draws have the seed 0.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from gymnasium.vector import AutoresetMode
from PIL import Image, ImageDraw, ImageFont
from shared import check_names, takes_options

from metarobot.algorithms import configure
from metarobot.api import render
from metarobot.config import PRESETS, RenderConfig
from metarobot.envs import TaskVectorEnv, find_native
from metarobot.evaluation.protocol import ITERATIVE, NEVER_ADAPTS
from metarobot.evaluation.references import make_iterative_learning
from metarobot.io import write_file
from metarobot.reporting.camera import MujocoCamera
from metarobot.reporting.films import adapt_to
from metarobot.reporting.style import after_episodes
from metarobot.reporting.video import Clip, webp_bytes
from metarobot.rollout.collect import collect
from metarobot.training.load import FOLDER, load_run

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 48_000
"""Most bytes of a film; all films and the rest of docs share one limit, which tests check."""
SIDE_PX = (240, 180)
CAPTION_PX = 24
HOLD_S = 1.2
NUM_CANDIDATES, NUM_ELITES = 48, 8
FRAME_S = 0.12
"""Simulated time between two pictures, in seconds."""
_GROUND, _INK = (20, 24, 31), (238, 240, 245)
_GOOD, _BAD = (53, 196, 150), (240, 98, 98)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Film settings of a family."""

    task: dict[str, float]
    """Task parameters; those not named are nominal."""
    algorithm: str | None = None
    """Algorithm of the shipped policy to film, or iterative learning control; None for searched
    controllers."""
    episodes: int = 5
    """Adaptation episodes before the second side of a trained policy."""
    rounds: int = 25
    """Rounds of the search for controllers."""
    slow_motion: float = 1.0
    """Slow-down factor of the film."""
    seconds: float | None = None
    """Filmed time of an episode, in seconds; all of it when None."""


FILMS: dict[str, Shown] = {
    "reach": Shown(task={"frame_yaw_rad": 1.6, "payload_kg": 1.5}, algorithm="maml", episodes=20),
    "reach-hidden-goal": Shown(
        task={"goal_x_m": 0.12, "goal_y_m": -0.2, "goal_z_m": -0.1}, algorithm="latent"
    ),
    "reach-feed-forward": Shown(task={"payload_kg": 3.0, "drive_strength": 0.7}, rounds=60),
    "grip": Shown(task={"block_mass_kg": 1.5, "pad_friction": 0.25}, algorithm="latent"),
    "slide": Shown(task={"puck_mass_kg": 1.0, "table_friction": 0.1}, algorithm="latent"),
    "push": Shown(
        task={"box_mass_kg": 1.5, "box_friction": 0.3, "load_offset_m": 0.02}, algorithm="latent"
    ),
    "carry": Shown(task={"rod_length_m": 0.36, "load_mass_kg": 0.5}, algorithm="latent"),
    "insert": Shown(task={"offset_x_m": 0.01, "offset_y_m": -0.008}, algorithm="latent"),
    "panda": Shown(
        task={"tool_mass_kg": 1.8, "mass_centre_x_m": -0.05, "command_delay_s": 0.022},
        algorithm=ITERATIVE,
        slow_motion=4.0,
    ),
    "half-cheetah-direction": Shown(task={"direction": -1.0}, seconds=3.0),
    "half-cheetah-velocity": Shown(task={"goal_velocity_m_per_s": 2.0}, seconds=3.0),
    "point-navigation": Shown(
        task={"goal_x_m": -0.3, "goal_y_m": 0.4}, algorithm="maml", episodes=20
    ),
}
"""Film settings by preset."""
OPENING = {"puck_mass_kg": 0.15, "table_friction": 0.37}
"""Task of the film of Slide that opens README.md: too short twice, then in the middle."""


@dataclass(frozen=True, kw_only=True)
class GalleryCommand:
    """Film the task families for docs/gallery.md."""

    families: tuple[str, ...] = field(default_factory=lambda: tuple(FILMS))
    """Presets of the families to film."""
    opening: bool = True
    """Film the opening of README.md as well."""
    out: Path = ROOT / "docs" / "gallery"
    """Folder of the films."""

    def __post_init__(self) -> None:
        """Check the families."""
        check_names("family", self.families, FILMS)


def act(env: TaskVectorEnv, controllers: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, ...]:
    """Run one episode of each linear controller, u = [o, 1] W with o in [-1, 1].

    Args:
        env: M simulations with their tasks; ended episodes are not reset.
        controllers: W, (M, O + 1, A).
        start: Uniforms that place the start of every simulation, (S,).

    Returns:
        Returns (M,) and the actions (M, T, A).
    """
    low, high = env.observation_bounds()
    centre, half_range = (low + high) / 2, (high - low) / 2
    observations, _ = env.reset(options={"start": np.tile(start, (env.num_envs, 1))})
    running, returns, actions = np.ones(env.num_envs, bool), np.zeros(env.num_envs), []
    for _ in range(env.horizon):
        seen = np.pad((observations - centre) / half_range, ((0, 0), (0, 1)), constant_values=1.0)
        asked = np.einsum("mo,moa->ma", seen, controllers)
        actions.append(np.clip(asked, -1.0, 1.0))
        observations, rewards, terminated, truncated, _ = env.step(actions[-1])
        returns += np.where(running, rewards, 0.0)
        running &= ~(terminated | truncated)
    return returns, np.stack(actions, axis=1)


def search(env: TaskVectorEnv, start: np.ndarray, shown: Shown) -> np.ndarray:
    """Return the controller with the highest return, see `act`, by the cross-entropy method."""
    rng = np.random.default_rng(0)
    shape = (len(env.observation_elements) + 1, len(env.action_elements))
    mean, std = np.zeros(shape), np.ones(shape)
    best, most = mean, -np.inf
    for _ in range(shown.rounds):
        tried = mean + std * rng.standard_normal((env.num_envs, *shape))
        tried[0] = best
        returns, _ = act(env, tried, start)
        elites = tried[np.argsort(-returns)[:NUM_ELITES]]
        mean, std = elites.mean(0), elites.std(0) + 0.02
        if returns.max() > most:
            best, most = tried[returns.argmax()], returns.max()
    return best


def searched_episodes(preset: str, env: TaskVectorEnv, shown: Shown) -> dict[str, np.ndarray]:
    """Return actions on the filmed task: of the best controllers for the nominal and this task."""
    start, tasks = first_start(env), env.tasks
    batch = type(env)(
        NUM_CANDIDATES,
        horizon=env.horizon,
        num_threads=1,
        autoreset_mode=AutoresetMode.DISABLED,
    )
    with closing(batch):
        found = []
        for task in (env.distribution.nominal(), tasks):
            batch.set_tasks(task)
            found.append(search(batch, start, shown))
        both = np.resize(np.stack(found), (NUM_CANDIDATES, *found[0].shape))
        _, actions = act(batch, both, start)
    return {"made for the nominal task": actions[0], "made for this task": actions[1]}


def trained_episodes(preset: str, shown: Shown, env: TaskVectorEnv) -> dict[str, np.ndarray]:
    """Return actions of a policy that adapts, on the task before and after adapting."""
    if shown.algorithm == ITERATIVE:
        trained = make_iterative_learning(configure(PRESETS[preset], NEVER_ADAPTS))
    else:
        trained = load_run(FOLDER / preset).policies[shown.algorithm or ""]
    config = RenderConfig(algorithm=shown.algorithm, adaptation_episodes=(shown.episodes,))
    adapted = adapt_to(PRESETS[preset].env_id, env.tasks, trained, config)
    stages = {after_episodes(number): params for number, params in adapted.items()}
    start = first_start(env)[None, None]
    return {
        name: collect(env, trained.policy, params, noise=None, start=start).actions[0, 0].numpy()
        for name, params in stages.items()
    }


def first_start(env: TaskVectorEnv) -> np.ndarray:
    """Return the uniforms (S,) that place the start of all episodes of a film."""
    return np.random.default_rng(0).random(env.start_size)


def film_family(preset: str, shown: Shown) -> tuple[list[Clip], float]:
    """Film two episodes; return them and the time between two pictures of the film, in seconds."""
    family = find_native(PRESETS[preset].env_id, "the gallery")
    step_s = family.control_step_s()
    horizon = None if shown.seconds is None else round(shown.seconds / step_s)
    options = {"horizon": horizon, "num_threads": 1, "render_mode": "rgb_array"}
    with closing(family(1, **options)) as env:
        given = {name: [value] for name, value in shown.task.items()}
        env.set_tasks(env.distribution.with_values(given))
        if shown.algorithm is None:
            episodes = searched_episodes(preset, env, shown)
        else:
            episodes = trained_episodes(preset, shown, env)
        every = max(
            1, round(FRAME_S / shown.slow_motion / step_s)
        )  # control steps from one picture to the next
        camera = MujocoCamera(env, 1 / every, 1 / (every * step_s))
        clips = [
            camera.replay(first_start(env), actions, name) for name, actions in episodes.items()
        ]
        return clips, every * step_s * shown.slow_motion


def compose(clips: Sequence[Clip]) -> list[Image.Image]:
    """Return small frames of clips side by side; a clip that ends first holds its last frame."""
    width, height = SIDE_PX
    length = max(len(clip.frames) for clip in clips)
    composed = []
    for index in range(length):
        frame = Image.new("RGB", (width * len(clips) + 4, height + CAPTION_PX), _GROUND)
        for column, clip in enumerate(clips):
            picture = Image.fromarray(clip.frames[min(index, len(clip.frames) - 1)])
            left = column * (width + 4)
            frame.paste(picture.resize(SIDE_PX, Image.Resampling.LANCZOS), (left, 0))
            _write_caption(ImageDraw.Draw(frame), clip, left, ended=index == length - 1)
        composed.append(frame)
    return composed


def _write_caption(draw: ImageDraw.ImageDraw, clip: Clip, left: int, *, ended: bool) -> None:
    """Write a caption below a side; at the end, with a mark of success or failure."""
    middle = SIDE_PX[1] + CAPTION_PX / 2
    draw.text((left + 8, middle), clip.caption, _INK, ImageFont.load_default(14), anchor="lm")
    if ended:
        word, colour = ("success", _GOOD) if clip.success else ("no success", _BAD)
        place = (left + SIDE_PX[0] - 8, middle)
        draw.text(place, word, colour, ImageFont.load_default(14), anchor="rm")


def write_webp(frames: Sequence[Image.Image], path: Path, frame_s: float) -> int:
    """Write an animation of at most MOST_BYTES, in the best quality; return its size, bytes."""
    durations = [round(1000 * frame_s)] * (len(frames) - 1) + [round(1000 * HOLD_S)]
    for quality in range(70, 0, -10):
        content = webp_bytes(frames, durations, quality)
        if len(content) <= MOST_BYTES:
            write_file(path, content)
            return len(content)
    raise ValueError(f"{path.name} is larger than {MOST_BYTES} bytes in every quality")


@takes_options(GalleryCommand, "gallery.py")
def main(command: GalleryCommand) -> None:
    """Film the families."""
    command.out.mkdir(exist_ok=True)
    for preset in command.families:
        clips, frame_s = film_family(preset, FILMS[preset])
        path = command.out / f"{preset}.webp"
        size = write_webp(compose(clips), path, frame_s)
        returns = ", ".join(f"{sum(clip.rewards):.2f}" for clip in clips)
        print(f"{path.name}: {size} bytes, returns {returns}", flush=True)
    if command.opening:
        path = command.out / "opening.webp"
        render("slide", path, task=OPENING)
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    sys.exit(main())
