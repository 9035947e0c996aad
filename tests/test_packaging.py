"""What pyproject.toml packs: every package of the tree, and the files that they read."""

import tomllib

from loading import ROOT

TOOL = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def test_every_package_is_packed():
    packages = {"metarobot"}
    for folder, package in (("metarobot", "metarobot"), ("envs", "metarobot.envs")):
        for file in (ROOT / folder).rglob("__init__.py"):
            below = file.parent.relative_to(ROOT / folder).parts
            packages.add(".".join((package, *below)))
    packages.add("metarobot.policies")
    assert packages == {*TOOL["packages"]}


def test_every_file_that_is_no_code_is_packed():
    for package, patterns in TOOL["package-data"].items():
        folder = ROOT / TOOL["package-dir"].get(package, package.replace(".", "/"))
        packed = {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}
        assert packed
        tracked = {file for file in folder.rglob("*") if file.suffix in (".j2", ".xml", ".toml")}
        assert package == "metarobot" or tracked <= packed
