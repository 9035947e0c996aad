"""What the committed trainings came to, and what they cost."""

from __future__ import annotations

from docs_tables.markdown import PENDING
from docs_tables.results import read


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
