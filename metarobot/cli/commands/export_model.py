"""`metarobot export`."""

from __future__ import annotations

from rich.console import Console

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.adaptation.run import Run, load_run_or_policy
from metarobot.cli.console import OK, announce_learner, prepare
from metarobot.cli.options import ExportCommand
from metarobot.cli.parsing import parse
from metarobot.named_files import require_absent, require_writable
from metarobot.onnx_export.export import SUFFIX, export_onnx, require_onnx
from metarobot.printable import print_line
from metarobot.training.load import TrainedPolicy

_SUFFIXES = {"sb3": ".zip", "onnx": SUFFIX}


def run(arguments: list[str], prog: str) -> int:
    """Export one policy."""
    command = parse(ExportCommand, arguments, prog)
    suffix = _SUFFIXES[command.format]
    if command.out.suffix != suffix:
        raise ValueError(
            f"--out must end in {suffix} for --format {command.format}, got {command.out}"
        )
    if command.format == "onnx":
        require_onnx()
    console = prepare()
    require_writable(command.out)
    if not command.overwrite:
        require_absent(command.out)
    policy = _load(command, console)
    if command.format == "onnx":
        export_onnx(policy, command.out, overwrite=command.overwrite)
    else:
        from metarobot.sb3 import export_ppo  # Stable-Baselines3 takes seconds to import

        export_ppo(TrainedPolicy(policy.policy, policy.params, policy.config), command.out)
    print_line(console, f"exported {policy.config.algorithm}: {command.out}")
    return OK


def _load(command: ExportCommand, console: Console) -> AdaptablePolicy:
    """Return the policy that is named, or the one that is taken where none is."""
    found = load_run_or_policy(command.run, best=command.best)
    if not isinstance(found, Run):
        return found
    policy = found.choose(command.algorithm, default="maml" if command.format == "sb3" else None)
    if command.format == "onnx":
        announce_learner(found.trained, command.algorithm, console)
    return policy
