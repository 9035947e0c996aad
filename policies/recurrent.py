"""A policy with a memory, which adapts by being unrolled through episodes and by nothing else."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from metarobot.policies.controller import Layer
from metarobot.policies.gaussian import Distribution
from metarobot.policies.gaussian_policy import LAST_LAYER_GAIN, GaussianPolicy
from metarobot.policies.gru import gru_sequence, gru_step
from metarobot.policies.params import Params, to_array
from metarobot.policies.products import products
from metarobot.policies.recurrent_controller import RecurrentController, RecurrentWeights

LONGEST_MEMORY = 100.0
"""Control steps over which the slowest units of an untrained memory fade."""
CHANGE_GAIN = 50.0
"""Units in which a change is seen that crosses half the range of an observation element. A control
step of an arm changes it by a hundredth, which would vanish beside the observation itself; yet what
an action changes is what there is to learn about a task."""


class Unroll(NamedTuple):
    """What a policy made of M sequences of L steps on each of N tasks."""

    mean: Tensor
    """Means of its actions, (N, L M, A)."""
    memories: Tensor
    """Its memory before each step and after the last, (N, (L + 1) M, H + O + A + 1)."""


class RecurrentPolicy(GaussianPolicy):
    """π_θ(a_t | o_1, a_1, r_1, .., o_t): a gated recurrent unit between two layers.

    What it sees, o_t, o_t - o_{t-1}, a_{t-1}, r_{t-1} and whether an episode begins, passes tanh
    layers; the unit and the last layer read their output, the last layer also what the unit makes
    of it. Where an episode begins, nothing has changed. Two products are told as well, since sums
    stand for them badly: a_{t-1} times the change, by which one learns what actions do, to the
    first layer; and what is remembered times o_t, by which one uses it, to the last.

    The parameters of a task are the weights, the same for all, and the leaf `memory`
    (H + O + A + 1), with which a block of episodes begins: the state of the unit, and the last
    step, its observation, action and reward. It is 0 in the beginning, and not trained.

    Source: Duan et al. 2016, arXiv:1611.02779.
    """

    def __init__(
        self,
        observation_low: Sequence[float],
        observation_high: Sequence[float],
        action_size: int,
        hidden_sizes: Sequence[int] = (64, 64),
        initial_std: float = 0.5,
    ) -> None:
        """Lay out the network.

        Args:
            observation_low: Lower bound of every observation element, (O,).
            observation_high: Upper bound of every observation element, (O,).
            action_size: A, number of action elements.
            hidden_sizes: Widths of the tanh layers, and H of the recurrent unit, the last.
            initial_std: Standard deviation of the initial action noise, in half action ranges.

        Raises:
            ValueError: Bounds are not finite or not ordered, initial_std is below the floor, or
                hidden_sizes is empty.
        """
        super().__init__(observation_low, observation_high, action_size, initial_std)
        if not hidden_sizes:
            raise ValueError("hidden_sizes must name one width at least, that of the memory")
        observation_size = len(observation_low)
        input_size = observation_size * (2 + action_size) + action_size + 2
        *widths, memory_size = (input_size, *hidden_sizes)
        self.memory_size = memory_size
        step_size = observation_size + action_size + 1
        self.layers = nn.ModuleList(nn.Linear(*pair, device="meta") for pair in pairwise(widths))
        self.unit = nn.GRUCell(widths[-1], memory_size, device="meta")
        self.head = nn.Linear(
            widths[-1] + memory_size * (1 + observation_size), action_size, device="meta"
        )
        self.memory = nn.Parameter(torch.empty(memory_size + step_size, device="meta"))

    def initial_params(self, generator: torch.Generator) -> Params:
        """Draw fresh parameters: Xavier weights; update gates that fade over 1 to 100 steps.

        Source of the gates: Tallec and Ollivier 2018, arXiv:1804.11188.
        """
        params, size = self._blank_params(), self.memory_size
        for name, leaf in params.items():
            if "weight" in name:
                gain = LAST_LAYER_GAIN if name.startswith("head.") else 1.0
                nn.init.xavier_uniform_(leaf, gain=gain, generator=generator)
        update_bias = params["unit.bias_ih"][size : 2 * size]
        update_bias.uniform_(1.0, LONGEST_MEMORY - 1.0, generator=generator).log_()
        return params

    def actor(self, params: Params) -> "RecurrentActor":
        """Begin to act with one memory per task, each leaf (N, ...)."""
        return RecurrentActor(self, params)

    def controller(self, params: Params) -> RecurrentController:
        """Set one policy to work on robots, without action noise; each leaf in its own shape."""
        return RecurrentController(self._controller_weights(params), to_array(params["memory"]))

    def _controller_weights(self, params: Params) -> RecurrentWeights:
        def layer(weight: str, bias: str) -> Layer:
            return to_array(params[weight]).T.copy(), to_array(params[bias])

        names = [f"layers.{index}" for index in range(len(self.layers))]
        centre, half_range = self._scaling()
        return RecurrentWeights(
            centre=centre,
            half_range=half_range,
            layers=[layer(f"{name}.weight", f"{name}.bias") for name in names],
            inputs=layer("unit.weight_ih", "unit.bias_ih"),
            recurrent=layer("unit.weight_hh", "unit.bias_hh"),
            head=layer("head.weight", "head.bias"),
            change_gain=CHANGE_GAIN,
        )

    def unroll(
        self,
        params: Params,
        observations: Tensor,
        actions: Tensor,
        rewards: Tensor,
        first: Tensor,
        num_sequences: int = 1,
    ) -> Unroll:
        """Unroll through steps that were taken with these parameters, or with others.

        With M sequences of L steps on each task, their steps follow each other in each of the L.

        Args:
            params: Parameters of every task, each leaf (N, ...); no gradient reaches `memory`.
            observations: (N, L M, O).
            actions: (N, L M, A), as the policy asked for them.
            rewards: (N, L M).
            first: 1.0 where an episode begins, (N, L M).
            num_sequences: M, all of which begin with the same memory.

        Returns:
            Means and memories.
        """
        M = num_sequences
        state, last_step = self._split(params["memory"].detach()[:, None].expand(-1, M, -1))
        steps = torch.cat([last_step, self.remember(observations, actions, rewards)], dim=1)
        scaled = self.scale_observations(observations)
        seen = self._embed(params, scaled, steps[:, :-M], first)
        states = gru_sequence(self._inputs(params, seen), state, *_recurrent(params))
        mean = self._mean(params, scaled, seen, states[:, M:])
        return Unroll(mean, torch.cat([states, steps], dim=-1))

    def take_step(
        self, params: Params, observations: Tensor, memory: Tensor, first: bool
    ) -> tuple[Tensor, Tensor]:
        """Return means (N, M, A) and states (N, M, H) for one step in M simulations of each task.

        Args:
            params: Parameters of every task, each leaf (N, ...).
            observations: (N, M, O).
            memory: (N, M, H + O + A + 1).
            first: Whether episodes begin.
        """
        state, last_step = self._split(memory)
        begins = torch.full(observations.shape[:-1], float(first), dtype=memory.dtype)
        scaled = self.scale_observations(observations)
        seen = self._embed(params, scaled, last_step, begins)
        state = gru_step(self._inputs(params, seen), state, *_recurrent(params))
        return self._mean(params, scaled, seen, state), state

    def remember(self, observations: Tensor, actions: Tensor, rewards: Tensor) -> Tensor:
        """Join what was seen, what was done within the action range, and what was earned.

        Args:
            observations: (..., O).
            actions: (..., A), as the policy asked for them.
            rewards: (...).

        Returns:
            Steps, (..., O + A + 1).
        """
        scaled = self.scale_observations(observations)
        return torch.cat([scaled, actions.clamp(-1.0, 1.0), rewards[..., None]], dim=-1)

    def _split(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state (..., H) and the last step (..., O + A + 1) of a memory."""
        return memory[..., : self.memory_size], memory[..., self.memory_size :]

    def _embed(self, params: Params, scaled: Tensor, last_steps: Tensor, first: Tensor) -> Tensor:
        first = first[..., None]
        last, outcomes = last_steps.tensor_split([scaled.shape[-1]], dim=-1)
        changes = CHANGE_GAIN * (scaled - last) * (1.0 - first)
        effects = products(outcomes[..., :-1], changes)
        seen = torch.cat([scaled, changes, outcomes, first, effects], dim=-1)
        for index in range(len(self.layers)):
            weight, bias = params[f"layers.{index}.weight"], params[f"layers.{index}.bias"]
            seen = torch.tanh(_linear(weight, bias, seen))
        return seen

    def _inputs(self, params: Params, seen: Tensor) -> Tensor:
        return _linear(params["unit.weight_ih"], params["unit.bias_ih"], seen)

    def _mean(self, params: Params, scaled: Tensor, seen: Tensor, states: Tensor) -> Tensor:
        told = torch.cat([seen, states, products(states, scaled)], dim=-1)
        return _linear(params["head.weight"], params["head.bias"], told)


