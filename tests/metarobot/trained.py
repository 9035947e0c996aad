"""The small runs of the tests: whom they hold, and how little they train."""

from metarobot.config import RunConfig

TRAINED = ("maml", "domain_randomisation", "oracle")
"""A learner that adapts by gradient steps, and the two references."""
TINY = RunConfig(
    total_steps=64,
    num_tasks=2,
    episodes_per_task=2,
    hidden_sizes=(4,),
    options={"cg_iterations": 2},
)
