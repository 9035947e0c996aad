"""Print what each algorithm has learned after a few meta-iterations, as one hash.

Training is deterministic, so a change of the code that is meant to change no result leaves every
hash as it was. They differ between kinds of processors and versions of libraries: compare hashes of
one machine only. Everything goes through the command line, so that no change inside can hide.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.numpy import load_file

from metarobot.algorithms import ALGORITHMS, configure, make_algorithm
from metarobot.presets import PRESETS
from metarobot.training.functional_policy import make_policy

HORIZON = {"reach": 40, "slide": 8}
"""Control steps an episode of each preset."""


def main() -> int:
    """Train every algorithm for a few meta-iterations on each preset, and print the hashes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presets", nargs="+", default=list(HORIZON))
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS))
    parser.add_argument("--iterations", type=int, default=3)
    arguments = parser.parse_args()
    hashes = {
        f"{preset} {name}": fingerprint(preset, name, arguments.iterations)
        for preset in arguments.presets
        for name in arguments.algorithms
    }
    print(json.dumps(hashes, indent=2))
    return 0


def fingerprint(preset: str, algorithm: str, iterations: int) -> str:
    """Return the SHA-256 of the parameters after a number of meta-iterations."""
    budget = (iterations - 1) * steps_of_an_iteration(preset, algorithm) + 1
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "metarobot", "train", preset, "--algorithms", algorithm]
        command += ["--total-steps", str(budget), "--out", str(run)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        done = json.loads((run / algorithm / "done.json").read_text(encoding="utf-8"))
        if done["iterations"] != iterations:
            raise ValueError(f"{preset} {algorithm}: {done}, wanted {iterations} iterations")
        tensors = load_file(run / algorithm / "policy.safetensors")
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].tobytes())
    return digest.hexdigest()


def steps_of_an_iteration(preset: str, algorithm: str) -> int:
    """Return the control steps of a meta-iteration, over all tasks and blocks of episodes."""
    config = configure(PRESETS[preset], algorithm)
    learner = make_algorithm(config, make_policy(config))
    num_episodes = config.adaptation_steps * learner.num_adaptation_episodes(0)
    num_episodes += config.block_shape[1]
    return config.num_tasks * num_episodes * HORIZON[preset]


if __name__ == "__main__":
    sys.exit(main())
