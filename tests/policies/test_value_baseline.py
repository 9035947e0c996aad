import numpy as np
import torch

from metarobot.policies.value_baseline import fit_values, value_features

N, E, T, OBSERVATION_SIZE = 3, 4, 6, 2


def make_data():
    generator = torch.Generator().manual_seed(0)
    observations = torch.randn(N, E, T, OBSERVATION_SIZE, generator=generator)
    returns = torch.randn(N, E, T, generator=generator)
    return observations, returns, torch.ones(N, E, T)


def lstsq_values(observations, returns, mask, ridge=1e-5):
    """Ridge regression as ordinary least squares on a system with √ridge I appended."""
    features = value_features(observations).reshape(-1, 2 * OBSERVATION_SIZE + 4).numpy()
    targets = returns.double().reshape(-1).numpy()
    kept = mask.reshape(-1).numpy() > 0
    size = features.shape[1]
    system = np.concatenate([features[kept], np.sqrt(ridge) * np.eye(size)])
    solution = np.linalg.lstsq(system, np.concatenate([targets[kept], np.zeros(size)]), rcond=None)
    return (features @ solution[0] * kept).reshape(returns.shape)


def test_features_by_hand():
    features = value_features(torch.tensor([[[20.0, -0.5], [1.0, 2.0]]]))
    assert features.dtype == torch.float64
    assert features[0, 0].tolist() == [10.0, -0.5, 100.0, 0.25, 0.0, 0.0, 0.0, 1.0]
    assert features[0, 1].tolist() == [1.0, 2.0, 1.0, 4.0, 0.01, 0.01**2, 0.01**3, 1.0]


def test_fit_agrees_with_least_squares_task_by_task():
    observations, returns, mask = make_data()
    mask[1, 2, 3:] = 0.0
    values = fit_values(observations, returns, mask)
    for task in range(N):
        expected = lstsq_values(observations[task], returns[task], mask[task])
        np.testing.assert_allclose(values[task].numpy(), expected, rtol=1e-5, atol=1e-5)


def test_masked_steps_change_nothing_and_have_no_value():
    observations, returns, mask = make_data()
    mask[0, 1, 2:] = 0.0
    values = fit_values(observations, returns, mask)
    returns[0, 1, 2:] = 1e6
    observations[0, 1, 2:] = 5.0
    assert torch.equal(fit_values(observations, returns, mask), values)
    assert not values[0, 1, 2:].any()
    returns[1, 0, 0] = torch.nan  # a task that cannot be solved gets 0 and harms no other
    broken = fit_values(observations, returns, mask)
    assert not broken[1].any()
    torch.testing.assert_close(broken[[0, 2]], values[[0, 2]])
