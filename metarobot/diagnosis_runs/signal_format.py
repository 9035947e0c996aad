"""`SignalFormat`: what recordings must be like for a learner to read them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from metarobot.diagnosis.channels import Channel
from metarobot.diagnosis.own_data import OwnDataError, OwnRecordings
from metarobot.envs import nearest_name

_SAME_RATE = 0.01
"""Share by which rates may differ: clocks differ by less."""


class SignalFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Channels, rate and length of the recordings that a learner was trained on."""

    channels: tuple[tuple[str, str], ...]
    """Name and unit of each."""
    samples_per_s: Annotated[float, msgspec.Meta(gt=0, le=1e9)]
    samples: Annotated[int, msgspec.Meta(ge=1, le=10**9)]
    """Of a recording, or of a window."""
    window_s: Annotated[float, msgspec.Meta(gt=0, le=1e9)] | None = None
    """Length of the windows that recordings are cut into; None where they are not."""

    @classmethod
    def of(cls, recordings: OwnRecordings, window_s: float | None) -> SignalFormat:
        """Return the format of recordings, or of their windows."""
        return cls(
            tuple((channel.name, channel.unit) for channel in recordings.channels),
            recordings.samples_per_s,
            recordings.signals.shape[1],
            window_s,
        )

    def fitting(self, recordings: OwnRecordings, folder: Path) -> OwnRecordings:
        """Return recordings with their channels in this order.

        Args:
            recordings: As they were read with `window_s`.
            folder: Where they are from, for messages.

        Raises:
            OwnDataError: A channel is missing, too many or in another unit; or the rate or the
                length is another.
        """
        places = [self._place(name, unit, recordings, folder) for name, unit in self.channels]
        wanted = [name for name, _ in self.channels]
        for channel in recordings.channels:
            if channel.name not in wanted:
                raise OwnDataError(
                    f"{folder}: the learner was not trained on a channel {channel.name!r}: drop it"
                    + nearest_name(channel.name, wanted)
                )
        if abs(recordings.samples_per_s - self.samples_per_s) > _SAME_RATE * self.samples_per_s:
            raise OwnDataError(
                f"{folder} has {recordings.samples_per_s:g} samples a second, the learner was "
                f"trained on {self.samples_per_s:g}: resample the recordings"
            )
        if abs(recordings.signals.shape[1] - self.samples) > self.window_samples_slack:
            raise OwnDataError(
                f"{folder} has recordings of {recordings.signals.shape[1]} samples, the learner "
                f"was trained on {self.samples}: record for {self.samples / self.samples_per_s:g} s"
            )
        return OwnRecordings(
            **{
                **vars(recordings),
                "signals": np.ascontiguousarray(recordings.signals[..., places][:, : self.samples]),
                "channels": tuple(Channel(name, unit) for name, unit in self.channels),
            }
        )

    @property
    def window_samples_slack(self) -> int:
        """Samples by which windows of the same length may differ, by the rate of the clock."""
        return 0 if self.window_s is None else round(_SAME_RATE * self.samples)

    def _place(self, name: str, unit: str, recordings: OwnRecordings, folder: Path) -> int:
        names = [channel.name for channel in recordings.channels]
        if name not in names:
            raise OwnDataError(
                f"{folder} lacks the channel {name!r}, which the learner was trained on"
                + nearest_name(name, names)
            )
        place = names.index(name)
        if recordings.channels[place].unit != unit:
            raise OwnDataError(
                f"{folder} has {name!r} in {recordings.channels[place].unit or 'no unit'!r}, the "
                f"learner was trained on {unit or 'no unit'!r}: convert it"
            )
        return place
