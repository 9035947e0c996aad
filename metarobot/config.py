"""Configuration: options with their bounds, configurations of runs, algorithms and films, presets.

Options are frozen dataclasses whose fields state their bounds beside their values.  A preset is a
`RunConfig` for one task family; its options go to every algorithm that reads them.  Neither torch
nor MuJoCo is imported, so that help and refusals are printed at once.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, Self, get_args

from metarobot.envs.checks import (
    is_integer,
    is_number,
    keep_plain_integers,
    nearest_name,
    require_integers,
    show,
)
from metarobot.envs.registration import FAMILIES, OUTSIDE_PRESETS
from metarobot.envs.tasks import Split
from metarobot.machine import MOST_THREADS
from metarobot.policies import MIN_STD

if TYPE_CHECKING:
    from metarobot.envs.scene import SceneRecord
    from metarobot.envs.variants import Variant

Value = bool | int | float | str
"""Value of an option; JSON can hold it."""


class Bounds(NamedTuple):
    """Allowed values of a field."""

    allows: Callable[[Any], bool]
    meaning: str
    """Allowed values, for a message."""
    fixed: bool = False
    """Whether the algorithm always has this value; presets do not change it."""


def number(default: float, low: float, high: float) -> Any:
    """Declare a field that holds a number in [low, high]."""
    return _field(
        default,
        Bounds(lambda value: is_number(value, low, high), f"a number in [{low:g}, {high:g}]"),
    )


def integer(default: int, least: int, most: int) -> Any:
    """Declare a field that holds an integer in [least, most]."""
    return _field(
        default,
        Bounds(lambda value: is_integer(value, least, most), f"an integer in [{least}, {most}]"),
    )


def switch(default: bool) -> Any:
    """Declare a field that is true or false."""
    return _field(default, Bounds(lambda value: isinstance(value, bool), "true or false"))


def choice(default: str, choices: tuple[str, ...]) -> Any:
    """Declare a field that holds one of several words."""
    return _field(default, Bounds(lambda value: value in choices, "one of " + ", ".join(choices)))


def fixed(value: Value) -> Any:
    """Declare a field with the only value that the algorithm has: saved, but not an option."""

    def allows(other: object) -> bool:
        return type(other) is type(value) and other == value

    return _field(value, Bounds(allows, f"{_as_json(value)}, as the algorithm has it", fixed=True))


def _field(default: Value, bounds: Bounds) -> Any:
    return dataclasses.field(default=default, metadata={"bounds": bounds})


def _is_fixed(option: dataclasses.Field[Any]) -> bool:
    bounds = option.metadata.get("bounds")
    return bounds is not None and bounds.fixed


def _as_json(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A dataclass that checks its values against the bounds of its fields."""

    def __post_init__(self) -> None:
        """Check every field that states bounds.

        Raises:
            ValueError: A value is not allowed; the message names the field, the value and the
                allowed values.
        """
        keep_plain_integers(self)
        for each in fields(self):
            bounds = each.metadata.get("bounds")
            value = getattr(self, each.name)
            if bounds and not bounds.allows(value):
                raise ValueError(f"{each.name} must be {bounds.meaning}, got {show(value)}")


@dataclass(frozen=True, kw_only=True)
class AlgorithmOptions(Checked):
    """Options of one algorithm beside the common fields; each algorithm has its own subclass."""

    @property
    def adaptation_steps(self) -> int:
        """Adaptation steps K before the post-update episodes of a meta-batch."""
        return getattr(self, "num_adaptation_steps", 0)

    @property
    def share_without_task(self) -> float:
        """Share of the meta-iterations, at the beginning, in which no task is told."""
        return getattr(self, "careful_share", 0.0)

    def num_episodes(self, episodes_per_task: int) -> int:
        """Return the episodes E on each task in one block of a meta-batch."""
        return episodes_per_task

    def check_episodes(self, episodes_per_task: int) -> None:
        """Refuse a number of episodes in a block that the algorithm cannot learn from.

        Raises:
            ValueError: It is too small; the message names the minimum.
        """

    @classmethod
    def names(cls, *, free: bool = False) -> tuple[str, ...]:
        """Return the names of all options, or only of those that can be chosen."""
        return tuple(field.name for field in fields(cls) if not (free and _is_fixed(field)))

    @classmethod
    def chosen_from(cls, values: Mapping[str, Value]) -> Self:
        """Build options from those values that this algorithm lets one choose.

        Args:
            values: By name; those that the algorithm does not read are ignored.

        Raises:
            ValueError: A value is not allowed.
        """
        return cls(**{name: values[name] for name in cls.names(free=True) if name in values})


