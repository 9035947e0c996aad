"""Prototypical networks: a class is the mean of what its support examples are embedded as."""

from torch import Tensor, nn
from torch.nn.functional import one_hot

from metarobot.few_shot.examples import Examples
from metarobot.few_shot.learner import Learner, LearnerOptions
from metarobot.few_shot.module_loss import cross_entropy, task_outputs
from metarobot.learning.prototypes import NEVER, prototypes
from metarobot.policies import Params
from metarobot.policies.params import under_prefix, with_prefix

_ENCODER, _PROTOTYPES, _COUNTS = "encoder.", "prototypes", "counts"


class PrototypicalNetwork(Learner[LearnerOptions]):
    """p(c | x) ∝ exp(-‖f(x) - prototype_c‖²), with f the module: an encoder, which does not adapt.

    It classifies; targets are classes 0 .. C - 1. A class without support in a task is never
    predicted there.

    Args:
        module: Maps inputs (S, ...) to embeddings (S, D).
        options: Of all learners.

    Source: Snell et al. 2017, arXiv:1703.05175, Algorithm 1.
    """

    title = "prototypical network"

    def __init__(self, module: nn.Module, options: LearnerOptions) -> None:
        super().__init__(module, cross_entropy, options)

    def adapt_params(self, params: Params, support: Examples) -> Params:
        """Return the encoder's leaves, prototypes (N, C, D) and examples of each class (N, C)."""
        embeddings = task_outputs(self.module, params, support.inputs)
        belongs = one_hot(support.targets).mT.to(embeddings.dtype)  # (N, C, S)
        return {
            **with_prefix(_ENCODER, params),
            _PROTOTYPES: prototypes(embeddings[:, None], belongs),
            _COUNTS: belongs.sum(-1),
        }

    def outputs(self, adapted: Params, inputs: Tensor) -> Tensor:
        """Return -‖f(x) - prototype_c‖² as the logit of every class, (N, Q, C)."""
        embeddings = task_outputs(self.module, under_prefix(_ENCODER, adapted), inputs)
        squared = (embeddings[:, :, None] - adapted[_PROTOTYPES][:, None]).square().sum(-1)
        return (-squared).masked_fill(adapted[_COUNTS][:, None] == 0, NEVER)
