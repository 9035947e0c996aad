import json
import re

import msgspec
import numpy as np
import pandas as pd
import pytest
from scipy.stats import lognorm

from metarobot.cli.main import main
from metarobot.diagnosis import life
from metarobot.diagnosis.life import calibrate, score
from metarobot.diagnosis.life_learners import (
    LEARNERS,
    LEVELS,
    BayesianCurve,
    LogNormal,
    Maml,
    Network,
    fit_health_index,
)
from metarobot.diagnosis.life_table import Columns, LifeError, read_life_table
from metarobot.reporting.diagnosis_report import life_verdict

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


def test_health_index_rises_to_the_end_and_reads_nothing_of_what_comes_later():
    index, _ = fit_health_index(table_of(engines(30, regimes=4)))
    frame = engines(10, seed=5, regimes=4)
    rows, is_early = index.rows(table_of(frame)), (frame["2"] <= 20).to_numpy()
    assert np.corrcoef(rows.index, np.log(rows.remaining + 0.05))[0, 1] < -0.8
    early = index.rows(table_of(frame[is_early]))
    np.testing.assert_allclose(early.features, rows.features[is_early], atol=1e-9)


def test_lives_of_running_units_are_longer_than_they_ran():
    lives = lognorm.rvs(0.3, scale=100, size=400, random_state=0)
    frame = pd.DataFrame({"unit": np.arange(400), "event": (lives < 90).astype(int), "x": 0.0})
    ends = frame.assign(time=np.minimum(lives, 90.0))
    index, rows = fit_health_index(read_life_table(pd.concat([frame.assign(time=0.0), ends])))
    fitted = LogNormal.fit(rows, 0)
    assert fitted.shape == pytest.approx(0.3, rel=0.15)
    assert fitted.scale * index.typical_life == pytest.approx(100, rel=0.05)
    # The law of a conditional quantile: S(age + median) = S(age) / 2.
    median = fitted.predict(rows)[:, np.argmin(abs(LEVELS - 0.5))]
    law = lognorm(fitted.shape, scale=fitted.scale)
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
    monkeypatch.setattr(Network, "num_updates", 50)
    index, rows = fit_health_index(table_of(engines(12)))
    network = Network.fit(rows, 0)
    found = index.rows(table_of(engines(2, seed=3)))
    plain, adapted = network.predict(found), Maml(network.weights).predict(found)
    first = np.flatnonzero(np.diff(found.unit, prepend=-1))
    np.testing.assert_allclose(adapted[first], plain[first], rtol=1e-5)  # nothing to adapt from
    assert not np.allclose(adapted[first + 10], plain[first + 10], rtol=1e-3)


def predictions_of(left, median, failed=True, **columns):
    frame = pd.DataFrame({"left": left, "median": median, "mean": median, "failed": failed})
    return frame.assign(below=1.0, above=2.0, learner="x", low=0.0, high=7.0, **columns)


def test_scores_at_a_fixed_age_take_the_last_row_before_it():
    found = predictions_of(
        left=[10.0, 6.0, 2.0, 12.0, 8.0, 3.0],
        median=[5.0, 5.0, 5.0, 7.0, 9.0, 3.0],
        failed=[True] * 3 + [False] * 2 + [True],
        unit=["a"] * 3 + ["b"] * 2 + ["c"],
        age=[0.0, 4.0, 8.0, 0.0, 4.0, 2.5],
    )
    other = found.assign(learner="y", median=0.0, low=np.nan)
    scores = score(pd.concat([found, other]), (5.0, 11.0))
    assert scores["ages"].tolist() == ["all checks", "all checks", "5", "5"]  # one outlives 11
    assert scores["units"].tolist() == [3, 3, 3, 3]
    assert scores["mae"].tolist() == pytest.approx([14 / 6, 41 / 6, 1 / 3, 17 / 3])
    assert scores["coverage"].tolist() == pytest.approx([3 / 4, np.nan, 1, np.nan], nan_ok=True)
    assert scores["mae_above_best"][0] == (0.0, 0.0)
    assert scores["mae_above_best"][1] == pytest.approx((3.0, 7.5))  # of units a or c, and of b


def test_intervals_hold_nine_in_ten_with_running_units():
    rng = np.random.default_rng(0)
    error, end = rng.normal(size=4000), rng.normal(1.0, 2.0, size=4000)
    running = error > end
    found = predictions_of(
        left=50 + np.minimum(error, end), median=50.0, failed=~running, unit=np.arange(4000)
    )
    factors = calibrate(found)
    assert factors == pytest.approx((1.645, 1.645 / 2), rel=0.1)
    held = (50 + error >= 50 - factors[0]) & (50 + error <= 50 + 2 * factors[1])
    assert held.mean() == pytest.approx(0.9, abs=0.02)
    few = calibrate(found.assign(unit=np.arange(4000) % 6))  # t has 5 degrees of freedom
    assert few[0] / factors[0] == pytest.approx(2.015 / 1.645 * (7 / 6) ** 0.5, rel=1e-3)


