import numpy as np
import pytest

from metarobot.evaluation.statistics import (
    Interval,
    bootstrap_captured,
    bootstrap_harmed,
    bootstrap_iqm,
    bootstrap_mean,
    bootstrap_worst_tenth,
    interquartile_mean,
)
from metarobot.evaluation.table import Scores, summarise


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def three_algorithms(num_seeds: int = 3, num_tasks: int = 20, seed: int = 7):
    rng = generator(seed)
    difficulty = rng.normal(0.0, 5.0, (num_seeds, num_tasks))
    dr = difficulty - 2.0 + rng.normal(0.0, 0.1, difficulty.shape)
    oracle = difficulty - 1.0 + rng.normal(0.0, 0.1, difficulty.shape)
    return dr, oracle


def test_interquartile_mean_by_hand() -> None:
    # 8 scores: leave out the 2 lowest (-100, 1) and the 2 highest (7, 900); (2+3+4+5)/4 = 3.5
    assert interquartile_mean(np.array([7.0, 2.0, -100.0, 4.0, 900.0, 3.0, 1.0, 5.0])) == 3.5
    # 5 scores: floor(5/4) = 1 off each side; (2+3+4)/3 = 3
    assert interquartile_mean(np.array([1.0, 2.0, 3.0, 4.0, 99.0])) == 3.0


@pytest.mark.parametrize("bootstrap", [bootstrap_mean, bootstrap_iqm])
def test_value_lies_in_its_interval_and_constants_have_none(bootstrap) -> None:
    interval = bootstrap(generator().normal(size=(2, 15)), generator())
    assert interval.low < interval.value < interval.high
    constant = bootstrap(np.full((2, 5), 3.0), generator())
    assert (constant.value, constant.low, constant.high) == (3.0, 3.0, 3.0)


def test_strata_keep_every_seed_in_every_resample() -> None:
    # Two seeds far apart, each constant: resampling within a seed cannot move the mean;
    # resampling the pooled tasks would give an interval from about 20 to 80.
    scores = np.stack([np.zeros(8), np.full(8, 100.0)])
    interval = bootstrap_mean(scores, generator())
    assert (interval.low, interval.value, interval.high) == (50.0, 50.0, 50.0)


def test_mean_interval_matches_the_normal_theory() -> None:
    # The standard error of a mean of n = 400 draws of std 2 is 0.1: the interval is about 4 * 0.1.
    interval = bootstrap_mean(generator(3).normal(0.0, 2.0, (1, 400)), generator(), 4000)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 0.1, rel=0.12)


def test_coverage_at_small_n() -> None:
    # A percentile bootstrap of 2 x 15 normal scores covers a little less than 95 %.
    rng = generator(11)
    trials = 300
    covered = 0
    for _ in range(trials):
        interval = bootstrap_mean(rng.normal(1.5, 1.0, (2, 15)), rng, 300)
        covered += interval.low <= 1.5 <= interval.high
    assert 0.88 <= covered / trials <= 0.98


def test_headroom_is_paired() -> None:
    dr, oracle = three_algorithms()
    headroom = bootstrap_mean(oracle - dr, generator())
    assert headroom.value == pytest.approx(np.mean(oracle - dr))
    # Task difficulty has std 5 and would give a width of over 2 if the pairing were lost.
    assert headroom.high - headroom.low < 0.2


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0, -0.5, 1.4])
def test_captured_is_exact_when_adapted_is_a_mix(share: float) -> None:
    dr, oracle = three_algorithms()
    captured = bootstrap_captured(dr + share * (oracle - dr), dr, oracle, generator())
    assert (captured.value, captured.low, captured.high) == pytest.approx((share,) * 3, abs=1e-12)


def test_captured_does_not_depend_on_scale_and_offset() -> None:
    dr, oracle = three_algorithms()
    adapted = dr + 0.6 + generator(1).normal(0.0, 0.2, dr.shape)
    plain = bootstrap_captured(adapted, dr, oracle, generator())
    scaled = bootstrap_captured(7 * adapted - 40, 7 * dr - 40, 7 * oracle - 40, generator())
    assert plain.low < plain.value < plain.high
    assert (scaled.low, scaled.high) == pytest.approx((plain.low, plain.high))


def test_captured_is_undefined_without_headroom() -> None:
    dr = generator(2).normal(size=(2, 10))
    same = bootstrap_captured(dr + 1.0, dr, dr, generator())
    worse = bootstrap_captured(dr, dr, dr - 1.0, generator())
    noise = bootstrap_captured(dr, dr, dr + generator(4).normal(size=dr.shape), generator())
    assert same is None
    assert worse is None
    assert noise is None


def test_harmed_by_hand() -> None:
    # The headroom is 2, so a loss above 0.1 counts: 0.11 and 5 of the six do, 0.1 does not.
    before = np.zeros((2, 3))
    after = np.array([[-0.11, 0.5, -0.05], [-5.0, -0.1, 0.0]])
    harmed = bootstrap_harmed(before, after, 2.0, generator())
    assert harmed.value == pytest.approx(2 / 6)
    assert 0.0 <= harmed.low < harmed.value < harmed.high <= 1.0
    # Only what was lost counts, not where it began.
    assert bootstrap_harmed(before - 7.0, after - 7.0, 2.0, generator()).value == harmed.value


