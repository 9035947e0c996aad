"""The posterior of the simulator itself: what the machine's checks tell whoever knows all its laws.

It is no learner, as the oracle is none in control.  It draws lives from the simulator's own
distributions and weighs them by what has been seen.  It takes a check as one that could be made at
any time.  Where checks are picked by the life that is to be predicted, its error is no bound.

Source: the bootstrap particle filter, Gordon et al. 1993, IEE Proceedings F 140.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import numpy as np
from scipy.special import gammaincc, gdtrib, ndtr

from metarobot.remaining_life.fleet import CYCLES_BETWEEN_CHECKS
from metarobot.remaining_life.lives import Lives
from metarobot.remaining_life.predictions import Checks, Predictions
from metarobot.remaining_life.sight import WEAR_GRID, Sight
from metarobot.remaining_life.wear import (
    GAMMA_SHAPE,
    MACHINE_SPREAD,
    MOST_SPREADS,
    PART_SPREAD,
    PROCESSES,
    TOLERATED,
    WORN_JOINTS,
    gamma_process,
    gamma_shape,
    median_life_cycles,
)

LIVES_OF_EACH_FAULT = 100_000
_PREDICTED_FROM = 4000
"""Lives drawn from the posterior for one prediction: they add 0.03 % to its variance."""
_RESAMPLED_BELOW = 0.25
"""Effective share of the lives."""
_ALL_UNTIL = 2
"""Check after which only as many lives are kept as are drawn of one fault."""
_OVER = 600.0
"""Taken off the log of the weight of lives that are over before the part's; finite, so that some
are left where all are."""
_GAMMA_FAULTS = [place for place, law in enumerate(PROCESSES.values()) if law is gamma_process]


@dataclass
class _Drawn:
    """S lives that may be those of the machine, each up to one of its checks; all (S,)."""

    ancestor: np.ndarray
    """Number of the draw that it descends from: those who survive a resampling have several."""
    fault: np.ndarray
    joint: np.ndarray
    own: np.ndarray
    """What the processes take as the machine's own, in [0, 1)."""
    tolerated: np.ndarray
    """Severity that ends a life, over the highest that any job tolerates."""
    of_machine: np.ndarray
    """Standard normal: how slowly the machine wears."""
    of_part: np.ndarray
    start: np.ndarray
    """Uniform that the process of this part begins with."""
    pace_cycles: np.ndarray
    """Expected life of this part."""
    wear: np.ndarray
    log_weight: np.ndarray

    def __len__(self) -> int:
        return len(self.fault)

    def rows(self, indices: np.ndarray) -> Self:
        """Return the lives at ``indices``."""
        return type(self)(*(getattr(self, field.name)[indices] for field in fields(self)))

    @property
    def weight(self) -> np.ndarray:
        """Share of the posterior that each life stands for; they sum to one."""
        weight = np.exp(self.log_weight - self.log_weight.max())
        return weight / weight.sum()

    @property
    def num_effective(self) -> float:
        """Different lives that the posterior stands on: 1 / Σ w², w by ancestor."""
        shares = np.bincount(self.ancestor, weights=self.weight)
        return 1.0 / float((shares**2).sum())

    def resampled(self, rng: np.random.Generator, count: int) -> Self:
        """Draw lives of equal weight, at even distances of the summed weights."""
        places = (np.arange(count) + rng.random()) / count
        chosen = np.searchsorted(np.cumsum(self.weight), places).clip(max=len(self) - 1)
        again = self.rows(chosen)
        again.log_weight = np.zeros(count)
        return again


class Posterior(NamedTuple):
    """What is predicted, and on how many different lives it stands."""

    predictions: Predictions
    num_effective: np.ndarray
    """(R,)."""


class SimulatorPosterior(NamedTuple):
    """Predicts the mean of the simulator's own posterior, given what is seen."""

    sight: Sight
    num_lives: int = LIVES_OF_EACH_FAULT
    """Drawn of each fault, and kept of all faults together after three checks."""
    seed: int = 0

    def predict(self, lives: Lives, checks: Checks) -> Predictions:
        """Predict remaining life at R checks."""
        return self.posterior(lives, checks).predictions

    def posterior(self, lives: Lives, checks: Checks) -> Posterior:
        """Predict remaining life at R checks, and say on how many lives that stands."""
        found = np.empty((len(checks.machine), 4))
        for machine in np.unique(checks.machine):
            follower = _Follower(self, lives, int(machine))
            for part in np.unique(checks.part[checks.machine == machine]):
                mine = (checks.machine == machine) & (checks.part == part)
                found[mine] = follower.moments(int(part), checks.check[mine])
        return Posterior(Predictions(*found[:, :3].T), found[:, 3])


