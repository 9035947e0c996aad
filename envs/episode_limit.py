"""The length of an episode where Gymnasium's wrappers look for it: in the environment's spec."""

from __future__ import annotations

import dataclasses
from typing import Any

from gymnasium.envs.registration import EnvSpec


class EpisodeLimit:
    """Writes the horizon into the spec that ``gym.make`` and ``gym.make_vec`` give an environment.

    The horizon is an argument, so the registered spec cannot say it: Gymnasium would then end
    episodes after the family's own horizon, however long they were asked to be.  For the same
    reason ``gym.make(env.spec)`` makes episodes of this length at most, whatever ``horizon`` it is
    given.
    """

    horizon: Any
    _spec: EnvSpec | None = None

    def _get_spec(self) -> EnvSpec | None:
        return self._spec

    def _set_spec(self, spec: EnvSpec | None) -> None:
        limit = {"max_episode_steps": self.horizon}
        self._spec = None if spec is None else dataclasses.replace(spec, **limit)

    # An attribute for type checkers, as Gymnasium declares it.
    spec: Any = property(_get_spec, _set_spec, doc="How to make it; None if its class was called.")
