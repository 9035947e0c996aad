"""The command that measures predictions of remaining life, on a fleet without simulation."""

import json

from life_fakes import fake_fleet
from loading import load_script
from PIL import Image

from metarobot.remaining_life import SEEN, life_learners

remaining_life = load_script("remaining_life")
POSTERIOR, PERFECT = "simulator's own posterior", "simulator's own posterior, perfect sensors"


def test_it_writes_a_row_for_every_learner_and_share_and_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(
        remaining_life,
        "watch_fleet",
        lambda count, split, *, seed, **_: fake_fleet(count, split, seed=seed),
    )
    out, picture = tmp_path / "rows.json", tmp_path / "lives.png"
    few = ["--num-train", "60", "--num-calibration", "10", "--num-test", "40", "--num-updates", "2"]
    few += ["--num-lives", "200", "--num-seeds", "2"]
    assert remaining_life.main([*few, "--out", str(out), "--picture", str(picture)]) == 0
    rows = json.loads(out.read_text())
    names = [*life_learners(0), POSTERIOR, PERFECT]
    keys = {(row["learner"], row["parts"], row["seen"]) for row in rows}
    assert keys == {(n, p, s) for n in names for p in ("first", "second", "both") for s in SEEN}
    assert len(keys) == len(rows)
    for row in rows:
        assert row["rmse"] > 0
        assert 0 <= row["coverage"] <= 1
        if row["learner"] == "MAML":
            assert row["maml_over"] == [1.0, 1.0, 1.0]
            assert row["num_seeds"] == 2
        assert ("effective_lives" in row) == (row["learner"] in (POSTERIOR, PERFECT))
    with Image.open(picture) as image:
        assert image.size[0] == 1800
