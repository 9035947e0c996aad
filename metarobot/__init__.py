"""metarobot: meta-learned robot policies that adapt to a new payload, surface or drive.

Importing the package registers the task families with Gymnasium.
"""

from importlib.metadata import PackageNotFoundError, version

from metarobot.opengl import choose_gl_backend

choose_gl_backend()  # MuJoCo reads MUJOCO_GL when it is imported, which envs does

from metarobot import envs  # noqa: E402

try:
    __version__ = version("metarobot")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__", "envs"]
