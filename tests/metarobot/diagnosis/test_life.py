import io
import json
import re

import msgspec
import numpy as np
import pandas as pd
import pytest
from scipy.stats import weibull_min

from metarobot.cli.commands import diagnose_life
from metarobot.diagnosis import life
from metarobot.diagnosis.life_features import fit_health_index
from metarobot.diagnosis.life_learners import LEVELS, BayesianCurve, Weibull
from metarobot.diagnosis.life_networks import Maml, Network
from metarobot.diagnosis.life_scores import Outcome, score
from metarobot.diagnosis.life_table import Columns, LifeError, read_life_table
from metarobot.reporting.life_figure import draw_lives
from metarobot.reporting.life_report import verdict

SENSORS = 21
SETTINGS = ("3", "4", "5")


def engines(count, seed=0, *, median=60.0, running=0, regimes=1):
    """Made-up engines in the shape of C-MAPSS: unit, cycle, 3 settings, 21 sensors."""
    generator = np.random.default_rng(seed)
    gain = np.random.default_rng(99).normal(size=SENSORS) * (np.arange(SENSORS) % 3 != 0)
    parts = []
    for unit in range(1, count + 1):
        life_cycles = int(median * np.exp(generator.normal(0, 0.25)))
        cycle = np.arange(1, life_cycles + 1)
        wear = np.exp((cycle - life_cycles) / (life_cycles * generator.uniform(0.12, 0.3)))
        noise = generator.normal(size=(life_cycles, SENSORS)) * 0.4 * (gain != 0)
        regime = generator.integers(regimes, size=life_cycles)
        settings = np.column_stack([regime * 7.0, regime * 0.2, np.full(life_cycles, 100.0)])
        sensors = wear[:, None] * gain * 2 + noise + 10 * np.arange(SENSORS) * (1 + regime[:, None])
        rows = np.column_stack([np.full(life_cycles, unit), cycle, settings, sensors])
        if unit > count - running:
            rows = rows[: int(life_cycles * (0.3 + 0.1 * (unit % 7)))]
        parts.append(rows)
    return pd.DataFrame(np.concatenate(parts), columns=[str(n + 1) for n in range(5 + SENSORS)])


COLUMNS = Columns(unit="1", time="2", event="event", conditions=SETTINGS)


def table_of(frame, columns=COLUMNS, **how):
    return read_life_table(frame, columns, **how)


@pytest.fixture(scope="module")
def trained():
    return life.train(table_of(engines(17)), learner="Bayesian curve")


# Health index and learners


def test_health_index_rises_to_the_end_in_every_regime():
    table = table_of(engines(30, regimes=4))
    index, _ = fit_health_index(table)
    assert len(index.regimes) == 4
    rows = index.rows(table_of(engines(10, seed=5, regimes=4)))
    left = np.log(rows.remaining + 0.05)
    assert np.corrcoef(rows.index, left)[0, 1] < -0.8


def test_features_read_nothing_of_what_comes_later():
    table = table_of(engines(12))
    index, _ = fit_health_index(table)
    whole = table_of(engines(3, seed=8))
    frame = engines(3, seed=8)
    early = table_of(frame[frame["2"] <= 20])
    np.testing.assert_allclose(
        index.rows(early).features, index.rows(whole).features[whole.time <= 20], atol=1e-9
    )


def test_weibull_counts_running_units_as_at_least_so_long():
    lives = weibull_min.rvs(3, scale=100, size=400, random_state=0)
    seen = np.minimum(lives, 90.0)
    frame = pd.DataFrame({"unit": np.arange(400), "time": seen, "x": 0.0, "event": lives < 90})
    table = read_life_table(frame.assign(event=frame["event"].astype(int)))
    index, rows = fit_health_index(table)
    fitted = Weibull.fit(rows, 0)
    assert fitted.shape == pytest.approx(3, rel=0.15)
    assert fitted.scale * index.typical_life == pytest.approx(100, rel=0.05)
    # The law of a conditional quantile: S(age + median) = S(age) / 2.
    median = fitted.predict(rows)[:, np.argmin(abs(LEVELS - 0.5))]
    law = weibull_min(float(fitted.shape), scale=float(fitted.scale))
    np.testing.assert_allclose(law.sf(rows.age + median), law.sf(rows.age) / 2)


