"""The documentation against the code: tables, commands, the example, links, the list of files."""

import inspect
import json
import re
import shlex
import shutil
import subprocess
import textwrap
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from loading import ROOT, load_script
from pages import PAGES, PYTHON_BLOCK, README, TUTORIALS, commands, parse_shell_command
from PIL import Image

import metarobot
from metarobot.algorithms import ALGORITHMS, option_readers
from metarobot.cli.main import COMMANDS, main
from metarobot.config import COMMON_NAMES, INNER_OBJECTIVES, PRESETS
from metarobot.envs import FAMILIES, find_family
from metarobot.envs.variants import parse_variant
from metarobot.evaluation.protocol import UNTRAINED, EvaluationConfig
from metarobot.io import read_json
from metarobot.training.load import load_run
from metarobot.training.run import train_run

(API_EXAMPLE,) = PYTHON_BLOCK.findall(PAGES["README.md"])
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
RUN_HERE = {
    "README.md",
    "README.zh-CN.md",
    "docs/algorithms.md",
    "docs/all-results.md",
    "docs/api/metarobot.md",
    "docs/diagnose.md",
    "docs/environments.md",
    "docs/few-shot.md",
    "docs/index.md",
    "docs/logs.md",
    "docs/own-recordings.md",
    "docs/remaining-life.md",
    "docs/scenes.md",
    "docs/stable-baselines3.md",
    "docs/variants.md",
}
"""Pages whose Python these tests run, or compare with what runs; tests of tutorials and examples
run that of others."""


@pytest.mark.parametrize("page", load_script("update_docs").PAGES)
def test_tables_are_what_the_code_and_the_results_say(page):
    old = PAGES[page].splitlines()
    text, files = load_script("update_docs").update(PAGES[page], page)
    new = text.splitlines()
    stale = [line for line in new if line not in old]
    assert old == new, f"run `python scripts/update_docs.py`; {page} lacks: {stale}"
    for name, content in files.items():
        assert (ROOT / "docs/results/tables" / name).read_text(encoding="utf-8") == content


@pytest.mark.usefixtures("quick_pages")
def test_the_python_api_of_the_readme_runs(tmp_path, monkeypatch):
    """As it is pasted, but for the size of the evaluation."""
    small = EvaluationConfig(
        num_tasks=2,
        adaptation_episodes=(1,),
        num_blocks=0,
        heat_map=False,
        robustness=False,
        splits=("train",),
        untrained=(),
        test_episodes=1,
    )
    monkeypatch.setattr("metarobot.api.EvaluationConfig", lambda **_: small)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(API_EXAMPLE, "README.md", "exec"), names)
    assert names["robot"].action_space.contains(names["action"])
    assert names["adapted"].num_episodes == 5
    assert (tmp_path / "results/grip/report.html").exists()
    assert (tmp_path / "after.mp4").exists()


def test_the_example_of_the_package_is_the_readmes():
    shown = (
        inspect.cleandoc(metarobot.__doc__).partition("Example::\n\n")[2].partition("\n\nImp")[0]
    )
    assert textwrap.dedent(shown) == re.sub("  #.*", "", API_EXAMPLE).strip()


def test_the_readme_says_how_many_episodes_the_results_need():
    """So many that three quarters of what there is to win are captured, in every split."""
    least = {}
    for path in (ROOT / "docs/results").glob("*/evaluation.json"):
        evaluation = metarobot.Evaluation.from_dict(json.loads(path.read_text(encoding="utf-8")))
        for (algorithm, _), rows in evaluation.curves.items():
            for row in rows:
                if algorithm == "latent" and row.captured:
                    key = row.episodes, evaluation.family
                    least[key] = min(least.get(key, 1.0), row.captured.value)
    enough = {n: sum(least[m, f] > 0.75 for m, f in least if m == n) for n in (1, 5)}
    assert enough == {1: 5, 5: 11}
    for page in (README, PAGES["docs/index.md"]):
        words = " ".join(page.split())
        assert "one is enough on five of [twelve task families]" in words
        assert "five on eleven." in words


