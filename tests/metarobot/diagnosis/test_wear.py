import numpy as np
import pytest

from metarobot.diagnosis.life_table import Columns, read_life_table
from metarobot.diagnosis.simulator import sample_machines
from metarobot.diagnosis.wear import INDICATORS, PROCESSES, sample_parts, wear_table


def test_wear_begins_low_never_heals_and_ends_at_one():
    parts = sample_parts(sample_machines(2000))
    life = parts.life_cycles
    logarithms = np.log(life * (parts.machines.payload_kg / 0.6) ** 0.5)
    assert np.exp(np.median(logarithms)) == pytest.approx(100, rel=0.05)
    assert logarithms.std() == pytest.approx(np.hypot(0.35, 0.12), rel=0.15)
    assert parts.wear[:, 0].max() <= 0.5
    assert (np.diff(parts.wear, axis=1) >= -1e-12).all()
    row = np.arange(len(life))
    assert (parts.wear[row, life] >= 1).all()
    assert (parts.wear[row, life - 1] < 1).all()
    assert set(parts.fault) == set(PROCESSES)
    few = sample_parts(parts.machines.rows(np.array([7, 3])))  # whatever stands beside it
    np.testing.assert_array_equal(few.wear, parts.wear[[7, 3]])


def test_table_is_one_that_users_have():
    table = wear_table(11, "test")
    parts = sample_parts(sample_machines(11, "test"))
    units = table.groupby("unit")
    assert units["cycle"].max().tolist() == parts.life_cycles.tolist()
    assert (units["cycle"].diff().dropna() <= 6).all()
    read = read_life_table(table, Columns(time="cycle"))
    assert read.failed.all()
    assert len(read.sensor_names) == 1 + 7 * len(INDICATORS)  # the payload, too
    assert np.isfinite(read.sensors).all()
    rising = [place for place in range(11) if parts.fault[place] == "dry_friction"]
    for place in rising:  # the indicators find what was put in
        own = table[table["unit"] == parts.machines.number[place]]
        column = own[f"joint{parts.joint[place]} dry friction (N m)"].to_numpy()
        assert column[-1] - column[0] == pytest.approx(parts.limit[place], rel=0.6)
    assert rising
