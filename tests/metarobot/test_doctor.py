import importlib
import io
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from rich.console import Console

from metarobot import doctor
from metarobot.doctor import Check


@pytest.fixture(autouse=True)
def _fresh_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    doctor._probe.cache_clear()
    monkeypatch.delenv("MUJOCO_GL", raising=False)


def printed(checks: list[Check]) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    status = doctor.print_report(console, checks)
    return status, console.file.getvalue()  # type: ignore[attr-defined]


def break_import(monkeypatch: pytest.MonkeyPatch, broken: str, error: Exception) -> None:
    real = importlib.import_module

    def import_module(name: str, package: str | None = None):
        if name == broken:
            raise error
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", import_module)


def test_every_check_passes_here_but_perhaps_opengl(tmp_path: Path) -> None:
    checks = doctor.run_checks(tmp_path / "runs")
    assert [check.name for check in checks if not check.ok and check.required] == []
    assert {"Python", "torch", "mujoco.batch", "metarobot.envs", "OpenGL", "ffmpeg"} <= {
        check.name for check in checks
    }
    assert not (tmp_path / "runs").exists()


def test_dependencies_agree_with_pyproject() -> None:
    pyproject = Path(doctor.__file__).resolve().parents[1] / "pyproject.toml"
    if not pyproject.is_file():
        pytest.skip("installed without its source tree")
    listed = tomllib.loads(pyproject.read_text())["project"]["dependencies"]
    checked = dict(doctor.DEPENDENCIES.values())
    for requirement in listed:
        match = re.fullmatch(r"([\w-]+)(?:\[\w+\])?(?:>=([\d.]+))?", requirement)
        assert match, requirement
        assert checked[match[1]] == (match[2] or "")


def test_a_missing_module_is_reported_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    break_import(monkeypatch, "tyro", ModuleNotFoundError("No module named 'tyro'"))
    monkeypatch.setattr(doctor, "_probe", lambda backend: "")
    status, text = printed(doctor.run_checks())
    assert status == 1
    assert "No module named 'tyro'" in text
    assert "pip install 'tyro'" in text


def test_any_import_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    break_import(monkeypatch, "torch", OSError("libcudart.so: cannot open\nsecond line"))
    check = doctor._check_dependency("torch", "torch", "2.10")
    assert not check.ok
    assert check.detail == "OSError: libcudart.so: cannot open"


def test_an_old_version_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "2.9.1+cpu")
    check = doctor._check_dependency("torch", "torch", "2.10")
    assert not check.ok
    assert check.remedy == "pip install 'torch>=2.10'"


@pytest.mark.parametrize(
    ("version", "key"), [("2.13.0+cpu", (2, 13, 0)), ("4.0", (4, 0)), ("5.1rc1", (5, 1)), ("", ())]
)
def test_version_key(version: str, key: tuple[int, ...]) -> None:
    assert doctor._version_key(version) == key


def test_optional_failures_are_warnings() -> None:
    bad = Check(name="a", ok=False, detail="[bold]not markup", remedy="do this")
    soft = Check(name="b", ok=False, detail="", remedy="or that", required=False)
    status, text = printed([bad, soft, Check(name="c", ok=True, detail="")])
    assert status == 1
    assert "[bold]not markup" in text
    assert "a: do this" in text
    assert "b: or that" in text
    assert "1 ok, 1 warnings, 1 failed" in text
    assert printed([soft])[0] == 0


def test_no_opengl_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_probe", lambda backend: "no such library")
    problem = doctor.opengl_problem()
    assert problem is not None
    assert "libegl1 libopengl0" in problem
    assert "libosmesa6" in problem
    assert "\n" not in problem
    with pytest.raises(doctor.OpenGLError, match="libosmesa6"):
        doctor.require_opengl()
    check = doctor._check_opengl()
    assert not check.ok
    assert not check.required


def test_osmesa_is_tried_after_egl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_probe", lambda backend: "" if backend == "osmesa" else "broken")
    assert doctor.working_gl_backend() == "osmesa"
    assert doctor.opengl_problem() is None
    monkeypatch.setenv("MUJOCO_GL", "egl")
    assert doctor.working_gl_backend() is None
    assert "set MUJOCO_GL=osmesa" in (doctor.opengl_problem() or "")


def test_a_crashing_probe_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PROBE", "import os; os.abort()")
    assert doctor._probe("egl").startswith("exit status")


def test_a_probe_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PROBE", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor, "_PROBE_TIMEOUT_S", 0.2)
    assert "no picture within" in doctor._probe("egl")


def test_choosing_a_backend_respects_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    monkeypatch.setattr(doctor.ctypes.util, "find_library", lambda name: f"lib{name}.so")
    assert doctor.choose_gl_backend() == os.environ["MUJOCO_GL"] == "egl"
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    assert doctor.choose_gl_backend() == "glfw"


def test_choosing_a_backend_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    # EGL without libOpenGL cannot render.
    found = {"EGL": "libEGL.so.1", "OSMesa": "libOSMesa.so.8"}
    monkeypatch.setattr(doctor.ctypes.util, "find_library", found.get)
    assert doctor.choose_gl_backend() == "osmesa"
    monkeypatch.delenv("MUJOCO_GL")
    monkeypatch.setattr(doctor.ctypes.util, "find_library", lambda name: None)
    assert doctor.choose_gl_backend() is None
    assert "MUJOCO_GL" not in os.environ


def test_the_module_needs_only_the_standard_library() -> None:
    script = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('doctor', {doctor.__file__!r})\n"
        "module = sys.modules['doctor'] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "module.choose_gl_backend()\n"
        "assert not {'mujoco', 'numpy', 'torch', 'rich'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_runs_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    assert not doctor._check_runs_folder(tmp_path / "runs").ok
    assert doctor._check_runs_folder(tmp_path / "new" / "runs").ok


def test_a_missing_package_link_is_seen() -> None:
    check = doctor._check_package("metarobot.nothing_here")
    assert not check.ok
    assert "symlinks" in check.remedy
