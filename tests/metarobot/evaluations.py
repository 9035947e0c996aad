"""A made-up evaluation, and how to change one."""

from dataclasses import replace

import numpy as np
from msgspec import structs

from metarobot.api import Evaluation
from metarobot.envs import find_family
from metarobot.evaluation.protocol import EvaluationConfig, in_order
from metarobot.evaluation.statistics import Interval
from metarobot.evaluation.table import (
    Axis,
    Conditions,
    GridMap,
    Headroom,
    HeatMap,
    MeasuredParameter,
    MeasuredPolicy,
    Row,
    WorstTask,
)

MEANS = {
    "random": {0: -6.0},
    "domain_randomisation": {0: -2.0},
    "maml": {0: -2.1, 1: -2.3, 5: -1.26, 20: -1.05},
    "oracle": {0: -1.0},
}
"""Returns of each policy by adaptation episodes; 20 of them are its only block."""
CAPTURED = {
    0: Interval(-0.1, -0.2, 0.0),
    1: Interval(-0.3, -0.4, -0.2),
    5: Interval(0.74, 0.68, 0.8),
    20: Interval(0.95, 0.9, 1.0),
}
"""Fraction of the headroom by adaptation episodes, of who adapts."""
GRIP_SPLITS = find_family("metarobot/Grip-v0").distribution.splits
REFERENCES = ("random", "domain_randomisation", "oracle")


def around(value, half=0.2):
    return Interval(value, value - half, value + half)


def row(name, split, episodes, mean, captured=None, **changes):
    """A row of a policy after one block of episodes."""
    adapted = captured is not None and episodes > 0
    values = {
        "algorithm": name,
        "split": split,
        "episodes": episodes,
        "blocks": int(episodes > 0),
        "return_mean": around(mean),
        "return_iqm": around(mean + 0.01, 0.1),
        "success": Interval(0.5, 0.4, 0.6),
        "captured": captured,
        "captured_per_seed": () if captured is None else (captured.value,) * 3,
        "worse": Interval(0.12, 0.08, 0.16) if adapted else None,
        "worst_tenth": Interval(-0.7, -0.9, -0.5) if adapted else None,
        "trial_cost": Interval(0.3, 0.2, 0.4) if adapted else None,
    }
    return Row(**{**values, **changes})


def rows_of(name, means):
    """The rows of a policy on all splits; random actions have exploring episodes only."""
    rows = []
    for split in GRIP_SPLITS:
        captured = {} if name in REFERENCES else CAPTURED
        if name != "random":
            rows += [row(name, split, n, mean, captured.get(n)) for n, mean in means.items()]
        blocks = {n: mean for n, mean in means.items() if n in (0, 20)}
        rows += [row(name, split, n, mean, exploring=True) for n, mean in blocks.items()]
    return rows


def headroom(split, **changes):
    ends = {"random": -6.0, "domain_randomisation": -2.0, "oracle": -1.0}
    return Headroom(split=split, **{"gap": Interval(1.0, 0.9, 1.1), **ends, **changes})


def made_up_heat_map():
    x = Axis(
        name="block_mass_kg",
        unit="kg",
        values=tuple(np.geomspace(0.03, 3.0, 7).tolist()),
        train=(0.1, 1.0),
        gaps=((0.3, 0.4),),
        log=True,
    )
    y = Axis(
        name="pad_friction",
        unit="1",
        values=tuple(np.linspace(0.15, 1.3, 5).tolist()),
        train=(0.25, 1.0),
        gaps=((0.5, 0.6),),
    )
    slope = np.linspace(-3.0, -1.0, 35).reshape(5, 7)
    shifts = {("domain_randomisation", 0): 0.0, ("maml", 0): -0.3, ("maml", 5): 0.5}
    maps = [
        grid_map(name, episodes, slope + shift)
        for (name, episodes), shift in {**shifts, ("oracle", 0): 1.0}.items()
    ]
    return HeatMap(x=x, y=y, maps=tuple(maps))


