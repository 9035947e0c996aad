"""`metarobot play`."""

from __future__ import annotations

import os
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from metarobot import opengl
from metarobot.cli.console import OK, announce_learner, prepare
from metarobot.cli.fitting import Fitting, Request
from metarobot.cli.parsing import parse, parse_task
from metarobot.cli.play_options import PlayCommand
from metarobot.play.exchange import Exchange
from metarobot.play.loop import PlayLoop, Screen
from metarobot.play.page import PlayPage
from metarobot.play.screens import PictureScreen, WindowScreen, require_window
from metarobot.play.server import PlayServer
from metarobot.play.session import PlaySession
from metarobot.printable import print_line
from metarobot.training.interruption import listen_for_stop
from metarobot.training.load import TrainedPolicy, TrainedRun, choose_variant, find_scene, load_run


def run(arguments: list[str], prog: str) -> int:
    """Play with a policy until Ctrl-C, or until its window is closed."""
    command = parse(PlayCommand, arguments, prog)
    task = parse_task(command.task)
    console = prepare()
    found = find_scene(load_run(command.run, best=command.best), command.scene)
    trained = _choose(found, command.algorithm)
    variant = choose_variant(found, command.variant)
    if command.web:
        opengl.require_opengl()
    else:
        require_window()
    if command.algorithm is None:
        announce_learner(found, None, console)
    if not trained.finished:
        print_line(console, f"the training of {trained.config.algorithm} is not finished yet")
    session = PlaySession(trained, task=task, variant=variant, seed=command.seed)
    exchange = Exchange()
    page = PlayPage(session, str(command.run), has_pictures=command.web)
    with (
        closing(session),
        Fitting(_request(command, found, trained)) as fitting,
        PlayServer(command.port, exchange, session.sliders, page) as server,
        listen_for_stop() as request,
    ):
        for line in _where(server, command):
            print_line(console, line)
        screen: Screen = PictureScreen(exchange) if command.web else WindowScreen(session, exchange)
        with closing(screen), nullcontext() if command.web else opened(server.address):
            PlayLoop(
                session,
                screen,
                exchange,
                stopped=lambda: bool(request.signal_number),
                tend=lambda: _fit_probes(session, fitting),
            ).run()
    return OK


def _choose(run: TrainedRun, algorithm: str | None) -> TrainedPolicy:
    """Return the policy that was named, or the first that adapts.

    Raises:
        ValueError: The run holds none of that name, or none that adapts.
    """
    name = algorithm or run.first_learner
    if name not in run.policies:
        raise ValueError(f"{run.path} holds no {name}, only {', '.join(run.policies)}")
    return run.policies[name]


def _request(command: PlayCommand, run: TrainedRun, trained: TrainedPolicy) -> Request:
    """Return which probes read the task from the policy."""
    return Request(
        run=str(run.path.absolute()),
        algorithm=trained.config.algorithm,
        best=command.best,
        scene=None if command.scene is None else str(command.scene.absolute()),
        module=command.module,
    )


def _fit_probes(session: PlaySession, fitting: Fitting) -> None:
    """Let probes be fitted once the policy has adapted, and read the task by them."""
    if session.adapted is not None and session.probes is None:
        fitting.start()
        session.probes = fitting.probes


@contextmanager
def opened(address: str) -> Iterator[None]:
    """Open a page in the browser by a private file that leads there, and remove it at the end.

    Other users can read the browser's command line, so it must not hold the address; nor a code
    that works once, which they could use before the browser does.  The file lies in the home
    folder, by a name without a dot: browsers in a sandbox, as snaps are, read no other.
    """
    home = Path(os.path.expanduser("~"))
    parent = home if os.access(home, os.W_OK) else None
    with TemporaryDirectory(prefix="metarobot-", dir=parent, ignore_cleanup_errors=True) as folder:
        page = Path(folder).absolute() / "play.html"
        page.touch(mode=0o600)
        page.write_text(
            f'<!doctype html><meta http-equiv="refresh" content="0; url={address}">',
            encoding="utf-8",
        )
        opening = threading.Thread(target=webbrowser.open, args=(page.as_uri(),), daemon=True)
        opening.start()  # some browsers are waited for until they are closed
        yield


def _where(server: PlayServer, command: PlayCommand) -> list[str]:
    """Say where the page is, and how another machine reaches it."""
    what = "open" if command.web else "sliders and buttons are at"
    return [
        f"{what} {server.address}",
        f"from another machine, first: {server.tunnel}",
        "Ctrl-C ends it",
    ]
