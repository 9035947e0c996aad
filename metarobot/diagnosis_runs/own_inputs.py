"""What a network sees of recordings by any sensors: loudness in frames, by channel and by band.

A frame is a short piece of a window.  In it every channel has a mean, and an energy in each of some
octaves of frequency.  That suits both a slow motion and a vibration, at any rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metarobot.diagnosis.own_data import require_length

FRAMES = 64
"""Frames of a recording, at most."""
PATCH = 8
"""Frames in a window are a multiple of this: the network reads so many at once."""
_FRAME_SAMPLES = 16
"""Samples of a frame, at least, where a recording is long enough: they hold three octaves."""
_MOST_BANDS = 6
_SMALLEST_ENERGY = 1e-12
_SMALLEST_SPREAD = 1e-6
_MOST = 8.0
"""Greatest number that a network is shown, in standard deviations."""


def frames_in(samples: int, windows: int) -> int:
    """Return how many frames each of the windows of a recording has.

    Args:
        samples: T, of all windows.
        windows: W.

    Raises:
        OwnDataError: Windows are too short.
    """
    length = samples // windows
    require_length(length)
    return max(1, min(FRAMES // windows, length // _FRAME_SAMPLES) // PATCH) * PATCH


def frames_of(signals: np.ndarray, windows: int, frames: int) -> np.ndarray:
    """Return means and logarithms of energies of every frame, (R, C, kinds, frames) float32.

    Args:
        signals: (R, T, C); each is W windows, one after the other.
        windows: W.
        frames: Of each window.
    """
    count, samples, channels = signals.shape
    length = samples // windows
    size = length // frames
    own = signals.reshape(count, windows, length, channels)[:, :, : frames * size]
    cut = own.reshape(count, windows * frames, size, channels).transpose(0, 3, 1, 2)
    kinds = [cut.mean(-1), *_energies(cut)]  # (R, C, frames) each
    return np.stack(kinds, axis=2).astype(np.float32)


def _energies(cut: np.ndarray) -> list[np.ndarray]:
    """Return the logarithm of the energy in each octave, the fastest first."""
    power = np.abs(np.fft.rfft(cut - cut.mean(-1, keepdims=True), axis=-1)) ** 2
    edges, top = [], power.shape[-1]
    while top > 1 and len(edges) < _MOST_BANDS:
        low = max(1, top // 2)
        edges.append((low, top))
        top = low
    return [np.log(power[..., low:high].sum(-1) + _SMALLEST_ENERGY) for low, high in edges]


@dataclass(frozen=True)
class OwnScale:
    """What the frames of all recordings to train on are like."""

    centre: np.ndarray
    """Mean of every channel and kind, (C, kinds)."""
    spread: np.ndarray
    """Standard deviation, (C, kinds)."""

    @classmethod
    def of(cls, frames: np.ndarray) -> OwnScale:
        """Measure it on frames (R, C, kinds, frames)."""
        centre, spread = frames.mean((0, 3)), frames.std((0, 3))
        # What never changes tells nothing, and must not become large in a new recording.
        still = spread <= _SMALLEST_SPREAD * (1 + np.abs(centre))
        return cls(centre, np.where(still, np.inf, spread))

    def inputs(self, frames: np.ndarray) -> np.ndarray:
        """Return frames on the scale of those to train on, in the same shape."""
        own = (frames - self.centre[..., None]) / self.spread[..., None]
        return np.clip(own, -_MOST, _MOST).astype(np.float32)
