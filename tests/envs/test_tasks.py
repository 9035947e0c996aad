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
from metarobot.envs.tasks import MOST_BEYOND, ONE_BEYOND

DISTRIBUTIONS = {env_id: FAMILIES[env_id].distribution for env_id in FAMILIES}
GRIP = DISTRIBUTIONS["metarobot/Grip-v0"]
REACH = DISTRIBUTIONS["metarobot/Reach-v0"]
INSERT = DISTRIBUTIONS["metarobot/Insert-v0"]
LAW = settings(deadline=None, derandomize=True, max_examples=60)

every_distribution = pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=FAMILIES)
PARAMETERS = [GRIP["block_mass_kg"], REACH["frame_yaw_rad"], INSERT["lean_rad"]]
"""On a scale of logarithms, around a circle, and with several gaps."""
every_kind = pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda p: p.name)
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


@LAW
@given(parameter=task_parameters(), seed=st.integers(0, 2**32), split=st.sampled_from(SPLITS))
def test_a_sample_lies_in_its_split_and_in_no_other(parameter, seed, split):
    values = parameter.sample(np.random.default_rng(seed), 50, split)
    assert_in_split(parameter, values, split)


@every_distribution
def test_every_family_keeps_its_splits_apart_and_is_told_on_its_scale(distribution):
    low, high = distribution.encoded_bounds
    for split in distribution.splits:
        tasks = distribution.sample(np.random.default_rng(0), 500, split)
        distribution.validate(tasks)
        assert tasks.names == distribution.names
        num_beyond = np.zeros(500)
        for parameter in distribution.parameters:
            values = tasks[parameter.name]
            if split.startswith("extrapolation"):
                beyond = (values < parameter.train[0]) | (values > parameter.train[1])
                num_beyond += beyond
                assert_in_split(parameter, values[beyond], "extrapolation")
                assert_in_split(parameter, values[~beyond], "train")
            else:
                assert_in_split(parameter, values, split)
        if split.startswith("extrapolation"):
            outside = sum(bool(p.extrapolation) for p in distribution.parameters)
            most = 1 if split == ONE_BEYOND else min(outside, MOST_BEYOND)
            assert (num_beyond == most).all()
        told = distribution.encode(tasks)
        assert told.shape == (500, len(low))
        assert ((low <= told) & (told <= high)).all()
        decoded = distribution.decode(told)
        assert decoded.names == tasks.names
        np.testing.assert_allclose(decoded.values, tasks.values, 1e-9, 1e-12)
    for p in distribution.parameters:
        if not p.circular:
            middle = p.unscale(p.scale(np.array(p.train)).mean())
            told = p.encode(np.array([*p.train, middle]))
            np.testing.assert_allclose(told, [[-1.0], [1.0], [0.0]], atol=1e-12)


@every_kind
def test_values_are_uniform_on_their_declared_scale(parameter):
    for split in SPLITS:
        values = parameter.sample(np.random.default_rng(0), 20_000, split)
        intervals = parameter.intervals(split)
        lengths = np.array([np.diff(parameter.scale(np.array(pair)))[0] for pair in intervals])
        shares = [in_any(values, [pair], edges=True).mean() for pair in intervals]
        np.testing.assert_allclose(shares, lengths / lengths.sum(), atol=0.02)
    whole = dataclasses.replace(parameter, gaps=())
    values = parameter.scale(whole.sample(np.random.default_rng(0), 5_000, "train"))
    low, high = parameter.scale(np.array(parameter.train))
    assert kstest((values - low) / (high - low), "uniform").pvalue > 0.01
    train = np.log(parameter.train) if parameter.log_uniform else parameter.train
    assert (low, high) == tuple(train)


@every_kind
@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_rounding_carries_no_sample_across_an_edge(parameter, uniform):
    class Constant:
        def random(self, size):
            return np.full(size, uniform)

    for split in SPLITS:
        values = parameter.sample(Constant(), 1, split)
        assert in_any(values, parameter.intervals(split), edges=True).all()


def test_a_categorical_parameter_has_one_element_of_the_code_for_each_choice():
    kind = dataclasses.replace(SIDE, categorical=True)
    distribution = TaskDistribution((kind, GRIP["pad_friction"]))
    tasks = distribution.sample(np.random.default_rng(0), 20)
    codes = distribution.encode(tasks)
    assert codes.shape == (20, 4)
    assert distribution.encoded_columns == {"side": slice(0, 3), "pad_friction": slice(3, 4)}
    np.testing.assert_array_equal(codes[:, :3].sum(axis=1), -1.0)
    np.testing.assert_array_equal(kind.encode(np.array([0.0])), [[-1.0, 1.0, -1.0]])
    np.testing.assert_allclose(distribution.decode(codes).values, tasks.values)
    with pytest.raises(TaskError, match="categorical"):
        dataclasses.replace(GRIP["pad_friction"], categorical=True)


