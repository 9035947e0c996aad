"""Laws of tasks and their distributions: disjoint splits, uniformity, scaling, refusals."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from metarobot.envs import FAMILIES, SPLITS, TaskDistribution, TaskError, TaskParameter, Tasks

DISTRIBUTIONS = {env_id: FAMILIES[env_id].distribution for env_id in FAMILIES}
PARAMETERS = [p for distribution in DISTRIBUTIONS.values() for p in distribution.parameters]
GRIP = DISTRIBUTIONS["metarobot/Grip-v0"]
REACH = DISTRIBUTIONS["metarobot/Reach-v0"]
LAW = settings(deadline=None, derandomize=True, max_examples=60)

every_distribution = pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=FAMILIES)
every_parameter = pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda p: p.name)
every_range = pytest.mark.parametrize(
    "parameter", [p for p in PARAMETERS if not p.choices], ids=lambda p: p.name
)
SIDE = TaskParameter(
    name="side",
    unit="1",
    description="",
    nominal=0.0,
    train=(-1.0, 3.0),
    choices=(-1.0, 0.0, 3.0),
    allowed=(-5.0, 5.0),
)


def in_any(values, intervals, *, edges):
    """Whether each value lies in one of the intervals, (N,), with or without their edges."""
    inside = np.zeros(len(values), bool)
    for low, high in intervals:
        inside |= (low <= values) & (values <= high) if edges else (low < values) & (values < high)
    return inside


def assert_in_split(parameter, values, split):
    low, high = parameter.train
    if split == "extrapolation" and parameter.extrapolation:
        assert in_any(values, parameter.extrapolation, edges=True).all()
        assert ((values <= low) | (values >= high)).all()
        return
    assert ((low <= values) & (values <= high)).all()
    if split == "interpolation" and parameter.gaps:
        assert in_any(values, parameter.gaps, edges=True).all()
    else:
        assert not in_any(values, parameter.gaps, edges=False).any()


@st.composite
def task_parameters(draw):
    """Any parameter whose ranges nest: beyond, train with two gaps, beyond."""
    start, steps = draw(st.floats(0.01, 5)), st.floats(0.001, 10)
    edges = start + np.cumsum([0, *draw(st.tuples(*[steps] * 7))])
    a, b, c, d, e, f, g, h = map(float, edges)
    return TaskParameter(
        name="quantity_m",
        unit="m",
        description="",
        nominal=d,
        train=(b, g),
        gaps=((e, f), (c, d)),
        extrapolation=((a, b), (g, h)),
        allowed=(a, h),
        log_uniform=draw(st.booleans()),
    )


# Splits.


@LAW
@given(parameter=task_parameters(), seed=st.integers(0, 2**32), split=st.sampled_from(SPLITS))
def test_a_sample_lies_in_its_split_and_in_no_other(parameter, seed, split):
    values = parameter.sample(np.random.default_rng(seed), 50, split)
    assert_in_split(parameter, values, split)


@LAW
@given(
    seed=st.integers(0, 2**32),
    split=st.sampled_from(SPLITS),
    distribution=st.sampled_from(list(DISTRIBUTIONS.values())),
)
def test_every_family_keeps_its_splits_apart(distribution, seed, split):
    if split not in distribution.splits:
        with pytest.raises(TaskError, match=f"no {split} split, allowed: train"):
            distribution.sample(np.random.default_rng(seed), 50, split)
        return
    tasks = distribution.sample(np.random.default_rng(seed), 50, split)
    distribution.validate(tasks)
    assert tasks.names == distribution.names
    for parameter in distribution.parameters:
        assert_in_split(parameter, tasks[parameter.name], split)


@every_range
def test_every_interval_is_drawn_in_proportion_to_its_scaled_length(parameter):
    for split in SPLITS:
        values = parameter.sample(np.random.default_rng(0), 20_000, split)
        intervals = parameter.intervals(split)
        lengths = np.array([np.diff(parameter.scale(np.array(pair)))[0] for pair in intervals])
        shares = [in_any(values, [pair], edges=True).mean() for pair in intervals]
        np.testing.assert_allclose(shares, lengths / lengths.sum(), atol=0.02)


@every_range
def test_values_are_uniform_on_their_declared_scale(parameter):
    whole = dataclasses.replace(parameter, gaps=())
    values = parameter.scale(whole.sample(np.random.default_rng(0), 5_000, "train"))
    low, high = parameter.scale(np.array(parameter.train))
    assert kstest((values - low) / (high - low), "uniform").pvalue > 0.01
    if parameter.log_uniform:
        low, high = parameter.train
        linear = (np.exp(values) - low) / (high - low)
        assert kstest(linear, "uniform").pvalue < 1e-6


@every_parameter
@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_rounding_carries_no_sample_across_an_edge(parameter, uniform):
    class Constant:
        def random(self, size):
            return np.full(size, uniform)

        def choice(self, values, size):
            return np.full(size, values[int(uniform * len(values))])

    for split in SPLITS:
        values = parameter.sample(Constant(), 1, split)
        assert in_any(values, parameter.intervals(split), edges=True).all()


def test_choices_are_drawn_alike_and_nothing_else_is():
    values = SIDE.sample(np.random.default_rng(0), 30_000, "train")
    found, counts = np.unique(values, return_counts=True)
    np.testing.assert_array_equal(found, SIDE.choices)
    np.testing.assert_allclose(counts / 30_000, 1 / 3, atol=0.01)


def test_a_family_has_the_splits_that_hold_values():
    assert GRIP.splits == SPLITS
    assert TaskDistribution((SIDE,)).splits == ("train",)
    no_gaps = dataclasses.replace(GRIP["pad_friction"], gaps=())
    assert TaskDistribution((no_gaps, SIDE)).splits == ("train", "extrapolation")
    assert TaskDistribution((no_gaps, GRIP["block_mass_kg"])).splits == SPLITS


@every_distribution
def test_up_to_five_parameters_take_a_held_out_value_at_once(distribution):
    """So the tasks of the package's families are, bit for bit, one draw of each parameter."""
    for split in distribution.splits:
        rng = np.random.default_rng(3)
        columns = {p.name: p.sample(rng, 50, split) for p in distribution.parameters}
        assert distribution.sample(np.random.default_rng(3), 50, split) == Tasks(columns)


