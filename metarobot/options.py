"""Keywords of the public functions as editors and type checkers know them.

They have the names and types of the fields of a configuration; its class has their meaning, their
defaults and their bounds.
"""

from collections.abc import Mapping
from typing import TypedDict

from metarobot.config import InnerObjective, Value
from metarobot.envs.scene import SceneRecord
from metarobot.envs.tasks import Split
from metarobot.envs.variants import Variant
from metarobot.evaluation.protocol import ActionNoise, Rewards, Untrained


class TrainOptions(TypedDict, total=False):
    """Keywords of `metarobot.train`: fields of `RunConfig`, and options of all algorithms."""

    env_id: str
    variant: Variant | None
    scene: SceneRecord | None
    seed: int
    total_steps: int
    num_tasks: int
    episodes_per_task: int
    hidden_sizes: tuple[int, ...]
    initial_std: float
    normalise_outer: bool
    discount: float
    gae_lambda: float
    num_threads: int
    options: Mapping[str, Value]  # by name, for those of an algorithm from outside

    max_kl: float
    cg_iterations: int
    cg_damping: float
    line_search_steps: int
    line_search_decay: float
    fisher_episodes: int
    inner_lr: float
    inner_objective: InnerObjective
    normalise_inner: bool
    shrink_steps: bool
    value_prior: bool
    vary_episodes: bool
    adaptation_min_std: float
    num_adaptation_steps: int
    first_order: bool
    min_std: float
    outer_lr: float
    outer_epochs: int
    outer_max_kl: float
    clip_ratio: float
    inner_kl_penalty: float
    reptile_steps: int
    reptile_rate: float
    context_size: int
    support_episodes: int
    embedding_size: int
    encoder_epochs: int
    model_lr: float
    model_epochs: int
    model_batch: int
    num_weighed: int
    likelihood_power: float
    trial_episodes: int
    latent_size: int
    student_episodes: int
    student_epochs: int
    student_lr: float
    task_products: bool


class EvaluateOptions(TypedDict, total=False):
    """Keywords of `metarobot.evaluate`: fields of `EvaluationConfig`."""

    num_tasks: int
    adaptation_episodes: tuple[int, ...]
    num_blocks: int
    episodes_per_block: int
    later_step_length: float
    test_episodes: int
    action_noise: ActionNoise
    rewards: Rewards
    untrained: tuple[Untrained, ...]
    splits: tuple[Split, ...]
    heat_map: bool
    grid_size: int
    heat_map_episodes: tuple[int, ...]
    robustness: bool
    seed: int


class RenderOptions(TypedDict, total=False):
    """Keywords of `metarobot.render`: fields of `RenderConfig`."""

    algorithm: str | None
    split: Split | None
    seed: int
    adaptation_episodes: tuple[int, ...]
    contact_forces: bool
    slow_motion: float


class ExplainOptions(TypedDict, total=False):
    """Keywords of `metarobot.explain`: fields of `ExplanationConfig`."""

    num_tasks: int
    adaptation_episodes: tuple[int, ...]
    num_identified: int
    seed: int
