"""What comes from outside is printed in one line, and cannot move the terminal."""

import ast
import io
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import metarobot
from metarobot.cli.main import main
from metarobot.console import print_line, printable

PACKAGE = Path(metarobot.__file__).parent
EVALUATION_SIZES = ["--num-tasks", "2", "--test-episodes", "1", "--adaptation-episodes", "1"]
EVALUATION_SIZES += ["--num-blocks", "0", "--splits", "train", "--no-heat-map"]
EVALUATION_SIZES += ["--no-robustness", "--films", "0"]

NASTY = {
    "escape": "a\x1b[2J\x1b]0;owned\x07b",
    "newline": "a\nmetarobot: all is well\r\nb",
    "carriage return": "a\rb",
    "backspace": "a\b\bb",
    "C1 control": "a\x9b2Jb",
    "line separator": "a\u2028b\x85c",
    "bidirectional override": "a\u202egnp.exe\u2066b",
    "no UTF-8": "a\udcff\udc9bb",
    "markup": "a[bold red]b[/]:fire:[link=x]c",
}


def assert_harmless(text: str) -> None:
    assert {c for c in text if not c.isprintable()} <= {"\n", "\N{NO-BREAK SPACE}"}


@given(st.text(st.characters(codec=None), max_size=30))
def test_what_is_printable_stays_and_the_rest_is_written_out(text):
    shown = printable(text)
    assert_harmless(shown)
    assert "\n" not in shown
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text
    shown.encode()


def test_every_character_that_a_terminal_obeys_is_written_out():
    obeyed = [*range(0x20), *range(0x7F, 0xA0), 0xAD, *range(0x200B, 0x2010)]
    obeyed += [*range(0x2028, 0x202F), *range(0x2060, 0x2070), *range(0xD800, 0xE000), 0xFEFF]
    for code in obeyed:
        assert printable(chr(code)).startswith("\\")
        assert printable(chr(code)).isascii()


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_line_is_printed_as_it_is(text, is_terminal):
    file = io.StringIO()
    print_line(Console(file=file, force_terminal=is_terminal, width=20), text)
    assert file.getvalue() == printable(text) + "\n"


def test_everything_is_printed_through_print_line_or_as_a_table():
    """Other calls may print only sentences of the package and numbers."""
    calls = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "print":
                calls.add(f"{path.name}: {ast.unparse(node)}")
    tables = re.compile(r"\w+.py: console.print\((\w*table\b.*)?\)")
    assert {call for call in calls if not tables.fullmatch(call)} == {
        "main.py: print(_help())",
        "main.py: print(f'metarobot {VERSION}')",
        "main.py: print(shtab.complete(everything, shell[0]))",
        "file_reader.py: print(json.dumps(answer), flush=True)",  # to its parent
        "console.py: print(f'metarobot: {shown}', file=sys.stderr)",  # made printable before
        "console.py: console.print(Text(printable(text), style), soft_wrap=True)",
        # Numbers of our own, while a policy adapts.
        "policy.py: print(file=sys.stderr)",
        "policy.py: print(line, end='' if live else '\\n', file=sys.stderr, flush=True)",
    }


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(arguments: list[str], capfd) -> tuple[int, str, str]:
    code = main(arguments)
    out, err = capfd.readouterr()
    assert_harmless(out + err)
    return code, out, err


@pytest.mark.skipif(os.name != "posix", reason="names that Windows does not allow")
@pytest.mark.usefixtures("quick_pages")
@pytest.mark.parametrize("name", [NASTY[each] for each in ("newline", "no UTF-8", "markup")])
def test_folders_may_have_any_name(name, grip_run, capfd):
    shutil.copytree(grip_run, name)
    Path(name, "maml", "done.json").unlink()
    evaluate = ["evaluate", name, "--out", f"{name}/result", *EVALUATION_SIZES]
    code, out, err = run(evaluate, capfd)
    assert code == 0, err
    assert out.splitlines()[-1] == f"report: {printable(name)}/result/report.html"
    assert err == f"metarobot: note: {printable(name)} was interrupted: maml\n"
    report = Path(name, "result", "report.html").read_text(encoding="utf-8")
    assert_harmless(report)
    if "\udcff" not in name:  # TensorBoard writes to no such folder
        code, out, _ = run(["train", "--resume", name], capfd)
        assert code == 0
        assert out.splitlines()[-1] == f"trained maml: {printable(name)}"
    code, out, _ = run(["doctor", "--runs-folder", name], capfd)
    assert code == 0
    assert printable(name) in out


LINES = {
    "command": "NASTY",
    "preset": "train NASTY",
    "option": "train grip --NASTY",
    "value": "train grip --seed NASTY",
    "choice": "train grip --algorithms NASTY",
    "run": "evaluate NASTY --out result",
    "resume": "train --resume NASTY",
    "task": "render RUN --task NASTY",
    "task parameter": "render RUN --task NASTY=1",
    "variant": "evaluate RUN --out result --variant NASTY",
    "variant file": "evaluate RUN --out result --variant NASTY.toml",
    "text of a variant": "evaluate RUN --out result --variant text.toml",
    "key of a variant": "evaluate RUN --out result --variant key.toml",
    "text of a configuration": "evaluate TEXT --out result",
    "key of a configuration": "evaluate KEY --out result",
    "model": "import NASTY --env-id metarobot/Grip-v0 --out x.safetensors",
    "family": "import FILE --env-id NASTY --out x.safetensors",
    "film": "render RUN --out NASTY",
}


def write_inputs(name: str, trained: Path) -> None:
    """Write a name where configurations and variants have text and keys."""
    text = json.dumps(name.encode("utf-8", "replace").decode())
    Path("text.toml").write_text(f"family = {text}\n", encoding="utf-8")
    Path("key.toml").write_text(f'family = "metarobot/Grip-v0"\n{text} = 1\n', encoding="utf-8")
    config = json.loads((trained / "maml/config.json").read_text(encoding="utf-8"))
    texts, keys = ({**config, "train": {**config["train"]}} for _ in range(2))
    texts["train"]["inner_objective"] = name
    keys["train"][name] = 1
    for folder, values in (("text", texts), ("key", keys)):
        shutil.copytree(trained, folder)
        Path(folder, "maml/config.json").write_text(json.dumps(values), encoding="utf-8")


@pytest.mark.parametrize("name", [NASTY[each] for each in ("escape", "newline", "no UTF-8")])
def test_errors_are_one_harmless_line(name, grip_run, capfd):
    write_inputs(name, grip_run)
    words = {"RUN": str(grip_run), "TEXT": "text", "KEY": "key", "FILE": "text.toml"}
    for line in LINES.values():
        arguments = [words.get(word, word).replace("NASTY", name) for word in line.split()]
        code, out, err = run(arguments, capfd)
        assert (code, out, err.count("\n")) == (2, "", 1), line
        assert err.startswith("metarobot: error: "), line
