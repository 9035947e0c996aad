"""Whatever options hold, the answer is one line: no traceback, crash or hang.

Training and measuring stop where all is checked and allocated; what is allocated stays within a
gigabyte, which is all that this machine is said to have.
"""

import contextlib
import io
import resource
import shutil
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from metarobot.algorithms import ALGORITHMS
from metarobot.cli.main import main
from metarobot.config import PRESETS, CommonConfig, RenderConfig
from metarobot.evaluation.protocol import EvaluationConfig

GIB = 2**30

NUMBERS = st.one_of(
    st.integers(),
    st.sampled_from([0, 1, 2, 3, 7, 64, 1000, 1024, 9999, 10**5, 2**31, 2**63, 10**18, 10**400]),
    st.floats(),
    st.sampled_from([0.0, 0.5, 1.0, 1e-320, 1e308, float("inf"), float("nan")]),
    st.booleans(),
)
TEXT = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            *ALGORITHMS,
            *PRESETS,
            "nan",
            "None",
            "metarobot/Grip-v0",
            "é\u202e\x1b[31m",
            "\ud800",
        ]
    ),
)
LIKELY = {
    bool: st.booleans(),
    int: st.one_of(st.integers(1, 8), st.integers(0, 12_000), st.sampled_from([100, 1024])),
    float: st.floats(0.0, 2.0),
    str: st.sampled_from([*ALGORITHMS, "metarobot/Reach-v0", "metarobot/Grip-v0", "lvc", "dice"]),
    tuple: st.lists(st.sampled_from([1, 4, 64, 8192]), max_size=18),
    type(None): st.sampled_from(["grip-wet", "none", "train", "extrapolation"]),
}
"""What a field of that type may well take: many examples come as far as products of numbers."""


COMMON = {field.name: getattr(CommonConfig(), field.name) for field in fields(CommonConfig)}
OPTIONS = {
    name: value
    for algorithm in ALGORITHMS.values()
    for name, value in vars(algorithm.options_class()).items()
}
"""Of every algorithm; config.json holds them in a table of their own."""


def mostly(strategy, wild):
    """One value in four is wild."""
    return st.integers(0, 3).flatmap(lambda number: strategy if number else wild)


TRAIN_VALUES = {**COMMON, **OPTIONS, "algorithm": "maml"}


def spelled(name):
    return "--" + name.replace("_", "-")


def options_of(cls):
    return [spelled(field.name) for field in fields(cls)]


ARGUMENTS = {
    "train": [
        *map(spelled, TRAIN_VALUES),
        "--algorithms",
        "--resume",
        "--variant",
        "--initial-policy",
    ],
    "evaluate": [*options_of(EvaluationConfig), "--best", "--variant", "--video", "--films"],
    "render": [*options_of(RenderConfig), "--task", "--best", "--variant"],
    "compare": [
        *(
            "--algorithms",
            "--seeds",
            "--jobs",
            "--test-tasks",
            "--heat-map",
            "--splits",
            "--rewards",
        ),
        *("--total-steps", "--num-threads", "--variant", "--num-tasks"),
    ],
    "resume": ["--algorithms", "--total-steps", "--seed", "--num-tasks"],
    "export": ["--algorithm", "--best"],
    "demo": ["--seed", "--quick"],
}
WORDS = st.one_of(
    NUMBERS.map(str),
    TEXT,
    st.sampled_from(["1e400", "1" * 5001, "-" + "9" * 400, "0x10", "1_000", "٣", ""]),
).filter(lambda word: "\0" not in word and "/" not in word and word[:1] != ".")


OPTION_TYPES = (
    {
        spelled(field.name): type(getattr(cls(), field.name))
        for cls in (EvaluationConfig, RenderConfig)
        for field in fields(cls)
    }
    | {spelled(name): type(value) for name, value in TRAIN_VALUES.items()}
    | dict.fromkeys(["--algorithms", "--variant"], str)
    | dict.fromkeys(["--seeds"], tuple)
)


