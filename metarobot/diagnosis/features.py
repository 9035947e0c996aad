"""Features of a recording: statistics and log spectra of every channel, of any length.

They hardly depend on the phase in which a recording starts.  With a baseline, recordings of the
same machine in a known state, the features of the baseline are subtracted, and the spectra of the
difference signal are added: this removes the masses, friction and tool of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Self

import numpy as np
from scipy.signal import correlate

from metarobot.diagnosis.recordings import Recordings, RecordingsError
from metarobot.diagnosis.tasks import Data

MOST_BANDS = 24
"""Bands of a spectrum, spaced by the logarithm of their frequency."""
NUM_BASELINES = 3
"""Recordings of a machine that are its baseline, at most: the first with the baseline's label."""
_FLOOR = 1e-3
"""Share of the mean power of a band that is added to it, since a logarithm has no lower bound."""
_MOST = 10.0
"""Greatest feature, in standard deviations of the training recordings."""
_CLEARLY_BETTER = 1.05
"""Least gain in similarity to the baseline for which a recording is shifted."""


def part_baseline(recordings: Recordings, label: str) -> tuple[Recordings, Recordings]:
    """Split recordings into those to diagnose and the baselines of their machines.

    Raises:
        RecordingsError: A machine has no recording with this label.
    """
    own = np.zeros(len(recordings), bool)
    for machine in recordings.machines:
        rows = np.flatnonzero((recordings.machine == machine) & (recordings.label == label))
        if not len(rows):
            raise RecordingsError(
                f"machine {machine!r} has no recording with the label {label!r}, from which the "
                "others are to differ: add one, or go without --baseline"
            )
        own[rows[:NUM_BASELINES]] = True
    return recordings.rows(~own), recordings.rows(own)