def test_of_more_parameters_a_task_draws_the_five_that_lie_beyond():
    mass = GRIP["block_mass_kg"]
    many = tuple(dataclasses.replace(mass, name=f"mass_{i}_kg") for i in range(12))
    tasks = TaskDistribution((*many, SIDE)).sample(
        np.random.default_rng(0), 20_000, "extrapolation"
    )
    values = tasks.values[:, :12]
    beyond = (values < mass.train[0]) | (values > mass.train[1])
    assert (beyond.sum(1) == 5).all()
    np.testing.assert_allclose(beyond.mean(0), 5 / 12, atol=0.02)
    assert len(np.unique(beyond, axis=0)) == math.comb(12, 5)
    assert_in_split(mass, values[beyond], "extrapolation")
    assert_in_split(mass, values[~beyond], "train")


def test_a_split_that_a_family_lacks_is_refused():
    with pytest.raises(TaskError, match=r"^side has no interpolation split, allowed: train$"):
        TaskDistribution((SIDE,)).sample(np.random.default_rng(0), 1, "interpolation")


def test_an_unknown_split_is_refused_with_the_nearest_name():
    with pytest.raises(TaskError, match=r"no split 'extrapolate'.*did you mean 'extrapolation'\?"):
        GRIP.sample(np.random.default_rng(0), 1, "extrapolate")


# Scaling.


@every_distribution
def test_the_training_range_is_told_as_minus_one_to_one(distribution):
    for p in distribution.parameters:
        if not p.circular:
            middle = p.unscale(p.scale(np.array(p.train)).mean())
            told = p.encode(np.array([*p.train, middle]))
            np.testing.assert_allclose(told, [[-1.0], [1.0], [0.0]], atol=1e-12)


def test_both_ends_of_a_turn_are_told_alike():
    yaw = REACH["frame_yaw_rad"]
    half_turn = np.nextafter(np.pi, 0)
    told = yaw.encode(np.array([-half_turn, half_turn, 0.0, np.pi / 2]))
    np.testing.assert_allclose(told, [[-1, 0], [-1, 0], [1, 0], [0, 1]], atol=1e-12)


@every_distribution
def test_what_is_told_lies_within_its_bounds(distribution):
    low, high = distribution.encoded_bounds
    for split in distribution.splits:
        tasks = distribution.sample(np.random.default_rng(0), 500, split)
        told = distribution.encode(tasks)
        assert told.shape == (500, len(low))
        assert ((low <= told) & (told <= high)).all()


@every_distribution
def test_decoding_inverts_encoding(distribution):
    for split in distribution.splits:
        tasks = distribution.sample(np.random.default_rng(0), 20, split)
        decoded = distribution.decode(distribution.encode(tasks))
        assert decoded.names == tasks.names
        np.testing.assert_allclose(decoded.values, tasks.values, 1e-9, 1e-12)


# Nominal tasks and grids.


