"""Sinusoid regression: from ten points of a sine to the whole curve, by one gradient step.

A task is a sine of amplitude 0.1 to 5 and phase 0 to π; its examples are points with x in [-5, 5].
No single network fits all of them, so the error without adaptation has a lower bound.

Source: Finn et al. 2017, arXiv:1703.03400, section 5.1.
"""

from argparse import ArgumentParser
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from metarobot.learning.few_shot import Examples, FewShotTasks, Maml, MamlOptions, squared_error

AMPLITUDE, PHASE_RAD, X = (0.1, 5.0), (0.0, np.pi), (-5.0, 5.0)
INNER_LR, OUTER_LR = 0.01, 5e-3


def sample_sines(
    generator: np.random.Generator, num_tasks: int = 25, num_shots: int = 10, num_query: int = 10
) -> FewShotTasks:
    """Draw tasks: support (N, K, 1) and query (N, Q, 1)."""
    amplitude = generator.uniform(*AMPLITUDE, size=(num_tasks, 1, 1))
    phase_rad = generator.uniform(*PHASE_RAD, size=(num_tasks, 1, 1))
    x = generator.uniform(*X, size=(num_tasks, num_shots + num_query, 1))
    points = Examples(as_tensor(x), as_tensor(amplitude * np.sin(x - phase_rad)))
    return FewShotTasks(points.part(0, num_shots), points.part(num_shots, num_shots + num_query))


def as_tensor(array: np.ndarray) -> Tensor:
    """Return an array in single precision."""
    return torch.from_numpy(array.astype(np.float32))


def small_network(seed: int) -> nn.Sequential:
    """Return a network of two layers of 40 units, with fresh parameters."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1)
        )


def train(num_adaptation_steps: int, num_updates: int, num_shots: int, seed: int) -> Maml:
    """Meta-train; with 0 adaptation steps the network is trained on all tasks together."""
    options = MamlOptions(
        inner_lr=INNER_LR, num_adaptation_steps=num_adaptation_steps, outer_lr=OUTER_LR, seed=seed
    )
    learner = Maml(small_network(seed), squared_error, options)
    learner.fit(partial(sample_sines, num_shots=num_shots), num_updates)
    return learner


def errors(learner: Maml, tasks: FewShotTasks, num_steps: int) -> float:
    """Return the mean squared error after some adaptation steps."""
    return float(learner.adapt(tasks.support, num_steps).losses(tasks.query).mean())


def main() -> None:
    """Compare MAML with a network that was trained on all tasks together."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=4000)
    parser.add_argument("--shots", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generator = np.random.default_rng(arguments.seed + 1_000_000)  # no tasks of meta-training
    tasks = sample_sines(generator, num_tasks=600, num_shots=arguments.shots, num_query=100)
    print("mean squared error on 600 new sines after adaptation steps: 0, 1, 10")
    for name, num_steps in (("MAML", 1), ("trained together", 0)):
        learner = train(num_steps, arguments.updates, arguments.shots, arguments.seed)
        print(name, *(f"{errors(learner, tasks, steps):.2f}" for steps in (0, 1, 10)))


if __name__ == "__main__":
    main()
