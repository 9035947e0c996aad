"""Every option decides what an algorithm learns that reads it."""

import pytest
import torch
from fakes import FakeEnv, config_of

from metarobot.algorithms import ALGORITHMS, option_readers
from metarobot.learning.inner_loop import MEASURED
from metarobot.training.trainer import MetaTrainer, num_simulations

OTHER_VALUES = {
    "outer_lr": 3e-3,
    "outer_epochs": 2,
    "outer_max_kl": 1e-7,
    "clip_ratio": 0.01,
    "inner_kl_penalty": 0.0,
    "reptile_steps": 2,
    "reptile_rate": 0.3,
    "embedding_size": 3,
    "encoder_epochs": 2,
    "trial_episodes": 2,
    "reward_products": True,
    "task_products": False,
    "latent_size": 3,
    "student_episodes": 2,
    "student_epochs": 2,
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
    "careful_share": 0.0,
}
ADAPTING = {"likelihood_power"}
"""These decide how a trained policy adapts, and nothing that training learns."""
BARELY = {"first_order", "inner_objective", "fisher_episodes"} | {
    "line_search_steps",
    "line_search_decay",
}
"""Whether these change two small meta-iterations depends on chance; their own tests hold them."""


def test_every_option_is_tried_here():
    assert {*option_readers()} == {*OTHER_VALUES} | BARELY | ADAPTING


def learned(algorithm, **options):
    sizes = {"num_tasks": 4, "episodes_per_task": 4, "hidden_sizes": (8, 8), "total_steps": 160}
    few = {"encoder_epochs": 3, "outer_epochs": 3, "student_epochs": 3, "reptile_steps": 3}
    config = config_of(algorithm, **sizes, **{"adaptation_min_std": 0.3, **few, **options})
    trainer = MetaTrainer(config, FakeEnv(num_simulations(config)))
    trainer.step()
    trainer.step()
    trainer.finish(lambda share: None)
    return {name: leaf for name, leaf in trainer.params.items() if name not in MEASURED}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_option_decides_what_is_learned(algorithm):
    """Of each algorithm, those that it is the first to read."""
    names = [n for n, readers in option_readers().items() if algorithm == readers[0]]
    expected = learned(algorithm) if names else {}
    for name in {*names} & {*OTHER_VALUES}:
        other = learned(algorithm, **{name: OTHER_VALUES[name]})
        assert any(
            other[leaf].shape != value.shape or not torch.equal(other[leaf], value)
            for leaf, value in expected.items()
        ), name
