"""Films: which tasks, of which episodes, and what is said of them; frames are black here."""

import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from evaluations import made_up_evaluation, worst_task
from fakes import act_alone, untrained_run
from PIL import Image

from metarobot.algorithms import make_policy, train_config
from metarobot.config import GridSize, RenderConfig
from metarobot.envs import FAMILIES, TaskError, find_family, make_env
from metarobot.envs.grip import DISTRIBUTION
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.evaluation.task_set import TaskSet
from metarobot.policies import repeat_params
from metarobot.reporting import films
from metarobot.reporting.camera import FRAMES_PER_STEP, Camera, MujocoCamera
from metarobot.reporting.films import (
    adapt_to,
    choose_task,
    film_chosen_task,
    film_worst_tasks,
    render_adaptation,
    render_grid,
)
from metarobot.reporting.video import is_playable
from metarobot.training.load import FOLDER, TrainedPolicy, TrainedRun, load_run
from metarobot.training.run_folder import RunError

GRIP, CHEETAH = "metarobot/Grip-v0", "metarobot/HalfCheetahDirection-v0"
BEFORE = RenderConfig(adaptation_episodes=(0,))


@pytest.fixture
def seen(monkeypatch):
    """Configurations where pictures would be taken: no OpenGL is needed."""
    seen = []

    def note(camera):
        seen.append(camera.env.batch.bind("qpos")[0].copy())
        return np.zeros((48, 64, 3), np.uint8)

    monkeypatch.setattr(Camera, "_draw", note)
    return seen


@pytest.fixture
def composed(monkeypatch, seen):
    """Clips, words and columns of all that is composed; nothing is written."""
    composed = []

    def compose(clips, words, **options):
        composed.append(SimpleNamespace(clips=clips, words=words, columns=options["columns"]))
        return iter(())

    monkeypatch.setattr("metarobot.reporting.camera.compose_film", compose)
    monkeypatch.setattr(films, "write_film", lambda frames, path, fps: list(frames))
    return composed


@pytest.fixture(scope="module")
def trained():
    # Untrained, it knows nothing of its noise, of which so few episodes would leave nothing.
    config = train_config(env_id=GRIP, hidden_sizes=(4,), shrink_steps=False)
    policy = make_policy(config)
    return TrainedPolicy(policy, policy.initial_params(torch.Generator().manual_seed(0)), config)


@pytest.fixture
def run(tmp_path):
    return untrained_run(tmp_path, GRIP, shrink_steps=False)


# One task.


def test_a_drawn_task_is_held_out_and_a_given_one_is_completed_with_nominal_values():
    drawn = choose_task(DISTRIBUTION, RenderConfig(seed=3), None)
    for parameter in DISTRIBUTION.parameters:
        value = drawn[parameter.name][0]
        assert any(low <= value <= high for low, high in parameter.extrapolation)
    assert choose_task(DISTRIBUTION, RenderConfig(seed=3), None) == drawn
    given = choose_task(DISTRIBUTION, RenderConfig(), {"block_mass_kg": 1.5})
    assert given.to_dicts() == [{"block_mass_kg": 1.5, "pad_friction": 0.5}]
    with pytest.raises(TaskError, match="block_mass_kg"):
        choose_task(DISTRIBUTION, RenderConfig(), {"block_mas_kg": 1.5})
    cheetah = FAMILIES[CHEETAH].distribution  # which has one split
    assert choose_task(cheetah, RenderConfig(), None).names == ("direction",)
    with pytest.raises(TaskError, match="direction has no extrapolation split, allowed: train"):
        choose_task(cheetah, RenderConfig(split="extrapolation"), None)


def test_the_filmed_episode_is_the_collected_one_and_pictures_lie_between(trained, seen):
    env = make_env(GRIP, 1, num_threads=1)
    start = np.full((1, 1, env.start_size), 0.3)
    camera = MujocoCamera(env, FRAMES_PER_STEP, 25.0)
    clip = camera.film(trained, repeat_params(trained.params, 1), start, "before")
    assert len(clip.frames) == 1 + FRAMES_PER_STEP * env.horizon
    tool = np.array(seen)[:, env.model.joint("finger_left").qposadr[0]]
    for index in range(0, len(tool) - 1, FRAMES_PER_STEP):
        piece = tool[index : index + FRAMES_PER_STEP + 1]
        assert piece == pytest.approx(np.linspace(piece[0], piece[-1], len(piece)), abs=1e-9)
    block = env.model.joint("block").qposadr[0]
    turns = np.array(seen)[:, block + 3 : block + 7]
    assert np.linalg.norm(turns, axis=1) == pytest.approx(1.0, abs=1e-6)
    with torch.no_grad():
        observation, _ = env.reset(options={"start": start[0]})
        rewards = []
        for _ in range(env.horizon):
            mean = act_alone(trained.policy, trained.params, torch.from_numpy(observation))[0]
            observation, reward, *_ = env.step(mean.numpy())
            rewards.append(reward[0])
    assert clip.rewards == pytest.approx(rewards, abs=1e-6)
    assert seen[-1] == pytest.approx(env.batch.bind("qpos")[0], abs=1e-6)


