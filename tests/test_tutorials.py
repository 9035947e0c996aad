"""Getting started and the tutorials, as a newcomer follows them, with a run that is small."""

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import gymnasium as gym
import pytest
from loading import ROOT
from pages import PAGES, TUTORIALS, blocks, commands, parse_shell_command

from metarobot.algorithms import ALGORITHMS
from metarobot.config import PRESETS
from metarobot.envs import FAMILIES
from metarobot.envs.registration import OUTSIDE_PRESETS
from metarobot.training.run import train_run

PRINTED = {
    "docs/getting-started.md": "return -",
    "docs/tutorials/has-it-helped.md": "latent, adapted to ",
    "docs/tutorials/own-algorithm.md": "shift of the action [0.3]",
    "docs/tutorials/own-environment.md": "observed angles [-0.6 -0.2  0.2]",
    "docs/tutorials/own-family.md": "action +0.2: returns",
    "docs/tutorials/own-robot.md": "return -",
    "docs/tutorials/own-tool.md": "tool at [0.45 0.   0.32]",
    "docs/tutorials/own-variant.md": "block mass, kg: [",
}
"""What the Python of a page prints, among other things."""


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    """What step 3 of Getting started trains, smaller."""
    folder = tmp_path_factory.mktemp("run") / "first"
    sizes = {"total_steps": 1, "num_tasks": 2, "episodes_per_task": 3, "hidden_sizes": (4,)}
    train_run(replace(PRESETS["grip"], **sizes), ["latent"], folder)
    return folder


@pytest.fixture
def working_folder(tmp_path, first_run, monkeypatch):
    """A folder with that run; what its modules register goes with the test."""
    shutil.copytree(first_run, tmp_path / "runs" / "first")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    registries = (FAMILIES, OUTSIDE_PRESETS, ALGORITHMS, gym.registry)
    patches = [patch.dict(registry) for registry in registries]
    for registry in patches:
        registry.start()
    yield tmp_path
    for registry in patches:
        registry.stop()
    for file in tmp_path.glob("*.py"):
        sys.modules.pop(file.stem, None)


@pytest.mark.parametrize("page", TUTORIALS)
def test_a_newcomer_can_follow_it(page, working_folder, capsys):
    for block in blocks(page):
        if block.file is not None:
            path = working_folder / block.file
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, page, "exec"), {})
    assert PRINTED[page] in capsys.readouterr().out
    assert [command for command in commands(page) if parse_shell_command(command)]


@pytest.mark.parametrize("page", TUTORIALS)
def test_every_block_of_it_is_found(page):
    assert len(blocks(page)) == len(re.findall(r"^```\w", PAGES[page], re.MULTILINE))
    files = [Path(block.file).name for block in blocks(page) if block.file]
    assert len(files) == len({*files})
    assert len(PAGES[page].splitlines()) <= 200


NOTEBOOK = ROOT / "docs/tutorials/first-steps.ipynb"
CELLS = [
    "".join(cell["source"])
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    if cell["cell_type"] == "code" and not cell["outputs"]
]


def test_the_notebook_holds_no_output():
    assert len(CELLS) == NOTEBOOK.read_text(encoding="utf-8").count('"cell_type": "code"')


@pytest.mark.stress
@pytest.mark.usefixtures("quick_pages")
def test_the_notebook_runs(tmp_path, monkeypatch):
    """The site's build, which forgives a film without OpenGL, runs it as it is."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for cell in CELLS:
        smaller = cell.replace("num_tasks=10", "num_tasks=2").replace("grid_size=5", "grid_size=2")
        exec(compile(smaller, NOTEBOOK.name, "exec"), names)
    assert (tmp_path / "grip.mp4").exists()
