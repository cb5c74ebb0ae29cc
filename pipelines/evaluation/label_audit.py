"""Candidates for wrong labels: where several runs agree with one another against the gold."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from pipelines.evaluation import Report
from pipelines.evaluation.mistakes import find_mistakes
from pipelines.examples import Example, Fields, Prediction, Span, joined_by_id, span_to_json

# (example id, gold span) -> answer -> the spans that runs gave as this answer, None for no answer.
Votes = Mapping[tuple[str, Span | None], Mapping[Span | None, list[Span | None]]]


def label_audit(examples: Sequence[Example], runs: Sequence[Sequence[Prediction]]) -> list[Report]:
    """Gold mentions that several runs answer alike and otherwise, and mentions the gold lacks.

    A run's answer to a gold mention is the prediction it was paired with as a mistake, or none. An
    entry is an answer that at least two runs, and more than half of them, give.

    Args:
        examples: with gold spans.
        runs: predictions of at least two runs on the same examples.

    Returns:
        Entries with `id`; the `gold` span and the runs' `answer`, each with its `string`, or None;
        `runs`: how many gave this answer; `score`: the answer's mean score, or None; `cost`: the
        strict F1 that this disagreement takes from a run, in the mean over the runs;
        `pattern_cost`: that of all entries with the same strings and types. Ordered by
        `pattern_cost`, so that a convention that is broken repeatedly comes first, then by `score`.
    """
    votes = _votes(examples, runs)
    gold = sum(len(example.spans or ()) for example in examples)
    predicted = sum(len(prediction.spans or ()) for run in runs for prediction in run)
    spans_per_run = gold + predicted / len(runs)
    texts = {example.id: example.text for example in examples}
    entries: list[Report] = []
    for (id, mention), answers in votes.items():
        for answer, spans in answers.items():
            if len(spans) < 2 or 2 * len(spans) <= len(runs):
                continue
            n_wrong = (mention is not None) + (answer is not None)
            entries.append(
                {
                    "id": id,
                    "gold": _with_string(texts[id], mention),
                    "answer": _with_string(texts[id], answer),
                    "runs": len(spans),
                    "score": _mean_score(spans),
                    "cost": n_wrong * len(spans) / len(runs) / spans_per_run,
                }
            )
    return _by_cost(entries, {example.id: i for i, example in enumerate(examples)})


def _votes(examples: Sequence[Example], runs: Sequence[Sequence[Prediction]]) -> Votes:
    votes: defaultdict[tuple[str, Span | None], defaultdict[Span | None, list[Span | None]]]
    votes = defaultdict(lambda: defaultdict(list))
    for run in runs:
        for mistake in find_mistakes(joined_by_id(examples, run)):
            # Spurious predictions answer no gold mention; each is an answer of its own.
            votes[mistake.id, mistake.gold][mistake.predicted].append(mistake.predicted)
    return votes


def _mean_score(spans: Sequence[Span | None]) -> float | None:
    scores = [span.score for span in spans if span is not None and span.score is not None]
    return sum(sorted(scores)) / len(scores) if scores else None


def _by_cost(entries: list[Report], position: Mapping[str, int]) -> list[Report]:
    total: Counter[tuple[object, ...]] = Counter()
    for entry in entries:
        total[_pattern(entry)] += entry["cost"]
    entries = [entry | {"pattern_cost": total[_pattern(entry)]} for entry in entries]

    def rank(entry: Report) -> tuple[object, ...]:
        start = (entry["gold"] or entry["answer"])["start"]
        by_cost = -entry["pattern_cost"], repr(_pattern(entry)), -(entry["score"] or 0)
        return *by_cost, position[entry["id"]], start

    return sorted(entries, key=rank)


def _pattern(entry: Fields) -> tuple[object, ...]:
    spans = (entry["gold"], entry["answer"])
    return tuple(span and (span["string"], span["label"]) for span in spans)


def _with_string(text: str, span: Span | None) -> Report | None:
    if span is None:
        return None
    return span_to_json(span) | {"string": text[span.start : span.end]}
