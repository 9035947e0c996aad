"""`metarobot export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from metarobot.cli.console import OK
from metarobot.cli.parsing import PolicyOptions, arguments_of, parse
from metarobot.console import make_console, print_line

_SUFFIXES = {"sb3": ".zip", "onnx": ".onnx", "hub": ""}
"""Suffix of the file by format; a folder has none."""


@dataclass(frozen=True, kw_only=True)
class Options(PolicyOptions):
    """Write a trained or an adapted policy as an ONNX file, a PPO model or a folder of the Hub.

    RUN may also be the file of an adapted policy. For PPO, --algorithm is maml if not given.
    """

    out: Path
    """File to write: the .onnx, or the .zip for PPO.load; or for the Hugging Face Hub a folder,
    whose name has no ending."""
    format: Literal["sb3", "onnx", "hub"] | None = None
    """Format: sb3 for a PPO model of Stable-Baselines3, feed-forward policies only; onnx, or hub
    for a folder of the Hugging Face Hub, for every policy; by --out if not given."""
    overwrite: bool = False
    """Replace a file that is there already."""


def run(arguments: list[str], prog: str) -> int:
    """Export one policy."""
    options = parse(Options, arguments, prog)
    ends_as = {suffix: name for name, suffix in _SUFFIXES.items()}
    kind = options.format or ends_as.get(options.out.suffix)
    if kind is None:
        raise ValueError(
            "--out must end in .onnx, in .zip for a PPO model, or be a folder for the Hub, got "
            f"{options.out}"
        )
    if options.out.suffix != (suffix := _SUFFIXES[kind]):
        ending = f"end in {suffix}" if suffix else "have no ending"
        raise ValueError(f"--out must {ending} for --format {kind}, got {options.out}")
    from metarobot.api import export  # after help, which does not wait for torch

    algorithm = export(options.run, **arguments_of(options, "run", "format"))
    print_line(make_console(), f"exported {algorithm}: {options.out}")
    return OK