MOST_KL = 10.0
"""Limit of `TrustRegion.max_kl`, in nats."""


@dataclass(frozen=True, kw_only=True)
class TrustRegion(Checked):
    """The trust region of a meta-update, and the search in it."""

    max_kl: float = number(0.01, 1e-8, MOST_KL)
    """Bound on the mean KL divergence of a meta-update between adapted policies, in nats."""
    cg_iterations: int = integer(10, 1, 1000)
    """Fisher products per meta-update."""
    cg_damping: float = number(1e-2, 0.0, 10.0)
    """Multiple of the identity added to the Fisher matrix."""
    line_search_steps: int = integer(15, 1, 1000)
    """Step lengths tried before the meta-update is given up."""
    line_search_decay: float = number(0.8, 0.01, 0.99)
    """Ratio of one step length to the one tried before."""
    fisher_episodes: int = integer(5, 1, 10_000)
    """Episodes per task, at most, from which Fisher products are estimated."""


@dataclass(frozen=True, kw_only=True)
class AdamOptions(Checked):
    """A meta-update by several epochs of Adam."""

    outer_lr: float = number(1e-3, 1e-8, 10.0)
    """Learning rate of Adam."""
    outer_epochs: int = integer(10, 1, 10_000)
    """Steps of Adam on each meta-batch, at most."""
    outer_max_kl: float = number(0.03, 1e-8, 10.0)
    """Bound on the mean KL divergence between adapted policies that the steps on one meta-batch
    lead to, in nats. Looser than `max_kl` of a trust region: a safety limit, not a target."""


InnerObjective = Literal["lvc", "likelihood_ratio", "dice"]
"""Objective of an adaptation step."""
INNER_OBJECTIVES: tuple[InnerObjective, ...] = get_args(InnerObjective)


def require_known(names: Iterable[str], known: Iterable[str], kind: str) -> None:
    """Refuse an unknown name; the message suggests the nearest known one.

    Raises:
        ValueError: A name is unknown.
    """
    known = list(known)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name)[:100], known, n=1, cutoff=0.0)
            raise ValueError(f"unknown {kind} {show(name)}: nearest is {near[0]!r}")


def require_count(name: str, value: int) -> None:
    """Refuse a count that is negative or not an integer.

    Raises:
        ValueError: It is no integer, or below 0.
    """
    if not is_integer(value, 0, sys.maxsize):
        raise ValueError(f"{name} must be an integer, at least 0: got {show(value)}")


