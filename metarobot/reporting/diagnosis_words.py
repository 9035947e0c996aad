"""What an evaluation of a diagnosis says, in sentences that an engineer can act on."""

from __future__ import annotations

from metarobot.diagnosis_runs.material import ENOUGH_MACHINES
from metarobot.diagnosis_runs.results import (
    Confusion,
    DiagnosisResult,
    LifeResult,
    Score,
    SplitResult,
)
from metarobot.reporting.style import number, percent, percent_interval

GOOD = 0.9
"""Share of recordings that must be named rightly for a learner to be called reliable."""
EARLY = 0.3
"""Share of its life after which remaining life is spoken of."""
_SPLIT_WORDS = {
    "unseen machines": "of a machine that it never saw",
    "unseen labels": "for faults that it never saw in training",
    "other recordings": "of the machine that it was trained on",
    "unseen machines, seen faults": "of an arm that it never saw",
    "unseen machines, unseen faults": "of an arm and for faults that it never saw in training",
    "severities beyond": "of an arm that it never saw, with faults more severe than in training",
}


def verdict(result: DiagnosisResult) -> str:
    """Return the one sentence that matters most: how many examples to record, and what they buy."""
    split = result.splits[0]
    scores = split.of(result.learner)
    good = next((own for own in scores if own.accuracy.low >= GOOD), None)
    best = max(scores, key=lambda own: own.accuracy.value)
    if good is None:
        return (
            f"Do not rely on it alone: even with {_examples(best.shots)} of each fault it names "
            f"the right one of {split.way} only {_often(best)} {_where(split)}. Record more "
            "machines or more faults to train on."
        )
    return (
        f"Record {_examples(good.shots)} of each fault: it then names the right one of "
        f"{split.way} {_often(good)} {_where(split)}."
    )


def sentences(result: DiagnosisResult) -> list[tuple[str, list[str]]]:
    """Return what else is worth knowing: of each split its name and some sentences."""
    found = [
        (
            _title(split),
            [
                beside_references(result.learner, split),
                most_mistaken(split),
                sure_words(split),
                strangers_words(split),
                interval_words(split),
            ],
        )
        for split in result.splits
    ]
    found.append(("Remaining life", [life_words(result.life)]))
    shown = ((title, [text for text in texts if text]) for title, texts in found)
    return [(title, texts) for title, texts in shown if texts]


def life_words(life: LifeResult | None) -> str:
    """Say how far predictions of remaining life are off, early in life."""
    early = [own for own in life.scores if own.seen == EARLY] if life else []
    if not early:
        return ""
    first, *others = early
    beside = ", ".join(f"{own.learner} by {number(own.rmse, 0)}" for own in others)
    return (
        f"After {percent(EARLY)} of a part's life {first.learner} is off by "
        f"{number(first.rmse, 0)} cycles (root mean square), {beside}; its 90 % intervals hold "
        f"{percent(first.coverage)}.{_better_later(life, first.learner)}"
    )


def _better_later(life: LifeResult | None, learner: str) -> str:
    """Name who is off by less than a learner, later in life."""
    scores = [own for own in life.scores if own.seen > EARLY] if life else []
    found: dict[str, list[str]] = {}
    for seen in sorted({own.seen for own in scores}):
        off = {own.learner: own.rmse for own in scores if own.seen == seen}
        best = min(off, key=lambda name: off[name])
        if off[best] < off.get(learner, 0.0):
            found.setdefault(best, []).append(percent(seen))
    parts = [f"{name} after {', '.join(shares)}" for name, shares in found.items()]
    return f" Later others are off by less: {'; '.join(parts)}." if parts else ""


def beside_references(learner: str, split: SplitResult) -> str:
    """Say how a learner stands beside the best reference with the same fewest examples."""
    shots = min(own.shots for own in split.scores)
    own = split.score(learner, shots)
    others = [each for each in split.scores if each.learner != learner and each.shots == shots]
    if own is None or not others:
        return ""
    other = max(others, key=lambda each: each.accuracy.value)
    told = f"{percent(other.accuracy.value)} {percent_interval(other.accuracy)}"
    mine = f"{percent(own.accuracy.value)} {percent_interval(own.accuracy)}"
    start = f"With {_examples(shots)} of each it is right in {mine}, {other.learner} in {told}"
    if own.accuracy.low > other.accuracy.high:
        return f"{start}. Training on other machines pays."
    if own.accuracy.high < other.accuracy.low:
        return f"{start}. The reference wins: use it, or train on more."
    return f"{start}. The intervals overlap: it is not shown that training pays."


def most_mistaken(split: SplitResult) -> str:
    """Name what is most often taken for something else."""
    worst = worst_pair(split.confusion)
    if worst is None:
        return ""
    label, other, share = worst
    return (
        f"Most often mistaken: {words(label)} for {words(other)}, in {percent(share)} of the cases "
        "that offer both."
    )


def worst_pair(confusion: Confusion) -> tuple[str, str, float] | None:
    """Return the label that is most often taken for another, that one, and how often."""
    best: tuple[str, str, float] | None = None
    for row, label in enumerate(confusion.labels):
        for column, other in enumerate(confusion.labels):
            taken, asked = confusion.taken[row][column], confusion.asked[row][column]
            if row == column or taken < 2:
                continue
            if best is None or taken / asked > best[2]:
                best = label, other, taken / asked
    return best


def strangers_words(split: SplitResult) -> str:
    """Say what the warning is worth that a recording looks like none of the labels."""
    own = split.strangers
    if own is None:
        return ""
    return (
        f"A fault without examples is noticed as such in "
        f"{percent(own.noticed.value)} {percent_interval(own.noticed)} of cases, and "
        f"{percent(own.false_warnings.value)} {percent_interval(own.false_warnings)} of known ones "
        f"are warned about wrongly, with {_examples(own.shots)} of each."
    )


def sure_words(split: SplitResult) -> str:
    """Say what a high probability is worth."""
    if split.sure is None:
        return ""
    return (
        f"Where it gives a probability of 90 % or more, which it does in "
        f"{percent(split.sure_share)} of cases, it is right in {percent(split.sure.value)}."
    )


def interval_words(split: SplitResult) -> str:
    """Say what the intervals are over, and so what they do not cover."""
    if split.num_machines >= ENOUGH_MACHINES:
        return f"The intervals are over {split.num_machines} machines."
    of = f"{split.num_machines} machine{'s' * (split.num_machines != 1)}"
    return (
        f"The intervals are over the {split.num_recordings} recordings of {of}: they do not say "
        "how other machines would do."
    )


def words(label: str) -> str:
    """Return a label for people: "dry_friction" -> "dry friction"."""
    return label.replace("_", " ")


def _title(split: SplitResult) -> str:
    return split.name[:1].upper() + split.name[1:]


def _examples(count: int) -> str:
    return f"{count} example{'s' * (count != 1)}"


def _often(score: Score) -> str:
    return f"in {percent(score.accuracy.value)} {percent_interval(score.accuracy)} of recordings"


def _where(split: SplitResult) -> str:
    return _SPLIT_WORDS.get(split.name, f"({split.name})")
