"""What a variant changes in an environment: its tasks, its disturbances, its physics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from metarobot.envs.disturbances import Change, Disturbances, Disturber
from metarobot.envs.simulations import SENSORS_CURRENT, Simulations
from metarobot.envs.task_parameter import TaskError
from metarobot.envs.tasks import Tasks

if TYPE_CHECKING:
    from metarobot.envs.variants import Variant


class UnderVariant(Simulations):
    """Simulations of a family as it is, or under a variant."""

    variant: Variant | None
    """The variant, None for the family as it is."""
    _change: Change | None
    """How the physics changes within an episode."""
    _changed: np.ndarray
    """Whose physics has changed in this episode, (num_envs,) bool."""
    _tasks: Tasks
    """The tasks that the simulations hold."""

    @staticmethod
    def _read_variant(variant: Variant | str | Path) -> Variant:
        """Return a variant, or the one that a name or path names."""
        # Variants know the families, so they cannot be imported before them.
        from metarobot.envs.variants import Variant, find_variant

        if isinstance(variant, (str, Path)):
            return find_variant(str(variant))
        if not isinstance(variant, Variant):
            raise TaskError(
                "variant must be a Variant, the name of a shipped one or the path of a .toml file, "
                f"got a {type(variant).__name__}"
            )
        return variant

    def _take_variant(self, variant: Variant) -> None:
        """Draw tasks as the variant does; the start is also the key of all disturbances."""
        if not isinstance(self, variant.vector_class):
            raise TaskError(
                f"variant {variant.name!r} is one of {variant.vector_class.family}, "
                f"not of {self.family}"
            )
        self.distribution = variant.distribution
        self._change = variant.disturbances.change
        self.start_size = max(1, self.start_size)

    def _make_disturber(self) -> Disturber | None:
        if self.variant is None or self.variant.disturbances == Disturbances():
            return None
        units = [element.unit for element in self.observation_elements]
        return Disturber(
            self.variant.disturbances,
            self.batch,
            units=units,
            action_size=len(self.action_elements),
            control_dt_s=self.control_dt_s,
            push_body=self.push_body,
        )

    def _change_physics(self, chosen: np.ndarray, changed: bool) -> None:
        """Let the chosen simulations, (num_envs,) bool, go on with changed physics or their own."""
        if self._change is None or not chosen.any():
            return
        self._changed[chosen] = changed
        ids, rows = np.flatnonzero(chosen), self._changed[:, None]
        values = np.where(rows, self._change.apply(self._tasks).values, self._tasks.values)
        names = self._tasks.names
        self._apply_tasks(Tasks(dict(zip(names, values.T, strict=True))))
        self.batch.set_const(ids)
        # A step goes on from the stage of the last one, which knew the old masses.
        self.batch.forward(ids, stage=SENSORS_CURRENT)
