import numpy as np
import pytest

from metarobot.diagnosis import sample_machines
from metarobot.diagnosis.life_table import Columns, read_life_table
from metarobot.diagnosis.wear import (
    CYCLES_BETWEEN_CHECKS,
    INDICATORS,
    PROCESSES,
    sample_parts,
    wear_table,
)


@pytest.fixture(scope="module")
def parts():
    return sample_parts(sample_machines(2000))


def test_lives_have_the_stated_median_and_spread(parts):
    payload = parts.machines.payload_kg / 0.6
    logarithms = np.log(parts.life_cycles * payload**0.5)
    assert np.exp(np.median(logarithms)) == pytest.approx(100, rel=0.05)
    assert logarithms.std() == pytest.approx(np.hypot(0.35, 0.12), rel=0.15)


def test_wear_begins_low_never_heals_and_ends_at_one(parts):
    assert parts.wear[:, 0].max() <= 0.5
    assert (np.diff(parts.wear, axis=1) >= -1e-12).all()
    row = np.arange(len(parts.life_cycles))
    assert (parts.wear[row, parts.life_cycles] >= 1).all()
    assert (parts.wear[row, parts.life_cycles - 1] < 1).all()
    assert set(parts.fault) == set(PROCESSES)


def test_a_machine_wears_the_same_whatever_stands_beside_it(parts):
    few = sample_parts(parts.machines.rows(np.array([7, 3])))
    np.testing.assert_array_equal(few.wear, parts.wear[[7, 3]])


def test_table_is_one_that_users_have():
    table = wear_table(3, "test", num_running=1, num_threads=1)
    life = sample_parts(sample_machines(3, "test")).life_cycles
    assert table.groupby("unit")["cycle"].max().tolist()[:2] == life[:2].tolist()
    assert table.groupby("unit")["event"].first().tolist() == [1, 1, 0]
    assert table.groupby("unit")["cycle"].max().iloc[2] < life[2]
    assert (table.groupby("unit")["cycle"].diff().dropna() <= CYCLES_BETWEEN_CHECKS).all()
    read = read_life_table(table, Columns(time="cycle"))
    assert read.failed.tolist() == [True, True, False]
    assert len(read.sensor_names) == 1 + 7 * len(INDICATORS)  # the payload, too
    assert np.isfinite(read.sensors).all()


def test_indicators_find_what_was_put_in():
    table = wear_table(12, num_threads=1)
    parts = sample_parts(sample_machines(12))
    for machine in np.flatnonzero(parts.fault == "dry_friction"):
        own = table[table["unit"] == machine]
        column = own[f"joint{parts.joint[machine]} dry friction (N m)"].to_numpy()
        assert column[-1] - column[0] == pytest.approx(parts.limit[machine], rel=0.6)
