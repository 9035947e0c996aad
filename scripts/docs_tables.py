"""The generated tables of the documentation: each is a function of the code or of a committed file.

`BLOCKS` names them. An evaluation of docs/results gives its rows, see `metarobot.Evaluation`.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from changes import table as changes_table
from diagnosis import accuracy, calibration
from life import table as life_table
from shared import (
    PENDING,
    captured_text,
    markdown_table,
    number_text,
    ranges,
    rate_text,
    read,
    read_evaluation,
    with_interval,
)

from metarobot.config import PRESETS
from metarobot.envs import (
    FAMILIES,
    SceneLimits,
    TaskVectorEnv,
    file_name,
    find_variant,
    shipped_variants,
)
from metarobot.evaluation.protocol import in_order
from metarobot.evaluation.table import FEW_EPISODES, Evaluation, MeasuredPolicy, Row
from metarobot.reporting.style import after_blocks, after_episodes, algorithm_title, family_title
from metarobot.reporting.tables import episodes_to_90

SHOWN_FAMILIES = ("reach", "reach-hidden-goal", "grip", "slide", "push", "carry", "insert")
"""Presets of the families of the tables by adaptation episodes."""
NUMBERS = (0, 1, 2, 5, 20)
"""Adaptation episodes that those tell of."""
AS_GOOD = 0.05
"""Difference of return, as a part of the headroom, below which two are called equally good."""
WITHOUT_REWARDS = "rewards-hidden"
"""Folder of a family's evaluation in which policies see no rewards."""
OTHERS = ("others", "identification")
"""Folders of a family's evaluations of those whom its own leaves out."""
PUBLISHED = {
    "half-cheetah-direction": ((-50.7, 293.2, 313.5, 315.7), 442.7),
    "half-cheetah-velocity": ((-129.5, -78.6, -66.6, -60.8), -54.5),
    "point-navigation": ((-40.4, -11.7, -3.3, -3.2), None),
}
"""Returns of MAML after 0 to 3 adaptation steps, means over 40 tasks, and of its oracle: from the
data that the authors of arXiv:1703.03400 have published with their code."""


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], empty: str = PENDING) -> str:
    return markdown_table(headings, rows) if rows else empty


# Evaluations, joined family by family.


def _all_shown() -> list[Evaluation]:
    """Return all that was measured on each family, of those that `latent` is part of."""
    return [each for each in map(_shown, SHOWN_FAMILIES) if each]


def _shown(preset: str) -> Evaluation | None:
    """Return the evaluation on a family, joined by those of `OTHERS`; None without `latent`.

    Headroom and seeds are of the family's own evaluation, and so is a policy that is in several.
    """
    whole = read_evaluation(f"{preset}/evaluation.json")
    for more in filter(None, (read_evaluation(f"{preset}/{o}/evaluation.json") for o in OTHERS)):
        if whole:
            known = {each.algorithm for each in whole.policies}
            new = {each.algorithm: each for each in more.policies if each.algorithm not in known}
            by_name = {each.algorithm: each for each in whole.policies} | new
            whole = replace(
                whole,
                policies=tuple(by_name[name] for name in in_order(by_name)),
                rows=(*whole.rows, *(row for row in more.rows if row.algorithm in new)),
            )
    return whole if whole and "latent" in whole.learners else None


def _after(evaluation: Evaluation, name: str, split: str, number: int) -> Row | None:
    """Return what a policy reaches after so many episodes: one that never adapts, as before."""
    rows = evaluation.curves.get((name, split), ())
    return rows[0] if len(rows) == 1 else evaluation.after(name, split, number)


def _success(evaluation: Evaluation, name: str, split: str) -> list[str]:
    rows = [_after(evaluation, name, split, number) for number in NUMBERS]
    return [rate_text(row and row.success) for row in rows]


def by_algorithm(preset: str) -> str:
    """Return the success of every algorithm after 0, 1, 2, .. episodes, split by split."""
    evaluation = _shown(preset)
    if evaluation is None:
        return PENDING
    headings = ["success"]
    for split in evaluation.splits:
        headings += [f"{split}: {NUMBERS[0]}", *map(str, NUMBERS[1:])]
    rows = [
        [
            algorithm_title(policy.algorithm),
            *(
                cell
                for split in evaluation.splits
                for cell in _success(evaluation, policy.algorithm, split)
            ),
        ]
        for policy in evaluation.policies
    ]
    return markdown_table(headings, rows)


