"""Changes are variants of their family, and what is held out stays out."""

import pytest

from metarobot.change_diagnosis.changes import CHANGES, UNCHANGED, changes_of, classes


@pytest.mark.parametrize("env_id", CHANGES)
def test_every_severity_is_a_variant_of_the_family_and_only_one_change_is_none(env_id):
    changes = CHANGES[env_id]
    names = [change.name for change in changes]
    assert len(set(names)) == len(names)
    for change in changes:
        for variant in change.variants(env_id):
            assert (variant is None) == (change.name == UNCHANGED)
            assert variant is None or variant.env_id == env_id
    assert names[0] == UNCHANGED
    assert not changes[0].held_out


@pytest.mark.parametrize("env_id", CHANGES)
def test_five_changes_are_held_out_and_those_seen_come_first(env_id):
    held_out = [change.held_out for change in CHANGES[env_id]]
    assert sum(held_out) == 5
    assert held_out == sorted(held_out)
    assert len(classes(CHANGES[env_id])) == len(held_out)


def test_a_family_without_known_changes_is_refused():
    with pytest.raises(ValueError, match=r"known for grip and reach only, got .*Slide-v0"):
        changes_of("metarobot/Slide-v0")
