"""Options of every algorithm, and the table of algorithms.

An algorithm is its options here, with a line in the table below, and its class, which says how it
adapts and how it is trained.  This file imports no torch, so that help and refusals are printed at
once; a class is imported when it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metarobot.config import (
    INNER_OBJECTIVES,
    MOST_ADAPTATION_STEPS,
    MOST_EPISODES,
    AdamOptions,
    AlgorithmOptions,
    InnerObjective,
    TrustRegion,
    choice,
    fixed,
    integer,
    number,
    switch,
)
from metarobot.machine import Registry
from metarobot.policies import MIN_STD

if TYPE_CHECKING:
    from metarobot.algorithms.base import Algorithm


@dataclass(frozen=True, kw_only=True)
class ReferenceOptions(AlgorithmOptions, TrustRegion):
    """Options of the references that never adapt."""

    num_adaptation_steps: int = fixed(0)
    """K, adaptation steps before the post-update episodes."""
    min_std: float = fixed(MIN_STD)
    """Floor of the action noise, in half action ranges: the lowest, since the policy may become
    deterministic."""


@dataclass(frozen=True, kw_only=True)
class OracleOptions(ReferenceOptions):
    """Options of the oracle."""

    task_products: bool = switch(True)
    """Whether its first layer also sees the products of observation and task."""
    careful_share: float = number(0.4, 0.0, 1.0)
    """Share of the meta-iterations, at the beginning, in which the policy does not see the task."""


_MOST_RECURRENT_EPISODES = 5
"""Greatest number of episodes on each task of a meta-batch: many small updates, as for RL²."""


@dataclass(frozen=True, kw_only=True)
class RecurrentRandomisationOptions(ReferenceOptions):
    """Options of domain randomisation with memory."""

    def num_episodes(self, episodes_per_task: int) -> int:
        """Return the episodes on each task."""
        return min(episodes_per_task, _MOST_RECURRENT_EPISODES)


@dataclass(frozen=True, kw_only=True)
class AdaptationStepOptions(AlgorithmOptions):
    """One adaptation step, and the episodes that it learns from."""

    inner_lr: float = number(0.1, 1e-6, 100.0)
    """α, step size of an adaptation step."""
    inner_objective: InnerObjective = choice("lvc", INNER_OBJECTIVES)
    """Objective of an adaptation step; with likelihood_ratio the line search follows the function
    that was differentiated, and accepts longer steps."""
    normalise_inner: bool = switch(True)
    """Normalise the advantages of each task to standard deviation 1 before an adaptation step.
    Without, a task farther from its optimum takes a larger step, and inner_lr is per unit of
    return."""
    shrink_steps: bool = switch(True)
    """Shrink an adaptation step by its noise and by the steps already taken: episodes that disagree
    move a task little, and later steps do not overshoot. Without, noise moves it as far as a
    signal, and few episodes do harm."""
    value_prior: bool = switch(True)
    """Fit a task's value baseline to the mean over all tasks of meta-training as well, as far as
    that predicts the task's episodes. Without, the baseline overfits few episodes, and their
    advantages are noise."""
    vary_episodes: bool = switch(False)
    """Draw the number of adaptation episodes of a meta-iteration from 1, 2, 5, 10, 20, up to
    episodes_per_task, so that one initialisation serves all of these numbers."""
    adaptation_min_std: float = number(MIN_STD, MIN_STD, 10.0)
    """Floor of the action noise in adaptation episodes, in half action ranges. MAML's gradient does
    not credit exploration for its use to adaptation: without this floor, adaptation episodes
    become uninformative."""

    def check_episodes(self, episodes_per_task: int) -> None:
        """Refuse a single episode on each task: meta-training would never see its noise."""
        if self.shrink_steps and self.adaptation_steps > 0 and episodes_per_task < 2:
            raise ValueError(
                "shrink_steps measures noise by how episodes of a task differ: episodes_per_task "
                f"must be at least 2, got {episodes_per_task}; or pass --no-shrink-steps"
            )


@dataclass(frozen=True, kw_only=True)
class GradientOptions(AdaptationStepOptions):
    """An initialisation that is trained through its adaptation steps."""

    num_adaptation_steps: int = integer(1, 0, MOST_ADAPTATION_STEPS)
    """K, adaptation steps before the post-update episodes."""
    first_order: bool = switch(False)
    """Drop the second derivatives of the adaptation from the meta-gradient."""
    min_std: float = number(MIN_STD, MIN_STD, 10.0)
    """Floor of the action noise, in half action ranges. The trust region is as narrow as the noise,
    so that a nearly deterministic policy can hardly learn."""


@dataclass(frozen=True, kw_only=True)
class MamlOptions(GradientOptions, TrustRegion):
    """Options of MAML: its adaptation steps, and the trust region of its meta-update."""


@dataclass(frozen=True, kw_only=True)
class FomamlOptions(MamlOptions):
    """Options of first-order MAML."""

    first_order: bool = fixed(True)
    """Drop the second derivatives of the adaptation from the meta-gradient."""


@dataclass(frozen=True, kw_only=True)
class MamlPpoOptions(GradientOptions, AdamOptions):
    """Options of MAML-PPO: its adaptation steps, and the epochs of its meta-update."""

    clip_ratio: float = number(0.2, 0.01, 1.0)
    """Distance of probability ratios from 1 at which PPO's gradient ends."""