def test_seventeen_units_are_predicted_with_intervals(trained):
    run, predictions = trained
    assert run.config.num_units == predictions["unit"].nunique() == 17
    assert 0.8 <= predictions["left"].between(predictions["low"], predictions["high"]).mean() <= 1
    test = engines(40, seed=2, running=40)
    found = run.predict(table_of(test, sensors=run.config.sensors, fails=False))
    assert found["unit"].tolist() == [str(n) for n in range(1, 41)]
    assert (found["low"] <= found["median"]).all()
    assert (found["median"] <= found["high"]).all()
    truth = engines(40, seed=2).groupby("1")["2"].max() - test.groupby("1")["2"].max()
    error = np.abs(found["median"] - truth.to_numpy()).mean()
    assert error < 0.8 * np.abs(truth - truth.median()).mean()


def test_chosen_learner_has_the_least_error(monkeypatch):
    monkeypatch.setattr(Network, "num_updates", 50)
    frame = engines(30, running=10)
    run, _ = life.train(table_of(frame.assign(event=(frame["1"] <= 20).astype(int))))
    errors = {s["learner"]: s["mae"] for s in run.config.scores if s["ages"] == "all checks"}
    assert set(errors) == set(LEARNERS)
    assert run.config.learner == min(errors, key=errors.__getitem__) != "log-normal"
    assert run.config.num_failed == 20
    assert f"{run.config.learner} is chosen: it errs by" in life_verdict(run.config)


def test_too_few_failed_units_are_refused():
    frame = engines(9)
    table = table_of(frame.assign(event=(frame["1"] <= 4).astype(int)))
    with pytest.raises(LifeError, match="4 of 9 units failed and have several rows, at least 5"):
        life.train(table)


def test_run_folder_gives_the_same_predictions(trained, tmp_path):
    run, _ = trained
    life.save_life_run(run, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "life.safetensors"}
    loaded = life.load_life_run(tmp_path)
    test = table_of(engines(3, seed=4))
    again, _ = life.train(table_of(engines(17)), learner="Bayesian curve")
    for other in (loaded, again):  # the same seed makes the same run
        assert msgspec.json.encode(other.config) == msgspec.json.encode(run.config)
        pd.testing.assert_frame_equal(other.predict_rows(test), run.predict_rows(test))


def damage_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def damage_arrays(folder):
    path = folder / "life.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


DAMAGES = {
    "other learner": (lambda f: damage_config(f, learner="log-normal"), "unexpected keyword"),
    "no learner": (lambda f: damage_config(f, learner="oracle"), "no learner 'oracle', allowed"),
    "unknown field": (lambda f: damage_config(f, extra=1), "extra"),
    "fewer sensors": (lambda f: damage_config(f, sensors=["6"]), "has other sensors"),
    "flipped byte": (damage_arrays, "seal"),
    "no config": (lambda f: (f / "config.json").unlink(), "holds no config.json"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_run_is_one_line(trained, tmp_path, damage):
    life.save_life_run(trained[0], tmp_path)
    change, message = DAMAGES[damage]
    change(tmp_path)
    with pytest.raises(LifeError, match=message) as raised:
        life.load_life_run(tmp_path)
    assert "\n" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_commands_train_and_predict(tmp_path, capsys):
    for name, frame in (("t", engines(10, median=30.0)), ("p", engines(4, 1, running=4))):
        frame.to_csv(tmp_path / f"{name}.txt", sep=" ", header=False, index=False)
    run = str(tmp_path / "run")
    options = ["--unit", "1", "--time", "2", "--conditions", *SETTINGS, "--learner", "fleet curve"]
    assert main(["diagnose", "life", "train", str(tmp_path / "t.txt"), "--out", run, *options]) == 0
    text = capsys.readouterr().out
    assert "fleet curve: trained on 10 units, of which 10 failed" in text
    assert re.search(r"all checks\s+at age", text)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "fleet curve: trained on 10 units" in page
    assert page.count("data:image/png;base64,") == 1
    words = ["diagnose", "life", "predict", run, str(tmp_path / "p.txt"), "--out"]
    assert main([*words, str(tmp_path / "found.csv")]) == 0
    found = pd.read_csv(tmp_path / "found.csv")
    assert list(found.columns) == ["unit", "2", "median", "mean", "low", "high"]
    assert len(found) == 4
    assert main([*words, "x.txt"]) == 2
    assert "must end in .csv" in capsys.readouterr().err
