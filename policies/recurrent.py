"""A recurrent policy; it adapts only by the change of its hidden state through episodes.

Its gated recurrent unit has weights that may differ between the sequences of a batch.  With H units
and inputs x_t that are already multiplied by their weights; x, a and b hold 3 H columns, those of
the reset gate r, the update gate z and the candidate n::

    a_t = W h_{t-1} + b
    r_t = σ(x_t^r + a_t^r)
    z_t = σ(x_t^z + a_t^z)
    n_t = tanh(x_t^n + r_t a_t^n)
    h_t = n_t + z_t (h_{t-1} - n_t)

Source: Cho et al. 2014, arXiv:1406.1078, with the reset gate where `torch.nn.GRU` has it.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from metarobot.policies.gaussian import (
    LAST_LAYER_GAIN,
    Distribution,
    GaussianPolicy,
    PolicyState,
    products,
)
from metarobot.policies.params import Params, linear

LONGEST_MEMORY = 100.0
"""Control steps over which the slowest units of an untrained memory fade."""
CHANGE_GAIN = 50.0
"""Input value of a change by half the range of an observation element. A control step of an arm
changes it by a hundredth, which would vanish beside the observation itself; yet the change by an
action is the information about the task."""
REWARD_GAIN = 10.0
"""Factor of the change of the reward in a control step, before a tanh limits it to ±1."""


class Unroll(NamedTuple):
    """Means and memories of M sequences of L steps on each of N tasks."""

    mean: Tensor
    """Means of its actions, (N, L M, A)."""
    memories: Tensor
    """Its memory before each step and after the last, (N, (L + 1) M, H + S)."""


class RecurrentPolicy(GaussianPolicy):
    """π_θ(a_t | o_1, a_1, r_1, .., o_t): a gated recurrent unit between two layers.

    Its inputs o_t, o_t - o_{t-1}, a_{t-1}, r_{t-1} and whether an episode begins pass tanh layers;
    the unit and the last layer read their output, the last layer also the unit's state. Where an
    episode begins, the change is 0. Two products are inputs too, since sums approximate them badly:
    of the first layer a_{t-1} times the change, which shows the effect of actions; of the last the
    state times o_t.

    With `reward_products` the change of the reward, g = tanh(10 (r_{t-1} - r_{t-2})), is an input
    too, and so are its products with the change of the observation: they show the direction in
    which the reward rises. After the first step of an episode g is 0.

    The parameters of a task are the weights, the same for all, and the leaf `memory` (H + S), with
    which a block of episodes begins: the state of the unit, and the S numbers of the last step, its
    observation, action and reward, and the change of the reward if it is an input. It is 0 in the
    beginning, and not trained.

    Source: Duan et al. 2016, arXiv:1611.02779.
    """

    observes_rewards: ClassVar[bool] = True
    """Whether the memory holds rewards, or 0 in their place."""

    def __init__(
        self,
        observation_low: Sequence[float],
        observation_high: Sequence[float],
        action_size: int,
        hidden_sizes: Sequence[int] = (64, 64),
        initial_std: float = 0.5,
        reward_products: bool = False,
    ) -> None:
        """Lay out the network, as `GaussianPolicy`.

        The last of `hidden_sizes` is H of the recurrent unit, those before are widths of tanh
        layers.
        """
        super().__init__(observation_low, observation_high, action_size, initial_std)
        if not hidden_sizes:
            raise ValueError("hidden_sizes must name one width at least, that of the memory")
        self.reward_products = reward_products
        observation_size = len(observation_low)
        num_factors = action_size + reward_products
        input_size = observation_size * (2 + num_factors) + num_factors + 2
        *widths, memory_size = (input_size, *hidden_sizes)
        self.memory_size = memory_size
        step_size = observation_size + num_factors + 1
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

    def start(self, params: Params) -> "RecurrentState":
        """Begin to act with one memory per task, each leaf (N, ...)."""
        return RecurrentState(self, params)

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

        With M = `num_sequences` sequences of L steps on each task, which begin with the same
        memory, their steps follow each other in each of the L.

        Args:
            params: Parameters of every task, each leaf (N, ...); no gradient reaches `memory`.
            observations: (N, L M, O).
            actions: (N, L M, A), before clipping.
            rewards: (N, L M).
            first: 1.0 where an episode begins, (N, L M).
            num_sequences: M.
        """
        M = num_sequences
        state, last_step = self._split(params["memory"].detach()[:, None].expand(-1, M, -1))
        rewards_before = torch.cat([last_step[..., -1], rewards], dim=1)[:, :-M]
        remembered = self.remember(observations, actions, rewards, rewards_before, first)
        steps = torch.cat([last_step, remembered], dim=1)
        scaled = self.scale_observations(observations)
        seen = self._embed(params, scaled, steps[:, :-M], first)
        states = gru_sequence(self._inputs(params, seen), state, *_recurrent(params))
        mean = self._mean(params, scaled, seen, states[:, M:])
        return Unroll(mean, torch.cat([states, steps], dim=-1))

    def take_step(
        self, params: Params, observations: Tensor, memory: Tensor, first: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return means (N, M, A) and states (N, M, H) for one step in M simulations of each task.

        The observations are (N, M, O), the memory (N, M, H + S), and `first` is 1.0 where
        an episode begins, (N, M).
        """
        state, last_step = self._split(memory)
        scaled = self.scale_observations(observations)
        seen = self._embed(params, scaled, last_step, first)
        state = gru_step(self._inputs(params, seen), state, *_recurrent(params))
        return self._mean(params, scaled, seen, state), state

    def remember(
        self,
        observations: Tensor,
        actions: Tensor,
        rewards: Tensor,
        rewards_before: Tensor,
        first: Tensor,
    ) -> Tensor:
        """Join the numbers of steps, (..., S).

        Args:
            observations: (..., O).
            actions: (..., A); the numbers hold them within their range.
            rewards: (...).
            rewards_before: Those of the steps before, (...).
            first: 1.0 where an episode began, (...).
        """
        if not self.observes_rewards:
            rewards = rewards_before = rewards.new_zeros(rewards.shape)
        scaled = self.scale_observations(observations)
        steps = [scaled, actions.clamp(-1.0, 1.0), rewards[..., None]]
        if self.reward_products:
            change = torch.tanh(REWARD_GAIN * (rewards - rewards_before) * (1.0 - first))
            steps.insert(2, change[..., None])
        return torch.cat(steps, dim=-1)

    def _split(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state (..., H) and the last step (..., S) of a memory."""
        return memory[..., : self.memory_size], memory[..., self.memory_size :]

    def _embed(self, params: Params, scaled: Tensor, last_steps: Tensor, first: Tensor) -> Tensor:
        first = first[..., None]
        last, outcomes = last_steps.tensor_split([scaled.shape[-1]], dim=-1)
        changes = CHANGE_GAIN * (scaled - last) * (1.0 - first)
        effects = products(outcomes[..., :-1], changes)
        seen = torch.cat([scaled, changes, outcomes, first, effects], dim=-1)
        for index in range(len(self.layers)):
            seen = torch.tanh(linear(params, f"layers.{index}", seen))
        return seen

    def _inputs(self, params: Params, seen: Tensor) -> Tensor:
        bias = params["unit.bias_ih"][:, None]
        return torch.baddbmm(bias, seen, params["unit.weight_ih"].mT)

    def _mean(self, params: Params, scaled: Tensor, seen: Tensor, states: Tensor) -> Tensor:
        seen = torch.cat([seen, states, products(states, scaled)], dim=-1)
        return linear(params, "head", seen)


class RecurrentState(PolicyState):
    """State in M simulations of each task; all memories start from the same one.

    A reward that was not measured is remembered as the last one that was.
    """

    def __init__(self, policy: RecurrentPolicy, params: Params) -> None:
        super().__init__()
        self._policy, self._params = policy, params
        memory = params["memory"][:, None]
        num_observations = policy.observation_centre.numel()
        self.memory = {
            "memory": memory,
            "hidden": memory[..., : policy.memory_size],
            "observation": memory.new_zeros(len(memory), 1, num_observations),
            "first": memory.new_zeros(len(memory), 1, 1),
        }
        self._begins = torch.tensor([[True]])

    def begin(self, begins: Tensor | None = None) -> None:
        """Begin episodes in all simulations, or in some; the memory stays."""
        self._begins = torch.tensor([[True]]) if begins is None else begins

    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O)."""
        policy, params, shape = self._policy, self._params, observations.shape[:-1]
        memory = self.memory["memory"].expand(*shape, -1)
        first = self._begins.expand(shape).to(memory.dtype)
        mean, hidden = policy.take_step(params, observations, memory, first)
        self.memory = {"memory": memory, "hidden": hidden, "observation": observations}
        self.memory["first"] = first[..., None]
        self._begins = torch.zeros_like(self._begins)
        return Distribution(mean, policy.log_std_of(params))

    def observe(self, actions: Tensor, rewards: Tensor, counts: Tensor) -> None:
        """Remember the step in those simulations in which it counts."""
        last = self.memory["memory"]
        before = last[..., -1]
        rewards = torch.where(rewards.isnan(), before, rewards)
        seen, first = self.memory["observation"], self.memory["first"][..., 0]
        step = self._policy.remember(seen, actions, rewards, before, first)
        known = torch.cat([self.memory["hidden"], step], dim=-1)
        self.memory["memory"] = torch.where(counts[..., None], known, last)


class EpisodicPolicy(RecurrentPolicy):
    """A `RecurrentPolicy` that clears its memory as episodes begin, and observes no rewards."""

    observes_rewards = False

    def start(self, params: Params) -> RecurrentState:
        """Begin to act with one policy per task, each leaf (N, ...)."""
        return EpisodicState(self, params)


class EpisodicState(RecurrentState):
    """State in M simulations of each task, cleared between episodes."""

    def act(self, observations: Tensor) -> Distribution:
        """Return mean (N, M, A) and log_std (N, A) for observations (N, M, O)."""
        fresh = self._params["memory"][:, None]
        self.memory["memory"] = fresh.where(self._begins[..., None], self.memory["memory"])
        return super().act(observations)


def gru_step(inputs: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return h_t (N, M, H) from x_t (N, M, 3 H) and h_{t-1}; W is (N, 3 H, H) and b (N, 1, 3 H)."""
    size = hidden.shape[-1]
    a = torch.baddbmm(bias, hidden, weight.mT)
    gates = torch.sigmoid(inputs[..., : 2 * size] + a[..., : 2 * size])
    reset, update = gates[..., :size], gates[..., size:]
    candidate = torch.addcmul(inputs[..., 2 * size :], reset, a[..., 2 * size :]).tanh()
    return torch.lerp(candidate, hidden, update)


