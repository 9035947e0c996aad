"""What was measured without learning: the sweep of commands, speed and scaling."""

from __future__ import annotations

from docs_tables.markdown import PENDING, markdown_table
from docs_tables.results import read
from metarobot.envs.carry import CarryVectorEnv


def sweep() -> str:
    """Return the committed sweep of constant commands on Grip."""
    summary = read("grip_sweep.json")
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


def carry_sweep() -> str:
    """Return the committed sweep of input shapers on Carry."""
    summary = read("carry_sweep.json")
    if summary is None:
        return PENDING
    for_all, each = summary["best_for_all"], summary["best_for_each"]
    low, high = each["length_m"]
    robustness = for_all["robustness"]
    band = f", and {1 / robustness:.2g} to {robustness:.2g} times that" if robustness > 1 else ""
    rows = [
        ("uniformly random speeds", "", f"{summary['random_return']:.2f}", ""),
        (
            "best shaper for all tasks",
            f"{for_all['length_m']:.2f} m{band}",
            f"{for_all['return']:.2f}",
            f"{for_all['success']:.2f}",
        ),
        (
            "best shaper for each task",
            f"{low:.2f} to {high:.2f} m",
            f"{each['return']:.2f}",
            f"{each['success']:.2f}",
        ),
    ]
    best = ", ".join(
        f"`{name}` to the power {power:.2f}"
        for name, power in summary["elasticity_of_best_length"].items()
    )
    text = (
        f"Headroom over (best for each - random): **{summary['headroom_over_random']:.2f}**. "
        f"The best length to assume goes with {best}."
    )
    headings = ("motion", "made for rods of", "return", "success")
    return markdown_table(headings, rows) + "\n\n" + text


def carry_motions() -> str:
    """Return the committed search of motions for known tasks of Carry."""
    summary = read("carry_motions.json")
    if summary is None:
        return PENDING
    control_dt_s = CarryVectorEnv.timestep_s * CarryVectorEnv.substeps
    rows = [
        (
            f"{search['move_steps']} steps, {search['move_steps'] * control_dt_s:.2f} s",
            f"{search['solved']} of {search['num_tasks']}",
            f"{search['worst_return']:.2f}",
        )
        for search in summary["searches"]
    ]
    return markdown_table(("time given", "tasks solved", "worst return"), rows)


def aims() -> str:
    """Return the committed sweep of constant aims on Insert."""
    summary = read("insert_sweep.json")
    if summary is None:
        return PENDING
    rows = [("uniformly random", f"{summary['random_return']:.2f}", "")]
    for who, words in (("all", "all tasks"), ("each", "each task")):
        best = summary[f"best_for_{who}"]
        rows.append((f"best aim for {words}", f"{best['return']:.2f}", f"{best['success']:.2f}"))
    correlations = ", ".join(
        f"`{name}` (correlation {value:.2f})"
        for name, value in summary["correlation_of_best_aim"].items()
    )
    text = (
        f"Headroom over (best for each - random): **{summary['headroom_over_random']:.2f}**. "
        f"The best aim goes with {correlations}."
    )
    return markdown_table(("command", "return", "success"), rows) + "\n\n" + text


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
