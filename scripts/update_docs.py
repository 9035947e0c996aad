"""Write the tables of the documentation from the code and from the committed results.

A table stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; everything else is left
alone.  The tests fail when a table is not what this script would write.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from metarobot.envs import (
    FAMILIES,
    SPLITS,
    SceneLimits,
    TaskParameter,
    TaskVectorEnv,
    file_name,
    find_variant,
    shipped_variants,
)
from metarobot.envs.variant_format import KEYS
from metarobot.evaluation.statistics import captured_is_meaningful
from metarobot.presets import PRESETS
from metarobot.reporting.style import algorithm_title, family_title
from metarobot.training.load import load_curve

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md",
    "docs/results.md",
    "docs/training.md",
    "docs/variants.md",
    "docs/scenes.md",
    *(f"docs/families/{file_name(env_id)}.md" for env_id in FAMILIES),
)
RESULTS = ROOT / "docs" / "results"
LONGER = RESULTS / "longer"
"""What was trained for longer than its preset says."""
_LAST_ITERATIONS = 10
PUBLISHED = {
    "half-cheetah-direction": ((-50.7, 293.2, 313.5, 315.7), 442.7),
    "half-cheetah-velocity": ((-129.5, -78.6, -66.6, -60.8), -54.5),
    "point-navigation": ((-40.4, -11.7, -3.3, -3.2), None),
}
"""Returns of MAML after 0 to 3 adaptation steps, means over 40 tasks, and of its oracle: from the
data that the authors of arXiv:1703.03400 have published with their code."""
PENDING = "_No committed result yet: the commands on this page make it._"
_BLOCK = re.compile(r"(<!-- generated: ([\w -]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def update(text: str) -> str:
    """Return a page with every generated block written anew.

    Raises:
        KeyError: A block's name is unknown.
    """
    return _BLOCK.sub(lambda match: f"{match[1]}{BLOCKS[match[2]]()}\n{match[3]}", text)


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def parameters(family: type[TaskVectorEnv]) -> str:
    """Return the task parameters of a family, with unit and ranges."""
    headings = ("parameter", "meaning", "unit", "nominal", "trained on", "gaps", "extrapolation")
    rows = [
        (
            f"`{p.name}`",
            p.description + ", log-uniform" * p.log_uniform + ", circular" * p.circular,
            p.unit,
            f"{p.nominal:g}",
            " or ".join(map(_number, p.choices)) or _ranges([p.train]),
            _ranges(p.gaps),
            _ranges(p.extrapolation),
        )
        for p in family.distribution.parameters
    ]
    return markdown_table(headings, rows)


def observation(family: type[TaskVectorEnv]) -> str:
    """Return the observation of a family, element by element."""
    return inspect.cleandoc(family.observation_table())


def constants(family: type[TaskVectorEnv]) -> str:
    """Return what a family's module declares in capitals, and the length of its episodes."""
    module = inspect.getmodule(family)
    numbers = {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and not name.startswith("_") and _is_number(value)
    }
    env = family()
    facts = {"control step": f"{1000 * env.control_dt_s:g} ms"}
    facts["horizon T"] = f"{family.default_horizon} control steps"
    env.close()
    rows = [*facts.items(), *((f"`{name}`", _number(value)) for name, value in numbers.items())]
    return markdown_table(("constant", "value"), rows)


def scene_limits() -> str:
    """Return how large a user's scene may be: the fields of SceneLimits with their docstrings."""
    body = ast.parse(inspect.getsource(SceneLimits)).body[0]
    assert isinstance(body, ast.ClassDef)
    texts = [ast.literal_eval(n.value) for n in body.body[1:] if isinstance(n, ast.Expr)]
    values = vars(SceneLimits()).items()
    rows = [(f"`{n}`", f"{v:,}", t) for (n, v), t in zip(values, texts, strict=True)]
    return markdown_table(("limit", "value", "what it bounds"), rows)


def families() -> str:
    """Return one line per family: its id and its task parameters."""
    rows = []
    for env_id, env_class in FAMILIES.items():
        family = env_class.vector_class
        page = f"docs/families/{file_name(env_id)}.md"
        names = ", ".join(_with_unit(p) for p in family.distribution.parameters)
        rows.append((f"[`{env_id}`]({page})", names))
    return markdown_table(("family", "what differs between its tasks"), rows)


