"""Print what each algorithm has learned after a few meta-iterations, as one hash.

Training is deterministic, so a change of the code that is meant to change no result leaves every
hash as it was. They differ between kinds of processors and versions of libraries: compare hashes of
one machine only. Everything goes through the command line, so that no change inside can hide.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from commands import check_names, takes_options
from safetensors.numpy import load_file

from metarobot.algorithms import ALGORITHMS, configure, make_algorithm
from metarobot.presets import PRESETS
from metarobot.training.functional_policy import make_policy

HORIZON = {"reach": 40, "slide": 8}
"""Control steps an episode of each preset."""


@dataclass(frozen=True, kw_only=True)
class FingerprintCommand:
    """Print what each algorithm has learned after a few meta-iterations, as one hash."""

    presets: tuple[str, ...] = tuple(HORIZON)
    """Presets that are trained on."""
    algorithms: tuple[str, ...] = tuple(ALGORITHMS)
    """Algorithms that are trained on each."""
    iterations: int = 3
    """Meta-iterations of each training."""

    def __post_init__(self) -> None:
        """Check the names."""
        check_names("preset", self.presets, HORIZON)
        check_names("algorithm", self.algorithms, ALGORITHMS)


@takes_options(FingerprintCommand, "fingerprint.py")
def main(command: FingerprintCommand) -> None:
    """Train every algorithm on each preset, and print the hashes."""
    hashes = {
        f"{preset} {name}": fingerprint(preset, name, command.iterations)
        for preset in command.presets
        for name in command.algorithms
    }
    print(json.dumps(hashes, indent=2))


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
