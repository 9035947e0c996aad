"""The task families of the package, by their Gymnasium ids."""

import gymnasium as gym

PACKAGE_FAMILIES = {
    "metarobot/Reach-v0": "reach:ReachVectorEnv",
    "metarobot/ReachHiddenGoal-v0": "reach_hidden_goal:ReachHiddenGoalVectorEnv",
    "metarobot/ReachFeedForward-v0": "reach_feed_forward:ReachFeedForwardVectorEnv",
    "metarobot/Grip-v0": "grip:GripVectorEnv",
    "metarobot/Slide-v0": "slide:SlideVectorEnv",
    "metarobot/Push-v0": "push:PushVectorEnv",
    "metarobot/Carry-v0": "carry:CarryVectorEnv",
    "metarobot/Insert-v0": "insert:InsertVectorEnv",
    "metarobot/HalfCheetahDirection-v0": "half_cheetah:HalfCheetahDirectionVectorEnv",
    "metarobot/HalfCheetahVelocity-v0": "half_cheetah:HalfCheetahVelocityVectorEnv",
    "metarobot/PointNavigation-v0": "point_navigation:PointNavigationVectorEnv",
}
"""The native batch of every family of the package, as ``module:Class`` within `metarobot.envs`."""


def register_id(env_id: str) -> None:
    """Let ``gym.make`` and ``gym.make_vec`` know a family; both import it when they make it.

    Args:
        env_id: Its Gymnasium id, ``NAMESPACE/Name-vN``.
    """
    gym.register(
        env_id,
        entry_point="metarobot.envs.single_env:TaskEnv",
        vector_entry_point="metarobot.envs.registration:make_env",
        kwargs={"env_id": env_id},
    )
