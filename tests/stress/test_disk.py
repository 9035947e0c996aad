"""A disk that fills up ends training in one line, with everything before it intact."""

import subprocess
import sys

import pytest
from small_training import ENVIRONMENT, METAROBOT, curve, execute, fingerprint, resume, train

WITH_SMALL_FILES = """
import resource, sys
from metarobot.cli.main import main

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_training_that_can_no_longer_write_ends_in_one_line_and_goes_on_later(tmp_path):
    run, iterations = tmp_path / "run", 24
    command = [sys.executable, "-c", WITH_SMALL_FILES, "12000", *train(run, iterations)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"metarobot: error: {run / 'maml'}: File too large\n"
    checkpoints = [path.name for path in (run / "maml" / "checkpoints").iterdir()]
    assert sorted(checkpoints) == ["best.safetensors", "iteration-000010.safetensors"]

    execute([*METAROBOT, *resume(run)])
    execute([*METAROBOT, *train(tmp_path / "undisturbed", iterations)])
    assert fingerprint(run) == fingerprint(tmp_path / "undisturbed")
    assert curve(run) == curve(tmp_path / "undisturbed")


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    command = [*METAROBOT, *train(tmp_path / "file" / "run", 1)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert str(tmp_path / "file") in done.stderr
