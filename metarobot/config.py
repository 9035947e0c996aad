"""Configuration of a training run."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, get_args

from metarobot.envs.checked_numbers import is_integer, is_number, show
from metarobot.envs.memory import MOST_THREADS
from metarobot.envs.scene_record import SceneRecord
from metarobot.envs.variants import Variant
from metarobot.policies.gaussian_policy import MIN_STD

MetaLearner = Literal[
    "maml",
    "fomaml",
    "maml_ppo",
    "promp",
    "e_maml",
    "anil",
    "meta_sgd",
    "reptile",
    "prototype",
    "rl2",
]
"""An algorithm that learns to adapt."""
Reference = Literal["domain_randomisation", "oracle"]
"""An algorithm that never adapts, for comparison."""
META_LEARNERS: tuple[MetaLearner, ...] = get_args(MetaLearner)
REFERENCES: tuple[Reference, ...] = get_args(Reference)
AlgorithmName = MetaLearner | Reference
"""The name of an algorithm."""
ALGORITHM_NAMES: tuple[AlgorithmName, ...] = (*META_LEARNERS, *REFERENCES)
STANDARD_ALGORITHMS: tuple[AlgorithmName, ...] = ("maml", *REFERENCES)
"""Who is trained where nobody is named."""

MOST_SEED = 2**63 - 1
MOST_TASKS = 10_000
MOST_EPISODES = 10_000
"""On each task, in one block."""
MOST_ADAPTATION_STEPS = 100
MOST_LAYERS, MOST_UNITS = 16, 8192
"""Of `hidden_sizes`: layers, and units of each."""

InnerObjective = Literal["lvc", "likelihood_ratio", "dice"]
"""What an adaptation step climbs: metarobot/learning/objectives.py."""
INNER_OBJECTIVES: tuple[InnerObjective, ...] = get_args(InnerObjective)

_BY_PPO: tuple[str, ...] = ("maml_ppo", "promp")
_READERS: dict[str, tuple[str, ...]] = {
    "outer_lr": (*_BY_PPO, "prototype"),
    "outer_epochs": _BY_PPO,
    "outer_max_kl": (*_BY_PPO, "reptile"),
    "clip_ratio": _BY_PPO,
    "inner_kl_penalty": ("promp",),
    "reptile_steps": ("reptile",),
    "reptile_rate": ("reptile",),
    "embedding_size": ("prototype",),
    "encoder_epochs": ("prototype",),
    "trial_episodes": ("rl2",),
}
"""Options of some algorithms, which change nothing for all others."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides the result of a training run."""

    env_id: str = "metarobot/Grip-v0"
    """Registered id of the task family."""
    variant: Variant | None = None
    """Other tasks and disturbances of the family, from a file; none for the family as it is."""
    scene: SceneRecord | None = None
    """A scene of the user's in the place of the family's own, none for that."""
    algorithm: str = "maml"
    """Who is trained. domain_randomisation trains one policy on all tasks by the same code without
    adaptation; oracle does likewise, and observes the task parameters; all others adapt."""
    seed: int = 0
    """Seed of every draw."""
    total_steps: int = 2_000_000
    """Budget of simulated control steps, summed over all simulations and phases."""
    num_tasks: int = 20
    """N, tasks in a meta-batch."""
    episodes_per_task: int = 20
    """E, episodes on each task before each adaptation step, and after the last."""
    num_adaptation_steps: int = 1
    """K, adaptation steps before the post-update episodes; none for the references."""
    inner_lr: float = 0.1
    """α, step size of an adaptation step."""
    inner_objective: InnerObjective = "lvc"
    """What an adaptation step climbs; with likelihood_ratio the line search follows the function
    that was differentiated, and accepts longer steps."""
    first_order: bool = False
    """Drop the second derivatives of the adaptation from the meta-gradient."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Widths of the policy's tanh layers; the last is that of the memory where there is one."""
    initial_std: float = 0.5
    """Initial standard deviation of the action noise, in half action ranges."""
    min_std: float = MIN_STD
    """Floor of the action noise of algorithms that adapt, in half action ranges. The trust region
    is as narrow as the noise, so that a policy that has become certain can hardly learn. The
    reference algorithms, which suffer less from that, always have the lowest floor, 0.02."""
    trial_min_std: float = MIN_STD
    """Floor of the action noise in trial episodes. MAML's gradient does not credit exploration
    for what adaptation learns from it: without this floor, trials end up telling little."""
    normalise_inner: bool = True
    """Normalise the advantages of each task to standard deviation 1 before an adaptation step.
    Without, a task farther from its optimum takes a larger step, and inner_lr is per unit of
    return."""
    normalise_outer: bool = False
    """Normalise them for the meta-update as well, as the literature does. Every task then counts
    alike, however much is at stake in it. Without, tasks count as they do in the mean return, and
    one that has been learned first drowns the others."""
    discount: float = 0.99
    """γ, per control step."""
    gae_lambda: float = 1.0
    """λ of the advantage estimates."""
    max_kl: float = 0.01
    """Bound on the mean KL divergence of a meta-update between adapted policies, in nats."""
    cg_iterations: int = 10
    """Fisher products per meta-update."""
    cg_damping: float = 1e-2
    """Multiple of the identity added to the Fisher matrix."""
    line_search_steps: int = 15
    """Step lengths tried before the meta-update is given up."""
    line_search_decay: float = 0.8
    """Ratio of one step length to the one tried before."""
    fisher_episodes: int = 5
    """Episodes per task, at most, from which Fisher products are estimated."""
    outer_lr: float = 1e-3
    """Learning rate of Adam, for those who meta-update by it."""
    outer_epochs: int = 10
    """Steps of Adam on each meta-batch, at most."""
    outer_max_kl: float = 0.03
    """Bound, as max_kl, on where Adam's steps on a meta-batch lead, or Reptile's move. It is wider:
    not how far an update goes, but how far it cannot go."""
    clip_ratio: float = 0.2
    """How far probability ratios may move from 1 before PPO's gradient ends."""
    inner_kl_penalty: float = 5.0
    """ProMP's weight of the KL divergence of the policies that adaptation starts from, in units of
    the advantages' standard deviation per nat."""
    reptile_steps: int = 6
    """Adaptation steps on each task before Reptile moves θ towards where they lead. What makes that
    more than joint training grows with the pairs of them: 3 steps hardly learn to adapt."""
    reptile_rate: float = 1.0
    """How far Reptile moves θ towards their mean end, in (0, 1]."""
    embedding_size: int = 8
    """D, elements of the prototype that tells a policy its task."""
    encoder_epochs: int = 10
    """Steps of Adam that the task encoder takes on the trials of each meta-batch. Where they are
    too few, its loss in the log stays near log N, that of guessing."""
    trial_episodes: int = 5
    """Episodes of a trial of rl2, at most episodes_per_task. Its meta-batches are that much smaller
    than those of the others: within the same budget it improves more often."""
    num_threads: int = 0
    """Threads of the simulator and of torch; 0 takes every processor."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ValueError: A field is not allowed; the message names it, its value and what is allowed.
        """
        if not isinstance(self.env_id, str):
            self._refuse("env_id", "a string")
        self._check_variant()
        if not isinstance(self.scene, SceneRecord | None):
            self._refuse("scene", "a table, or none")
        for name in ("first_order", "normalise_inner", "normalise_outer"):
            if not isinstance(getattr(self, name), bool):
                self._refuse(name, "true or false")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                self._refuse(name, "one of " + ", ".join(choices))
        self._check_numbers()
        if self.algorithm == "prototype" and self.num_adaptation_steps * self.episodes_per_task < 2:
            raise ValueError(
                "the algorithm prototype compares the trial episodes of a task: "
                "num_adaptation_steps x episodes_per_task must be at least 2, "
                f"got {self.num_adaptation_steps} x {self.episodes_per_task}"
            )
        self._check_hidden_sizes()

    def _check_hidden_sizes(self) -> None:
        sizes = self.hidden_sizes
        if (
            not isinstance(sizes, tuple)
            or len(sizes) > MOST_LAYERS
            or not all(is_integer(size, 1, MOST_UNITS) for size in sizes)
        ):
            self._refuse(
                "hidden_sizes", f"up to {MOST_LAYERS} integers in [1, {MOST_UNITS}], the widths"
            )

    def _check_variant(self) -> None:
        if self.variant is None:
            return
        if not isinstance(self.variant, Variant):
            self._refuse("variant", "a table, or none")
        if self.variant.env_id != self.env_id:
            raise ValueError(
                f"variant {self.variant.name!r} is one of {self.variant.env_id}, "
                f"not of {self.env_id}"
            )

    def _check_numbers(self) -> None:
        for name, (least, most) in _INTEGERS.items():
            if not is_integer(getattr(self, name), least, most):
                self._refuse(name, f"an integer in [{least}, {most}]")
        for name, (low, high) in _INTERVALS.items():
            if not is_number(getattr(self, name), low, high):
                self._refuse(name, f"a number in [{low:g}, {high:g}]")

    def _refuse(self, name: str, allowed: str) -> NoReturn:
        raise ValueError(f"{name} must be {allowed}, got {show(getattr(self, name))}")

    @property
    def adaptation_steps(self) -> int:
        """K as trained with: none for the references; Reptile's last is on the last block.

        rl2 adapts from episode to episode within the post-update block, its trial.
        """
        if self.algorithm == "reptile":
            return self.reptile_steps - 1
        return 0 if self.algorithm in (*REFERENCES, "rl2") else self.num_adaptation_steps

    @property
    def block_shape(self) -> tuple[int, int]:
        """N tasks of a meta-batch, and E episodes on each of them in a block."""
        E = self.episodes_per_task
        return self.num_tasks, min(E, self.trial_episodes) if self.algorithm == "rl2" else E

    @property
    def decisive_fields(self) -> list[str]:
        """Names of the fields that decide what this algorithm learns."""
        names = [field.name for field in dataclasses.fields(self) if field.name != "num_threads"]
        return [name for name in names if self.algorithm in _READERS.get(name, ALGORITHM_NAMES)]

    @property
    def decisive_values(self) -> dict[str, Any]:
        """These fields, as values that JSON can hold."""
        values = self.to_dict()
        return {name: values[name] for name in self.decisive_fields}

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can hold."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        variant = self.variant.to_dict() if self.variant else None
        scene = self.scene.to_dict() if self.scene else None
        sizes = list(self.hidden_sizes)
        return {**fields, "variant": variant, "scene": scene, "hidden_sizes": sizes}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """Rebuild a configuration from `to_dict`; fields that are missing take their defaults.

        Raises:
            ValueError: A key is unknown, or a value is not allowed.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in names:
                near = difflib.get_close_matches(str(key)[:100], names, n=1, cutoff=0.0)[0]
                raise ValueError(f"unknown configuration field {show(key)}: nearest is {near!r}")
        fields = dict(values)
        if isinstance(fields.get("hidden_sizes"), list):
            fields["hidden_sizes"] = tuple(fields["hidden_sizes"])
        if isinstance(fields.get("variant"), Mapping):
            fields["variant"] = Variant.from_dict(fields["variant"])
        if isinstance(fields.get("scene"), Mapping):
            fields["scene"] = SceneRecord.from_dict(fields["scene"])
        return cls(**fields)


_CHOICES: dict[str, tuple[str, ...]] = {
    "algorithm": ALGORITHM_NAMES,
    "inner_objective": INNER_OBJECTIVES,
}
_INTEGERS: dict[str, tuple[int, int]] = {
    "seed": (0, MOST_SEED),
    "total_steps": (1, 10**12),  # three years at 10,000 control steps a second
    "num_tasks": (1, MOST_TASKS),
    "episodes_per_task": (1, MOST_EPISODES),
    "num_adaptation_steps": (0, MOST_ADAPTATION_STEPS),
    "cg_iterations": (1, 1000),
    "line_search_steps": (1, 1000),
    "fisher_episodes": (1, MOST_EPISODES),
    "outer_epochs": (1, 10_000),
    "reptile_steps": (1, 1000),
    "embedding_size": (1, 1024),
    "encoder_epochs": (1, 10_000),
    "trial_episodes": (1, MOST_EPISODES),
    "num_threads": (0, MOST_THREADS),
}
"""Least and most of every integer. What several of them multiply to is bounded by the memory that
it takes (`metarobot/memory.py`)."""
_INTERVALS: dict[str, tuple[float, float]] = {
    "inner_lr": (1e-6, 100.0),
    "initial_std": (MIN_STD, 10.0),
    "min_std": (MIN_STD, 10.0),
    "trial_min_std": (MIN_STD, 10.0),
    "discount": (0.0, 1.0),
    "gae_lambda": (0.0, 1.0),
    "max_kl": (1e-8, 10.0),
    "cg_damping": (0.0, 10.0),
    "line_search_decay": (0.01, 0.99),
    "outer_lr": (1e-8, 10.0),
    "outer_max_kl": (1e-8, 10.0),
    "clip_ratio": (0.01, 1.0),
    "inner_kl_penalty": (0.0, 100.0),
    "reptile_rate": (1e-6, 1.0),
}
