"""Policies to PPO and back: the same actions, and one line for what cannot be had."""

import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import act_alone
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from metarobot.algorithms import make_policy, train_config
from metarobot.envs import make_env
from metarobot.sb3 import SB3VecEnv, export_ppo, import_ppo
from metarobot.training.load import TrainedPolicy

GRIP = "metarobot/Grip-v0"


def made_up_algorithm(env_id, algorithm="maml", hidden_sizes=(8, 6), **fields):
    """An algorithm whose parameters are all different from zero."""
    config = train_config(env_id=env_id, algorithm=algorithm, hidden_sizes=hidden_sizes, **fields)
    policy = make_policy(config)
    generator = torch.Generator().manual_seed(0)
    params = policy.initial_params(generator)
    noise = {n: torch.randn(leaf.shape, generator=generator) for n, leaf in params.items()}
    return TrainedPolicy(policy, {n: params[n] + 0.3 * noise[n] for n in params}, config)


def draw_observations(space, count=500):
    rng = np.random.default_rng(0)
    return rng.uniform(space.low, space.high, (count, *space.shape)).astype(np.float32)


def actions_of(trained, observations):
    mean, _ = act_alone(trained.policy, trained.params, torch.as_tensor(observations))
    return mean.clamp(-1, 1).numpy()


def learned_model(env_id=GRIP, **kwargs):
    vec_env = SB3VecEnv(make_env(env_id, 4, num_threads=1))
    kwargs = {"n_steps": 16, "batch_size": 32, "n_epochs": 1, "seed": 0, **kwargs}
    return PPO("MlpPolicy", vec_env, device="cpu", **kwargs)


@pytest.mark.parametrize(
    ("env_id", "algorithm"), [(GRIP, "oracle"), ("metarobot/HalfCheetahVelocity-v0", "maml")]
)
def test_ppo_acts_as_the_algorithm_does_and_so_does_what_comes_back(env_id, algorithm, tmp_path):
    plain = {"task_products": False} if algorithm == "oracle" else {}
    ours = made_up_algorithm(env_id, algorithm, **plain)
    export_ppo(ours, tmp_path / "policy.zip")
    model = PPO.load(tmp_path / "policy.zip", device="cpu")
    observations = draw_observations(model.observation_space)
    wanted = actions_of(ours, observations)
    assert wanted.std() > 0.05
    actions, _ = model.predict(observations, deterministic=True)
    np.testing.assert_allclose(actions, wanted, rtol=0, atol=1e-6)
    back = import_ppo(tmp_path / "policy.zip", env_id)
    assert (back.config.algorithm, back.config.hidden_sizes) == (algorithm, (8, 6))
    assert list(back.params) == [name for name, _ in back.policy.named_parameters()]
    np.testing.assert_allclose(actions_of(back, observations), wanted, rtol=0, atol=1e-6)
    np.testing.assert_allclose(actions_of(back, observations), actions, rtol=0, atol=1e-6)


def test_the_noise_is_that_of_post_update_episodes(tmp_path):
    ours = made_up_algorithm(GRIP, min_std=0.15, adaptation_min_std=0.5)
    for std, wanted in ((0.01, 0.15), (0.4, 0.4)):
        params = {**ours.params, "log_std": torch.tensor([std]).log()}
        export_ppo(replace(ours, params=params), tmp_path / "policy.zip")
        policy = PPO.load(tmp_path / "policy.zip", device="cpu").policy
        stddev = policy.get_distribution(torch.zeros(1, 5)).distribution.stddev
        assert stddev.item() == pytest.approx(wanted)


def test_what_ppo_has_learned_is_imported(tmp_path):
    model = learned_model(policy_kwargs={"net_arch": [9, 5]}).learn(64)
    model.save(tmp_path / "ppo.zip")
    trained = import_ppo(tmp_path / "ppo.zip", GRIP)
    assert trained.config.hidden_sizes == (9, 5)
    observations = draw_observations(model.observation_space)
    actions, _ = model.predict(observations, deterministic=True)
    np.testing.assert_allclose(actions_of(trained, observations), actions, rtol=0, atol=1e-6)
    assert torch.equal(trained.params["log_std"], model.policy.log_std)


class Features(BaseFeaturesExtractor):
    def __init__(self, observation_space):
        super().__init__(observation_space, 5)

    def forward(self, observations):
        return observations


def lower_the_noise(model):
    model.policy.log_std.data.fill_(-5.0)


def spoil(model):
    model.policy.action_net.bias.data.fill_(torch.nan)


REFUSED = {
    "hidden layers are ReLU, not Tanh": {"policy_kwargs": {"activation_fn": torch.nn.ReLU}},
    r"\(gSDE\)": {"use_sde": True, "policy_kwargs": {"squash_output": True}},
    "a Features computes features": {"policy_kwargs": {"features_extractor_class": Features}},
    "0.00674, below the floor of 0.02": {"change": lower_the_noise},
    "numbers in action_net.bias are not finite": {"change": spoil},
    r"maps observations \(5,\) to actions \(1,\), but": {"env_id": "metarobot/Reach-v0"},
}


@pytest.mark.parametrize(("message", "kwargs"), REFUSED.items())
def test_a_policy_that_is_not_like_ours_is_refused_in_one_line(message, kwargs, tmp_path):
    kwargs = dict(kwargs)
    env_id, change = kwargs.pop("env_id", GRIP), kwargs.pop("change", None)
    model = learned_model(**kwargs)
    if change:
        change(model)
    model.save(tmp_path / "ppo.zip")
    with pytest.raises(ValueError, match=message) as error:
        import_ppo(tmp_path / "ppo.zip", env_id)
    assert "\n" not in str(error.value)


def write_junk(path):
    path.write_bytes(b"\x80\x04K\x01.")


def write_other_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", "[]")


def write_sac(path):
    vec_env = SB3VecEnv(make_env(GRIP, 2, num_threads=1))
    SAC("MlpPolicy", vec_env, buffer_size=10, device="cpu").save(path)


@pytest.mark.parametrize("write", [write_junk, write_other_zip, write_sac])
def test_a_file_that_is_no_ppo_model_is_one_line(write, tmp_path):
    write(tmp_path / "ppo.zip")
    with pytest.raises(ValueError, match="not a PPO model that can be loaded") as error:
        import_ppo(tmp_path / "ppo.zip", GRIP)
    assert "\n" not in str(error.value)


def test_an_oracle_with_products_is_refused_and_the_message_says_how_to_train_one_without(tmp_path):
    with pytest.raises(ValueError, match="train it with --no-task-products"):
        export_ppo(made_up_algorithm(GRIP, "oracle"), tmp_path / "policy.zip")
