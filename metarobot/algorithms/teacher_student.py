"""Teacher and student: a policy with the task code, and an estimate from its last moves."""

import math
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from metarobot.algorithms.base import TaskCodeLearner, task_codes_of
from metarobot.algorithms.options import TeacherStudentOptions
from metarobot.config import TrainConfig
from metarobot.envs import find_family
from metarobot.learning.adam import AdamState, descend, loss_rows
from metarobot.learning.chunks import chunks_of_steps
from metarobot.learning.meta_update import MetaBatch, UpdateReport
from metarobot.machine import map_on_threads
from metarobot.policies import Params, repeat_params
from metarobot.policies.episode_encoder import embed
from metarobot.policies.teacher_student import TeacherStudentPolicy
from metarobot.rollout.episodes import Episodes


class TeacherStudent(TaskCodeLearner[TeacherStudentPolicy]):
    """TRPO on a teacher with a latent of the task as input, and a student trained by regression.

    The student learns the teacher's latent from the last moves of the present episode, in episodes
    in which it acts itself. It observes no reward, and needs no adaptation episode.

    Source: Kumar et al. 2021, RMA, arXiv:2107.04034.
    """

    title = "teacher and student"
    adapts = False
    options_class = TeacherStudentOptions
    policy_class = TeacherStudentPolicy

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.moments = AdamState.fresh(dict(self.policy.student.named_parameters()))

    @classmethod
    def policy_options(cls, config: TrainConfig) -> dict[str, int]:
        """Return the sizes of an encoded task and of its latent."""
        code_size = find_family(config.env_id).distribution.encoded_bounds.shape[1]
        latent_size = cast(TeacherStudentOptions, config.options).latent_size
        return {"code_size": code_size, "latent_size": latent_size}

    def task_codes(
        self, codes: Tensor, uniforms: Tensor, spent: float, *, finishing: bool = False
    ) -> Tensor:
        """Return the task codes for the teacher; NaN in the episodes of the student."""
        task_codes = super().task_codes(codes, uniforms, spent, finishing=finishing).clone()
        task_codes[:, self.num_with_code(task_codes.shape[1]) :] = math.nan
        return task_codes

    def num_with_code(self, num_episodes: int) -> int:
        """Return the number of a task's episodes in which the teacher acts; they come first."""
        return max(1, num_episodes - self.options.student_episodes)

    def first_and_last(self, batch: MetaBatch) -> tuple[Episodes, Episodes]:
        """Return the episodes of the teacher, and those of the student."""
        block = batch.post_episodes
        num_taught = self.num_with_code(block.num_episodes)
        return block.first(num_taught), self._of_student(block)

    def _of_student(self, block: Episodes) -> Episodes:
        """Return the episodes that train the student; the teacher's if there are no others."""
        return block.last(max(1, block.num_episodes - self.num_with_code(block.num_episodes)))

    def update(self, params: Params, batch: MetaBatch) -> tuple[Params, UpdateReport]:
        """Take a natural-gradient step on the teacher, and Adam's steps on the student."""
        acting, report = super().update(params, batch)
        if report.rejected_tasks:
            return params, report
        student, loss = self._train_student(acting, batch)
        return {**acting, **student}, report._replace(encoder_loss=loss)

    def _train_student(self, params: Params, batch: MetaBatch) -> tuple[Params, float]:
        """Take the epochs of one meta-batch; return the student's leaves and its mean loss."""
        episodes, codes = self._of_student(batch.post_episodes), task_codes_of(batch)[:, :1]
        latents = self.policy.teach(repeat_params(params, len(codes)), codes)

        def gradients(student: Params, step: int) -> Tensor:
            del step

            def rows_of(tasks: slice) -> Tensor:
                losses = partial(self.student_losses, episodes.rows(tasks), latents[tasks])
                return loss_rows(losses, student, len(latents[tasks]))

            rows = map_on_threads(rows_of, chunks_of_steps(episodes.rewards))
            return self.workers.gather(torch.cat(rows))

        student, options = self.policy.network_params(params), self.options
        found = descend(
            gradients, student, self.moments, options.student_epochs, lambda _: options.student_lr
        )
        if found is None:  # not finite: the student stays as it was
            return {}, math.nan
        self.moments, losses = found.moments, found.losses
        return self.policy.with_network({}, found.params), sum(losses) / len(losses)

    def student_losses(self, episodes: Episodes, latents: Tensor, student: Params) -> Tensor:
        """Return the student's squared error of each task (N,), mean over the steps that count.

        Of episodes (N, E, T), the teacher's latents (N, 1, Z), and the student's leaves (N, ...).
        """
        seen, there = self.policy.look_back(episodes.observations, episodes.actions)
        found = embed(student, seen.flatten(1, 2), there.flatten(1, 2))
        errors = (found - latents).square().sum(-1)
        return (errors * episodes.step_weights.flatten(1)).sum(1)
