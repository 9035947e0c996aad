"""What has changed on a robot, from its ordinary trial episodes."""

from metarobot.change_diagnosis.changes import CHANGES, UNCHANGED, Change, changes_of
from metarobot.change_diagnosis.recogniser import (
    Recogniser,
    WhatChanged,
    require_recognisable,
    what_changed,
)
from metarobot.change_diagnosis.trials import Trials

__all__ = [
    "CHANGES",
    "UNCHANGED",
    "Change",
    "Recogniser",
    "Trials",
    "WhatChanged",
    "changes_of",
    "require_recognisable",
    "what_changed",
]
