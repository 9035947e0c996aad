"""From a policy to an ONNX file; the only file of this room that does without the package onnx."""

from __future__ import annotations

from pathlib import Path

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.io import require_absent, write_file

SUFFIX = ".onnx"


def export_onnx(policy: AdaptablePolicy, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a policy as one ONNX file, which acts as `AdaptablePolicy.act` does.

    Args:
        policy: A trained policy, or one that has been adapted.
        path: File to write in one piece, ending in .onnx.
        overwrite: Replace a file that is there already.

    Raises:
        ValueError: The name ends otherwise, a file is there already, onnx is not installed, or the
            policy's controller is not one of this package.
        OSError: The file cannot be written.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"an ONNX file must end in {SUFFIX}, got {path}")
    if not overwrite:
        require_absent(path)
    write_file(path, onnx_bytes(policy))


def onnx_bytes(policy: AdaptablePolicy) -> bytes:
    """Return the content of a policy's ONNX file.

    Raises:
        ValueError: onnx is not installed, or the policy's controller is not one of this package.
    """
    require_onnx()
    from metarobot.onnx_export.model import model_of

    return model_of(policy).SerializeToString(deterministic=True)


def require_onnx() -> None:
    """Say what to install where onnx is missing.

    Raises:
        ValueError: It is.
    """
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise ValueError("ONNX files need `pip install 'metarobot[onnx]'`") from error
