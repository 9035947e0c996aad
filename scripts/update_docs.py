"""Write the tables of the documentation, from the code and the committed results.

A table stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; all other text stays as it
is. `TABLES` has the rows of each. A measured value has an interval: the page shows the value, and
links to docs/results/tables/NAME.csv, which has its bounds and all digits. The tests fail if a
table differs from the output of this script.
"""

from __future__ import annotations

import ast
import csv
import inspect
import io
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import shared
from changes import table as changes_table
from diagnosis import accuracy, calibration
from life import table as life_table
from shared import ROOT, Rows, cell_text, number_text, ranges, read, read_evaluation, table

from metarobot.algorithms import algorithm_class
from metarobot.algorithms.base import TaskCodeLearner
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
from metarobot.evaluation.statistics import Interval
from metarobot.evaluation.table import FEW_EPISODES, Evaluation, Row
from metarobot.reporting.style import after_episodes, algorithm_title, family_title

PAGES = [
    str(path.relative_to(ROOT))
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if "<!-- generated:" in path.read_text(encoding="utf-8")
]
ARM_FAMILIES = ("reach", "reach-hidden-goal", "grip", "slide", "push", "carry", "insert")
"""Presets of the arm families."""
OTHER_FAMILIES = (
    *("half-cheetah-direction", "half-cheetah-velocity", "point-navigation"),
    "reach-feed-forward",
)
NUMBERS = (0, 1, 2, FEW_EPISODES, 20)
"""Adaptation episodes in the tables."""
AS_GOOD = 0.05
"""Difference of return, as a part of the headroom, below which two policies are equally good."""
PUBLISHED = {
    "half-cheetah-direction": (-50.7, 293.2, 313.5, 315.7, 442.7),
    "half-cheetah-velocity": (-129.5, -78.6, -66.6, -60.8, -54.5),
    "point-navigation": (-40.4, -11.7, -3.3, -3.2, None),
}
"""Returns of MAML after 0 to 3 adaptation steps, means over 40 tasks, and of its oracle: from the
data that the authors of arXiv:1703.03400 published with their code."""
_BLOCK = re.compile(r"(<!-- generated: ([\w -]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def update(text: str, page: str = "") -> tuple[str, dict[str, str]]:
    """Return a page with all tables updated, and their CSV files by name.

    Args:
        text: The page.
        page: Its path, to which links are relative.

    Raises:
        KeyError: A table's name is unknown.
    """
    files = {}

    def block(match: re.Match[str]) -> str:
        rows = TABLES[match[2]]()
        shown = rows if isinstance(rows, str) else table(rows)
        if not isinstance(rows, str) and any(
            isinstance(v, Interval) for r in rows for v in r.values()
        ):
            name = f"{match[2].replace(' ', '-')}.csv"
            files[name] = as_csv(rows)
            up = "../" * (page.count("/") - 1)
            shown += f"\n\n[The table with 95 % intervals, as CSV]({up}results/tables/{name})"
        return f"{match[1]}{shown}\n{match[3]}"

    return _BLOCK.sub(block, text), files


def as_csv(rows: Rows) -> str:
    """Return rows as CSV; an interval adds two columns for its bounds."""
    bounded = {name for row in rows for name, value in row.items() if isinstance(value, Interval)}
    lines = []
    for row in rows:
        line: dict[str, Any] = {}
        for name, value in row.items():
            is_interval = isinstance(value, Interval)
            line[name] = value.value if is_interval else value
            if name in bounded:
                line[f"{name}, low"] = value.low if is_interval else None
                line[f"{name}, high"] = value.high if is_interval else None
        lines.append(line)
    text = io.StringIO()
    writer = csv.DictWriter(text, [*lines[0]], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def measured(folder: str) -> Evaluation:
    """Return an evaluation in docs/results, merged with those of separately measured policies.

    The folder's own evaluation gives the headroom, and the rows of a policy that is in several.
    """
    whole = read_evaluation(f"{folder}/evaluation.json")
    for name in ("others", "identification"):
        if not (shared.RESULTS / folder / name).exists():
            continue
        more = read_evaluation(f"{folder}/{name}/evaluation.json")
        policies = {each.algorithm: each for each in whole.policies}
        new = {each.algorithm: each for each in more.policies if each.algorithm not in policies}
        policies |= new
        whole = replace(
            whole,
            policies=tuple(policies[each] for each in in_order(policies)),
            rows=(*whole.rows, *(row for row in more.rows if row.algorithm in new)),
        )
    return whole


def _after(evaluation: Evaluation, name: str, split: str, number: int) -> Row | None:
    """Return a policy's row after a number of episodes; one that never adapts has one row."""
    rows = evaluation.curves.get((name, split), ())
    return rows[0] if len(rows) == 1 else evaluation.after(name, split, number)


def headline() -> Rows:
    """Return the success on the training range and beyond it, family by family."""
    columns = {
        "never adapting": ("domain_randomisation", 0),
        "MAML after 20": ("maml", 20),
        "latent after 1": ("latent", 1),
        "latent after 5": ("latent", 5),
        "oracle": ("oracle", 0),
    }

    def success(evaluation: Evaluation, name: str, number: int) -> str:
        rows = (_after(evaluation, name, s, number) for s in ("train", "extrapolation"))
        return " / ".join(cell_text(row and row.success) for row in rows)

    return [
        {"success": f"[{family_title(each.family)}](families/{file_name(each.family)}.md)"}
        | {heading: success(each, *key) for heading, key in columns.items()}
        for each in map(measured, ARM_FAMILIES)
    ]


def by_episodes(folder: str, figure: str = "success") -> Rows:
    """Return a figure by adaptation episodes, with the captured headroom and the harmed share."""
    evaluation, rows = measured(folder), []
    has_belief = any(row.coverage for row in evaluation.rows)
    for split, policy in product(evaluation.splits, evaluation.policies):
        after = {n: _after(evaluation, policy.algorithm, split, n) for n in NUMBERS}
        few, one = after[FEW_EPISODES], after[1]
        rows.append(
            {"split": split, "algorithm": algorithm_title(policy.algorithm)}
            | {str(number): row and getattr(row, figure) for number, row in after.items()}
            | {f"captured after {FEW_EPISODES}": few and few.captured}
            | {"worse after 1": one and one.worse}
            | {f"worse after {FEW_EPISODES}": few and few.worse}
            | ({f"within bands after {FEW_EPISODES}": few and few.coverage} if has_belief else {})
        )
    return rows


def best() -> Rows:
    """Return the best policies after 0, 1, 2, .. episodes, by family and split."""
    return [
        {"family": family_title(each.family), "split": split}
        | {after_episodes(number): _best(each, split, number) for number in NUMBERS}
        for each in map(measured, ARM_FAMILIES)
        for split in each.splits
    ]


def _best(evaluation: Evaluation, split: str, number: int) -> str:
    """Return the policies within `AS_GOOD` of the best, best first; without headroom the best."""
    names = [each.algorithm for each in evaluation.policies if each.algorithm != "oracle"]
    rows = {name: _after(evaluation, name, split, number) for name in names}
    returns = {name: row.return_mean.value for name, row in rows.items() if row}
    entry = evaluation.headroom_of(split)
    gap = entry.gap.value if entry and entry.is_meaningful else 0.0
    least = max(returns.values()) - AS_GOOD * gap
    good = sorted((n for n in returns if returns[n] >= least), key=lambda name: -returns[name])
    more = [f"{len(good) - 4} more"] if len(good) > 4 else []
    return ", ".join([*map(algorithm_title, good[:4]), *more])


def by_blocks(folder: str, names: Sequence[str] = (), **columns: str) -> Rows:
    """Return mean return and success after 0, 1, 2, .. blocks of adaptation episodes.

    Args:
        folder: Folder of the evaluation.
        names: Policies; all if none is named.
        columns: First columns of each row.
    """
    evaluation, rows = read_evaluation(f"{folder}/evaluation.json"), []
    stages = range(evaluation.config.num_blocks + 1)
    for split, policy in product(evaluation.splits, evaluation.policies):
        name = policy.algorithm
        if names and name not in names:
            continue
        found = [evaluation.after_blocks(name, split, number) for number in stages]
        rows.append(
            columns
            | {"split": split, "algorithm": algorithm_title(name)}
            | {f"return {n}": row and row.return_mean for n, row in enumerate(found)}
            | {f"success {n}": row and row.success for n, row in enumerate(found)}
            | {"captured by 1 block": found[1] and found[1].captured}
        )
    return rows


def later_blocks() -> Rows:
    """Return the results of MAML block by block, for each family."""
    return [
        {name: cell for name, cell in row.items() if not name.startswith("success")}
        for preset in ARM_FAMILIES
        for row in by_blocks(preset, ("maml",), family=_title(preset))
    ]


def headroom() -> Rows:
    """Return the headroom of every family and split, and what learners capture of it."""
    return [
        {
            "family": f"[{_title(preset)}](families/{preset}.md)",
            "split": entry.split,
            "random": entry.random,
            "domain randomisation": entry.domain_randomisation,
            "oracle": entry.oracle,
            "headroom": entry.gap,
            "of oracle - random": entry.over_random,
            "MAML after 20": maml and maml.captured,
            f"latent after {FEW_EPISODES}": latent and latent.captured,
        }
        for preset in (*ARM_FAMILIES, *OTHER_FAMILIES)
        for evaluation in [read_evaluation(f"{preset}/evaluation.json")]
        for entry in evaluation.headroom
        for maml in [_after(evaluation, "maml", entry.split, 20)]
        for latent in [_after(evaluation, "latent", entry.split, FEW_EPISODES)]
    ]


def costs() -> Rows:
    """Return the budget of every family, and the mean seconds of a training by algorithm."""
    found = {preset: measured(preset).policies for preset in ARM_FAMILIES}
    policies = [each for family in found.values() for each in family]
    rows: list[dict[str, Any]] = [{"seconds": "(control steps)"}]
    for preset, family in found.items():
        rows[0][_title(preset)] = max(
            (n or 0 for each in family for n in each.total_steps), default=0
        )
    for name in dict.fromkeys(each.algorithm for each in policies if each.seconds):
        rows.append({"seconds": algorithm_title(name)})
        for preset, family in found.items():
            seconds = [s for each in family if each.algorithm == name for s in each.seconds if s]
            rows[-1][_title(preset)] = round(sum(seconds) / len(seconds)) if seconds else None
    return rows


def published() -> Rows:
    """Return MAML's published returns on the benchmark families beside those of this package."""
    headings = ("0 steps", "1 step", "2 steps", "3 steps", "oracle")
    rows: list[dict[str, Any]] = []
    for preset, theirs in PUBLISHED.items():
        start = {"family": _title(preset), "algorithm": "MAML, published"}
        start |= {"training steps": None, "told the task in training": "no"}
        rows.append(start | dict(zip(headings, theirs, strict=True)))
        for folder in (preset, f"longer/{preset}"):
            if not (shared.RESULTS / folder / "literature.json").exists():
                continue
            found = read_evaluation(f"{folder}/literature.json")
            (oracle,) = found.blocks["oracle", "train", False]
            for policy in found.policies[:-1]:
                line = start | dict.fromkeys(headings) | {"oracle": oracle.return_mean}
                line["algorithm"] = algorithm_title(policy.algorithm)
                line["training steps"] = int(policy.settings["total_steps"])
                if issubclass(algorithm_class(policy.algorithm), TaskCodeLearner):
                    line["told the task in training"] = "yes"
                curve = found.blocks[policy.algorithm, "train", False]
                line |= {h: row.return_mean for h, row in zip(headings, curve, strict=False)}
                rows.append(line)
    return rows


def _title(preset: str) -> str:
    return family_title(PRESETS[preset].env_id)


def pick(file: str, names: str, **where: str) -> Rows:
    """Return rows of a file in docs/results.

    Args:
        file: Its name.
        names: Columns to show.
        where: Values that select the rows.
    """
    return [
        {name.replace("_over_", " / ").replace("_", " "): row[name] for name in names.split()}
        for row in read(file)
        if where.items() <= row.items()
    ]


def families() -> Rows:
    """Return one line per family: its id and its task parameters."""
    return [
        {
            "family": f"[`{env_id}`](families/{file_name(env_id)}.md)",
            "task parameters": ", ".join(
                p.description + ("" if p.unit == "1" else f" ({p.unit})")
                for p in family.distribution.parameters
            ),
        }
        for env_id, family in FAMILIES.items()
    ]


def parameters(family: type[TaskVectorEnv]) -> Rows:
    """Return the task parameters of a family, with unit and ranges."""
    return [
        {
            "parameter": f"`{p.name}`",
            "meaning": p.description + ", log-uniform" * p.log_uniform + ", circular" * p.circular,
            "unit": p.unit,
            "nominal": f"{p.nominal:g}",
            "trained on": " or ".join(map(number_text, p.choices)) or ranges([p.train]),
            "gaps": ranges(p.gaps),
            "extrapolation": ranges(p.extrapolation),
        }
        for p in family.distribution.parameters
    ]


def observation(family: type[TaskVectorEnv]) -> str:
    """Return the observation of a family, element by element."""
    return inspect.cleandoc(family.observation_table())


def constants(family: type[TaskVectorEnv]) -> Rows:
    """Return the constants of a family's module, and the length of its episodes."""

    def is_number(value: object) -> bool:
        numbers = value if isinstance(value, tuple) else (value,)
        return all(isinstance(number, int | float) for number in numbers)

    env = family()
    facts = {
        "control step": f"{1000 * env.control_dt_s:g} ms",
        "horizon T": f"{family.default_horizon} control steps",
    }
    env.close()
    facts |= {
        f"`{name}`": number_text(value)
        for name, value in vars(inspect.getmodule(family)).items()
        if name.isupper() and not name.startswith("_") and is_number(value)
    }
    return [{"constant": name, "value": value} for name, value in facts.items()]


def scene_limits() -> Rows:
    """Return the limits of a user's scene: the fields of SceneLimits with their docstrings."""
    body = ast.parse(inspect.getsource(SceneLimits)).body[0]
    assert isinstance(body, ast.ClassDef)
    texts = [ast.literal_eval(n.value) for n in body.body[1:] if isinstance(n, ast.Expr)]
    values = vars(SceneLimits()).items()
    return [
        {"limit": f"`{name}`", "value": f"{value:,}", "meaning": text}
        for (name, value), text in zip(values, texts, strict=True)
    ]


def variants() -> Rows:
    """Return one line per shipped variant."""
    return [
        {
            "variant": f"[`{name}`](../envs/shipped_variants/{name}.toml)",
            "of": (variant := find_variant(name)).vector_class.family,
            "description": variant.description,
        }
        for name in shipped_variants()
    ]


TABLES: dict[str, Callable[[], Rows | str]] = {
    "headline": headline,
    "best": best,
    "later blocks": later_blocks,
    "headroom": headroom,
    "costs": costs,
    "published": published,
    "without rewards": lambda: by_episodes("reach/rewards-hidden"),
    "longer comparison": lambda: by_blocks("longer/half-cheetah-velocity/comparison"),
    "speed": lambda: pick(
        "benchmark.json",
        "family horizon rollout_over_physics update_over_sampling iteration_over_physics "
        "rollout_steps_per_s",
    ),
    "speed of latent": lambda: pick(
        "benchmark_latent.json",
        "family training_over_physics fit_over_physics adapting_over_physics training_steps_per_s",
    ),
    "scaling": lambda: pick("scaling.json", "family processes iteration_s speed_up cpu"),
    "diagnosis of arms": lambda: accuracy(arms=True),
    "diagnosis of machines": lambda: accuracy(arms=False),
    "calibration on arms": lambda: calibration(arms=True),
    "calibration on machines": lambda: calibration(arms=False),
    "recognised changes": changes_table,
    "families": families,
    "variants": variants,
    "scene limits": scene_limits,
}
"""The rows of every table, or the table itself, by its name."""
TABLES |= {f"life {figure}": partial(life_table, figure) for figure in ("mae", "rmse", "coverage")}
TABLES |= {f"{preset} learners": partial(by_episodes, preset) for preset in ARM_FAMILIES}
for _preset in ("panda", *OTHER_FAMILIES):
    TABLES[f"{_preset} learners"] = partial(by_episodes, _preset, "return_mean")
for _preset in OTHER_FAMILIES:
    TABLES[f"{_preset} training"] = partial(
        pick,
        "curves.json",
        "iterations total_steps seconds sampling_s update_s post_return_at_end post_return_best",
        run=f"{_preset}-seed0",
        algorithm="maml",
    )
for _env_id, _family in FAMILIES.items():
    for _content in (parameters, observation, constants):
        TABLES[f"{file_name(_env_id)} {_content.__name__}"] = partial(_content, _family)


def main() -> int:
    """Update every page, and the files beside its tables."""
    (shared.RESULTS / "tables").mkdir(exist_ok=True)
    for name in PAGES:
        path = ROOT / name
        text, files = update(path.read_text(encoding="utf-8"), name)
        found = {path: text} | {
            shared.RESULTS / "tables" / f: content for f, content in files.items()
        }
        for each, content in found.items():
            if not each.exists() or each.read_text(encoding="utf-8") != content:
                each.write_text(content, encoding="utf-8")
                print(f"updated {each.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
