"""`metarobot play`: the session, its drawing, the page in a browser, the server and the command."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
from fakes import untrained_run

import metarobot as mr
from metarobot.adaptation.policy import draw_exploration
from metarobot.cli.main import main
from metarobot.envs import TaskError, make_env
from metarobot.reporting.play import page as play_page
from metarobot.reporting.play.page import PlayPage
from metarobot.reporting.play.scene import Drawing
from metarobot.reporting.play.server import LOOPBACK, serve
from metarobot.reporting.play.session import ADAPTED, BEFORE, MOST_TRIALS, PlaySession
from metarobot.reporting.play.tasks import find_opening, try_tasks
from metarobot.rollout.collect import collect
from metarobot.rollout.seeding import Phase, numpy_generator
from metarobot.training.load import load_run

HEAVY = {"puck_mass_kg": 0.3, "table_friction": 0.3}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that has learned next to nothing, in a second."""
    folder = tmp_path_factory.mktemp("runs") / "slide"
    sizes = {"num_tasks": 2, "episodes_per_task": 3, "total_steps": 64, "hidden_sizes": (4,)}
    algorithms = ["latent", "maml", "rl2", "oracle"]
    return mr.train("slide", algorithms=algorithms, out=folder, num_weighed=32, **sizes)


@pytest.fixture
def play(run):
    """Make sessions, and close them."""
    made = []

    def make(algorithm="latent", **options):
        made.append(PlaySession(run.trained.policies[algorithm], **options))
        return made[-1]

    yield make
    for session in made:
        session.env.close()


@pytest.fixture(scope="module")
def server():
    with serve(0) as server:
        yield server


def run_episode(session):
    """Advance to the end of an episode."""
    session.advance()
    while session.running:
        session.advance()


def adapt(session, number):
    session.adapt_to(number)
    while session.num_waiting:
        session.advance()


def differ(one, other):
    return any(not torch.equal(leaf, other[name]) for name, leaf in one.items())


def first_start(env, phase, number=0, seed=0):
    generator = numpy_generator(seed, 0, phase, task=number)
    return generator.random(env.start_size, dtype=np.float32)


# The session.


@pytest.mark.parametrize("algorithm", ["latent", "maml", "rl2"])
def test_adapting_is_that_of_a_block_of_episodes(play, algorithm):
    """What is learned from trials one by one is, bit for bit, what a block of them teaches."""
    session, number, seed = play(algorithm, task=HEAVY, seed=3), 3, 3
    adapt(session, 1)
    adapt(session, 2)
    policy, env = session.policy, make_env("metarobot/Slide-v0", 1, num_threads=1)
    env.set_tasks(HEAVY)
    starts = [first_start(env, Phase.ADAPTATION, n, seed) for n in range(number)]
    block = collect(
        env,
        policy.algorithm.exploring_policy,
        policy.task_params,
        noise=draw_exploration(policy, number, seed).noise,
        start=np.stack(starts)[None],
    )
    wanted = policy.adapt_from(block)
    assert session.adapted.num_episodes == number
    assert differ(wanted.params, policy.params)
    assert not differ(wanted.params, session.adapted.params)
    returns = [trial.return_ for trial in session.trials]
    assert returns == pytest.approx(block.returns[0].tolist(), abs=1e-5)
    env.close()


def test_both_policies_act_on_the_same_starts_as_they_are_judged(play):
    session = play("maml", task=HEAVY)
    adapt(session, 2)
    run_episode(session)
    env = make_env("metarobot/Slide-v0", 1, num_threads=1)
    env.set_tasks(HEAVY)
    start = first_start(env, Phase.RENDERING)[None, None]
    for policy, sim in ((session.policy, BEFORE), (session.adapted, ADAPTED)):
        episodes = collect(env, policy.policy, policy.task_params, noise=None, start=start)
        (outcome,) = session.outcomes[sim]
        assert outcome.return_ == pytest.approx(float(episodes.returns[0, 0]), abs=1e-4)
    assert "from" in session.changes[0]
    env.close()


def test_a_slider_changes_the_physics_at_once(play):
    session = play()
    run_episode(session)
    assert len(session.outcomes[BEFORE]) == 1
    session.advance()
    session.set_task({"puck_mass_kg": 0.4})
    index = session.env.model.body("puck").id
    assert session.env.batch.expand("body_mass")[:, index].tolist() == [0.4, 0.4]
    assert session.task["puck_mass_kg"] == 0.4
    assert session.outcomes[BEFORE] == []  # of another task than the present one


