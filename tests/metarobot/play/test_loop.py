"""The loop: commands in their order, trials to their end, pictures of what is shown."""

import io
import json
import time

import numpy as np
import pytest
from PIL import Image

from metarobot.play import loop as loop_module
from metarobot.play.exchange import Command, Exchange
from metarobot.play.loop import PlayLoop, Screen
from metarobot.play.screens import PictureScreen
from metarobot.play.session import ADAPTED, BEFORE


class Watcher(Screen):
    """A screen that notes what it is shown, and closes after some pictures."""

    def __init__(self, most):
        self.most, self.shown = most, []

    def draw(self, session):
        self.shown.append((session.pictures, session.env.batch.bind("qpos")[0].copy()))

    def is_open(self):
        return len(self.shown) < self.most


@pytest.fixture
def exchange():
    made = Exchange()
    made.look()
    return made


@pytest.fixture(autouse=True)
def no_rest(monkeypatch):
    monkeypatch.setattr(loop_module, "_REST_S", 0.0)
    monkeypatch.setattr(loop_module, "SLOW_MOTION", 0.1)


def told(exchange):
    return json.loads(exchange.state.wait(0, 1.0)[1])


def test_commands_are_carried_out_in_their_order(play, exchange):
    session = play("maml")
    values = {"puck_mass_kg": 0.4}
    wanted = [Command("try"), Command("try"), Command("adapt"), Command("task", values)]
    for command in wanted:
        assert exchange.command(command)
    assert exchange.count_waiting("try") == 2
    loop = PlayLoop(session, Watcher(10**6), exchange, lambda: session.state.task == task)
    task = session.state.task | values
    loop.run()
    state = told(exchange)["state"]
    assert state["num_adapted"] == 2
    assert state["task"]["puck_mass_kg"] == 0.4
    assert state["num_other"] == 2
    assert exchange.next_command() is None


def test_a_slider_on_its_way_replaces_where_it_was(exchange):
    for value in (0.1, 0.2, 0.3):
        exchange.command(Command("task", {"a": value}))
    exchange.command(Command("task", {"b": 1.0}))
    assert exchange.next_command() == Command("task", {"a": 0.3, "b": 1.0})
    assert exchange.next_command() is None


def test_what_is_refused_is_shown(play, exchange):
    session = play()
    session.set_task = lambda values: (_ for _ in ()).throw(loop_module.TaskError("not so"))
    exchange.command(Command("task", {"puck_mass_kg": 0.4}))
    PlayLoop(session, Watcher(1), exchange, lambda: False).run()
    assert told(exchange)["state"]["note"] == "not so"


def test_drawing_leaves_the_simulation_as_it_was(play, exchange):
    session, other = play("maml"), play("maml")
    screen = Watcher(10**6)
    PlayLoop(session, screen, exchange, lambda: session.state.shown_episode > 2).run()
    while other.state.shown_episode <= 2:
        other.advance()
    assert session.state.before.mean_return == other.state.before.mean_return
    places = np.array([place for _, place in screen.shown])
    assert len(np.unique(places, axis=0)) > 5


def test_it_rests_while_nobody_looks(play):
    session, screen, began_s = play(), Watcher(10**6), time.monotonic()
    PlayLoop(session, screen, Exchange(), lambda: time.monotonic() > began_s + 0.5).run()
    assert screen.shown == []
    assert session.state.shown_episode == 0


def test_trials_that_wait_are_run_though_nobody_looks(play):
    session, screen, exchange = play(), Watcher(10**6), Exchange()
    for _ in range(2):
        exchange.command(Command("try"))
    end_s = time.monotonic() + 20.0

    def done():
        return len(session.state.trials) == 2 or time.monotonic() > end_s

    PlayLoop(session, screen, exchange, done).run()
    assert time.monotonic() < end_s
    assert session.state.shown_episode == 0


def test_pictures_are_of_what_is_shown(play, exchange, opengl):
    session, screen = play("maml"), PictureScreen(exchange)
    session.advance()
    screen.draw(session)
    number, content = exchange.pictures["before"].wait(0, 1.0)
    assert number == 1
    assert exchange.pictures["adapted"].wait(0, 0.0) is None
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (640, 480)
        assert np.asarray(picture).std() > 10
    session.try_once()
    assert session.pictures == (BEFORE,)
    while session.trying:
        session.advance()
    session.adapt()
    assert session.pictures == (BEFORE, ADAPTED)
    session.advance()
    screen.draw(session)
    assert exchange.pictures["adapted"].wait(0, 0.0)[0] == 1
