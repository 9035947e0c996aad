"""Tasks worth trying: named, beyond training, and measured before and after adapting."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from metarobot.adaptation.policy import draw_exploration
from metarobot.adaptation.run import as_adaptable
from metarobot.algorithms.base import adapt_once
from metarobot.envs import (
    TaskDistribution,
    TaskParameter,
    Tasks,
    Variant,
    find_family,
    make_env,
    parameter_words,
)
from metarobot.policies import Params, Policy, repeat_params
from metarobot.rollout.collect import collect
from metarobot.rollout.episodes import Episodes
from metarobot.rollout.seeding import Phase, numpy_generator
from metarobot.training.load import TrainedPolicy, TrainedRun

SHOWN_EPISODES = 5
"""Adaptation episodes of a measurement, and of the demonstration."""
_DEPTHS = (0.3, 0.4)
"""Places of values in their ranges beyond training, as parts of the way from training."""
_MOST_TASKS = 16
"""Tasks with values beyond training that are measured, at most."""
_NUM_STARTS = 3
"""Episodes of a task before adapting, and after it."""
_WORDS = {
    "joint_friction": ("smooth joints", "stiff joints"),
    "joint_damping": ("undamped joints", "damped joints"),
    "swing_damping": ("undamped", "damped"),
    "friction": ("slippery", "rough"),
    "load_mass": ("light load", "heavy load"),
    "mass": ("light", "heavy"),
    "payload": ("light payload", "heavy payload"),
    "load_offset": ("load on the right", "load on the left"),
    "frame_yaw": ("turned right", "turned left"),
    "drive_strength": ("weak drives", "strong drives"),
    "rod_length": ("short rod", "long rod"),
    "clearance": ("hole tight", "hole wide"),
    "lean": ("hole leaning back", "hole leaning forward"),
    "offset_x": ("hole near", "hole far"),
    "offset_y": ("hole on the right", "hole on the left"),
    "goal_x": ("goal near", "goal far"),
    "goal_y": ("goal on the right", "goal on the left"),
    "goal_z": ("goal low", "goal high"),
    "goal_velocity": ("slow", "fast"),
    "direction": ("backward", "forward"),
}
"""Words for a low and a high value of a parameter whose name holds the key; the first that does."""


class TriedTask(NamedTuple):
    """A task, and the success of a policy on it."""

    name: str
    """Its name for people, such as "heavy and slippery"."""
    task: dict[str, float]
    """Its parameters."""
    before: float
    """Share of episodes with success before adapting."""
    after: float
    """Share after `SHOWN_EPISODES` episodes."""
    gain: float
    """Gain of the mean return by adapting."""

    @property
    def turns(self) -> bool:
        """Whether the policy fails before adapting, and succeeds after it, in every episode."""
        return self.before == 0 and self.after == 1

    @property
    def label(self) -> str:
        """Its name, with success before and after."""
        shares = self.before, self.after
        marks = ["✓" if share == 1 else "✗" if share == 0 else "~" for share in shares]
        return f"{self.name} ({marks[0]} → {marks[1]})"


def try_tasks(
    trained: TrainedPolicy, variant: Variant | None = None, seed: int = 0
) -> list[TriedTask]:
    """Measure a policy that adapts on tasks beyond training, and on the nominal one.

    Each parameter lies in a range beyond training, or in a gap where it has none; one or two of
    them at once, the others are nominal.  Every task has the episodes that a `PlaySession` of the
    seed begins with, so that it can show what is measured here.

    Args:
        trained: The policy.
        variant: The variant whose tasks they are; None for the family's.
        seed: Seed of the starts, and of the action noise of adaptation episodes.

    Returns:
        The tasks, those first on which adapting turns most failures into success, and of equal
        ones those on which the return gains most.
    """
    config, algorithm, policy = trained.config, trained.algorithm, as_adaptable(trained)
    distribution = (variant or find_family(config.env_id)).distribution
    named = _named_tasks(distribution)
    columns = {
        each.name: [task.get(each.name, each.nominal) for _, task in named]
        for each in distribution.parameters
    }
    tasks, number = distribution.with_values(columns), len(named)
    params, sims = repeat_params(trained.params, number), number * _NUM_STARTS

    def run(actor: Policy, own: Params, noise: np.ndarray | None, sims: int) -> Episodes:
        """Run the first episodes of exploring, if there is noise, or of acting."""
        phase, episodes = Phase.ADAPTATION, SHOWN_EPISODES
        if noise is None:
            phase, episodes = Phase.RENDERING, _NUM_STARTS
        env = make_env(config.env_id, sims, variant=variant, scene_path=config.scene)
        with closing(env):
            env.set_tasks(tasks)
            starts = [draw_start(seed, 0, phase, each, env.start_size) for each in range(episodes)]
            start = np.repeat(np.stack(starts)[None], number, axis=0)
            return collect(env, actor, own, noise=noise, start=start)

    noise = draw_exploration(policy, SHOWN_EPISODES, seed).noise.repeat(number, axis=0)
    exploring = algorithm.num_simulations(number, SHOWN_EPISODES)
    block = run(algorithm.exploring_policy, params, noise, exploring)
    adapted = adapt_once(algorithm, params, block).params
    before, after = (run(trained.policy, own, None, sims) for own in (params, adapted))
    results = before.success, after.success, after.returns - before.returns
    means = [result.double().mean(dim=1).tolist() for result in results]
    rows = zip([name for name, _ in named], tasks.to_dicts(), *means, strict=True)
    found = [TriedTask(*row) for row in rows]
    found.sort(key=lambda tried: (tried.before - tried.after, -tried.gain))
    best_of = {tried.name: tried for tried in reversed(found)}  # one name may have two depths
    return [tried for tried in found if best_of[tried.name] is tried]


def draw_start(seed: int, attempt: int, phase: Phase, number: int, size: int) -> np.ndarray:
    """Draw the uniforms that place the start of an episode, (S,).

    Args:
        seed: Seed of the session.
        attempt: Number of times that it has forgotten its trials.
        phase: Purpose of the episode: adaptation or rendering.
        number: Number of the episode.
        size: S.
    """
    return numpy_generator(seed, attempt, phase, task=number).random(size, dtype=np.float32)


def find_opening(
    run: TrainedRun, names: Sequence[str], variant: Variant | None = None, seed: int = 0
) -> tuple[str, list[TriedTask]]:
    """Return the first learner that adapting turns a task for, with its tasks; else the first.

    Args:
        run: The run.
        names: Its algorithms to choose from, the first choice first; those that never adapt have
            no tasks.
        variant: The variant that is played; None for the family.
        seed: As of `try_tasks`.
    """
    first: tuple[str, list[TriedTask]] | None = None
    for name in names:
        trained = run.policies[name]
        found = name, try_tasks(trained, variant, seed) if trained.algorithm.adapts else []
        if any(tried.turns for tried in found[1]):
            return found
        first = first or found
    if first is None:
        raise ValueError("there is no algorithm to choose from")
    return first


def _named_tasks(distribution: TaskDistribution) -> list[tuple[str, dict[str, float]]]:
    """Return names and values of tasks with one or two parameters away from the nominal."""
    varying = {each.name: each for each in distribution.parameters if each.varies}
    found = []
    for number, depth in product((2, 1), _DEPTHS):
        for names in combinations(varying, number):
            for chosen in product(*(_extremes(varying[name], depth) for name in names)):
                values = [value for _, value in chosen]
                words = _joined([word for word, _ in chosen])
                found.append((words, dict(zip(names, values, strict=True))))
    spaced = np.linspace(0, len(found) - 1, min(len(found), _MOST_TASKS)).astype(int)
    return [*(found[index] for index in spaced), ("nominal", {})]


def _joined(words: list[str]) -> str:
    """Return words as one name: "hole nearer" and "hole tight" are "hole nearer and tight"."""
    first, *others = words
    noun = f"{first.split()[0]} "
    return " and ".join([first, *(word.removeprefix(noun) for word in others)])


def _extremes(parameter: TaskParameter, depth: float) -> list[tuple[str, float]]:
    """Return words and values of a parameter: beyond training, in its gaps, or its choices.

    Args:
        parameter: The parameter.
        depth: Place in such a range, as a part of the way from the middle of training.
    """
    low, high = parameter.train
    away = parameter.extrapolation or parameter.gaps or ((low, low), (high, high))
    centre = float(np.mean(parameter.scale(np.array([low, high]))))
    values = {}
    for interval in parameter.scale(np.array(away)):
        near, far = sorted(interval.tolist(), key=lambda edge: abs(edge - centre))
        values[far > centre] = near + depth * (far - near)  # of several on a side, the last
    plain = parameter_words(parameter.name, parameter.unit)
    words = next((_WORDS[key] for key in _WORDS if key in parameter.name), None)
    words = words or (f"low {plain}", f"high {plain}")
    found = [
        (words[is_high], float(f"{parameter.unscale(np.array(value)):.3g}"))
        for is_high, value in sorted(values.items())
    ]
    return [(word, value) for word, value in found if value != parameter.nominal]


def draw_surprise(distribution: TaskDistribution, rng: np.random.Generator) -> Tasks:
    """Draw one task of a held-out split, or as trained on where there is none."""
    splits = distribution.splits[1:] or distribution.splits
    return distribution.sample(rng, 1, splits[rng.integers(len(splits))])