def test_worst_tenth_by_hand() -> None:
    # 2 seeds x 6 tasks: a tenth of 12, rounded up, are the 2 that lost most, -4 and -2, of any
    # seed; their mean is -3.
    before = np.full((2, 6), 1.0)
    change = np.array([[0.0, -4.0, 1.0, 3.0, -1.0, 0.0], [5.0, -2.0, 0.0, 0.0, 0.0, 0.0]])
    worst = bootstrap_worst_tenth(before, before + change, generator())
    assert worst.value == pytest.approx(-3.0)
    assert -4.0 <= worst.low < worst.value < worst.high <= 0.0
    # Of ten it is the worst one alone.
    ten = np.arange(10.0)[None]
    assert bootstrap_worst_tenth(0 * ten, ten, generator()).value == 0.0


def scores(algorithm, episodes, returns, success=None, trial=None, *, exploring=False) -> Scores:
    """Scores (S, N) on the split train."""
    returns = np.array(returns, dtype=float)
    success = np.ones_like(returns) if success is None else success
    stage = (exploring, episodes, int(episodes > 0))
    return Scores("", "train", algorithm, *stage, returns, success, trial)


def test_numbers_of_an_evaluation_stay_the_same() -> None:
    """The rows of made-up scores, as they were measured since the first evaluation."""
    rng, found = generator(3), []
    means = {"random": [-8], "domain_randomisation": [-5], "maml": [-6, -2], "oracle": [-1]}
    for name, values in means.items():
        for place, mean in enumerate(values):
            returns, success = rng.normal(mean, 1.0, (2, 6)), rng.uniform(size=(2, 6))
            trial = returns if place else None
            is_noise = name == "random"
            found.append(scores(name, 20 * place, returns, success, trial, exploring=is_noise))
    rows, (headroom,) = summarise(found, seed=7)
    (row,) = (row for row in rows if row.episodes)
    assert row.return_mean == Interval(
        -1.9039313108207796, -2.4928139174842734, -1.3186861237864806
    )
    assert row.captured == Interval(0.7702568397610016, 0.5641925384034384, 0.9951496630393818)
    assert row.captured_per_seed == (0.717033957825142, 0.8178353669734441)
    assert headroom.gap == Interval(3.605354289813077, 2.9946476529033914, 4.227924868743195)


@pytest.mark.parametrize(
    ("random", "oracle", "captured"),
    [(-8.0, -1.0, 0.75), (-8.0, -9.0, None), (-8.0, -4.9, None), (-0.5, -1.0, None)],
)
def test_a_fraction_is_told_only_where_the_oracle_beats_the_references(random, oracle, captured):
    """It must beat random actions, and domain randomisation, here -5, beyond chance."""
    rng = generator()
    found = [
        scores(name, episodes, rng.normal(mean, 0.5, (2, 20)), exploring=name == "random")
        for name, episodes, mean in (
            ("random", 0, random),
            ("domain_randomisation", 0, -5.0),
            ("maml", 0, -6.0),
            ("maml", 20, -2.0),
            ("oracle", 0, oracle),
        )
    ]
    (row,) = (row for row in summarise(found, seed=0)[0] if row.episodes)
    assert (row.captured and row.captured.value) == (captured and pytest.approx(captured, abs=0.1))


def test_what_adapting_did_is_summarised_by_hand() -> None:
    """2 seeds x 3 tasks; the headroom is 4, so a loss above 0.2 is harm."""
    before = [[-4, -4, -4], [-3, -3, -3]]
    after = [[-5, -1, -4.1], [-3.3, -1, -1]]  # changes -1, 3, -0.1, -0.3, 2, 2
    trial = np.array([[-6, -6, -6], [-4, -4, -4]])  # 2 and 1 below what not adapting gives
    maml = [scores("maml", 0, before), scores("maml", 5, after, trial=trial)]
    never = scores("domain_randomisation", 0, np.full((2, 3), -5.0))
    rows, _ = summarise([never, *maml, scores("oracle", 0, np.full((2, 3), -1.0))], seed=0)
    _, start, row, oracle = rows
    assert (start.worse, start.worst_tenth, start.trial_cost) == (None, None, None)
    assert row.worse.value == pytest.approx(2 / 6)
    assert row.worst_tenth.value == pytest.approx(-1.0)
    assert row.trial_cost.value == pytest.approx(1.5)
    assert row.captured.value == pytest.approx((-15.4 / 6 + 5) / 4)
    assert oracle.captured is None

    lost = [never, *maml, scores("oracle", 0, np.full((2, 3), -5.0))]
    again = summarise(lost, seed=0)[0][2]
    assert again.worse is None  # 0.05 of nothing says nothing
    assert (again.worst_tenth, again.trial_cost) == (row.worst_tenth, row.trial_cost)


def test_a_true_belief_covers_and_has_even_ranks() -> None:
    """Coverage is the share of ranks from 0.05 to 0.95, of all parameters."""
    ranks = np.stack([np.linspace(0.01, 0.99, 40), np.full(40, 0.5)], axis=-1)[None]
    before = scores("latent", 0, np.zeros((1, 40)))._replace(ranks=ranks)
    ((row,), _) = summarise([before], seed=0)
    assert row.coverage is not None
    assert row.coverage.value == pytest.approx((36 / 40 + 1.0) / 2)
    assert row.ranks == pytest.approx((0.1, 0.1, 0.6, 0.1, 0.1))
    assert sum(row.ranks) == pytest.approx(1.0)