def test_trials_run_to_their_end_and_are_forgotten(play):
    session = play("maml")
    adapt(session, 1)
    first = session.trials[0].return_
    session.set_task({"puck_mass_kg": 0.4})
    assert session.num_other == 1
    session.adapt_to(1000)
    assert session.num_waiting == MOST_TRIALS - 1
    session.advance()
    with pytest.raises(TaskError, match="a trial is running"):
        session.set_task({"puck_mass_kg": 0.5})
    session.forget()
    assert (session.trials, session.num_waiting, session.adapted) == ([], 0, None)
    session.set_task({"puck_mass_kg": 0.6})  # as at first
    adapt(session, 1)
    assert session.trials[0].return_ != first  # other noise


def test_adapting_moves_the_estimate_to_the_truth():
    policy = load_run(Path("slide")).policies["latent"]
    medians = []
    for friction in (0.1, 0.3):
        session = PlaySession(policy, task={"table_friction": friction})
        assert session.estimates == {}
        adapt(session, 2)
        low, median, high = session.estimates["table_friction"]
        assert low < median < high
        medians.append(median)
        session.env.close()
    assert medians == pytest.approx([0.1, 0.3], rel=0.25)


# The drawing.


@pytest.mark.parametrize("env_id", ["metarobot/Carry-v0", "metarobot/Insert-v0"])
def test_the_drawing_is_where_the_physics_is(env_id, server, tmp_path):
    session = PlaySession(untrained_run(tmp_path, env_id).policies["maml"])
    origin = np.array([0.0, 2.0, 0.0])
    drawing = Drawing(server.scene, "/drawn", session.env, ADAPTED, origin, (20.0, 20.0))
    for _ in range(4):
        path = session.advance()
    drawing.update()
    drawing.move(path[-1][ADAPTED])
    model, data = session.env.model, mujoco.MjData(session.env.model)
    session.env.batch.get_data(ADAPTED, data)
    session.env.batch.get_model(ADAPTED, model)
    mujoco.mj_forward(model, data)
    visible = [g for g in range(model.ngeom) if model.geom_group[g] < 3]
    assert sorted(drawing.geoms) == visible
    painted = 1 if env_id == "metarobot/Carry-v0" else 0  # the rod, drawn as long as the task says
    moved = 0
    for geom, handle in drawing.geoms.items():
        body, position, turn = drawing.bodies[model.geom_bodyid[geom]], np.zeros(3), np.zeros(4)
        poses = [np.asarray(value, np.float64) for value in (body.position, body.wxyz)]
        own = [np.asarray(value, np.float64) for value in (handle.position, handle.wxyz)]
        mujoco.mju_mulPose(position, turn, *poses, *own)
        matrix = np.zeros(9)
        mujoco.mju_quat2Mat(matrix, turn)
        near = np.allclose(position, data.geom_xpos[geom], atol=1e-5)
        moved += not (near and np.allclose(matrix, data.geom_xmat[geom], atol=1e-5))
    assert moved <= painted
    session.env.close()


def test_arrows_are_the_contact_forces(server, tmp_path):
    """Where the block rests on the table, the vertical forces add up to its weight."""
    session = PlaySession(untrained_run(tmp_path, "metarobot/Grip-v0").policies["maml"])
    session.set_task({"block_mass_kg": 1.0})
    drawing = Drawing(server.scene, "/forces", session.env, BEFORE, np.zeros(3), None)
    for _ in range(3):
        session.advance()
    drawing.update()
    drawing.show_forces(True)
    arrows = drawing._arrows.points
    lengths_m = arrows[:, 1] - arrows[:, 0]
    weight_n = lengths_m[:, 2].sum() / session.env.contact_force_m_per_n
    assert weight_n == pytest.approx(9.81, rel=0.05)
    assert any(handle.opacity == 0.45 for handle in drawing.geoms.values())
    drawing.show_forces(False)
    assert drawing._arrows is None
    session.env.close()


# The page.


@pytest.fixture
def brisk(monkeypatch):
    """Let the page rest as good as never."""
    for name in ("_REST_S", "_HURRIED_REST_S", "_HURRIED_S"):
        monkeypatch.setattr(play_page, name, 0.05)


SHIPPED = ["grip", "slide", "push", "carry", "insert", "reach", "reach-hidden-goal"]


