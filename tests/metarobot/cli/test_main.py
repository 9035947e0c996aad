import csv
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from trained import TRAINED

from metarobot.algorithms import STANDARD_ALGORITHMS
from metarobot.cli.compare import parse_compare
from metarobot.cli.evaluate import Options as EvaluateOptions
from metarobot.cli.main import COMMANDS, main
from metarobot.cli.parsing import parse, parse_task
from metarobot.envs import FAMILIES, file_name, find_variant, make_env, shipped_variants
from metarobot.machine import working_gl_backend

FILM = "metarobot.reporting.films."

SIZES = ["--num-tasks", "2", "--episodes-per-task", "4", "--hidden-sizes", "4"]
TRAIN = ["train", "grip", "--total-steps", "64", *SIZES]
FEW_TASKS = ["--num-tasks", "2", "--grid-size", "2", "--test-episodes", "1"]
EVALUATION_SIZES = [*FEW_TASKS, "--episodes-per-block", "3", "--num-blocks", "1"]
EVALUATION_SIZES += ["--adaptation-episodes", "1", "3", "--heat-map-episodes", "1"]
EVALUATION_SIZES += ["--films", "0"]
SHORT_EVALUATION = [*EVALUATION_SIZES, "--splits", "train", "--no-heat-map", "--no-robustness"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "run"
    assert main([*TRAIN, "--algorithms", *TRAINED, "--out", str(path)]) == 0
    return path


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_error_line(capfd) -> str:
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("metarobot: error: ")
    return lines[0]


def test_a_preset_has_every_option_but_what_the_command_decides(capsys):
    assert main(["train", "grip", "--help"]) == 0
    out = capsys.readouterr().out
    for option in ("--seed", "--total-steps", "--inner-lr", "--algorithms", "--out", "--overwrite"):
        assert option in out
    assert "--env-id" not in out
    assert "--algorithm " not in out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("metarobot 0")


def test_train_writes_plain_lines_in_a_pipe(tmp_path, capfd):
    arguments = ["--algorithms", "maml", "oracle", "--seed", "3", "--out", "a/run"]
    assert main([*TRAIN, *arguments]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "maml: iteration 1," in out
    assert "oracle: iteration 1," in out
    assert out.splitlines()[-1] == "trained maml, oracle: a/run"
    config = json.loads((tmp_path / "a/run/oracle/config.json").read_text())["train"]
    assert (config["algorithm"], config["seed"], config["hidden_sizes"]) == ("oracle", 3, [4])
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]  # and no MUJOCO_LOG.TXT


@pytest.mark.parametrize("command", ["train", "compare"])
def test_an_algorithm_named_twice_is_refused(tmp_path, capfd, command):
    arguments = [command, "grip", "--algorithms", "maml", "oracle", "maml", "--out", "run"]
    assert main(arguments) == 2
    assert "--algorithms names maml twice: name it once" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_where_nobody_is_named_the_standard_algorithms_are_trained(tmp_path, capfd):
    sizes = ["--num-tasks", "2", "--episodes-per-task", "2", "--hidden-sizes", "4"]
    assert main(["train", "grip", "--total-steps", "1", *sizes]) == 0
    assert f"trained {', '.join(STANDARD_ALGORITHMS)}: runs/grip-seed0" in capfd.readouterr().out
    names = {folder.name for folder in (tmp_path / "runs/grip-seed0").iterdir() if folder.is_dir()}
    assert names == {*STANDARD_ALGORITHMS}
    assert main(["train", "grip", "--help"]) == 0
    *others, last = STANDARD_ALGORITHMS
    described = " ".join(capfd.readouterr().out.replace("│", " ").split())
    assert f"{', '.join(others)} and {last} if not given" in described


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_real_process_which_can_be_resumed(number, tmp_path, capfd):
    long = ["train", "grip", "--algorithms", *TRAINED, "--total-steps", "100000000", *SIZES]
    command = [sys.executable, "-m", "metarobot", *long]
    process = subprocess.Popen(
        [*command, "--out", "run"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    curve = tmp_path / "run/maml/curve.csv"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (
        curve.exists() and curve.read_text().count("\n") > 1
    ):
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err.splitlines() == [
        f"metarobot: interrupted by {number.name}: `metarobot train --resume run` goes on with it"
    ]
    assert (tmp_path / "run/maml/policy.safetensors").is_file()
    assert main(["train", "grip", "--inner-lr", "0.5", "--resume", "run"]) == 2
    assert "inner_lr was 0.3, is 0.5" in one_error_line(capfd)


def test_a_finished_run_has_nothing_left_to_resume(trained, tmp_path, capfd):
    assert main(["train", "--resume", str(trained)]) == 0
    assert capfd.readouterr().out.startswith("nothing to do, all algorithms are trained")


def test_evaluate_takes_any_numbers_of_adaptation_episodes():
    words = ["run", "--out", "x", "--adaptation-episodes", "0", "1", "2", "5"]
    assert parse(EvaluateOptions, words, "evaluate").config.adaptation_episodes == (0, 1, 2, 5)
    compare = parse_compare(["grip", *words[3:], "--heat-map-episodes", "3"], "compare")
    measured = compare.evaluation
    assert measured.adaptation_episodes == (0, 1, 2, 5)
    assert measured.heat_map_episodes == (3,)


def test_numbers_of_adaptation_episodes_that_do_not_increase_are_refused(trained, capfd):
    words = ["evaluate", str(trained), "--out", "x", "--adaptation-episodes", "5", "1"]
    assert main(words) == 2
    assert "adaptation_episodes must be increasing integers" in one_error_line(capfd)


def test_evaluate_writes_everything(trained, tmp_path, capfd):
    assert main(["evaluate", str(trained), "--out", "result", *EVALUATION_SIZES]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert out.splitlines()[-1] == f"report: {Path('result/report.html')}"
    names = "evaluation.json evaluation.csv adaptation_curve.png heat_map.png training_curve.png"
    folder = tmp_path / "result"
    assert {path.name for path in folder.iterdir()} == {*names.split(), "report.html"}
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert evaluation["family"] == "metarobot/Grip-v0"
    with (folder / "evaluation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    stages = {(row["algorithm"], row["split"], row["episodes"]) for row in evaluation["rows"]}
    found = {(row["algorithm"], row["split"], int(row["episodes"])) for row in rows}
    assert {each for each in found if each[1] != "grid"} == stages
    assert {"return", "success", "captured", "worse", "block_mass_kg"} <= set(rows[0])
    report = (folder / "report.html").read_text()
    assert "metarobot evaluate" in report
    assert "MUJOCO_LOG.TXT" not in {path.name for path in tmp_path.iterdir()}


@pytest.mark.usefixtures("few_frames")
def test_evaluate_films_the_worst_tasks_and_measures_variants(trained):
    sizes = [*EVALUATION_SIZES[:-2], "--no-heat-map", "--splits", "train"]
    assert main(["evaluate", str(trained), "--out", "x", *sizes, "--films", "1"]) == 0
    report = Path("x/report.html").read_text()
    assert report.count("<video") == 1
    assert "greasy pads<span>" in report
    assert "policies (SHA-256).maml" in report


@pytest.mark.parametrize("films", ["-1", "11"])
def test_a_report_has_room_for_so_many_films(films, capfd):
    assert main(["evaluate", "run", "--out", "x", "--films", films]) == 2
    assert f"films must be an integer in [0, 10], got {films}" in one_error_line(capfd)


@pytest.mark.parametrize("name", ["maml", "oracle"])
def test_evaluate_measures_a_run_without_references(trained, tmp_path, capfd, name):
    shutil.copytree(trained / name, tmp_path / "alone" / name)
    assert main(["evaluate", "alone", "--out", "result", *SHORT_EVALUATION]) == 0
    evaluation = json.loads((tmp_path / "result/evaluation.json").read_text())
    assert {row["algorithm"] for row in evaluation["rows"]} == {"random", name}
    assert evaluation["headroom"] == []
    said = capfd.readouterr().out
    assert ("cannot be told" if name == "maml" else "No policy in these runs adapts") in said


def test_a_family_of_one_task_parameter_is_evaluated_without_a_heat_map(tmp_path, capfd):
    sizes = ["--num-tasks", "2", "--episodes-per-task", "2", "--hidden-sizes", "4"]
    train = ["train", "half-cheetah-direction", "--total-steps", "1", *sizes]
    assert main([*train, "--algorithms", *TRAINED]) == 0
    run = "runs/half-cheetah-direction-seed0"
    assert main(["evaluate", run, "--out", "result", *EVALUATION_SIZES]) == 0
    names = "evaluation.json evaluation.csv adaptation_curve.png training_curve.png report.html"
    assert {path.name for path in (tmp_path / "result").iterdir()} == set(names.split())
    report = (tmp_path / "result" / "report.html").read_text()
    assert "Colour maps" not in report
    assert "<td>-1 or 1</td>" in report
    capfd.readouterr()
    if working_gl_backend():
        assert main(["render", run, "--split", "interpolation"]) == 2
        assert "direction has no interpolation split, allowed: train" in one_error_line(capfd)


def test_evaluate_says_so_when_training_was_interrupted(trained, tmp_path, capfd):
    shutil.copytree(trained, "run")
    Path("run/maml/done.json").unlink()
    assert main(["evaluate", "run", "--out", "result", *SHORT_EVALUATION]) == 0
    assert capfd.readouterr().err == "metarobot: note: run was interrupted: maml\n"


@pytest.mark.usefixtures("few_frames")
def test_render_writes_a_video(trained, tmp_path, capfd):
    task = ["--task", "block_mass_kg=1.5", "pad_friction=0.3"]
    arguments = ["render", str(trained), "--out", "sub/film.mp4", "--adaptation-episodes", "1", "3"]
    assert main([*arguments, *task]) == 0
    assert (tmp_path / "sub/film.mp4").read_bytes()[4:8] == b"ftyp"
    assert "block_mass_kg 1.5, pad_friction 0.3: return" in capfd.readouterr().out


def test_without_opengl_render_names_the_packages(trained, capfd, monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr("metarobot.machine._probe", lambda backend: "no such library")
    assert main(["render", str(trained)]) == 2
    assert "libosmesa6" in one_error_line(capfd)


def test_list_is_plain_in_a_pipe(capfd):
    assert main(["list"]) == 0
    out = capfd.readouterr().out
    assert "metarobot/Grip-v0" in out
    assert "block_mass_kg   kg    0.3" in out
    assert not set(out) & set("│┃━\x1b")


@pytest.mark.parametrize("script", ["train", "evaluate", "render"])
def test_scripts_are_their_commands(script, capfd, monkeypatch):
    path = Path(__file__).parents[3] / "scripts" / f"{script}.py"
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(path), run_name="__main__")
    assert exit_.value.code == 0
    assert f"usage: metarobot {script}" in capfd.readouterr().out


BAD_INPUT = {
    "": "name a command, one of demo, train, ",
    "--bogus": "no command '--bogus'",
    "--version now": "no command '--version'",
    "help trian": "did you mean 'train'",
    "trian": "did you mean 'train'",
    "train": "name a preset first, one of reach, grip, ",
    "train --seed 3": "name a preset first",
    "train grop": "did you mean 'grip'",
    "train grip extra": "extra",
    "train grip --sead 3": "did you mean --seed",
    "train grip --seed x": "--seed",
    "train grip --seed -1": "seed must be an integer in [0, ",
    "train grip --total-steps 1e6": "--total-steps",
    "train grip --inner-lr nan": "inner_lr",
    "train grip --max-kl -1": "max_kl",
    "train grip --discount inf": "discount",
    "train grip --algorithms mamel": "did you mean 'maml'",
    "train grip --algorithms": "algorithms",
    "train grip --inner-objective lvg": "did you mean 'lvc'",
    "train grip --hidden-sizes 4 0": "hidden_sizes",
    "train grip --out": "--out",
    "train grip --out file": "is a file",
    "train grip --out file/run": "file",
    "train grip --out used": "not empty",
    "evaluate": "--out",
    "evaluate --out result": "at least one run folder",
    "evaluate RUN": "--out",
    "evaluate missing --out result": "no run folder at missing",
    "evaluate used --out result": "is not a run folder",
    "evaluate RUN RUN --out result": "same seed",
    "evaluate RUN REACH --out result": "one task family",
    "evaluate RUN --out file": "file",
    "evaluate RUN --out result --num-tasks 0": "num_tasks",
    "evaluate RUN --out result --video missing.mp4": "missing.mp4",
    "evaluate CORRUPT --out result": "policy.safetensors",
    "render": "RUN",
    "render missing": "no run folder",
    "render RUN --out film.avi": "a film must end in .mp4, .webp or .gif, got film.avi",
    "render RUN --grid 3": "--grid takes COLUMNSxROWS such as 3x3, got '3'",
    "render RUN --grid 9x9": "a grid has 1x1 to 5x5 tasks, got 9x9",
    "render RUN --grid-parameters pad_friction": "--grid-parameters goes with --grid",
    "render RUN --split tests": "--split",
    "render RUN --seed -1": "seed",
    "render RUN --slow-motion nan": "slow_motion",
    "render RUN --task mass": "NAME=VALUE",
    "render RUN --task block_mass=1": "did you mean 'block_mass_kg'",
    "render RUN --task block_mass_kg=nan": "not allowed",
    "render RUN --task block_mass_kg=-1": "not allowed",
    "render RUN --task block_mass_kg=1 block_mass_kg=2": "twice",
    "list --famly": "--famly",
    "list gripp": "did you mean 'grip'",
    "list metarobot/Grip-v1": "did you mean 'metarobot/Grip-v0'",
    "list grip slide": "slide",
    "doctor now": "now",
    "demo --quik": "did you mean --quick",
}


@pytest.fixture(scope="module")
def bad_runs(trained, tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("bad")
    corrupt, reach = folder / "corrupt", folder / "reach"
    shutil.copytree(trained, corrupt)
    (corrupt / "maml" / "policy.safetensors").write_bytes(b"\x80\x04K\x01.")
    train = ["train", "reach", "--algorithms", "maml", "--total-steps", "64", *SIZES]
    assert main([*train, "--out", str(reach)]) == 0
    return {"RUN": str(trained), "CORRUPT": str(corrupt), "REACH": str(reach)}


@pytest.mark.parametrize(("line", "message"), BAD_INPUT.items())
def test_bad_input_is_one_line_and_exit_code_2(line, message, bad_runs, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("")
    assert main([bad_runs.get(word, word) for word in line.split()]) == 2
    assert message in one_error_line(capfd)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "used"}


PATHS = {
    "train grip --out PATH": "--out",
    "train --resume PATH": "--resume",
    "train grip --initial-policy PATH": "--initial-policy",
    "train grip --variant PATH": "--variant",
    "evaluate PATH --out result": "",
    "evaluate RUN --out PATH": "--out",
    "evaluate RUN --out result --video PATH": "--video",
    "compare grip --out PATH": "--out",
    "render PATH": "",
    "render RUN --out PATH": "--out",
    "export PATH --out x.zip": "",
    "export RUN --out PATH": "--out",
    "import PATH --env-id metarobot/Grip-v0 --out x.safetensors": "",
    "import file --env-id metarobot/Grip-v0 --out PATH": "--out",
    "demo --out PATH": "--out",
    "doctor --runs-folder PATH": "--runs-folder",
    "runs PATH": "",
    "diagnose check PATH": "",
    "diagnose record --out PATH": "--out",
}
"""Every argument that is a path, and the option that it is given by."""
STRANGE = {"": "empty", "a" * 5000: "", "/".join(["a"] * 5000): ""}


@pytest.mark.parametrize("path", STRANGE, ids=["empty", "long name", "deep"])
@pytest.mark.parametrize("line", PATHS)
def test_no_strange_path_does_more_than_end_the_command(line, path, bad_runs, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    words = {**bad_runs, "PATH": path}
    assert main([words.get(word, word) for word in line.split()]) == 2
    error = one_error_line(capfd)
    assert STRANGE[path] in error
    assert path or PATHS[line] in error
    assert {entry.name for entry in tmp_path.iterdir()} == {"file"}


@pytest.mark.parametrize(
    "line", ["train grip", "evaluate a", "render a", "demo", "diagnose record"]
)
@pytest.mark.parametrize("words", ["--seed 1 --seed 1", "--seed 1 --seed=2", "--out_a 1 --out-a 1"])
def test_an_option_is_given_once(line, words, capfd):
    assert main([*line.split(), *words.split()]) == 2
    option = words.split()[2].partition("=")[0]
    assert one_error_line(capfd) == f"metarobot: error: {option} is given twice"


@pytest.mark.parametrize("option", ["--hidden-sizes", "--hidden_sizes"])
@pytest.mark.parametrize("command", ["train", "compare"])
def test_widths_that_are_named_need_values(command, option, capfd):
    assert main([command, "grip", option, "--num-tasks", "2", "--total-steps", "1"]) == 2
    assert "--hidden-sizes must name the width of every layer: 1 to 16" in one_error_line(capfd)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_may_come_before_it(command, capsys):
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"usage: metarobot {command}" in out
    assert main(["help", command]) == 0
    assert out == capsys.readouterr().out


def test_help_on_help_names_every_command(capsys):
    for line in (["help"], ["--help"], ["help", "help"], ["--help", "-h"]):
        assert main(line) == 0
        out = capsys.readouterr().out
        assert out.startswith("usage: metarobot COMMAND")
        assert all(name in out for name in COMMANDS)


ASK = """
source {script}
COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
COMP_LINE="{words}"; COMP_POINT=${{#COMP_LINE}}
completer=$(complete -p metarobot | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$completer metarobot
echo "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_commands_and_options(tmp_path, capfd):
    assert main(["--tyro-print-completion", "fush"]) == 2
    assert "takes bash, zsh or fish, got 'fush'" in one_error_line(capfd)
    assert main(["--tyro-print-completion", "bash"]) == 0
    script = tmp_path / "completion.bash"
    script.write_text(capfd.readouterr().out)

    def completions(words: str) -> list[str]:
        ask = ["bash", "-c", ASK.format(script=script, words=words)]
        done = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout.split()

    assert {*completions("metarobot ''")} >= {*COMMANDS}
    assert completions("metarobot ren") == ["render"]
    assert completions("metarobot diagnose rec") == ["record"]
    assert "--adaptation-episodes" in completions("metarobot evaluate --a")


@pytest.mark.parametrize("env_id", [*FAMILIES][::3])
def test_list_shows_one_family_by_its_id_or_preset(env_id, capfd):
    assert main(["list", env_id]) == 0
    out = capfd.readouterr().out
    assert main(["list", file_name(env_id)]) == 0
    assert capfd.readouterr().out == out
    assert re.findall(r"^metarobot/\S+", out, re.M) == [env_id]
    for variant in map(find_variant, shipped_variants()):
        assert (variant.description in out) == (variant.env_id == env_id)
    found = re.search(r"^(\d+) control steps of ([\d.]+) s, ([\d.]+) s an episode", out, re.M)
    assert found is not None
    env = make_env(env_id, 1)
    assert int(found[1]) == env.horizon
    assert float(found[2]) == pytest.approx(env.control_dt_s, abs=1e-9)
    assert float(found[3]) == pytest.approx(env.horizon * env.control_dt_s, rel=1e-3)
    env.close()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_line(tmp_path, capfd):
    tmp_path.chmod(0o500)
    assert main([*TRAIN, "--out", "run"]) == 2
    assert "run: Permission denied" in one_error_line(capfd)


def test_parse_task():
    assert parse_task(()) is None
    assert parse_task(("a=1", "b=-2e3")) == {"a": 1.0, "b": -2000.0}


@pytest.mark.stress
def test_quick_demo(tmp_path, capfd):
    assert main(["demo", "--quick", "--out", "demo"]) == 0
    assert (tmp_path / "demo/report.html").is_file()
    assert capfd.readouterr().out.splitlines()[-1] == f"report: {Path('demo/report.html')}"
    assert main(["demo", "--quick", "--out", "demo"]) == 2
