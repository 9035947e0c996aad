"""Features of recordings that need no training, for the references; from aeon, an extra.

They are computed of the same residuals that the network sees, at full rate.
"""

from __future__ import annotations

import numpy as np

from metarobot.few_shot_diagnosis.signals import Scale, channel_spread


def catch22_features(residual: np.ndarray, scale: Scale) -> np.ndarray:
    """Return 22 features of each channel, and its root mean square, (R, 23 C) float32.

    catch22 does not see how large a signal is; so that is added, as a logarithm.

    Source: Lubba et al. 2019, catch22: canonical time-series characteristics.
    """
    from aeon.transformations.collection import feature_based  # pyright: ignore[reportMissingImports]

    unit = residual / channel_spread(scale)[:, None]
    transform = feature_based.Catch22(n_jobs=1, replace_nans=True)
    own = np.asarray(transform.fit_transform(unit.astype(np.float64)))
    loudness = np.log(np.sqrt((unit**2).mean(2)) + 1e-6)
    return np.concatenate([own, loudness], axis=1).astype(np.float32)


def minirocket_features(
    residual: np.ndarray, examples: np.ndarray, scale: Scale, seed: int = 0
) -> np.ndarray:
    """Return the features of about 10,000 random kernels, (R, F) float32.

    Args:
        residual: What is to be described, (R, C, T).
        examples: Residuals of the train pool, whose quantiles are the kernels' biases.
        scale: Puts all channels on one scale.
        seed: Of the kernels.

    Source: Dempster et al. 2021, MiniRocket, arXiv:2012.08791.
    """
    from aeon.transformations.collection import convolution_based  # pyright: ignore[reportMissingImports]

    spread = channel_spread(scale)[:, None]
    transform = convolution_based.MiniRocket(random_state=seed, n_jobs=1)
    transform.fit(np.arcsinh(examples / spread).astype(np.float32))
    return np.asarray(transform.transform(np.arcsinh(residual / spread).astype(np.float32)))


def standardised(features: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """Return features on the scale of those of the train pool, (R, F); outliers are clipped."""
    spread = examples.std(0)
    return np.clip((features - examples.mean(0)) / np.where(spread > 1e-9, spread, 1.0), -10, 10)
