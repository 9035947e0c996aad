"""The report of a diagnosis: one page that loads nothing and runs no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metarobot.diagnosis.evaluate import FALSE_ALARM_RATE
from metarobot.diagnosis.run import Chosen, Diagnosis, DiagnosisConfig, Row
from metarobot.evaluation.statistics import Interval
from metarobot.io import write_file
from metarobot.reporting.cells import Cell
from metarobot.reporting.report import page_templates
from metarobot.reporting.style import number, percent

ENOUGH_MACHINES = 10
"""Machines from which on they say something of others."""
MOST_LABELS = 24
"""Labels of a confusion matrix; more have no room."""
MOST_NAMES = 12
"""Machines or labels that are listed by name."""
_TITLES = {
    "nearest_mean": "whitened nearest mean",
    "trees": "randomised trees",
    "minirocket": "MiniRocket",
    "prototypes": "prototypical network",
    "maml": "MAML",
}
_CLOSED_FORM, _NETWORKS = "nearest_mean", ("prototypes", "maml")
_MOST_LINES = 8
_FALSE_ALARMS = (0.02, 0.09)
"""Rates that are near enough to the nominal one."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 14.0, 97.0, 5.0, 86.0  # percent of a chart


class Candidate(NamedTuple):
    """A learner in the comparison by cross-validation, under the same kind of labels."""

    learner: str
    scores: dict[int, Interval]
    """Accuracy by examples of each label."""

    @property
    def mean(self) -> float:
        """Mean accuracy over the numbers of examples, by which learners are chosen."""
        return float(np.mean([each.value for each in self.scores.values()]))

    @property
    def half_width(self) -> float:
        """Mean half width of the intervals."""
        return float(np.mean([each.high - each.low for each in self.scores.values()]) / 2)

    def beats(self, other: Candidate) -> bool:
        """Whether the lead is larger than what both intervals leave open."""
        return self.mean - other.mean > float(np.hypot(self.half_width, other.half_width))


class Curve(NamedTuple):
    """The accuracies of one learner in a chart or a table."""

    title: str
    colour: str
    """Class of the style sheet."""
    scores: dict[int, Interval]
    """By examples of each label."""


def write_report(path: Path, run: Diagnosis, rows: list[dict[str, Any]]) -> None:
    """Write the report of a diagnosis as one HTML file.

    Args:
        path: File to write.
        run: The diagnosis.
        rows: What `Diagnosis.evaluate` returns; none where nothing was held out.

    Raises:
        OSError: The file cannot be written.
    """
    write_file(path, render_report(run.config, rows).encode())


