"""A folder for a user's scene, beside which lies what must not be read."""

import pytest
from scene_folder import TRIANGLE

SECRET = "<mujoco><worldbody><body name='secret'/></worldbody></mujoco>"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A user's folder, beside which lies what must not be read; the working directory is empty."""
    (tmp_path / "outside.xml").write_text(SECRET)
    (tmp_path / "outside.obj").write_text(TRIANGLE)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    own = tmp_path / "own"
    own.mkdir()
    yield own
    assert not list(tmp_path.rglob("MUJOCO_LOG.TXT"))
    assert not list((tmp_path / "cwd").iterdir())
