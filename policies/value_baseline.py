"""The linear value baseline: fitted to every task's returns in closed form."""

import torch
from torch import Tensor

OBSERVATION_LIMIT = 10.0
"""Scaled observations are clipped to ± this before they become features."""

TIME_SCALE = 100.0
"""Steps are counted in hundreds, so that the cube of the time stays of the order of 1."""

FIRST_RIDGE = 1e-5
"""Ridge penalty of the first attempt; every failed attempt multiplies it by 10."""

ATTEMPTS = 8
"""Attempts before a task's values are given up and set to 0."""


def value_features(observations: Tensor) -> Tensor:
    """Features [o, o², t/100, (t/100)², (t/100)³, 1], float64 (..., T, 2 O + 4) of (..., T, O)."""
    clipped = observations.double().clamp(-OBSERVATION_LIMIT, OBSERVATION_LIMIT)
    t = torch.arange(observations.shape[-2], dtype=torch.float64) / TIME_SCALE  # (T,)
    time_features = torch.stack([t, t**2, t**3, torch.ones_like(t)], dim=-1)  # (T, 4)
    time_features = time_features.expand(*observations.shape[:-1], 4)
    return torch.cat([clipped, clipped.square(), time_features], dim=-1)


def fit_values(
    observations: Tensor, returns: Tensor, mask: Tensor, prior: Tensor | None = None
) -> Tensor:
    """Fit V(o, t) to the returns of each task by ridge regression; evaluate it where it was fitted.

    w_n = (Xᵀ X + ridge I)⁻¹ Xᵀ R, over the steps of task n that the mask selects.

    Args:
        observations: Scaled observations (N, E, T, O).
        returns: Discounted returns (N, E, T).
        mask: 1.0 where a step counts (N, E, T).
        prior: XᵀX and XᵀR of other steps that count in the fit as well, (N, F, F + 1).

    Returns:
        Values (N, E, T), 0 where the mask is 0, in the type of the returns.

    Source: Duan et al. 2016, arXiv:1604.06778, "LinearFeatureBaseline".
    """
    features = value_features(observations)
    moments = normal_equations(features, returns, mask)
    if prior is not None:
        moments = moments + prior
    coefficients = solve_ridge(moments[..., :-1], moments[..., -1:])  # (N, F, 1)
    values = (features.flatten(1, -2) @ coefficients).reshape(returns.shape)
    return torch.where(mask > 0, values, 0.0).to(returns.dtype)


def normal_equations(features: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Return XᵀX and Xᵀy of every task side by side, (N, F, F + 1) in float64.

    X is (N, ..., F), y (N, ...), and the mask is 1.0 where a row counts, (N, ...).
    """
    counted = mask.double()[..., None]
    rows = (features * counted).flatten(1, -2)
    column = (targets.double()[..., None] * counted).flatten(1, -2)
    return torch.cat([rows.mT @ rows, rows.mT @ column], dim=-1)


def solve_ridge(gram: Tensor, moments: Tensor) -> Tensor:
    """Solve (gram + ridge I) w = moments per task, with a larger ridge for the tasks that fail.

    Coefficients w are (N, F, 1) for XᵀX (N, F, F) and XᵀR (N, F, 1); 0 where no ridge is enough.
    """
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype)
    coefficients = torch.zeros_like(moments)
    open_tasks = torch.arange(gram.shape[0])
    for attempt in range(ATTEMPTS):
        ridge = FIRST_RIDGE * 10**attempt
        factor, failed = torch.linalg.cholesky_ex(gram[open_tasks] + ridge * identity)
        solution = torch.cholesky_solve(moments[open_tasks], factor)
        solved = (failed == 0) & torch.isfinite(solution).all(dim=(-2, -1))
        coefficients[open_tasks[solved]] = solution[solved]
        open_tasks = open_tasks[~solved]
        if len(open_tasks) == 0:
            break
    return coefficients