def render_report(config: DiagnosisConfig, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the page."""
    measured = [_measured(config, [row]) for row in rows]
    of_chosen = [
        [row for row, by in zip(rows, measured, strict=True) if by is chosen]
        for chosen in config.chosen
    ]
    panels = [
        _panel(chosen, candidates(config, chosen.known), own)
        for chosen, own in zip(config.chosen, of_chosen, strict=True)
    ]
    first = next(filter(None, of_chosen), [])
    both = len(first) < len(rows)
    kinds = [
        (", known labels" if own.known else ", new labels") if both else "" for own in measured
    ]
    return (
        page_templates()
        .get_template("diagnosis.html.j2")
        .render(
            verdict=verdict(config, first),
            panels=panels,
            matrix=_matrix(first[-1]["confusion"]) if rows else None,
            matrix_of=_examples(first[-1]["shots"]) if rows else "",
            rows=[{**row, "kind": kind} for row, kind in zip(rows, kinds, strict=True)],
            alarms=alarm_words(rows),
            interval_words=interval_words(config),
            facts=_facts(config),
            percent=percent,
            number=number,
            examples=_examples,
            cell=Cell.in_percent,
            across=_across,
            height=_height,
            nominal=FALSE_ALARM_RATE,
        )
    )


def candidates(config: DiagnosisConfig, known: bool) -> list[Candidate]:
    """Return the learners that were compared, the best first."""
    found: dict[str, dict[int, Interval]] = {}
    for row in config.rows:
        if row.known == known:
            found.setdefault(row.learner, {})[row.shots] = _interval(row)
    return sorted(map(Candidate, found, found.values()), key=lambda own: -own.mean)


def _interval(row: Row) -> Interval:
    return Interval(row.accuracy, *(float(np.clip(end, 0.0, 1.0)) for end in row.accuracy_ci))


def _best_of_each(compared: Sequence[Candidate], chosen: str) -> list[Candidate]:
    """Return the chosen learner, then the best variant of each other kind."""
    ordered = sorted(compared, key=lambda own: own.learner != chosen)
    best: dict[tuple[str, bool], Candidate] = {}
    for own in ordered:
        best.setdefault((_kind(own.learner), "with training" in own.learner), own)
    return list(best.values())


def _kind(learner: str) -> str:
    return learner.partition(",")[0].partition(" ")[0]


def learner_title(learner: str) -> str:
    """Return a learner's name for people: "trees, with ..." -> "randomised trees with ..."."""
    kind = _kind(learner)
    return _TITLES.get(kind, kind) + learner[len(kind) :].replace(", with", " with")


def _measured(config: DiagnosisConfig, rows: Sequence[Mapping[str, Any]]) -> Chosen:
    """Return which of the chosen learners was measured on held-out recordings."""
    if not rows:
        return config.chosen[0]
    known = set(rows[-1]["confusion"]) <= set(config.labels)
    fitting = [own for own in config.chosen if own.known == known]
    return (fitting or list(config.chosen))[0]


def verdict(config: DiagnosisConfig, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what matters most: the chosen learner, how good it is, and its lead."""
    chosen = _measured(config, rows)
    compared = candidates(config, chosen.known)
    own, *others = _best_of_each(compared, chosen.learner)
    most = max(own.scores)
    cell = Cell.in_percent(own.scores[most])
    by_folds = f"{cell.value} {cell.interval} with {_examples(most)}"
    title = learner_title(own.learner)
    if rows:
        row = rows[-1]
        cell = Cell.in_percent(Interval(row["accuracy"], *row["accuracy_ci"]))
        labels = "that are known from training" if chosen.known else "that are new to it"
        first = (
            f"The chosen learner, {title}, names the right one of {row['way']} labels in "
            f"{cell.value} {cell.interval} of held-out recordings, with {_examples(row['shots'])} "
            f"of each; these are labels {labels}."
        )
    else:
        first = (
            f"The chosen learner, {title}, is right in {by_folds} of each label in "
            "cross-validation. No recordings were held out to confirm that."
        )
    return [first, _lead_words(own, others, by_folds)]


def _lead_words(own: Candidate, others: Sequence[Candidate], by_folds: str) -> str:
    """Say who came next in cross-validation and by how much, and whether a closed form wins."""
    if not others:
        return "No other kind of learner was compared."
    following = others[0]
    points = number(100 * (own.mean - following.mean), 1)
    text = (
        f"In cross-validation it is right in {by_folds}; {learner_title(following.learner)} came "
        f"next, {points} points behind on average over the numbers of examples"
    )
    text += "." if own.beats(following) else "; the intervals leave open which is better."
    if _kind(own.learner) == _CLOSED_FORM:
        networks = [each for each in others if _kind(each.learner) in _NETWORKS]
        behind = " and ".join(
            f"{learner_title(each.learner)} ({number(100 * (own.mean - each.mean), 1)} points)"
            for each in networks
        )
        text += " A closed form wins here: it learns means and a covariance, no network."
        return f"{text} Behind it are {behind}." if behind else text
    closed = next((each for each in others if _kind(each.learner) == _CLOSED_FORM), None)
    if closed in (None, following):
        return text
    gap = number(100 * (own.mean - closed.mean), 1)
    return f"{text} The best closed form, {learner_title(closed.learner)}, is {gap} points behind."


def alarm_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say what the warning is worth that a recording looks like none of the labels."""
    if not rows:
        return ""
    false = [row["false_alarm"] for row in rows]
    span = _span(false)
    low, high = _FALSE_ALARMS
    if max(false) > high:
        text = f"Too many false alarms: {span}, nominally {percent(FALSE_ALARM_RATE)}."
    elif min(false) < low:
        text = f"Fewer false alarms than nominal: {span}, not {percent(FALSE_ALARM_RATE)}."
    else:
        text = f"False alarms are near their nominal {percent(FALSE_ALARM_RATE)}: {span}."
    missed = [1.0 - row["noticed"] for row in rows if row["noticed"] is not None]
    if not missed:
        return f"{text} Unknown faults were not measured: that takes three labels on one machine."
    text += f" A fault without examples is missed in {_span(missed)} of cases"
    return text + (": do not rely on being warned of one." if max(missed) > 0.5 else ".")


def _span(shares: Sequence[float]) -> str:
    low, high = percent(min(shares)), percent(max(shares))
    return low if low == high else f"{low} to {high}"


def interval_words(config: DiagnosisConfig) -> str:
    """Say what the intervals are over, and so what they do not cover."""
    text = (
        "Brackets and bars hold 95 % intervals over tasks: how much the figure depends on which "
        "examples are drawn. They do not cover how machines differ. "
    )
    count = len(config.machines)
    if count == 1:
        return f"{text}Trained on one machine, figures say nothing of others."
    if count < ENOUGH_MACHINES:
        return f"{text}Trained on {count} machines, figures say little of others."
    return f"{text}Cross-validation holds out machines, of {count} in all."


def _panel(
    chosen: Chosen, compared: Sequence[Candidate], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return chart and table of one kind of labels."""
    best = _best_of_each(compared, chosen.learner)[:_MOST_LINES]
    curves = [
        Curve(learner_title(own.learner), f"other{k}" if k else "chosen", own.scores)
        for k, own in enumerate(best)
    ]
    if rows:
        scores = {row["shots"]: Interval(row["accuracy"], *row["accuracy_ci"]) for row in rows}
        title = f"{learner_title(rows[0]['learner'])}, on held-out recordings"
        curves.insert(0, Curve(title, "held", scores))
    shots = sorted({count for own in curves for count in own.scores})
    step = (_RIGHT - _LEFT - 14) / max(len(shots) - 1, 1)
    return {
        "title": "Labels known from training" if chosen.known else "Labels new to training",
        "curves": curves,
        "left_out": [
            Curve(learner_title(own.learner), "", own.scores) for own in compared if own not in best
        ],
        "places": {count: round(_LEFT + 5 + step * k, 2) for k, count in enumerate(shots)},
        "chance": 1 / rows[-1]["way"] if rows else None,
    }


def _across(share: float) -> float:
    return round(_LEFT + (_RIGHT - _LEFT) * share, 2)


def _height(share: float) -> float:
    return round(_BOTTOM - (_BOTTOM - _TOP) * share, 2)


def _matrix(confusion: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Return the rows of a confusion table in percent; labels that are mistaken most come first.

    Labels stand in their order where all have room.
    """

    def right(label: str) -> float:
        return confusion[label].get(label, 0) / sum(confusion[label].values())

    labels = sorted(confusion)
    if len(labels) > MOST_LABELS:
        labels = sorted(labels, key=right)[:MOST_LABELS]
    rows = []
    for label in labels:
        total = sum(confusion[label].values())
        shares = [confusion[label].get(other, 0) / total for other in labels]
        cells = [(round(100 * share), f"{100 * share:.0f}" if share else "") for share in shares]
        rows.append((label, total, cells))
    return {"labels": labels, "rows": rows, "left_out": len(confusion) - len(labels)}


def _facts(config: DiagnosisConfig) -> list[tuple[str, str]]:
    """Return on what the diagnosis was trained, by name."""
    channels = [f"{name} [{unit}]" if unit else name for name, unit in config.channels]
    machines = [name for name in config.machines if name]
    window = [("window", f"{config.window_s:g} s")] if config.window_s else []
    return [
        ("recordings", f"{config.num_recordings}, without those held out"),
        ("machines", _listed(machines) or "not named"),
        ("labels", _listed(config.labels)),
        ("channels", ", ".join(channels)),
        ("rate", f"{config.rate_hz:g} Hz"),
        *window,
        ("baseline", config.baseline or "none"),
        ("labels a task", f"{config.way} at most"),
        ("learners compared", ", ".join(_TITLES.get(name, name) for name in config.learners)),
        ("files held out", str(len(set(config.held_out))) if config.held_out else "none recorded"),
        ("seed", str(config.seed)),
        *([("folder", config.folder)] if config.folder else []),
    ]


def _listed(names: Sequence[str]) -> str:
    """Return how many names there are, and the first of them."""
    if not names:
        return ""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{len(names)}: {', '.join(names[:MOST_NAMES])}{more}"


def _examples(count: int) -> str:
    return f"{count} example{'s' * (count != 1)}"