@dataclass(frozen=True, kw_only=True)
class ProMPOptions(MamlPpoOptions):
    """Options of ProMP."""

    inner_objective: InnerObjective = fixed("lvc")
    """Objective of an adaptation step."""
    inner_kl_penalty: float = number(5.0, 0.0, 100.0)
    """Weight of the KL divergence of the policies that adaptation starts from, in units of the
    advantages' standard deviation per nat."""


@dataclass(frozen=True, kw_only=True)
class ReptileOptions(AdaptationStepOptions):
    """Options of Reptile."""

    adaptation_min_std: float = number(MIN_STD, MIN_STD, 10.0)
    """Floor of the action noise in all episodes, in half action ranges: the gradient grows as the
    noise shrinks, and no trust region bounds the step."""
    reptile_steps: int = integer(6, 1, 1000)
    """Adaptation steps on each task before θ moves towards their end; the last is on the
    post-update episodes. The part beyond joint training grows with the number of pairs of steps:
    3 steps hardly learn to adapt."""
    reptile_rate: float = number(1.0, 1e-6, 1.0)
    """Share of the way to their mean end that θ moves, in (0, 1]."""
    outer_max_kl: float = number(0.03, 1e-8, 10.0)
    """Bound on the mean KL divergence of a move between adapted policies, in nats."""

    @property
    def min_std(self) -> float:
        """Floor of the action noise: that of adaptation episodes, everywhere."""
        return self.adaptation_min_std

    @property
    def adaptation_steps(self) -> int:
        """Adaptation steps before the post-update episodes, on which the last one is taken."""
        return self.reptile_steps - 1


@dataclass(frozen=True, kw_only=True)
class LearnedLossOptions(AlgorithmOptions, TrustRegion):
    """Options of the learner of an inner loss."""

    num_adaptation_steps: int = integer(1, 0, MOST_ADAPTATION_STEPS)
    """K, adaptation steps before the post-update episodes."""
    min_std: float = number(MIN_STD, MIN_STD, 10.0)
    """Floor of the action noise, in half action ranges."""
    adaptation_min_std: float = number(MIN_STD, MIN_STD, 10.0)
    """Floor of the action noise in adaptation episodes, in half action ranges."""
    context_size: int = integer(8, 1, 1024)
    """Z, elements of the context that adapts."""
    support_episodes: int = integer(5, 1, 10_000)
    """Adaptation episodes of each task in training, at most episodes_per_task. Few are enough, as
    the loss has no sampling noise, and fewer episodes allow more meta-updates within a budget."""


@dataclass(frozen=True, kw_only=True)
class PrototypeOptions(AlgorithmOptions, TrustRegion):
    """Options of adaptation by prototypes."""

    num_adaptation_steps: int = integer(1, 0, MOST_ADAPTATION_STEPS)
    """K, blocks of adaptation episodes before the post-update episodes."""
    min_std: float = number(MIN_STD, MIN_STD, 10.0)
    """Floor of the action noise, in half action ranges."""
    adaptation_min_std: float = number(MIN_STD, MIN_STD, 10.0)
    """Floor of the action noise in adaptation episodes, in half action ranges."""
    embedding_size: int = integer(8, 1, 1024)
    """D, elements of the prototype of a task."""
    encoder_epochs: int = integer(10, 1, 10_000)
    """Steps of Adam that the task encoder takes on the adaptation episodes of each meta-batch.
    If there are too few, its loss in the log stays near log N, that of random answers."""
    outer_lr: float = number(1e-3, 1e-8, 10.0)
    """Learning rate of the encoder's Adam."""

    def check_episodes(self, episodes_per_task: int) -> None:
        """Refuse a single adaptation episode: the encoder compares at least two."""
        if self.num_adaptation_steps * episodes_per_task < 2:
            raise ValueError(
                "the algorithm prototype compares the adaptation episodes of a task: "
                "num_adaptation_steps x episodes_per_task must be at least 2, "
                f"got {self.num_adaptation_steps} x {episodes_per_task}"
            )