def variants() -> str:
    """Return one line per variant that comes with the package."""
    found = {name: find_variant(name) for name in shipped_variants()}
    rows = [
        (f"[`{name}`](../envs/shipped_variants/{name}.toml)", v.vector_class.family, v.description)
        for name, v in found.items()
    ]
    return markdown_table(("variant", "of", "what is special about it"), rows)


def variant_keys() -> str:
    """Return the format of a variant, key by key."""
    rows = [(f"`{key}`", value, meaning) for key, (value, meaning) in KEYS.items()]
    return markdown_table(("key", "value", "meaning"), rows)


def returns(name: str) -> str:
    """Return the deterministic returns of a committed evaluation, split by split."""
    evaluation = _read(RESULTS / name / "evaluation.json")
    if evaluation is None:
        return PENDING
    steps = range(evaluation["num_adaptation_steps"] + 1)
    headings = ["split", "random", "domain randomisation"]
    headings += [f"adapted, {step} steps" for step in steps]
    headings += ["oracle", "headroom / (oracle - random)", "captured by 1 step", "each seed"]
    rows = []
    for row in evaluation["headroom"]:
        seeds = ", ".join(f"{fraction:.2f}" for fraction in row["captured_per_seed"][1])
        rows.append(
            [
                row["split"],
                *(f"{row[algorithm]:.2f}" for algorithm in ("random", "domain_randomisation")),
                *(f"{value:.2f}" for value in row["adapted"]),
                f"{row['oracle']:.2f}",
                f"{row['headroom_over_random']:.2f}",
                _captured(row),
                seeds if captured_is_meaningful(row) else "-",
            ]
        )
    return markdown_table(headings, rows)


def success(name: str) -> str:
    """Return the success rates of a committed evaluation: deterministic (exploring)."""
    evaluation = _read(RESULTS / name / "evaluation.json")
    if evaluation is None:
        return PENDING
    steps = range(evaluation["num_adaptation_steps"] + 1)
    stages = [("random", 0), ("domain_randomisation", 0)]
    stages += [*(("adapted", step) for step in steps), ("oracle", 0)]
    rates = _success_rates(evaluation)
    rows = []
    for split in (split for split in SPLITS if any(key[0] == split for key in rates)):
        cells = [split]
        for algorithm, step in stages:
            sure, exploring = (rates.get((split, algorithm, step, flag)) for flag in (False, True))
            cells.append(_rate(sure) + ("" if exploring is None else f" ({_rate(exploring)})"))
        rows.append(cells)
    names = [
        f"adapted, {step} steps" if algorithm == "adapted" else algorithm.replace("_", " ")
        for algorithm, step in stages
    ]
    return markdown_table(["split", *names], rows)


def headline() -> str:
    """Return what one adaptation step is worth, family by family and split by split."""
    rows = []
    for name in ("grip", "slide", "push", "reach", "reach-hidden-goal"):
        evaluation = _read(RESULTS / name / "evaluation.json")
        if evaluation is None:
            continue
        title = family_title(evaluation["family"])
        rates = _success_rates(evaluation)
        for entry in evaluation["headroom"]:
            stages = [("domain_randomisation", 0), ("adapted", 0), ("adapted", 1), ("oracle", 0)]
            success = [
                _rate(rates.get((entry["split"], algorithm, k, False))) for algorithm, k in stages
            ]
            rows.append([title, entry["split"], *success, _captured(entry)])
    headings = ["success", "split", "never adapting", "before adapting", "after one step"]
    headings += ["told the task", "headroom captured"]
    return markdown_table(headings, rows) if rows else PENDING


def headroom() -> str:
    """Return the committed headroom table: every family and split, with intervals."""
    rows = _read(RESULTS / "headroom.json")
    if rows is None:
        return PENDING
    stages = ("random", "domain_randomisation", "adapted_1", "adapted_3", "oracle")
    headings = ["family", "split", *(stage.replace("_", " ") for stage in stages)]
    headings += ["headroom / (oracle - random)", "captured by 1 step", "each seed"]
    cells = [
        [
            f"[{family_title(row['family'])}](families/{row['preset']}.md)",
            row["split"],
            *(_with_interval(row[stage], row[f"{stage}_ci"]) for stage in stages),
            f"{row['headroom']:.2f}",
            f"**{row['captured_1']:.2f}** [{row['captured_1_ci'][0]:.2f}, "
            f"{row['captured_1_ci'][1]:.2f}]"
            if row["meaningful"]
            else "-",
            ", ".join(f"{fraction:.2f}" for fraction in row["captured_1_per_seed"])
            if row["meaningful"]
            else "-",
        ]
        for row in rows
    ]
    return markdown_table(headings, cells)


