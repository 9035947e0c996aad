"""`DiagnosisRun`: a trained learner in a folder, config.json and a sealed file of tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from metarobot.diagnosis_runs.adapted import Adapter, Thresholds
from metarobot.diagnosis_runs.kept_back import KeptBack
from metarobot.diagnosis_runs.learner_names import LearnerName
from metarobot.diagnosis_runs.pretrained import find_run, pretrained_names
from metarobot.diagnosis_runs.sights import ArmSight, OwnSight, Sight
from metarobot.diagnosis_runs.signal_format import SignalFormat
from metarobot.diagnosis_runs.unfinished import UNFINISHED_FILE, UnfinishedError
from metarobot.envs import nearest_name
from metarobot.files import Count, Seconds, json_bytes, parse_json, typed
from metarobot.folder import Folder
from metarobot.policies.params import under_prefix, with_prefix
from metarobot.printable import printable
from metarobot.tensor_files import (
    most_bytes,
    open_tensors,
    parse_tensors,
    require_finite,
    seal_tensors,
)

CONFIG_FILE, LEARNER_FILE = "config.json", "learner.safetensors"
_MAX_CONFIG_BYTES = 16 * 2**20
_LEARNER, _SIGHT = "learner.", "sight."
Kind = Literal["own", "arms"]
_Number = Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]{0,8}$")]
_SIGHTS: dict[Kind, Any] = {"own": OwnSight, "arms": ArmSight}


class DiagnosisRunError(ValueError):
    """A folder holds no trained learner, or a damaged one; the message is one line."""


class RunConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a learner was trained on, and how."""

    kind: Kind
    """Recordings of one's own, or of the simulated arms."""
    learner: LearnerName
    way: Annotated[int, msgspec.Meta(ge=2, le=1000)]
    """Classes of a task, and outputs of the head."""
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
    updates: Count
    """Meta-updates."""
    signal: SignalFormat
    windows: Annotated[int, msgspec.Meta(ge=1, le=10**9)] = 1
    """Windows of a recording."""
    folder: str = ""
    """Folder of the recordings, where they are one's own."""
    recordings: str = ""
    """Fingerprint of all that the folder held."""
    trained_machines: tuple[str, ...] = ()
    trained_labels: tuple[str, ...] = ()
    num_recordings: Count
    """Recordings that it was trained on."""
    kept_back: KeptBack = KeptBack()
    strange_above: Annotated[dict[_Number, Thresholds], msgspec.Meta(min_length=1)]
    """Strangeness from which on a recording looks like none of the classes, by shots."""
    losses: tuple[float, ...] = ()
    """Mean loss after adapting in tenths of the training."""
    processor_s: Seconds = 0.0
    """What training has cost, without reading or simulating."""
    provenance: dict[str, Any] = {}

    def strange_from(self, shots: int) -> Thresholds:
        """Return the strangeness in both spaces from which on to warn, given K examples."""
        known = sorted(int(number) for number in self.strange_above)
        fitting = [number for number in known if number <= shots] or known[:1]
        return self.strange_above[str(fitting[-1])]


class DiagnosisRun(msgspec.Struct, frozen=True, kw_only=True):
    """A trained learner with all that it needs to read recordings."""

    config: RunConfig
    sight: Any
    """A `Sight`."""
    learner: Any
    """A `Learner` of few_shot."""

    @property
    def adapter(self) -> Adapter:
        """What adapts it to tasks."""
        return Adapter(self.learner, self.sight.centred)


def new_learner(name: str, sight: Sight, way: int, seed: int) -> Any:
    """Return a learner that knows nothing yet, on the network of a sight."""
    return sight.learner(name, way, seed)


def require_new_run(path: Path) -> None:
    """Make sure, before long work, that a run can be written.

    Raises:
        DiagnosisRunError: Something is in the folder.
    """
    folder = Folder(path)
    if folder.exists() and folder.names():
        way_out = "name another folder"
        if folder.has(UNFINISHED_FILE):
            way_out += ", or go on with the training there with --resume"
        raise DiagnosisRunError(f"{path} is not empty: {way_out}")


def require_unfinished(path: Path) -> None:
    """Make sure, before long work, that there is a training to go on with.

    Raises:
        UnfinishedError: There is none.
        FolderError: Something stands in the way of a file of it.
    """
    folder = Folder(path)
    if not (folder.exists() and folder.has(UNFINISHED_FILE)):
        raise UnfinishedError(f"--resume: {path} holds no training that was interrupted")
    folder.require_replaceable(UNFINISHED_FILE, LEARNER_FILE, CONFIG_FILE)


def save_run(run: DiagnosisRun, path: Path) -> None:
    """Write a run folder; config.json appears last, so that a folder that has one is whole.

    Raises:
        OSError: It cannot be written to.
    """
    tensors = with_prefix(_LEARNER, run.learner.state())
    tensors |= with_prefix(_SIGHT, run.sight.tensors())
    folder = Folder(path)
    folder.make()
    folder.write_together(
        {
            LEARNER_FILE: seal_tensors(tensors, run.learner.facts()),
            CONFIG_FILE: json_bytes(msgspec.to_builtins(run.config)),
        }
    )
    folder.remove(UNFINISHED_FILE)


def load_run(path: Path) -> DiagnosisRun:
    """Read a run.

    Args:
        path: Its folder, or the name of a learner that comes with the package.

    Raises:
        DiagnosisRunError: It is none, or damaged.
        OSError: It cannot be read.
    """
    folder = Folder.named(find_run(path))
    if not folder.exists() or not folder.has(CONFIG_FILE):
        raise DiagnosisRunError(
            f"{path} holds no {CONFIG_FILE}: `metarobot diagnose train --out {path}` makes a run"
            + nearest_name(str(path), pretrained_names())
        )
    try:
        config = _read_config(folder)
        return _read_learner(folder, config)
    except (ValueError, TypeError) as error:
        text = printable(str(error))
        raise DiagnosisRunError(text if str(path) in text else f"{path}: {text}") from error


def _read_config(folder: Folder) -> RunConfig:
    where = folder.path / CONFIG_FILE
    values = parse_json(folder.read(CONFIG_FILE, _MAX_CONFIG_BYTES), where)
    return typed(values, RunConfig, where)


def _read_learner(folder: Folder, config: RunConfig) -> DiagnosisRun:
    """Read the sight first: it tells how large the network is."""
    where = folder.path / LEARNER_FILE
    data = folder.read(LEARNER_FILE, most_bytes())
    kind = _SIGHTS[config.kind]
    sight_shapes = {f"{_SIGHT}{name}": shape for name, shape in kind.shapes().items()}
    found, _ = open_tensors(where, data)
    tensors, _ = parse_tensors(where, data, {**found, **sight_shapes})
    require_finite(where, tensors)
    sight = kind.from_tensors(under_prefix(_SIGHT, tensors))
    learner = new_learner(config.learner, sight, config.way, config.seed)
    wanted = with_prefix(_LEARNER, learner.state()) | with_prefix(_SIGHT, sight.tensors())
    state, facts = parse_tensors(where, data, {k: tuple(v.shape) for k, v in wanted.items()})
    if facts != learner.facts():
        raise DiagnosisRunError(f"{where} is of another learner: {facts}, not {learner.facts()}")
    learner.restore(under_prefix(_LEARNER, state))
    return DiagnosisRun(config=config, sight=sight, learner=learner)
