"""Every option decides what an algorithm learns that reads it."""

import pytest
import torch
from fakes import FakeEnv, config_of

from metarobot.algorithms import ALGORITHMS, option_readers
from metarobot.learning.inner_loop import MEASURED
from metarobot.training.trainer import MetaTrainer, num_simulations

OTHER_VALUES = {
    "outer_lr": 3e-3,
    "outer_epochs": 3,
    "outer_max_kl": 1e-7,
    "clip_ratio": 0.01,
    "inner_kl_penalty": 0.0,
    "reptile_steps": 2,
    "reptile_rate": 0.3,
    "embedding_size": 3,
    "encoder_epochs": 3,
    "trial_episodes": 2,
    "task_products": False,
    "latent_size": 3,
    "student_episodes": 2,
    "student_epochs": 3,
    "student_lr": 3e-3,
    "num_adaptation_steps": 2,
    "inner_lr": 0.02,
    "normalise_inner": False,
    "shrink_steps": False,
    "value_prior": False,
    "vary_episodes": True,
    "adaptation_min_std": 1.0,
    "min_std": 0.9,
    "max_kl": 1e-4,
    "cg_iterations": 1,
    "cg_damping": 1.0,
    "num_weighed": 64,
    "context_size": 3,
    "support_episodes": 2,
    "model_lr": 1e-3,
    "model_epochs": 2,
    "model_batch": 1,
}
ADAPTING = {"likelihood_power"}
"""These decide how a trained policy adapts, and nothing that training learns."""
BARELY = {"first_order", "inner_objective", "fisher_episodes"} | {
    "line_search_steps",
    "line_search_decay",
}
"""Whether these change two small meta-iterations depends on chance; their own tests hold them."""


def learned(algorithm, **options):
    sizes = {"num_tasks": 4, "episodes_per_task": 4, "hidden_sizes": (8,), "total_steps": 160}
    config = config_of(algorithm, **sizes, **{"adaptation_min_std": 0.3, **options})
    trainer = MetaTrainer(config, FakeEnv(num_simulations(config)))
    trainer.step()
    trainer.step()
    trainer.conclude(lambda share: None)
    return {name: leaf for name, leaf in trainer.params.items() if name not in MEASURED}


def alike(found, expected):
    return all(
        found[name].shape == leaf.shape and torch.equal(found[name], leaf)
        for name, leaf in expected.items()
    )


def test_every_option_is_tried_here():
    assert {*option_readers()} == {*OTHER_VALUES} | BARELY | ADAPTING


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_option_that_an_algorithm_reads_decides_what_it_learns(algorithm):
    expected = learned(algorithm)
    for name in ALGORITHMS[algorithm].options_class.names(free=True):
        if name in OTHER_VALUES:
            other = learned(algorithm, **{name: OTHER_VALUES[name]})
            assert not alike(other, expected), name