class _Follower:
    """Follows one machine from check to check."""

    def __init__(self, simulator: SimulatorPosterior, lives: Lives, machine: int) -> None:
        self.sight, self.num_lives = simulator.sight, simulator.num_lives
        self.lives, self.machine = lives, machine
        self.rng = np.random.default_rng((simulator.seed, machine))
        self.median_cycles = float(median_life_cycles(lives.payload_kg[machine]))

    def moments(self, part: int, check: np.ndarray) -> np.ndarray:
        """Return mean and spread of the log, and mean, of remaining life, and lives, (k, 4)."""
        drawn = self.first_part() if part == 0 else self.second_part()
        found = np.empty((len(check), 4))

        def note(drawn: _Drawn, now: int) -> None:
            for row in np.flatnonzero(check == now):
                found[row] = self._moments(drawn, now)

        self._follow(drawn, part, int(check.max()) + 1, note)
        return found

    def first_part(self) -> _Drawn:
        """Draw lives of all faults."""
        return self._draw(np.repeat(np.arange(len(PROCESSES)), self.num_lives))

    def second_part(self) -> _Drawn:
        """Draw what the machine may be, given the whole life of its first part."""
        fault = int(self.lives.fault[self.machine])
        life = int(self.lives.life_cycles[self.machine, 0])
        drawn = self._draw(np.full(self.num_lives, fault))
        if fault not in _GAMMA_FAULTS:  # they last as long as expected, whatever their course
            self._expect(drawn, life)
        drawn = self._follow(drawn, 0, int(self.lives.num_checks[self.machine, 0]))
        if fault in _GAMMA_FAULTS:
            drawn.log_weight += self._log_chance_of_end(drawn, life)
        return self._renewed(drawn.resampled(self.rng, self.num_lives))

    def _draw(self, fault: np.ndarray) -> _Drawn:
        count, rng = len(fault), self.rng
        low, high = TOLERATED
        drawn = _Drawn(
            ancestor=np.arange(count),
            fault=fault,
            joint=rng.integers(len(WORN_JOINTS), size=count),
            own=rng.random(count),
            tolerated=low + (high - low) * rng.random(count),
            of_machine=rng.standard_normal(count).clip(-MOST_SPREADS, MOST_SPREADS),
            of_part=np.zeros(count),
            start=np.zeros(count),
            pace_cycles=np.zeros(count),
            wear=np.zeros(count),
            log_weight=np.zeros(count),
        )
        return self._renewed(drawn)

    def _renewed(self, drawn: _Drawn) -> _Drawn:
        """Replace the part of every machine by a new one."""
        count = len(drawn)
        drawn.of_part = self.rng.standard_normal(count).clip(-MOST_SPREADS, MOST_SPREADS)
        drawn.start = self.rng.random(count)
        drawn.wear = np.zeros(count)
        return self._paced(drawn)

    def _expect(self, drawn: _Drawn, life: int) -> None:
        """Give every machine a pace that makes the expected life of its part end in a cycle."""
        ends = np.log(np.maximum([life - 1, life], 1e-9) / self.median_cycles)
        low, high = (ends[:, None] - PART_SPREAD * drawn.of_part) / MACHINE_SPREAD
        drawn.of_machine = (low + (high - low) * self.rng.random(len(drawn))).clip(
            -MOST_SPREADS, MOST_SPREADS
        )
        drawn.log_weight = np.log(np.maximum(_below(high) - _below(low), np.exp(-_OVER)))
        self._paced(drawn)

    def _log_chance_of_end(self, drawn: _Drawn, life: int) -> np.ndarray:
        """Return how likely a gamma process ends in a cycle, given its last check."""
        last = int(self.lives.num_checks[self.machine, 0]) - 1
        pace = drawn.pace_cycles
        left = GAMMA_SHAPE * np.maximum(1.0 - drawn.wear, 1e-9)
        since = gamma_shape(last * CYCLES_BETWEEN_CHECKS / pace, drawn.own)
        over = [
            gammaincc(gamma_shape(cycle / pace, drawn.own) - since, left)
            for cycle in (life - 1, life)
        ]
        return np.log(np.maximum(over[1] - over[0], np.exp(-_OVER)))

    def _paced(self, drawn: _Drawn) -> _Drawn:
        """Compute the expected life of every part."""
        spread = MACHINE_SPREAD * drawn.of_machine + PART_SPREAD * drawn.of_part
        drawn.pace_cycles = self.median_cycles * np.exp(spread)
        return drawn

    def _follow(
        self,
        drawn: _Drawn,
        part: int,
        num_checks: int,
        note: Callable[[_Drawn, int], None] | None = None,
    ) -> _Drawn:
        """Let lives wear to each check of a part, and weigh them by what is seen there."""
        told = self.sight.log_likelihood(self.lives, self.machine, part)
        steps = len(WEAR_GRID) - 1
        for check in range(num_checks):
            self._wear_on(drawn, check)
            place = np.minimum(steps * drawn.tolerated * drawn.wear + 0.5, steps).astype(np.int64)
            drawn.log_weight += told[check][drawn.fault, drawn.joint, place]
            drawn.log_weight[drawn.wear >= 1.0] -= _OVER
            if note is not None:
                note(drawn, check)
            many = check >= _ALL_UNTIL and len(drawn) > self.num_lives
            if many or 1.0 / (drawn.weight**2).sum() < _RESAMPLED_BELOW * len(drawn):
                drawn = drawn.resampled(self.rng, self.num_lives)
        return drawn

    def _wear_on(self, drawn: _Drawn, check: int) -> None:
        """Bring the wear of all lives from the check before to this one."""
        pace = drawn.pace_cycles
        age = check * CYCLES_BETWEEN_CHECKS / pace
        laws = list(PROCESSES.values())
        for fault in np.flatnonzero(np.bincount(drawn.fault)):
            rows, law = np.flatnonzero(drawn.fault == fault), laws[fault]
            if law is gamma_process:
                before = (max(check - 1, 0) * CYCLES_BETWEEN_CHECKS) / pace[rows]
                own = drawn.own[rows]
                shape = gamma_shape(age[rows], own) - gamma_shape(before, own)
                drawn.wear[rows] += self.rng.standard_gamma(shape) / GAMMA_SHAPE
            else:
                start = drawn.start[rows, None]
                drawn.wear[rows] = law(age[rows, None], drawn.own[rows], start)[:, 0]

    def _moments(self, drawn: _Drawn, check: int) -> tuple[float, float, float, float]:
        """Return mean and spread of the log, and mean, of remaining life, and lives."""
        few = drawn.resampled(self.rng, _PREDICTED_FROM)
        now = check * CYCLES_BETWEEN_CHECKS
        pace = few.pace_cycles
        gamma = np.isin(few.fault, _GAMMA_FAULTS)
        age = np.ones(len(few))  # at the end, in expected lives
        own, left = few.own[gamma], GAMMA_SHAPE * np.maximum(1.0 - few.wear[gamma], 1e-9)
        # A gamma process has passed 1 at a shape with probability 1 - P(shape, left).
        shape = gdtrib(1.0, self.rng.random(len(own)), left)
        shape += gamma_shape(now / pace[gamma], own)
        age[gamma] = (shape / GAMMA_SHAPE) ** (1.0 / (1.0 + 1.5 * own))
        left_cycles = np.maximum(np.ceil(age * pace) - now, 1.0)
        logarithm = np.log(left_cycles)
        spread = max(float(logarithm.std()), 0.01)
        return float(logarithm.mean()), spread, float(left_cycles.mean()), drawn.num_effective


def _below(value: np.ndarray) -> np.ndarray:
    """Return how likely a normal draw, moved to within `MOST_SPREADS`, is at most a value."""
    inside = np.where(value < -MOST_SPREADS, 0.0, ndtr(value))
    return np.where(value >= MOST_SPREADS, 1.0, inside)
