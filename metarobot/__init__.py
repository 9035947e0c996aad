"""metarobot: meta-learned robot policies that adapt to a new payload, surface or drive.

Importing the package registers the task families with Gymnasium.
"""

import os
from importlib.metadata import PackageNotFoundError, version

from metarobot.opengl import import_mujoco
from metarobot.output import occupy_closed_descriptors

# torch's threads wait for more work by spinning, on the cores that MuJoCo's threads then need: a
# rollout would take up to a third longer.  OpenMP reads this when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
occupy_closed_descriptors()  # before the first process is started, which imports below do
import_mujoco()  # before envs does: its own import fails where the OpenGL of MUJOCO_GL is missing

from metarobot import envs  # noqa: E402

try:
    __version__ = version("metarobot")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__", "envs"]
