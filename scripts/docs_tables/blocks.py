"""The names of all generated blocks, and what writes each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from changes import table as changes_table
from diagnosis import accuracy, calibration
from life import table as life_table

from docs_tables.comparisons import comparison, costs, published
from docs_tables.evaluations import headroom, returns, success
from docs_tables.families import constants, families, observation, parameters
from docs_tables.few_episodes import FAMILIES as FEW_EPISODES_FAMILIES
from docs_tables.few_episodes import behind, best, by_algorithm, headline, seeds, without_rewards
from docs_tables.formats import scene_limits, variants
from docs_tables.harm import fallen, harm, later_blocks
from docs_tables.measurements import scaling, speed
from docs_tables.training import curve
from metarobot.envs import FAMILIES, file_name

LONGER = Path("longer")
"""Folder in docs/results of what was trained for longer than its preset says."""

BLOCKS: dict[str, Callable[[], str]] = {
    "families": families,
    "seeds": seeds,
    "headline": headline,
    "headroom": headroom,
    "best": best,
    "behind": behind,
    "without rewards": without_rewards,
    "harm": harm,
    "fallen": fallen,
    "later blocks": later_blocks,
    "diagnosis of arms": lambda: accuracy(arms=True),
    "diagnosis of machines": lambda: accuracy(arms=False),
    "calibration on arms": lambda: calibration(arms=True),
    "calibration on machines": lambda: calibration(arms=False),
    "recognised changes": changes_table,
    "costs": costs,
    "published": published,
    "speed": speed,
    "scaling": scaling,
    "variants": variants,
    "scene limits": scene_limits,
}
for _figure in ("mae", "rmse", "coverage"):
    BLOCKS[f"life {_figure}"] = lambda figure=_figure: life_table(figure)
BLOCKS["longer comparison"] = lambda: comparison("half-cheetah-velocity", LONGER)
for _preset in FEW_EPISODES_FAMILIES:
    BLOCKS[f"{_preset} learners"] = lambda preset=_preset: by_algorithm(preset)
for _env_id, _env_class in FAMILIES.items():
    _family, _name = _env_class, file_name(_env_id)
    BLOCKS[f"{_name} parameters"] = lambda family=_family: parameters(family)
    BLOCKS[f"{_name} observation"] = lambda family=_family: observation(family)
    BLOCKS[f"{_name} constants"] = lambda family=_family: constants(family)
    BLOCKS[f"{_name} returns"] = lambda name=_name: returns(name)
    BLOCKS[f"{_name} success"] = lambda name=_name: success(name)
    BLOCKS[f"{_name} curve"] = lambda name=_name: curve(name)
