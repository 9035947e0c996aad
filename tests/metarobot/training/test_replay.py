from dataclasses import replace

import pytest
import torch

from metarobot.io import Folder
from metarobot.training.replay import Replay

REPLAY = Replay(
    env_id="metarobot/Grip-v0",
    task={"block_mass_kg": 0.5, "pad_friction": 0.4},
    starts=torch.rand(2, 3, 3),
    actions=torch.rand(2, 3, 16, 1),
    iteration=7,
    index=1,
)


def test_a_replay_survives_its_file(tmp_path):
    path = REPLAY.save(Folder(tmp_path) / "rejected")
    assert path == tmp_path / "rejected" / "iteration-000007-task-001.safetensors"
    loaded = Replay.load(path)
    assert torch.equal(loaded.starts, REPLAY.starts)
    assert torch.equal(loaded.actions, REPLAY.actions)
    assert replace(loaded, starts=REPLAY.starts, actions=REPLAY.actions) == REPLAY


def test_actions_need_not_be_finite(tmp_path):
    broken = replace(REPLAY, actions=torch.full((2, 3, 16, 1), torch.nan))
    assert Replay.load(broken.save(Folder(tmp_path))).actions.isnan().all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"env_id": "metarobot/Grab-v0"}, "allowed: metarobot/Reach-v0, metarobot/Reach"),
        ({"env_id": "metarobot/Reach-v0", "task": {}}, "starts"),
        ({"task": {"block_mass_kg": -1.0}}, "block_mass_kg = -1 kg is not allowed"),
        ({"task": {"colour": 1.0}}, "no task parameter 'colour'"),
        ({"starts": torch.rand(2, 3, 4)}, "starts"),
        ({"starts": torch.rand(0, 3, 3), "actions": torch.rand(0, 3, 16, 1)}, "starts"),
        ({"starts": torch.rand(2, 4, 3)}, "actions"),
        ({"actions": torch.rand(2, 3, 17, 1)}, "actions"),
    ],
)
def test_what_does_not_fit_its_family_is_refused_in_one_line(tmp_path, fields, message):
    path = replace(REPLAY, **fields).save(Folder(tmp_path))
    with pytest.raises(ValueError, match=message) as error:
        Replay.load(path)
    assert "\n" not in str(error.value)