def words_of(option):
    """What follows an option."""
    kind = OPTION_TYPES.get(option, int)
    value = LIKELY[kind].map(lambda value: [*map(str, value)] if kind is tuple else [str(value)])
    return mostly(st.just([]) if kind is bool else value, st.lists(WORDS, max_size=3))


class ReachedError(ValueError):
    """All is checked and allocated."""


def reached(*args, **kwargs):
    raise ReachedError("reached")


@pytest.fixture
def checks_only(monkeypatch, tmp_path):
    """Stop before anything is simulated; let more than a gigabyte and a half fail at once."""
    monkeypatch.setattr("metarobot.envs.checks.machine_bytes", lambda: GIB)
    monkeypatch.setattr("metarobot.machine.require_opengl", lambda: None)
    for name in (
        "training.trainer.MetaTrainer.step",
        "evaluation.task_set.TaskSet.score",
        "evaluation.task_set.TaskSet.score_by_episodes",
        "evaluation.task_set.TaskSet.score_random",
        "evaluation.references.prepare",
    ):
        monkeypatch.setattr(f"metarobot.{name}", reached)
    monkeypatch.setattr("metarobot.cli.demo.show_shipped", lambda *arguments: None)
    monkeypatch.setattr("metarobot.training.jobs.run_trainings", reached)
    monkeypatch.setattr("metarobot.reporting.camera.Camera.film", reached)
    monkeypatch.setattr("metarobot.reporting.films.collect", reached)
    monkeypatch.chdir(tmp_path)
    if sys.platform != "linux":
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + 3 * GIB // 2
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def assert_one_line(arguments):
    """Run a command: it ends well, or with one line on stderr that is no lack of memory."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    err.seek(0)
    said = err.read()
    lines = [line for line in said.split("\n") if line and "note:" not in line]
    assert code in (0, 2)
    assert len(lines) == (code == 2), lines
    assert not lines or (lines[0].startswith("metarobot: error: ") and len(lines[0]) < 1500)
    assert "not enough memory" not in said
    assert "allocate" not in said  # what MuJoCo says
    shutil.rmtree("out", ignore_errors=True)


def fuzz_options(run, folder, max_examples):
    (folder / "whole").mkdir()
    shutil.copytree(run / "maml", folder / "whole" / "maml")
    (folder / "whole" / "maml" / "done.json").unlink()
    target = folder / "run"
    prefixes = {
        "train": ["train", "grip", "--out", "out"],
        "evaluate": ["evaluate", str(target), "--out", "out"],
        "render": ["render", str(target), "--out", "out/x.mp4"],
        "compare": ["compare", "grip", "--out", "out"],
        "resume": ["train", "--resume", str(target)],
        "export": ["export", str(target), "--out", "out/x.zip"],
        "demo": ["demo", "--out", "out"],
    }
    commands = st.sampled_from(sorted(ARGUMENTS)).flatmap(
        lambda name: st.tuples(
            st.just(name),
            st.lists(
                st.sampled_from(ARGUMENTS[name]).flatmap(
                    lambda option: st.tuples(st.just(option), words_of(option))
                ),
                max_size=4,
            ),
        )
    )

    @settings(
        max_examples=max_examples,
        deadline=60_000,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @example(command=("train", [("--num-tasks", ["4000"]), ("--num-threads", ["2"])]))
    @example(command=("train", [("--num-threads", ["100000"])]))
    @given(command=commands)
    def check(command):
        name, options = command
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder / "whole", target)
        assert_one_line(prefixes[name] + [word for key, words in options for word in (key, *words)])

    check()


def test_some_options(grip_run, checks_only, tmp_path):
    fuzz_options(grip_run, tmp_path, 25)


@pytest.mark.stress
def test_many_options(grip_run, checks_only, tmp_path):
    fuzz_options(grip_run, tmp_path, 150)
