"""A run, or a policy's file, as policies that act and adapt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from metarobot.adaptation.policy import SUFFIX, AdaptablePolicy, load_policy_file
from metarobot.adaptation.robot import Interface
from metarobot.envs import find_family
from metarobot.training.load import TrainedPolicy, TrainedRun, load_run


class Run(Mapping[str, AdaptablePolicy]):
    """The trained policies of one run, by the names of their algorithms.

    Example::

        run = mr.load("runs/grip-seed0")
        print(list(run))  # ["maml", "latent", "domain_randomisation", "oracle"]
        policy = run["latent"]
    """

    def __init__(self, trained: TrainedRun) -> None:
        self.trained = trained

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.trained.path

    def __getitem__(self, algorithm: str) -> AdaptablePolicy:
        if algorithm not in self.trained.policies:
            raise KeyError(f"{self.path} holds no {algorithm!r}, only {', '.join(self)}")
        return as_adaptable(self.trained.policies[algorithm])

    def __iter__(self) -> Iterator[str]:
        return iter(self.trained.policies)

    def __len__(self) -> int:
        return len(self.trained.policies)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}: {', '.join(self)})"


def as_adaptable(trained: TrainedPolicy) -> AdaptablePolicy:
    """Return a trained policy with the interface of its family."""
    config = trained.config
    family = find_family(config.env_id)
    low, high = family.observation_bounds(observe_task=trained.algorithm.observes_task)
    interface = Interface(
        observation_low=_floats(low),
        observation_high=_floats(high),
        action_size=len(family.action_elements),
        horizon=family.default_horizon,
    )
    return AdaptablePolicy(config=config, params=trained.params, interface=interface)


def load_run_or_policy(path: Path, *, best: bool = False) -> Run | AdaptablePolicy:
    """Read a run's folder, or the file of a policy that was saved.

    Args:
        path: The folder, or the file, which ends in .safetensors.
        best: Of a run, take the policies with the best smoothed return in training.

    Raises:
        OSError: It is missing or cannot be read.
        ValueError: It is damaged or holds something else, or the best policy of a file is wanted.
    """
    if path.suffix == SUFFIX and not path.is_dir():
        if best:
            raise ValueError(f"{path} holds one policy: best goes with a run's folder")
        return load_policy_file(path)
    return Run(load_run(path, best=best))


def _floats(bounds: np.ndarray) -> tuple[float, ...]:
    return tuple(map(float, bounds))