def grid_map(name, episodes, returns):
    success = (returns > -1.5).astype(float)
    cells = [tuple(map(tuple, values.tolist())) for values in (returns, success)]
    return GridMap(algorithm=name, adaptation_episodes=episodes, returns=cells[0], success=cells[1])


def made_up_evaluation():
    return Evaluation(
        family="metarobot/Grip-v0",
        created="2026-01-01T00:00:00+00:00",
        config=EvaluationConfig(num_tasks=40, adaptation_episodes=(1, 5, 20), num_blocks=1),
        seeds=(0, 1, 2),
        task_parameters=(
            MeasuredParameter(
                name="block_mass_kg",
                unit="kg",
                description="Mass of the block.",
                train=(0.1, 1.0),
                gaps=((0.3, 0.4),),
                extrapolation=((0.03, 0.1), (1.0, 3.0)),
                log_uniform=True,
            ),
        ),
        policies=tuple(
            MeasuredPolicy(algorithm=name, adapts=name not in REFERENCES) for name in MEANS
        ),
        rows=(
            *(row for name, means in MEANS.items() for row in rows_of(name, means)),
            *(
                row(name, "train", number, MEANS[name][number], variant=variant)
                for variant in ("greasy_pads", "heavy_blocks")
                for name, numbers in (("domain_randomisation", (0,)), ("maml", (0, 1, 5)))
                for number in numbers
            ),
        ),
        headroom=tuple(headroom(split) for split in GRIP_SPLITS),
        heat_map=made_up_heat_map(),
        worst_tasks=tuple(worst_task(index, harmed=index < 2) for index in range(3)),
        robustness=(
            Conditions(
                name="greasy_pads",
                description="less friction than any trained with",
                settings={"ranges.pad_friction.train": "0.05, 0.2"},
            ),
            Conditions(name="heavy_blocks", description="less friction than any trained with"),
        ),
    )


def worst_task(index, *, harmed):
    return WorstTask(
        algorithm="maml",
        seed=0,
        split="extrapolation",
        index=index,
        task={"block_mass_kg": 1.5 + 0.1 * index, "pad_friction": 0.2},
        adaptation_episodes=5,
        return_before=-1.0,
        return_after=-2.0 + 0.1 * index,
        success_before=0.8,
        success_after=0.4,
        harmed=harmed,
    )


def with_another(evaluation, name="promp"):
    """The evaluation with a second algorithm, which does as MAML."""

    def doubled(parts):
        copies = [changed(part, algorithm=name) for part in parts if part.algorithm == "maml"]
        return (*parts, *copies)

    policies = {policy.algorithm: policy for policy in doubled(evaluation.policies)}
    heat_map = evaluation.heat_map
    return replace(
        evaluation,
        policies=tuple(policies[name] for name in in_order(policies)),
        rows=doubled(evaluation.rows),
        heat_map=heat_map and replace(heat_map, maps=doubled(heat_map.maps)),
    )


def without(evaluation, *names):
    """The evaluation without some policies, and so without what they are a measure of."""

    def fewer(parts):
        return tuple(part for part in parts if part.algorithm not in names)

    heat_map = evaluation.heat_map
    return replace(
        evaluation,
        policies=fewer(evaluation.policies),
        rows=fewer(evaluation.rows),
        headroom=(),
        heat_map=heat_map and replace(heat_map, maps=fewer(heat_map.maps)),
        worst_tasks=fewer(evaluation.worst_tasks),
    )


def with_headroom(evaluation, *entries):
    return replace(evaluation, headroom=entries)


def with_captured(evaluation, share):
    """The evaluation in which every policy that adapts has captured a share, after any episodes."""
    return with_rows(
        evaluation,
        lambda row: row.episodes and not (row.exploring or row.algorithm in REFERENCES),
        captured=share,
    )


def with_rows(evaluation, is_changed, **changes):
    """The evaluation with changes to some rows."""
    rows = [changed(row, **changes) if is_changed(row) else row for row in evaluation.rows]
    return replace(evaluation, rows=tuple(rows))


def changed(part, **changes):
    """A row, or another part, with changes."""
    change = structs.replace if isinstance(part, Row) else replace
    return change(part, **changes)
