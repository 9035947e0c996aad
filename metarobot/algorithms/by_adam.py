"""What algorithms have in common whose meta-update is several epochs of Adam."""

from collections.abc import Mapping
from typing import cast

from torch import Tensor

from metarobot.adam import AdamState, adam_update
from metarobot.algorithms.algorithm import Algorithm, PolicyT
from metarobot.config import TrainConfig
from metarobot.meta_batch import MetaBatch, UpdateReport
from metarobot.meta_gradient import MetaObjective
from metarobot.policies import Params
from metarobot.workers import Workers


class ByAdam(Algorithm[PolicyT]):
    """Lowers its own losses by Adam; what derives from it is a `MetaObjective`."""

    def __init__(self, config: TrainConfig, policy: PolicyT) -> None:
        super().__init__(config, policy)
        self._moments = AdamState.fresh(dict(policy.named_parameters()))

    def update(
        self, params: Params, batch: MetaBatch, workers: Workers
    ) -> tuple[Params, UpdateReport]:
        """Take the epochs of one meta-batch."""
        objective = cast(MetaObjective, self)
        params, report, self._moments = adam_update(
            objective, params, batch, self._moments, workers
        )
        return params, report

    def state(self) -> dict[str, Tensor]:
        """Return Adam's moments."""
        return self._moments.to_tensors()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take Adam's moments from a checkpoint."""
        self._moments = AdamState.from_tensors(state, self.policy.shapes)
