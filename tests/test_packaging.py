"""What is installed from the tree: every file of metarobot, and nothing beside it."""

import subprocess
import sys
import zipfile
from pathlib import Path

from loading import ROOT


def build(hook: str, folder: Path) -> dict[str, bytes]:
    """Build the wheel that pip installs, in a folder that reads the tree's; return its files."""
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        (folder / file).write_bytes((ROOT / file).read_bytes())
    (folder / "src").mkdir()
    (folder / "src/metarobot").symlink_to(ROOT / "src/metarobot")
    command = f"from setuptools.build_meta import {hook}; {hook}('.')"
    arguments = [sys.executable, "-c", command]
    subprocess.run(arguments, cwd=folder, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        files = {name: packed.read(name) for name in packed.namelist()}
    return {name: content for name, content in files.items() if ".dist-info/" not in name}


def test_the_wheel_holds_every_file_of_metarobot_and_nothing_else(tmp_path):
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(
        [*listing, "metarobot", "envs", "policies"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    files = {name for name in listed if (ROOT / name).is_file()}
    assert len(files) > 300
    packed = {name if name.startswith("metarobot/") else f"metarobot/{name}" for name in files}
    assert {*build("build_wheel", tmp_path)} == packed


def test_an_editable_install_is_a_path_that_type_checkers_read(tmp_path):
    """They read no import hook, which setuptools writes unless all packages are in one folder."""
    ((name, content),) = build("build_editable", tmp_path).items()
    assert name.endswith(".pth")
    assert content.decode().split() == [str(tmp_path / "src")]


def test_the_folder_of_an_editable_install_holds_metarobot_alone():
    """Else envs and policies would be imported by names that collide with those of users."""
    assert [item.name for item in (ROOT / "src").glob("[!.]*") if not item.match("*.egg-info")] == [
        "metarobot"
    ]
