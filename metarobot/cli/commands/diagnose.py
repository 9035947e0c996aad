"""`metarobot diagnose`: each thing that it does has a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from metarobot.cli.diagnose_options import DiagnoseCheck, DiagnoseCommand, DiagnoseRecord
from metarobot.cli.diagnose_train_options import (
    DiagnoseDemo,
    DiagnoseEvaluate,
    DiagnosePredict,
    DiagnoseTrain,
)
from metarobot.cli.parsing import parse
from metarobot.envs import nearest_name

_ACTIONS = {
    "record": DiagnoseRecord,
    "check": DiagnoseCheck,
    "train": DiagnoseTrain,
    "evaluate": DiagnoseEvaluate,
    "predict": DiagnosePredict,
    "demo": DiagnoseDemo,
}
"""Options of each thing that it does; metarobot/cli/diagnose_NAME.py does it."""


def run(arguments: list[str], prog: str) -> int:
    """Do what is asked for."""
    _require_action(arguments, prog)
    command = parse(DiagnoseCommand, arguments, prog).what
    (name,) = (name for name, options in _ACTIONS.items() if type(command) is options)
    return import_module(f"metarobot.cli.diagnose_{name}").run(command)


def _require_action(arguments: Sequence[str], prog: str) -> None:
    """Refuse a missing or unknown word by naming those there are."""
    word = arguments[0] if arguments else ""
    if word not in _ACTIONS and not word.startswith("-"):
        raise ValueError(
            f"{prog} {word}".strip()
            + f": name one of {', '.join(_ACTIONS)} first"
            + nearest_name(word, _ACTIONS)
        )
