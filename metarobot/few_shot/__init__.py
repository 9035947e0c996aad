"""Few-shot learners on any module and any loss: they adapt from a few examples of a task."""

from metarobot.few_shot.anil import Anil
from metarobot.few_shot.examples import Examples, FewShotTasks
from metarobot.few_shot.gradient_learner import GradientLearner, GradientOptions
from metarobot.few_shot.learner import AdaptedModel, Learner, LearnerOptions, SampleTasks
from metarobot.few_shot.maml import Maml, MamlOptions
from metarobot.few_shot.meta_sgd import MetaSgd
from metarobot.few_shot.module_loss import ExampleLoss, ModuleLoss, cross_entropy, squared_error
from metarobot.few_shot.prototypical_network import PrototypicalNetwork
from metarobot.few_shot.reptile import Reptile, ReptileOptions

__all__ = [
    "AdaptedModel",
    "Anil",
    "ExampleLoss",
    "Examples",
    "FewShotTasks",
    "GradientLearner",
    "GradientOptions",
    "Learner",
    "LearnerOptions",
    "Maml",
    "MamlOptions",
    "MetaSgd",
    "ModuleLoss",
    "PrototypicalNetwork",
    "Reptile",
    "ReptileOptions",
    "SampleTasks",
    "cross_entropy",
    "squared_error",
]