def test_bayesian_curve_narrows_as_a_unit_wears():
    index, rows = fit_health_index(table_of(engines(30)))
    found = index.rows(table_of(engines(8, seed=3)))
    quantiles = BayesianCurve.fit(rows, 0).predict(found)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    width = quantiles[:, -2] - quantiles[:, 1]
    late = found.remaining < 0.1
    assert np.median(width[late]) < 0.5 * np.median(width[~late])


def test_maml_starts_as_the_network_and_adapts_to_own_rows(monkeypatch):
    monkeypatch.setattr(Network, "num_updates", 100)
    index, rows = fit_health_index(table_of(engines(12)))
    network = Network.fit(rows.rows(rows.remaining > 0), 0)
    found = index.rows(table_of(engines(2, seed=3)))
    plain, adapted = network.predict(found), Maml(network.weights).predict(found)
    first = np.flatnonzero(np.diff(found.unit, prepend=-1))
    np.testing.assert_allclose(adapted[first], plain[first], rtol=1e-5)  # nothing to adapt from
    assert not np.allclose(adapted[first + 10], plain[first + 10], rtol=1e-3)


# Scores


def test_scores_at_a_fixed_age_take_the_last_row_before_it():
    quantiles = np.repeat(np.array([5.0, 5.0, 5.0, 7.0, 7.0])[:, None], len(LEVELS), axis=1)
    outcome = Outcome(
        row=np.arange(5),
        unit=np.array([0, 0, 0, 1, 1]),
        age=np.array([0.0, 4.0, 8.0, 0.0, 4.0]),
        left=np.array([10.0, 6.0, 2.0, 12.0, 8.0]),
        failed=np.array([True, True, True, False, False]),
        quantiles=quantiles,
    )
    assert outcome.at(5.0).tolist() == [1, 4]
    assert outcome.at(11.0).tolist() == [4]  # the first unit does not outlive it
    assert outcome.errors(np.full(5, 9.0)).tolist() == [-1.0, 3.0, 7.0, -3.0, 0.0]
    whole, at_age = score("x", outcome, np.arange(5) > 0, (5.0,), 0)
    assert whole.mae == pytest.approx((5 + 1 + 3 + 5 + 1) / 5)
    assert at_age.mae == pytest.approx(1.0)
    assert whole.coverage == pytest.approx(2 / 3)  # of the unit that failed


# Runs


def test_seventeen_units_are_predicted_with_intervals(trained):
    run, held_out = trained
    assert run.config.num_units == 17
    predictions = held_out.predictions("Bayesian curve")
    known = predictions[predictions["remaining"] > 0]
    held = known["remaining"].between(known["low"], known["high"])
    assert 0.8 <= held.mean() <= 1.0
    test = engines(40, seed=2, running=40)
    found = run.predict(table_of(test, sensors=run.config.sensors, fails=False))
    assert found["unit"].tolist() == [str(n) for n in range(1, 41)]
    assert (found["low"] <= found["median"]).all()
    assert (found["median"] <= found["high"]).all()
    truth = engines(40, seed=2).groupby("1")["2"].max() - test.groupby("1")["2"].max()
    error = np.abs(found["median"] - truth.to_numpy()).mean()
    assert error < 0.8 * np.abs(truth - truth.median()).mean()
    draw_lives(predictions, "2").savefig(io.BytesIO())