def seeds() -> str:
    """Return which trainings the tables rest on, family by family."""
    rows = [
        (
            family_title(found.family),
            ", ".join(map(str, found.seeds)),
            *(
                ", ".join(map(str, each.seeds)) if each else ""
                for each in (read_evaluation(f"{preset}/{o}/evaluation.json") for o in OTHERS)
            ),
        )
        for preset in SHOWN_FAMILIES
        if (found := _shown(preset))
    ]
    return _table(("family", "training seeds", "of the other learners", "of identification"), rows)


_HEADLINE = (
    ("never adapting", "domain_randomisation", 0),
    ("memory of the episode", "recurrent_randomisation", 0),
    ("MAML: 5", "maml", 5),
    ("20", "maml", 20),
    ("latent: 0", "latent", 0),
    ("1", "latent", 1),
    ("5", "latent", 5),
    ("20", "latent", 20),
    ("told the task", "oracle", 0),
)
"""Heading, algorithm and adaptation episodes of each column of the first table."""


def headline() -> str:
    """Return what few episodes are worth, family by family: success, and who is harmed."""
    rows = []
    for evaluation in _all_shown():
        for split in evaluation.splits:
            shown = [_after(evaluation, name, split, n) for _, name, n in _HEADLINE]
            few = _after(evaluation, "latent", split, FEW_EPISODES)
            rows.append(
                [
                    family_title(evaluation.family),
                    split,
                    *(rate_text(row and row.success) for row in shown),
                    captured_text(few and few.captured),
                    with_interval(few and few.worse),
                ]
            )
    headings = ["success", "split", *(title for title, *_ in _HEADLINE)]
    headings += [f"captured after {FEW_EPISODES}", f"worse after {FEW_EPISODES}"]
    return _table(headings, rows)


def without_rewards() -> str:
    """Return what `latent` and the references reach where nobody measures rewards."""
    found = [
        read_evaluation(f"{preset}/{WITHOUT_REWARDS}/evaluation.json") for preset in SHOWN_FAMILIES
    ]
    rows = []
    for evaluation in filter(None, found):
        for policy in evaluation.policies:
            for split in evaluation.splits:
                name = policy.algorithm
                few = _after(evaluation, name, split, FEW_EPISODES) if policy.adapts else None
                rows.append(
                    [
                        family_title(evaluation.family),
                        split,
                        algorithm_title(name),
                        *_success(evaluation, name, split),
                        captured_text(few and few.captured),
                    ]
                )
    headings = ["success", "split", "algorithm", *map(str, NUMBERS)]
    return _table([*headings, f"captured after {FEW_EPISODES}"], rows)


def best() -> str:
    """Return who is best after 0, 1, 2, .. episodes, family by family and split by split."""
    rows = [
        [
            family_title(evaluation.family),
            split,
            *(_titles(_as_good_as_best(evaluation, split, number)) for number in NUMBERS),
        ]
        for evaluation in _all_shown()
        for split in evaluation.splits
    ]
    return _table(["family", "split", *map(after_episodes, NUMBERS)], rows)


def _titles(names: Sequence[str]) -> str:
    """Return the titles of four algorithms, and how many more there are."""
    shown = [algorithm_title(name) for name in names[:4]]
    more = len(names) - len(shown)
    return ", ".join([*shown, f"{more} more"] if more else shown)


def _as_good_as_best(evaluation: Evaluation, split: str, number: int) -> list[str]:
    """Return who is within `AS_GOOD` of the best, the best first; it alone without headroom."""
    returns = _returns(evaluation, split, number)
    most, gap = max(returns.values()), _gap(evaluation, split) or 0.0
    best_first = sorted(returns, key=lambda name: -returns[name])
    return [name for name in best_first if most - returns[name] <= AS_GOOD * gap]


def _returns(evaluation: Evaluation, split: str, number: int) -> dict[str, float]:
    """Return the mean return of each policy that is not told the task, by its name."""
    names = [policy.algorithm for policy in evaluation.policies if policy.algorithm != "oracle"]
    rows = {name: _after(evaluation, name, split, number) for name in names}
    return {name: row.return_mean.value for name, row in rows.items() if row}


def _gap(evaluation: Evaluation, split: str) -> float | None:
    """Return the headroom of a split, None where it says nothing."""
    entry = evaluation.headroom_of(split)
    return entry.gap.value if entry and entry.is_meaningful else None


