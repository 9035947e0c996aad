"""A policy with a memory of the present episode alone, which sees no reward."""

from torch import Tensor

from metarobot.policies.controller import Array
from metarobot.policies.params import Params, to_array
from metarobot.policies.recurrent import RecurrentActor, RecurrentPolicy
from metarobot.policies.recurrent_controller import RecurrentController


class EpisodicPolicy(RecurrentPolicy):
    """π_θ(a_t | o_1, a_1, .., o_t): a `RecurrentPolicy` whose memory is cleared as episodes begin.

    In the place of the rewards it is told 0.
    """

    def actor(self, params: Params) -> RecurrentActor:
        """Begin to act with one policy per task, each leaf (N, ...)."""
        return EpisodicActor(self, params)

    def controller(self, params: Params) -> RecurrentController:
        """Set one policy to work on robots, without action noise; each leaf in its own shape."""
        return EpisodicController(self._controller_weights(params), to_array(params["memory"]))

    def remember(self, observations: Tensor, actions: Tensor, rewards: Tensor) -> Tensor:
        """Join what was seen and what was done within the action range, as of `RecurrentPolicy`."""
        return super().remember(observations, actions, rewards.new_zeros(rewards.shape))


class EpisodicActor(RecurrentActor):
    """Acts in M simulations of each task, and remembers nothing from one episode to the next."""

    def begin(self) -> None:
        """Episodes begin in all simulations, as if there had been none before."""
        super().begin()
        self._memory = self._params["memory"][:, None]


class EpisodicController(RecurrentController):
    """Remembers until an episode begins.

    Args:
        weights: What it computes with.
        memory: With what an episode begins, (H + O + A + 1,).
    """

    def begin(self) -> None:
        """An episode begins."""
        super().begin()
        self._recall(self.memory)

    def act(self, observations: Array) -> Array:
        """Return the means of the actions (..., A) for observations (..., O)."""
        action = super().act(observations)
        super().learn(0.0)
        return action

    def learn(self, rewards: float | Array) -> None:
        """Leave the rewards (...) alone."""
        del rewards
