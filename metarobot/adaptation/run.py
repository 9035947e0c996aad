"""A run as policies that act and adapt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.adaptation.robot import Interface
from metarobot.console import html_table, printable
from metarobot.envs import find_family
from metarobot.training.load import TrainedPolicy, TrainedRun


class Run(Mapping[str, AdaptablePolicy]):
    """The trained policies of one run, by the names of their algorithms.

    Example::

        run = mr.load_run("runs/grip-seed0")
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

    def _repr_html_(self) -> str:
        run, headings = self.trained, ("policy", "adapts", "trained with", "state")
        rows = [
            (
                name,
                "yes" if name in run.learners else "no",
                f"{trained.config.total_steps:,} control steps",
                "trained" if trained.finished else "interrupted",
            )
            for name, trained in run.policies.items()
        ]
        variant = f", {run.variant.name}" if run.variant else ""
        title = f"Run of {run.env_id}{variant}, seed {run.seed}: {printable(run.path.name)}"
        return html_table(title, headings, rows)


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


def _floats(bounds: np.ndarray) -> tuple[float, ...]:
    return tuple(map(float, bounds))