def test_a_grid_runs_along_x_first():
    grid = GRIP.grid("pad_friction", np.array([0.3, 0.5, 0.9]), "block_mass_kg", np.array([1, 2]))
    np.testing.assert_array_equal(grid["pad_friction"], [0.3, 0.5, 0.9, 0.3, 0.5, 0.9])
    np.testing.assert_array_equal(grid["block_mass_kg"], [1, 1, 1, 2, 2, 2])


def test_with_values_completes_and_checks():
    tasks = GRIP.with_values({"block_mass_kg": [0.1, 0.2]})
    np.testing.assert_array_equal(tasks["pad_friction"], GRIP["pad_friction"].nominal)
    with pytest.raises(TaskError, match="did you mean 'block_mass_kg'"):
        GRIP.with_values({"block_mass": [0.1]})


# Refusals.


@every_parameter
@pytest.mark.parametrize("value", [np.nan, -1e3, 1e3])
def test_a_senseless_value_is_refused_by_name_unit_and_range(parameter, value):
    distribution = next(d for d in DISTRIBUTIONS.values() if parameter in d.parameters)
    with pytest.raises(TaskError) as refusal:
        distribution.with_values({parameter.name: [parameter.nominal, value]})
    low, high = parameter.allowed
    message = str(refusal.value)
    unit = "" if parameter.unit == "1" else f" {parameter.unit}"
    assert message.startswith(f"{parameter.name} = {value:g}{unit} is not allowed")
    assert message.endswith(f"it must lie in [{low:g}, {high:g}]")
    assert "\n" not in message


def test_an_unknown_parameter_is_refused_with_the_nearest_name():
    tasks = Tasks({"block_mass_kg": [0.3], "pad_friction": [0.5], "pad_frictoin": [0.5]})
    with pytest.raises(TaskError, match=r"'pad_frictoin', allowed: .*mean 'pad_friction'\?"):
        GRIP.validate(tasks)
    with pytest.raises(TaskError, match="did you mean 'pad_friction'"):
        tasks.rows([0])["padfriction"]


def test_a_missing_parameter_is_refused_by_name():
    with pytest.raises(TaskError, match="no value for task parameter 'pad_friction'"):
        GRIP.validate(Tasks({"block_mass_kg": [0.3]}))


def test_a_value_that_is_no_choice_is_refused():
    with pytest.raises(
        TaskError, match=r"^side = 0\.5 is not allowed: it must be one of -1, 0, 3$"
    ):
        TaskDistribution((SIDE,)).with_values({"side": [-1.0, 0.5]})
    TaskDistribution((SIDE,)).with_values({"side": [3.0]})


@pytest.mark.parametrize(
    "change",
    [
        {"choices": (-1.0,)},
        {"choices": (-1.0, 3.0)},
        {"choices": (0.0, -1.0, 3.0)},
        {"choices": (-1.0, 0.0, 2.0)},
        {"gaps": ((0.5, 1.0),)},
        {"extrapolation": ((3.0, 4.0),)},
    ],
    ids=str,
)
def test_choices_that_make_no_sense_are_refused(change):
    with pytest.raises(TaskError, match="of 'side' must rise"):
        dataclasses.replace(SIDE, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"gaps": ((0.05, 0.2),)},
        {"extrapolation": ((0.5, 3.0),)},
        {"nominal": 100.0},
        {"train": (2.0, 0.1)},
        {"allowed": (0.5, 3.0)},
    ],
    ids=str,
)
def test_ranges_that_do_not_nest_are_refused(change):
    with pytest.raises(TaskError, match="'block_mass_kg' do not nest"):
        dataclasses.replace(GRIP["block_mass_kg"], **change)


# Tasks.


def test_tasks_are_columns_by_name():
    tasks = Tasks({"a": [1, 2, 3], "b": [4, 5, 6]})
    assert len(tasks) == 3
    np.testing.assert_array_equal(tasks["b"], [4, 5, 6])
    assert tasks.to_dicts()[1] == {"a": 2.0, "b": 5.0}
    assert tasks.rows([2, 0]).to_dicts() == [{"a": 3.0, "b": 6.0}, {"a": 1.0, "b": 4.0}]
    assert tasks.rows(slice(1, 3)) == tasks.rows(np.array([False, True, True]))


def test_repeat_keeps_a_tasks_copies_together():
    tasks = Tasks({"a": [1, 2]}).repeat(3)
    np.testing.assert_array_equal(tasks["a"], [1, 1, 1, 2, 2, 2])


