"""Measure policies on the task sets of an evaluation; scores can be kept in files.

Scores do not depend on who else is measured. So an evaluation that is interrupted, or gets another
policy, measures only what is new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import msgspec
import numpy as np

from metarobot.envs import Split, Variant, find_family
from metarobot.evaluation.heat_map import GRID_KEY, Grid, make_grid
from metarobot.evaluation.protocol import EvaluationConfig, Scores, StepScores, TaskSet
from metarobot.evaluation.references import NEVER_ADAPTS, RANDOM, find_policy
from metarobot.files import MAX_JSON_BYTES, json_bytes, parse_json
from metarobot.folder import Folder
from metarobot.training.load import TrainedRun
from metarobot.training.run_folder import algorithm_folder
from metarobot.training.run_layout import POLICY_FILE

Stages = list[StepScores]
"""Scores after 0, 1, .. adaptation steps."""


class PolicyScores(NamedTuple):
    """What one policy of one seed reached."""

    splits: dict[str, Stages]
    """On the tasks of each split."""
    grid: Stages
    """On the tasks of the heat map; empty where it is not drawn there."""


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
            random = {split: task_set.score_random() for split, task_set in self.splits.items()}
            return PolicyScores({s: [StepScores(score, score)] for s, score in random.items()}, [])
        trained = find_policy(name, run, self.config)
        steps = self.config.num_adaptation_steps if trained.algorithm.adapts else 0
        scores = {split: task_set.score(trained, steps) for split, task_set in self.splits.items()}
        grid = self.grid_set.score(trained, min(1, steps)) if self.grid_set else []
        return PolicyScores(dict(scores), grid)


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
                splits = {split: _stages(stages) for split, stages in kept.splits.items()}
                return PolicyScores(splits, _stages(kept.grid))
        scores = self.protocol.measure(name, run)
        plain = {split: _plain(stages) for split, stages in scores.splits.items()}
        content = {"key": key, "splits": plain, "grid": _plain(scores.grid)}
        self.folder.write(file, json_bytes(content))
        return scores

    def _read(self, file: str) -> _Kept:
        path = self.folder.path / file
        try:
            return msgspec.convert(parse_json(self.folder.read(file, MAX_JSON_BYTES), path), _Kept)
        except msgspec.ValidationError as error:
            raise ValueError(f"{path} holds no scores: {error}") from error


_PlainScores = tuple[list[float], list[float]]  # returns and success, (N,) each
_PlainStages = list[tuple[_PlainScores, _PlainScores]]  # as judged, and exploring


@dataclass(frozen=True)
class _Kept:
    """What a file of scores holds."""

    key: str
    splits: dict[str, _PlainStages]
    grid: _PlainStages


def _plain(stages: Stages) -> list[list[list[list[float]]]]:
    return [[[values.tolist() for values in scores] for scores in stage] for stage in stages]


def _stages(plain: _PlainStages) -> Stages:
    return [StepScores(*(Scores(*map(np.array, scores)) for scores in stage)) for stage in plain]


def _key(protocol: Protocol, name: str, run: TrainedRun) -> str:
    """Return what scores depend on, as one word."""
    config = {**asdict(protocol.config), "untrained": ()}  # who else is measured does not matter
    variant = protocol.variant and protocol.variant.to_dict()
    digest = hashlib.sha256(repr((name, run.env_id, run.seed, config, variant)).encode())
    if name != RANDOM:
        trained = name if name in run.policies else NEVER_ADAPTS
        digest.update(repr(run.policies[trained].config.decisive_values).encode())
        digest.update(algorithm_folder(run.path, trained).read(POLICY_FILE))
    return digest.hexdigest()


def join_seeds(seeds: Sequence[Stages]) -> Stages:
    """Return the scores of several seeds as one, each array (S, N)."""
    return [
        StepScores(
            *(
                Scores(*map(np.stack, zip(*scores, strict=True)))
                for scores in zip(*steps, strict=True)
            )
        )
        for steps in zip(*seeds, strict=True)
    ]
