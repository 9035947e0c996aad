"""The bridge to Stable-Baselines3: the batch as its `VecEnv`, policies to its PPO and back.

A policy of this package scales an observation o by its bounds to (o - c) / h before the first
layer; a PPO model does not.  So export moves the scale into that layer:
W (o - c) / h + b = W' o + b' with W' = W / h and b' = b - W' c.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch
from gymnasium import Space
from torch import Tensor, nn

from metarobot.algorithms import algorithm_class, make_policy, train_config
from metarobot.envs import TaskBatch, find_family, make_env
from metarobot.envs.checks import show
from metarobot.io import read_file, write_file
from metarobot.learning.inner_loop import MEASURED
from metarobot.machine import extra
from metarobot.policies import MIN_STD, GaussianMLP, GaussianPolicy, Params
from metarobot.policies.mlp import TaskMLP
from metarobot.training.load import TrainedPolicy

with extra("sb3", "Stable-Baselines3"):
    from stable_baselines3 import PPO
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.torch_layers import FlattenExtractor
    from stable_baselines3.common.vec_env import VecEnv
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

__all__ = ["SB3VecEnv", "export_ppo", "import_ppo"]

_ROUNDING = 1e-6
"""Relative error of a standard deviation that went through a logarithm in single precision."""

_PLAIN_OPTIONS: dict[str, dict[str, bool]] = {"maml": {}, "oracle": {"task_products": False}}
"""Algorithms that can have a Gaussian perceptron as policy, and the options for it."""


class SB3VecEnv(VecEnv):
    """A native batch as vector environment of Stable-Baselines3.

    A simulation is reset in the step that ends its episode, as Stable-Baselines3 expects; the last
    observation is in its info. All data stay in the batch's arrays; only the infos of ended
    episodes are written one by one.

    Tasks stay across resets. After ``set_tasks`` of the environment, call ``reset``.

    Args:
        env: The batch; closed with this.

    Raises:
        TypeError: ``env`` is not such a batch.
    """

    def __init__(self, env: TaskBatch) -> None:
        if not isinstance(getattr(env, "unwrapped", None), TaskBatch):
            raise TypeError(
                "SB3VecEnv needs a batch made by gym.make_vec or metarobot.envs.make_env, "
                f"got {show(env)}"
            )
        self.env = env
        self._actions = np.zeros(env.action_space.shape or (), np.float32)
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self.metadata = env.metadata

    def reset(self) -> np.ndarray:
        """Start a new episode in every simulation, with the seeds and the ``start`` options set.

        Returns:
            Observations (num_envs, O), float32.
        """
        seeds = None if None in self._seeds else self._seeds
        starts = [options["start"] for options in self._options if "start" in options]
        options = {"start": np.stack(starts)} if starts else None
        observations, _ = self.env.reset(seed=seeds, options=options)
        self._reset_seeds()  # seeds are valid for one reset
        self._reset_options()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions (num_envs, A) of the next control step."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Advance every simulation by one control step.

        Returns:
            Observations (num_envs, O), the first of the next episode after an end; rewards
            (num_envs,), float32; whether an episode has ended (num_envs,); and the infos, empty
            except for ended episodes: ``terminal_observation``, ``TimeLimit.truncated``,
            ``is_success`` and ``sim_unstable``.
        """
        observations, rewards, terminated, truncated, info = self.env.step(self._actions)
        ended = terminated | truncated
        infos: list[dict[str, Any]] = [{}] * self.num_envs
        if ended.any():
            for sim in np.flatnonzero(ended):
                infos[sim] = {
                    "terminal_observation": observations[sim],
                    "TimeLimit.truncated": bool(truncated[sim] and not terminated[sim]),
                    **{name: bool(values[sim]) for name, values in info.items()},
                }
            observations, _ = self.env.reset(options={"reset_mask": ended})
        return observations, rewards.astype(np.float32), ended, infos

    def close(self) -> None:
        """Free the batch's renderer."""
        self.env.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return one frame per simulation, (480, 640, 3) uint8."""
        return self.env.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of the batch, once for every index."""
        return [getattr(self.env, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the batch.

        Raises:
            ValueError: Some simulations are named: they share one batch.
        """
        self._require_all(attr_name, indices)
        setattr(self.env, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Call a method of the batch once; return its result once for every simulation.

        Raises:
            ValueError: Some simulations are named: they share one batch.
        """
        self._require_all(method_name, indices)
        return [getattr(self.env, method_name)(*method_args, **method_kwargs)] * self.num_envs

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Return False for every index: there is no wrapper around a simulation."""
        del wrapper_class
        return [False for _ in self._get_indices(indices)]

    def _require_all(self, name: str, indices: VecEnvIndices) -> None:
        if indices is not None and list(self._get_indices(indices)) != list(range(self.num_envs)):
            raise ValueError(
                f"{name!r} applies to all {self.num_envs} simulations, which share one batch: "
                f"indices must be None, got {indices!r}"
            )


def export_ppo(trained: TrainedPolicy, path: Path) -> None:
    """Write a policy as a PPO model with the same actions; `PPO.load` reads it.

    The noise is that of post-update episodes, floor included.  Discount and λ are the algorithm's,
    all other options have PPO's defaults.  The value network has the policy's sizes and is
    initialised from a fixed seed: the algorithm's value baseline is refitted to each batch and
    cannot be exported.

    Args:
        trained: The policy; `dataclasses.replace` its parameters to export adapted ones.
        path: The .zip to write or replace, in one piece.

    Raises:
        ValueError: The policy has parameters besides layers and noise.
        OSError: The file cannot be written.
    """
    policy, params = trained.policy, trained.params
    _require_plain(trained)
    with torch.random.fork_rng(devices=[]):  # fresh weights come from the global stream
        torch.manual_seed(0)
        model = _fresh_model(trained)
    network = model.policy
    layers = _linear([*network.mlp_extractor.policy_net, network.action_net])
    with torch.no_grad():
        for index, layer in enumerate(layers):
            layer.weight.copy_(params[f"layers.{index}.weight"])
            layer.bias.copy_(params[f"layers.{index}.bias"])
        critic, *_ = _linear([*network.mlp_extractor.value_net, network.value_net])
        for layer in (layers[0], critic):
            _take_raw_observations(layer, policy)
        network.log_std.copy_(params["log_std"].clamp(min=policy.min_log_std))
    content = io.BytesIO()
    model.save(content)
    write_file(path, content.getvalue())


def import_ppo(path: Path, env_id: str) -> TrainedPolicy:
    """Read the policy of a PPO model saved by Stable-Baselines3.

    Stable-Baselines3 unpickles parts of the file, which can run any code: read only files from
    trusted sources.

    Args:
        path: The .zip.
        env_id: The task family that it was trained on.

    Returns:
        A policy with the same actions: the oracle's if its observation holds the task, else an
        initialisation of MAML.  Its sizes are in the configuration, beside defaults.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: The file is not a PPO model, or its policy is not supported; the message says
            why.
    """
    model = _load_model(path)
    for problem in _misfits(model):
        raise ValueError(f"{path} cannot be imported: {problem}")
    network = model.policy
    layers = _linear([*network.mlp_extractor.policy_net, network.action_net])
    algorithm = _find_algorithm(path, model, env_id)
    hidden_sizes = tuple(layer.out_features for layer in layers[:-1])
    options = _PLAIN_OPTIONS[algorithm]
    config = train_config(algorithm, env_id=env_id, hidden_sizes=hidden_sizes, **options)
    policy = make_policy(config)
    params: Params = {"log_std": network.log_std}
    for index, layer in enumerate(layers):
        params[f"layers.{index}.weight"] = layer.weight
        params[f"layers.{index}.bias"] = layer.bias
    params = {name: leaf.detach().clone() for name, leaf in params.items()}
    params |= {name: torch.zeros(policy.shapes[name]) for name in MEASURED if name in policy.shapes}
    _take_scaled_observations(params, policy)
    return TrainedPolicy(
        policy, {name: params[name] for name, _ in policy.named_parameters()}, config
    )


def _require_plain(trained: TrainedPolicy) -> None:
    """Require that the policy is a Gaussian perceptron, as PPO's policy is."""
    policy, excess = trained.policy, type(trained.policy).__name__
    way_out = "choose another algorithm"
    if type(policy) is GaussianMLP or (type(policy) is TaskMLP and not policy.task_products):
        layers = range(len(policy.layers))
        plain = {"log_std", *(f"layers.{i}.{part}" for i in layers for part in ("weight", "bias"))}
        plain |= {*MEASURED}  # they affect adaptation only, not actions
        excess = min(set(trained.params) - plain, default=None)
    elif type(policy) is TaskMLP:
        excess, way_out = "products of observation and task", "train it with --no-task-products"
    if excess is not None:
        raise ValueError(
            f"{trained.config.algorithm} cannot be exported: PPO's policy does not support "
            f"{excess}; {way_out}"
        )


def _fresh_model(trained: TrainedPolicy) -> PPO:
    config = trained.config
    sizes = list(config.hidden_sizes)
    observe_task = algorithm_class(config.algorithm).observes_task
    env = make_env(config.env_id, 1, num_threads=1, observe_task=observe_task)
    with closing(env):
        return PPO(
            ActorCriticPolicy,
            SB3VecEnv(env),
            gamma=config.discount,
            gae_lambda=config.gae_lambda,
            policy_kwargs={"net_arch": {"pi": sizes, "vf": sizes}, "activation_fn": nn.Tanh},
            device="cpu",
        )


def _linear(modules: Iterable[nn.Module]) -> list[nn.Linear]:
    return [module for module in modules if isinstance(module, nn.Linear)]


def _take_raw_observations(layer: nn.Linear, policy: GaussianPolicy) -> None:
    """Move the scale of the observations into a layer, in double precision."""
    layer.weight.copy_(layer.weight.double() / policy.observation_half_range.double())
    # From the rounded W': its rounding error is then relative to the centre, not to zero.
    shift = layer.weight.double() @ policy.observation_centre.double()
    layer.bias.copy_(layer.bias.double() - shift)


def _take_scaled_observations(params: Params, policy: GaussianPolicy) -> None:
    """Take the scale of the observations out of the first layer: b = b' + W' c, W = W' h."""
    weight = params["layers.0.weight"].double()
    shift: Tensor = weight @ policy.observation_centre.double()
    params["layers.0.bias"] = (params["layers.0.bias"].double() + shift).float()
    params["layers.0.weight"] = (weight * policy.observation_half_range.double()).float()


def _load_model(path: Path) -> PPO:
    """Load the file by Stable-Baselines3; report any failure in one line."""
    file = io.BytesIO(read_file(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on lost parts of the model: the policy is checked
        try:
            return PPO.load(cast(io.BufferedIOBase, file), device="cpu")
        except Exception as error:
            why = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(f"{path} is not a PPO model that can be loaded: {why}") from error


def _misfits(model: PPO) -> Iterator[str]:
    """Yield each unsupported property of a model's policy, with a way out."""
    network = model.policy
    if type(network) is not ActorCriticPolicy:
        yield f"its policy is a {type(network).__name__}: train 'MlpPolicy'"
        return  # its other properties are unknown
    if network.use_sde:
        yield "its noise depends on the state (gSDE): train with use_sde=False"
    if type(network.features_extractor) is not FlattenExtractor:
        name = type(network.features_extractor).__name__
        yield f"a {name} computes features before its layers: train without"
    for module in network.mlp_extractor.policy_net:
        if not isinstance(module, nn.Linear | nn.Tanh):
            name = type(module).__name__
            yield f"its hidden layers are {name}, not Tanh: train with activation_fn=torch.nn.Tanh"
    # VecNormalize saves its scaling in a separate file.
    if getattr(model, "_last_original_obs", None) is not None:
        yield "VecNormalize scaled its observations and is not in the file: train without"
    for name, leaf in network.named_parameters():
        if not bool(leaf.isfinite().all()):
            yield f"numbers in {name} are not finite"
    lowest = math.exp(float(network.log_std.detach().min()))
    if lowest < MIN_STD * (1 - _ROUNDING):
        yield (
            f"the standard deviation of an action is {lowest:.3g}, below the floor of {MIN_STD}: "
            "train with a larger ent_coef, or raise policy.log_std before saving"
        )


def _find_algorithm(path: Path, model: PPO, env_id: str) -> str:
    """Return the algorithm with the spaces of the model."""
    found = model.observation_space, model.action_space
    allowed = []
    for algorithm in _PLAIN_OPTIONS:
        observe_task = algorithm_class(algorithm).observes_task
        spaces = find_family(env_id).spaces(observe_task=observe_task)
        if found == spaces:
            return algorithm
        allowed.append(_sizes(spaces))
    if _sizes(found) in allowed:
        why = f"its observations or actions have other bounds than in {env_id}: train without"
        raise ValueError(f"{path} cannot be imported: {why} wrappers that change them")
    raise ValueError(
        f"{path} cannot be imported: it maps {_sizes(found)}, but {env_id} needs {allowed[0]}, "
        f"or {allowed[1]} for a policy that observes the task"
    )


def _sizes(spaces: tuple[Space, Space]) -> str:
    observation, action = (space.shape for space in spaces)
    return f"observations {observation} to actions {action}"
