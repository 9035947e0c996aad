"""The video of a replay: an episode that made a meta-update fail, before and after adaptation."""

from __future__ import annotations

from pathlib import Path

from metarobot.envs import make_env
from metarobot.envs.batch_renderer import FRAME_BYTES
from metarobot.envs.checked_numbers import show
from metarobot.envs.memory import require_memory
from metarobot.reporting.adaptation_video import RenderConfig
from metarobot.reporting.filming import FRAMES_PER_STEP, pictures_for, replay_actions, write_clips
from metarobot.reporting.video import Clip
from metarobot.training.replay import Replay


def render_replay(replay: Replay, path: Path, episode: int, config: RenderConfig) -> list[Clip]:
    """Film one episode of a replay before and after adaptation, side by side.

    Args:
        replay: What was written down in training.
        path: The film to write, see `write_film`.
        episode: Number of the episode, from 0.
        config: How it is filmed.

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
    env.pictures = pictures_for(num_blocks, contact_forces=config.contact_forces)
    try:
        env.set_tasks(env.distribution.with_values({k: [v] for k, v in replay.task.items()}))
        clips = []
        for step in range(num_blocks):
            start, actions = replay.starts[step, episode], replay.actions[step, episode]
            caption = f"episode {episode}, after {step} adaptation step{'s' * (step != 1)}"
            clips.append(replay_actions(env, start.numpy(), actions.numpy(), caption))
        write_clips(clips, env, path, config.slow_motion)
    finally:
        env.close()
    return clips
