import csv
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from metarobot.algorithms import STANDARD_ALGORITHMS
from metarobot.cli.main import COMMANDS, main
from metarobot.envs import FAMILIES, file_name, find_variant, make_env, shipped_variants

SIZES = ["--num-tasks", "2", "--episodes-per-task", "4", "--hidden-sizes", "4"]
TRAIN = ["train", "grip", "--total-steps", "64", *SIZES]
FEW_TASKS = ["--num-tasks", "2", "--grid-size", "2", "--test-episodes", "1"]
EVALUATION_SIZES = [*FEW_TASKS, "--episodes-per-block", "2", "--num-blocks", "1"]
EVALUATION_SIZES += ["--adaptation-episodes", "1", "2", "--heat-map-episodes", "1"]
EVALUATION_SIZES += ["--films", "1"]


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_error_line(capfd) -> str:
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("metarobot: error: ")
    return lines[0]


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


def help_of(line, capsys):
    assert main(line.split()) == 0
    return capsys.readouterr().out


def options_in(text):
    return re.findall(r"^  (?:-h, )?(--[\w-]+)", text, re.M)


def test_help_on_training_shows_what_people_change_and_elsewhere_the_rest(capsys):
    shown = help_of("train grip --help", capsys)
    first = ["--help", "--help-all", "--algorithms"]
    assert options_in(shown)[:3] == first
    assert 12 <= len(options_in(shown)) <= 14
    *others, last = STANDARD_ALGORITHMS
    assert f"{', '.join(others)} and {last} if not given" in " ".join(shown.split())
    every = options_in(help_of("train grip --help-all", capsys))
    assert {"--inner-lr", "--no-shrink-steps", "--wandb", *options_in(shown)} <= {*every}
    assert "--env-id" not in every
    of_latent = help_of("train grip --help latent", capsys)
    assert {"--model-lr", "--max-kl"} < {*options_in(of_latent)} < {"--help", *every}
    assert "--inner-lr" not in of_latent
    assert "(default: 0.02)" in of_latent  # of the preset


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_no_types(command, capsys):
    text = help_of(f"{command} --help", capsys)
    assert not re.search(r"None|\bSTR\b|\bINT\b|\bFLOAT\b|default: \)", text)


def test_a_finished_run_has_nothing_left_to_resume(grip_run, tmp_path, capfd):
    assert main(["train", "--resume", str(grip_run)]) == 0
    assert capfd.readouterr().out.startswith("nothing to do, all algorithms are trained")


@pytest.mark.usefixtures("quick_pages")
def test_evaluate_writes_everything(grip_run, tmp_path, capfd):
    assert main(["evaluate", str(grip_run), "--out", "result", *EVALUATION_SIZES]) == 0
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
    stages = {
        (row["algorithm"], row["split"], row["episodes"])
        for row in evaluation["rows"]
        if not row.get("variant")
    }
    found = {
        (row["algorithm"], row["split"], int(row["episodes"])) for row in rows if not row["variant"]
    }
    assert {each for each in found if each[1] != "grid"} == stages
    assert {"return", "success", "captured", "worse", "block_mass_kg"} <= set(rows[0])
    report = (folder / "report.html").read_text()
    for words in ("metarobot evaluate", "greasy pads<span>", "policies (SHA-256).maml"):
        assert words in report
    assert report.count("<video") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["result"]  # and no MUJOCO_LOG.TXT


@pytest.mark.usefixtures("quick_pages")
def test_evaluate_measures_a_run_without_references_that_was_interrupted(grip_run, tmp_path, capfd):
    shutil.copytree(grip_run / "maml", tmp_path / "alone" / "maml")
    Path("alone/maml/done.json").unlink()
    sizes = [*FEW_TASKS, "--num-blocks", "0", "--adaptation-episodes", "1", "--splits", "train"]
    sizes += ["--no-heat-map", "--no-robustness", "--films", "0"]
    assert main(["evaluate", "alone", "--out", "result", *sizes]) == 0
    evaluation = json.loads((tmp_path / "result/evaluation.json").read_text())
    assert {row["algorithm"] for row in evaluation["rows"]} == {"random", "maml"}
    assert evaluation["headroom"] == []
    out, err = capfd.readouterr()
    assert "the captured part of the headroom is unknown" in out
    assert err == "metarobot: note: alone was interrupted: maml\n"