@cache
def docstrings(cls: type) -> dict[str, str]:
    """Return the docstring of every field of a dataclass and its bases, by name, in one line."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        node = _classes(inspect.getfile(base)).get(base.__name__)
        for statement, below in pairwise(node.body if node else ()):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found[statement.target.id] = " ".join(str(below.value.value).split())
    return found


@cache
def _classes(file: str) -> dict[str, ast.ClassDef]:
    """Return the classes of a file, by name."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


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
    """Fields that every algorithm reads."""

    env_id: str = "metarobot/Grip-v0"
    """Registered id of the task family."""
    variant: Variant | None = None
    """Variant with other tasks and disturbances, from a file; none for the family itself."""
    scene: SceneRecord | None = None
    """Scene of the user that replaces the family's own; none for the family's own."""
    seed: int = integer(0, 0, MOST_SEED)
    """Seed of all random numbers."""
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
            ValueError: A value is not allowed; the message names field, value and bounds.
        """
        super().__post_init__()
        if not isinstance(self.env_id, str):
            self._refuse("env_id", "a string")
        self._check_variant()
        self._check_scene()
        sizes = self.hidden_sizes
        if (
            not isinstance(sizes, tuple)
            or len(sizes) > MOST_LAYERS
            or not all(is_integer(size, 1, MOST_UNITS) for size in sizes)
        ):
            self._refuse(
                "hidden_sizes", f"up to {MOST_LAYERS} integers in [1, {MOST_UNITS}], the widths"
            )

    def _check_scene(self) -> None:
        if self.scene is None:
            return
        from metarobot.envs.scene import SceneRecord  # and MuJoCo

        if not isinstance(self.scene, SceneRecord):
            self._refuse("scene", "a table, or none")

    def _check_variant(self) -> None:
        if self.variant is None:
            return
        from metarobot.envs.variants import Variant  # and MuJoCo

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
"""Names of the fields that all algorithms have in common."""


@dataclass(frozen=True, kw_only=True)
class RunConfig(CommonConfig):
    """Configuration that the algorithms of one run share: a preset, or a changed preset.

    `metarobot.algorithms.configure` makes the configuration of one algorithm from it.
    """

    options: Mapping[str, Value] = field(default_factory=dict)
    """Options by name, for every algorithm that reads them; missing ones have their defaults."""

    def with_options(self, **options: Value) -> Self:
        """Return the same with other values of some options."""
        return replace(self, options={**self.options, **options})


@dataclass(frozen=True, kw_only=True)
class TrainConfig(CommonConfig):
    """Everything that decides the result of training one algorithm, and nothing else.

    `metarobot.algorithms.train_config` makes one; config.json holds its fields.
    """

    algorithm: str
    """Name of the algorithm."""
    options: AlgorithmOptions
    """Options of that algorithm."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ValueError: A value is not allowed; the message names field, value and bounds.
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
        """Every value that training depends on, common fields and options side by side."""
        values = {**self.common_values(), "algorithm": self.algorithm, **self._options()}
        del values["num_threads"]
        return values

    @property
    def chosen_values(self) -> dict[str, Any]:
        """These values, without the algorithm's name and fixed options."""
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


MOST_PICTURES = 3
"""Most pictures of an adapted policy beside the one before adapting."""
MOST_SIDE = 5
"""Tasks along each side of a grid."""
MOST_FILMS = 10
"""Films of worst tasks in a report."""