def behind() -> str:
    """Return where another one earns more than `latent` after as many episodes, and how much."""
    rows = []
    for evaluation in _all_shown():
        for split in evaluation.splits:
            for number in NUMBERS:
                returns, gap = _returns(evaluation, split, number), _gap(evaluation, split)
                if "latent" in returns and gap is not None:
                    name = max(returns, key=lambda name: returns[name])
                    ahead = (returns[name] - returns["latent"]) / gap
                    line = [family_title(evaluation.family), split, str(number)]
                    if ahead > AS_GOOD:
                        rows.append([*line, algorithm_title(name), f"{ahead:.2f}"])
    headings = ["family", "split", "episodes", "best", "ahead, as a part of the headroom"]
    return _table(headings, rows)


def _by_family(heading: str, cell: Callable[[Evaluation, MeasuredPolicy], str]) -> str:
    """Return a line for each algorithm with a cell and a column for each family."""
    evaluations = _all_shown()
    names = dict.fromkeys(policy.algorithm for each in evaluations for policy in each.policies)
    lines = {
        name: [
            "".join(cell(each, policy) for policy in each.policies if policy.algorithm == name)
            for each in evaluations
        ]
        for name in names
    }
    rows = [[algorithm_title(name), *cells] for name, cells in lines.items() if any(cells)]
    return _table([heading, *(family_title(each.family) for each in evaluations)], rows)


def harm() -> str:
    """Return the share of tasks that became worse, learner by learner: the most of any split."""

    def shares(evaluation: Evaluation, policy: MeasuredPolicy) -> str:
        cells = []
        for number in (1, 2, 5) if policy.adapts else ():
            rows = [evaluation.after(policy.algorithm, s, number) for s in evaluation.splits]
            worse = [row.worse.value for row in rows if row and row.worse]
            cells.append(f"{max(worse):.2f}" if worse else "-")
        return ", ".join(cells)

    return _by_family("became worse", shares)


def fallen() -> str:
    """Return where the mean return after few episodes lies below that before, interval and all."""
    rows = [
        [
            family_title(evaluation.family),
            split,
            algorithm_title(name),
            str(after.episodes),
            with_interval(before.return_mean),
            with_interval(after.return_mean),
        ]
        for evaluation in _all_shown()
        for split in evaluation.splits
        for name in evaluation.learners
        if (curve := evaluation.curves.get((name, split)))
        for before, after in product(curve[:1], curve[1:])
        if after.episodes in (1, 2, 5) and after.return_mean.high < before.return_mean.value
    ]
    headings = ["family", "split", "algorithm", "episodes", "return before", "return after"]
    return _table(headings, rows, "_Nowhere._")


def later_blocks() -> str:
    """Return what block after block leads to, family by family and split by split."""
    found = [
        (evaluation, split, name, rows)
        for evaluation in _all_shown()
        for split in evaluation.splits
        for name in ("latent", "maml")
        if (rows := evaluation.blocks.get((name, split, False)))
    ]
    lines = [
        [
            family_title(evaluation.family),
            split,
            algorithm_title(name),
            *(with_interval(row.return_mean) for row in rows),
        ]
        for evaluation, split, name, rows in found
    ]
    stages = map(after_blocks, range(max((len(rows) for *_, rows in found), default=0)))
    return _table(["return", "split", "algorithm", *stages], lines)


def costs() -> str:
    """Return the mean seconds of a training, by algorithm and family."""
    return _by_family("seconds", lambda _, policy: _mean_costs(policy)[1])


def _mean_costs(policy: MeasuredPolicy) -> list[str]:
    """Return the mean control steps and seconds of a training, empty where there was none."""
    costs = [[e for e in cost if e is not None] for cost in (policy.total_steps, policy.seconds)]
    return [f"{sum(cost) / len(cost):,.0f}" if cost else "" for cost in costs]


# One family: MAML's adaptation by blocks, the headroom, and comparisons.


def returns(name: str) -> str:
    """Return the deterministic returns of a committed evaluation by blocks, split by split."""
    evaluation = read_evaluation(f"{name}/evaluation.json")
    if evaluation is None:
        return PENDING
    headings = ["split", "random", "domain randomisation", *_stages_of_blocks(evaluation)]
    headings += ["oracle", "headroom / (oracle - random)", "captured by 1 block", "each seed"]
    rows = [
        [
            entry.split,
            f"{entry.random:.2f}",
            f"{entry.domain_randomisation:.2f}",
            *(f"{row.return_mean.value:.2f}" for row in blocks),
            f"{entry.oracle:.2f}",
            f"{entry.over_random:.2f}",
            *_captured_by_one(evaluation, entry.split),
        ]
        for entry in evaluation.headroom
        if (blocks := evaluation.blocks.get(("maml", entry.split, False)))
    ]
    return markdown_table(headings, rows)


