"""Whether adapting has helped a robot: pairs of episodes, and a test that may stop at every pair.

In each pair a coin decides which policy acts first. If adapting makes no difference to the returns
of a pair, the sign of its difference d_t is that of the coin, whatever drifts, tails or skew there
are. So for any bet 0 ≤ b_t < 1 that depends on earlier pairs and on |d_t|,

    E_t = Π (1 + b_t sign(d_t)),  b_t = tanh(κ |d_t| / mean_{s ≤ t} |d_s|)

is a martingale with mean 1, and by Ville's inequality P(E_t ≥ 2 / α at any t) ≤ α / 2. One such
product bets on "helped", another on "harmed".

Source: Vovk & Wang 2024, arXiv:2208.08925 (e-tests of symmetry); Ramdas & Wang 2025,
arXiv:2410.23614 (Ville's inequality: such a test holds at every stop).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from metarobot.console import html_table

Verdict = Literal["helped", "harmed", "not yet to be told"]
BET = 1.56
"""Size of bets: κ = BET sqrt(log(2 / α) / most_pairs), for differences told in about so many."""
LARGEST_BET = 1.0 - 1e-9
"""No bet risks all."""
NUM_FUTURES, MOST_AHEAD = 200, 500
"""Continuations that are drawn to estimate the pairs still needed, and their length."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Returns of episodes without and with adaptation, in pairs; ``print`` it.

    The test holds at every pair: it says "helped" or "harmed" in at most a share `alpha` of the
    robots on which adapting makes no difference. It is about that, not about means alone: where
    adapting raises the return in nine of ten episodes and loses as much in the tenth, it may say
    "helped". So look at the worst pair too.
    """

    most_pairs: int
    """Pairs at most."""
    alpha: float
    """Probability of "helped" or "harmed" where adapting makes no difference, at most."""
    without: tuple[float, ...] = ()
    """Returns without adaptation, one for each pair."""
    adapted: tuple[float, ...] = ()
    """Returns with it."""

    def with_pair(self, without: float, adapted: float) -> Comparison:
        """Return the comparison with one more pair of returns."""
        return replace(self, without=(*self.without, without), adapted=(*self.adapted, adapted))

    @property
    def num_pairs(self) -> int:
        """Pairs of episodes."""
        return len(self.without)

    @cached_property
    def differences(self) -> np.ndarray:
        """Gains in return by adaptation, one for each pair."""
        return np.subtract(self.adapted, self.without)

    @cached_property
    def verdict(self) -> Verdict:
        """Whether adapting has helped: at the first pair at which it could be told."""
        helped, harmed = log_wealth(self.differences, self._bet).max(-1, initial=0.0)
        if max(helped, harmed) < self._needed:
            return "not yet to be told"
        return "helped" if helped >= harmed else "harmed"

    @cached_property
    def pairs_more(self) -> int | None:
        """Pairs more until it can be told, if they are as those before; None if beyond 500.

        It is the median over continuations that are drawn from the differences.
        """
        if self.verdict != "not yet to be told":
            return 0
        if not self.differences.any():
            return None
        drawn = np.random.default_rng(0).choice(self.differences, (NUM_FUTURES, MOST_AHEAD))
        before = np.broadcast_to(self.differences, (NUM_FUTURES, self.num_pairs))
        both = np.concatenate([before, drawn], axis=1)
        told = np.any(log_wealth(both, self._bet) >= self._needed, axis=0)[:, self.num_pairs :]
        pairs = np.where(told.any(1), told.argmax(1) + 1, MOST_AHEAD + 1)
        median = int(np.median(pairs))
        return median if median <= MOST_AHEAD else None

    @property
    def _needed(self) -> float:
        return math.log(2.0 / self.alpha)

    @property
    def _bet(self) -> float:
        return BET * math.sqrt(self._needed / self.most_pairs)

    def __str__(self) -> str:
        return f"{self._words}; {', '.join(f'{name} {text}' for name, text in self._rows)}"

    def _repr_html_(self) -> str:
        return html_table(self._words, (), self._rows, side="left")

    @property
    def _words(self) -> str:
        """The verdict."""
        pairs = f"{self.num_pairs} pair{'' if self.num_pairs == 1 else 's'}"
        if self.verdict != "not yet to be told":
            return f"adapting {self.verdict}, told after {pairs}"
        if not self.differences.any():
            return f"not yet to be told: no return differs in {pairs}"
        more = f"more than {MOST_AHEAD}" if self.pairs_more is None else f"about {self.pairs_more}"
        return f"not yet to be told after {pairs}: {more} more are needed, if they are alike"

    @property
    def _rows(self) -> list[tuple[str, str]]:
        """Labels and texts."""
        values = self.differences
        spread = f" (standard deviation {values.std(ddof=1):.2f})" if len(values) > 1 else ""
        return [
            ("return without adapting", f"{np.mean(self.without):.2f}"),
            ("adapted", f"{np.mean(self.adapted):.2f}"),
            ("gain", f"{values.mean():.2f}{spread}"),
            ("worst pair", f"{values.min():.2f}"),
        ]


def log_wealth(differences: Sequence[float] | np.ndarray, bet: float) -> np.ndarray:
    """Return the logarithms of both products after each pair, (2, ..., n), for (..., n).

    The first bets on positive differences, the second on negative ones.
    """
    values = np.asarray(differences, np.float64)
    sizes = np.abs(values)
    means = np.cumsum(sizes, -1) / np.arange(1, values.shape[-1] + 1)
    bets = np.tanh(bet * sizes / np.where(means > 0.0, means, 1.0)).clip(max=LARGEST_BET)
    return np.cumsum(np.log1p(np.stack([bets, -bets]) * np.sign(values)), -1)
