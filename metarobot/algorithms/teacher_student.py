"""Teacher and student: a policy that is told the task, and a reading of it off the last moves."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.func import grad_and_value

from metarobot.algorithms.base import ToldLearner, told_in
from metarobot.algorithms.references import ReferenceOptions
from metarobot.config import TrainConfig, integer, number
from metarobot.envs import find_family
from metarobot.learning.adam import AdamState, descend
from metarobot.learning.meta_batch import MetaBatch, UpdateReport, chunks_of_steps, params_of
from metarobot.policies import (
    Params,
    TeacherStudentPolicy,
    flatten_params,
    repeat_params,
)
from metarobot.rollout.episodes import Episodes


@dataclass(frozen=True, kw_only=True)
class TeacherStudentOptions(ReferenceOptions):
    """What teacher and student read."""

    latent_size: int = integer(8, 1, 1024)
    """Z, elements of the latent of a task."""
    student_episodes: int = integer(5, 1, 10_000)
    """Episodes of each task in which the student acts; in the others the teacher does, one at
    least."""
    student_epochs: int = integer(10, 1, 10_000)
    """Steps of Adam that the student takes on each meta-batch."""
    student_lr: float = number(1e-3, 1e-8, 10.0)
    """Learning rate of the student's Adam."""


class TeacherStudent(ToldLearner[TeacherStudentPolicy]):
    """TRPO on a teacher that is told the task as a latent, and a student trained by regression.

    The student learns the teacher's latent from the last moves of the present episode, in episodes
    in which it acts itself. It sees no reward, and needs no adaptation episode.

    Source: Kumar et al. 2021, RMA, arXiv:2107.04034.
    """

    title = "teacher and student"
    adapts = False
    options_class = TeacherStudentOptions
    policy_class = TeacherStudentPolicy

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._moments = AdamState.fresh(dict(self.policy.student.named_parameters()))

    @property
    def options(self) -> TeacherStudentOptions:
        """What this algorithm reads."""
        return cast(TeacherStudentOptions, self.config.options)

    @classmethod
    def policy_options(cls, config: TrainConfig) -> dict[str, int]:
        """Return the sizes of an encoded task and of its latent."""
        code_size = find_family(config.env_id).distribution.encoded_bounds.shape[1]
        latent_size = cast(TeacherStudentOptions, config.options).latent_size
        return {"code_size": code_size, "latent_size": latent_size}

    def tell(self, codes: Tensor, guesses: Tensor) -> Tensor:
        """Tell the teacher the task; NaN in those episodes in which the student acts."""
        num_episodes = guesses.shape[1]
        told = codes[:, None].repeat(1, num_episodes, 1)
        told[:, self.num_told(num_episodes) :] = math.nan
        return told

    def num_told(self, num_episodes: int) -> int:
        """Return in how many of a task's episodes the teacher acts, which come first."""
        return max(1, num_episodes - self.options.student_episodes)

    def adapt(self, params: Params, episodes: Episodes, advantages: Tensor) -> Params:
        """Return the parameters as they came: nothing adapts."""
        del episodes, advantages
        return params

    def first_and_last(self, batch: MetaBatch) -> tuple[Episodes, Episodes]:
        """Return the episodes of the teacher, and those of the student."""
        block = batch.post_episodes
        num_taught = self.num_told(block.num_episodes)
        return block.first(num_taught), self._of_student(block)

    def _of_student(self, block: Episodes) -> Episodes:
        """Return the episodes that the student learns from; the teacher's if there is no other."""
        return block.last(max(1, block.num_episodes - self.num_told(block.num_episodes)))

    def update(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Take a natural-gradient step on the teacher, and Adam's steps on the student."""
        acting, report = self.improve_acting(params, batch, self.options)
        if report.rejected_tasks:
            return params, report
        params = {**params, **acting}
        student, loss = self._train_student(params, batch)
        return {**params, **student}, report._replace(encoder_loss=loss)

    def _train_student(self, params: Params, batch: MetaBatch) -> tuple[Params, float]:
        """Take the epochs of one meta-batch.

        Returns:
            The student's leaves of the parameters, and its mean loss.
        """
        episodes, codes = self._of_student(batch.post_episodes), told_in(batch)[:, :1]
        latents = self.policy.teach(repeat_params(params, len(codes)), codes)

        def gradients(student: Params, step: int) -> Tensor:
            del step
            return self.workers.gather(self._student_gradients(student, episodes, latents))

        student, options = self.policy.student_params(params), self.options
        found = descend(
            gradients,
            student,
            self._moments,
            options.student_epochs,
            lambda _: options.student_lr,
        )
        if found is None:  # too large for its numbers: the student stays as it was
            return {}, math.nan
        self._moments, losses = found.moments, found.losses
        return self.policy.with_student_params({}, found.params), sum(losses) / len(losses)

    def _student_gradients(self, student: Params, episodes: Episodes, latents: Tensor) -> Tensor:
        """Return loss and gradient of every task held here, (n, 1 + P)."""

        def total(theta: Params, tasks: slice) -> tuple[Tensor, Tensor]:
            losses = self.student_losses(theta, episodes.rows(tasks), latents[tasks])
            return losses.sum(), losses

        rows = []
        theta = repeat_params(student, episodes.num_tasks)
        for tasks in chunks_of_steps(episodes.rewards):
            part = params_of(theta, tasks)
            gradients, (_, losses) = grad_and_value(total, has_aux=True)(part, tasks)
            rows.append(torch.cat([losses[:, None], flatten_params(gradients)], dim=1))
        return torch.cat(rows)

    def student_losses(self, student: Params, episodes: Episodes, latents: Tensor) -> Tensor:
        """Return the student's squared error of each task (N,), mean over the steps that count.

        Args:
            student: Its parameters, each leaf (N, ...).
            episodes: (N, E, T).
            latents: The teacher's latents, (N, 1, Z).
        """
        seen, there = self.policy.look_back(episodes.observations, episodes.actions)
        found = self.policy.recognise(student, seen.flatten(1, 2), there.flatten(1, 2))
        errors = (found - latents).square().sum(-1)
        return (errors * episodes.step_weights.flatten(1)).sum(1)

    def state(self) -> dict[str, Tensor]:
        """Return the moments of the student's Adam."""
        return self._moments.to_tensors()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take the moments from a checkpoint."""
        self._moments = AdamState.from_tensors(state, self.policy.student.shapes)
