"""What is known of a family without its scene is what its environments have; all of them close."""

import pytest
from trained import TRAINED

from metarobot.config import RenderConfig, RunConfig
from metarobot.envs import FAMILIES, TaskVectorEnv, find_variant, make_env, shipped_variants
from metarobot.evaluation.evaluate import evaluate_runs
from metarobot.evaluation.protocol import EvaluationConfig
from metarobot.reporting.films import adapt_to, choose_task
from metarobot.sb3 import export_ppo, import_ppo
from metarobot.training.load import FOLDER, load_run
from metarobot.training.run import train_run

GRIP = "metarobot/Grip-v0"
COMMITTED = FOLDER / "grip"


@pytest.mark.parametrize("observe_task", [False, True])
def test_spaces_and_control_step_are_those_of_the_environment(env_id, observe_task):
    family = FAMILIES[env_id]
    variants = [v for v in map(find_variant, shipped_variants()) if v.env_id == env_id]
    for variant in [None, *variants]:
        env = make_env(env_id, 1, num_threads=1, observe_task=observe_task, variant=variant)
        spaces = (env.single_observation_space, env.single_action_space)
        assert spaces == family.spaces(observe_task)
        assert family.control_step_s() == env.substeps * env.model.opt.timestep == env.control_dt_s
        env.close()


def refuse(*args, **kwargs):
    raise AssertionError("a scene was compiled")


def test_reading_a_run_compiles_no_scene(monkeypatch):
    monkeypatch.setattr(TaskVectorEnv, "__init__", refuse)
    for family in FAMILIES.values():
        monkeypatch.setattr(family, "compile_own_scene", refuse)
    assert "maml" in load_run(COMMITTED).policies


@pytest.fixture
def open_envs(monkeypatch):
    """The environments that are open."""
    found = {}
    make, close = TaskVectorEnv.__init__, TaskVectorEnv.close

    def noted(env, *args, **kwargs):
        make(env, *args, **kwargs)
        found[id(env)] = env  # held, so that no other gets its number

    def closed(env, **kwargs):
        close(env, **kwargs)
        found.pop(id(env), None)

    monkeypatch.setattr(TaskVectorEnv, "__init__", noted)
    monkeypatch.setattr(TaskVectorEnv, "close", closed)
    return found


def test_every_environment_is_closed(open_envs, tmp_path):
    config = RunConfig(env_id=GRIP, total_steps=1, num_tasks=2, episodes_per_task=2)
    train_run(config, TRAINED, tmp_path / "run")
    run = load_run(tmp_path / "run")
    sizes = EvaluationConfig(
        num_tasks=2,
        adaptation_episodes=(2,),
        num_blocks=0,
        test_episodes=1,
        splits=("train",),
        heat_map=False,
    )
    evaluate_runs([run], sizes, lambda stage, share: None)
    task = choose_task(FAMILIES[GRIP].distribution, RenderConfig(), None)
    adapt_to(GRIP, task, run.policies["maml"], RenderConfig(adaptation_episodes=(2,)))
    export_ppo(run.policies["maml"], tmp_path / "model.zip")
    import_ppo(tmp_path / "model.zip", GRIP)
    assert not open_envs
