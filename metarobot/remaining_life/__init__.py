"""Remaining life: how many cycles a machine's part will last, from its first health checks.

Parts wear, each machine at its own pace; health checks see a few indicators of it, noisy and under
changing conditions.  Meta-learners fit themselves to the machine, beside references.
"""

from metarobot.remaining_life.fleet import CYCLES_BETWEEN_CHECKS, Fleet, watch_fleet
from metarobot.remaining_life.health_index import HealthIndex, fit_health_index
from metarobot.remaining_life.indicators import INDICATORS, indicators
from metarobot.remaining_life.intervals import Calibration, calibrate, uncalibrated
from metarobot.remaining_life.learners import (
    UPDATES,
    WITHOUT_SEED,
    LifeLearner,
    life_learners,
)
from metarobot.remaining_life.lives import Lives, read_lives
from metarobot.remaining_life.measurement import (
    SEEN,
    Outcome,
    calibrate_on,
    checks_at,
    measure,
    outcome_of,
    ratio_of,
    rows_of,
)
from metarobot.remaining_life.predictions import Checks, Predictions
from metarobot.remaining_life.scores import phm_score
from metarobot.remaining_life.sight import (
    IndexSight,
    PerfectSight,
    Sight,
    fit_index_sight,
    perfect_sight,
)
from metarobot.remaining_life.simulator_posterior import (
    LIVES_OF_EACH_FAULT,
    Posterior,
    SimulatorPosterior,
)
from metarobot.remaining_life.wear import Parts, sample_parts

__all__ = [
    "CYCLES_BETWEEN_CHECKS",
    "INDICATORS",
    "LIVES_OF_EACH_FAULT",
    "SEEN",
    "UPDATES",
    "WITHOUT_SEED",
    "Calibration",
    "Checks",
    "Fleet",
    "HealthIndex",
    "IndexSight",
    "LifeLearner",
    "Lives",
    "Outcome",
    "Parts",
    "PerfectSight",
    "Posterior",
    "Predictions",
    "Sight",
    "SimulatorPosterior",
    "calibrate",
    "calibrate_on",
    "checks_at",
    "fit_health_index",
    "fit_index_sight",
    "indicators",
    "life_learners",
    "measure",
    "outcome_of",
    "perfect_sight",
    "phm_score",
    "ratio_of",
    "read_lives",
    "rows_of",
    "sample_parts",
    "uncalibrated",
    "watch_fleet",
]