@dataclass(frozen=True)
class FeatureMap:
    """Maps recordings to features (R, F), standardised by the recordings of its fit."""

    edges_hz: np.ndarray
    """Edges of the B bands, (B + 1,)."""
    scale: np.ndarray
    """Typical size of every channel, (C,)."""
    power: np.ndarray
    """Mean power of every band of every channel: of the signals, and of their difference from the
    baseline, (2, C, B)."""
    mean: np.ndarray
    """Mean of the features before standardisation, (F,)."""
    std: np.ndarray
    """Standard deviation before standardisation, (F,); 0 for constant features, which become 0."""

    @classmethod
    def fit(cls, recordings: Recordings, baselines: Recordings | None = None) -> Self:
        """Choose bands and scales by training recordings, and by the baselines of machines."""
        shortest = min(signal.shape[1] for signal in recordings.signals)
        bins = np.unique(np.round(np.geomspace(1, shortest // 2 + 1, MOST_BANDS + 1)))
        typical = np.median([np.abs(signal).mean(1) for signal in recordings.signals], axis=0)
        own = cls(
            edges_hz=(bins - 0.5) * recordings.rate_hz / shortest,
            scale=np.where(typical > 0, typical, 1.0),
            power=np.zeros((2, len(recordings.channels), len(bins) - 1)),
            mean=np.zeros(0),
            std=np.zeros(0),
        )
        differences = _differences(recordings, baselines)
        power = own.power.copy()
        for kind, signals in zip(power, (recordings.signals, differences), strict=True):
            if signals:
                kind[:] = np.mean(
                    [own._bands(each, recordings.rate_hz) for each in signals], axis=0
                )
        own = replace(own, power=power)
        raw = own._raw(recordings, baselines, differences)
        std = raw.std(0)
        return replace(own, mean=raw.mean(0), std=np.where(std > 1e-9, std, 0.0))

    def __call__(self, recordings: Recordings, baselines: Recordings | None = None) -> np.ndarray:
        """Return the features (R, F) of recordings of the same channels.

        Args:
            recordings: R recordings.
            baselines: Baselines of their machines, if the map was fitted with baselines.
        """
        differences = _differences(recordings, baselines)
        away = self._raw(recordings, baselines, differences) - self.mean
        varies = self.std > 0
        return np.where(varies, away / np.where(varies, self.std, 1.0), 0.0).clip(-_MOST, _MOST)

    def _raw(
        self,
        recordings: Recordings,
        baselines: Recordings | None,
        differences: Sequence[np.ndarray],
    ) -> np.ndarray:
        """Return the features before they are standardised, (R, F)."""
        rate_hz = recordings.rate_hz
        plain = np.array([self._plain(signal, rate_hz) for signal in recordings.signals])
        if baselines is None:
            return plain
        own = np.array([self._plain(signal, rate_hz) for signal in baselines.signals])
        for machine in recordings.machines:
            plain[recordings.machine == machine] -= own[baselines.machine == machine].mean(0)
        return np.hstack([plain, [self._log_bands(rest, rate_hz, 1) for rest in differences]])

    def _plain(self, signal: np.ndarray, rate_hz: float) -> np.ndarray:
        """Return the features of a signal (C, T) itself."""
        statistics = np.arcsinh(_statistics(signal / self.scale[:, None])).ravel()
        duration = np.log(signal.shape[1] / rate_hz)
        return np.concatenate([statistics, self._log_bands(signal, rate_hz, 0), [duration]])

    def _log_bands(self, signal: np.ndarray, rate_hz: float, kind: int) -> np.ndarray:
        floor = _FLOOR * self.power[kind] + np.finfo(float).tiny
        return np.log(self._bands(signal, rate_hz) + floor).ravel()

    def _bands(self, signal: np.ndarray, rate_hz: float) -> np.ndarray:
        """Return the mean power of a signal (C, T) in every band, (C, B)."""
        length, count = signal.shape[1], len(self.edges_hz) - 1
        centred = signal - signal.mean(1, keepdims=True)
        power = np.abs(np.fft.rfft(centred, axis=1)[:, 1:]) ** 2 / length
        hz = np.arange(1, power.shape[1] + 1) * rate_hz / length
        first = np.searchsorted(hz, self.edges_hz)
        sums = np.concatenate([np.zeros((len(power), 1)), power.cumsum(1)], axis=1)[:, first]
        number = np.diff(first)
        there = np.flatnonzero(number)
        found = np.diff(sums, axis=1) / np.maximum(number, 1)
        # A band between the frequencies of a short recording takes those of its neighbour.
        nearest = there[np.abs(np.arange(count)[:, None] - there).argmin(1)]
        return found[:, nearest]


def _differences(recordings: Recordings, baselines: Recordings | None) -> list[np.ndarray]:
    """Return the difference of each signal (C, T) from its machine's baseline; empty without."""
    if baselines is None:
        return []
    means = {}
    for machine in recordings.machines:
        rows = np.flatnonzero(baselines.machine == machine)
        length = min(baselines.signals[row].shape[1] for row in rows)
        means[machine] = np.mean([baselines.signals[row][:, :length] for row in rows], axis=0)
    return [
        _difference(signal, means[machine])
        for signal, machine in zip(recordings.signals, recordings.machine, strict=True)
    ]


def _difference(signal: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return a signal (C, T) less a baseline that starts in the same phase, over their overlap."""
    one, other = (each - each.mean(1, keepdims=True) for each in (signal, mean))
    size = np.maximum(other.std(1, keepdims=True), 1e-12)
    alike = np.sum(
        [correlate(a, b, method="fft") for a, b in zip(one / size, other / size, strict=True)],
        axis=0,
    )
    zero = mean.shape[1] - 1  # place of no shift
    shift = int(np.argmax(alike)) - zero
    if alike[zero + shift] < _CLEARLY_BETTER * alike[zero] or abs(shift) > mean.shape[1] // 4:
        shift = 0
    signal, mean = signal[:, max(shift, 0) :], mean[:, max(-shift, 0) :]
    length = min(signal.shape[1], mean.shape[1])
    return signal[:, :length] - mean[:, :length]


def _statistics(signal: np.ndarray) -> np.ndarray:
    """Return 16 statistics of every channel of a signal (C, T), (16, C)."""
    steps = np.abs(np.diff(signal, axis=1))
    time = np.linspace(-1.0, 1.0, signal.shape[1])
    low, high = signal.min(1), signal.max(1)
    return np.stack(
        [
            signal.mean(1),
            signal.std(1),
            *np.quantile(signal, (0.1, 0.25, 0.5, 0.75, 0.9), axis=1),
            low,
            high,
            high - low,
            np.sqrt((signal**2).mean(1)),
            signal[:, 0],
            signal[:, -1],
            signal @ time / (time @ time),
            steps.mean(1),
            steps.max(1),
        ]
    )


NUM_KERNELS = 2_000
MOST_SAMPLES = 512
"""Greatest number of samples of recordings resampled for random convolutions."""


@dataclass(frozen=True)
class Kernels:
    """Random convolutions of MiniRocket, from aeon."""

    arrays: Mapping[str, np.ndarray]
    """Samples that recordings are resampled to (length), mean (centre) and standard deviation
    (spread) of every channel, and aeon's own parameters by their number."""

    @classmethod
    def fit(cls, recordings: Recordings, seed: int) -> Self | None:
        """Draw convolutions for recordings; None without aeon."""
        if find_spec("aeon") is None:
            return None
        middle = int(np.median([signal.shape[1] for signal in recordings.signals]))
        joined = np.concatenate(recordings.signals, axis=1)
        scale = {"centre": joined.mean(1), "spread": np.maximum(joined.std(1), 1e-12)}
        own = cls({"length": np.array(np.clip(middle, 9, MOST_SAMPLES)), **scale})
        model = _mini_rocket(own._resampled(recordings), seed)
        parameters = {f"{place}": np.asarray(each) for place, each in enumerate(model.parameters)}
        return cls({**own.arrays, **parameters})

    def __call__(self, recordings: Recordings) -> np.ndarray:
        """Return the features (R, G) of recordings."""
        signals = self._resampled(recordings)
        model = _mini_rocket(signals[:1], 0)
        model.parameters = tuple(
            self.arrays[f"{place}"].astype(np.asarray(each).dtype)
            for place, each in enumerate(model.parameters)
        )
        return np.asarray(model.transform(signals), float)

    def _resampled(self, recordings: Recordings) -> np.ndarray:
        """Return signals of one length, on the scale of their channel, (R, C, length)."""
        place = np.linspace(0.0, 1.0, int(np.clip(self.arrays["length"], 9, MOST_SAMPLES)))
        rows = [
            [np.interp(place, np.linspace(0.0, 1.0, len(each)), each) for each in signal]
            for signal in recordings.signals
        ]
        centre, spread = (self.arrays[name][:, None] for name in ("centre", "spread"))
        return (np.array(rows) - centre) / spread


def _mini_rocket(signals: np.ndarray, seed: int) -> Any:
    from aeon.transformations.collection.convolution_based import MiniRocket  # pyright: ignore

    return MiniRocket(NUM_KERNELS, random_state=seed).fit(signals)


def read_data(
    recordings: Recordings,
    baselines: Recordings | None,
    feature_map: FeatureMap,
    kernels: Kernels | None,
) -> Data:
    """Return the inputs of learners for recordings."""
    return Data(
        features=feature_map(recordings, baselines),
        kernels=kernels(recordings) if kernels else np.zeros((len(recordings), 0)),
        label=recordings.label,
        machine=recordings.machine,
        group=recordings.name,
    )
