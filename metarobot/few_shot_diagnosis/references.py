"""References: what a task's few examples are worth without meta-learning.

All get the examples, the machines' baselines and the statistics of the train pool, as learners do.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from metarobot.few_shot import Examples, FewShotTasks, Maml, MamlOptions, cross_entropy
from metarobot.few_shot_diagnosis.learners import (
    classifier,
    encoder_module,
    joint_embeddings,
    joint_learner,
)

Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Maps support features (S, F), their classes (S,) and query features (Q, F) to classes (Q,)."""

NUM_JOINT_UPDATES = 300
_SCRATCH_STEPS = 25
_RECORDINGS_OF_UPDATE = 256
_PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Of a ridge regression, in means of the kernel's eigenvalues."""


def nearest_neighbour(support: np.ndarray, labels: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return the class of the nearest example, by Euclidean distance."""
    squared = ((query[:, None] - support[None]) ** 2).sum(-1)
    return labels[squared.argmin(1)]


def random_forest(support: np.ndarray, labels: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return what 100 trees vote for."""
    from sklearn.ensemble import RandomForestClassifier  # pyright: ignore[reportMissingImports]

    forest = RandomForestClassifier(100, random_state=0, n_jobs=1)
    return np.asarray(forest.fit(support, labels).predict(query))


def ridge(support: np.ndarray, labels: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return the class of the greatest output of a ridge regression on classes as numbers -1, 1.

    Far more features than examples: it is solved in the examples, (S, S).  The penalty is that with
    the least error on examples left out, one at a time.
    """
    centre = support.mean(0)
    rows, asked = support - centre, query - centre
    eigenvalues, vectors = np.linalg.eigh(rows @ rows.T)
    targets = np.where(labels[:, None] == np.arange(labels.max() + 1), 1.0, -1.0)
    mean = targets.mean(0)
    penalties = eigenvalues.mean() * np.array(_PENALTIES)
    if len(labels) > len(mean):
        errors = [error_left_out(eigenvalues, vectors, targets - mean, own) for own in penalties]
        penalty = penalties[int(np.argmin(errors))]
    else:  # one example each: without it, its class is not known
        penalty = penalties[len(penalties) // 2]
    weights = vectors @ ((vectors.T @ (targets - mean)) / (eigenvalues + penalty)[:, None])
    return (asked @ rows.T @ weights + mean).argmax(1)


def error_left_out(
    eigenvalues: np.ndarray, vectors: np.ndarray, targets: np.ndarray, penalty: float
) -> float:
    """Return the mean squared error on each example by a fit to the others, in closed form."""
    smoother = (vectors * (eigenvalues / (eigenvalues + penalty))) @ vectors.T
    left = 1.0 - smoother.diagonal() - 1.0 / len(targets)  # less the mean, which is fitted too
    return float((((targets - smoother @ targets) / left[:, None]) ** 2).mean())


def nearest_mean(support: np.ndarray, labels: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return the class whose examples have the nearest mean."""
    means = np.stack([support[labels == own].mean(0) for own in range(labels.max() + 1)])
    return nearest_neighbour(means, np.arange(len(means)), query)


def new_head(support: np.ndarray, labels: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return the classes that a new linear head finds, fitted to its least loss with L2."""
    from sklearn.linear_model import LogisticRegression  # pyright: ignore[reportMissingImports]

    head = LogisticRegression(max_iter=1000)
    return np.asarray(head.fit(support, labels).predict(query))


def predict_each(fit: Fit, support: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Fit a reference to each task; return the classes of its queries, (N, way Q).

    Args:
        fit: The reference.
        support: Features (N, way, K, F).
        query: Features (N, way, Q, F).
    """
    way, shots = support.shape[1:3]
    labels = np.repeat(np.arange(way), shots)
    return np.stack(
        [
            fit(own.reshape(way * shots, -1), labels, asked.reshape(-1, asked.shape[-1]))
            for own, asked in zip(support, query, strict=True)
        ]
    )


def from_scratch(seed: int, way: int) -> Maml:
    """Return a network that nothing was taught: a task's examples are all that it learns from."""
    options = MamlOptions(inner_lr=0.1, num_adaptation_steps=_SCRATCH_STEPS, seed=seed)
    return Maml(classifier(encoder_module(seed), way), cross_entropy, options)


def joint_classifier(seed: int, num_classes: int) -> Maml:
    """Return a network to be trained on all classes together, by plain gradient descent."""
    return joint_learner(encoder_module(seed), num_classes, seed)


def joint_batch(rng: np.random.Generator, inputs: Tensor, label: Tensor) -> FewShotTasks:
    """Return one meta-batch of one "task": recordings of all classes, drawn alike."""
    weight = 1.0 / np.bincount(label.numpy())[label.numpy()]
    chosen = rng.choice(len(inputs), _RECORDINGS_OF_UPDATE, p=weight / weight.sum())
    rows = torch.from_numpy(chosen).reshape(2, -1)
    examples = Examples(inputs[rows], label[rows])
    return FewShotTasks(examples, examples)


def embeddings(joint: Maml, inputs: Tensor) -> np.ndarray:
    """Return what the jointly trained network's last layer reads of each recording, (R, D)."""
    return joint_embeddings(joint, encoder_module(0), inputs)