class Tab:
    """A browser's tab, without a picture: it presses buttons and counts what is moved."""

    def __init__(self, server):
        import viser
        from websockets.sync.client import connect

        protocol = f"viser-v{viser.__version__}"
        address = f"ws://{LOOPBACK}:{server.get_port()}"
        self._socket = connect(address, subprotocols=[protocol], max_size=None)
        self._ids, self.moves, self.html, self.heights_m = {}, Counter(), {}, []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.resize(390, 844)
        wait_for(lambda: "Show me" in self._ids)

    def resize(self, width, height):
        """Say where the camera is and how large the window."""
        self._send(
            type="ViewerCameraMessage",
            wxyz=(1.0, 0.0, 0.0, 0.0),
            position=(1.0, 0.0, 1.0),
            fov=0.7,
            near=0.01,
            far=100.0,
            image_height=height,
            image_width=width,
            look_at=(0.0, 0.0, 0.0),
            up_direction=(0.0, 0.0, 1.0),
        )

    def set(self, label, value=True):
        """Press a button, or set another element of the panel."""
        self._send(type="GuiUpdateMessage", uuid=self._ids[label], updates={"value": value})

    @property
    def text(self):
        return " ".join(list(self.html.values()))

    def _send(self, **message):
        import msgspec

        self._socket.send(msgspec.msgpack.encode(message))

    def _read(self):
        import msgspec
        import zstandard
        from websockets.exceptions import ConnectionClosed

        try:
            for frame in self._socket:
                size, packed = np.frombuffer(frame[:16], "<u8").tolist()
                plain = zstandard.ZstdDecompressor().decompress(frame[16 : 16 + packed], size)
                for message in msgspec.msgpack.decode(plain)["messages"]:
                    self._take(message)
        except ConnectionClosed:
            pass

    def _take(self, message):
        kind, identifier = message["type"], message.get("uuid")
        if label := message.get("props", {}).get("label"):
            self._ids[label] = identifier
        if kind == "GuiHtmlMessage":
            self.html[identifier] = message["props"]["content"]
        elif kind == "GuiUpdateMessage" and "content" in message["updates"]:
            self.html[identifier] = message["updates"]["content"]
        elif kind == "SetPositionMessage":
            self.moves[message["name"].strip("/").split("/")[0]] += 1
        elif kind == "SetCameraLookAtMessage":
            self.heights_m.append(message["look_at"][2])

    def close(self):
        self._socket.close()
        self._thread.join(10)


def wait_for(condition, limit_s=60.0):
    """Wait until a condition holds."""
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.02)


@contextmanager
def playing(policy, task=None, tried=()):
    """Run a page in a thread of its own; check that it ends."""
    session, stopped = PlaySession(policy, task=task), threading.Event()
    with serve(0) as server:
        page = PlayPage(session, server, tried)
        page._speed.value = "fourfold"
        thread = threading.Thread(target=page.run, args=(stopped.is_set,))
        thread.start()
        try:
            yield session, server, page
        finally:
            stopped.set()
            thread.join(60)
    assert not thread.is_alive()
    session.env.close()


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("name", SHIPPED)
def test_show_me_turns_failure_into_success(name):
    """A measured task is shown: the policy fails on it, explores it, adapts, and succeeds."""
    run = load_run(Path(name))
    learner, tried = find_opening(run, run.learners)
    assert tried[0].turns
    assert learner == ("maml" if name == "reach" else "latent")  # latent never fails in Reach
    with playing(run.policies[learner], tried[0].task, tried) as (session, server, _):
        tab = Tab(server)
        wait_for(lambda: len(session.outcomes[BEFORE]) > 0)
        assert not session.outcomes[BEFORE][-1].success
        assert tried[0].name in tab.text
        placed = tab.moves["adapted"]  # once, and hidden
        wait_for(lambda: len(session.outcomes[BEFORE]) > 1)
        assert tab.moves["adapted"] == placed
        tab.set("Show me")
        wait_for(lambda: session.adapted is not None and session.outcomes[ADAPTED])
        before, after = (outcomes[0] for outcomes in session.outcomes)
        assert (before.success, after.success) == (False, True)
        assert session.adapted.num_episodes == 5
        wait_for(lambda: before.words in tab.text and after.words in tab.text)
        moves = Counter(tab.moves)
        wait_for(lambda: tab.moves["adapted"] > moves["adapted"] + 20)
        assert tab.moves["before"] > moves["before"]
        tab.close()


@pytest.mark.usefixtures("brisk")
def test_the_camera_follows_the_shape_of_the_window(run):
    """On a telephone the panel covers the lower part: the target is below what is looked at."""
    with playing(run.trained.policies["latent"]) as (_, server, _):
        tab = Tab(server)
        wait_for(lambda: tab.heights_m)
        time.sleep(0.2)
        phone_m = tab.heights_m[-1]
        tab.resize(1280, 800)
        wait_for(lambda: tab.heights_m[-1] > phone_m + 0.02)
        time.sleep(0.2)
        wide_m = tab.heights_m[-1]
        tab.resize(390, 844)
        wait_for(lambda: tab.heights_m[-1] < wide_m - 0.02)
        time.sleep(0.2)
        told = len(tab.heights_m)
        tab.resize(400, 844)  # nearly the same: the user's own view stays
        time.sleep(0.2)
        assert len(tab.heights_m) == told
        tab.close()


