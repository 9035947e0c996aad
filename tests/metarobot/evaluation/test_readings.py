"""What simulation reads from episodes, compared with the truth."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from metarobot.envs import find_family
from metarobot.evaluation import explain as readings
from metarobot.evaluation.explain import ExplanationConfig, identified_readings

DISTRIBUTION = find_family("metarobot/Reach-v0").distribution
POINTS = np.random.default_rng(0).random((6, len(DISTRIBUTION.parameters)))


class Block:
    """Episodes that only count which of them were asked for."""

    asked: tuple[slice, int]

    def rows(self, tasks: slice) -> "Block":
        """Note the tasks."""
        self._tasks = tasks
        return self

    def first(self, number: int) -> "Block":
        """Note the episodes."""
        self.asked = self._tasks, number
        return self


def read(fitted: np.ndarray, monkeypatch) -> tuple[dict[str, float], Block]:
    """Return R² of the first four tasks by parameter, if this is what is fitted."""
    block = Block()
    judged: Any = SimpleNamespace(
        task_set=SimpleNamespace(tasks=DISTRIBUTION.spread(POINTS)),
        trained=SimpleNamespace(config=None),
        episodes=block,
    )
    monkeypatch.setattr(readings, "fit_tasks", lambda config, episodes: fitted)
    rows = identified_readings(DISTRIBUTION, "extrapolation", judged, 4, 5)
    assert all(row.split == "extrapolation" and row.low <= row.r2 <= row.high for row in rows)
    return {row.parameter: row.r2 for row in rows}, block


def test_the_truth_is_read_with_1_and_another_task_with_less(monkeypatch) -> None:
    found, block = read(POINTS[:4], monkeypatch)
    assert found == pytest.approx(dict.fromkeys(DISTRIBUTION.names, 1.0))
    assert block.asked == (slice(0, 4), 5)
    wrong = POINTS[:4].copy()
    wrong[:, 1] = wrong[::-1, 1]  # the payloads of other tasks
    found, _ = read(wrong, monkeypatch)
    assert found["payload_kg"] < 0.5
    assert found["frame_yaw_rad"] == pytest.approx(1.0)


def test_one_task_alone_has_no_variance() -> None:
    with pytest.raises(ValueError, match="0, or at least 2"):
        ExplanationConfig(num_identified=1)
    with pytest.raises(ValueError, match=r"num_identified must be an integer in \[0, 20\]"):
        ExplanationConfig(num_tasks=20, num_identified=21)
