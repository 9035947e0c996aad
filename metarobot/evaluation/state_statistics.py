"""Statistics of what adaptation has changed: what is explained, where states lie, what moves."""

from __future__ import annotations

import numpy as np
import torch

from metarobot.evaluation.explanation import LayerUpdate, StateMap
from metarobot.policies import Params

_NUM_RESAMPLES = 500


def explained(errors: np.ndarray, variances: np.ndarray) -> tuple[float, float, float]:
    """Return R² and its 95 % bootstrap interval over tasks, from what each adds to both sums."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(errors), size=(_NUM_RESAMPLES, len(errors)))
    total = np.maximum(variances[drawn].sum(axis=1), 1e-30)
    low, high = np.quantile(1.0 - errors[drawn].sum(axis=1) / total, [0.025, 0.975])
    return 1.0 - float(errors.sum() / max(variances.sum(), 1e-30)), float(low), float(high)


def state_map(states: np.ndarray, number: int) -> StateMap | None:
    """Return the states in the two directions in which most of their variance lies."""
    spread = states.std(axis=0)
    rows = (states - states.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)
    if not rows.any():
        return None
    left, lengths, _ = np.linalg.svd(rows, full_matrices=False)
    shares = np.square(lengths) / np.square(lengths).sum()
    left, shares = np.pad(left * lengths, ((0, 0), (0, 1)))[:, :2], np.pad(shares, (0, 1))[:2]
    return StateMap(
        adaptation_episodes=number,
        places=tuple((float(x), float(y)) for x, y in left),
        shares=(float(shares[0]), float(shares[1])),
    )


def moved_layers(before: Params, after: Params) -> list[str]:
    """Return the layers that adaptation moves: those that training does as well."""
    return [
        name
        for name, leaf in before.items()
        if name.partition(".")[0] == "layers" and not torch.equal(after[name], leaf)
    ]


def layer_updates(before: Params, after: Params) -> list[LayerUpdate]:
    """Return how far each layer is moved."""
    return [
        LayerUpdate(
            layer=name,
            size=float(
                (
                    (after[name] - before[name]).flatten(1).norm(dim=1)
                    / before[name].flatten(1).norm(dim=1).clamp(min=1e-30)
                ).mean()
            ),
        )
        for name in moved_layers(before, after)
    ]
