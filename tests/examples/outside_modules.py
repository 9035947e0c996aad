"""A working folder that holds modules from outside, for the tests of the examples."""

import shutil
import sys

from metarobot.cli.main import main


def copy_modules(source, names, folder, monkeypatch):
    """Work in a folder with copies of some files; what an import changes is undone after."""
    for name in names:
        shutil.copy(source / name, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def run(capfd, *words):
    """Run a command; return its exit code and what it printed."""
    code = main([*map(str, words)])
    return code, capfd.readouterr()
