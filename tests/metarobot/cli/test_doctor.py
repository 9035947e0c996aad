import importlib
import io
import re
import tomllib
from pathlib import Path

import pytest
from rich.console import Console

from metarobot.cli import doctor
from metarobot.cli.doctor import Check


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
    pyproject = Path(doctor.__file__).resolve().parents[2] / "pyproject.toml"
    if not pyproject.is_file():
        pytest.skip("installed without its source tree")
    project = tomllib.loads(pyproject.read_text())["project"]
    for extra, modules in {"": doctor.DEPENDENCIES, **doctor.EXTRAS}.items():
        listed = project["optional-dependencies"][extra] if extra else project["dependencies"]
        found = [re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", each) for each in listed]
        assert [match and match.groups() for match in found] == [*modules.values()], extra


def test_a_missing_module_is_reported_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    break_import(monkeypatch, "shtab", ModuleNotFoundError("No module named 'shtab'"))
    monkeypatch.setattr("metarobot.machine._probe", lambda backend: "")
    status, text = printed(doctor.run_checks())
    assert status == 1
    assert "No module named 'shtab'" in text
    assert "pip install 'shtab>=1.7'" in text


def test_a_missing_extra_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    break_import(monkeypatch, "stable_baselines3", ModuleNotFoundError("No module"))
    monkeypatch.setattr("metarobot.machine._probe", lambda backend: "")
    status, text = printed(doctor.run_checks())
    assert status == 0
    assert "stable-baselines3: pip install 'metarobot[sb3]'" in text


def test_a_missing_meta_world_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    break_import(monkeypatch, "metaworld", ModuleNotFoundError("No module named 'metaworld'"))
    monkeypatch.setattr("metarobot.machine._probe", lambda backend: "")
    status, text = printed(doctor.run_checks())
    assert status == 0
    assert "metaworld: pip install --no-deps metaworld==3.1.1 (only the families of" in text


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
