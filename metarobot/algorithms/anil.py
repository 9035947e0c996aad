"""ANIL: almost no inner loop."""

from metarobot.algorithms.maml import Maml
from metarobot.policies import Params


class Anil(Maml):
    """MAML that adapts the last layer and the action noise only; the features stay.

    Source: Raghu et al. 2020, arXiv:1909.09157.
    """

    title = "ANIL"

    def step_sizes(self, params: Params) -> dict[str, float]:
        """Return α for each leaf of the head."""
        head = f"layers.{len(self.policy.layers) - 1}."
        return {
            name: self.options.inner_lr
            for name in params
            if name.startswith(head) or name == "log_std"
        }
