"""Every way to learn, by the name of the agent that learns so."""

from metarobot.algorithms.algorithm import Algorithm
from metarobot.algorithms.anil import Anil
from metarobot.algorithms.e_maml import EMaml
from metarobot.algorithms.maml import FirstOrderMaml, Maml, NoAdaptation
from metarobot.algorithms.maml_ppo import MamlPpo
from metarobot.algorithms.meta_sgd import MetaSgd
from metarobot.algorithms.promp import ProMP
from metarobot.algorithms.prototype import Prototype
from metarobot.algorithms.reptile import Reptile
from metarobot.config import Agent, TrainConfig
from metarobot.policies import GaussianMLP

ALGORITHMS: dict[Agent, type[Algorithm]] = {
    "maml": Maml,
    "fomaml": FirstOrderMaml,
    "maml_ppo": MamlPpo,
    "promp": ProMP,
    "e_maml": EMaml,
    "anil": Anil,
    "meta_sgd": MetaSgd,
    "reptile": Reptile,
    "prototype": Prototype,
    "domain_randomisation": NoAdaptation,
    "oracle": NoAdaptation,
}
"""One for every agent."""


def make_algorithm(config: TrainConfig, policy: GaussianMLP) -> Algorithm:
    """Return what the agent of a configuration learns by."""
    return ALGORITHMS[config.agent](config, policy)


__all__ = ["ALGORITHMS", "Algorithm", "make_algorithm"]
