"""Named configurations: one for every task family, with what suits it."""

from dataclasses import replace

from metarobot.config import TrainConfig
from metarobot.envs import file_name, nearest_name
from metarobot.envs.registration import FAMILIES, OUTSIDE_PRESETS
from metarobot.package_families import PACKAGE_FAMILIES

_REACH = TrainConfig(
    env_id="metarobot/Reach-v0",
    total_steps=1_600_000,
    inner_lr=0.3,
    initial_std=0.3,
    trial_min_std=0.3,
    discount=0.95,
    gae_lambda=0.9,
)

# An outcome that is rewarded once, at the end, by how much it is missed: docs/architecture.md.
_STROKE = TrainConfig(
    env_id="metarobot/Slide-v0",
    total_steps=320_000,
    inner_lr=0.2,
    inner_objective="likelihood_ratio",
    normalise_inner=False,
    initial_std=0.4,
    min_std=0.1,
    trial_min_std=0.4,
    max_kl=0.02,
    encoder_epochs=100,  # there are few meta-iterations, and one reward an episode tells the task
)

_HALF_CHEETAH = TrainConfig(
    env_id="metarobot/HalfCheetahDirection-v0",
    total_steps=6_400_000,
    inner_lr=0.5,
    initial_std=0.3,
    trial_min_std=0.2,
    normalise_outer=True,
    gae_lambda=0.95,
    max_kl=0.03,
)

PRESETS: dict[str, TrainConfig] = {
    "reach": _REACH,
    "grip": TrainConfig(
        env_id="metarobot/Grip-v0",
        total_steps=1_000_000,
        inner_lr=0.3,
        inner_objective="likelihood_ratio",
        normalise_inner=False,
        initial_std=0.4,
        min_std=0.15,
        trial_min_std=0.35,
        discount=0.6,
        max_kl=0.02,
    ),
    "reach-hidden-goal": replace(
        _REACH,
        env_id="metarobot/ReachHiddenGoal-v0",
        initial_std=0.4,
        trial_min_std=0.4,
    ),
    "reach-feed-forward": replace(
        _REACH, env_id="metarobot/ReachFeedForward-v0", total_steps=600_000
    ),
    "push": replace(_STROKE, env_id="metarobot/Push-v0", total_steps=600_000, inner_lr=0.3),
    "slide": _STROKE,
    "half-cheetah-direction": _HALF_CHEETAH,
    "half-cheetah-velocity": replace(_HALF_CHEETAH, env_id="metarobot/HalfCheetahVelocity-v0"),
    "point-navigation": TrainConfig(
        env_id="metarobot/PointNavigation-v0",
        total_steps=4_000_000,
        inner_lr=0.5,
        initial_std=0.5,
        trial_min_std=0.3,
        max_kl=0.03,
    ),
}
"""By the name that `metarobot train` takes."""

for _env_id in PACKAGE_FAMILIES:
    PRESETS.setdefault(file_name(_env_id), TrainConfig(env_id=_env_id))


def find_preset(name: str) -> TrainConfig:
    """Return the preset of a task family.

    Args:
        name: A preset of the package, or the id of a registered family. A family that was
            registered without a preset has the defaults of `TrainConfig`.

    Raises:
        ValueError: There is none, or what a family was registered with is no `TrainConfig`.
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
    preset = OUTSIDE_PRESETS.get(name) or next(shipped, TrainConfig(env_id=name))
    if not isinstance(preset, TrainConfig):
        kind = type(preset).__name__
        raise ValueError(f"the preset of {name!r} must be a TrainConfig, got a {kind}")
    return preset