def test_choices_are_drawn_alike_and_nothing_else_is():
    values = SIDE.sample(np.random.default_rng(0), 30_000, "train")
    found, counts = np.unique(values, return_counts=True)
    np.testing.assert_array_equal(found, SIDE.choices)
    np.testing.assert_allclose(counts / 30_000, 1 / 3, atol=0.01)


def test_a_family_has_the_splits_that_hold_values():
    three = ("train", "interpolation", "extrapolation")
    assert GRIP.splits == three
    assert REACH.splits == SPLITS  # of five parameters
    assert TaskDistribution((SIDE,)).splits == ("train",)
    no_gaps = dataclasses.replace(GRIP["pad_friction"], gaps=())
    assert TaskDistribution((no_gaps, SIDE)).splits == ("train", "extrapolation")
    assert TaskDistribution((no_gaps, GRIP["block_mass_kg"])).splits == three
    touching = dataclasses.replace(BOB, gaps=((0.2, 0.3), (0.1, 0.2)))
    assert touching.intervals("train") == ((0.05, 0.1), (0.3, 0.5))


def test_up_to_five_parameters_take_a_held_out_value_at_once():
    """So the tasks of the package's families are, bit for bit, one draw of each parameter."""
    for split in GRIP.splits:
        rng = np.random.default_rng(3)
        columns = {p.name: p.sample(rng, 50, split) for p in REACH.parameters}
        assert REACH.sample(np.random.default_rng(3), 50, split) == Tasks(columns)


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


@pytest.mark.parametrize("num_tasks", [3, 40])
def test_of_one_beyond_each_task_has_one_and_each_parameter_its_share(num_tasks):
    tasks = REACH.sample(np.random.default_rng(0), num_tasks, ONE_BEYOND)
    trained = [p.trained_on(value) for p in REACH.parameters for value in tasks[p.name]]
    beyond = ~np.reshape(trained, (len(REACH.parameters), num_tasks))
    assert (beyond.sum(axis=0) == 1).all()
    assert np.ptp(beyond.sum(axis=1)) <= 1
    for p, chosen in zip(REACH.parameters, beyond, strict=True):
        assert_in_split(p, tasks[p.name][chosen], "extrapolation")
        assert_in_split(p, tasks[p.name][~chosen], "train")


def test_both_ends_of_a_turn_are_told_alike():
    yaw = REACH["frame_yaw_rad"]
    half_turn = np.nextafter(np.pi, 0)
    told = yaw.encode(np.array([-half_turn, half_turn, 0.0, np.pi / 2]))
    np.testing.assert_allclose(told, [[-1, 0], [-1, 0], [1, 0], [0, 1]], atol=1e-12)


def test_tasks_are_columns_by_name_that_cannot_be_written():
    column = np.array([1.0, 2.0, 3.0])
    tasks = Tasks({"a": column, "b": [4, 5, 6]})
    column[0] = 9.0
    assert len(tasks) == 3
    np.testing.assert_array_equal(tasks["a"], [1, 2, 3])
    assert tasks.to_dicts()[1] == {"a": 2.0, "b": 5.0}
    assert tasks.rows([2, 0]).to_dicts() == [{"a": 3.0, "b": 6.0}, {"a": 1.0, "b": 4.0}]
    assert tasks.rows(slice(1, 3)) == tasks.rows(np.array([False, True, True]))
    np.testing.assert_array_equal(tasks.rows([0, 1]).repeat(3)["a"], [1, 1, 1, 2, 2, 2])
    with pytest.raises(ValueError, match="read-only"):
        tasks["a"][0] = 9.0


def test_grids_run_along_x_first_and_values_are_completed():
    grid = GRIP.grid("pad_friction", np.array([0.3, 0.5, 0.9]), "block_mass_kg", np.array([1, 2]))
    np.testing.assert_array_equal(grid["pad_friction"], [0.3, 0.5, 0.9, 0.3, 0.5, 0.9])
    np.testing.assert_array_equal(grid["block_mass_kg"], [1, 1, 1, 2, 2, 2])
    tasks = GRIP.with_values({"block_mass_kg": [0.1, 0.2]})
    np.testing.assert_array_equal(tasks["pad_friction"], GRIP["pad_friction"].nominal)


