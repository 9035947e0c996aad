"""A grid of tasks: which tasks, in which order, and what is said of each."""

import numpy as np
import pytest
from fakes import untrained_run

from metarobot.envs import find_family
from metarobot.reporting import films
from metarobot.reporting.films import GridSize, RenderConfig, render_grid

GRIP, CHEETAH = "metarobot/Grip-v0", "metarobot/HalfCheetahDirection-v0"
BEFORE = RenderConfig(adaptation_episodes=(0,))


def run_of(env_id, tmp_path):
    return untrained_run(tmp_path, env_id, shrink_steps=False)


@pytest.fixture
def filmed(monkeypatch):
    """What is composed, stage by stage; nothing is drawn or written, no OpenGL is needed."""
    stages = []

    def compose(clips, words, **options):
        stages.append((clips, words, options))
        return iter(())

    monkeypatch.setattr(films, "_picture", lambda env: (np.zeros((2, 2, 3), np.uint8),))
    monkeypatch.setattr(films, "compose_film", compose)
    monkeypatch.setattr(films, "write_film", lambda frames, path, fps: list(frames))
    return stages


def captions(stage):
    return [clip.caption for clip in stage[0]]


def test_the_grid_reaches_from_the_lowest_value_to_the_highest_row_by_row(tmp_path, filmed):
    size = GridSize(columns=3, rows=2)
    shown = render_grid(run_of(GRIP, tmp_path), tmp_path / "x.mp4", size, BEFORE)
    ((clips, words, options),) = filmed
    mass, friction = (
        find_family(GRIP).distribution[name] for name in find_family(GRIP).heat_map_axes
    )
    low, high = (
        f"{edges[side]:.3g}"
        for edges, side in ((mass.extrapolation[0], 0), (mass.extrapolation[-1], 1))
    )
    names = captions(filmed[0])
    assert names[0].startswith(f"{low} kg  ·  ")
    assert names[2].startswith(f"{high} kg  ·  ")
    upper, lower = (float(name.rsplit(" ", 1)[1]) for name in (names[0], names[3]))
    assert upper > lower  # upwards
    assert lower == pytest.approx(friction.extrapolation[0][0], rel=1e-2)
    assert options["columns"] == 3
    assert words.title == "Grip, before adapting"
    assert list(words.parts) == ["across: block mass", "upwards: pad friction"]
    assert shown.num_tasks == len(clips) == 6
    assert shown.returns[0] == pytest.approx(np.mean([sum(clip.rewards) for clip in clips]))


def test_a_cell_says_whether_it_was_trained_on(tmp_path, filmed):
    size = GridSize(columns=5, rows=1, parameters=("block_mass_kg",))
    render_grid(run_of(GRIP, tmp_path), tmp_path / "x.mp4", size, BEFORE, {"pad_friction": 0.8})
    clips = filmed[0][0]
    mass = find_family(GRIP).distribution["block_mass_kg"]
    for clip in clips:
        value = float(clip.caption.split()[0])
        inside = mass.train[0] <= value <= mass.train[1]
        assert (clip.note == "beyond training") == (not inside)
    assert len({clip.colour for clip in clips}) == 2
    assert "pad friction 0.8" in filmed[0][1].parts


def test_stages_follow_each_other_from_the_same_start(tmp_path, filmed):
    size = GridSize(columns=2, rows=1)
    config = RenderConfig(adaptation_episodes=(0, 2))
    shown = render_grid(run_of(GRIP, tmp_path), tmp_path / "x.mp4", size, config)
    assert [words.title for _, words, _ in filmed] == [
        "Grip, before adapting",
        "Grip, after 2 episodes",
    ]
    assert captions(filmed[0]) == captions(filmed[1])
    assert list(shown.returns) == list(shown.successes) == [0, 2]
    again = render_grid(run_of(GRIP, tmp_path), tmp_path / "x.mp4", size, config)
    assert again == shown


def test_a_parameter_with_choices_has_all_of_them(tmp_path, filmed):
    run, short = run_of(CHEETAH, tmp_path), GridSize(columns=2, rows=1)
    render_grid(run, tmp_path / "x.mp4", short, BEFORE)
    assert captions(filmed[0]) == ["-1", "1"]
    with pytest.raises(ValueError, match="direction has 2 values, so that side is 2"):
        render_grid(run, tmp_path / "x.mp4", GridSize(columns=3, rows=1), BEFORE)
    with pytest.raises(ValueError, match="2x2 tasks needs 2 task parameters, got direction"):
        render_grid(run, tmp_path / "x.mp4", GridSize(columns=2, rows=2), BEFORE)


@pytest.mark.parametrize(
    ("size", "task", "message"),
    [
        ({"parameters": ("block_mas_kg", "pad_friction")}, {}, "did you mean 'block_mass_kg'"),
        ({"parameters": ("pad_friction",)}, {}, "3x3 tasks needs 2 task parameters, got pad_fric"),
        (
            {"parameters": ("pad_friction", "block_mass_kg")},
            {"pad_friction": 0.5},
            "pad_friction is a side of the grid",
        ),
    ],
)
def test_a_grid_that_a_family_does_not_have(tmp_path, size, task, message):
    run = run_of(GRIP, tmp_path)
    with pytest.raises(ValueError, match=message):
        render_grid(run, tmp_path / "x.mp4", GridSize(columns=3, rows=3, **size), BEFORE, task)


@pytest.mark.parametrize("size", [{"columns": 0, "rows": 1}, {"columns": 6, "rows": 1}])
def test_sides_have_bounds(size):
    with pytest.raises(ValueError, match="1x1 to 5x5 tasks"):
        GridSize(**size)


def test_a_film_too_long_for_the_memory_is_refused(tmp_path, filmed, monkeypatch):
    monkeypatch.setattr("metarobot.envs.checks.machine_bytes", lambda: 10_000_000)
    with pytest.raises(ValueError, match=r"441 frames 0.2 GiB.*film a smaller grid"):
        render_grid(run_of(GRIP, tmp_path), tmp_path / "x.mp4", GridSize(columns=3, rows=3), BEFORE)