def test_tasks_cannot_be_written():
    column = np.array([1.0, 2.0])
    tasks = Tasks({"a": column})
    column[0] = 9.0
    assert tasks["a"][0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        tasks["a"][0] = 9.0


@pytest.mark.parametrize("columns", [{}, {"a": [1, 2], "b": [1]}, {"a": [[1, 2]]}], ids=str)
def test_columns_must_be_of_one_length(columns):
    with pytest.raises(TaskError, match="columns of one length"):
        Tasks(columns)


def test_a_distribution_names_its_parameters():
    assert TaskDistribution((GRIP["pad_friction"],)).names == ("pad_friction",)
    with pytest.raises(TaskError, match="did you mean 'pad_friction'"):
        GRIP["friction"]


def test_spread_tasks_cover_all_splits_and_are_allowed():
    distribution = REACH
    corners = np.array(list(itertools.product([0.0, 1.0 - 1e-12], repeat=5)))
    tasks = distribution.spread(corners)
    distribution.validate(tasks)
    for name, low, high in (("payload_kg", 0.1, 3.0), ("drive_strength", 0.55, 1.2)):
        assert tasks[name].min() == pytest.approx(low)
        assert tasks[name].max() == pytest.approx(high)
    middle = DISTRIBUTIONS["metarobot/Slide-v0"].spread([[0.5, 0.5]])
    assert middle["table_friction"][0] == pytest.approx(math.sqrt(0.055 * 0.45))


def test_spread_choices_are_all_chosen():
    parameter = DISTRIBUTIONS["metarobot/HalfCheetahDirection-v0"].parameters[0]
    assert parameter.spread(np.array([0.0, 0.49, 0.5, 0.99])).tolist() == [-1.0, -1.0, 1.0, 1.0]


# Declarations that are refused.


def declare(**changes):
    fields = {
        "name": "bob_kg",
        "unit": "kg",
        "description": "mass of the bob",
        "nominal": 0.2,
        "train": (0.05, 0.5),
        "allowed": (0.01, 2.0),
    }
    return TaskParameter(**{**fields, **changes})


def refused_in_one_line(make):
    with pytest.raises(TaskError) as error:
        make()
    (line,) = str(error.value).splitlines()
    return line


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"gaps": ((0.1, 0.4), (0.2, 0.3))}, "gaps ((0.1, 0.4), (0.2, 0.3)) of 'bob_kg' overlap"),
        ({"gaps": ((0.2, 0.3), (0.1, 0.21))}, "overlap"),
        ({"gaps": ((0.1, 0.2), (0.1, 0.2))}, "overlap"),
        ({"extrapolation": ((0.5, 0.7), (0.6, 0.9))}, "extrapolation ((0.5, 0.7), (0.6, 0.9)) of"),
        ({"gaps": ((0.05, 0.5),)}, "leave nothing of train (0.05, 0.5)"),
        ({"gaps": ((0.2, 0.5), (0.05, 0.2))}, "leave nothing of train (0.05, 0.5)"),
        ({"log_uniform": True, "allowed": (0.0, 3.0)}, "must be positive"),
        ({"circular": True}, "must be a full turn"),
    ],
)
def test_ranges_that_contradict_one_another_are_refused(change, why):
    assert why in refused_in_one_line(lambda: declare(**change))


def test_gaps_may_touch():
    assert declare(gaps=((0.2, 0.3), (0.1, 0.2))).intervals("train") == ((0.05, 0.1), (0.3, 0.5))


@pytest.mark.parametrize(
    ("field", "value", "needed"),
    [
        ("train", (0.05,), "must be (low, high), got (0.05,)"),
        ("train", 0.1, "must be (low, high), got 0.1"),
        ("train", (0.05, math.inf), "must be (low, high)"),
        ("allowed", ("a", "b"), "must be (low, high)"),
        ("gaps", (0.1, 0.15), "must be intervals ((low, high), ...), got (0.1, 0.15)"),
        ("extrapolation", (0.5, 0.7), "must be intervals ((low, high), ...)"),
        ("unit", None, 'must be a text, such as "kg", or "1" for a ratio, got None'),
        ("description", None, "must be a text, got None"),
        ("name", "bob kg", "must be an identifier, got 'bob kg'"),
        ("name", "", "must be an identifier"),
        ("nominal", "0.2", "must be a finite number, got '0.2'"),
        ("nominal", math.nan, "must be a finite number, got nan"),
    ],
)
def test_a_field_of_another_kind_is_refused(field, value, needed):
    line = refused_in_one_line(lambda: declare(**{field: value}))
    assert field in line
    assert needed in line


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ((declare(), declare()), "two task parameters are called 'bob_kg'"),
        (declare(), "must be a tuple of TaskParameter"),
        (("bob_kg",), "must be a tuple of TaskParameter"),
        ((), "needs at least one TaskParameter"),
    ],
)
def test_a_distribution_of_something_else_is_refused(parameters, why):
    assert why in refused_in_one_line(lambda: TaskDistribution(parameters))
