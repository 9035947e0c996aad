"""Every way to learn, by the name of the algorithm that learns so."""

from typing import Any

from metarobot.algorithms.adaptation import AdaptationStep, Collect, adapt_in_steps
from metarobot.algorithms.algorithm import Algorithm
from metarobot.algorithms.anil import Anil
from metarobot.algorithms.e_maml import EMaml
from metarobot.algorithms.maml import FirstOrderMaml, Maml, NoAdaptation, Oracle
from metarobot.algorithms.maml_ppo import MamlPpo
from metarobot.algorithms.meta_sgd import MetaSgd
from metarobot.algorithms.promp import ProMP
from metarobot.algorithms.prototype import Prototype
from metarobot.algorithms.reptile import Reptile
from metarobot.algorithms.rl2 import Rl2
from metarobot.config import TrainConfig
from metarobot.policies import GaussianPolicy

ALGORITHMS: dict[str, type[Algorithm[Any]]] = {
    "maml": Maml,
    "fomaml": FirstOrderMaml,
    "maml_ppo": MamlPpo,
    "promp": ProMP,
    "e_maml": EMaml,
    "anil": Anil,
    "meta_sgd": MetaSgd,
    "reptile": Reptile,
    "prototype": Prototype,
    "rl2": Rl2,
    "domain_randomisation": NoAdaptation,
    "oracle": Oracle,
}
"""One for every algorithm."""


def make_algorithm(config: TrainConfig, policy: GaussianPolicy) -> Algorithm[Any]:
    """Return what the algorithm of a configuration learns by."""
    return ALGORITHMS[config.algorithm](config, policy)


__all__ = [
    "ALGORITHMS",
    "AdaptationStep",
    "Algorithm",
    "Collect",
    "adapt_in_steps",
    "make_algorithm",
]
