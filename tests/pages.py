"""The pages of the documentation, and the blocks and commands in them."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from loading import ROOT, load_script

from metarobot.cli import parsing
from metarobot.cli.compare import parse_compare
from metarobot.cli.diagnose import COMMANDS as DIAGNOSE_COMMANDS
from metarobot.cli.main import module_of
from metarobot.cli.train import ResumeOptions, TrainOptions, parse_training

PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
}
README = PAGES["README.md"]
PYTHON_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
TUTORIALS = ("docs/getting-started.md", *(page for page in PAGES if "/tutorials/" in page))
"""Pages whose blocks build on one another."""
_SHELL_BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
_PARAGRAPH_AND_BLOCK = re.compile(r"([^\n]+(?:\n[^\n]+)*)\n\n```(\w+)\n(.*?)```", re.DOTALL)
_ENDINGS = {"python": "py", "toml": "toml", "xml": "xml"}


class Block(NamedTuple):
    """A block of code in a page."""

    language: str
    text: str
    file: str | None
    """The file that the paragraph above says to write it into."""


def blocks(page: str) -> list[Block]:
    """Return every block of a page, in its order."""
    found = []
    for above, language, text in _PARAGRAPH_AND_BLOCK.findall(PAGES[page]):
        ending = _ENDINGS.get(language)
        names = re.findall(rf"`([\w/]+\.{ending})`", above) if ending else []
        found.append(Block(language, text, names[0] if names else None))
    return found


def commands(page: str) -> list[str]:
    """Return every command of every shell block of a page."""
    lines = [line for block in _SHELL_BLOCK.findall(PAGES[page]) for line in block.splitlines()]
    return [command.strip() for line in lines for command in line.split("&&")]


def parse_shell_command(command: str) -> bool:
    """Parse a command of ours, and run nothing; return whether it is one."""
    program, *rest = shlex.split(command)
    if program == "torchrun":
        program, *rest = rest[rest.index("-m") + 1 :]
    if Path(program).name == "metarobot":
        name, *options = rest
        if name == "train" and options[0].startswith("-"):
            parsing.parse(ResumeOptions, options, "metarobot train")
        elif name == "train":
            parse_training(TrainOptions, options, "metarobot train", ())
        elif name == "--print-completion":
            assert options[0] in ("bash", "zsh", "fish")
        elif name == "compare":
            parse_compare(options, "metarobot compare")
        elif name == "diagnose":
            number = 2 if options[0] == "life" else 1
            command = DIAGNOSE_COMMANDS[" ".join(options[:number])]
            parsing.parse(command, options[number:], "metarobot diagnose")
        else:
            parsing.parse(module_of(name).Options, options, f"metarobot {name}")
        return True
    if Path(program).name == "python" and rest[0].startswith("scripts/"):
        script = load_script(Path(rest[0]).stem)
        commands = [c for n, c in vars(script).items() if n.endswith("Command")]
        assert len(commands) == 1 or not rest[1:]
        for script_command in commands:
            parsing.parse(script_command, rest[1:], rest[0])
        return True
    return False