@dataclass(frozen=True, kw_only=True)
class RenderConfig:
    """Task and adaptation of a film."""

    algorithm: str | None = None
    """Algorithm that adapts; by default latent, then maml, then any other that the run holds."""
    split: Split | None = None
    """Split of the task, unless it is given; by default extrapolation, or the family's split
    farthest from training."""
    seed: int = 0
    """Seed of the task, of the adaptation episodes and of the start that is filmed."""
    adaptation_episodes: tuple[int, ...] = (0, 1, 5)
    """Adaptation episodes, in one block, after which the policy is filmed, at most three numbers;
    it is filmed before adapting in any case. Of one task they stand side by side, of a grid they
    follow each other."""
    contact_forces: bool = False
    """Draw contact forces as arrows, and bodies so that the arrows show through."""
    slow_motion: float = 2.0
    """Slow-down factor of the video."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        require_integers(self, {"seed": (0, MOST_SEED)})
        numbers = self.adaptation_episodes
        if not (
            isinstance(numbers, tuple)
            and all(is_integer(number, 0, MOST_EPISODES) for number in numbers)
            and len(numbers) >= 1
            and len([number for number in numbers if number]) <= MOST_PICTURES
        ):
            raise ValueError(
                f"adaptation_episodes must be integers in [0, {MOST_EPISODES}], at most "
                f"{MOST_PICTURES} besides 0, got {show(numbers)}"
            )
        if not is_number(self.slow_motion, 0.1, 100.0):
            raise ValueError(f"slow_motion must lie in [0.1, 100], got {show(self.slow_motion)}")

    @property
    def stages(self) -> tuple[int, ...]:
        """Adaptation episodes before each picture: none, then those asked for."""
        return (0, *filter(None, self.adaptation_episodes))


@dataclass(frozen=True, kw_only=True)
class GridSize:
    """Size of a film's grid of tasks."""

    columns: int
    """Values from left to right."""
    rows: int
    """Values upwards."""
    parameters: tuple[str, ...] = ()
    """Names of the task parameters of the columns and the rows; by default those of the family's
    heat map, or its first ones."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not all(is_integer(side, 1, MOST_SIDE) for side in (self.columns, self.rows)):
            raise ValueError(
                f"a grid has 1x1 to {MOST_SIDE}x{MOST_SIDE} tasks, got {self.columns}x{self.rows}"
            )
        if len(self.parameters) > 2:
            raise ValueError(f"a grid has two sides, got {len(self.parameters)} task parameters")


_REACH = RunConfig(
    env_id="metarobot/Reach-v0",
    total_steps=1_600_000,
    initial_std=0.3,
    discount=0.95,
    gae_lambda=0.9,
    options={"inner_lr": 0.3, "adaptation_min_std": 0.3},
)

# An outcome that is rewarded once, at the end, by how much it is missed: docs/architecture.md.
_STROKE = RunConfig(
    env_id="metarobot/Slide-v0",
    total_steps=320_000,
    initial_std=0.4,
    options={
        "inner_lr": 0.2,
        "inner_objective": "likelihood_ratio",
        "normalise_inner": False,
        "min_std": 0.1,
        "adaptation_min_std": 0.4,
        "max_kl": 0.02,
        # There are few meta-iterations, and one reward an episode tells the task.
        "encoder_epochs": 100,
    },
)

_HALF_CHEETAH = RunConfig(
    env_id="metarobot/HalfCheetahDirection-v0",
    total_steps=6_400_000,
    initial_std=0.3,
    normalise_outer=True,
    gae_lambda=0.95,
    options={"inner_lr": 0.5, "adaptation_min_std": 0.2, "max_kl": 0.03, "fisher_episodes": 3},
)

PRESETS: dict[str, RunConfig] = {
    "reach": _REACH,
    "grip": RunConfig(
        env_id="metarobot/Grip-v0",
        total_steps=1_000_000,
        initial_std=0.4,
        discount=0.6,
        options={
            "inner_lr": 0.3,
            "inner_objective": "likelihood_ratio",
            "normalise_inner": False,
            "min_std": 0.15,
            "adaptation_min_std": 0.35,
            "max_kl": 0.02,
        },
    ),
    "reach-hidden-goal": replace(
        _REACH.with_options(adaptation_min_std=0.4, reward_products=True),
        env_id="metarobot/ReachHiddenGoal-v0",
        initial_std=0.4,
    ),
    "reach-feed-forward": replace(
        _REACH, env_id="metarobot/ReachFeedForward-v0", total_steps=600_000
    ),
    "push": replace(
        _STROKE.with_options(inner_lr=0.3), env_id="metarobot/Push-v0", total_steps=600_000
    ),
    "carry": replace(_STROKE, env_id="metarobot/Carry-v0", total_steps=2_000_000),
    "slide": _STROKE,
    "insert": replace(_STROKE, env_id="metarobot/Insert-v0", total_steps=2_000_000),
    # The values that its check proposes, as for a family from outside.
    "panda": RunConfig(env_id="metarobot/Panda-v0", total_steps=5_600_000, initial_std=0.05),
    "half-cheetah-direction": _HALF_CHEETAH,
    "half-cheetah-velocity": replace(_HALF_CHEETAH, env_id="metarobot/HalfCheetahVelocity-v0"),
    "point-navigation": RunConfig(
        env_id="metarobot/PointNavigation-v0",
        total_steps=4_000_000,
        initial_std=0.5,
        options={"inner_lr": 0.5, "adaptation_min_std": 0.3, "max_kl": 0.03},
    ),
}
"""Presets by the name that `metarobot train` takes."""


def find_preset(name: str) -> RunConfig:
    """Return the preset of a task family.

    Args:
        name: A preset of the package, or the id of a registered family. A family that was
            registered without a preset has the defaults of `RunConfig`.

    Raises:
        ValueError: There is none, or the registered preset is not a `RunConfig`.
    """
    if name in PRESETS:
        return PRESETS[name]
    if name not in FAMILIES:
        hint = nearest_name(name, [*PRESETS, *FAMILIES])
        raise ValueError(
            f"no preset {name!r}, allowed: {', '.join(PRESETS)}, or MODULE:ID for a task family of "
            f"yours{hint}"
        )
    shipped = (preset for preset in PRESETS.values() if preset.env_id == name)
    preset = OUTSIDE_PRESETS.get(name) or next(shipped, RunConfig(env_id=name))
    if not isinstance(preset, RunConfig):
        kind = type(preset).__name__
        raise ValueError(f"the preset of {name!r} must be a RunConfig, got a {kind}")
    return preset