@dataclass(frozen=True, kw_only=True)
class LatentOptions(AlgorithmOptions, TrustRegion):
    """Options of the latent learner."""

    model_lr: float = number(5e-3, 1e-8, 1.0)
    """Learning rate of the model's Adam at the beginning; it falls to nothing."""
    model_epochs: int = integer(16, 1, 10_000)
    """Epochs of the model's Adam over all episodes, on average."""
    model_batch: int = integer(4, 1, 10_000)
    """Episodes of each task in one step of the model's Adam."""
    num_adaptation_steps: int = fixed(0)
    """K, adaptation steps in training: none, as training gives the policy the task code."""
    min_std: float = fixed(MIN_STD)
    """Floor of the action noise, in half action ranges: the lowest, as for the oracle. The
    policy explores by its task code, not by noise."""
    num_weighed: int = integer(1024, 2, 65_536)
    """K, tasks that are weighted on a robot."""
    careful_share: float = number(0.4, 0.0, 1.0)
    """Share of the meta-iterations, at the beginning, in which the policy has no task code."""
    likelihood_power: float = number(0.3, 1e-6, 1.0)
    """Power of the likelihood: below 1, as errors of the model are correlated between steps."""

    def check_episodes(self, episodes_per_task: int) -> None:
        """Refuse too few episodes: some of a task have its code, and some another one."""
        super().check_episodes(episodes_per_task)
        if episodes_per_task < 3:
            raise ValueError(
                f"latent needs episodes_per_task of 3 or more, got {episodes_per_task}"
            )


@dataclass(frozen=True, kw_only=True)
class Rl2Options(AlgorithmOptions, TrustRegion):
    """Options of RL²."""

    num_adaptation_steps: int = fixed(0)
    """K, adaptation steps before the trial: none, since it adapts from episode to episode."""
    trial_episodes: int = integer(5, 1, MOST_EPISODES)
    """Episodes of a trial, at most episodes_per_task. Meta-batches are that much smaller than those
    of other algorithms: within the same budget it improves more often."""
    reward_products: bool = switch(False)
    """Whether the policy also observes the change of the reward in the last control step, and its
    products with the change of the observation. They show where the reward rises, for tasks that
    only the rewards within an episode show."""
    min_std: float = number(MIN_STD, MIN_STD, 10.0)
    """Floor of the action noise, in half action ranges."""

    def num_episodes(self, episodes_per_task: int) -> int:
        """Return the episodes of a trial."""
        return min(episodes_per_task, self.trial_episodes)


@dataclass(frozen=True, kw_only=True)
class TeacherStudentOptions(ReferenceOptions):
    """Options of teacher and student."""

    latent_size: int = integer(8, 1, 1024)
    """Z, elements of the latent of a task."""
    student_episodes: int = integer(5, 1, 10_000)
    """Episodes of each task in which the student acts; in the others the teacher does, one at
    least."""
    student_epochs: int = integer(10, 1, 10_000)
    """Steps of Adam that the student takes on each meta-batch."""
    student_lr: float = number(1e-3, 1e-8, 10.0)
    """Learning rate of the student's Adam."""


_PACKAGE: dict[str, tuple[type[AlgorithmOptions], str]] = {
    "maml": (MamlOptions, "maml:Maml"),
    "fomaml": (FomamlOptions, "maml:FirstOrderMaml"),
    "maml_ppo": (MamlPpoOptions, "maml_ppo:MamlPpo"),
    "promp": (ProMPOptions, "maml_ppo:ProMP"),
    "e_maml": (MamlOptions, "maml:EMaml"),
    "anil": (MamlOptions, "maml:Anil"),
    "meta_sgd": (MamlOptions, "maml:MetaSgd"),
    "reptile": (ReptileOptions, "reptile:Reptile"),
    "learned_loss": (LearnedLossOptions, "learned_loss:LearnedLoss"),
    "prototype": (PrototypeOptions, "prototype:Prototype"),
    "latent": (LatentOptions, "latent:Latent"),
    "rl2": (Rl2Options, "rl2:Rl2"),
    "domain_randomisation": (ReferenceOptions, "references:DomainRandomisation"),
    "recurrent_randomisation": (RecurrentRandomisationOptions, "references:RecurrentRandomisation"),
    "teacher_student": (TeacherStudentOptions, "teacher_student:TeacherStudent"),
    "oracle": (OracleOptions, "references:Oracle"),
}
"""Options and class of every algorithm, in the order of tables and figures; one line for each."""

OPTIONS = {name: options for name, (options, _) in _PACKAGE.items()}
"""Options of the package's algorithms; those of others are in their classes."""

ALGORITHMS: Registry[type[Algorithm[Any]]] = Registry(
    "metarobot.algorithms", {name: place for name, (_, place) in _PACKAGE.items()}
)
"""Class of every algorithm, imported when it is used."""

STANDARD_ALGORITHMS = ("latent", "maml", "domain_randomisation", "oracle")
"""Trained by default: learners, the first choice first, and two references."""