class RecurrentActor:
    """Acts in M simulations of each task, whose memories part from the same one."""

    def __init__(self, policy: RecurrentPolicy, params: Params) -> None:
        self._policy = policy
        self._params = params
        self._memory = params["memory"][:, None]  # (N, 1, ..), and (N, M, ..) after a step
        self._state, self._observations = self._memory, torch.empty(0)
        self._first = True

    def begin(self) -> None:
        """Begin episodes in all simulations; what came before is remembered."""
        self._first = True

    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O)."""
        memory = self._memory.expand(*observations.shape[:-1], -1)
        mean, self._state = self._policy.take_step(self._params, observations, memory, self._first)
        self._observations, self._first = observations, False
        return Distribution(mean, self._policy.log_std_of(self._params))

    def learn(self, actions: Tensor, rewards: Tensor, counts: Tensor) -> None:
        """Remember the step in those simulations in which it counts."""
        step = self._policy.remember(self._observations, actions, rewards)
        known = torch.cat([self._state, step], dim=-1)
        self._memory = torch.where(counts[..., None], known, self._memory)


def _recurrent(params: Params) -> tuple[Tensor, Tensor]:
    """Return the recurrent weights of every task, (N, 3 H, H) and (N, 1, 3 H)."""
    return params["unit.weight_hh"], params["unit.bias_hh"][:, None]


def _linear(weight: Tensor, bias: Tensor, inputs: Tensor) -> Tensor:
    """Apply the layer of each task, (N, ., I) and (N, .), to inputs (N, M, I)."""
    return torch.baddbmm(bias[:, None], inputs, weight.mT)
