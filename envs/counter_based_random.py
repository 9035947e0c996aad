"""Counter-based random numbers: a key, step, stream and element give the same number, anywhere.

What happens to one simulation must not depend on how many others stand in its batch, nor on which
process holds it.  So no generator advances: every number is a hash of its address.
"""

from __future__ import annotations

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mix(words: np.ndarray) -> np.ndarray:
    """Scramble 64-bit words, any shape: the output function of SplitMix64.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    words = words + _GOLDEN
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))


def keys_of(start: np.ndarray) -> np.ndarray:
    """Return the key of each episode, a hash of the uniforms that place its start: (n, S) -> (n).

    Episodes with the same start meet the same disturbances, which makes them comparable.
    """
    keys = np.zeros(len(start), np.uint64)
    for column in np.ascontiguousarray(start.T, np.float64):
        keys = mix(keys ^ column.view(np.uint64))
    return keys


def uniforms(keys: np.ndarray, step: np.ndarray, stream: int, elements: np.ndarray) -> np.ndarray:
    """Return uniforms in (0, 1), both ends excluded.

    Args:
        keys: Key of each simulation's episode, (n,) uint64.
        step: Control step of each simulation, (n,).
        stream: What the numbers are for.
        elements: Indices of the numbers wanted, (k,).

    Returns:
        (n, k) float64.
    """
    words = mix(mix(keys ^ np.uint64(stream)) ^ step.astype(np.uint64))
    words = mix(words[:, None] ^ elements.astype(np.uint64))
    return ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def normals(keys: np.ndarray, step: np.ndarray, stream: int, elements: np.ndarray) -> np.ndarray:
    """Return standard normals with the addresses of :func:`uniforms`: (n, k)."""
    from scipy.special import ndtri  # takes a fifth of the time of `import metarobot`

    return ndtri(uniforms(keys, step, stream, elements))
