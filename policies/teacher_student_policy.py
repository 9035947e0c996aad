"""A teacher that is told the task as a latent, and a student that reads it off its moves."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metarobot.policies.episode_encoder import EpisodeEncoder, embed
from metarobot.policies.gaussian import Distribution
from metarobot.policies.gaussian_mlp import GaussianMLP
from metarobot.policies.params import TOLD, Params, to_array, under_prefix, with_prefix
from metarobot.policies.policy import Actor
from metarobot.policies.products import products
from metarobot.policies.student_controller import StudentController, StudentWeights
from metarobot.policies.student_windows import WINDOW, move_size, moves, windows

_STUDENT = "student."
_LATENT = "latent"


class TeacherStudentPolicy(GaussianMLP):
    """π_θ(a | o, l): a `GaussianMLP` that sees a latent l of the task, [o, l, o ⊗ l].

    The teacher's latent is a layer on the task.  The student's is an `EpisodeEncoder` on the last
    moves of the present episode; it acts where nobody tells the task.
    """

    def __init__(
        self,
        observation_low: Sequence[float],
        observation_high: Sequence[float],
        action_size: int,
        hidden_sizes: Sequence[int] = (64, 64),
        initial_std: float = 0.5,
        *,
        code_size: int = 2,
        latent_size: int = 8,
    ) -> None:
        """Lay out the networks.

        Args:
            observation_low: As of `GaussianMLP`, as all but the last two.
            observation_high: (O,).
            action_size: A.
            hidden_sizes: Width of each tanh layer.
            initial_std: In half action ranges.
            code_size: C, elements of an encoded task.
            latent_size: Z, elements of the latent.
        """
        super().__init__(observation_low, observation_high, action_size, hidden_sizes, initial_std)
        size, width = len(observation_low), (*hidden_sizes, action_size)[0]
        self.layers[0] = nn.Linear(size + latent_size * (1 + size), width, device="meta")
        self.teacher = nn.Linear(code_size, latent_size, device="meta")
        self.student = EpisodeEncoder(move_size(size, action_size), latent_size)

    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw fresh parameters."""
        params = super().initial_params(generator)
        nn.init.xavier_uniform_(params["teacher.weight"], generator=generator)
        return self.with_student_params(params, self.student.initial_params(generator))

    @staticmethod
    def with_student_params(params: Params, student: Params) -> Params:
        """Return the parameters with other ones of the student."""
        return {**params, **with_prefix(_STUDENT, student)}

    @staticmethod
    def student_params(params: Params) -> Params:
        """Return the student's parameters, by the names that it gives them."""
        return under_prefix(_STUDENT, params)

    @staticmethod
    def acting_params(params: Params) -> Params:
        """Return the parameters that decide how the teacher acts."""
        return {name: leaf for name, leaf in params.items() if not name.startswith(_STUDENT)}

    def teach(self, params: Params, codes: Tensor) -> Tensor:
        """Return the latents of tasks (N, M, Z), for encoded tasks (N, M, C)."""
        bias, weight = params["teacher.bias"][:, None], params["teacher.weight"]
        return torch.tanh(torch.baddbmm(bias, codes, weight.mT))

    def recognise(self, student: Params, seen: Tensor, there: Tensor) -> Tensor:
        """Return the student's latents (N, L, Z) for windows (N, L, H, F) and masks (N, L, H)."""
        return embed(self.student, student, seen, there)

    def look_back(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return windows (N, M, T, H, F) and masks for episodes (N, M, T, O) and (N, M, T, A)."""
        return windows(moves(self.scale_observations(observations), actions))

    def inputs(self, observations: Tensor, params: Params) -> Tensor:
        """What the first layer sees of observations (N, L, O) of M episodes, L / M steps each."""
        scaled = super().inputs(observations, params)
        latent = params[_LATENT] if _LATENT in params else self.teach(params, params[TOLD])
        latent = latent.repeat_interleave(scaled.shape[1] // latent.shape[1], dim=1)
        return torch.cat([scaled, latent, products(scaled, latent)], dim=-1)

    def act_on(self, params: Params, observations: Tensor, latent: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O) and (N, M, Z)."""
        return self.distribution({**params, _LATENT: latent}, observations)

    def actor(self, params: Params) -> Actor:
        """Begin to act, as the teacher where the task is told and as the student elsewhere."""
        return TeacherStudentActor(self, params)

    def controller(self, params: Params) -> StudentController:
        """Set the student to work on robots, without action noise; each leaf in its own shape."""
        centre, half_range = self._scaling()
        student = self.student_params(params)
        weights = StudentWeights(
            centre=centre,
            half_range=half_range,
            layers=[
                (to_array(params[f"layers.{i}.weight"]).T, to_array(params[f"layers.{i}.bias"]))
                for i in range(len(self.layers))
            ],
            student={
                name: (to_array(student[f"{name}.weight"]).T, to_array(student[f"{name}.bias"]))
                for name in ("left", "right", "hidden", "last")
            },
        )
        return StudentController(weights, self.action_size)


class TeacherStudentActor:
    """Acts in M simulations of each task; the student looks back on the last moves of each."""

    def __init__(self, policy: TeacherStudentPolicy, params: Params) -> None:
        self._policy, self._params = policy, params
        self._student = policy.student_params(params)

    def begin(self) -> None:
        """Begin episodes, as if there had been none before."""
        self._observations: list[Tensor] = []
        self._actions: list[Tensor] = []

    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O)."""
        policy, params = self._policy, self._params
        # One step more than the moves looked back on, and one more action, that before the first.
        recent = torch.stack([*self._observations, observations][-WINDOW - 2 :], dim=2)
        nothing = torch.zeros(*observations.shape[:-1], policy.action_size)
        taken = torch.stack([*self._actions, nothing][-WINDOW - 2 :], dim=2)
        seen, there = policy.look_back(recent, taken.to(recent.dtype))
        latent = policy.recognise(self._student, seen[:, :, -1], there[:, :, -1])
        if TOLD in params:
            told = params[TOLD]
            taught = policy.teach(params, told.nan_to_num())
            latent = torch.where(told.isnan().any(-1, keepdim=True), latent, taught)
        self._observations.append(observations)
        return policy.act_on(params, observations, latent)

    def learn(self, actions: Tensor, rewards: Tensor, counts: Tensor) -> None:
        """Take note of actions (N, M, A)."""
        del rewards, counts
        self._actions.append(actions)
