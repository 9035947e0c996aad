"""A made-up evaluation, and how to change one."""

from dataclasses import replace

import numpy as np

from metarobot.envs import SPLITS
from metarobot.evaluation.protocol import EvaluationConfig, in_order
from metarobot.evaluation.statistics import Interval
from metarobot.evaluation.table import (
    Axis,
    Curve,
    Evaluation,
    GridMap,
    Headroom,
    HeatMap,
    MeasuredParameter,
    MeasuredPolicy,
    Point,
    UnderVariant,
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
REFERENCES = ("random", "domain_randomisation", "oracle")


def around(value, half=0.2):
    return Interval(value, value - half, value + half)


def point(episodes, mean, captured=None):
    adapted = captured is not None and episodes > 0
    return Point(
        adaptation_episodes=episodes,
        return_mean=around(mean),
        return_iqm=around(mean + 0.01, 0.1),
        success=Interval(0.5, 0.4, 0.6),
        captured=captured,
        captured_per_seed=() if captured is None else (captured.value,) * 3,
        harmed=Interval(0.12, 0.08, 0.16) if adapted else None,
        worst_tenth=Interval(-0.7, -0.9, -0.5) if adapted else None,
        trial_cost=Interval(0.3, 0.2, 0.4) if adapted else None,
    )


def curves_of(name, means):
    """The curves of a policy on all splits; random actions have exploring episodes only."""
    curves = []
    for split in SPLITS:
        for exploring in (True,) if name == "random" else (False, True):
            captured = {} if exploring or name in REFERENCES else CAPTURED
            points = [point(number, mean, captured.get(number)) for number, mean in means.items()]
            blocks = [each for each in points if each.adaptation_episodes in (0, 20)]
            curves.append(
                Curve(
                    algorithm=name,
                    split=split,
                    exploring=exploring,
                    points=tuple(points[:1] if exploring else points),
                    blocks=tuple(blocks),
                )
            )
    return curves


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
        curves=tuple(curve for name, means in MEANS.items() for curve in curves_of(name, means)),
        headroom=tuple(headroom(split) for split in SPLITS),
        heat_map=made_up_heat_map(),
        worst_tasks=tuple(worst_task(index, harmed=index < 2) for index in range(3)),
        robustness=tuple(
            UnderVariant(
                variant=variant,
                description="less friction than any trained with",
                other_tasks=variant == "greasy_pads",
                algorithm=name,
                points=tuple(point(number, means[number]) for number in numbers),
            )
            for variant in ("greasy_pads", "heavy_blocks")
            for name, means, numbers in (
                ("domain_randomisation", MEANS["domain_randomisation"], (0,)),
                ("maml", MEANS["maml"], (0, 1, 5)),
            )
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
        copies = [replace(part, algorithm=name) for part in parts if part.algorithm == "maml"]
        return (*parts, *copies)

    policies = {policy.algorithm: policy for policy in doubled(evaluation.policies)}
    heat_map = evaluation.heat_map
    return replace(
        evaluation,
        policies=tuple(policies[name] for name in in_order(policies)),
        curves=doubled(evaluation.curves),
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
        curves=fewer(evaluation.curves),
        headroom=(),
        heat_map=heat_map and replace(heat_map, maps=fewer(heat_map.maps)),
        worst_tasks=fewer(evaluation.worst_tasks),
        robustness=fewer(evaluation.robustness),
    )


def with_headroom(evaluation, *entries):
    return replace(evaluation, headroom=entries)


def with_captured(evaluation, share):
    """The evaluation in which every policy that adapts has captured a share, after any episodes."""

    def shared(points):
        return tuple(
            replace(each, captured=share) if each.adaptation_episodes else each for each in points
        )

    def changed(curve):
        if curve.exploring or curve.algorithm in REFERENCES:
            return curve
        return replace(curve, points=shared(curve.points), blocks=shared(curve.blocks))

    return replace(evaluation, curves=tuple(map(changed, evaluation.curves)))