@pytest.mark.usefixtures("opengl")
def test_render_writes_a_video(grip_run, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("metarobot.reporting.camera.FRAMES_PER_STEP", 1)
    task = ["--task", "block_mass_kg=1.5", "pad_friction=0.3"]
    arguments = ["render", str(grip_run), "--out", "sub/film.mp4", "--adaptation-episodes", "1"]
    assert main([*arguments, *task]) == 0
    assert (tmp_path / "sub/film.mp4").read_bytes()[4:8] == b"ftyp"
    assert "block_mass_kg 1.5, pad_friction 0.3: return" in capfd.readouterr().out


def test_list_has_a_line_for_each_family(capfd):
    assert main(["list"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*map(file_name, FAMILIES)]
    grip = next(line for line in lines if line.startswith("grip "))
    assert "block mass, pad friction" in grip
    assert "policies: latent, maml" in grip
    assert not set("".join(lines)) & set("│┃━\x1b")
    assert main(["list", "grip"]) == 0
    out = capfd.readouterr().out
    for words in ("block_mass_kg   kg    0.3", "inner_lr 0.3", "greasy_pads", "extrapolation"):
        assert words in out
    assert main(["list", "arm"]) == 0
    assert "nearest_mean" in capfd.readouterr().out


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
    "train grip --algorithms maml oracle maml": "--algorithms names maml twice: name it once",
    "compare grip --algorithms maml maml": "--algorithms names maml twice: name it once",
    "train grip --hidden-sizes --seed 1": "must name the width of every layer: 1 to 16",
    "compare grip --hidden_sizes --jobs 1": "must name the width of every layer: 1 to 16",
    "train grip --seed 1 --seed 1": "--seed is given twice",
    "evaluate a --seed 1 --seed=2": "--seed is given twice",
    "compare grip --test_tasks 1 --test-tasks 1": "--test-tasks is given twice",
    "train grip --inner-objective lvg": "did you mean 'lvc'",
    "train grip --hidden-sizes 4 0": "hidden_sizes",
    "train grip --out": "--out",
    "train grip --out file": "is a file",
    "train grip --out file/run": "file",
    "train grip --out used": "not empty",
    "evaluate": "--out",
    "evaluate --out result": "required: RUN",
    "evaluate RUN": "--out",
    "evaluate missing --out result": "no run folder at missing",
    "evaluate used --out result": "is not a run folder",
    "evaluate RUN RUN --out result": "same seed",
    "evaluate RUN REACH --out result": "one task family",
    "evaluate RUN --out file": "file",
    "evaluate RUN --out result --num-tasks 0": "num_tasks",
    "evaluate RUN --out x --adaptation-episodes 5 1": "must be increasing integers",
    "evaluate RUN --out x --films 11": "films must be an integer in [0, 10], got 11",
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
def bad_runs(grip_run, tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("bad")
    corrupt, reach = folder / "corrupt", folder / "reach"
    shutil.copytree(grip_run, corrupt)
    (corrupt / "maml" / "policy.safetensors").write_bytes(b"\x80\x04K\x01.")
    train = ["train", "reach", "--algorithms", "maml", "--total-steps", "1", *SIZES]
    assert main([*train, "--out", str(reach)]) == 0
    return {"RUN": str(grip_run), "CORRUPT": str(corrupt), "REACH": str(reach)}


@pytest.mark.parametrize(("line", "message"), BAD_INPUT.items())
def test_bad_input_is_one_line_and_exit_code_2(line, message, bad_runs, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("")
    assert main([bad_runs.get(word, word) for word in line.split()]) == 2
    assert message in one_error_line(capfd)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "used"}


def test_a_demo_replaces_no_run(tmp_path, capfd):
    run = tmp_path / "demo" / "run"
    run.mkdir(parents=True)
    (run / "notes.txt").write_text("")
    assert main(["demo", "--out", "demo"]) == 2
    assert "not empty" in one_error_line(capfd)
    assert [path.name for path in run.iterdir()] == ["notes.txt"]


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
STRANGE = {"": "empty", "/".join(["a" * 5000] * 2): ""}


@pytest.mark.parametrize("path", STRANGE, ids=["empty", "long"])
@pytest.mark.parametrize("line", PATHS)
def test_no_strange_path_does_more_than_end_the_command(line, path, bad_runs, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    words = {**bad_runs, "PATH": path}
    assert main([words.get(word, word) for word in line.split()]) == 2
    error = one_error_line(capfd)
    assert STRANGE[path] in error
    assert path or PATHS[line] in error
    assert {entry.name for entry in tmp_path.iterdir()} == {"file"}


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
    assert main(["--print-completion", "fush"]) == 2
    assert "takes one of bash, zsh" in one_error_line(capfd)
    assert main(["--print-completion", "bash"]) == 0
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