def test_no_picture_is_drawn_twice_and_no_task_borrows_one(trained, seen):
    env = make_env(GRIP, 1, num_threads=1)
    start = np.full((1, 1, env.start_size), 0.3)
    camera = MujocoCamera(env, 2.0, 25.0)
    params = repeat_params(trained.params, 1)
    first, again = (camera.film(trained, params, start, "before") for _ in range(2))
    assert len(seen) <= len(first.frames)
    assert all(a is b for a, b in zip(first.frames, again.frames, strict=True))
    env.set_tasks(DISTRIBUTION.with_values({"block_mass_kg": [1.5]}))
    before = len(seen)
    other = camera.film(trained, params, start, "before")
    assert len(seen) > before
    assert other.frames[0] is not first.frames[0]


def test_adaptation_changes_the_policy_and_is_repeatable(trained):
    tasks = choose_task(DISTRIBUTION, RenderConfig(), {"block_mass_kg": 1.5})
    config = RenderConfig(adaptation_episodes=(2, 4))
    adapted, again = (adapt_to(GRIP, tasks, trained, config) for _ in range(2))
    two, four = adapted[2], adapted[4]
    assert [*adapted] == [0, 2, 4]
    assert all(torch.equal(four[name], again[4][name]) for name in four)
    assert not torch.equal(four["log_std"], trained.params["log_std"][None])
    assert not torch.equal(four["log_std"], two["log_std"])


def test_a_run_without_the_algorithm_that_adapts(trained, tmp_path):
    oracle = replace(trained, config=replace(trained.config, algorithm="oracle"))
    run = TrainedRun(path=tmp_path, seed=0, env_id=GRIP, policies={"oracle": oracle})
    with pytest.raises(RunError, match=r"holds no algorithm that adapts, only oracle$"):
        render_adaptation(run, tmp_path / "film.mp4")
    run.policies.update(promp=trained, rl2=trained)
    for name in ("maml", "oracle"):
        words = rf"holds no {name} that adapts: --algorithm shows one of promp,"
        with pytest.raises(RunError, match=words):
            render_adaptation(run, tmp_path / "film.mp4", RenderConfig(algorithm=name))


def test_any_algorithm_that_adapts_is_filmed(trained, composed, tmp_path):
    run = TrainedRun(path=tmp_path, seed=0, env_id=GRIP, policies={"promp": trained})
    result = render_adaptation(run, tmp_path / "film.mp4", RenderConfig(algorithm="promp"))
    clips = composed[0].clips
    captions = [clip.caption for clip in clips]
    assert captions == ["before adapting", "after 1 episode", "after 5 episodes"]
    assert [float(np.sum(clip.rewards)) for clip in clips] == [*result.returns.values()]


# A grid of tasks.


def test_the_grid_reaches_from_the_lowest_value_to_the_highest_row_by_row(run, composed):
    size = GridSize(columns=3, rows=2)
    shown = render_grid(run, run.path / "x.mp4", size, BEFORE)
    (stage,) = composed
    mass, friction = (
        find_family(GRIP).distribution[name] for name in find_family(GRIP).heat_map_axes
    )
    names = [clip.caption for clip in stage.clips]
    assert names[0].startswith(f"{mass.extrapolation[0][0]:.3g} kg  ·  ")
    assert names[2].startswith(f"{mass.extrapolation[-1][1]:.3g} kg  ·  ")
    upper, lower = (float(name.rsplit(" ", 1)[1]) for name in (names[0], names[3]))
    assert upper > lower == pytest.approx(friction.extrapolation[0][0], rel=1e-2)  # upwards
    assert (stage.columns, stage.words.title) == (3, "Grip, before adapting")
    assert list(stage.words.parts) == ["across: block mass", "upwards: pad friction"]
    assert len(shown.tasks) == len(stage.clips) == 6
    assert shown.returns[0] == pytest.approx(np.mean([sum(clip.rewards) for clip in stage.clips]))


