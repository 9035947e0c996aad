"""The teacher is told the task; the student reads the teacher's latent off its last moves."""

from functools import partial

import numpy as np
import torch
from fakes import FakeEnv, Targets

from metarobot.algorithms import make_algorithm, train_config
from metarobot.envs import Tasks
from metarobot.learning.adam import loss_rows
from metarobot.policies import log_prob, repeat_params
from metarobot.policies.episode_encoder import embed
from metarobot.policies.teacher_student import WINDOW, TeacherStudentPolicy, moves, windows
from metarobot.rollout.collect import collect
from metarobot.rollout.seeding import Phase, draw_episodes
from metarobot.training.trainer import MetaTrainer, num_simulations

N, E, T = 3, 4, 15
CODES = torch.tensor([[0.5, 0.0], [-0.5, 0.3], [0.1, -0.8]], dtype=torch.float64)


def small_algorithm(**options):
    config = train_config("teacher_student", student_episodes=2, **options)
    policy = TeacherStudentPolicy([-1.0] * 3, [1.0] * 3, 2, (6,), code_size=2).double()
    params = policy.initial_params(torch.Generator().manual_seed(0))
    params["layers.1.weight"] *= 10.0
    return make_algorithm(config, policy), params


def collect_block(algorithm, params, told=None):
    env = FakeEnv(N * E, T)
    env.set_tasks(Tasks({"x": CODES[:, 0].numpy(), "y": CODES[:, 1].numpy()}))
    draws = draw_episodes(0, 0, Phase.POST_UPDATE, tasks=range(N), episode_shape=(E, T, 2, 2))
    acting = repeat_params(params, N)
    acting = acting if told is None else {**acting, "task_code": told}
    return collect(env, algorithm.policy, acting, noise=draws.noise, start=draws.start)


def test_the_teacher_acts_first_and_the_student_in_the_last_episodes():
    algorithm, params = small_algorithm()
    told = algorithm.task_codes(CODES, torch.zeros(N, E), spent=0.0)
    assert torch.equal(told[:, :2], CODES[:, None].expand(N, 2, 2))
    assert told[:, 2:].isnan().all()
    mixed, alone = (collect_block(algorithm, params, each) for each in (told, None))
    assert torch.equal(mixed.actions[:, 2:], alone.actions[:, 2:])
    assert (mixed.actions[:, :2] != alone.actions[:, :2]).any()
    policy, theta = algorithm.policy, repeat_params(params, N)
    teacher = {**theta, "task_code": told[:, :2]}
    mean, log_std = policy.distribution(teacher, mixed.observations[:, :2])
    again = log_prob(mean, log_std[:, None, None], mixed.actions[:, :2])
    torch.testing.assert_close(again, mixed.log_probs[:, :2])
    # What the student learns from is what it acted on.
    seen, there = policy.look_back(alone.observations, alone.actions)
    latents = embed(policy.network_params(theta), seen.flatten(1, 2), there.flatten(1, 2))
    mean = policy.distribution({**theta, "latent": latents}, alone.observations.flatten(1, 2)).mean
    again = log_prob(mean.unflatten(1, (E, T)), params["log_std"], alone.actions)
    torch.testing.assert_close(again, alone.log_probs)


def test_a_window_holds_the_last_moves_and_none_before_the_first_step():
    observations = torch.arange(T, dtype=torch.float64)[:, None] / T
    made = moves(observations, torch.linspace(-1, 1, T, dtype=torch.float64)[:, None])
    seen, there = windows(made)
    assert seen.shape == (T, WINDOW, made.shape[-1])
    assert there.sum(1).tolist() == [float(min(t, WINDOW)) for t in range(T)]
    assert torch.equal(seen[T - 1], made[-WINDOW:])
    assert torch.equal(seen[2][-2:], made[:2])
    assert not seen[2][:-2].any()


def test_the_students_gradient_agrees_with_finite_differences():
    algorithm, params = small_algorithm()
    block = collect_block(algorithm, params)
    latents = algorithm.policy.teach(repeat_params(params, N), CODES[:, None])
    student = algorithm.policy.network_params(params)
    rows = loss_rows(partial(algorithm.student_losses, block, latents), student, N)
    generator = torch.Generator().manual_seed(1)
    v = {n: torch.randn(x.shape, generator=generator, dtype=x.dtype) for n, x in student.items()}

    def losses(distance):
        moved = {n: leaf + distance * v[n] for n, leaf in student.items()}
        return algorithm.student_losses(block, latents, repeat_params(moved, N))

    slopes = rows[:, 1:] @ torch.cat([leaf.flatten() for leaf in v.values()])
    torch.testing.assert_close(rows[:, 0], losses(0.0))
    torch.testing.assert_close(slopes, (losses(1e-6) - losses(-1e-6)) / 2e-6, rtol=1e-5, atol=1e-8)


class Shifted(FakeEnv):
    """A step moves the spot by action and target: what came of a step tells the target."""

    distribution = Targets()

    def step(self, actions):
        self.spot = 0.1 * (np.clip(actions, -1, 1) + self.targets)
        return super().step(actions)


def test_the_student_learns_what_the_teacher_is_told():
    config = train_config(
        "teacher_student",
        num_tasks=20,
        episodes_per_task=10,
        hidden_sizes=(16,),
        initial_std=0.4,
        max_kl=0.05,
        student_lr=1e-2,
    )
    trainer = MetaTrainer(config, Shifted(num_simulations(config), horizon=8))
    log = [trainer.step() for _ in range(15)]
    first, last = log[0], log[-1]
    assert last["meta/pre_return"] > first["meta/pre_return"] + 1.0  # the teacher's
    assert last["meta/post_return"] > first["meta/post_return"] + 1.0  # the student's
    assert last["update/encoder_loss"] < 0.7 * max(each["update/encoder_loss"] for each in log)
