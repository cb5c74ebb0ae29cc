"""Candidates for wrong labels: where several runs agree with one another against the gold annotation."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from pipelines.evaluation.mistakes import find_mistakes
from pipelines.examples import Example, Prediction, Span, joined_by_id, span_to_json


def label_audit(examples: Sequence[Example], runs: Sequence[Sequence[Prediction]]) -> list[dict[str, Any]]:
    """Gold mentions that several runs answer alike and otherwise, and mentions that several runs miss in the gold.

    A run's answer to a gold mention is the prediction it was paired with as a mistake, or none. An entry stands for at
    least two runs, and more than half of them, that give the very same answer.

    Args:
        runs: predictions of at least two runs on the same examples.

    Returns:
        Entries with ``id``; the ``gold`` span and the runs' ``answer``, each with its ``string``, or None; ``runs``:
        how many gave this answer; ``score``: the answer's mean score, or None; ``cost``: the strict F1 that this
        disagreement takes from a run, in the mean over the runs; ``pattern_cost``: that of all entries with the same
        strings and types. Ordered by ``pattern_cost``, so that a convention that is broken again and again comes first,
        then by ``score``.
    """
    votes: dict[tuple[str, Span | None], dict[Span | None, list[Span | None]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        for mistake in find_mistakes(joined_by_id(examples, run)):
            # Spurious predictions are no answer to a gold mention; each stands for itself.
            votes[mistake.id, mistake.gold][mistake.predicted].append(mistake.predicted)
    gold = sum(len(example.spans or ()) for example in examples)
    spans_per_run = gold + sum(len(prediction.spans or ()) for run in runs for prediction in run) / len(runs)
    texts = {example.id: example.text for example in examples}
    entries: list[dict[str, Any]] = []
    for (id, mention), answers in votes.items():
        for answer, given in answers.items():
            if len(given) >= 2 and 2 * len(given) > len(runs):
                scores = [span.score for span in given if span is not None and span.score is not None]
                sides = (mention is not None) + (answer is not None)
                entries.append({
                    "id": id, "gold": _shown(texts[id], mention), "answer": _shown(texts[id], answer),
                    "runs": len(given), "score": sum(sorted(scores)) / len(scores) if scores else None,
                    "cost": sides * len(given) / len(runs) / spans_per_run,
                })
    return _dearest_first(entries, {example.id: i for i, example in enumerate(examples)})


def _dearest_first(entries: list[dict[str, Any]], position: dict[str, int]) -> list[dict[str, Any]]:
    def pattern(entry: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(span and (span["string"], span["label"]) for span in (entry["gold"], entry["answer"]))

    total: Counter[tuple[Any, ...]] = Counter()
    for entry in entries:
        total[pattern(entry)] += entry["cost"]
    entries = [entry | {"pattern_cost": total[pattern(entry)]} for entry in entries]
    return sorted(entries, key=lambda entry: (
        -entry["pattern_cost"], repr(pattern(entry)), -(entry["score"] or 0), position[entry["id"]],
        (entry["gold"] or entry["answer"])["start"]))


def _shown(text: str, span: Span | None) -> dict[str, Any] | None:
    return None if span is None else span_to_json(span) | {"string": text[span.start:span.end]}
