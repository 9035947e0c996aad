"""Tables of units from files and DataFrames; recordings test the same reader."""

import numpy as np
import pandas as pd
import pytest

from metarobot.diagnosis import life_table
from metarobot.diagnosis.life_table import Columns, LifeError, read_life_table

NUMBERED = Columns(unit="1", time="2")
ROWS = np.array([[1, 1, 0.5, 641.8], [1, 2, 1.5, 642.1], [2, 1, -0.25, 640.0]])
TEXTS = {
    "C-MAPSS": ("%.4f", " ", "  \n"),
    "numpy": ("%.18e", " ", "\n"),
    "tabulators": ("%g", "\t", "\n"),
    "separator at the end": ("%g", ",", ",\n"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_table_without_header(tmp_path, name):
    form, separator, end = TEXTS[name]
    np.savetxt(tmp_path / "train.txt", ROWS, form, separator, end)
    table = read_life_table(tmp_path / "train.txt", NUMBERED)
    assert (table.names, table.sensor_names) == (("1", "2"), ("3", "4"))
    np.testing.assert_allclose(table.sensors, ROWS[:, 2:])
    assert table.failed.all()
    assert table.end.tolist() == [2, 1]


@pytest.mark.parametrize("ending", [".csv", ".parquet", "", ".CSV"])
def test_rows_are_sorted_and_gaps_filled_from_before(tmp_path, ending):
    """Also from a DataFrame, and with an index and a text that is ignored."""
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    columns = {"unit": ["b", "a\u0301", "b", "a\u0301"], "time": [2, 1, 1, 0]}
    frame = pd.DataFrame(
        columns | {"x": [np.nan, 4.0, 3.0, np.nan], "on": [True, False, True, True], "who": "me"}
    )
    path = tmp_path / f"table{ending}"
    frame.to_parquet(path) if ending == ".parquet" else frame.to_csv(path)
    table = read_life_table(path if ending else frame, Columns(ignore=("who",)))
    assert (table.names, table.sensor_names) == (("b", "a\u0301"), ("x", "on"))
    assert table.time.tolist() == [1, 2, 0, 1]
    np.testing.assert_array_equal(table.sensors[:, 0], [3.0, 3.0, np.nan, 4.0])
    assert table.sensors[:, 1].tolist() == [1, 1, 1, 0]


def test_semicolons_have_decimal_commas(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("# made up\nunit;time;x;event\nA;0,5;1,25;0\nA;1,5;2,5;1,0\n2,0;1;3;0\n")
    table = read_life_table(path)
    assert (table.names, table.time.tolist()) == (("A", "2"), [0.5, 1.5, 1.0])
    assert table.sensors[:, 0].tolist() == [1.25, 2.5, 3.0]
    assert table.failed.tolist() == [True, False]


MALFORMED = {
    "machine,time,x\na,1,2\n": "no column 'unit': name it with --unit; it has machine, time",
    "unit,cycle,x\na,1,2\n": "no column 'time': name it with --time",
    "unit,time\na,1\n": "no sensor",
    "unit,time,x\n,1,2\n": "line 2, column 'unit' is '': fill it",
    "unit,time,x\na,1,2\na,,2\n": "line 3, column 'time' is nan: fill it",
    "unit,time,x\na,1,2\n# b\na,soon,2\n": "line 4, column 'time' is 'soon': correct it",
    "unit,time,x\na,2024-01-01,2\n": "'2024-01-01': .*of dates, give the time since",
    "unit,time,x\na,-1,2\n": "line 2, column 'time' is -1.0: an age is at least 0",
    "unit,time,x\na,1,2\na,1,3\n": "unit 'a' has two rows at time 1",
    "unit,time,x\na,1,fine\n": "line 2, column 'x' is 'fine': .*--ignore",
    "unit,time,x\na,1,1e60\n": r"column 'x' is 1e\+60: numbers may",
    "unit,time,x,event\na,1,2,perhaps\n": "line 2, column 'event' is 'perhaps': give 1 .*0",
    "unit,time,x\na,1,2\nb,1,2,3,4,5\n": "line 3, more cells than names of columns",
    "unit,time,x\na,1,2\x1b[2J\n": r"is '2\\x1b\[2J': correct",
}


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_table_is_one_line(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(LifeError, match=MALFORMED[text]) as raised:
        read_life_table(path)
    assert str(raised.value).isprintable()
    assert str(raised.value).startswith(f"{path}: ")


def test_file_that_is_none_is_one_line(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "not.parquet").write_bytes(b"PAR1 no PAR1")
    for path in (tmp_path / "none.csv", tmp_path, tmp_path / "not.parquet"):
        with pytest.raises(LifeError) as raised:
            read_life_table(path)
        assert str(raised.value).isprintable()
        assert str(path) in str(raised.value)


def test_frames_are_checked_like_files(monkeypatch):
    frame = pd.DataFrame({"unit": ["a"], "time": [pd.Timestamp("2024-01-01")], "x": [1.0]})
    with pytest.raises(
        LifeError, match=r"^the table: row 1, column 'time' is '2024-01-01': correct it"
    ):
        read_life_table(frame)
    with pytest.raises(LifeError, match="'x' twice"):
        read_life_table(pd.DataFrame([["a", 1, 2, 3]], columns=["unit", "time", "x", "x"]))
    monkeypatch.setattr(life_table, "MOST_ROWS", 0)
    with pytest.raises(LifeError, match="1 rows, must have 1 to 0: keep"):
        read_life_table(frame.assign(time=1))
