import io

from rich.console import Console
from trained import TRAINED

from metarobot.algorithms import train_config
from metarobot.console import StageDisplay
from metarobot.training.progress import TrainingDisplay


def metrics(iteration: int, steps: int) -> dict[str, float]:
    return {
        "time/iteration": float(iteration),
        "time/total_steps": float(steps),
        "meta/pre_return": -2.0,
        "meta/post_return": -1.25,
        "meta/gain": 0.75,
        "meta/pre_success_rate": 0.25,
        "meta/post_success_rate": 0.5,
        "update/rejected_tasks": 0.0,
    }


def train(console: Console, interval_s: float) -> None:
    with TrainingDisplay(TRAINED, 300, console, interval_s) as display:
        for algorithm in TRAINED:
            display.begin(train_config(algorithm=algorithm, total_steps=300), 0)
            for iteration in range(1, 4):
                display.update(metrics(iteration, 100 * iteration))
            display.end()


def test_plain_lines_without_a_terminal():
    text = io.StringIO()
    train(Console(file=text, width=40), interval_s=0.0)
    lines = text.getvalue().splitlines()
    assert len(lines) == 3 * len(TRAINED)
    assert lines[0].startswith("maml: iteration 1, 100 of 300 steps, return -2.00 -> -1.25")
    assert "(gain +0.75), success 25% -> 50%" in lines[0]
    assert lines[3].startswith("domain randomisation: iteration 1, 100 of 300 steps, return -1.25,")
    assert "gain" not in lines[3]
    assert "\x1b" not in text.getvalue()


def test_refused_updates_are_mentioned_once():
    text = io.StringIO()
    with TrainingDisplay((), 0, Console(file=text), interval_s=3600.0) as display:
        display.begin(train_config(total_steps=300), 0)
        for iteration in (1, 2, 3):
            display.update(metrics(iteration, 100), [{"payload_kg": 2.5}] * (iteration - 1))
    refused = [line for line in text.getvalue().splitlines() if "rejected" in line]
    assert len(refused) == 1
    assert refused[0].startswith("maml: iteration 2 was rejected, the task payload_kg 2.5 gave")


def test_between_two_plain_lines_some_time_must_pass_but_the_last_always_appears():
    text = io.StringIO()
    train(Console(file=text, width=40), interval_s=3600.0)
    iterations = [line.partition("iteration ")[2][0] for line in text.getvalue().splitlines()]
    assert iterations == ["1", "3"] * len(TRAINED)


def test_a_live_table_on_a_terminal():
    text = io.StringIO()
    train(Console(file=text, force_terminal=True, width=140, legacy_windows=False), interval_s=0.0)
    for heading in ("algorithm", "iteration", "return", "gain", "success", "steps/s", "time left"):
        assert heading in text.getvalue()
    assert "300 of 300" in text.getvalue()


def test_a_stage_is_named_once_without_a_terminal():
    text = io.StringIO()
    with StageDisplay(Console(file=text)) as stages:
        stages("[train] oracle", 0.0)
        stages("[train] oracle", 0.1)
        stages("heat map", 0.5)
    assert text.getvalue().splitlines() == ["  0%  [train] oracle", " 50%  heat map"]
