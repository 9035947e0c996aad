"""`metarobot play`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from metarobot.cli.console import OK, announce_learner, prepare
from metarobot.cli.parsing import PolicyOptions, parse, parse_task
from metarobot.console import listen_for_stop, print_line
from metarobot.envs.checks import require_integers
from metarobot.reporting.play import LOOPBACK, PlayPage, PlaySession, serve
from metarobot.training.load import choose_variant, find_scene, load_run


@dataclass(frozen=True, kw_only=True)
class Options(PolicyOptions):
    """Play with a policy in the browser: set the task, adapt, see before and after side by side."""

    port: int = 8741
    """TCP port of the page, on the loopback address; 0 takes any that is free."""
    task: tuple[str, ...] = ()
    """Where the sliders stand in the beginning, as NAME=VALUE ..., all else nominal."""
    variant: str | None = None
    """Play on a variant of the family: a .toml file, or the name of one that `metarobot list`
    names. A run trained on a variant is played on it if not given; none is the family itself."""
    scene: Path | None = None
    """Where the scene of the run is now, if it was trained in one of yours that has moved."""
    seed: int = 0
    """Seed of the starts, and of the action noise of trials."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        # Each time that the policy forgets, another seed follows.
        require_integers(self, {"port": (0, 65_535), "seed": (0, 2**62)})


def run(arguments: list[str], prog: str) -> int:
    """Play with a policy in the browser until Ctrl-C."""
    options = parse(Options, arguments, prog)
    task = parse_task(options.task)
    console = prepare()
    found = find_scene(load_run(options.run, best=options.best), options.scene)
    name = options.algorithm or found.first_learner
    if name not in found.policies:
        raise ValueError(f"{found.path} holds no {name}, only {', '.join(found.policies)}")
    variant = choose_variant(found, options.variant)
    announce_learner(found, options.algorithm, console)
    if not found.policies[name].finished:
        print_line(console, f"the training of {name} is not finished yet")
    session = PlaySession(found.policies[name], task=task, variant=variant, seed=options.seed)
    with serve(options.port) as server, listen_for_stop() as request:
        page, port = PlayPage(session, server), server.get_port()
        print_line(console, f"open http://{LOOPBACK}:{port}")
        print_line(
            console, f"from another machine, first: ssh -L {port}:{LOOPBACK}:{port} THIS_MACHINE"
        )
        print_line(console, "Ctrl-C ends it")
        page.run(stopped=lambda: bool(request.signal_number))
    return OK
