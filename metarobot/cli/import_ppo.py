"""`metarobot import`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from metarobot.cli.console import OK, prepare
from metarobot.cli.parsing import Argument, OutsideOptions, parse
from metarobot.console import print_line
from metarobot.io import require_writable, write_file


@dataclass(frozen=True, kw_only=True)
class Options(OutsideOptions):
    """Read the policy of a Stable-Baselines3 PPO model, for `metarobot train --initial-policy`.

    Stable-Baselines3 unpickles the file, which can run any code: import only files that you trust.
    """

    model: Annotated[Path, Argument("FILE.zip", positional=True)]
    """File that PPO.save has written."""
    env_id: str
    """Task family that it was trained on, such as metarobot/Grip-v0."""
    out: Path
    """File to write, ending in .safetensors."""


def run(arguments: list[str], prog: str) -> int:
    """Import one policy."""
    options = parse(Options, arguments, prog)
    if options.out.suffix != ".safetensors":
        raise ValueError(f"--out must end in .safetensors, got {options.out}")
    console = prepare()
    require_writable(options.out)
    from metarobot.sb3 import import_ppo  # Stable-Baselines3 takes seconds to import
    from metarobot.training.run_folder import policy_bytes

    trained = import_ppo(options.model, options.env_id)
    write_file(options.out, policy_bytes(trained.config, trained.params, iteration=0))
    sizes = " ".join(map(str, trained.config.hidden_sizes))
    print_line(console, f"imported, hidden sizes {sizes}: {options.out}")
    return OK
