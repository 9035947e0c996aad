"""How much of what is seen counts: the power of the likelihood by which tasks are recognised best.

A model that errs alike on all steps of a task is surer than it should be, the more steps there are.
How much surer is measured on every meta-batch before the model has learned from it.
"""

import torch
from torch import Tensor

from metarobot.learning.adam import AdamState
from metarobot.learning.distributed import Workers, mean_over_tasks
from metarobot.learning.shown_steps import show_episodes
from metarobot.learning.task_model import ModelBatch
from metarobot.policies import Evidence, LatentPolicy, Params, ShownSteps
from metarobot.policies.latent_networks import POWER_LOSSES, POWERS, UNITS

FEW_EPISODES = 5
"""Episodes by which each task is recognised: a handful of trials."""
EVERY = 8
"""Of the tasks that are weighed on a robot, one in so many stands beside the true one."""
FOLLOWS = 0.1
"""Weight of a new meta-batch in the running mean."""


@torch.no_grad()
def follow_power(
    policy: LatentPolicy, params: Params, batch: ModelBatch, moments: AdamState, workers: Workers
) -> Params:
    """Return the running mean over meta-batches of how badly each power recognises the tasks.

    Args:
        policy: The functional module.
        params: Each leaf in its own shape.
        batch: Episodes that were told another task, of tasks that the model has not seen.
        moments: Those of the model's Adam so far.
        workers: The processes that hold the other tasks.
    """
    few = batch.last(min(FEW_EPISODES, batch.told.shape[1]))
    units = {name: params[name][None] for name in UNITS}
    shown = show_episodes(policy, units, few.episodes, few.told)
    returns = policy.return_in_units(units, few.episodes.returns)
    rows = []
    for task in range(len(few.codes)):  # each beside the same others, whatever process holds it
        codes = torch.cat([few.codes[task, None], policy.tasks[::EVERY]])
        whole = few.episodes.mask[task].bool().all(-1)
        earned = few.told[task], returns[task], whole.to(returns.dtype)
        rows.append(_losses(_evidence(policy, params, codes, shown.task(task), earned)))
    losses = workers.gather(torch.stack(rows))
    losses = losses[losses.isfinite().all(1)]
    if not len(losses):
        return {}
    found = torch.from_numpy(mean_over_tasks(losses)).to(returns.dtype)
    follows = 1.0 if moments.num_steps == 0 else FOLLOWS
    return {POWER_LOSSES: torch.lerp(params[POWER_LOSSES], found, follows)}


def _evidence(
    policy: LatentPolicy,
    params: Params,
    codes: Tensor,
    steps: ShownSteps,
    earned: tuple[Tensor, Tensor, Tensor],
) -> Evidence:
    """Hold episodes of one task against tasks (K, C): all their steps (1, M, T, .), and returns."""
    bare = policy.model_params(params)
    model = {name: leaf[None] for name, leaf in bare.items()}
    read = policy.model.read_episodes(model, steps)
    rows = (each[0].flatten(0, 1) for each in (read, steps.told, steps.outcomes, steps.counts))
    seen = policy.model.weigh(bare, codes, *rows)
    returned = policy.model.weigh_returns(model, codes, *earned)
    return Evidence(*(a.sum(0) + b.sum(0) for a, b in zip(seen, returned, strict=True)))


def _losses(known: Evidence) -> Tensor:
    """Return minus the logarithm of the weight of the first task under each power."""
    log_weights = known.log_weights(torch.tensor(POWERS)[:, None])
    return -log_weights.log_softmax(-1)[:, 0]
