"""Speed and scaling."""

from __future__ import annotations

from docs_tables.markdown import PENDING, markdown_table
from docs_tables.results import read


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
