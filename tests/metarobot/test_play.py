"""`metarobot play`: the session, its drawing, the page in a browser, the server and the command."""

import os
import re
import signal
import socket
import subprocess
import sys
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
from metarobot.reporting.play import (
    ADAPTED,
    BEFORE,
    LOOPBACK,
    MOST_TRIALS,
    Drawing,
    PlaySession,
    serve,
)
from metarobot.rollout.collect import collect
from metarobot.rollout.seeding import Phase, numpy_generator
from metarobot.training.load import load_run

HEAVY = {"puck_mass_kg": 0.3, "table_friction": 0.3}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that has learned next to nothing, in a second."""
    folder = tmp_path_factory.mktemp("runs") / "slide"
    sizes = {"num_tasks": 2, "episodes_per_task": 2, "total_steps": 64, "hidden_sizes": (4,)}
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
        matrix = np.zeros(9)
        mujoco.mju_quat2Mat(matrix, np.asarray(handle.wxyz, np.float64))
        near = np.allclose(handle.position, data.geom_xpos[geom], atol=1e-6)
        moved += not (near and np.allclose(matrix, data.geom_xmat[geom], atol=1e-6))
    assert moved <= painted
    session.env.close()


# The page.


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
