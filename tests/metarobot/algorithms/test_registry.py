"""An algorithm from outside registers as those of the package do; an error is one line."""

from dataclasses import dataclass

import pytest

import metarobot
from metarobot.algorithms import ALGORITHMS, configure, options_class, require_readers
from metarobot.algorithms.base import Algorithm
from metarobot.algorithms.maml import Anil, MamlOptions
from metarobot.config import AlgorithmOptions, RunConfig, integer, number


@pytest.fixture(autouse=True)
def as_before():
    before = dict(ALGORITHMS)
    yield
    ALGORITHMS.clear()
    ALGORITHMS.update(before)


def own(**attributes):
    return type("Own", (Anil,), attributes)


def test_the_table_has_the_options_of_every_class():
    for name, kind in ALGORITHMS.items():
        assert kind.options_class is options_class(name)


def test_what_is_registered_is_configured_by_its_name():
    @dataclass(frozen=True, kw_only=True)
    class OwnOptions(MamlOptions):
        own_share: float = number(0.5, 0.0, 1.0)

    kind = own(options_class=OwnOptions)
    for _ in range(2):  # again: changes nothing
        metarobot.register_algorithm("own", kind)
    assert ALGORITHMS["own"] is kind
    config = configure(RunConfig(options={"own_share": 0.25, "inner_lr": 0.2}), "own")
    assert (config.options.own_share, config.options.inner_lr) == (0.25, 0.2)
    assert configure(RunConfig(options={"own_share": 0.25}), "maml").options == MamlOptions()


@dataclass(frozen=True, kw_only=True)
class Taken(AlgorithmOptions):
    num_tasks: int = integer(1, 1, 2)


@dataclass(frozen=True, kw_only=True)
class Unbounded(MamlOptions):
    own_share: float = 0.5


@pytest.mark.parametrize(
    ("name", "broken", "message"),
    [
        *((name, own(), "up to 64 letters, digits and _") for name in ("", "9a", "a/b", "é", 3)),
        ("a" * 65, own(), "up to 64 letters, digits and _"),
        ("maml", own(), "choose another name"),
        ("own", own(options_class=Taken), "num_tasks of own is a field that all algorithms have"),
        ("own", own(options_class=Unbounded), "option own_share of own states no bounds: declare"),
        ("own", int, "must be a subclass of"),
        ("own", "Anil", "must be a subclass of"),
        ("own", Algorithm, "lacks update"),
        ("own", own(title=None), "lacks a title"),
        ("own", own(options_class=None), "lacks an options_class"),
    ],
)
def test_what_cannot_be_registered_is_refused(name, broken, message):
    before = dict(ALGORITHMS)
    with pytest.raises(ValueError, match=message) as error:
        metarobot.register_algorithm(name, broken)
    assert "\n" not in str(error.value)
    assert before == ALGORITHMS


def test_an_option_that_no_trained_algorithm_reads_is_refused():
    require_readers(["inner_lr", "trial_episodes"], ["rl2", "maml"])
    with pytest.raises(ValueError, match="trial_episodes is read by rl2, none of which is trained"):
        require_readers(["inner_lr", "trial_episodes"], ["maml"])
    with pytest.raises(ValueError, match="unknown option 'iner_lr': nearest is 'inner_lr'"):
        require_readers(["iner_lr"], ["maml"])