def _stages_of_blocks(evaluation: Evaluation) -> list[str]:
    return [after_blocks(number) for number in range(evaluation.config.num_blocks + 1)]


def _captured_by_one(evaluation: Evaluation, split: str) -> tuple[str, str]:
    """Return the fraction that one block of MAML captures, and that of each seed."""
    row = evaluation.after_blocks("maml", split, 1)
    if row is None or row.captured is None:
        return captured_text(None), "-"
    seeds = ("-" if each is None else f"{each:.2f}" for each in row.captured_per_seed)
    return captured_text(row.captured), ", ".join(seeds)


def success(name: str) -> str:
    """Return the success rates of a committed evaluation by blocks: deterministic (exploring)."""
    evaluation = read_evaluation(f"{name}/evaluation.json")
    if evaluation is None:
        return PENDING
    after = _stages_of_blocks(evaluation)
    stages = [("random", 0), ("domain_randomisation", 0)]
    stages += [*(("maml", number) for number in range(len(after))), ("oracle", 0)]

    def rate(key: tuple[str, str, bool], block: int) -> str:
        rows = evaluation.blocks.get(key, ()) if evaluation else ()
        return rate_text(rows[block].success) if block < len(rows) else ""

    rows = []
    for split in evaluation.splits:
        cells = [split]
        for algorithm, block in stages:
            sure, exploring = (rate((algorithm, split, flag), block) for flag in (False, True))
            cells.append(sure + (f" ({exploring})" if exploring else ""))
        rows.append(cells)
    return markdown_table(["split", "random", "domain randomisation", *after, "oracle"], rows)


def headroom() -> str:
    """Return the headroom of every family and split: interquartile means with intervals."""
    stages = (("random", 0), ("domain_randomisation", 0), ("maml", 1), ("maml", 3), ("oracle", 0))
    rows = []
    for preset in PRESETS:
        evaluation = read_evaluation(f"{preset}/evaluation.json")
        for entry in evaluation.headroom if evaluation else ():
            if evaluation and ("maml", entry.split) in evaluation.curves:
                found = [evaluation.after_blocks(name, entry.split, n) for name, n in stages]
                rows.append(
                    [
                        f"[{family_title(evaluation.family)}]"
                        f"(families/{file_name(evaluation.family)}.md)",
                        entry.split,
                        *(with_interval(row and row.return_iqm) for row in found),
                        f"{entry.over_random:.2f}",
                        *_captured_by_one(evaluation, entry.split),
                    ]
                )
    headings = ["family", "split", "random", "domain randomisation", "1 block", "3 blocks"]
    headings += ["oracle", "headroom / (oracle - random)", "captured by 1 block", "each seed"]
    return _table(headings, rows)


def comparison(preset: str, folder: Path) -> str:
    """Return the comparison on a family: for each split a table, one line for each algorithm.

    Args:
        preset: The family's preset.
        folder: Folder that holds PRESET/comparison/evaluation.json, relative to docs/results.
    """
    measured = read_evaluation(folder / preset / "comparison" / "evaluation.json")
    if measured is None:
        return PENDING
    tables = [_comparison_on(measured, split) for split in measured.splits]
    costs = [
        [algorithm_title(policy.algorithm), *_mean_costs(policy)]
        for policy in measured.policies
        if policy.total_steps
    ]
    tables.append(markdown_table(["training", "control steps", "seconds"], costs))
    return "\n\n".join(tables)


def _comparison_on(measured: Evaluation, split: str) -> str:
    """Return the table of one split, with the columns that were measured."""
    names = [p.algorithm for p in measured.policies if (p.algorithm, split) in measured.curves]
    found = {
        number: {name: measured.after(name, split, number) for name in names}
        for number in (1, 5, 20)
    }
    numbers = [number for number, rows in found.items() if any(rows.values())]
    harmed = [n for n in numbers if any(row and row.worse for row in found[n].values())]
    headings = [split, "before", *map(after_episodes, numbers), after_blocks(3)]
    headings += [f"captured {after_episodes(number)}" for number in numbers]
    headings += [f"worse {after_episodes(number)}" for number in harmed]
    lines = []
    for name in names:
        means = [measured.curves[name, split][0], *(found[number][name] for number in numbers)]
        means.append(measured.after_blocks(name, split, 3))
        captured = [row and row.captured for row in (found[number][name] for number in numbers)]
        worse = [row and row.worse for row in (found[number][name] for number in harmed)]
        lines.append(
            [
                algorithm_title(name),
                *(with_interval(row.return_mean) if row else "" for row in means),
                *map(rate_text, (*captured, *worse)),
                episodes_to_90(measured, name, split) if name in measured.learners else "",
            ]
        )
    return markdown_table([*headings, "90 % captured after"], lines)


