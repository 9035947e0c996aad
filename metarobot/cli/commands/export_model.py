"""`metarobot export`."""

from __future__ import annotations

from rich.console import Console

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.adaptation.run import Run, choose_policy, load_run_or_policy
from metarobot.cli.console import OK, announce_learner, prepare
from metarobot.cli.options import ExportCommand
from metarobot.cli.parsing import parse
from metarobot.console import print_line
from metarobot.io import require_absent, require_writable
from metarobot.onnx_export import SUFFIX, export_onnx, require_onnx
from metarobot.training.load import TrainedPolicy

_FORMATS = {".zip": "sb3", SUFFIX: "onnx"}
"""What is written, by the ending of the file."""


def run(arguments: list[str], prog: str) -> int:
    """Export one policy."""
    command = parse(ExportCommand, arguments, prog)
    kind = command.format or _FORMATS.get(command.out.suffix)
    if kind is None:
        raise ValueError(f"--out must end in .onnx, or in .zip for a PPO model, got {command.out}")
    if _FORMATS.get(command.out.suffix) != kind:
        suffix = {name: suffix for suffix, name in _FORMATS.items()}[kind]
        raise ValueError(f"--out must end in {suffix} for --format {kind}, got {command.out}")
    if kind == "onnx":
        require_onnx()
    console = prepare()
    require_writable(command.out)
    if not command.overwrite:
        require_absent(command.out)
    policy = _load(command, kind, console)
    if kind == "onnx":
        export_onnx(policy, command.out, overwrite=command.overwrite)
    else:
        from metarobot.sb3 import export_ppo  # Stable-Baselines3 takes seconds to import

        export_ppo(TrainedPolicy(policy.policy, policy.params, policy.config), command.out)
    print_line(console, f"exported {policy.config.algorithm}: {command.out}")
    return OK


def _load(command: ExportCommand, kind: str, console: Console) -> AdaptablePolicy:
    """Return the policy that is named, or the one that is taken where none is."""
    found = load_run_or_policy(command.run, best=command.best)
    policy = choose_policy(found, command.algorithm, "maml" if kind == "sb3" else None)
    if isinstance(found, Run) and kind == "onnx":
        announce_learner(found.trained, command.algorithm, console)
    return policy
