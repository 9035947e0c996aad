"""Completion in a shell: asked of a real bash, with the script that the command prints."""

import shutil
import subprocess

import pytest

from metarobot.cli.main import COMMANDS, main

ASK = """
source {script}
COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
COMP_LINE="{words}"; COMP_POINT=${{#COMP_LINE}}
completer=$(complete -p metarobot | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$completer metarobot
echo "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes(tmp_path, capfd):
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "completion.bash"
    script.write_text(capfd.readouterr().out)
    assert subprocess.run(["bash", "-n", str(script)], check=False, timeout=60).returncode == 0

    def completions(words: str) -> list[str]:
        ask = ["bash", "-c", ASK.format(script=script, words=words)]
        done = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout.split()

    assert {*completions("metarobot ''")} >= {*COMMANDS}
    assert completions("metarobot ren") == ["render"]
    assert completions("metarobot train gr") == ["grip"]
    assert completions("metarobot diagnose rec") == ["record"]
    assert "--adaptation-episodes" in completions("metarobot evaluate --a")


def test_other_shells_are_named(capfd):
    assert main(["completion", "fush"]) == 2
    assert "'bash', 'zsh', 'fish'" in capfd.readouterr().err
