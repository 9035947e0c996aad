"""The film of a task on which adapting shows, chosen from tasks that were drawn."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np

from metarobot.envs import Tasks, find_family, make_env
from metarobot.policies import Params
from metarobot.reporting.adaptation_video import (
    RenderConfig,
    adapt_to,
    film_adapted,
    find_shown_policy,
    shown_start,
)
from metarobot.rollout.collect import collect
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.seeding import Phase, numpy_generator
from metarobot.training.load import TrainedPolicy, TrainedRun

NUM_DRAWN = 32
"""Tasks, from the split farthest from training."""
CHOSEN = "a chosen task"
"""What is said of it in the film."""


def film_chosen_task(run: TrainedRun, path: Path) -> str:
    """Film a task on which adapting shows, and return how it was chosen, in a sentence.

    A task that is merely drawn often succeeds before adapting already. So the task whose return
    gains most is filmed, of those that fail before adapting and succeed after it, or of all.

    Args:
        run: A run on a family as it is.
        path: The film to write, see `write_film`.

    Raises:
        RunError: The run holds no algorithm that adapts.
        VideoError: ffmpeg failed.
    """
    config = RenderConfig()
    trained = find_shown_policy(run, config)
    tasks = _drawn(run)
    adapted = adapt_to(run.env_id, tasks, trained, config)
    ends = (adapted[0], adapted[max(adapted)])
    index, sentence = _choose(*(_episodes(run, tasks, trained, end, config) for end in ends))
    own = {
        number: {name: leaf[index : index + 1] for name, leaf in params.items()}
        for number, params in adapted.items()
    }
    film_adapted(run, path, tasks.rows([index]), own, config, note=CHOSEN)
    return sentence


def _drawn(run: TrainedRun) -> Tasks:
    """Draw the tasks that one is chosen from."""
    distribution = find_family(run.env_id).distribution
    rng = numpy_generator(RenderConfig().seed, 0, Phase.EVALUATION_TASKS)
    return distribution.sample(rng, NUM_DRAWN, distribution.splits[-1])


def _episodes(
    run: TrainedRun,
    tasks: Tasks,
    trained: TrainedPolicy,
    params: Params,
    config: RenderConfig,
) -> Episodes:
    """Collect the episode that would be filmed of each task, (N, 1, T)."""
    env = make_env(run.env_id, len(tasks), num_threads=1, scene_path=run.scene)
    with closing(env):
        env.set_tasks(tasks)
        start = np.repeat(shown_start(env, config), len(tasks), axis=0)
        return collect(env, trained.policy, params, noise=None, start=start)


def _choose(before: Episodes, after: Episodes) -> tuple[int, str]:
    """Return the place of the task on which adapting shows most, and say how it was chosen."""
    shows = (after.success & ~before.success)[:, 0].numpy()
    gained = (after.returns - before.returns)[:, 0].numpy()
    index = int(np.lexsort((gained, shows))[-1])
    number, drawn = int(shows.sum()), f"The task is chosen: of {len(shows)} drawn, "
    if not number:
        return index, f"{drawn}none turns from failure to success; the return gains most on this."
    turn = "turns" if number == 1 else "turn"
    return index, f"{drawn}{number} {turn} from failure to success; the return gains most on this."