def published() -> str:
    """Return MAML's published returns on the benchmark families beside those of this package."""
    measured = _read(RESULTS / "literature.json")
    if measured is None:
        return PENDING
    lines = []
    for preset, (returns_after, oracle) in PUBLISHED.items():
        rows = [row for row in measured if row["preset"] == preset]
        title = family_title(PRESETS[preset].env_id)
        theirs = [f"{value}" for value in returns_after]
        lines.append([title, "MAML, published", "", *theirs, "" if oracle is None else f"{oracle}"])
        for training_steps in sorted({row["training_steps"] for row in rows}):
            trained = [row for row in rows if row["training_steps"] == training_steps]
            lines += _lines_of_algorithms(title, trained, len(returns_after))
    stages = ["0 steps", "1 step", "2 steps", "3 steps"]
    return markdown_table(["family", "algorithm", "training steps", *stages, "oracle"], lines)


def _lines_of_algorithms(
    title: str, rows: list[dict[str, Any]], num_stages: int
) -> list[list[str]]:
    """Return a line for each algorithm but the oracle, which stands in the last column of all."""
    stages: dict[str, list[str]] = {}
    for row in rows:
        stages.setdefault(row["algorithm"], []).append(_return_with_interval(row))
    (oracle,) = stages.pop("oracle", [""])
    cost = f"{rows[0]['training_steps']:,}"
    return [
        [
            title,
            algorithm_title(algorithm),
            cost,
            *cells,
            *[""] * (num_stages - len(cells)),
            oracle,
        ]
        for algorithm, cells in stages.items()
    ]


def _comparison_rows(preset: str, folder: Path) -> list[dict[str, Any]]:
    return [row for row in _read(folder / "comparison.json") or [] if row["preset"] == preset]


def comparison(preset: str, folder: Path) -> str:
    """Return the comparison on a family that a folder holds: every algorithm, one line each."""
    rows = _comparison_rows(preset, folder)
    if not rows:
        return PENDING
    splits = list(dict.fromkeys(row["split"] for row in rows))
    headings = ["algorithm"]
    for split in splits:
        headings += [f"{split}: 0 steps", "1 step", "3 steps", "captured by 1"]
    headings += ["training steps", "seconds"]
    by_key = {(row["algorithm"], row["split"], row["adaptation_steps"]): row for row in rows}
    lines = []
    for algorithm in dict.fromkeys(row["algorithm"] for row in rows):
        cells = [algorithm_title(algorithm)]
        for split in splits:
            after = [by_key.get((algorithm, split, step)) for step in (0, 1, 3)]
            cells += map(_return_with_interval, after)
            share = after[1] and after[1]["captured"]
            cells.append("" if share is None else f"{share:.2f}")
        first = by_key[algorithm, splits[0], 0]
        steps, seconds = first.get("training_total_steps"), first.get("training_seconds")
        cells += ["" if cost is None else f"{cost:,.0f}" for cost in (steps, seconds)]
        lines.append(cells)
    return markdown_table(headings, lines)


def _return_with_interval(row: dict[str, Any] | None) -> str:
    return _with_interval(row["return_mean"], row["return_mean_ci"]) if row else ""


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None or interval is None:
        return "-"
    return f"{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def curve(name: str) -> str:
    """Return what the committed training of a family's first seed came to, and its cost."""
    run = RESULTS / name / f"{name}-seed0"
    done = _read(run / "maml" / "done.json")
    if done is None:
        return PENDING
    returns = load_curve(run, "maml", ("post_return", "sampling_s", "update_s"))
    last = returns["post_return"][-_LAST_ITERATIONS:]
    share = sum(returns["update_s"]) / sum(returns["sampling_s"])
    return (
        f"{done['iterations']} meta-iterations, {done['total_steps']:,} control steps, "
        f"{done['seconds']:,.0f} s on one thread; meta-updates took {share:.2f} of the time of "
        f"sampling. Return of exploring episodes after one adaptation step: "
        f"{sum(last) / len(last):.1f} on average over the last {len(last)} meta-iterations, "
        f"{max(returns['post_return']):.1f} in the best."
    )


