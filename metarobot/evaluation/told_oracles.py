"""References that are made of a trained oracle, and find out for themselves what to tell it."""

from dataclasses import dataclass, fields
from functools import cached_property

from metarobot.algorithms import Algorithm
from metarobot.algorithms.identification import Identification
from metarobot.algorithms.strategy_search import StrategySearch
from metarobot.algorithms.told_oracle import ToldOracle
from metarobot.envs import find_family
from metarobot.training.load import TrainedPolicy

TOLD_ORACLES: dict[str, type[ToldOracle]] = {
    "strategy_search": StrategySearch,
    "identification": Identification,
}
"""Those there are, by name."""


@dataclass(frozen=True, kw_only=True)
class TrainedToldOracle(TrainedPolicy):
    """A trained oracle that adapts though nobody has trained it for that."""

    reference: type[ToldOracle]
    """How it finds out what to tell the oracle."""

    @cached_property
    def algorithm(self) -> Algorithm:
        """How it adapts."""
        return self.reference(self.config, self.policy)


def make_told_oracle(name: str, oracle: TrainedPolicy) -> TrainedPolicy:
    """Return the reference of this name, made of a trained oracle."""
    reference, config = TOLD_ORACLES[name], oracle.config
    family = find_family(config.env_id)
    low, high = family.observation_bounds(observe_task=True).tolist()
    policy = reference.make_policy(config, low, high, len(family.action_elements))
    own = {field.name: getattr(oracle, field.name) for field in fields(oracle)}
    own.update(policy=policy, params=reference(config, policy).beginning(oracle.params))
    return TrainedToldOracle(**own, reference=reference)