@pytest.mark.usefixtures("brisk")
def test_buttons_in_any_order_leave_nothing_hanging(run):
    policy = run.trained.policies["latent"]
    tried = try_tasks(policy)
    with playing(policy, tried=tried) as (session, server, _):
        tab, other = Tab(server), Tab(server)
        rng = np.random.default_rng(0)
        labels = ["Show me", "Adapt to 1 more trial", "Forget", "Surprise me"]
        for label in ["Show me", "Show me", "Forget", "Surprise me", *rng.choice(labels, 20)]:
            (tab if rng.random() < 0.5 else other).set(str(label))
            tab.set("worth trying", tried[rng.integers(len(tried))].label)
            other.set("puck mass [kg]", float(rng.uniform(0.2, 2.0)))
            for box in ("pause", "contact forces", "dark"):
                other.set(box, bool(rng.random() < 0.3))
            time.sleep(float(rng.uniform(0.0, 0.1)))
        other.close()  # in the middle of it
        tab.set("Show me")  # which ends a pause
        wait_for(lambda: session.adapted and session.num_waiting == 0 and session.outcomes[ADAPTED])
        tab.close()
        wait_for(lambda: not server.get_clients())
        number = session._num_shown
        started_s = time.process_time()
        time.sleep(1.0)
        assert session._num_shown <= number + 1  # nobody looks: it rests
        assert time.process_time() - started_s < 0.5
        late = Tab(server)
        wait_for(lambda: session._num_shown > number + 1)  # and goes on
        late.close()


def test_tasks_worth_trying_are_shown_as_they_are_measured():
    policy = load_run(Path("carry")).policies["latent"]
    tried = try_tasks(policy, seed=5)
    assert len({each.name for each in tried}) == len(tried)
    for each in (tried[0], tried[len(tried) // 2]):
        session = PlaySession(policy, seed=5)
        session.adapt_to(1)  # what was before does not matter
        session.begin_task(each.task)
        session.demonstrate()
        while session.num_waiting:
            session.advance()
        for _ in range(3):
            run_episode(session)
        shares = [np.mean([one.success for one in ended]) for ended in session.outcomes]
        assert shares == pytest.approx([each.before, each.after])
        returns = [np.mean([one.return_ for one in ended]) for ended in session.outcomes]
        assert returns[1] - returns[0] == pytest.approx(each.gain, abs=1e-4)
        session.env.close()


def test_a_task_is_refused_in_a_note(run):
    with playing(run.trained.policies["maml"]) as (session, server, page):
        page._commands.put(lambda: session.env.distribution.with_values({"mass": [1.0]}))
        tab = Tab(server)
        wait_for(lambda: "no task parameter" in tab.text)
        tab.close()


# The server.


def test_only_this_machine_is_answered(server):
    with socket.create_connection((LOOPBACK, server.get_port()), timeout=5):
        pass
    with pytest.raises(OSError):  # noqa: PT011  another address of this machine
        socket.create_connection(("127.0.0.2", server.get_port()), timeout=5)


def test_other_pages_of_the_browser_are_refused(server):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    address, port = f"ws://{LOOPBACK}:{server.get_port()}", server.get_port()
    with connect(address, origin=f"http://{LOOPBACK}:{port}"):
        pass
    for origin in ("https://example.org", f"http://example.org:{port}"):
        with pytest.raises(InvalidStatus, match="403"):
            connect(address, origin=origin)
    assert server.request_share_url() is None


# The command.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--algorithm", "rl2"], "holds no rl2, only maml"),
        (["--port", "70000"], "port must be an integer in [0, 65535], got 70000"),
        (["--task", "mass=1"], "no task parameter 'mass', allowed: puck_mass_kg"),
        (["--task", "puck_mass_kg=-1"], "puck_mass_kg = -1 kg is not allowed"),
        (["--variant", "greasy_pads"], "is one of metarobot/Grip-v0, but"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(options, words, capsys):
    assert main(["play", "slide", *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_port_in_use_and_viser_missing_are_one_line(capsys, monkeypatch):
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["play", "slide", "--port", str(port)]) == 2
    assert f"--port {port} is in use: name another" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "viser", None)
    assert main(["play", "slide"]) == 2
    assert "pip install 'metarobot[play]'" in capsys.readouterr().err


@pytest.mark.stress
def test_it_says_where_it_is_and_ends_by_ctrl_c():
    words = [sys.executable, "-m", "metarobot", "play", "slide", "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, env=environment, **pipes) as process:
        lines = []
        while not lines or "Ctrl-C" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr.read()
        process.send_signal(signal.SIGINT)
        output, error = process.communicate(timeout=120)
    assert (process.returncode, output, error) == (0, "", "")
    address, tunnel = lines[-3:-1]
    (port,) = re.findall(r"open http://127\.0\.0\.1:(\d+)", address)
    assert f"ssh -L {port}:127.0.0.1:{port} " in tunnel
