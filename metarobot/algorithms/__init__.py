"""Every way to learn, by the name of the agent that learns so."""

from metarobot.algorithms.algorithm import Algorithm
from metarobot.algorithms.maml import FirstOrderMaml, Maml, NoAdaptation
from metarobot.config import Agent, TrainConfig
from metarobot.policies import GaussianMLP

ALGORITHMS: dict[Agent, type[Algorithm]] = {
    "maml": Maml,
    "fomaml": FirstOrderMaml,
    "domain_randomisation": NoAdaptation,
    "oracle": NoAdaptation,
}
"""One for every agent."""


def make_algorithm(config: TrainConfig, policy: GaussianMLP) -> Algorithm:
    """Return what the agent of a configuration learns by."""
    return ALGORITHMS[config.agent](config, policy)


__all__ = ["ALGORITHMS", "Algorithm", "make_algorithm"]
