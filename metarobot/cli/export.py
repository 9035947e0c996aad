"""`metarobot export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from metarobot.adaptation.onnx import SUFFIX, export_onnx, require_onnx
from metarobot.adaptation.run import Run, choose_policy
from metarobot.api import load
from metarobot.cli.console import OK, announce_learner, prepare
from metarobot.cli.parsing import PolicyOptions, parse
from metarobot.console import print_line
from metarobot.io import require_absent, require_writable
from metarobot.training.load import TrainedPolicy

_SUFFIXES = {"sb3": ".zip", "onnx": SUFFIX}
"""How the file ends."""


@dataclass(frozen=True, kw_only=True)
class Options(PolicyOptions):
    """Write a trained or an adapted policy as an ONNX file, or as a Stable-Baselines3 PPO model.

    RUN may also be the file of an adapted policy. A PPO model is of maml if no algorithm is named.
    """

    out: Path
    """File to write: the .onnx, or the .zip for PPO.load."""
    format: Literal["sb3", "onnx"] | None = None
    """What is written: a PPO model of Stable-Baselines3, which has a place for feed-forward
    policies alone, or an ONNX file, for every policy; as --out ends if not given."""
    overwrite: bool = False
    """Replace a file that is there already."""


def run(arguments: list[str], prog: str) -> int:
    """Export one policy."""
    options = parse(Options, arguments, prog)
    ends_as = {suffix: name for name, suffix in _SUFFIXES.items()}
    kind = options.format or ends_as.get(options.out.suffix)
    if kind is None:
        raise ValueError(f"--out must end in .onnx, or in .zip for a PPO model, got {options.out}")
    if options.out.suffix != _SUFFIXES[kind]:
        raise ValueError(
            f"--out must end in {_SUFFIXES[kind]} for --format {kind}, got {options.out}"
        )
    if kind == "onnx":
        require_onnx()
    console = prepare()
    require_writable(options.out)
    if not options.overwrite:
        require_absent(options.out)
    found = load(options.run, best=options.best)
    policy = choose_policy(found, options.algorithm, "maml" if kind == "sb3" else None)
    if kind == "onnx":
        if isinstance(found, Run):
            announce_learner(found.trained, options.algorithm, console)
        export_onnx(policy, options.out, overwrite=options.overwrite)
    else:
        from metarobot.sb3 import export_ppo  # Stable-Baselines3 takes seconds to import

        export_ppo(TrainedPolicy(policy.policy, policy.params, policy.config), options.out)
    print_line(console, f"exported {policy.config.algorithm}: {options.out}")
    return OK
