"""Measure policies on the task sets of an evaluation; scores can be kept in files.

Scores do not depend on who else is measured. So an evaluation that is interrupted, or gets another
policy, measures only what is new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np

from metarobot import __version__
from metarobot.envs import Split, Variant, find_family
from metarobot.evaluation.heat_map import GRID_KEY, Grid, make_grid
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.references import MADE_OF, RANDOM, find_policy
from metarobot.evaluation.scores import Stage, TaskSetScores
from metarobot.evaluation.task_set import TaskSet
from metarobot.io import MAX_JSON_BYTES, Folder, json_bytes, parse_json
from metarobot.training.load import TrainedRun
from metarobot.training.run_folder import POLICY_FILE, algorithm_folder


class PolicyScores(NamedTuple):
    """What one policy of one seed reached."""

    splits: dict[str, TaskSetScores]
    """On the tasks of each split."""
    grid: list[Stage]
    """On the tasks of the heat map, by adaptation episodes; empty where it is not drawn there."""


@dataclass(frozen=True)
class Protocol:
    """The task sets that every policy is measured on."""

    config: EvaluationConfig
    variant: Variant | None
    splits: Mapping[Split, TaskSet]
    """One task set for each split."""
    grid: Grid | None
    """The heat map's tasks; None for a family without."""
    grid_set: TaskSet | None
    """Their task set."""

    @classmethod
    def of(cls, run: TrainedRun, config: EvaluationConfig, variant: Variant | None) -> Protocol:
        """Return the task sets for runs like this one, on a variant or on the family as it is."""
        distribution = (variant or find_family(run.env_id)).distribution
        splits: dict[Split, TaskSet] = {
            split: TaskSet.of_split(run.env_id, split, config, variant, run.scene)
            for split in config.splits or distribution.splits
        }
        grid = make_grid(run, config.grid_size, variant) if config.heat_map else None
        task_set = grid and TaskSet(run.env_id, grid.tasks, GRID_KEY, config, variant, run.scene)
        return cls(config, variant, splits, grid, task_set)

    def measure(self, name: str, run: TrainedRun) -> PolicyScores:
        """Measure one policy of a run on all task sets.

        Args:
            name: Who, of `measured_names`.
            run: The run of one seed.
        """
        if name == RANDOM:
            random = {split: _of_random(task_set) for split, task_set in self.splits.items()}
            return PolicyScores(dict(random), [])
        trained, config = find_policy(name, run, self.config), self.config
        scores = {split: task_set.score(trained) for split, task_set in self.splits.items()}
        grid = self.grid_set and self.grid_set.score_by_episodes(trained, config.heat_map_episodes)
        return PolicyScores(dict(scores), grid or [])


def _of_random(task_set: TaskSet) -> TaskSetScores:
    scores = task_set.score_random()
    before = [Stage(0, scores, None)]
    return TaskSetScores(before, before, [scores])


@dataclass(frozen=True)
class ScoreFiles:
    """Scores kept in a folder, one file a policy and seed."""

    folder: Folder
    """Made if missing."""
    protocol: Protocol
    """How scores are measured that are not there."""

    def measure(self, name: str, run: TrainedRun) -> PolicyScores:
        """Return the scores kept of a policy, or measure and keep them; as `Protocol.measure`.

        Raises:
            ValueError: The file holds something else.
        """
        file, key = f"{name}-seed{run.seed}.json", _key(self.protocol, name, run)
        self.folder.make()
        if self.folder.has(file):
            kept = self._read(file)
            if kept.key == key:
                return kept.scores
        scores = self.protocol.measure(name, run)
        content = msgspec.to_builtins(_Kept(key, scores), enc_hook=np.ndarray.tolist)
        self.folder.write(file, json_bytes(content))
        return scores

    def _read(self, file: str) -> _Kept:
        path = self.folder.path / file
        content = parse_json(self.folder.read(file, MAX_JSON_BYTES), path)
        try:
            return msgspec.convert(content, _Kept, dec_hook=_array)
        except msgspec.ValidationError as error:
            raise ValueError(f"{path} holds no scores: {error}") from error


@dataclass(frozen=True)
class _Kept:
    """What a file of scores holds."""

    key: str
    scores: PolicyScores


def _array(kind: type, numbers: Any) -> np.ndarray:
    """Return the array that a file holds as a list of numbers, (N,)."""
    del kind  # the only one that msgspec does not know
    return np.array(msgspec.convert(numbers, list[float]))


def _key(protocol: Protocol, name: str, run: TrainedRun) -> str:
    """Return what scores depend on, as one word; another version may measure otherwise."""
    # Neither who else is measured, nor on which variants besides, matters.
    config = {**asdict(protocol.config), "untrained": ()}
    config.pop("robustness")
    variant = protocol.variant and protocol.variant.to_dict()
    digest = hashlib.sha256(
        repr((__version__, name, run.env_id, run.seed, config, variant)).encode()
    )
    if name != RANDOM:
        trained = name if name in run.policies else MADE_OF[name]
        digest.update(repr(run.policies[trained].config.decisive_values).encode())
        digest.update(algorithm_folder(run.path, trained).read(POLICY_FILE))
    return digest.hexdigest()