def test_a_parameter_with_choices_has_all_of_them(tmp_path, composed):
    run = untrained_run(tmp_path, CHEETAH, shrink_steps=False)
    render_grid(run, tmp_path / "x.mp4", GridSize(columns=2, rows=1), BEFORE)
    assert [clip.caption for clip in composed[0].clips] == ["-1", "1"]
    with pytest.raises(ValueError, match="direction has 2 values, so that side is 2"):
        render_grid(run, tmp_path / "x.mp4", GridSize(columns=3, rows=1), BEFORE)
    with pytest.raises(ValueError, match="2x2 tasks needs 2 task parameters, got direction"):
        render_grid(run, tmp_path / "x.mp4", GridSize(columns=2, rows=2), BEFORE)


@pytest.mark.parametrize(
    ("parameters", "task", "message"),
    [
        (("block_mas_kg", "pad_friction"), {}, "did you mean 'block_mass_kg'"),
        (("pad_friction",), {}, "3x3 tasks needs 2 task parameters, got pad_fric"),
        (("pad_friction", "block_mass_kg"), {"pad_friction": 0.5}, "is a side of the grid"),
    ],
)
def test_a_grid_that_a_family_does_not_have(run, parameters, task, message):
    size = GridSize(columns=3, rows=3, parameters=parameters)
    with pytest.raises(ValueError, match=message):
        render_grid(run, run.path / "x.mp4", size, BEFORE, task)


def test_grids_and_films_have_bounds(run, composed, monkeypatch):
    for columns in (0, 6):
        with pytest.raises(ValueError, match="1x1 to 5x5 tasks"):
            GridSize(columns=columns, rows=1)
    monkeypatch.setattr("metarobot.envs.checks.machine_bytes", lambda: 10_000_000)
    with pytest.raises(ValueError, match=r"441 frames 0.1 GiB.*film a smaller grid"):
        render_grid(run, run.path / "x.mp4", GridSize(columns=3, rows=3), BEFORE)


# A chosen task.


def test_a_trained_policy_turns_from_failure_to_success_on_the_task(composed, tmp_path):
    sentence = film_chosen_task(load_run(FOLDER / "grip"), tmp_path / "film.mp4")
    clips, words = composed[0].clips, composed[0].words
    assert [clips[0].success, clips[-1].success] == [False, True]
    assert sum(clips[-1].rewards) - sum(clips[0].rewards) > 2  # the block was lost, not half held
    assert "a chosen task" in words.parts
    assert sentence.startswith("The task is chosen: of 32 drawn, ")
    assert " turn from failure to success; " in sentence


# The worst tasks of an evaluation.

CONFIG = EvaluationConfig(num_tasks=4, test_episodes=2)


@pytest.fixture
def evaluation():
    tasks = [worst_task(index, harmed=index < 3) for index in range(4)]
    return replace(made_up_evaluation(), worst_tasks=tuple(tasks), config=CONFIG)


def test_worst_tasks_are_filmed_by_turns_as_they_were_judged(run, seen, evaluation, monkeypatch):
    monkeypatch.setattr(films, "require_opengl", lambda: None)
    filmed, film = [], Camera.film

    def note(camera, trained, params, start, caption):
        clip = film(camera, trained, params, start, caption)
        filmed.append((caption, camera.env.tasks.to_dicts()[0], sum(clip.rewards)))
        return clip

    monkeypatch.setattr(Camera, "film", note)
    found = film_worst_tasks([run], evaluation, None, 3)
    assert list(found.films) == [0, 1, 3]  # of harmed tasks, and of the lowest returns
    assert found.problem == ""
    for each in found.films.values():
        assert is_playable(each.mp4)
        assert Image.open(io.BytesIO(each.poster)).width == 640
    captions = [caption for caption, *_ in filmed[:3]]
    assert captions == ["before adapting", "after 1 episode", "after 5 episodes"]
    task_set = TaskSet.of_split(GRIP, "extrapolation", CONFIG)
    first = replace(CONFIG, test_episodes=1)  # the same first episode, and no other
    scores = replace(task_set, config=first).score("maml", run.policies["maml"])
    shown = [each for each in scores if each.episodes in (0, 1, 5) and not each.exploring]
    judged = [each.returns[0] for each in shown]
    assert [reward for *_, reward in filmed[:3]] == pytest.approx(judged, abs=1e-4)
    assert filmed[0][1] == pytest.approx(task_set.tasks.to_dicts()[0])
