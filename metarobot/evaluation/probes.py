"""Linear probes: how well the task can be read from what adaptation has changed.

A probe is a ridge regression from the states of some tasks to one of their parameters. How much it
is held back is chosen by how well each task is predicted by the others. States have many more
elements than there are tasks, so it is solved among tasks.

Source: Alain and Bengio 2016, arXiv:1610.01644, for probes; Golub, Heath and Wahba 1979,
doi:10.2307/1268518, for leaving one out in closed form.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

_STRENGTHS = np.logspace(-6, 2, 25)
"""How much a probe may be held back, as parts of the mean squared length of a state."""


class Probe(NamedTuple):
    """A linear map from the state of F elements to P parameters of the task."""

    centre: np.ndarray
    """Mean of the states, (F,)."""
    scale: np.ndarray
    """Standard deviation of each element, (F,)."""
    weights: np.ndarray
    """(F, P)."""
    offset: np.ndarray
    """Mean of the parameters, (P,)."""
    error: np.ndarray
    """Standard deviation of what each task is missed by, as predicted by the others, (P,)."""

    @classmethod
    def fit(cls, states: np.ndarray, targets: np.ndarray) -> Self:
        """Fit a probe.

        Args:
            states: (N, F).
            targets: (N, P).
        """
        centre, spread = states.mean(axis=0), states.std(axis=0)
        scale = np.where(spread > 0.0, spread, 1.0)
        rows, offset = (states - centre) / scale, targets.mean(axis=0)
        lengths, basis = np.linalg.eigh(rows @ rows.T)
        shown = basis.T @ (targets - offset)  # (N, P)
        missed = [_missed(lengths, basis, shown, strength) for strength in _STRENGTHS]
        chosen = np.argmin([np.square(each).mean(axis=0) for each in missed], axis=0)  # (P,)
        held_back = 1.0 / (lengths[:, None] + _unit(lengths) * _STRENGTHS[chosen])
        errors = [missed[best][:, column] for column, best in enumerate(chosen)]
        return cls(
            centre=centre,
            scale=scale,
            weights=rows.T @ (basis @ (held_back * shown)),
            offset=offset,
            error=np.sqrt(np.square(errors).mean(axis=1)),
        )

    def predict(self, states: np.ndarray) -> np.ndarray:
        """Return the parameters of tasks, (N, P), for states (N, F)."""
        return (states - self.centre) / self.scale @ self.weights + self.offset


def _missed(
    lengths: np.ndarray, basis: np.ndarray, shown: np.ndarray, strength: float
) -> np.ndarray:
    """Return what each task is missed by if it is predicted by the others, (N, P)."""
    kept = lengths / (lengths + _unit(lengths) * strength)
    residual = basis @ ((1.0 - kept)[:, None] * shown)
    own_part = np.square(basis) @ kept + 1.0 / len(basis)  # of the mean as well
    return residual / np.maximum(1.0 - own_part, 1e-6)[:, None]


def _unit(lengths: np.ndarray) -> float:
    """Return what the strength is a part of; 1 where all states are alike."""
    return float(lengths.clip(0.0).sum()) / len(lengths) or 1.0
