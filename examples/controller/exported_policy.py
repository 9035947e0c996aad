"""Act with a policy that `metarobot export --format onnx` wrote: onnxruntime and numpy alone."""

import numpy as np
import onnxruntime


class ExportedPolicy:
    """The policy of one robot."""

    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(path)
        self.feeds = {i.name: np.zeros((1, i.shape[1])) for i in self.session.get_inputs()}

    def act(self, observation, reward=np.nan, begins=False):
        """Return the action; `reward` is of the step before, `begins` says a new episode."""
        if not np.isfinite(observation).all():
            raise ValueError(f"observation must hold finite numbers, got {list(observation)}")
        given = {"observation": observation, "reward": reward, "begins": begins}
        self.feeds |= {n: np.float64(given[n]).reshape(1, -1) for n in given if n in self.feeds}
        action, *states = self.session.run(None, self.feeds)
        self.feeds |= zip([n for n in self.feeds if n.startswith("state_")], states, strict=True)
        return action[0]