def published() -> str:
    """Return MAML's published returns on the benchmark families beside those of this package."""
    lines, found = [], False
    for preset, (returns_after, oracle) in PUBLISHED.items():
        title = family_title(PRESETS[preset].env_id)
        theirs = [f"{value}" for value in returns_after]
        lines.append([title, "MAML, published", "", *theirs, "" if oracle is None else f"{oracle}"])
        for folder in (Path(), LONGER):
            measured = read_evaluation(folder / preset / "literature.json")
            if measured is not None:
                lines += _literature_lines(title, measured, len(returns_after))
                found = True
    stages = ["0 steps", "1 step", "2 steps", "3 steps"]
    headings = ["family", "algorithm", "training steps", *stages, "oracle"]
    return markdown_table(headings, lines) if found else PENDING


def _literature_lines(title: str, measured: Evaluation, num_stages: int) -> list[list[str]]:
    """Return a line for each algorithm but the oracle, which stands in the last column of all."""
    cells = {
        policy.algorithm: [
            with_interval(row.return_mean)
            for row in measured.blocks.get((policy.algorithm, "train", False), ())
        ]
        for policy in measured.policies
    }
    (oracle,) = cells.pop("oracle", [""])
    cost = f"{int(measured.policies[0].settings['total_steps']):,}"
    return [
        [title, algorithm_title(name), cost, *means, *[""] * (num_stages - len(means)), oracle]
        for name, means in cells.items()
    ]


def curve(preset: str) -> str:
    """Return what the committed training of MAML on a family's first seed came to."""
    found = [row for row in read("curves.json") or [] if row["run"] == f"{preset}-seed0"]
    (row,) = [row for row in found if row["algorithm"] == "maml"] or [None]
    if row is None:
        return PENDING
    share = row["update_s"] / row["sampling_s"]
    return (
        f"{row['iterations']} meta-iterations, {row['total_steps']:,} control steps, "
        f"{row['seconds']:,.0f} s on one thread; meta-updates took {share:.2f} of the time of "
        f"sampling. Return of exploring episodes after one adaptation step: "
        f"{row['post_return_at_end']:.1f} on average over the last {row['iterations_at_end']} "
        f"meta-iterations, {row['post_return_best']:.1f} in the best."
    )


# Families, variants and scenes, from the code.


def families() -> str:
    """Return one line per family: its id and its task parameters."""
    rows = []
    for env_id, family in FAMILIES.items():
        names = ", ".join(
            p.description + ("" if p.unit == "1" else f" ({p.unit})")
            for p in family.distribution.parameters
        )
        rows.append((f"[`{env_id}`](families/{file_name(env_id)}.md)", names))
    return markdown_table(("family", "what differs between its tasks"), rows)


def parameters(family: type[TaskVectorEnv]) -> str:
    """Return the task parameters of a family, with unit and ranges."""
    headings = ("parameter", "meaning", "unit", "nominal", "trained on", "gaps", "extrapolation")
    rows = [
        (
            f"`{p.name}`",
            p.description + ", log-uniform" * p.log_uniform + ", circular" * p.circular,
            p.unit,
            f"{p.nominal:g}",
            " or ".join(map(number_text, p.choices)) or ranges([p.train]),
            ranges(p.gaps),
            ranges(p.extrapolation),
        )
        for p in family.distribution.parameters
    ]
    return markdown_table(headings, rows)


def observation(family: type[TaskVectorEnv]) -> str:
    """Return the observation of a family, element by element."""
    return inspect.cleandoc(family.observation_table())


def constants(family: type[TaskVectorEnv]) -> str:
    """Return the constants of a family's module, and the length of its episodes."""

    def is_number(value: object) -> bool:
        numbers = value if isinstance(value, tuple) else (value,)
        return all(isinstance(number, int | float) for number in numbers)

    numbers = {
        name: value
        for name, value in vars(inspect.getmodule(family)).items()
        if name.isupper() and not name.startswith("_") and is_number(value)
    }
    env = family()
    facts = {"control step": f"{1000 * env.control_dt_s:g} ms"}
    facts["horizon T"] = f"{family.default_horizon} control steps"
    env.close()
    rows = [*facts.items(), *((f"`{name}`", number_text(value)) for name, value in numbers.items())]
    return markdown_table(("constant", "value"), rows)


