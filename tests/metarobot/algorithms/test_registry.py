"""An algorithm from outside registers as those of the package do; an error is one line."""

from dataclasses import dataclass

import pytest

import metarobot
from metarobot.algorithms import ALGORITHMS, Algorithm, configure, require_readers
from metarobot.algorithms.maml import Anil, MamlOptions
from metarobot.config import COMMON_NAMES, AlgorithmOptions, RunConfig, integer, number


@pytest.fixture(autouse=True)
def as_before():
    before = dict(ALGORITHMS)
    yield
    ALGORITHMS.clear()
    ALGORITHMS.update(before)


def own(**attributes):
    return type("Own", (Anil,), attributes)


def test_what_is_registered_is_configured_by_its_name():
    @dataclass(frozen=True, kw_only=True)
    class OwnOptions(MamlOptions):
        own_share: float = number(0.5, 0.0, 1.0)

    metarobot.register_algorithm("own", own(options_class=OwnOptions))
    config = configure(RunConfig(options={"own_share": 0.25, "inner_lr": 0.2}), "own")
    assert (config.options.own_share, config.options.inner_lr) == (0.25, 0.2)
    assert configure(RunConfig(options={"own_share": 0.25}), "maml").options == MamlOptions()


def test_registering_the_same_class_again_changes_nothing():
    again = own()
    metarobot.register_algorithm("own", again)
    metarobot.register_algorithm("own", again)
    assert ALGORITHMS["own"] is again


@pytest.mark.parametrize(
    "name", ["", "9lives", "my-maml", "a/b", ".hidden", "a" * 65, "é", 3, None]
)
def test_a_name_that_no_folder_could_have_is_refused(name):
    with pytest.raises(ValueError, match=r"up to 64 letters, digits and _"):
        metarobot.register_algorithm(name, own())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_name_of_the_package_is_taken(name):
    kept = ALGORITHMS[name]
    with pytest.raises(ValueError, match="choose another name"):
        metarobot.register_algorithm(name, own())
    assert ALGORITHMS[name] is kept


@pytest.mark.parametrize("field", [*COMMON_NAMES, "algorithm", "options"])
def test_an_option_cannot_have_the_name_of_a_common_field(field):
    body = {"__annotations__": {field: int}, field: integer(1, 1, 2)}
    taken = dataclass(frozen=True, kw_only=True)(type("Taken", (AlgorithmOptions,), body))
    with pytest.raises(ValueError, match=rf"{field} of own is a field that all algorithms have"):
        metarobot.register_algorithm("own", own(options_class=taken))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (int, "must be a subclass of"),
        ("Anil", "must be a subclass of"),
        (Algorithm, "lacks update"),
        (own(title=None), "lacks a title"),
        (own(options_class=None), "lacks an options_class"),
    ],
)
def test_what_is_not_complete_is_refused(broken, message):
    with pytest.raises(ValueError, match=message) as error:
        metarobot.register_algorithm("own", broken)
    assert "\n" not in str(error.value)
    assert "own" not in ALGORITHMS


def test_an_option_that_nobody_reads_who_is_trained_is_refused():
    require_readers(["inner_lr", "trial_episodes"], ["rl2", "maml"])
    with pytest.raises(ValueError, match="trial_episodes is read by rl2, none of which is trained"):
        require_readers(["inner_lr", "trial_episodes"], ["maml"])
    with pytest.raises(ValueError, match="unknown option 'iner_lr': nearest is 'inner_lr'"):
        require_readers(["iner_lr"], ["maml"])


def test_an_option_without_bounds_is_refused():
    @dataclass(frozen=True, kw_only=True)
    class OwnOptions(MamlOptions):
        own_share: float = 0.5

    with pytest.raises(ValueError, match="option own_share of own states no bounds: declare it"):
        metarobot.register_algorithm("own", own(options_class=OwnOptions))
