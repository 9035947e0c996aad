"""Values from a table that people write: what is read, and what the one line says otherwise."""

import pytest

from metarobot.envs import VariantError
from metarobot.envs.checked_table import CheckedTable

NAMES = ("alpha", "beta", "m/s")


def table(**values):
    return CheckedTable(values, NAMES, "my.toml", ("outer",))


def test_values_are_read_as_what_they_are():
    values = {"alpha": 3, "beta": [[2, 3], [0, 1]], "m/s": "fast"}
    checked = CheckedTable(values, NAMES, "my.toml")
    assert checked.number("alpha", 0, 3) == 3.0
    assert checked.integer("alpha", 0, 3) == 3
    assert checked.intervals("beta", (0, 9), "m") == ((0.0, 1.0), (2.0, 3.0))
    assert checked.text("m/s") == checked.choice("m/s", ["slow", "fast"]) == "fast"
    assert list(checked) == list(values)


def test_what_is_not_there_has_its_default():
    checked = table()
    assert checked.integer("alpha", 0, 3, default=1) == 1
    assert checked.text("alpha", "none") == "none"
    assert checked.intervals("alpha", (0, 1), "m") == ()
    assert list(checked.table("alpha", NAMES)) == []


@pytest.mark.parametrize("value", [True, "1", None, [1.0], float("nan"), float("inf"), 10**400])
def test_a_number_is_finite_and_no_truth_value(value):
    with pytest.raises(
        VariantError, match=r"^my\.toml: outer\.alpha = .*: must be a number in \[0, 3\] kg$"
    ):
        table(alpha=value).number("alpha", 0.0, 3.0, "kg")


@pytest.mark.parametrize("value", [1.0, True, "1", 4, -1])
def test_an_integer_is_an_integer(value):
    with pytest.raises(VariantError, match=r"outer\.alpha = .*: must be an integer in \[0, 3\]"):
        table(alpha=value).integer("alpha", 0, 3)


def test_an_unknown_key_names_the_nearest_and_all():
    message = r"outer\.bta = 1: unknown unit, nearest is 'beta', allowed are alpha, beta, m/s"
    with pytest.raises(VariantError, match=message):
        CheckedTable({"bta": 1}, NAMES, "my.toml", ("outer",), "unit")


def test_tables_within_tables_say_where_they_are():
    with pytest.raises(VariantError, match=r'outer\.alpha\."m/s" = -1: must be a number'):
        table(alpha={"m/s": -1}).table("alpha", NAMES).number("m/s", 0, 1)
    with pytest.raises(VariantError, match=r"outer\.alpha = 3: must be a table"):
        table(alpha=3).table("alpha", NAMES)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ([[0, 1], [0.5, 2]], "must not overlap"),
        ([[1, 0]], r"= \[1, 0\]: a range must be \[low, high\] with low < high"),
        ([[1, 1]], "low < high"),
        ([[0]], r"= \[0\]: a range must be"),
        ([[0, 9]], r"= 9: must be a number in \[0, 3\] m"),
        ([0, 1], "= 0: a range must be"),
        ("0 to 1", "must be a list"),
    ],
)
def test_ranges_are_pairs_in_order(value, complaint):
    with pytest.raises(VariantError, match=complaint):
        table(alpha=value).intervals("alpha", (0, 3), "m")


def test_odd_keys_and_endless_values_stay_in_one_short_line():
    with pytest.raises(VariantError) as error:
        CheckedTable({"a\n\x1b[31m" * 50: "x" * 10_000}, NAMES, "my.toml")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 600