def test_spread_tasks_cover_all_splits_and_are_allowed():
    tasks = REACH.spread(np.array(list(itertools.product([0.0, 1.0 - 1e-12], repeat=5))))
    REACH.validate(tasks)
    for name, low, high in (("payload_kg", 0.1, 3.0), ("drive_strength", 0.55, 1.2)):
        assert tasks[name].min() == pytest.approx(low)
        assert tasks[name].max() == pytest.approx(high)
    middle = DISTRIBUTIONS["metarobot/Slide-v0"].spread([[0.5, 0.5]])
    assert middle["table_friction"][0] == pytest.approx(math.sqrt(0.055 * 0.45))
    assert SIDE.spread(np.array([0.0, 0.33, 0.34, 0.99])).tolist() == [-1.0, -1.0, 0.0, 3.0]


def refusal(make):
    with pytest.raises(TaskError) as error:
        make()
    (line,) = str(error.value).splitlines()
    return line


BOB = TaskParameter(
    name="bob_kg",
    unit="kg",
    description="mass of the bob",
    nominal=0.2,
    train=(0.05, 0.5),
    allowed=(0.01, 2.0),
)


BOTH = {"block_mass_kg": [0.3], "pad_friction": [0.5]}


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: GRIP["friction"], "did you mean 'pad_friction'"),
        (lambda: GRIP.with_values({"block_mass": [0.1]}), "did you mean 'block_mass_kg'"),
        (lambda: GRIP.validate(Tasks({**BOTH, "pads": [0.5]})), "no task parameter 'pads'"),
        (lambda: GRIP.validate(Tasks({"block_mass_kg": [0.3]})), "no value for task parameter"),
        (lambda: Tasks(BOTH)["padfriction"], "did you mean 'pad_friction'"),
        (lambda: TaskDistribution((BOB, BOB)), "two task parameters are called 'bob_kg'"),
        (lambda: TaskDistribution(("bob_kg",)), "must be a tuple of TaskParameter"),
        (lambda: Tasks({}), "columns of one length"),
        (lambda: Tasks({"a": [1, 2], "b": [1]}), "columns of one length"),
        (lambda: Tasks({"a": [[1, 2]]}), "columns of one length"),
        (
            lambda: GRIP.with_values({"block_mass_kg": [0.3, -1e3]}),
            "block_mass_kg = -1000 kg is not allowed: it must lie in [0.01, 3]",
        ),
        (lambda: GRIP.with_values({"pad_friction": [np.nan]}), "pad_friction = nan is not allowed"),
        (
            lambda: TaskDistribution((SIDE,)).with_values({"side": [-1.0, 0.5]}),
            "side = 0.5 is not allowed: it must be one of -1, 0, 3",
        ),
        (
            lambda: TaskDistribution((SIDE,)).sample(np.random.default_rng(0), 1, "interpolation"),
            "side has no interpolation split, allowed: train",
        ),
        (
            lambda: GRIP.sample(np.random.default_rng(0), 1, "extrapolate"),
            "no split 'extrapolate', allowed: train, interpolation, extrapolation-one, "
            "extrapolation, did you mean 'extrapolation'",
        ),
    ],
)
def test_what_a_family_lacks_is_refused_with_the_nearest_name(make, why):
    assert why in refusal(make)


@pytest.mark.parametrize(
    ("parameter", "change", "why"),
    [
        (SIDE, {"choices": (-1.0, 3.0)}, "of 'side' must rise"),
        (BOB, {"gaps": ((0.01, 0.2),)}, "'bob_kg' do not nest"),
        (BOB, {"extrapolation": ((0.4, 1.0),)}, "'bob_kg' do not nest"),
        (BOB, {"train": (0.5, 0.1)}, "'bob_kg' do not nest"),
        (BOB, {"gaps": ((0.1, 0.4), (0.2, 0.3))}, "gaps ((0.1, 0.4), (0.2, 0.3)) of 'bob_kg' over"),
        (BOB, {"gaps": ((0.2, 0.5), (0.05, 0.2))}, "leave nothing of train (0.05, 0.5)"),
        (BOB, {"log_uniform": True, "allowed": (0.0, 3.0)}, "must be positive"),
        (BOB, {"circular": True}, "must be a full turn"),
        (BOB, {"train": (0.05,)}, "train of 'bob_kg' must be (low, high), got (0.05,)"),
        (BOB, {"gaps": (0.1, 0.15)}, "must be intervals ((low, high), ...), got (0.1, 0.15)"),
        (BOB, {"name": "bob kg"}, "must be an identifier, got 'bob kg'"),
        (BOB, {"nominal": math.nan}, "must be a finite number, got nan"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(parameter, change, why):
    assert why in refusal(lambda: dataclasses.replace(parameter, **change))
