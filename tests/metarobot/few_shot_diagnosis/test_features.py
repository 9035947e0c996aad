"""The references that need an extra: features of aeon, classifiers of scikit-learn."""

import numpy as np
import pytest

from metarobot.few_shot_diagnosis.features import catch22_features, minirocket_features
from metarobot.few_shot_diagnosis.references import new_head, predict_each, random_forest
from metarobot.few_shot_diagnosis.signals import Scale

pytest.importorskip("aeon", reason="needs metarobot[diagnosis]")

ONES = np.ones((8, 4))
SCALE = Scale(spread=ONES, loudness=ONES, loudness_spread=ONES)
CHANNELS, SAMPLES = 31, 100


def signals(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, CHANNELS, SAMPLES)).cumsum(-1).astype(np.float32)


def test_catch22_tells_the_shape_and_beside_it_the_size():
    one = signals(3)
    features, doubled = (catch22_features(own, SCALE) for own in (one, 2 * one))
    assert features.shape == (3, 23 * CHANNELS)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    shape, size = slice(0, 22 * CHANNELS), slice(22 * CHANNELS, None)
    np.testing.assert_allclose(doubled[:, size] - features[:, size], np.log(2), atol=1e-4)
    root_mean_square = np.sqrt((one.astype(float) ** 2).mean(2))
    np.testing.assert_allclose(np.exp(features[:, size]), root_mean_square, rtol=1e-4)
    apart = ~np.isclose(features[:, shape], features[:1, shape]).all(0)
    assert apart.mean() > 0.5  # most of them differ from recording to recording


def test_minirocket_describes_each_recording_by_itself():
    rows, examples = signals(4), signals(12, seed=1)
    features = minirocket_features(rows, examples, SCALE)
    assert features.shape == (4, 9_996)
    assert ((features >= 0) & (features <= 1)).all()  # shares of samples above a bias
    assert features.std(0).mean() > 0.01
    alone = minirocket_features(rows[2:3], examples, SCALE)
    np.testing.assert_array_equal(alone[0], features[2])
    assert (minirocket_features(rows, examples, SCALE, seed=1) != features).any()


@pytest.mark.parametrize("fit", [random_forest, new_head])
def test_classifiers_find_classes_that_lie_apart(fit):
    centres = 10.0 * np.eye(3, 6)
    rng = np.random.default_rng(0)
    support = centres[None, :, None] + rng.normal(size=(2, 3, 4, 6))
    query = centres[None, :, None] + rng.normal(size=(2, 3, 5, 6))
    assert (predict_each(fit, support, query) == np.repeat(np.arange(3), 5)).all()