def test_example_runs(capsys):
    (example,) = PYTHON_BLOCK.findall(PAGES["docs/environments.md"])
    exec(compile(example, "docs/environments.md", "exec"), {})
    assert capsys.readouterr().out


def test_the_page_to_begin_with_shows_the_readmes_example():
    (example,) = PYTHON_BLOCK.findall(PAGES["docs/index.md"])
    shown, readmes = (re.sub("  #.*", "", code) for code in (example, API_EXAMPLE))
    assert shown == readmes


def test_the_chinese_readme_says_the_same():
    """Its commands, code, pictures, links and numbers; the words are another language's."""
    both = [README, PAGES["README.zh-CN.md"]]
    assert re.findall(r"[\u4e00-\u9fff]", both[1])
    for pattern in (r"```sh\n(.*?)```", r"!\[.*?\]\((.*?)\)", r"\]\((docs/.*?)\)", r"`([^`\n]+)`"):
        ours, theirs = (re.findall(pattern, page, re.DOTALL) for page in both)
        assert ours == theirs, pattern
        assert ours
    ours, theirs = (re.sub("  #.*", "", "".join(PYTHON_BLOCK.findall(page))) for page in both)
    assert ours == theirs
    assert [page.count("\n") for page in both] == [both[0].count("\n")] * 2


def test_every_block_of_python_runs_somewhere():
    pages = {page for page, text in PAGES.items() if re.search(r"^ *```py", text, re.MULTILINE)}
    assert pages == {*RUN_HERE, *TUTORIALS}


def test_the_variants_of_the_documentation_are_read():
    examples = re.findall(r"```toml\n(.*?)```", PAGES["docs/variants.md"], re.DOTALL)
    assert examples
    for example in examples:
        parse_variant(example.encode(), "example.toml", "example")
    (use,) = re.findall(r"```py\n(.*?)```", PAGES["docs/variants.md"], re.DOTALL)
    exec(compile(use, "docs/variants.md", "exec"), {})


