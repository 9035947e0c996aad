"""Configuration of a training run: what its algorithms have in common, and what each one has."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NoReturn, Self

from metarobot.envs.checks import is_integer, show
from metarobot.envs.scene import SceneRecord
from metarobot.envs.variants import Variant
from metarobot.machine import MOST_THREADS
from metarobot.options import AlgorithmOptions, Checked, Value, integer, number, switch
from metarobot.policies.gaussian import MIN_STD

MOST_SEED = 2**63 - 1
MOST_TASKS = 10_000
MOST_EPISODES = 10_000
"""On each task, in one block."""
MOST_ADAPTATION_STEPS = 100
MOST_LAYERS, MOST_UNITS = 16, 8192
"""Of `hidden_sizes`: layers, and units of each."""
_MOST_STEPS = 10**12
"""Three years at 10,000 control steps a second."""


@dataclass(frozen=True, kw_only=True)
class CommonConfig(Checked):
    """What every algorithm reads."""

    env_id: str = "metarobot/Grip-v0"
    """Registered id of the task family."""
    variant: Variant | None = None
    """Other tasks and disturbances of the family, from a file; none for the family as it is."""
    scene: SceneRecord | None = None
    """A scene of the user's in the place of the family's own, none for that."""
    seed: int = integer(0, 0, MOST_SEED)
    """Seed of every draw."""
    total_steps: int = integer(2_000_000, 1, _MOST_STEPS)
    """Budget of simulated control steps, summed over all simulations and phases; the meta-iteration
    that reaches it is completed."""
    num_tasks: int = integer(20, 1, MOST_TASKS)
    """N, tasks in a meta-batch."""
    episodes_per_task: int = integer(20, 1, MOST_EPISODES)
    """E, episodes on each task before each adaptation step, and after the last."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Widths of the policy's tanh layers; the last is that of the memory where there is one. An
    empty tuple, from Python only, makes the policy linear."""
    initial_std: float = number(0.5, MIN_STD, 10.0)
    """Initial standard deviation of the action noise, in half action ranges."""
    normalise_outer: bool = switch(False)
    """Normalise the advantages of each task to standard deviation 1 for the meta-update, as the
    literature does. Every task then counts alike, however much is at stake in it. Without, tasks
    count as they do in the mean return, and one that has been learned first drowns the others."""
    discount: float = number(0.99, 0.0, 1.0)
    """γ, per control step."""
    gae_lambda: float = number(1.0, 0.0, 1.0)
    """λ of the advantage estimates."""
    num_threads: int = integer(0, 0, MOST_THREADS)
    """Threads of the simulator and of torch; 0 takes every processor."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ValueError: A field is not allowed; the message names it, its value and what is allowed.
        """
        super().__post_init__()
        if not isinstance(self.env_id, str):
            self._refuse("env_id", "a string")
        self._check_variant()
        if not isinstance(self.scene, SceneRecord | None):
            self._refuse("scene", "a table, or none")
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

    def _refuse(self, name: str, allowed: str) -> NoReturn:
        raise ValueError(f"{name} must be {allowed}, got {show(getattr(self, name))}")

    @property
    def common(self) -> dict[str, Any]:
        """The fields that all algorithms have in common, by name."""
        return {name: getattr(self, name) for name in COMMON_NAMES}

    def common_values(self) -> dict[str, Any]:
        """Return the common fields as values that JSON can hold."""
        variant = self.variant.to_dict() if self.variant else None
        scene = self.scene.to_dict() if self.scene else None
        sizes = list(self.hidden_sizes)
        return {**self.common, "variant": variant, "scene": scene, "hidden_sizes": sizes}


COMMON_NAMES = tuple(field.name for field in fields(CommonConfig))
"""Names of what all algorithms have in common."""


@dataclass(frozen=True, kw_only=True)
class RunConfig(CommonConfig):
    """What the algorithms of one run have in common: a preset, or a change of one.

    `metarobot.algorithms.configure` makes the configuration of one algorithm from it.
    """

    options: Mapping[str, Value] = field(default_factory=dict)
    """Options by name, for every algorithm that reads them; each algorithm's own otherwise."""

    def with_options(self, **options: Value) -> Self:
        """Return the same with other values of some options."""
        return replace(self, options={**self.options, **options})


@dataclass(frozen=True, kw_only=True)
class TrainConfig(CommonConfig):
    """Everything that decides the result of training one algorithm, and nothing else.

    `metarobot.algorithms.train_config` makes one; its fields are what config.json holds.
    """

    algorithm: str
    """Name of who is trained."""
    options: AlgorithmOptions
    """What that algorithm reads besides."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ValueError: A field is not allowed; the message names it, its value and what is allowed.
        """
        super().__post_init__()
        if not isinstance(self.algorithm, str):
            self._refuse("algorithm", "a string")
        if not isinstance(self.options, AlgorithmOptions):
            self._refuse("options", "the options of an algorithm")
        self.options.check_episodes(self.episodes_per_task)

    @property
    def adaptation_steps(self) -> int:
        """Adaptation steps K of a meta-iteration, before the post-update episodes."""
        return self.options.adaptation_steps

    @property
    def block_shape(self) -> tuple[int, int]:
        """N tasks of a meta-batch, and E episodes on each of them in a block."""
        return self.num_tasks, self.options.num_episodes(self.episodes_per_task)

    @property
    def decisive_values(self) -> dict[str, Any]:
        """Every value that decides what is learned, common fields and options side by side."""
        values = {**self.common_values(), "algorithm": self.algorithm, **self._options()}
        del values["num_threads"]
        return values

    @property
    def chosen_values(self) -> dict[str, Any]:
        """These values, without those that are the algorithm's nature."""
        own = {"algorithm", *self.options.names()} - {*self.options.names(free=True)}
        return {name: value for name, value in self.decisive_values.items() if name not in own}

    def with_options(self, **options: Value) -> Self:
        """Return the same with other values of some options."""
        return replace(self, options=replace(self.options, **options))

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as config.json holds it."""
        return {**self.common_values(), "algorithm": self.algorithm, "options": self._options()}

    def _options(self) -> dict[str, Value]:
        return {name: getattr(self.options, name) for name in self.options.names()}
