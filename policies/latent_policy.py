"""A policy that is told the task in training, and finds out by itself on a robot."""

from metarobot.policies.controller import Controller
from metarobot.policies.latent_actor import LatentActor
from metarobot.policies.latent_controller import LatentController
from metarobot.policies.latent_networks import LatentNetworks
from metarobot.policies.params import TOLD, Params
from metarobot.policies.policy import Actor, ReactiveActor


class LatentPolicy(LatentNetworks):
    """Acts by the task that simulation tells it, in training.

    On a robot nobody tells it.  Then it is told the mean of the tasks by their weights, which it
    updates in every step; while it explores, a task drawn by weight.
    """

    def actor(self, params: Params) -> Actor:
        """Begin to act: by what it is told, in training, or else by what it finds out."""
        return ReactiveActor(self, params) if TOLD in params else LatentActor(self, params)

    def controller(self, params: Params) -> Controller:
        """Set one policy to work on robots, without action noise; each leaf in its own shape."""
        return LatentController(self, params)
