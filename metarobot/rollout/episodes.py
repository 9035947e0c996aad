"""The episodes of a meta-batch, as one block of tensors."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import pad

from metarobot.envs.checks import show

if TYPE_CHECKING:
    from metarobot.rollout.logs import Elements, MappingLike


@dataclass(frozen=True, eq=False)
class Episodes:
    """E episodes of T control steps on each of N tasks."""

    observations: Tensor
    """Observations before each step, (N, E, T, O)."""
    final_observations: Tensor
    """Observation after the last step that counts, (N, E, O); NaN if unknown."""
    actions: Tensor
    """Actions of the policy, before the environment clipped them, (N, E, T, A)."""
    log_probs: Tensor
    """Log-probability of each action under the policy that took it, (N, E, T); NaN if unknown."""
    rewards: Tensor
    """Reward of each step, (N, E, T); NaN if it was not measured."""
    mask: Tensor
    """1.0 where a step counts, 0.0 after the end or once the simulation failed, (N, E, T)."""
    success: Tensor
    """Whether the episode ended in success, (N, E) bool."""
    unstable: Tensor
    """Whether the simulation became unstable, which ends the episode, (N, E) bool."""
    start: Tensor
    """Uniforms in [0, 1) that placed the start: with the actions, the episode can be replayed;
    (N, E, S)."""

    def __post_init__(self) -> None:
        """Check that all tensors describe the same block."""
        shape = tuple(self.rewards.shape)
        if len(shape) != 3:
            raise ValueError(f"rewards must have shape (N, E, T), got {shape}")
        expected = {
            "observations": (*shape, self.observations.shape[-1]),
            "final_observations": (*shape[:2], self.observations.shape[-1]),
            "actions": (*shape, self.actions.shape[-1]),
            "log_probs": shape,
            "mask": shape,
            "success": shape[:2],
            "unstable": shape[:2],
            "start": (*shape[:2], self.start.shape[-1]),
        }
        for name, wanted in expected.items():
            found = tuple(getattr(self, name).shape)
            if found != wanted:
                raise ValueError(f"{name} must have shape {wanted} to fit rewards, got {found}")

    def __repr__(self) -> str:
        return "Episodes({} tasks x {} episodes x {} steps)".format(*self.rewards.shape)

    @property
    def num_tasks(self) -> int:
        """N."""
        return self.rewards.shape[0]

    @property
    def num_episodes(self) -> int:
        """E, episodes per task."""
        return self.rewards.shape[1]

    @property
    def horizon(self) -> int:
        """T, control steps per episode."""
        return self.rewards.shape[2]

    @property
    def returns(self) -> Tensor:
        """Undiscounted return of each episode, (N, E)."""
        return (self.rewards * self.mask).sum(-1)

    @property
    def next_observations(self) -> Tensor:
        """Observations after each step, (N, E, T, O); NaN where unknown.

        After the T-th step it is NaN as well: an episode of the whole horizon ends there, and its
        last control step may be longer than the others (`TaskVectorEnv.settle_steps`).
        """
        unseen = torch.full_like(self.observations[:, :, :1], torch.nan)
        following = torch.cat([self.observations[:, :, 1:], unseen], dim=2)
        counts = self.mask > 0.0
        goes_on = pad(counts[..., 1:], (0, 1))
        ends = counts & ~goes_on
        ends[..., -1] = False
        final = torch.where(ends[..., None], self.final_observations[:, :, None], unseen)
        return torch.where(goes_on[..., None], following, final)

    @property
    def step_weights(self) -> Tensor:
        """Weights (N, E, T) that make a sum over one task's steps a mean over those that count."""
        return self.mask / self.mask.sum(dim=(1, 2), keepdim=True).clamp(min=1.0)

    def _of_each(self, part: Callable[[Tensor], Tensor]) -> "Episodes":
        return Episodes(**{field.name: part(getattr(self, field.name)) for field in fields(self)})

    def rows(self, tasks: Sequence[int] | slice) -> "Episodes":
        """Return the episodes of some tasks; views if they are a slice."""
        return self._of_each(lambda block: block[tasks])

    def first(self, num_episodes: int) -> "Episodes":
        """Return the first episodes of every task, as views."""
        return self._of_each(lambda block: block[:, :num_episodes])

    def last(self, num_episodes: int) -> "Episodes":
        """Return the last episodes of every task, as views."""
        return self._of_each(lambda block: block[:, -num_episodes:])

    def each_alone(self) -> "Episodes":
        """Return every episode as the only one of a task of its own, (N E, 1, T), as views."""
        return self._of_each(lambda block: block.flatten(0, 1)[:, None])

    def pad(self, horizon: int) -> "Episodes":
        """Return the episodes with T = horizon steps; added steps do not count."""
        missing = horizon - self.horizon
        if missing == 0:
            return self
        blocks = {name: getattr(self, name) for name in ("observations", "actions")}
        blocks = {name: pad(block, (0, 0, 0, missing)) for name, block in blocks.items()}
        rows = {name: getattr(self, name) for name in ("log_probs", "rewards", "mask")}
        rows = {name: pad(row, (0, missing)) for name, row in rows.items()}
        return replace(self, **blocks, **rows)

    @classmethod
    def from_log(
        cls,
        observations: Sequence[ArrayLike],
        actions: Sequence[ArrayLike],
        rewards: Sequence[ArrayLike] | None,
        *,
        log_probs: Sequence[ArrayLike] | None = None,
        success: Sequence[bool] | None = None,
    ) -> "Episodes":
        """Build the adaptation episodes of one task from a log: E episodes of any lengths T_e.

        Example::

            log = mr.Episodes.from_log(observations, actions, rewards)
            adapted = policy.adapt_from(log)

        Args:
            observations: Observations before each step, in the family's units; E arrays (T_e, O),
                or (T_e + 1, O) with the one after the last step.  Without it, the outcome of that
                step is unknown.
            actions: Actions of the policy in half action ranges, with noise and before clipping; E
                arrays (T_e, A).  ``session.act`` returns clipped actions, which are enough for
                ``latent`` and ``rl2``; others need ``session.recorded.actions``.
            rewards: Reward of each step; E arrays (T_e,), NaN or None where it was not measured.
                None if none was measured.  Where one is missing, only algorithms that can do
                without adapt to the log.
            log_probs: Log-probability of each action under the policy that took it; E arrays
                (T_e,).  Some algorithms cannot do without.
            success: Whether each episode ended in success, (E,); not read when adapting.

        Returns:
            Episodes (1, E, T), T being the length of the longest.

        Raises:
            ValueError: Lengths or shapes do not go together, or a number is not finite.
        """
        done = _logged("actions", actions, 2)
        E = len(done)
        lengths = [len(episode) for episode in done]
        T = max(lengths)
        seen, final = _split_final(
            _logged("observations", observations, 2, lengths, extra=1), lengths
        )
        unknown = [np.full(length, np.nan) for length in lengths]
        earned = (
            unknown if rewards is None else _logged("rewards", rewards, 1, lengths, may_be_nan=True)
        )
        known = unknown if log_probs is None else _logged("log_probs", log_probs, 1, lengths)
        flags = [False] * E if success is None else [bool(flag) for flag in success]
        if len(flags) != E:
            raise ValueError(
                f"success must hold {E} values, one for each episode, got {len(flags)}"
            )
        return cls(
            observations=_fill(seen, T),
            final_observations=torch.from_numpy(final[None]),
            actions=_fill(done, T),
            log_probs=_fill(known, T),
            rewards=_fill(earned, T),
            mask=_fill([np.ones(length) for length in lengths], T),
            success=torch.tensor([flags]),
            unstable=torch.zeros(1, E, dtype=torch.bool),
            start=torch.zeros(1, E, 0),
        )

    def to_log(self) -> dict[str, Any]:
        """Return the steps that count, as `from_log` takes them: ``Episodes.from_log(**log)``.

        Raises:
            ValueError: The episodes are of several tasks, or one has no step that counts.
        """
        if self.num_tasks != 1:
            raise ValueError(f"a log is of one task, got {self.num_tasks}: take rows of one")
        counts = (self.mask[0] > 0).sum(-1).tolist()
        if 0 in counts:
            raise ValueError(f"episode {counts.index(0)} has no step that counts")

        def cut(block: Tensor) -> list[np.ndarray]:
            return [row[:count].numpy() for row, count in zip(block[0], counts, strict=True)]

        seen = [
            np.concatenate([shown, final[None]]) if np.isfinite(final).all() else shown
            for shown, final in zip(
                cut(self.observations), self.final_observations[0].numpy(), strict=True
            )
        ]
        known = cut(self.log_probs)
        return {
            "observations": seen,
            "actions": cut(self.actions),
            "rewards": cut(self.rewards),
            "log_probs": None if any(np.isnan(each).any() for each in known) else known,
            "success": self.success[0].tolist(),
        }

    @classmethod
    def from_lerobot(
        cls,
        path: str | Path,
        mapping: "MappingLike | None" = None,
        *,
        elements: "Elements | None" = None,
    ) -> "Episodes":
        """Read the episodes of one task from the folder of a LeRobotDataset v3.0.

        Example::

            log = mr.Episodes.from_lerobot("dataset", elements=policy.elements)
            adapted = policy.adapt_from(log)

        Args:
            path: The folder.
            mapping: Places of the elements; see ``metarobot.rollout.logs.LogMapping``.
            elements: Elements of the policy, whose names and rate are compared with the log's.

        Raises:
            OSError: It is missing or cannot be read.
            ValueError: It is damaged or lacks something, or pyarrow is missing.
        """
        return _read_log(path, mapping, elements, "lerobot")

    @classmethod
    def from_mcap(
        cls, path: str | Path, mapping: "MappingLike", *, elements: "Elements | None" = None
    ) -> "Episodes":
        """Read the episodes of one task from an MCAP file; as `from_lerobot`.

        Its messages are JSON, or of ROS 1 or 2.  A message is held until the next one.
        """
        return _read_log(path, mapping, elements, "mcap")

    @classmethod
    def from_rosbag(
        cls, path: str | Path, mapping: "MappingLike", *, elements: "Elements | None" = None
    ) -> "Episodes":
        """Read the episodes of one task from a bag of ROS 1 or 2; as `from_mcap`."""
        return _read_log(path, mapping, elements, "rosbag")

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        mapping: "MappingLike | None" = None,
        *,
        elements: "Elements | None" = None,
    ) -> "Episodes":
        """Read the episodes of one task from a table; as `from_lerobot`.

        Without a mapping, its columns are ``episode``, the names of the elements, and ``reward``,
        ``log_prob`` and ``success`` where known.
        """
        return _read_log(path, mapping, elements, "csv")

    def to_lerobot(self, path: str | Path, elements: "Elements", *, task: str) -> None:
        """Write the episodes of one task as a LeRobotDataset v3.0, a folder that must not exist.

        Args:
            path: The folder.
            elements: Names of the elements, and the rate: ``policy.elements``.
            task: Description of the task.
        """
        from metarobot.rollout.lerobot import write_lerobot

        write_lerobot(Path(path), self, elements, task=task)

    def to_csv(self, path: str | Path, elements: "Elements") -> None:
        """Write the episodes of one task as a table, which `from_csv` reads bit for bit."""
        from metarobot.rollout.logs import write_csv

        write_csv(Path(path), self, elements)

    @classmethod
    def join(cls, blocks: Sequence["Episodes"]) -> "Episodes":
        """Return the episodes of several blocks on the same tasks as one block."""
        return cls(
            **{
                field.name: torch.cat([getattr(block, field.name) for block in blocks], dim=1)
                for field in fields(cls)
            }
        )


