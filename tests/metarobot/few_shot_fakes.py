"""Small few-shot tasks and learners in float64."""

import torch
from torch import nn

from metarobot.few_shot import (
    Anil,
    Examples,
    FewShotTasks,
    LearnerOptions,
    Maml,
    MamlOptions,
    MetaSgd,
    PrototypicalNetwork,
    Reptile,
    ReptileOptions,
    cross_entropy,
    squared_error,
)

N, S, Q, SIZE, CLASSES = 3, 6, 8, 4, 3


def small_module(seed=0):
    """A smooth network: finite differences see no kinks."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Linear(SIZE, 5), nn.Tanh(), nn.Linear(5, CLASSES)
    return nn.Sequential(*layers).double()


def regression_tasks(seed=0, num_tasks=N):
    generator = torch.Generator().manual_seed(seed)

    def examples(count):
        inputs = torch.randn(num_tasks, count, SIZE, generator=generator, dtype=torch.float64)
        targets = torch.randn(num_tasks, count, CLASSES, generator=generator, dtype=torch.float64)
        return Examples(inputs, targets)

    return FewShotTasks(examples(S), examples(Q))


def classification_tasks(seed=0, num_tasks=N):
    """Every class stands in the support, at places that differ from task to task."""
    generator = torch.Generator().manual_seed(seed)

    def examples(count):
        inputs = torch.randn(num_tasks, count, SIZE, generator=generator, dtype=torch.float64)
        order = torch.rand(num_tasks, count, generator=generator).argsort(1)
        return Examples(inputs, order % CLASSES)

    return FewShotTasks(examples(S), examples(Q))


def maml(loss=squared_error, **options):
    return Maml(small_module(), loss, MamlOptions(inner_lr=0.3, **options))


def anil(**options):
    return Anil(small_module(), squared_error, MamlOptions(inner_lr=0.3, **options), head="2")


def meta_sgd(**options):
    return MetaSgd(small_module(), squared_error, MamlOptions(inner_lr=0.3, **options))


def reptile(**options):
    return Reptile(small_module(), squared_error, ReptileOptions(inner_lr=0.1, **options))


def prototypical(**options):
    return PrototypicalNetwork(small_module(), LearnerOptions(**options))


LEARNERS = {
    "maml": (maml, regression_tasks),
    "maml of classes": (lambda **options: maml(cross_entropy, **options), classification_tasks),
    "first-order maml": (lambda **options: maml(first_order=True, **options), regression_tasks),
    "anil": (anil, regression_tasks),
    "meta-sgd": (meta_sgd, regression_tasks),
    "reptile": (reptile, regression_tasks),
    "prototypical network": (prototypical, classification_tasks),
}
"""How each is made, and tasks for it."""
EXACT = ["maml", "maml of classes", "anil", "meta-sgd", "prototypical network"]
"""Those whose meta-update follows the derivative of the loss after adapting."""
