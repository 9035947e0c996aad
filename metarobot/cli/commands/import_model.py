"""`metarobot import`."""

from __future__ import annotations

from metarobot.cli.console import OK, prepare
from metarobot.cli.options import ImportCommand
from metarobot.cli.parsing import parse
from metarobot.console import print_line
from metarobot.io import require_writable, write_file
from metarobot.sb3 import import_ppo
from metarobot.training.run_folder import policy_bytes


def run(arguments: list[str], prog: str) -> int:
    """Import one policy."""
    command = parse(ImportCommand, arguments, prog)
    if command.out.suffix != ".safetensors":
        raise ValueError(f"--out must end in .safetensors, got {command.out}")
    console = prepare()
    require_writable(command.out)
    trained = import_ppo(command.model, command.env_id)
    write_file(command.out, policy_bytes(trained.config, trained.params, iteration=0))
    sizes = " ".join(map(str, trained.config.hidden_sizes))
    print_line(console, f"imported, hidden sizes {sizes}: {command.out}")
    return OK