def scene_limits() -> str:
    """Return how large a user's scene may be: the fields of SceneLimits with their docstrings."""
    body = ast.parse(inspect.getsource(SceneLimits)).body[0]
    assert isinstance(body, ast.ClassDef)
    texts = [ast.literal_eval(n.value) for n in body.body[1:] if isinstance(n, ast.Expr)]
    values = vars(SceneLimits()).items()
    rows = [(f"`{n}`", f"{v:,}", t) for (n, v), t in zip(values, texts, strict=True)]
    return markdown_table(("limit", "value", "what it bounds"), rows)


def variants() -> str:
    """Return one line per variant that comes with the package."""
    found = {name: find_variant(name) for name in shipped_variants()}
    rows = [
        (f"[`{name}`](../envs/shipped_variants/{name}.toml)", v.vector_class.family, v.description)
        for name, v in found.items()
    ]
    return markdown_table(("variant", "of", "what is special about it"), rows)


# Speed.


def speed() -> str:
    """Return the committed benchmark."""
    rows = read("benchmark.json")
    if rows is None:
        return PENDING
    headings = ["family", "simulations", "steps", "rollout / physics", "update / sampling"]
    headings += ["iteration / physics", "rollout steps/s"]
    cells = [
        [
            f"`{row['family']}`",
            str(row["nsim"]),
            str(row["horizon"]),
            f"{row['rollout_over_physics']:.2f}",
            f"{row['update_over_sampling']:.2f}",
            f"{row['iteration_over_physics']:.2f}",
            f"{row['rollout_steps_per_s']:,.0f}",
        ]
        for row in rows
    ]
    machine = f"\n\n{rows[0]['cpu']}, {rows[0]['threads']} threads."
    return markdown_table(headings, cells) + machine


def scaling() -> str:
    """Return the committed measurement of several processes."""
    rows = read("scaling.json")
    if rows is None:
        return PENDING
    cells = [
        [
            f"`{row['family']}`",
            str(row["processes"]),
            f"{row['iteration_s']:.2f} s",
            f"{row['speed_up']:.2f}",
        ]
        for row in rows
    ]
    table = markdown_table(("family", "processes", "meta-iteration", "speed-up"), cells)
    times = {(row["family"], row["processes"]): row["iteration_s"] for row in rows}
    expected = " ".join(
        _expected_scaling(family, times[family, 1], times[family, 2])
        for family in dict.fromkeys(row["family"] for row in rows)
    )
    return f"{table}\n\n{rows[0]['cpu']}, one thread a process. {expected}"


def _expected_scaling(family: str, one_s: float, two_s: float) -> str:
    """Say what more processes would bring, from T(P) = shared / P + alone."""
    alone_s = max(0.0, 2 * two_s - one_s)
    four, ten = (one_s / ((one_s - alone_s) / count + alone_s) for count in (4, 10))
    return (
        f"For {family.capitalize()} that leaves {alone_s:.2f} s that do not shrink, so that on as "
        f"many cores 4 processes should be {four:.1f} and 10 processes {ten:.1f} times as fast."
    )


LONGER = Path("longer")
"""Folder in docs/results of policies that were trained for longer than their preset says."""

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
    "longer comparison": lambda: comparison("half-cheetah-velocity", LONGER),
}
"""The generated blocks of all pages, by name."""
for _figure in ("mae", "rmse", "coverage"):
    BLOCKS[f"life {_figure}"] = lambda figure=_figure: life_table(figure)
for _preset in SHOWN_FAMILIES:
    BLOCKS[f"{_preset} learners"] = lambda preset=_preset: by_algorithm(preset)
for _env_id, _env_class in FAMILIES.items():
    _family, _name = _env_class, file_name(_env_id)
    BLOCKS[f"{_name} parameters"] = lambda family=_family: parameters(family)
    BLOCKS[f"{_name} observation"] = lambda family=_family: observation(family)
    BLOCKS[f"{_name} constants"] = lambda family=_family: constants(family)
    BLOCKS[f"{_name} returns"] = lambda name=_name: returns(name)
    BLOCKS[f"{_name} success"] = lambda name=_name: success(name)
    BLOCKS[f"{_name} curve"] = lambda name=_name: curve(name)
