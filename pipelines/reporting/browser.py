"""The examples as a page shows them: gold and predicted mentions marked in the text, mistakes by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from pipelines.evaluation.mistakes import KINDS, Mistake, find_mistakes, ordered
from pipelines.evaluation.reports import Pairs, label_set
from pipelines.examples import Example, Prediction, Span

MOST_EXAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text that the same mentions cover.

    Attributes:
        classes: for the style sheet; empty where no mention covers it.
        title: the mentions in words.
        gold, predicted: types to show, at the end of a gold mention and at the start of a predicted one that is none.
    """

    text: str
    classes: str = ""
    title: str = ""
    gold: str = ""
    predicted: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """An example with its answer.

    Attributes:
        kinds: the classes of its mistakes, by which it is filtered.
        notes: (class, explanation) of each mistake.
        answer: gold and answer in words, where these are no spans.
        raw: what a generator wrote, where that explains a mistake.
    """

    id: str
    pieces: tuple[Piece, ...]
    kinds: tuple[str, ...]
    notes: tuple[tuple[str, str], ...] = ()
    answer: str = ""
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Browser:
    """Rows to browse.

    Attributes:
        rows: those with mistakes first.
        kinds: how many of the rows each class of mistake has.
        examples: how many there are, shown or not.
        right_or_wrong: whether an answer is either: a number is not.
    """

    rows: list[Row]
    kinds: dict[str, int]
    examples: int
    right_or_wrong: bool


def browser(pairs: Pairs, answer: str, *, most: int = MOST_EXAMPLES) -> Browser:
    """Lays out examples for browsing.

    Args:
        answer: the field of a prediction that holds the answer: ``spans``, ``label`` or ``value``.
        most: rows kept where there are more examples.
    """
    rows = list({"spans": _span_rows, "label": _class_rows, "value": _value_rows}[answer](pairs))
    rows.sort(key=lambda row: not row.kinds)  # keeps the order of the rest
    shown = rows[:most]
    found = Counter(kind for row in shown for kind in row.kinds)
    order = [kind for kind in KINDS if found[kind]] if answer == "spans" else [kind for kind, _ in found.most_common()]
    return Browser(shown, {kind: found[kind] for kind in order}, len(rows), answer != "value")


def _span_rows(pairs: Pairs) -> Iterator[Row]:
    labels = {span.label for example, prediction in pairs for spans in (example.spans, prediction.spans)
              for span in spans or ()}
    mistakes: dict[str, list[Mistake]] = {}
    for mistake in find_mistakes(pairs):
        mistakes.setdefault(mistake.id, []).append(mistake)
    for example, prediction in pairs:
        own = mistakes.get(example.id, [])
        yield Row(example.id, tuple(marked(example, prediction, show_labels=len(labels) > 1)),
                  tuple(dict.fromkeys(mistake.kind for mistake in own)),
                  tuple((mistake.kind, _in_words(mistake, example.text)) for mistake in own),
                  raw=_telling_raw(prediction) if own else "")


def marked(example: Example, prediction: Prediction, *, show_labels: bool) -> Iterator[Piece]:
    """Cuts the text where a mention starts or ends; the pieces joined are the text again."""
    text, gold, predicted = example.text, ordered(example.spans), ordered(prediction.spans)
    ends = {min(place, len(text)) for span in (*gold, *predicted) for place in (span.start, span.end)}
    cuts = sorted({0, len(text)} | ends)
    for start, end in pairwise(cuts):
        on_gold = [span for span in gold if span.start <= start and end <= span.end]
        on_predicted = [span for span in predicted if span.start <= start and end <= span.end]
        if not on_gold and not on_predicted:
            yield Piece(text[start:end])
            continue
        ending = [span.label for span in on_gold if span.end == end]
        starting = [span for span in on_predicted if span.start == start]
        classes = [*["g"] * bool(on_gold), *["g2"] * (len(on_gold) > 1), *["p"] * bool(on_predicted),
                   *["first"] * bool(starting), *["last"] * any(span.end == end for span in on_predicted)]
        title = [f"gold {span.label}" for span in on_gold] + [f"predicted {_scored(span)}" for span in on_predicted]
        yield Piece(text[start:end], " ".join(classes), "; ".join(title), " ".join(ending) if show_labels else "",
                    " ".join(span.label for span in starting if span not in gold) if show_labels else "")


def _scored(span: Span) -> str:
    return span.label if span.score is None else f"{span.label}, score {span.score:.2f}"


def _in_words(mistake: Mistake, text: str) -> str:
    sides = []
    if mistake.gold is not None:
        sides.append(f"gold “{text[mistake.gold.start:mistake.gold.end]}” ({mistake.gold.label})")
    if mistake.predicted is not None:
        span = mistake.predicted
        sides.append(f"predicted “{text[span.start:span.end]}” ({_scored(span)})")
    if mistake.string is not None:
        sides.append(f"generated “{mistake.string}”")
    return ", ".join(sides)


def _telling_raw(prediction: Prediction) -> str:
    """A generator's own words, where something was lost between them and the spans."""
    lost = any(mention.get("place") is None for mention in prediction.mentions or ())
    return prediction.raw or "" if lost or prediction.status not in (None, "ok") else ""


def _plain(example: Example) -> tuple[Piece, ...]:
    return (Piece(example.text), *([] if example.pair is None else [Piece(f"\n\n{example.pair}")]))


def _class_rows(pairs: Pairs) -> Iterator[Row]:
    for example, prediction in pairs:
        gold, given = (", ".join(label_set(label)) or "none" for label in (example.label, prediction.label))
        right = set(label_set(example.label)) == set(label_set(prediction.label))
        surest = max((prediction.scores or {}).values(), default=None)
        answer = f"gold {gold}, predicted {given}" + ("" if surest is None else f", score {surest:.2f}")
        yield Row(example.id, _plain(example), () if right else (f"{gold} → {given}",), answer=answer)


def _value_rows(pairs: Pairs) -> list[Row]:
    """The farthest from gold first; without gold, the least likely text."""
    def badness(pair: tuple[Example, Prediction]) -> float:
        example, prediction = pair
        value = prediction.value or 0.0
        if example.label is None:
            return -value / max((prediction.scores or {}).get("tokens", len(example.text.split())), 1)
        return -abs(value - float(example.label))  # type: ignore[arg-type]

    return [Row(example.id, _plain(example), (),
                answer=f"{-badness((example, prediction)):.4g} nats per token" if example.label is None else
                f"gold {float(example.label):.4g}, predicted {prediction.value:.4g}")  # type: ignore[arg-type]
            for example, prediction in sorted(pairs, key=badness)]
