"""Named configurations: one for every task family, with what suits it.

The options of a preset go to every algorithm that reads them.
"""

from dataclasses import replace

from metarobot.config import RunConfig
from metarobot.envs import file_name, nearest_name
from metarobot.envs.registration import FAMILIES, OUTSIDE_PRESETS
from metarobot.package_families import PACKAGE_FAMILIES

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
    options={"inner_lr": 0.5, "adaptation_min_std": 0.2, "max_kl": 0.03},
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
        _REACH.with_options(adaptation_min_std=0.4),
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
    "half-cheetah-direction": _HALF_CHEETAH,
    "half-cheetah-velocity": replace(_HALF_CHEETAH, env_id="metarobot/HalfCheetahVelocity-v0"),
    "point-navigation": RunConfig(
        env_id="metarobot/PointNavigation-v0",
        total_steps=4_000_000,
        initial_std=0.5,
        options={"inner_lr": 0.5, "adaptation_min_std": 0.3, "max_kl": 0.03},
    ),
}
"""By the name that `metarobot train` takes."""

for _env_id in PACKAGE_FAMILIES:
    PRESETS.setdefault(file_name(_env_id), RunConfig(env_id=_env_id))


def find_preset(name: str) -> RunConfig:
    """Return the preset of a task family.

    Args:
        name: A preset of the package, or the id of a registered family. A family that was
            registered without a preset has the defaults of `RunConfig`.

    Raises:
        ValueError: There is none, or what a family was registered with is no `RunConfig`.
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
