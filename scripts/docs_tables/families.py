"""What a task family is: its parameters, observation and constants."""

from __future__ import annotations

import inspect

from docs_tables.markdown import markdown_table, number_text, ranges
from metarobot.envs import FAMILIES, TaskParameter, TaskVectorEnv, file_name


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
    rows = [*facts.items(), *((f"`{name}`", number_text(value)) for name, value in numbers.items())]
    return markdown_table(("constant", "value"), rows)


def families() -> str:
    """Return one line per family: its id and its task parameters."""
    rows = []
    for env_id, env_class in FAMILIES.items():
        family = env_class
        page = f"families/{file_name(env_id)}.md"
        names = ", ".join(with_unit(p) for p in family.distribution.parameters)
        rows.append((f"[`{env_id}`]({page})", names))
    return markdown_table(("family", "what differs between its tasks"), rows)


def with_unit(parameter: TaskParameter) -> str:
    """Return what a task parameter means, with its unit."""
    unit = "" if parameter.unit == "1" else f" ({parameter.unit})"
    return f"{parameter.description}{unit}"


def _is_number(value: object) -> bool:
    numbers = value if isinstance(value, tuple) else (value,)
    return all(isinstance(number, int | float) for number in numbers)
