"""The bridge to Stable-Baselines3: the batch as its `VecEnv`, policies to its PPO and back."""

from metarobot.sb3.ppo import export_ppo, import_ppo
from metarobot.sb3.vec_env import SB3VecEnv

__all__ = ["SB3VecEnv", "export_ppo", "import_ppo"]
