"""`metarobot play`."""

from __future__ import annotations

from metarobot.cli.console import OK, announce_learner, prepare
from metarobot.cli.options import PlayCommand
from metarobot.cli.parsing import parse, parse_task
from metarobot.console import print_line
from metarobot.machine import listen_for_stop
from metarobot.play import LOOPBACK, PlayPage, PlaySession, serve
from metarobot.training.load import choose_variant, find_scene, load_run


def run(arguments: list[str], prog: str) -> int:
    """Play with a policy in the browser until Ctrl-C."""
    command = parse(PlayCommand, arguments, prog)
    task = parse_task(command.task)
    console = prepare()
    found = find_scene(load_run(command.run, best=command.best), command.scene)
    name = command.algorithm or found.first_learner
    if name not in found.policies:
        raise ValueError(f"{found.path} holds no {name}, only {', '.join(found.policies)}")
    variant = choose_variant(found, command.variant)
    announce_learner(found, command.algorithm, console)
    if not found.policies[name].finished:
        print_line(console, f"the training of {name} is not finished yet")
    session = PlaySession(found.policies[name], task=task, variant=variant, seed=command.seed)
    with serve(command.port) as server, listen_for_stop() as request:
        page, port = PlayPage(session, server), server.get_port()
        print_line(console, f"open http://{LOOPBACK}:{port}")
        print_line(
            console, f"from another machine, first: ssh -L {port}:{LOOPBACK}:{port} THIS_MACHINE"
        )
        print_line(console, "Ctrl-C ends it")
        page.run(stopped=lambda: bool(request.signal_number))
    return OK