def _read_log(path: Any, mapping: Any, elements: Any, format: Any) -> Episodes:
    from metarobot.rollout.logs import read_log  # it needs Episodes

    return read_log(path, mapping, elements, format=format)


def _split_final(
    episodes: Sequence[np.ndarray], lengths: Sequence[int]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the observations before each step, and those after the last, (E, O), or NaN."""
    pairs = list(zip(episodes, lengths, strict=True))
    unseen = np.full_like(episodes[0][0], np.nan)
    final = [seen[length] if len(seen) > length else unseen for seen, length in pairs]
    return [seen[:length] for seen, length in pairs], np.stack(final)


def _logged(
    name: str,
    episodes: Iterable[ArrayLike],
    ndim: int,
    lengths: Sequence[int] | None = None,
    extra: int = 0,
    may_be_nan: bool = False,
) -> list[np.ndarray]:
    """Return logged arrays, checked; they have the lengths of the actions, or `extra` more."""
    if not isinstance(episodes, Iterable):
        raise ValueError(f"{name} must hold an array for each episode, got {show(episodes)}")
    arrays = [_numbers(f"{name} of episode {i}", episode) for i, episode in enumerate(episodes)]
    if not arrays:
        raise ValueError("a log must hold at least one episode")
    if lengths is not None and len(arrays) != len(lengths):
        raise ValueError(f"{name} must hold {len(lengths)} episodes as actions, got {len(arrays)}")
    need = "(T,) with" if ndim == 1 else "(T, elements) with one width and"
    for index, array in enumerate(arrays):
        if array.ndim != ndim or len(array) == 0 or array.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"{name} of each episode must have shape {need} at least one step, got "
                f"{array.shape} in episode {index}"
            )
        if lengths is not None and len(array) - lengths[index] not in (0, extra):
            or_more = ", or one more at the end" if extra else ""
            raise ValueError(
                f"{name} of episode {index} must have {lengths[index]} steps as its actions"
                f"{or_more}, got {len(array)}"
            )
        if not (np.isfinite(array) | (may_be_nan & np.isnan(array))).all():
            raise ValueError(f"{name} must be finite numbers, but are not in episode {index}")
    return arrays


def _numbers(name: str, values: ArrayLike) -> np.ndarray:
    """Return values in single precision; larger ones become infinite."""
    try:
        if np.iscomplexobj(values):
            raise ValueError("got complex ones")
        with np.errstate(over="ignore"):
            return np.asarray(values, np.float32)
    except Exception as error:  # the conversion of an unknown type may raise any
        why = " ".join(str(error).split())
        raise ValueError(f"{name} must be an array of numbers: {why}") from None


def _fill(episodes: Sequence[np.ndarray], horizon: int) -> Tensor:
    """Join ragged arrays (T_e, ...) to a block (1, E, T, ...), padded by 0."""
    block = np.zeros((1, len(episodes), horizon, *episodes[0].shape[1:]), np.float32)
    for row, episode in zip(block[0], episodes, strict=True):
        row[: len(episode)] = episode
    return torch.from_numpy(block)