def sweep() -> str:
    """Return the committed sweep of constant commands on Grip."""
    summary = _read(RESULTS / "grip_sweep.json")
    if summary is None:
        return PENDING
    for_all, each = summary["best_for_all"], summary["best_for_each"]
    low, high = each["force_n"]
    rows = [
        ("uniformly random", "", f"{summary['random_return']:.2f}", ""),
        (
            "best constant force for all tasks",
            f"{for_all['force_n']:.1f} N",
            f"{for_all['return']:.2f}",
            f"{for_all['success']:.2f}",
        ),
        (
            "best constant force for each task",
            f"{low:.1f} to {high:.1f} N",
            f"{each['return']:.2f}",
            f"{each['success']:.2f}",
        ),
    ]
    correlations = summary["correlation_of_log_best_force"]
    powers = summary["elasticity_of_best_force"]
    best = ", ".join(
        f"`{name}` to the power {powers[name]:.2f} (correlation {value:.2f})"
        for name, value in correlations.items()
    )
    text = (
        f"Headroom over (best for each - random): **{summary['headroom_over_random']:.2f}**. "
        f"The best force goes with {best}. Slip falls with the force in "
        f"{summary['slip_monotone_share']:.1%} of all steps between neighbouring forces."
    )
    return markdown_table(("command", "force", "return", "success"), rows) + "\n\n" + text


def speed() -> str:
    """Return the committed benchmark."""
    rows = _read(RESULTS / "benchmark.json")
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
    rows = _read(RESULTS / "scaling.json")
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


def main() -> int:
    """Update every page."""
    for name in PAGES:
        page = ROOT / name
        old = page.read_text(encoding="utf-8")
        new = update(old)
        if new != old:
            page.write_text(new, encoding="utf-8")
            print(f"updated {name}")
    return 0


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _ranges(pairs: Iterable[tuple[float, float]]) -> str:
    return ", ".join(f"{_number(low)} to {_number(high)}" for low, high in pairs) or "none"


def _with_unit(parameter: TaskParameter) -> str:
    unit = "" if parameter.unit == "1" else f" ({parameter.unit})"
    return f"{parameter.description}{unit}"


def _captured(entry: dict[str, Any]) -> str:
    """Return the fraction that one step captures, or a dash where it would say nothing."""
    if not captured_is_meaningful(entry):
        return "-"
    low, high = entry["captured_ci"][1]
    return f"**{entry['captured'][1]:.2f}** [{low:.2f}, {high:.2f}]"


def _success_rates(evaluation: dict[str, Any]) -> dict[tuple[str, str, int, bool], float]:
    """Return success by split, algorithm, adaptation steps, and whether episodes explore."""
    return {
        (row["split"], row["algorithm"], row["adaptation_steps"], row["exploration"]): row[
            "success"
        ]
        for row in evaluation["rows"]
    }


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.2f}"


def _is_number(value: object) -> bool:
    numbers = value if isinstance(value, tuple) else (value,)
    return all(isinstance(number, int | float) for number in numbers)


def _number(value: Any) -> str:
    if isinstance(value, tuple):
        return " to ".join(map(_number, value))
    return f"{value:.4g}"


BLOCKS: dict[str, Callable[[], str]] = {
    "families": families,
    "headline": headline,
    "headroom": headroom,
    "sweep": sweep,
    "published": published,
    "speed": speed,
    "scaling": scaling,
    "variants": variants,
    "variant keys": variant_keys,
    "scene limits": scene_limits,
}
BLOCKS["longer comparison"] = lambda: comparison("half-cheetah-velocity", LONGER)
for _preset in PRESETS:
    BLOCKS[f"{_preset} comparison"] = lambda preset=_preset: comparison(preset, RESULTS)
for _env_id, _env_class in FAMILIES.items():
    _family, _name = _env_class.vector_class, file_name(_env_id)
    BLOCKS[f"{_name} parameters"] = lambda family=_family: parameters(family)
    BLOCKS[f"{_name} observation"] = lambda family=_family: observation(family)
    BLOCKS[f"{_name} constants"] = lambda family=_family: constants(family)
    BLOCKS[f"{_name} returns"] = lambda name=_name: returns(name)
    BLOCKS[f"{_name} success"] = lambda name=_name: success(name)
    BLOCKS[f"{_name} curve"] = lambda name=_name: curve(name)


if __name__ == "__main__":
    sys.exit(main())