def gru_sequence(inputs: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Take L steps on M sequences for each of N weights.

    Inputs x_1 .. x_L (N, L M, 3 H) and the states h_0 .. h_L that are returned, (N, (L + 1) M, H),
    have those of the M sequences one after the other in each step.  h_0 is (N, M, H), W (N, 3 H, H)
    and b (N, 1, 3 H).
    """
    return _Sequence.apply(inputs, hidden, weight, bias)  # pyright: ignore[reportReturnType]


class _Sequence(torch.autograd.Function):
    """All steps, with the chain rule by hand.

    Autograd would add up the gradient of W step by step, N matrices each time; here it is one
    product over all steps, and training takes less than half the time.
    """

    @staticmethod
    def forward(inputs: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        states = [hidden]
        for x_t in inputs.split(hidden.shape[1], dim=1):
            states.append(gru_step(x_t, states[-1], weight, bias))
        return torch.cat(states, dim=1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x, _, weight, bias = inputs
        ctx.save_for_backward(x, weight, bias, output)
        ctx.num_sequences = output.shape[1] - x.shape[1]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, ...]:
        x, weight, bias, states = ctx.saved_tensors
        M, size = ctx.num_sequences, states.shape[-1]
        before = states[:, :-M]
        a_r, a_z, a_n = torch.baddbmm(bias, before, weight.mT).split(size, dim=-1)
        x_r, x_z, x_n = x.split(size, dim=-1)
        r, z = torch.sigmoid(x_r + a_r), torch.sigmoid(x_z + a_z)
        n = torch.tanh(x_n + r * a_n)
        # ∂h_t by x_t and by a_t, which differ in the candidate; (N, L M, 3 H)
        by_n = (1 - z) * (1 - n.square())
        by_r, by_z = by_n * a_n * r * (1 - r), (before - n) * z * (1 - z)
        by_a = torch.cat([by_r, by_z, by_n * r], dim=-1)

        # From the last step to the first: the gradient by h_t, direct and through h_{t+1}.
        direct = grad_outputs[0].split(M, dim=1)
        total, totals = direct[-1], []
        for before_t, by_a_t, z_t in zip(
            direct[-2::-1], by_a.split(M, 1)[::-1], z.split(M, 1)[::-1], strict=True
        ):
            totals.append(total)
            through = torch.addcmul(before_t, z_t, total)
            total = torch.baddbmm(through, by_a_t * total.repeat(1, 1, 3), weight)
        d_h = torch.cat(totals[::-1], dim=1)  # (N, L M, H)
        d_a = by_a * d_h.repeat(1, 1, 3)
        d_x = torch.cat([d_a[..., : 2 * size], by_n * d_h], dim=-1)
        return d_x, total, d_a.mT @ before, d_a.sum(1, keepdim=True)


def _recurrent(params: Params) -> tuple[Tensor, Tensor]:
    """Return the recurrent weights of every task, (N, 3 H, H) and (N, 1, 3 H)."""
    return params["unit.weight_hh"], params["unit.bias_hh"][:, None]
