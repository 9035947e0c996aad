"""Trained runs read from their folders: policies and their configurations.

Only tensors and text are read, never a pickle, so a run folder from a stranger can be loaded.  All
of it is checked against the configuration before a policy is built.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path

from metarobot.algorithms import STANDARD_ALGORITHMS, algorithm_class, make_algorithm, make_policy
from metarobot.algorithms.base import Algorithm, tasks_of
from metarobot.config import TrainConfig
from metarobot.envs import SceneRecord, TaskDistribution, Variant, find_variant, nearest_name
from metarobot.io import most_bytes, parse_tensors, typed
from metarobot.policies import GaussianPolicy, Params
from metarobot.training.run_folder import (
    BEST_FILE,
    CHECKPOINT_FOLDER,
    FOLDER,
    POLICY_FILE,
    Origin,
    RunError,
    SavedAlgorithm,
    as_run_error,
    brief,
    check_origin,
    keeps_best,
    pretrained_names,
    read_run,
)


@dataclass(frozen=True)
class TrainedPolicy:
    """A policy with its trained parameters."""

    policy: GaussianPolicy
    """Its functional module."""
    params: Params
    """θ, each leaf in its own shape."""
    config: TrainConfig
    """Configuration of its training."""
    finished: bool = True
    """Whether its whole budget was spent."""
    saved: SavedAlgorithm | None = None
    """Facts of its training, if it was read from a folder."""
    sha256: str = ""
    """SHA-256 of the file that it was read from; empty if none."""

    @cached_property
    def algorithm(self) -> Algorithm:
        """Algorithm that adapts it."""
        return make_algorithm(self.config, self.policy)


@dataclass(frozen=True)
class TrainedRun:
    """The algorithms of one run."""

    seed: int
    env_id: str
    policies: dict[str, TrainedPolicy]
    path: Path = Path()
    """Its folder."""
    untrained: tuple[str, ...] = ()
    """Algorithms of the run that have no policy yet."""

    @property
    def config(self) -> TrainConfig:
        """The configuration of one of its algorithms, which decides the tasks of all."""
        return next(iter(self.policies.values())).config

    @property
    def variant(self) -> Variant | None:
        """The variant that it was trained on, if any."""
        return self.config.variant

    @property
    def distribution(self) -> TaskDistribution:
        """The tasks that it was trained on: those of the family, or of its variant."""
        return tasks_of(self.config)

    @property
    def scene(self) -> SceneRecord | None:
        """The user's scene that it was trained in, if any."""
        return self.config.scene

    @property
    def learners(self) -> tuple[str, ...]:
        """Algorithms that adapt, the first choice first."""
        names = dict.fromkeys((*STANDARD_ALGORITHMS, *self.policies))
        there = (name for name in names if name in self.policies)
        return tuple(name for name in there if algorithm_class(name).adapts)

    @property
    def first_learner(self) -> str:
        """The default algorithm for adaptation: the first of `learners`.

        Raises:
            RunError: No algorithm of the run adapts.
        """
        if not self.learners:
            names = ", ".join(self.policies)
            raise RunError(f"{self.path} holds no algorithm that adapts, only {names}")
        return self.learners[0]

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Algorithms with an interrupted training."""
        interrupted: list[str] = [n for n, trained in self.policies.items() if not trained.finished]
        return (*interrupted, *self.untrained)


def load_run(path: Path, *, best: bool = False) -> TrainedRun:
    """Read all algorithms of a run that have a policy.

    Args:
        path: The run folder, or the name of a run that comes with the package, such as ``grip``.
        best: Take the policy with the best smoothed return in training, not the last one.

    Returns:
        The run; algorithms are in the order of ALGORITHMS.

    Raises:
        RunError: The folder is missing, holds no policy, or an algorithm that cannot be read or
            does not belong with the others.
    """
    path = find_run(path)
    if path.suffix == ".safetensors" and path.is_file():
        raise RunError(
            f"{path} is a file, must be a run folder: load_policy, adapt and export take such files"
        )
    found = {name: _load_algorithm(saved, best) for name, saved in read_run(path).items()}
    policies = {name: trained for name, trained in found.items() if trained}
    if not policies:
        file = f"{CHECKPOINT_FOLDER}/{BEST_FILE}" if best else POLICY_FILE
        raise RunError(f"{path} holds no {file} yet: was it interrupted before a checkpoint?")
    _check_same_run(path, policies)
    config = next(iter(policies.values())).config
    untrained = tuple(name for name, trained in found.items() if not trained)
    return TrainedRun(config.seed, config.env_id, policies, path, untrained)


def _load_algorithm(saved: SavedAlgorithm, best: bool) -> TrainedPolicy | None:
    """Read the last policy of an algorithm, or the best if it keeps one; None if there is none."""
    folder, file, config = saved.folder, POLICY_FILE, saved.config
    if best and keeps_best(config.algorithm):
        folder, file = folder / CHECKPOINT_FOLDER, BEST_FILE
    if not folder.has(file):
        return None
    path = folder.path / file
    with as_run_error(path):
        policy = make_policy(config)
        data = folder.read(file, most_bytes(policy.shapes))
        params, facts = parse_tensors(path, data, policy.shapes)
        check_origin(path, typed(facts, Origin, path), config)
    digest = hashlib.sha256(data).hexdigest()
    return TrainedPolicy(policy, params, config, saved.finished, saved, digest)


def load_runs(paths: Sequence[Path], *, best: bool = False) -> list[TrainedRun]:
    """Read several seeds of one task family; as `load_run` and `require_alike`."""
    runs = [load_run(path, best=best) for path in paths]
    require_alike(runs)
    return runs


def require_alike(runs: Sequence[TrainedRun]) -> None:
    """Refuse runs that are not several seeds of one task family.

    Raises:
        RunError: They differ in family, variant, scene or algorithms, or share a seed.
    """
    first = runs[0]
    for index, run in enumerate(runs):
        if run.env_id != first.env_id:
            raise RunError(
                f"{run.path} is a run of {run.env_id}, but {first.path} one of {first.env_id}: "
                "evaluate one task family at a time"
            )
        if run.variant != first.variant:
            raise RunError(
                f"{run.path} was trained on {_named(run.variant)}, "
                f"but {first.path} on {_named(first.variant)}"
            )
        if (run.scene and run.scene.sha256) != (first.scene and first.scene.sha256):
            raise RunError(f"{run.path} and {first.path} were trained in different scenes")
        if list(run.policies) != list(first.policies):
            raise RunError(
                f"{run.path} holds {', '.join(run.policies)}, "
                f"but {first.path} holds {', '.join(first.policies)}"
            )
        twin = next((other for other in runs[:index] if other.seed == run.seed), None)
        if twin is not None:
            raise RunError(f"{run.path} and {twin.path} have the same seed, {run.seed}")


def choose_variant(run: TrainedRun, name: str | None) -> Variant | None:
    """Return the variant on which a run is measured; None for the family itself.

    Args:
        run: The run.
        name: A shipped variant or a .toml file; ``none`` for the family itself, None for the
            variant that the run was trained on.

    Raises:
        VariantError: There is no such variant, or it is not valid.
        RunError: It is a variant of another family.
    """
    if name is None or name == "none":
        return None if name else run.variant
    variant = find_variant(name)
    if variant.env_id != run.env_id:
        raise RunError(
            f"variant {variant.name!r} is one of {variant.env_id}, "
            f"but {run.path} is a run of {run.env_id}"
        )
    return variant


def find_scene(run: TrainedRun, path: Path | None) -> TrainedRun:
    """Return a run with its scene read from another place, if one is given.

    Raises:
        RunError: The run was trained in the family's own scene.
        SceneError: The file there is another scene.
    """
    if path is None:
        return run
    if run.scene is None:
        raise RunError(f"{run.path} was trained in the family's own scene: leave out --scene")
    scene = run.scene.moved_to(path)
    policies = {
        name: replace(trained, config=replace(trained.config, scene=scene))
        for name, trained in run.policies.items()
    }
    return replace(run, policies=policies)


def _check_same_run(path: Path, policies: Mapping[str, TrainedPolicy]) -> None:
    """Refuse algorithms with different configurations: they cannot be compared."""
    for (first_name, first), (name, trained) in combinations(policies.items(), 2):
        found, wanted = trained.config.chosen_values, first.config.chosen_values
        for field in [name for name in wanted if name in found]:
            if found[field] != wanted[field]:
                raise RunError(
                    f"{first_name} and {name} in {path} were trained with different {field}: "
                    f"{brief(wanted[field])} and {brief(found[field])}"
                )


def _named(variant: Variant | None) -> str:
    return f"the variant {variant.name!r}" if variant else "the family itself"


def find_run(path: Path) -> Path:
    """Return the folder of a run: this path if it exists, or a run of the package.

    Args:
        path: A folder, or the name of one that comes with the package.

    Raises:
        RunError: It does not exist, but resembles the name of one.
    """
    name = str(path)
    if path.exists() or len(path.parts) != 1:
        return path
    if name in pretrained_names():
        return FOLDER / name
    if hint := nearest_name(name, pretrained_names()):
        raise RunError(f"no run folder at {path}, nor policies of that name in the package{hint}")
    return path
