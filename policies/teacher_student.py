"""A teacher that observes a latent of the task, and a student that estimates it from its moves.

The student reads the last H moves of the present episode, before each of its steps.
"""

from typing import Any

import torch
from torch import Tensor, nn

from metarobot.policies.episode_encoder import CHANGE_UNIT, EpisodeEncoder, embed, shift, symlog
from metarobot.policies.gaussian import Distribution, PolicyState
from metarobot.policies.mlp import ConditionedMLP, conditioned
from metarobot.policies.params import TASK_CODE, Params, xavier_params

WINDOW = 10
"""H, moves that the student reads."""

LATENT = "latent"
"""Leaf of a latent that is given, (N, M, Z)."""
_LOOK_BACK = WINDOW + 1
"""Steps that are remembered: a move also holds the action before it."""


class TeacherStudentPolicy(ConditionedMLP):
    """π_θ(a | o, l): a `ConditionedMLP` on a latent l of the task.

    The teacher's latent is a layer on the task.  The student's is an `EpisodeEncoder` on the last
    moves of the present episode; it acts where the task code is unknown.
    """

    network = "student."

    def __init__(
        self, *layout: Any, code_size: int = 2, latent_size: int = 8, **options: Any
    ) -> None:
        """Lay out the networks for C = `code_size` and Z = `latent_size`; see `GaussianMLP`."""
        super().__init__(*layout, context_size=latent_size, **options)
        size = 2 * (self.observation_centre.numel() + self.action_size)  # of a move
        self.teacher = nn.Linear(code_size, latent_size, device="meta")
        self.student = EpisodeEncoder(size, latent_size)

    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw fresh parameters."""
        params = super().initial_params(generator)
        nn.init.xavier_uniform_(params["teacher.weight"], generator=generator)
        return self.with_network(params, xavier_params(self.student, generator))

    def teach(self, params: Params, codes: Tensor) -> Tensor:
        """Return the latents of tasks (N, M, Z), for encoded tasks (N, M, C)."""
        bias, weight = params["teacher.bias"][:, None], params["teacher.weight"]
        return torch.tanh(torch.baddbmm(bias, codes, weight.mT))

    def look_back(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return windows (N, M, T, H, F) and masks for episodes (N, M, T, O) and (N, M, T, A)."""
        return windows(moves(self.scale_observations(observations), actions))

    def inputs(self, observations: Tensor, params: Params) -> Tensor:
        """Return the first layer's inputs for observations (N, L, O), L / M steps of M episodes."""
        scaled = super().inputs(observations, params)
        latent = params[LATENT] if LATENT in params else self.teach(params, params[TASK_CODE])
        latent = latent.repeat_interleave(scaled.shape[1] // latent.shape[1], dim=1)
        return conditioned(scaled, latent)

    def start(self, params: Params) -> PolicyState:
        """Begin to act, as the teacher where there is a task code and as the student elsewhere."""
        return TeacherStudentState(self, params)


class TeacherStudentState(PolicyState):
    """Acts in M simulations of each task; the student looks back on the last moves of each."""

    def __init__(self, policy: TeacherStudentPolicy, params: Params) -> None:
        super().__init__()
        self._policy, self._params = policy, params
        self._student = policy.network_params(params)
        num_tasks, num_observations = len(params["log_std"]), policy.observation_centre.numel()
        sizes = {
            "observations": _LOOK_BACK * num_observations,
            "actions": _LOOK_BACK * policy.action_size,
            "steps": 1,
        }
        nothing = params["log_std"].new_zeros(num_tasks, 1, 1)
        self.memory = {name: nothing.expand(-1, -1, size) for name, size in sizes.items()}

    def begin(self, begins: Tensor | None = None) -> None:
        """Begin episodes, as if there had been none before."""
        for name, leaf in self.memory.items():
            zero = torch.zeros_like(leaf)
            self.memory[name] = zero if begins is None else zero.where(begins[..., None], leaf)

    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O)."""
        policy, params, shape = self._policy, self._params, observations.shape[:-1]
        memory = {name: leaf.expand(*shape, -1) for name, leaf in self.memory.items()}
        before = memory["observations"].unflatten(-1, (_LOOK_BACK, -1))
        taken = memory["actions"].unflatten(-1, (_LOOK_BACK, -1))
        recent = torch.cat([before, observations[..., None, :]], dim=-2)
        done = torch.cat([taken, torch.zeros_like(taken[..., :1, :])], dim=-2)
        made = moves(policy.scale_observations(recent), done)[..., -WINDOW:, :]
        ages = torch.arange(WINDOW, 0, -1)
        there = (memory["steps"] >= ages).to(made.dtype)
        latent = embed(self._student, made * there[..., None], there)
        if TASK_CODE in params:
            task_codes = params[TASK_CODE]
            taught = policy.teach(params, task_codes.nan_to_num())
            latent = torch.where(task_codes.isnan().any(-1, keepdim=True), latent, taught)
        self.memory = {**memory, "observations": recent[..., 1:, :].flatten(-2)}
        return policy.distribution({**params, LATENT: latent}, observations)

    def observe(self, actions: Tensor, rewards: Tensor, counts: Tensor) -> None:
        """Record actions (N, M, A)."""
        del rewards, counts
        taken = torch.cat([self.memory["actions"], actions], dim=-1)
        self.memory["actions"] = taken[..., self._policy.action_size :]
        self.memory["steps"] = self.memory["steps"] + 1.0


def moves(observations: Tensor, actions: Tensor) -> Tensor:
    """Describe the moves from each of T steps to the next: observation, outcome and actions.

    [o_t, log(o_{t+1} - o_t), a_t, a_{t-1}], (..., T - 1, F), with the logarithm of
    `transition_features`, for scaled observations (..., T, O) and actions (..., T, A), clipped
    here.
    """
    clipped = actions.clamp(-1.0, 1.0)
    changes = symlog((observations[..., 1:, :] - observations[..., :-1, :]) / CHANGE_UNIT)
    before = shift(clipped, 1)
    return torch.cat(
        [observations[..., :-1, :], changes, clipped[..., :-1, :], before[..., :-1, :]], dim=-1
    )


def windows(made: Tensor) -> tuple[Tensor, Tensor]:
    """Return the last H moves before each of T steps, (..., T, H, F), of moves (..., T - 1, F).

    And 1.0 where there is one, (..., T, H).
    """
    there = torch.ones_like(made[..., :1])
    rows = torch.cat([made, there], dim=-1)
    empty = rows.new_zeros(*rows.shape[:-2], WINDOW, rows.shape[-1])
    padded = torch.cat([empty, rows], dim=-2)
    seen = padded.unfold(-2, WINDOW, 1).transpose(-1, -2)
    return seen[..., :-1], seen[..., -1]