def test_examples_of_scenes_run(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    for block in re.findall(r"```python\n(.*?)```", PAGES["docs/scenes.md"], re.DOTALL):
        exec(compile(textwrap.dedent(block), "docs/scenes.md", "exec"), {})
    assert capsys.readouterr().out == "[0.52 0.   0.26]\n"


def test_the_example_of_reading_an_evaluation_runs(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    (example,) = re.findall(r"```python\n(.*?)```", PAGES["docs/all-results.md"], re.DOTALL)
    exec(compile(example, "docs/all-results.md", "exec"), {})
    printed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert printed == ["0", "1", "2", "5", "10", "20"]


def test_the_page_on_own_recordings_runs(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for command in commands("docs/own-recordings.md"):
        assert main(shlex.split(command)[1:]) == 0
    page = PAGES["docs/own-recordings.md"]
    shown = [
        line.split()
        for line in re.findall(r"```text\n(label.*?)\n31", page, re.DOTALL)[0].splitlines()
    ]
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in shown if line not in printed] == []
    example, *_ = PYTHON_BLOCK.findall(page)  # tests of recordings run the others
    exec(compile(example, "docs/own-recordings.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[-1] == "(31, 200)"


@pytest.mark.usefixtures("quick_pages")
def test_the_page_on_diagnosing_runs(capsys, monkeypatch, tmp_path):
    """Trainings and measurements are shorter; all else is as it stands there."""
    monkeypatch.chdir(tmp_path)
    shorter = {"train": ["--learner", "nearest_mean"], "evaluate": ["--tasks", "4"]}
    demo, record, *others = [shlex.split(line)[1:] for line in commands("docs/diagnose.md")]
    assert demo == ["diagnose", "demo"]  # which tests of the command run
    assert main(record) == 0
    own_machine(Path("example"), "arm 1000002", Path("known"), Path("new"))
    others.remove(["diagnose", "evaluate", "arm", "--out", "results/arm"])  # so does this
    for words in others:
        assert main([*words, *shorter.get(words[1], [])]) == 0
    shown = re.findall(r"```text\n(recording .*)", PAGES["docs/diagnose.md"])[0].split()
    assert shown[:4] == ["recording", "shows", "probability", "looks"]
    assert "recording  " in capsys.readouterr().out
    assert Path("results/mine/report.html").exists()
    assert len(Path("found.csv").read_text().splitlines()) == 13
    capsys.readouterr()
    (example,) = PYTHON_BLOCK.findall(PAGES["docs/diagnose.md"])
    exec(compile(example, "docs/diagnose.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 12


def test_the_page_on_remaining_life_runs(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("metarobot.diagnosis.life_learners.Network.num_updates", 20)
    rng = np.random.default_rng(0)
    ends = np.repeat(rng.integers(20, 40, 12), 40)
    frame = pd.DataFrame({"machine": np.repeat(np.arange(12), 40), "hours": np.tile(range(40), 12)})
    frame["friction"] = np.exp((frame["hours"] - ends) / 8) + 0.05 * rng.normal(size=len(frame))
    frame, running = frame[frame["hours"] <= ends], frame[frame["hours"] <= 15]
    (example,) = PYTHON_BLOCK.findall(PAGES["docs/remaining-life.md"])
    exec(compile(example, "docs/remaining-life.md", "exec"), {"frame": frame, "running": running})
    assert "median" in capsys.readouterr().out
    assert Path("runs/life/config.json").exists()


def own_machine(folder, machine, known, new):
    """Sort the recordings of a machine into three examples of each label, and others."""
    header, *lines = (folder / "labels.csv").read_text().splitlines()
    own = [line for line in lines if line.endswith(f",{machine}")]
    examples = [line for place, line in enumerate(own) if place % 6 < 3]
    for place, chosen in ((known, examples), (new, [line for line in own if line not in examples])):
        place.mkdir()
        for line in chosen:
            shutil.copy(folder / line.partition(",")[0], place)
    (known / "labels.csv").write_text("\n".join([header, *examples]) + "\n")


def test_examples_of_stable_baselines3_run(capsys, monkeypatch, tmp_path):
    examples = re.findall(r"```python\n(.*?)```", PAGES["docs/stable-baselines3.md"], re.DOTALL)
    assert [len(example.splitlines()) < 20 for example in examples] == [True] * 3
    monkeypatch.chdir(tmp_path)
    small = replace(PRESETS["grip"], total_steps=1, num_tasks=2, episodes_per_task=2)
    train_run(small, ["maml"], Path("runs/grip-seed0"))
    for example in examples:
        exec(compile(example, "docs/stable-baselines3.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 3
    run = load_run(Path("runs/grip-from-ppo"))
    assert run.policies["maml"].finished
    assert read_json(run.path / "maml/config.json")["initial_policy"]["file"] == "ppo.safetensors"


def test_adapting_shows_in_the_first_film_of_the_commands(monkeypatch, tmp_path):
    films = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("metarobot.machine.require_opengl", lambda: None)
    black = np.zeros((48, 64, 3), np.uint8)
    monkeypatch.setattr("metarobot.reporting.camera.Camera._draw", lambda camera: black)
    compose = "metarobot.reporting.camera.compose_film"
    monkeypatch.setattr(compose, lambda clips, words, **_: films.append(clips))
    monkeypatch.setattr("metarobot.reporting.films.write_film", lambda *_: None)
    command = next(c for c in commands("docs/commands.md") if c.startswith("metarobot render"))
    assert main(shlex.split(command)[1:]) == 0
    assert [clip.success for clip in films[0]] == [False, True, True]


def test_shell_commands_parse():
    found = [command for page in PAGES if page not in TUTORIALS for command in commands(page)]
    ours = [command for command in dict.fromkeys(found) if parse_shell_command(command)]
    assert len(ours) > 10
    assert not [command for command in ours if "\\" in command]


def test_commands_named_in_the_text_exist():
    for page, text in PAGES.items():
        for name in re.findall(r"`(?:\.venv/bin/)?metarobot (\w+)", text):
            assert name in {*COMMANDS, "help"}, f"{page} names metarobot {name}"
        for script in re.findall(r"scripts/\w+\.py", text) if page != "CHANGELOG.md" else ():
            assert (ROOT / script).is_file(), f"{page} names {script}"


def test_links_lead_somewhere():
    for page, text in PAGES.items():
        for target in LINK.findall(text):
            path = (ROOT / page).parent / target
            results = path.parent  # of a family: made by an evaluation, all files together
            waiting = (
                results.parent.name == "results" and not (results / "evaluation.json").exists()
            )
            assert target.startswith("https://") or path.exists() or waiting, f"{page}: {target}"


def test_anchors_lead_somewhere():
    for page, text in PAGES.items():
        for target, anchor in re.findall(r"\]\(([^)#]*)#([^)]+)\)", text):
            other = (ROOT / page).parent / target if target else ROOT / page
            headings = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_every_table_has_a_heading():
    for page, text in PAGES.items():
        lines = text.splitlines()
        for above, line in pairwise(lines):
            is_separator = re.fullmatch(r"\|( -+ \|)+", line)
            assert not is_separator or above.count(" |") == line.count(" |"), f"{page}: {above}"


def test_the_sidebar_has_at_most_20_entries():
    trees = re.findall(r"```{toctree}\n(.*?)```", PAGES["docs/index.md"], re.DOTALL)
    entries = [e for tree in trees for e in tree.splitlines() if e and not e.startswith(":")]
    assert 10 < len(entries) <= 20


def test_the_faq_quotes_messages_of_the_source():
    source = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("metarobot/**/*.py"))
    source = re.sub(r'"\n *f?"', "", source)
    quoted = re.findall(r"^\*\*`([^`]+)`", PAGES["docs/faq.md"], re.MULTILINE)
    assert len(quoted) > 5
    for message in quoted:
        parts = [part.strip(" ,'") for part in message.replace("runs/", "").split("...")]
        missing = [part for part in parts if part not in source]
        assert not missing or message.startswith("ensurepip"), message


def test_the_pages_to_begin_with_are_short():
    assert len(README.splitlines()) <= 50
    assert len(PAGES["docs/architecture.md"].splitlines()) <= 250


def test_every_algorithm_and_its_own_options_are_explained():
    page = PAGES["docs/algorithms.md"]
    for algorithm in (*ALGORITHMS, *UNTRAINED):
        assert f"| `{algorithm}` |" in page, algorithm
    fields = {*COMMON_NAMES, *option_readers()}
    rows = "".join(re.findall(r"^\| `.*$", page.partition("## References")[0], re.M))
    assert set(re.findall(r"`(\w+)`", rows)) - fields <= {*ALGORITHMS, *INNER_OBJECTIVES}


def test_ci_runs_the_tests_that_the_readme_names():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"grep -m 1 -E '([^']+)' README.md", script)
    (line,) = [line for line in README.splitlines() if re.search(pattern, line)]
    assert line.endswith("pytest -n 2")
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True, timeout=60)


def test_family_docstrings_are_the_source_of_the_observation_table():
    update_docs = load_script("update_docs")
    for family in update_docs.FAMILIES.values():
        doc = inspect.cleandoc(family.__doc__ or "")
        assert update_docs.observation(family) in doc


def test_the_documentation_is_light():
    files = subprocess.run(
        ["git", "ls-files", "-z", "docs"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    sizes = {name: (ROOT / name).stat().st_size for name in files if (ROOT / name).is_file()}
    assert sum(sizes.values()) <= 5_000_000
    assert len(sizes) <= 220
    for name in (name for name in sizes if name.endswith(".webp")):
        assert sizes[name] <= 400_000
    for name in (name for name in sizes if name.endswith(".png")):
        with Image.open(ROOT / name) as picture:
            assert picture.mode == "P", f"{name} has no palette: with_palette writes one"


def test_the_gallery_shows_every_family():
    films = load_script("gallery").FILMS
    assert {PRESETS[preset].env_id for preset in films} == {*FAMILIES}
    for preset, shown in films.items():
        with Image.open(ROOT / "docs" / "gallery" / f"{preset}.webp") as film:
            assert getattr(film, "n_frames", 1) > 5
        assert f"(gallery/{preset}.webp)" in PAGES["docs/gallery.md"]
        find_family(PRESETS[preset].env_id).distribution.with_values(
            {name: [value] for name, value in shown.task.items()}
        )