def test_chosen_learner_has_the_least_error(monkeypatch):
    monkeypatch.setattr(Network, "num_updates", 50)
    frame = engines(30, running=10)
    event = (frame["1"] <= 20).astype(int)
    run, _ = life.train(table_of(frame.assign(event=event)))
    lead = run.config.margin
    assert lead is not None
    assert run.config.learner == lead.learner
    assert lead.mae <= lead.next_mae
    assert run.config.num_failed == 20
    errors = {s.learner: s.mae for s in run.config.scores if s.ages == "all checks"}
    assert set(errors) == set(life.LEARNERS)
    assert errors[lead.learner] < errors["Weibull"]
    assert "is chosen" in verdict(run.config)


def test_too_few_failed_units_are_refused():
    frame = engines(9)
    with pytest.raises(
        LifeError, match="4 of 9 units failed and have several rows, at least 5 must"
    ):
        life.train(table_of(frame.assign(event=(frame["1"] <= 4).astype(int))))


def test_run_folder_gives_the_same_predictions(trained, tmp_path):
    run, _ = trained
    life.save_life_run(run, tmp_path / "run")
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "config.json",
        "life.safetensors",
    ]
    loaded = life.load_life_run(tmp_path / "run")
    test = table_of(engines(3, seed=4))
    pd.testing.assert_frame_equal(loaded.predict_rows(test), run.predict_rows(test))
    with pytest.raises(LifeError, match="not empty"):
        life.save_life_run(run, tmp_path / "run")


def damage_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGES = {
    "other learner": (lambda f: damage_config(f, learner="Weibull"), "is of another learner"),
    "unknown field": (lambda f: damage_config(f, extra=1), "extra"),
    "fewer sensors": (lambda f: damage_config(f, sensors=["6"]), "has other sensors"),
    "flipped byte": (
        lambda f: (f / "life.safetensors").write_bytes(
            (f / "life.safetensors").read_bytes()[:-1] + b"\x01"
        ),
        "seal",
    ),
    "no config": (lambda f: (f / "config.json").unlink(), "holds no config.json"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_run_is_one_line(trained, tmp_path, damage):
    life.save_life_run(trained[0], tmp_path / "run")
    change, message = DAMAGES[damage]
    change(tmp_path / "run")
    with pytest.raises(LifeError, match=message) as raised:
        life.load_life_run(tmp_path / "run")
    assert "\n" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_same_seed_same_run():
    table = table_of(engines(8, median=30.0))
    one, two = (life.train(table, learner="fleet curve", seed=3)[0] for _ in range(2))
    assert msgspec.to_builtins(one.config) == msgspec.to_builtins(two.config)
    pd.testing.assert_frame_equal(one.predict_rows(table), two.predict_rows(table))


def test_commands_train_and_predict(tmp_path, capsys):
    engines(10, median=30.0).to_csv(tmp_path / "t.txt", sep=" ", header=False, index=False)
    engines(4, 1, median=30.0, running=4).to_csv(
        tmp_path / "p.txt", sep=" ", header=False, index=False
    )
    options = {"unit": "1", "time": "2", "conditions": SETTINGS, "learner": "fleet curve"}
    command = diagnose_life.LifeTrain(table=tmp_path / "t.txt", out=tmp_path / "run", **options)
    assert diagnose_life.train(command) == 0
    text = capsys.readouterr().out
    assert "fleet curve: trained on 10 units, of which 10 failed" in text
    assert re.search(r"all checks\s+at age", text)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "fleet curve: trained on 10 units" in page
    assert page.count("data:image/png;base64,") == 1
    command = diagnose_life.LifePredict(
        run=tmp_path / "run", table=tmp_path / "p.txt", out=tmp_path / "found.csv"
    )
    assert diagnose_life.predict(command) == 0
    found = pd.read_csv(tmp_path / "found.csv")
    assert list(found.columns) == ["unit", "2", "median", "mean", "low", "high"]
    assert len(found) == 4
    with pytest.raises(ValueError, match=r"must end in \.csv"):
        diagnose_life.LifePredict(run=tmp_path, table=tmp_path, out=tmp_path / "x.txt")
